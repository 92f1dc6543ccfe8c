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
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any, Final, NoReturn

from reconciler import forks

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
        where = "" if forks.is_child else strategy_frame(sys._getframe(1))
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
