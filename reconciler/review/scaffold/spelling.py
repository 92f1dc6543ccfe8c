"""Spelling: plain values → YAML that reads back as the same values, in tools that still read YAML 1.1 too. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from reconciler.records.document import Document, parse

_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_WORDS: Final = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
"""Words that a reader of YAML may take for something else than text, in any case."""
_LONGEST_LINE: Final = 100
_INDENT: Final = "  "


def scalar(value: Any) -> str:
    """A value on one line: text bare where every reader of YAML takes it for that text, lists and mappings in flow."""
    if isinstance(value, str):
        return value if _is_bare(value) else _quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(scalar, value)) + "]"
    return json.dumps(value)


def entry(key: str, value: Any) -> Iterator[str]:
    """`key: value`, on one line where it fits, else with what it holds indented below."""
    line = f"{scalar(key)}: {scalar(value)}"
    if len(line) <= _LONGEST_LINE or not isinstance(value, (dict, list)) or not value:
        yield line
        return
    yield f"{scalar(key)}:"
    yield from indented(_block(value))


def indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"{_INDENT}{line}" if line else line for line in lines)


def can_be_spelled(key: str, value: Any) -> bool:
    """False for what a file cannot hold: control characters, integers beyond 64 bits, keys longer than a line."""
    document = parse("\n".join(entry(key, value)).encode(), "")
    return isinstance(document, Document) and _is_same(document.values, {key: value})


def _block(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from entry(key, inner)
    else:
        yield from (f"- {scalar(item)}" for item in value)


def _is_bare(text: str) -> bool:
    return _BARE.fullmatch(text) is not None and text.lower() not in _WORDS


def _quoted(text: str) -> str:
    """In double quotes, as JSON has it, but that what YAML would fold or refuse is escaped as well."""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in json.dumps(text, ensure_ascii=False))


def _is_same(one: Any, other: Any) -> bool:
    """Equal, and 1, 1.0 and true are three different values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
