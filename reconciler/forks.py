"""Forked children: whatever a strategy starts, none of the engine goes with it.

A child has a copy of every descriptor. With the engine's lock it would keep the next engine out, with its listeners
answer for it and never reply, with its database write into it. So who holds such a thing says here what a child does
about it, first of all. It is let go by pointing the descriptor at nothing: one that was closed would soon be another
file, into which what the child inherited would write.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

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
