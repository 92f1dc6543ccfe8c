"""What is of the whole process is put back, and told with whoever set it. Tried on processes of their own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from reconciler.runtime.process import Surroundings
from reconciler.runtime.protocol import Disturbed
from reconciler.strategy.base import Strategy

if TYPE_CHECKING:
    from tests.runtime.conftest import MakeStage

DECIMALS = "the decimal context of new threads was another one (str)"
CHANGES = {
    "sys.setswitchinterval(10)": "the switch interval was 10.0",
    "sys.setrecursionlimit(5000)": "the recursion limit was 5000",
    "sys.set_int_max_str_digits(640)": "the limit of digits was 640",
    "threading.settrace(print)": "the trace function of threads was <built-in function print>",
    "threading.setprofile(print)": "the profile function of threads was <built-in function print>",
    "sys.settrace(lambda *_: None)": "the thread's trace function was <function <lambda>>",
    "sys.setprofile(lambda *_: None)": "the thread's profile function was <function <lambda>>",
    "os.chdir('/')": "the working directory was '/'",
    "os.umask(0)": "the umask was 0",
    "locale.setlocale(locale.LC_ALL, 'C.UTF-8')": "the locale was 'C.UTF-8'",
    "os.environ.__setitem__('TZ', 'Asia/Tokyo'); time.tzset()": "the time zone was ('Asia/Tokyo', ('JST', 'JST'))",
    "decimal.DefaultContext.prec = 3": DECIMALS,
    "decimal.DefaultContext.traps[decimal.Inexact] = True": DECIMALS,
    "socket.setdefaulttimeout(1)": "the time-out of new sockets was 1.0",
    "signal.alarm(1000)": "the timer ITIMER_REAL was False",
    "gc.disable()": "the garbage collector was False",
    "logging.disable(50)": "the level below which nothing is logged was 50",
    "logging.getLogger('reconciler').setLevel(50)": "the level of the engine's log was (50, False)",
    "logging.root.handlers.clear()": "where the log goes was []",
    "sys.stdout = None": "the standard output was None",
    "builtins.len = None": "the built-in len was another one",
    "del builtins.isinstance, builtins.zip": "the built-in isinstance was another one",
    "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))": (
        "the limit RLIMIT_FSIZE was 0"
    ),
}
TRY = """
import builtins, decimal, gc, locale, logging, os, resource, signal, socket, sys, threading, time
from reconciler.runtime.process import Surroundings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
logging.basicConfig()
around = Surroundings()
assert around.put_back() == []
for change in {changes!r}:
    exec(change)
    print(around.put_back()[0])
    assert around.put_back() == [], change
"""


def test_each_is_put_back_and_told_as_what_it_was() -> None:
    command = [sys.executable, "-c", TRY.format(changes=list(CHANGES))]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, timeout=50)
    assert done.stdout.splitlines() == list(CHANGES.values()), done.stderr


def test_what_cannot_be_put_back_is_told_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    gone = tmp_path_factory.mktemp("gone")
    code = f"""
import os
from reconciler.runtime.process import Surroundings
os.chdir({str(gone)!r})
around = Surroundings()
os.chdir("/")
os.rmdir({str(gone)!r})
print(len(around.put_back()), len(around.put_back()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert done.stdout == "1 0\n", done.stderr


class One(Surroundings):
    """The only thing of the process is whether `is_changed`."""

    def __init__(self) -> None:
        self.is_changed = False

    def put_back(self) -> list[str]:
        changed, self.is_changed = self.is_changed, False
        return ["it was changed"] if changed else []


@pytest.mark.parametrize("hook", ["init", "on_tick", "render", "on_unload"])
def test_it_is_told_whose_hook_it_was(make_stage: MakeStage, hook: str) -> None:
    around = One()
    stage = make_stage(surroundings=around)

    def change(self: Strategy) -> list[object]:
        around.is_changed = True
        return []

    quiet = {"on_tick": lambda self: None}
    stage.load(type("Quiet", (Strategy,), quiet), stage.row("quiet"))
    stage.load(type("Changes", (Strategy,), {**quiet, hook: change}), stage.row("one"))
    stage.tick()
    stage.host.unload("one", "removed")
    stage.until(lambda: "one" not in stage.host.views())
    found = stage.told(Disturbed)
    assert {(one.id, one.hook, one.changed) for one in found} == {("one", hook, ("it was changed",))}


def test_what_is_found_at_a_beat_was_one_of_those_that_ticked(make_stage: MakeStage) -> None:
    around = One()
    stage = make_stage(surroundings=around)
    stage.load(type("Quiet", (Strategy,), {"on_tick": lambda self: None}))
    around.is_changed = True
    stage.tick()
    assert stage.told(Disturbed) == [Disturbed("", "", ("it was changed",), ("one",))]
