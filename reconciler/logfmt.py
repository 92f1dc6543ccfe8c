"""Log lines as people and machines read them: time, level, message, then key=value. Standard logging, to stderr."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final, TextIO

from reconciler.clock import iso
from reconciler.visible import visible, visible_lines

log = logging.getLogger(__name__)

_MARK: Final = "| "
_LINE_END: Final = ("", "\n")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LogFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.000Z INFO engine started root=/fleet epoch=3`; values with blanks are JSON strings.

    A line is a line, whatever was said: what cannot be seen is escaped, and a traceback stands indented below.
    """

    def format(self, record: logging.LogRecord) -> str:
        extras = [f"{key}={_shown(value)}" for key, value in vars(record).items() if key not in _STANDARD]
        line = visible(" ".join([iso(record.created), record.levelname, record.getMessage(), *extras]))
        return f"{line}\n{_indented(self.formatException(record.exc_info))}" if record.exc_info else line


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send this process's log to stderr, once. Libraries speak up from WARNING on."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("reconciler").setLevel(level)


@contextlib.contextmanager
def foreign_code_told() -> Iterator[None]:
    """While it lasts, what would stand on stderr as it came is told: what ends threads, warnings, what others print."""

    def ended(args: threading.ExceptHookArgs) -> None:
        name = None if args.thread is None else args.thread.name
        caught = (args.exc_type, args.exc_value, args.exc_traceback)
        log.error("a thread ended", extra={"named": name}, exc_info=caught)  # type: ignore[arg-type]

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        caught = (args.exc_type, args.exc_value, args.exc_traceback)
        log.error("an exception could not be raised", exc_info=caught)  # type: ignore[arg-type]

    before = threading.excepthook, sys.unraisablehook, sys.stdout, sys.stderr
    threading.excepthook, sys.unraisablehook = ended, unraisable
    sys.stdout, sys.stderr = _Printed(sys.stdout), _Printed(sys.stderr)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        threading.excepthook, sys.unraisablehook, sys.stdout, sys.stderr = before


class _Printed(io.TextIOBase):
    """A stream for foreign code: what it writes acts on no terminal, and no line of it looks like one of the log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begins_line = True

    def write(self, text: str) -> int:
        shown = visible_lines(str(text))
        if shown:
            ends_line = shown.endswith("\n")
            marked = shown.removesuffix("\n").replace("\n", f"\n{_MARK}")
            self._stream.write(f"{_MARK if self._begins_line else ''}{marked}{_LINE_END[ends_line]}")
            self._begins_line = ends_line
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def buffer(self) -> Any:
        return getattr(self._stream, "buffer", None)


def _indented(traceback: str) -> str:
    return "\n".join(f"  {line}" for line in visible_lines(traceback).split("\n"))


def _shown(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=\n') else text
