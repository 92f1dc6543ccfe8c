"""Descriptors: the soft limit is raised, and a reserve is kept for who must go on. In a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 256))
from reconciler.connections import RESERVED, Descriptors

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
with descriptors.spared():
    with descriptors.spared():
        spare = [os.open(os.devnull, os.O_RDONLY)]
    spare.append(os.open(os.devnull, os.O_RDONLY))
    descriptors.look()
    assert descriptors.fault
try:
    os.open(os.devnull, os.O_RDONLY)
    raise AssertionError("the reserve is closed again")
except OSError:
    pass
for one in (*held, *spare):
    os.close(one)
descriptors.look()
assert not descriptors.fault
with descriptors.spared():
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256 - RESERVED, 256)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (256 - RESERVED, 256)
print("held")
"""


def test_the_limit_is_raised_and_a_reserve_is_there_for_who_is_spared_once_none_is_left() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("held\n", 0), done.stderr


EXHAUSTED = """
import asyncio, os, resource, socket, sys, tempfile
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
from reconciler.clock import SystemClock
from reconciler.control.socket import PeerProtocol, bind_control_socket
from reconciler.connections import Descriptors
from reconciler.records.halt import Halt
from reconciler.serving import serving, tell_refused_accepts_once
from reconciler.store.halt_requests import HaltRequests

folder = Path(sys.argv[1])
halt = Halt("all", "", False, "fire", "uid 0", "2026-01-31T12:00:00.000Z")

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"served"})

async def run():
    descriptors = Descriptors()
    tell_refused_accepts_once(descriptors.look)
    requests, other = HaltRequests(folder, SystemClock()), HaltRequests(folder, SystemClock())
    requests.hold()
    other.append(halt)
    client = socket.socket(socket.AF_UNIX)
    client.setblocking(False)
    listener = bind_control_socket(folder / "control.sock")
    listener.listen()
    async with serving(app, listener, "control", http=PeerProtocol, spared=descriptors.spared):
        await asyncio.sleep(0)
        held = []
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        assert requests.read() == (halt,)
        requests.append(halt)
        requests.drop([halt])
        assert requests.read() == ()
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, str(folder / "control.sock"))
        await loop.sock_sendall(client, b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        answer = b""
        async with asyncio.timeout(20):
            while b"served" not in answer:
                answer += await loop.sock_recv(client, 1000)
        for one in held:
            os.close(one)
    client.close()
    requests.close()

asyncio.run(run())
print("held")
"""


def test_where_no_descriptor_is_left_halts_are_read_and_the_control_socket_answers(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXHAUSTED, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.returncode) == ("held\n", 0), done.stderr
