"""Reading single values out of an answer: numbers, texts, times. Pure; raises Unreadable for what is none.

Servers are foreign: what they write may be of any length, and is held to what an order can be before it is reckoned
with, stored or shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from reconciler.errors import ExecUnknown

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
_LONGEST_NUMBER: Final = 100
_DIGITS: Final = 40
"""A number has at most so many digits before its point, and so many after it, written out without an exponent."""
LONGEST_TEXT: Final = 500


class Unreadable(ExecUnknown):
    """The server answered, but not with what the contract asks for, or with what cannot be read at all."""


def objects(value: Any, name: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unreadable(f"{name}: expected a list of objects, was {value!r:.80}")
    return value


def text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise Unreadable(f"{name}: expected text, was {value!r:.80}")
    return value


def optional_text(value: Any) -> str | None:
    return None if value is None else str(value)[:LONGEST_TEXT]


def number(value: Any, name: str) -> Decimal:
    """A decimal string, or the shortest decimal of a JSON number where a server sends one."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise Unreadable(f"{name}: expected a decimal string, was {value!r:.80}")
    # Python refuses to write an integer of thousands of digits.
    spelled = "too many digits" if isinstance(value, int) and abs(value) >= 10**_LONGEST_NUMBER else str(value).strip()
    if spelled.lower().lstrip("+-").startswith(("nan", "snan", "inf")):
        raise Unreadable(f"{name}: expected a finite number, was {spelled!r:.80}")
    if len(spelled) > _LONGEST_NUMBER or not _NUMBER.fullmatch(spelled):
        raise Unreadable(f"{name}: expected a decimal string, was {spelled!r:.80}")
    # Written as the ledger will write it: 0.1010 is 0.101.
    read = Decimal(spelled.rstrip("0") if "." in spelled and "e" not in spelled.lower() else spelled)
    if read.adjusted() >= _DIGITS or int(read.as_tuple().exponent) < -_DIGITS:
        raise Unreadable(f"{name}: expected at most {_DIGITS} digits before and after the point, was {spelled!r:.80}")
    return read


def positive(read: Decimal, name: str) -> Decimal:
    if read <= 0:
        raise Unreadable(f"{name}: expected more than zero, was {read}")
    return read


def optional_number(value: Any, name: str) -> Decimal | None:
    return None if value is None else number(value, name)


def time(value: Any, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text(value, name))
    except ValueError:
        raise Unreadable(f"{name}: expected an ISO 8601 time, was {value!r:.80}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
