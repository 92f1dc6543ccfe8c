"""Plain files: the quick way to read what nearly every instance file is made of. Pure.

A plain file has nothing but comments and `key: value` lines, nested by indentation, whose values are plain words,
quoted text without escapes, or one `{key: value, …}`; all of it printable ASCII. One look at each line tells what it
says. Everything else is for the parser (`document`), which has the last word: a test holds that whatever is read
here is read alike there.
"""

from __future__ import annotations

import re
from typing import Any, Final

from reconciler.documents.scalars import SPECIAL_STARTS, Unusable, resolve

_MAX_BYTES: Final = 16_384
_MAX_DEPTH: Final = 16

_KEY: Final = r"[A-Za-z_][A-Za-z0-9_-]{0,99}"
_QUOTED: Final = r""""[ !#-\[\]-~]*"|'[ -&(-~]*'"""
_WORDS: Final = r"-?[A-Za-z0-9][A-Za-z0-9_./+,;()%'-]*(?: +[A-Za-z0-9_./+,;()%'-]+)*"
_FEWER_WORDS: Final = _WORDS.replace(",", "")  # where a comma ends them
_PAIR: Final = rf"{_KEY}: +(?:{_FEWER_WORDS}|{_QUOTED})"
_MAPPING: Final = rf"\{{ *(?:{_PAIR} *(?:, *{_PAIR} *)*)?\}}"
_VALUE: Final = rf"{_WORDS}|{_QUOTED}|{_MAPPING}"
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
