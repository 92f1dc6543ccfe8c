"""Log lines as people and machines read them: time, level, message, then key=value. Standard logging, to stderr."""

from __future__ import annotations

import json
import logging
from typing import Any

from reconciler.clock import iso
from reconciler.visible import visible, visible_lines

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


def _indented(traceback: str) -> str:
    return "\n".join(f"  {line}" for line in visible_lines(traceback).split("\n"))


def _shown(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if not text or any(c in text for c in ' "=\n') else text
