"""Text that can be written down: what UTF-8 can hold. Pure. Python's strings may hold lone surrogates, it cannot."""

from __future__ import annotations

import traceback
from typing import Final

_LONGEST: Final = 300


def is_storable(text: str) -> bool:
    """True where UTF-8 can hold `text`: no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable(text: str) -> str:
    """`text` with what UTF-8 cannot hold escaped: exceptions, servers' answers and file names may contain it."""
    return text if is_storable(text) else text.encode("utf-8", "backslashreplace").decode()


def said(error: BaseException) -> str:
    """`ValueError: message` on one line, storable, bounded; an exception that cannot be printed says so."""
    text = storable(" ".join(traceback.format_exception_only(type(error), error)[-1].split()))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}…"
