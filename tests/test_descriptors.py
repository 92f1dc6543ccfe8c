"""Descriptors: the soft limit is raised, and a reserve is given out once none is left. In a process of its own."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))
from reconciler.descriptors import RESERVED, Descriptors

descriptors = Descriptors()
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256 - RESERVED, 256) == (descriptors.limit, 256)
descriptors.look()
assert not descriptors.fault
held = []
try:
    while True:
        held.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
descriptors.look()
assert "used up" in descriptors.fault, descriptors.fault
spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(RESERVED)]
descriptors.look()
for one in (*held, *spare):
    os.close(one)
descriptors.look()
assert not descriptors.fault
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256 - RESERVED, 256)
print("held")
"""


def test_the_limit_is_raised_and_a_reserve_is_given_out_once_none_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("held\n", 0), done.stderr
