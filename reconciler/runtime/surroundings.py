"""The surroundings: what is of the whole process, and must be as the engine left it whatever a strategy sets.

A strategy that wants another locale, directory or recursion limit gets it for the rest of its hook. Then it is put
back, and told with the name of the hook, so that it does not become the trouble of everybody else: an interpreter that
hands over too seldom delays each beat, a limit of its own makes pages fail, a trace function ends threads.

Not what a module keeps to itself: whoever replaces functions of others is not stopped here.
"""

from __future__ import annotations

import builtins
import decimal
import gc
import locale
import logging
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

_LIMITS: Final = ("RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_CPU")
_TIMERS: Final = ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
"""Their signals end the process, whoever is at work then."""
_SHOWN: Final = 60
_ADDRESS: Final = re.compile(" at 0x[0-9a-f]+")


class _Setting(NamedTuple):
    """One thing of the process: what it is called, how it is looked at, and how it is put back."""

    name: str
    look: Callable[[], Any]
    put: Callable[[Any], object]


class Surroundings:
    """As they are when this is made. Any thread may put them back; what two do at once comes to the same."""

    def __init__(self) -> None:
        self._built_in = dict(vars(builtins))
        self._settings = _settings()
        self._kept = [setting.look() for setting in self._settings]
        self._told = [""] * len(self._settings)

    def put_back(self) -> list[str]:
        """Put back whatever is otherwise; returns what it was, `the switch interval was 10.0`. Takes 0.1 ms.

        What cannot be put back is told once.
        """
        changed = self._put_back_built_in()
        for index, setting in enumerate(self._settings):
            was = _put_back(setting, self._kept[index])
            if was and was != self._told[index]:
                changed.append(f"{setting.name} was {was}")
            self._told[index] = was if was and _put_back(setting, self._kept[index]) else ""
        return changed

    def _put_back_built_in(self) -> list[str]:
        """The first of all, and without calling any: whatever else is done here stands on them."""
        now, changed = builtins.__dict__, []
        for name, value in self._built_in.items():
            if name not in now or now[name] is not value:
                if name != "_":  # what an interpreter at a prompt showed last
                    changed.append(f"the built-in {name} was another one")
                now[name] = value
        return changed


def _put_back(setting: _Setting, kept: Any) -> str:
    """What it was instead, empty where it was as it is to be. A boundary: what is looked at may be foreign code."""
    try:
        found = setting.look()
        if found == kept:
            return ""
        setting.put(kept)
    except Exception as error:  # noqa: BLE001 - the others are to be put back all the same
        return f"not to be had: {type(error).__name__}"
    return _shown(found)


def _shown(value: object) -> str:
    text = _ADDRESS.sub("", repr(value))
    return text if len(text) <= _SHOWN else f"another one ({type(value).__name__})"


def _settings() -> list[_Setting]:
    own = logging.getLogger("reconciler")
    mask = os.umask(0o077)
    os.umask(mask)
    found = [
        _Setting("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
        _Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        _Setting("the limit of digits", sys.get_int_max_str_digits, sys.set_int_max_str_digits),
        _Setting("the trace function of threads", threading.gettrace, threading.settrace),
        _Setting("the profile function of threads", threading.getprofile, threading.setprofile),
        _Setting("the thread's trace function", sys.gettrace, sys.settrace),
        _Setting("the thread's profile function", sys.getprofile, sys.setprofile),
        _Setting("the working directory", os.getcwd, os.chdir),
        _Setting("the umask", lambda: os.umask(mask), os.umask),
        _Setting("the locale", lambda: locale.setlocale(locale.LC_ALL), _set_locale),
        _Setting("the time zone", _zone, _set_zone),
        _Setting("the decimal context of new threads", _decimals, _set_decimals),
        _Setting("the time-out of new sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
        *(_Setting(f"the timer {name}", *_timer(getattr(signal, name))) for name in _TIMERS),
        _Setting("the garbage collector", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        _Setting("the level below which nothing is logged", lambda: logging.root.manager.disable, logging.disable),
        _Setting("the level of the engine's log", lambda: (own.level, own.disabled), lambda kept: _set_log(own, kept)),
        _Setting("where the log goes", lambda: list(logging.root.handlers), _set_handlers),
        _Setting("the hook for threads that fail", lambda: threading.excepthook, _setter(threading, "excepthook")),
        _Setting("the standard output", lambda: sys.stdout, _setter(sys, "stdout")),
        _Setting("the standard error", lambda: sys.stderr, _setter(sys, "stderr")),
    ]
    for name in _LIMITS:
        number = getattr(resource, name, None)
        if number is not None:
            found.append(_Setting(f"the limit {name}", *_limit(number)))
    return found


def _timer(number: int) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return lambda: signal.getitimer(number) == (0.0, 0.0), lambda _: signal.setitimer(number, 0)


def _limit(number: int) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    def put(soft: int) -> None:
        resource.setrlimit(number, (soft, resource.getrlimit(number)[1]))

    return lambda: resource.getrlimit(number)[0], put


def _setter(where: Any, name: str) -> Callable[[Any], object]:
    return lambda value: setattr(where, name, value)


def _set_locale(kept: str) -> None:
    locale.setlocale(locale.LC_ALL, kept)


def _zone() -> tuple[str | None, tuple[str, str]]:
    return os.environ.get("TZ"), time.tzname


def _set_zone(kept: tuple[str | None, tuple[str, str]]) -> None:
    if kept[0] is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = kept[0]
    time.tzset()


_DECIMAL: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimals() -> tuple[Any, ...]:
    one = decimal.DefaultContext
    return (*(getattr(one, name) for name in _DECIMAL), [flag for flag, traps in one.traps.items() if traps])


def _set_decimals(kept: tuple[Any, ...]) -> None:
    one = decimal.DefaultContext
    for name, value in zip(_DECIMAL, kept[:-1], strict=True):
        setattr(one, name, value)
    for flag in one.traps:
        one.traps[flag] = flag in kept[-1]


def _set_log(own: logging.Logger, kept: tuple[int, bool]) -> None:
    own.setLevel(kept[0])
    own.disabled = kept[1]


def _set_handlers(kept: list[logging.Handler]) -> None:
    logging.root.handlers[:] = kept
