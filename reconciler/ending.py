"""How this process ends, whatever strategies left behind in it: in time, and with a code that says who wanted it.

Strategies share the process. They may register what never returns at its end, hold threads, damage what every program
stands on, or end the process themselves, which a supervisor must not take for an operator's wish.
"""

from __future__ import annotations

import _thread
import contextlib
import faulthandler
import logging
import os
import signal
import sys
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

is_child = False
"""True in a child of an engine: nothing of the engine runs there."""
_in_children: dict[object, Callable[[], object]] = {}
_forking = threading.local()
_DESCRIPTORS = ("/proc/self/fd", "/dev/fd")
_OBEYED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextlib.contextmanager
def in_children(callback: Callable[[], object]) -> Iterator[None]:
    """While the context lasts, every child calls `callback` before anything else. It must wait for no lock."""
    token = object()
    _in_children[token] = callback
    try:
        yield
    finally:
        del _in_children[token]


def let_go(descriptors: Iterable[int]) -> None:
    """In a child: these lead nowhere from now on."""
    nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for descriptor in descriptors:
        with contextlib.suppress(OSError):  # it was closed already
            os.dup2(nowhere, descriptor, inheritable=False)


def let_go_files(folder: Path) -> None:
    """In a child: whatever of `folder` is open leads nowhere from now on."""
    ours = set()
    with contextlib.suppress(OSError):  # a folder that is gone has nothing that others could miss
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                found = entry.stat(follow_symlinks=False)
                ours.add((found.st_dev, found.st_ino))
    let_go(number for number in _open_descriptors() if _identity(number) in ours)


def let_go_loop(loop: AbstractEventLoop) -> None:
    """In a child: no connection of `loop` is its own, nor are the signals that the loop is woken by."""
    found: set[int] = set()
    selector = getattr(loop, "_selector", None)  # asyncio tells of neither; without them children keep connections
    if selector is not None:
        found.update(key.fd for key in (selector.get_map() or {}).values())
        with contextlib.suppress(AttributeError, ValueError):
            found.add(selector.fileno())
    found.update(getattr(loop, "_transports", ()))
    let_go(found)


def _open_descriptors() -> list[int]:
    for folder in _DESCRIPTORS:
        with contextlib.suppress(OSError):
            return [int(name) for name in os.listdir(folder)]
    return []


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _before_fork() -> None:
    """A signal to the child must not come while it is still handled as the engine's: it waits."""
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _OBEYED) if _in_children else None


def _forked() -> None:
    if _forking.mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork() -> None:
    """A boundary: a child has nobody to tell what failed, and what is next must be let go all the same."""
    global is_child
    if not _in_children:
        return
    is_child = True
    for callback in (_obey_again, *_in_children.values()):
        with contextlib.suppress(Exception):
            callback()
    _forked()


def _obey_again() -> None:
    """What ends the engine in order would end a child never: its loop does not run there."""
    if threading.current_thread() is threading.main_thread():
        signal.set_wakeup_fd(-1)
        for number in _OBEYED:
            signal.signal(number, signal.SIG_DFL)


os.register_at_fork(before=_before_fork, after_in_parent=_forked, after_in_child=_after_fork)


log = logging.getLogger(__name__)

GRACE_S: Final = 8.0
"""How much longer than its deadline for hooks all of an orderly stop may take."""
_LATER_S: Final = 1.0
_STRATEGIES: Final = "_reconciler_strategy_"
"""How the names of their modules begin, see `strategy.loading`."""

_END: Final = """\
import os, sys, time
pid, until = int(sys.argv[1]), time.monotonic() + float(sys.argv[2])
while os.getppid() == pid:
    if time.monotonic() > until:
        os.kill(pid, 9)
        break
    time.sleep(0.1)
"""
"""What another process does: end this one, unless it has ended by then."""


def obey_still() -> None:
    """On the main thread: the signals that end the engine reach their handlers again, whatever foreign C code set."""
    for number in _OBEYED:
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, handler)
            signal.siginterrupt(number, False)  # as asyncio does: no call is cut short


class LastResort:
    """Ends the process so many seconds after it was told to end, if it is still there: with code 1, or by SIGKILL.

    First by a timer of C's, which waits for no lock of the interpreter and tells where every thread was; then by
    another process, which nothing in this one can stop.
    """

    def __init__(self) -> None:
        self.is_armed = False
        self._later = faulthandler.dump_traceback_later  # as they are now: strategies may replace any name
        self._spawn = os.posix_spawn
        self._python = sys.executable
        self._open = os.POSIX_SPAWN_OPEN

    def arm(self, within_s: float) -> None:
        """Once; later calls change nothing. For a signal's handler: it takes no lock, and raises nothing."""
        if self.is_armed:
            return
        self.is_armed = True
        with contextlib.suppress(OSError, ValueError, RuntimeError):  # stderr is gone: the other one is left
            self._later(within_s, exit=True)
        command = [self._python, "-I", "-S", "-c", _END, str(os.getpid()), str(within_s + _LATER_S)]
        nowhere = [(self._open, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
        try:
            self._spawn(self._python, command, {}, file_actions=nowhere, setpgroup=0)
        except OSError as error:
            log.warning("no process could be started to end this one", extra={"error": str(error)})


def leave(code: int) -> NoReturn:
    """End the process now. Everything of ours is closed: what strategies left to be done or waited for is not."""
    left = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if left:
        log.info("threads left behind are abandoned", extra={"threads": ",".join(left)})
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # it is closed, full, or was replaced
            stream.flush()
    os._exit(code)


def notice_own_hand(told: Callable[[int, str], object]) -> None:
    """From now on `told` hears it before a strategy ends the process: the signal it sends, 0 for none, and where.

    By what Python has for it, `os.kill at strategies/grid.py:31 in on_tick`. Code that asks the system itself goes
    unnoticed: this is about mistakes. Nor is anything noticed in a forked child, which may end as it likes.
    """

    def sent(process: int, number: int) -> int | None:
        return number if number and process in (os.getpid(), 0, -1, -os.getpgrp()) else None

    def sent_to_group(group: int, number: int) -> int | None:
        return number if number and group in (0, os.getpgrp()) else None

    def sent_to_thread(thread: int, number: int) -> int | None:
        return number or None

    def raised(number: int = signal.SIGINT) -> int | None:
        return number

    def ended(code: int = 1) -> int | None:
        return 0

    _wrap(os, "kill", told, sent)
    _wrap(os, "killpg", told, sent_to_group)
    _wrap(os, "_exit", told, ended)
    _wrap(os, "abort", told, ended)
    _wrap(signal, "raise_signal", told, raised)
    _wrap(signal, "pthread_kill", told, sent_to_thread)
    _wrap(_thread, "interrupt_main", told, raised)


def _wrap(module: Any, name: str, told: Callable[[int, str], object], signal_of: Callable[..., int | None]) -> None:
    original = getattr(module, name)

    @wraps(original)
    def noticed(*arguments: Any) -> Any:
        where = "" if is_child else strategy_frame(sys._getframe(1))
        if where:
            if name == "_exit" and arguments == (0,):
                arguments = (1,)  # 0 says that a person asked for it: a supervisor would not start it again
            with contextlib.suppress(TypeError):  # the original says what is wrong with them
                number = signal_of(*arguments)
                if number is not None:
                    told(int(number), f"{module.__name__.lstrip('_')}.{name} at {where}")
        return original(*arguments)

    setattr(module, name, noticed)


def strategy_frame(frame: FrameType | None) -> str:
    """The innermost line of a strategy from `frame` outwards, `strategies/grid.py:31 in on_tick`; empty without one."""
    while frame is not None:
        if str(frame.f_globals.get("__name__", "")).startswith(_STRATEGIES):
            path = frame.f_code.co_filename.partition("@")[0]
            return f"{path}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return ""
