"""Scalars: what a plain (unquoted) word of YAML means in the 1.2 core schema. Pure.

https://yaml.org/spec/1.2.2/#103-core-schema. `off`, `yes`, dates and times are strings; `010` is ten.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_STARTS: Final = frozenset("+-.0123456789")
SPECIAL_STARTS: Final = _NUMBER_STARTS | {word[:1] for word in _WORDS}
"""How a plain word begins that may be more than text; `""` is how the empty one does."""
_NUMBER: Final = re.compile(
    r"(?P<decimal>[-+]?[0-9]+)"
    r"|0o(?P<octal>[0-7]+)"
    r"|0x(?P<hexadecimal>[0-9a-fA-F]+)"
    r"|(?P<float>[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)"
    r"|(?P<special>[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))"
)
_BASES: Final = {"decimal": 10, "octal": 8, "hexadecimal": 16}
_MOST_DIGITS: Final = 22  # of 64 bits, in octal
_LARGEST: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Unusable:
    """A scalar that means something, but nothing this project can hold exactly, or that others read otherwise."""

    message: str
    hint: str
    rule: str = "yaml-number"


Scalar = str | int | float | bool | None


def resolve(text: str) -> Scalar | Unusable:
    """The value of a plain scalar; `Unusable` for infinities, NaN and numbers too large to be kept exactly."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    return _number(text)


def _number(text: str) -> Scalar | Unusable:
    match = _NUMBER.fullmatch(text)
    if match is None:
        return text
    kind = match.lastgroup or ""
    if kind == "special":
        return Unusable(f"expected a finite number, was {text}", 'quote it if it is meant as text: "' + text + '"')
    if kind == "float":
        number = float(text)
        return number if math.isfinite(number) else Unusable("expected a number below 1.8e308", _QUOTE)
    digits = match.group(kind)
    significant = digits.lstrip("+-0") or "0"
    # int() refuses long texts with an exception of its own, so look at the length first.
    if len(significant) <= _MOST_DIGITS:
        integer = int(significant, _BASES[kind]) * (-1 if digits[0] == "-" else 1)
        if -_LARGEST - 1 <= integer <= _LARGEST:
            return integer
    return Unusable("expected an integer of at most 64 bits", _QUOTE)


_QUOTE: Final = "quote it if it is meant as text"
LONE_DASH: Final = Unusable('expected a value, was a lone "-"', _QUOTE, "yaml-otherwise")
