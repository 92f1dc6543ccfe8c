"""Paths into a server's answers: a small language of our own. Pure.

    $                    the answer; within a list's items, the item
    $$                   the whole answer, also from within an item
    $.data.order_id      members by name
    $["a key"]           a member by a name that is no plain word
    $.data[0]            an element; [-1] is the last
    $.quotes[symbol].ap  the member named by our own argument, here the call's symbol
    $.total.*            every member of an object as {key, value}, every element of a list: for `items` only
    -$.fee               the number there with its sign turned: for a fee only

Where a path leads to nothing, or to null, there is nothing there: that is an answer, not an error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_INDEX: Final = re.compile(r"-?(0|[1-9][0-9]{0,8})")
_SIGNED: Final = re.compile(r"[+-]?[.0-9]")
_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Member:
    """Into an object, by name."""

    name: str


@dataclass(frozen=True, slots=True)
class Element:
    """Into a list, by place; negative from its end."""

    index: int


@dataclass(frozen=True, slots=True)
class Named:
    """Into an object, by what the call's argument of this name holds."""

    argument: str


@dataclass(frozen=True, slots=True)
class Each:
    """Every entry of an object or a list."""


Step = Member | Element | Named | Each


@dataclass(frozen=True, slots=True)
class Path:
    """A path that was read. `whole` begins at the whole answer, others at the item where there is one.

    What it leads to has its sign turned where it `turns`.
    """

    steps: tuple[Step, ...] = ()
    whole: bool = False
    turns: bool = False

    def __str__(self) -> str:
        return (
            ("-" if self.turns else "") + ("$$" if self.whole else "$") + "".join(_spelled(step) for step in self.steps)
        )

    @property
    def is_each(self) -> bool:
        """True where it ends in `.*`."""
        return bool(self.steps) and isinstance(self.steps[-1], Each)

    def find(self, item: Any, answer: Any, arguments: Mapping[str, Any]) -> Any:
        """What it leads to, None where there is nothing. `arguments` are the call's, by our names."""
        value = answer if self.whole else item
        for step in self.steps:
            value = _followed(step, value, arguments)
            if value is None:
                return None
        return _turned(value) if self.turns else value


def parse(text: str) -> Path:
    """Raises ValueError with a sentence that says what was expected, and where."""
    turns = text.startswith("-")
    at = int(turns)
    if not text.startswith("$", at):
        raise ValueError(f"expected a path from $, was {text!r}")
    whole = text.startswith("$$", at)
    at, steps = at + (2 if whole else 1), list[Step]()
    while at < len(text):
        if steps and isinstance(steps[-1], Each):
            raise ValueError(f"expected nothing after .*, was {text!r}")
        step, at = _step(text, at)
        steps.append(step)
    return Path(tuple(steps), whole, turns)


def _step(text: str, at: int) -> tuple[Step, int]:
    if text.startswith(".*", at):
        return Each(), at + 2
    if text[at] == "." and (name := _NAME.match(text, at + 1)):
        return Member(name[0]), name.end()
    if text[at] == "[":
        for pattern, made in ((_INDEX, _element), (_TEXT, _member), (_NAME, Named)):
            found = pattern.match(text, at + 1)
            if found and text.startswith("]", found.end()):
                return made(found[0]), found.end() + 1
    raise ValueError(f'expected .name, [0], ["name"], [argument] or .* at {text[at:]!r}, in {text!r}')


def _element(text: str) -> Step:
    return Element(int(text))


def _member(text: str) -> Step:
    return Member(json.loads(text))


def _spelled(step: Step) -> str:
    match step:
        case Member(name):
            return f".{name}" if _NAME.fullmatch(name) else f"[{json.dumps(name)}]"
        case Element(index):
            return f"[{index}]"
        case Named(argument):
            return f"[{argument}]"
        case Each():
            return ".*"


def _followed(step: Step, value: Any, arguments: Mapping[str, Any]) -> Any:
    match step:
        case Member(name):
            return value.get(name) if isinstance(value, dict) else None
        case Named(argument):
            return value.get(arguments.get(argument)) if isinstance(value, dict) else None
        case Element(index):
            inside = isinstance(value, list) and -len(value) <= index < len(value)
            return value[index] if inside else None
        case Each():
            if isinstance(value, dict):
                return [{"key": key, "value": inner} for key, inner in value.items()]
            return value if isinstance(value, list) else None


def _turned(value: Any) -> Any:
    """The number with its sign turned, as text. What is none stays as it is: it is refused where answers are read."""
    spelled = str(value).strip()
    if isinstance(value, bool) or not _SIGNED.match(spelled):
        return value
    unsigned = spelled.lstrip("+-")
    return unsigned if spelled.startswith("-") or not unsigned.strip("0.") else f"-{unsigned}"
