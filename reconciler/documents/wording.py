"""Wording: how values are shown in messages. Pure. What looks like a key is never shown.

And pointers: how the place of a value is written for people, `config.levels` or `accounts[2].name`.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from reconciler.documents.scalars import resolve
from reconciler.documents.syntax import foreign, resembling

Path = tuple[str | int, ...]
"""Where a value stands: mapping keys and list indices from the document down; `()` is the document."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STEP = re.compile(r'\.?([A-Za-z0-9_-]+)|\[([0-9]+)\]|\[("(?:[^"\\]|\\.)*")\]')


class Literal(NamedTuple):
    """What looks like a key: which kind, and where it begins, counted from 1. Never the text itself."""

    what: str
    line: int
    column: int


def find(text: str) -> list[Literal]:
    """Everything in `text` that looks like a key, in order."""
    if _PREFIXES.search(text) is None:  # nearly always
        return []
    found = []
    for what, prefix, form in _FORMS:
        begin = text.find(prefix)
        while begin >= 0:
            match = form.match(text, begin) if begin == 0 or not text[begin - 1].isalnum() else None
            if match is not None:
                found.append((begin, what))
            begin = text.find(prefix, begin + len(prefix) if match is None else match.end())
    return _placed(text, sorted(found))


def _placed(text: str, found: list[tuple[int, str]]) -> list[Literal]:
    literals = []
    line, line_begin = 1, 0
    for offset, what in found:
        line += text.count("\n", line_begin, offset)
        line_begin = max(line_begin, text.rfind("\n", line_begin, offset) + 1)
        literals.append(Literal(what, line, offset - line_begin + 1))
    return literals


def _form(what: str, prefix: str, rest: str) -> tuple[str, str, re.Pattern[str]]:
    return what, prefix, re.compile(re.escape(prefix) + rest)


_FORMS: Final = (
    *(_form("an AWS access key", prefix, "[0-9A-Z]{12,}") for prefix in ("AKIA", "ASIA")),
    *(_form("a Stripe key", prefix, "[0-9A-Za-z]{8,}") for prefix in ("sk_live_", "sk_test_", "rk_live_")),
    *(_form("a GitHub token", f"gh{kind}_", "[0-9A-Za-z]{16,}") for kind in "oprsu"),
    _form("a GitHub token", "github_pat_", "[0-9A-Za-z_]{16,}"),
    _form("a GitLab token", "glpat-", "[0-9A-Za-z_-]{16,}"),
    _form("a Slack token", "xox", "[abeoprs]-[0-9A-Za-z-]{8,}"),
    _form("a Google API key", "AIza", "[0-9A-Za-z_-]{24,}"),
    _form("an API key", "sk-", "[0-9A-Za-z_-]{32,}"),
    _form("a JSON Web Token", "eyJ", r"[0-9A-Za-z_-]{8,500}\.[0-9A-Za-z_-]{8,}"),
    _form("a private key", "-----BEGIN ", "(?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----"),
)
_PREFIXES: Final = re.compile("|".join(rf"{p}(?<![^\W_]{p})" for p in (re.escape(prefix) for _, prefix, _ in _FORMS)))
"""A prefix that no letter or digit stands before: the `sk-` of `desk-a` is none."""


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
    that YAML has a use for, or like a Latin letter or digit, is named: nobody sees it."""
    if find(text):
        return '"…"'
    spelled = json.dumps(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…", ensure_ascii=False)
    look_alike = resembling(text)
    name = foreign(text) if look_alike is None else look_alike[1]
    return spelled if name is None else f"{spelled} (with {name})"


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


def some(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """`a, b, c and 1,204 more`: the first `most` of them, and how many there are besides."""
    if len(names) <= most:
        return separator.join(names)
    before_last = " " if separator == ", " else separator
    return f"{separator.join(names[:most])}{before_last}and {len(names) - most:,} more"


def did_you_mean(word: str, options: Iterable[Any]) -> str:
    """`did you mean "levels"?`, or nothing where no option comes near."""
    names = {option.casefold(): option for option in options if isinstance(option, str)}
    near = difflib.get_close_matches(word.casefold(), names, n=1)
    return f"did you mean {quoted(names[near[0]])}?" if near else ""


def spell(path: Path) -> str:
    """`("accounts", 2, "a name")` → `accounts[2]["a name"]`; the document itself is the empty string.

    A key of a mapping that looks like a credential is left out.
    """
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif find(step):
            parts.append('["…"]')
        elif _PLAIN_KEY.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{json.dumps(step, ensure_ascii=False)}]")
    return "".join(parts)


def parse_pointer(pointer: str) -> Path:
    """What `spell` spelled. Raises ValueError where the text is no pointer."""
    steps: list[str | int] = []
    at = 0
    while at < len(pointer):
        match = _STEP.match(pointer, at)
        if match is None:
            raise ValueError(f"expected a pointer like config.levels, was {pointer!r}")
        key, index, quoted = match.groups()
        steps.append(key if key is not None else int(index) if index is not None else json.loads(quoted))
        at = match.end()
    return tuple(steps)
