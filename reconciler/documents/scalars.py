"""Scalars: what a plain (unquoted) word of YAML means in the 1.2 core schema, and files of plain words. Pure.

https://yaml.org/spec/1.2.2/#103-core-schema. `off`, `yes`, dates and times are strings; `010` is ten.

A plain file has nothing but comments and `key: value` lines, nested by indentation, whose values are plain words,
quoted text without escapes, or one `{key: value, …}`; all of it printable ASCII. One look at each line tells what it
says. Everything else is for the parser (`document`), which has the last word: a test holds that whatever is read
here is read alike there.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

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


_MAX_BYTES: Final = 16_384
_MAX_DEPTH: Final = 16

_KEY: Final = r"[A-Za-z_][A-Za-z0-9_-]{0,99}"
_QUOTED: Final = r""""[ !#-\[\]-~]*"|'[ -&(-~]*'"""
_PLAIN_WORDS: Final = r"-?[A-Za-z0-9][A-Za-z0-9_./+,;()%'-]*(?: +[A-Za-z0-9_./+,;()%'-]+)*"
_FEWER_WORDS: Final = _PLAIN_WORDS.replace(",", "")  # where a comma ends them
_PAIR: Final = rf"{_KEY}: +(?:{_FEWER_WORDS}|{_QUOTED})"
_MAPPING: Final = rf"\{{ *(?:{_PAIR} *(?:, *{_PAIR} *)*)?\}}"
_VALUE: Final = rf"{_PLAIN_WORDS}|{_QUOTED}|{_MAPPING}"
_LINE: Final = re.compile(rf"^(( *)(?:(?:#[ -~]*)?|({_KEY}):(?: +({_VALUE}))? *(?: #[ -~]*)?)\n)", re.MULTILINE)
_PAIRS: Final = re.compile(rf"({_KEY}): +({_FEWER_WORDS}|{_QUOTED})")


def values_of(data: bytes) -> dict[str, Any] | None:
    """What a plain file says; None where it is not plain, or wrong."""
    if len(data) > _MAX_BYTES or not data.isascii():
        return None
    text = data.decode("ascii") + ("" if data.endswith(b"\n") else "\n")
    root: dict[str, Any] = {}
    here, column = root, 0
    around: list[tuple[dict[str, Any], int]] = []
    opened = ""  # the key of the line before, where that gives it no value
    length = 0
    for line, indentation, key, value in _LINE.findall(text):
        length += len(line)
        if not key:
            continue
        at = len(indentation)
        if at != column:
            if at > column:
                if not opened or len(around) == _MAX_DEPTH:
                    return None
                around.append((here, column))
                inner: dict[str, Any] = {}
                here[opened] = inner
                here, column = inner, at
            else:
                while at < column:
                    here, column = around.pop()
                if at != column:
                    return None
        opened = "" if value else key
        if key in here or not _put(here, key, value):
            return None
    return root if length == len(text) and root else None  # else something stands between the lines


def _put(here: dict[str, Any], key: str, text: str) -> bool:
    """Put what `text` means into the mapping; False where that cannot be."""
    first = text[:1]
    if first == '"' or first == "'":
        here[key] = text[1:-1]
    elif first == "{":
        inner: dict[str, Any] = {}
        here[key] = inner
        for inner_key, inner_text in _PAIRS.findall(text):
            if inner_key in inner or not _put(inner, inner_key, inner_text):
                return False
    else:
        value = resolve(text) if first in SPECIAL_STARTS else text
        if value.__class__ is Unusable:
            return False
        here[key] = value
    return key[0] not in SPECIAL_STARTS or resolve(key) is key
