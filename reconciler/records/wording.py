"""Wording: how values are shown in messages. Pure. What looks like a key is never shown."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any, Final

from reconciler.records import literals
from reconciler.records.scalars import resolve
from reconciler.records.syntax import resembling

_LONGEST: Final = 60
_KINDS: Final = {
    type(None): "null",
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    dict: "a mapping",
    list: "a list",
}


def quoted(text: str) -> str:
    """Text in double quotes, shortened; `"…"` for what looks like a key. A character in it that only looks like one
    that YAML has a use for is named: nobody sees it."""
    if literals.find(text):
        return '"…"'
    spelled = json.dumps(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…", ensure_ascii=False)
    look_alike = resembling(text)
    return spelled if look_alike is None else f"{spelled} (with {look_alike[1]})"


def shown(value: Any) -> str:
    """A value as a message shows it: `"five"`, `12`, `true`, `null`, `a list`, `a mapping`."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, (int, float)) else kind(value)


def kind(value: Any) -> str:
    """What a value is, without saying which: `a string`, `a number`."""
    return _KINDS[type(value)]


def one_of(options: Iterable[Any]) -> str:
    """`off, observe, active`: text bare where YAML would read it as that text, everything else as `shown`."""
    return ", ".join(option if _is_bare(option) else shown(option) for option in options)


def _is_bare(option: Any) -> bool:
    return (
        isinstance(option, str) and option.isprintable() and not set(option) & {" ", ","} and resolve(option) == option
    )


def did_you_mean(word: str, options: Iterable[Any]) -> str:
    """`did you mean "levels"?`, or nothing where no option comes near."""
    names = {option.casefold(): option for option in options if isinstance(option, str)}
    near = difflib.get_close_matches(word.casefold(), names, n=1)
    return f"did you mean {quoted(names[near[0]])}?" if near else ""
