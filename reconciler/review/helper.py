"""Helpers: copies of this process that are told something, answer with numbers, and end. Know nothing of the work.

To be made while this process has one thread: a copy has that one alone, and would wait for ever for a lock of another.
A helper that dies has not answered, and nothing more is lost.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
from array import array
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn

Work = Callable[[Any], Iterable[int]]


class Helper:
    """One copy. `work` turns what it is told into numbers."""

    def __init__(self, work: Work) -> None:
        """Raises OSError where the system allows no more of them."""
        self._line, theirs = socket.socketpair()
        with theirs:
            try:
                self.pid = os.fork()
            except OSError:
                self._line.close()
                raise
            if not self.pid:
                self._line.close()  # or it would never see the end of what it is told
                _live(work, theirs)

    def tell(self, value: Any) -> None:
        with suppress(OSError):  # it is dead, as its answer will show
            self._line.sendall(pickle.dumps(value))
            self._line.shutdown(socket.SHUT_WR)

    def answer(self) -> array[int]:
        """All numbers, or those that it came to say: each of them is true by itself."""
        said = _received(self._line)
        numbers = array("I")
        numbers.frombytes(said[: len(said) - len(said) % numbers.itemsize])
        return numbers

    def end(self) -> None:
        self._line.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _live(work: Work, line: socket.socket) -> NoReturn:
    """All of a helper's life. It ends without a trace: buffers, messages and exit handlers are its parent's."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        line.sendall(array("I", work(pickle.loads(_received(line)))).tobytes())
    finally:
        os._exit(0)


def _received(line: socket.socket) -> bytes:
    """What comes until the other side ends, one way or another."""
    parts = []
    with suppress(OSError):
        while part := line.recv(65_536):
            parts.append(part)
    return b"".join(parts)
