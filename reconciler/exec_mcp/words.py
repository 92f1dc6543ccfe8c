"""A server's words: how it spells the contract's tools, arguments and answers. Frozen values.

And paths into its answers, a small language of our own:

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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from reconciler.exec_mcp.contract import Form, JsonType
from reconciler.orders.order import decimal_text

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_INDEX: Final = re.compile(r"-?(0|[1-9][0-9]{0,8})")
_SIGNED: Final = re.compile(r"[+-]?[.0-9]")
_TEXT: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
CONDITIONS = ("unknown_when", "refused_when", "error_when", "not_found_when")
"""The keys of a tool that say what an answer means."""
Reference = tuple[str, str]
"""Where a constant's secret is kept: `env` and the variable's name, or `file` and its path."""

_DIGITS = 40
"""What has more is written with its exponent: an answer may name any."""


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


@dataclass(frozen=True, slots=True)
class Target:
    """Where one of our arguments goes: a name, or a path into nested objects; and as which JSON type, in which form."""

    path: tuple[str, ...]
    type: JsonType | None = None
    form: Form | None = None

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class AnswerCondition:
    """Something that an answer may say. Met where the path leads to anything but what is empty, zero or false.

    With `one_of`, `none_of` or `matches`: where it leads to such a value. Numbers are compared as numbers, all else as
    texts, the way JSON spells them.
    """

    path: Path
    one_of: tuple[str, ...] | None = None
    none_of: tuple[str, ...] | None = None
    matches: re.Pattern[str] | None = None

    def met_by(self, answer: Any, arguments: Mapping[str, Any]) -> Any:
        """What the path leads to, where the condition is met; else None."""
        found = self.path.find(answer, answer, arguments)
        if found is None:
            return None
        text = compared(found)
        if self.one_of is not None:
            return found if text in self.one_of else None
        if self.none_of is not None:
            return found if text not in self.none_of else None
        if self.matches is not None:
            return found if self.matches.search(text) else None
        return found or None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """The second call that makes an order of what the first one only asked about: its tool, and what it is sent.

    `args` are the tool's own arguments, with paths into the answer of the first call.
    """

    name: str
    args: Mapping[str, Path] = field(default_factory=dict)
    const: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolWords:
    """One tool of the server's. In `args`, an argument with no target is not sent; one not named keeps its name.

    `result` leads from our fields into its answer, None for what it never tells. `lists_finished` is True where the
    list of `items` shows orders that are over, too: only then does it say of one that is not in it that there is none.
    `pick` says which of the items is meant: our arguments, and where each item holds what must equal them.

    `by` names the argument by whose value one of the tools in `variants` is chosen; what stands here holds for each of
    them, and in each of them `by` stands, too. `elsewhere` are other tools, asked in turn where this one does not know
    the order. `form` is that of our ids in answers.
    """

    name: str
    binds: bool = True
    args: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    const: Mapping[str, Any] = field(default_factory=dict)
    enums: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    result: Mapping[str, Path | None] = field(default_factory=dict)
    items: Path | None = None
    lists_finished: bool = False
    states: Mapping[str, str] = field(default_factory=dict)
    pick: Mapping[str, Path] = field(default_factory=dict)
    by: str = ""
    variants: Mapping[str, ToolWords] = field(default_factory=dict)
    confirm: Confirmation | None = None
    elsewhere: tuple[ToolWords, ...] = ()
    form: Form | None = None
    error_when: tuple[AnswerCondition, ...] = ()
    unknown_when: tuple[AnswerCondition, ...] = ()
    not_found_when: tuple[AnswerCondition, ...] = ()
    refused_when: tuple[AnswerCondition, ...] = ()

    @property
    def reads_result(self) -> bool:
        """True where a path of it goes through a member `result`: then what is wrapped so is read as it came."""
        conditions = (*self.error_when, *self.unknown_when, *self.not_found_when, *self.refused_when)
        paths = (*self.result.values(), self.items, *(condition.path for condition in conditions))
        return any(path is not None and path.steps[:1] == (Member("result"),) for path in paths)

    def each(self) -> Iterator[ToolWords]:
        """Every tool of the server's that ours may come to, one call each."""
        yield from self.variants.values() if self.variants else (self,)
        yield from self.elsewhere

    def names(self) -> Iterator[str]:
        """The server's names of all that may be called."""
        for words in self.each():
            yield words.name
            if words.confirm is not None:
                yield words.confirm.name

    def targets(self, argument: str) -> tuple[Target, ...]:
        """Where our `argument` goes; nowhere, where it is not sent."""
        return self.args.get(argument, (Target((argument,)),))


@dataclass(frozen=True, slots=True)
class ServerWords:
    """How one server spells everything. A tool that is None it does not have; one not named keeps our name.

    `takes_no_account` is True where the settings say that the server has no argument for it: it is one account.
    """

    tools: Mapping[str, ToolWords | None] = field(default_factory=dict)
    takes_no_account: bool = False

    def tool(self, name: str) -> ToolWords | None:
        """The server's words for our tool of that name, None where it has none."""
        return self.tools.get(name, ToolWords(name))

    def revealed(self, secrets: Mapping[Reference, str]) -> ServerWords:
        """The same with the secrets in place that constants refer to: for calls, and for nothing that is shown."""
        if not secrets:
            return self

        def told(words: ToolWords) -> ToolWords:
            return replace(
                words,
                const=_revealed(words.const, secrets),
                variants={value: told(one) for value, one in words.variants.items()},
                elsewhere=tuple(map(told, words.elsewhere)),
                confirm=None
                if words.confirm is None
                else replace(words.confirm, const=_revealed(words.confirm.const, secrets)),
            )

        tools = {name: None if words is None else told(words) for name, words in self.tools.items()}
        return replace(self, tools=tools)


CONTRACT = ServerWords()
"""The words of a server that speaks the contract as it is."""


def reference(value: Any) -> Reference | None:
    """What `{env: NAME}` or `{file: PATH}` refers to; None for any other value."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, name),) = value.items()
        if kind in ("env", "file") and isinstance(name, str) and name:
            return kind, name
    return None


def _revealed(const: Any, secrets: Mapping[Reference, str]) -> Any:
    if (referred := reference(const)) is not None:
        return secrets[referred]
    if isinstance(const, Mapping):
        return {key: _revealed(value, secrets) for key, value in const.items()}
    return [_revealed(value, secrets) for value in const] if isinstance(const, list) else const


def leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The places that a constant fills, and what with."""
    if not isinstance(value, Mapping) or not value or reference(value) is not None:
        yield path, value
        return
    for key, inner in value.items():
        yield from leaves((*path, key), inner)


def compared(value: Any) -> str:
    """What a value is compared by: 0 and 0.0 are one number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)):
        number = Decimal(str(value))
        return decimal_text(number) if number.is_finite() and abs(number.adjusted()) <= _DIGITS else str(number)
    return str(value)
