"""What strategies print while a command imports them: kept apart from the answer, and told afterwards on stderr.

An answer is data, and CI reads commands from both streams. So while the command runs, file descriptors 1 and 2 lead
to a file that is thrown away, and only the thread that began, which never runs a strategy's code, writes where they
led before. Works on the whole process: for commands that do one thing and end.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TextIO

from reconciler.cli.output import say
from reconciler.review.wording import count, inert

_MOST_LINES: Final = 20
_LONGEST_LINE: Final = 300
_MOST_CHARACTERS: Final = 100_000
_NOBODY: Final = "a strategy"


@contextmanager
def strategies_aside() -> Iterator[None]:
    """Within it nothing that a strategy prints reaches stdout or stderr; at its end the first of it is told."""
    heard = _Heard()
    former = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    with tempfile.TemporaryFile() as file:
        kept = {number: os.dup(number) for number in (1, 2) if _is_open(number)}
        streams = [_Parted(stream, kept, heard) for stream in former[:2]]
        try:
            for number in kept:
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc, assignment]
            yield
        finally:
            sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = former  # type: ignore[misc]
            try:
                for stream in streams:
                    stream.rejoin()
            finally:
                for number, original in kept.items():
                    os.dup2(original, number)
                    os.close(original)
                file.seek(0)
                heard.add(_NOBODY, file.read(_MOST_CHARACTERS).decode(errors="replace"))
                heard.tell()


class _Heard:
    """What was printed, by the strategy that printed it as far as its thread tells. Bounded."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._room = _MOST_CHARACTERS

    def add(self, who: str, text: str) -> None:
        if text and self._room > 0:
            self._room -= len(text)
            self._texts.setdefault(who, []).append(text[:_MOST_CHARACTERS])

    def tell(self) -> None:
        lines = [(who, line) for who, texts in self._texts.items() for line in "".join(texts).splitlines()]
        for who, line in lines[:_MOST_LINES]:
            say(inert(f"{who} printed: {line if len(line) <= _LONGEST_LINE else f'{line[:_LONGEST_LINE]}…'}"))
        if len(lines) > _MOST_LINES:
            say(f"and {count(len(lines) - _MOST_LINES, 'more line')} that strategies printed")


class _Parted(io.TextIOBase):
    """A stream for two: what the thread that made it writes goes where it always went, all else is heard."""

    def __init__(self, stream: TextIO, kept: dict[int, int], heard: _Heard) -> None:
        self._stream = self._former = stream
        self._heard = heard
        self._thread = threading.get_ident()
        number = _descriptor(stream)
        if number in kept:
            stream.flush()
            self._stream = open(  # noqa: SIM115 - closed in rejoin
                kept[number], "w", encoding=stream.encoding, errors=stream.errors, newline="", closefd=False
            )

    def write(self, text: str, /) -> int:
        if threading.get_ident() == self._thread:
            return self._stream.write(text)
        who = threading.current_thread().name
        self._heard.add(who.removeprefix("import ") if who.startswith("import ") else _NOBODY, text)
        return len(text)

    def flush(self) -> None:
        if threading.get_ident() == self._thread:
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Not theirs to close; `rejoin` does."""

    def rejoin(self) -> None:
        """End it: whoever still holds it writes to the stream that it stood for."""
        stream, self._stream = self._stream, self._former
        if stream is not self._former:
            with suppress(OSError):  # whatever was written was flushed at once, and told where it could not be
                stream.close()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    @property
    def buffer(self) -> Any:
        return _Bytes(self) if threading.get_ident() != self._thread else self._stream.buffer


class _Bytes(io.RawIOBase):
    """The bytes below a stream, for those who are only heard."""

    def __init__(self, stream: _Parted) -> None:
        self._stream = stream

    def write(self, data: Any, /) -> int:
        self._stream.write(bytes(data).decode(errors="replace"))
        return len(data)

    def writable(self) -> bool:
        return True


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return -1


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
