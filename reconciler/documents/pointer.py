"""Pointers: how the place of a value is written for people, `config.levels` or `accounts[2].name`. Pure."""

from __future__ import annotations

import json
import re

from reconciler.documents import wording as literals

Path = tuple[str | int, ...]
"""Where a value stands: mapping keys and list indices from the document down; `()` is the document."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STEP = re.compile(r'\.?([A-Za-z0-9_-]+)|\[([0-9]+)\]|\[("(?:[^"\\]|\\.)*")\]')


def spell(path: Path) -> str:
    """`("accounts", 2, "a name")` → `accounts[2]["a name"]`; the document itself is the empty string.

    A key of a mapping that looks like a credential is left out.
    """
    parts: list[str] = []
    for step in path:
        if isinstance(step, int):
            parts.append(f"[{step}]")
        elif literals.find(step):
            parts.append('["…"]')
        elif _PLAIN_KEY.fullmatch(step):
            parts.append(f".{step}" if parts else step)
        else:
            parts.append(f"[{json.dumps(step, ensure_ascii=False)}]")
    return "".join(parts)


def parse(pointer: str) -> Path:
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
