"""A mapping held against the server's own list of tools: one sentence for every mismatch. Pure.

What is sent is held against the inputSchemas, what is read against the outputSchemas where there are any.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from difflib import get_close_matches
from itertools import zip_longest
from typing import Any, Final

from reconciler.exec_mcp.contract import CANCEL, CANCEL_AFTER, CANCEL_ALL, LOOK_UP, OPTIONAL, PLACE, TOOLS, Argument
from reconciler.exec_mcp.promises import (
    Schema,
    branches,
    enum_of,
    may_hold,
    resolved,
    types_of,
    unconfirmed,
    unreadable,
    within,
)
from reconciler.exec_mcp.words import Confirmation, ServerWords, Target, ToolWords, leaves, reference
from reconciler.orders.order import OrderType
from reconciler.records.accounts import Shape

_NEARLY = 0.8
_ALIKE = 0.7
"""How alike two names are of which one may be meant by the other, 1 being the same."""
_SHOWN = 30
"""How many names a sentence lists."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What does not fit. `disables` where the tool cannot be used at all; else only calls that need it are refused.

    `hinders` where the tool can be used, but what the mapping means by this can never come about.
    """

    tool: str
    sentence: str
    disables: bool = True
    hinders: bool = False

    def __str__(self) -> str:
        return f"{self.tool}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Fit:
    """How a mapping fits a server: every mismatch, and which of our tools can be used."""

    mismatches: tuple[Mismatch, ...]
    tools: tuple[str, ...]

    @property
    def hindrances(self) -> tuple[str, ...]:
        """What disables nothing, and can never come about all the same."""
        return tuple(str(one) for one in self.mismatches if one.hinders)

    def why_not(self, tool: str) -> str:
        """Why our `tool` cannot be used; empty where the mapping says that there is none."""
        return "; ".join(one.sentence for one in self.mismatches if one.tool == tool and one.disables)


def fit(
    words: ServerWords,
    listed: Mapping[str, Schema],
    accounts: Sequence[str],
    gives: Mapping[str, Schema | None] | None = None,
) -> Fit:
    """`listed` are the server's tools and their inputSchemas; `accounts` those that the settings put under it.

    `gives` are the outputSchemas of those tools that have one.
    """
    mismatches: list[Mismatch] = []
    lacking = {tool for tool in OPTIONAL if tool not in listed and (one := words.tool(tool)) and one.name == tool}
    for tool in TOOLS:
        for one, value in () if tool in lacking else _each(words, tool):
            mismatches += _tool(tool, one, listed, value)
            mismatches += _answers(tool, one, listed, gives or {})
    told = (*_accounts(words, accounts), *_never_over(words), *_beyond_the_list(words))
    mismatches += [one for one in told if one.tool not in lacking]
    mismatches = list(dict.fromkeys(mismatches))
    disabled = {one.tool for one in mismatches if one.disables}
    usable = tuple(tool for tool in TOOLS if words.tool(tool) is not None and tool not in disabled | lacking)
    return Fit(tuple(mismatches), usable)


def _each(words: ServerWords, tool: str) -> Iterator[tuple[ToolWords, str]]:
    """Every tool of the server's that ours may come to, and the value that chooses it; empty where nothing does."""
    spoken = words.tool(tool)
    if spoken is not None:
        values = tuple(spoken.variants) if spoken.variants else ("",)
        for one, value in zip_longest(spoken.each(), values, fillvalue=""):
            assert isinstance(one, ToolWords)
            yield one, str(value)


def _answers(
    tool: str, words: ToolWords, listed: Mapping[str, Schema], gives: Mapping[str, Schema | None]
) -> Iterator[Mismatch]:
    """What is read, held against what is promised of the answer: of that of the last call, where there are two."""
    answer = gives.get(words.name if words.confirm is None else words.confirm.name)
    if answer is not None:
        for why, disables in unreadable(tool, words, answer):
            yield Mismatch(tool, why, disables, hinders=not disables)
    if tool != PLACE or words.name not in listed:
        return
    if words.confirm is None:
        for why in unconfirmed(words, listed, gives.get(words.name)):
            yield Mismatch(tool, why, disables=False, hinders=True)
        return
    staged, confirm = gives.get(words.name), words.confirm
    for name, path in confirm.args.items():
        if staged is not None and not may_hold(path, staged):
            why = f"{name} of {confirm.name} is read at {path}, which is not in the outputSchema of {words.name}"
            yield Mismatch(tool, why)


def _never_over(words: ServerWords) -> Iterator[Mismatch]:
    """Look-ups that only see open orders: what fills at once, or was never placed, stays in doubt for ever."""
    places = [one for one, _ in _each(words, LOOK_UP)]
    if places and all(one.items is not None and not one.lists_finished for one in places):
        yield Mismatch(
            LOOK_UP,
            "it looks in lists of open orders alone, where an order that filled at once can never be found: name a"
            " place that shows orders that are over, too, and say so with lists_finished",
            disables=False,
            hinders=True,
        )


def _beyond_the_list(words: ServerWords) -> Iterator[Mismatch]:
    """What is cancelled together has to be listed before: of no account or client more than a list is asked for."""
    for who in ("account_id", "client_id"):
        lists = any(one.targets(who) for one, _ in _each(words, "list_orders"))
        if lists and any(not one.targets(who) for one, _ in _each(words, CANCEL_ALL)):
            yield Mismatch(CANCEL_ALL, f"it is not told {who}, and list_orders is: it reaches more than is listed")


def _confirmation(tool: str, confirm: Confirmation, listed: Mapping[str, Schema]) -> Iterator[Mismatch]:
    schema = listed.get(confirm.name)
    if schema is None:
        close = get_close_matches(confirm.name, listed, 1, _NEARLY)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        yield Mismatch(tool, f"the server has no tool {confirm.name!r}, which is to confirm{hint}")
        return
    for name in confirm.args:
        if within(schema, (name,), schema) is None:
            there = _there((name,), schema)
            yield Mismatch(tool, f"confirm sends {name!r}, which is not in the inputSchema of {confirm.name}{there}")
    for name in schema.get("required", ()):
        if name not in confirm.args and name not in confirm.const:
            yield Mismatch(tool, f"{confirm.name} requires {name!r}, which confirm does not send")


def _accounts(words: ServerWords, accounts: Sequence[str]) -> Iterator[Mismatch]:
    if words.takes_no_account and len(accounts) > 1:
        both = ", ".join(accounts)
        yield Mismatch(
            PLACE, f"account_id has nowhere to go: the server takes no account, and {both} are declared under it"
        )
    for tool in ("list_orders", "get_positions", "get_balances", CANCEL_ALL, CANCEL_AFTER):
        if len(accounts) > 1 and any(not one.targets("account_id") for one, _ in _each(words, tool)):
            both = ", ".join(accounts)
            yield Mismatch(tool, f"account_id has nowhere to go, and {both} are declared under the server")
    for tool in (PLACE, CANCEL, LOOK_UP):
        for spoken, _ in _each(words, tool):
            findable = spoken.targets("client_order_id") or spoken.items
            if tool == LOOK_UP and findable and spoken.args.get("order_id"):
                yield Mismatch(
                    tool, "it asks for order_id, the exchange's own id, which nobody has of an order of which it is "
                    "unknown whether it was placed: map client_order_id alone",
                )  # fmt: skip
            if not words.takes_no_account and not spoken.targets("account_id"):
                yield Mismatch(tool, "account_id has nowhere to go: args or bind leave it out")
            if spoken.targets("client_order_id"):
                continue
            if tool == PLACE:
                yield Mismatch(tool, "client_order_id has nowhere to go: the order could never be told from others")
            elif not (spoken.items if tool == LOOK_UP else spoken.args.get("order_id")):
                yield Mismatch(tool, "client_order_id has nowhere to go, so that nothing says which order is meant")


def _tool(tool: str, words: ToolWords, listed: Mapping[str, Schema], value: str) -> Iterator[Mismatch]:
    """`value` is that of the argument which chooses this tool among others; empty where it is the only one."""
    schema = listed.get(words.name)
    if schema is None:
        close = get_close_matches(words.name, [name for name in listed if _may_mean(tool, name)], 1, _NEARLY)
        hint = f"did you mean {close[0]!r}?" if close else f"where it has none, write {tool}: null"
        yield Mismatch(tool, f"the server has no tool {words.name!r}; {hint}")
        return
    for name, argument in _arguments(tool, value).items():
        if argument.offered and name not in words.args:
            continue
        for target in words.targets(name):
            yield from _argument(tool, argument, target, words, schema)
    for name, fixed in words.const.items():
        for path, constant in leaves((name,), fixed):
            yield from _constant(tool, path, constant, words, schema)
    yield from _nowhere(tool, words, value)
    yield from _never_sent(tool, words, schema, value)
    if words.confirm is not None:
        yield from _confirmation(tool, words.confirm, listed)


def _arguments(tool: str, value: str) -> Mapping[str, Argument]:
    """The arguments of a call that this value chose: of a market order none has a price, of a limit order each."""
    arguments = TOOLS[tool].arguments
    if tool != PLACE or value not in tuple(OrderType):
        return arguments
    prices = {
        "limit_price": value in (OrderType.LIMIT, OrderType.STOP_LIMIT),
        "stop_price": value in (OrderType.STOP, OrderType.STOP_LIMIT),
    }
    return {
        name: replace(argument, required=True) if prices.get(name) else argument
        for name, argument in arguments.items()
        if prices.get(name) is not False
    }


def _constant(tool: str, path: tuple[str, ...], value: Any, words: ToolWords, schema: Schema) -> Iterator[Mismatch]:
    spelled = ".".join(path)
    found = within(schema, path, schema)
    if found is None:
        there = _there(path, schema)
        yield Mismatch(tool, f"const sends {spelled!r}, which is not in the inputSchema of {words.name}{there}")
        return
    sent, wanted = _json_type(value), types_of(found, schema)
    if wanted and sent not in wanted and not (sent == "integer" and "number" in wanted):
        those = " or ".join(sorted(wanted - {"null"}))
        yield Mismatch(tool, f"const sends {spelled!r} as {sent}, which wants {those}")
        return
    known = enum_of(found, schema)
    if known is not None and sent not in ("object", "array") and reference(value) is None and value not in known:
        those = ", ".join(sorted(map(str, known)))
        yield Mismatch(tool, f"const sends {spelled!r} as {value!r}, which knows only {those}")


def _json_type(value: Any) -> str:
    """Of a constant as it is sent; a secret that it refers to is text."""
    if value is None:
        return "null"
    if reference(value) is not None or isinstance(value, str):
        return "string"
    kinds = ((bool, "boolean"), (int, "integer"), ((float, Decimal), "number"), (list, "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


def _nowhere(tool: str, words: ToolWords, value: str) -> Iterator[Mismatch]:
    """What is in every call, says what it is about, and goes nowhere: every call would be refused."""
    for name, argument in _arguments(tool, value).items():
        if not argument.required or argument.may_be_dropped or words.targets(name) or name in words.pick:
            continue
        if value in argument.words:
            continue  # which tool it is says it
        if (tool, name) != ("list_orders", "status"):  # where that is not sent, open ones are meant
            yield Mismatch(tool, f"{name} has nowhere to go, and every call has one: each would be refused")


def _may_mean(tool: str, name: str) -> bool:
    """False where a tool called so does something else to orders than our `tool` does."""
    spelled = name.lower()
    cancels, places = "cancel" in spelled, any(word in spelled for word in ("place", "create", "submit"))
    return cancels == (tool in (CANCEL, CANCEL_ALL, CANCEL_AFTER)) and (not places or tool == PLACE)


def _there(path: tuple[str, ...], schema: Schema) -> str:
    """What is there instead, and which of it may be meant; empty where nothing is."""
    inner, above = schema, tuple[str, ...]()
    while len(above) < len(path) and (deeper := within(inner, path[len(above) :][:1], schema)) is not None:
        inner, above = deeper, path[: len(above) + 1]
    names = [".".join((*above, name)) for name in sorted(_names(inner, schema))]
    close = get_close_matches(".".join(path), names, 1, _ALIKE)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f" (it has {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}{hint})" if names else ""


def _names(schema: Schema, root: Schema) -> set[str]:
    schema = resolved(schema, root)
    return set(schema.get("properties", {})).union(*(_names(branch, root) for branch in branches(schema)))


def _argument(tool: str, argument: Argument, target: Target, words: ToolWords, schema: Schema) -> Iterator[Mismatch]:
    always = argument.required or argument.offered
    found = within(schema, target.path, schema)
    if found is None:
        mend = "calls that have one are refused" if not always else f"write {argument.name}: null where it takes none"
        yield Mismatch(
            tool, f"{argument.name} goes to {str(target)!r}, which is not in the inputSchema of {words.name}"
            f"{_there(target.path, schema)}: {mend}",
            always,
        )  # fmt: skip
        return
    sent = target.type or argument.type
    types = types_of(found, schema)
    if types and sent not in types and not (sent == "integer" and "number" in types):
        wanted = " or ".join(sorted(types - {"null"}))
        yield Mismatch(tool, f"{argument.name} goes to {str(target)!r} as {sent}, which wants {wanted}", always)
        return
    yield from _words(tool, argument, target, words, enum_of(found, schema))


def _words(
    tool: str, argument: Argument, target: Target, words: ToolWords, known: set[Any] | None
) -> Iterator[Mismatch]:
    """Words that we may send and the server does not know."""
    spoken = words.enums.get(argument.name)
    ours = {word: word for word in argument.words} if spoken is None else dict(spoken)
    if known is None or not ours:
        return
    unknown = [theirs for theirs in ours.values() if theirs not in known]
    if unknown:
        these, those = ", ".join(map(str, unknown)), ", ".join(sorted(map(str, known)))
        disables = len(unknown) == len(ours) or argument.name == "side"
        yield Mismatch(tool, f"{argument.name} may be {these}, but {str(target)!r} knows only {those}", disables)


def _never_sent(tool: str, words: ToolWords, schema: Schema, value: str) -> Iterator[Mismatch]:
    """What the server requires, in objects within objects, too, and what does not come with every call, or never."""
    always = {path for name, fixed in words.const.items() for path, _ in leaves((name,), fixed)}
    sometimes = set[tuple[str, ...]]()
    for name, argument in _arguments(tool, value).items():
        if argument.offered and name not in words.args:
            continue
        goes_to = {target.path for target in words.targets(name)}
        always |= goes_to if argument.required or argument.offered else set()
        sometimes |= goes_to
    yield from _unfilled(tool, words.name, (), schema, schema, always, always | sometimes)


def _unfilled(
    tool: str,
    name: str,
    above: tuple[str, ...],
    schema: Schema,
    root: Schema,
    always: set[tuple[str, ...]],
    ever: set[tuple[str, ...]],
) -> Iterator[Mismatch]:
    schema, depth = resolved(schema, root), len(above)
    is_always_there = not above or any(path[:depth] == above for path in always)
    for key in schema.get("required", ()):
        path = (*above, key)
        if any(sent[: depth + 1] == path for sent in always):
            continue
        spelled = repr(".".join(path))
        if any(sent[: depth + 1] == path for sent in ever):
            yield Mismatch(tool, f"{name} requires {spelled}, which not every call has", disables=False)
        else:
            sentence = f"{name} requires {spelled}, which is never sent; map an argument to it, or const"
            yield Mismatch(tool, sentence, disables=is_always_there)
    for key in sorted({path[depth] for path in ever if path[:depth] == above and len(path) > depth + 1}):
        inner = within(schema, (key,), root)
        if inner is not None:
            yield from _unfilled(tool, name, (*above, key), inner, root, always, ever)


_DESCRIBING: Final = frozenset({"title", "description", "examples", "$comment", "deprecated"})
_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_AS_THEY_ARE: Final = frozenset({"default", "const", "enum", "required"})
_ARGUMENT: Final = "argument "
_DEFAULT: Final = "the default of "


@dataclass(frozen=True, slots=True)
class Offer:
    """One tool as its server lists it: its inputSchema, and its outputSchema where it has one."""

    takes: Schema
    gives: Schema | None = None

    @property
    def is_wrapping(self) -> bool:
        """True where it answers `{"result": …}`, which the SDK puts around what is no one kind of object."""
        properties = None if self.gives is None else self.gives.get("properties")
        return isinstance(properties, Mapping) and properties.keys() == {"result"}


def shape(words: ServerWords, offered: Mapping[str, Offer]) -> Shape:
    """Of every tool that the mapping uses, by the server's names."""
    used = {name for tool in TOOLS if (spoken := words.tool(tool)) is not None for name in spoken.names()}
    used -= OPTIONAL - offered.keys()
    return {name: _facts(offered[name]) if name in offered else {} for name in sorted(used)}


def difference(first: Shape, now: Shape) -> str:
    """What changed, in words; empty where nothing did."""
    return "; ".join(
        f"{name} {_told(first.get(name, {}), now[name])}" for name in now if now[name] != first.get(name, {})
    )


def _told(first: Mapping[str, str], now: Mapping[str, str]) -> str:
    if not now:
        return "is gone"
    if not first:
        return "is new"
    changed = [fact for fact in {**first, **now} if first.get(fact) != now.get(fact)]
    changes = (
        f"{fact} {'is new' if fact not in first else 'is gone' if fact not in now else 'is another'}"
        for fact in changed
        if fact.replace(_DEFAULT, _ARGUMENT) not in changed or not fact.startswith(_DEFAULT)
    )
    return f"has changed: {', '.join(changes)}"


def _facts(offer: Offer) -> dict[str, str]:
    schema = _bare(offer.takes)
    properties = schema.pop("properties", {})
    required = schema.pop("required", ())
    facts = {"the form of its arguments": _digest(schema)}
    for name, argument in sorted(properties.items() if isinstance(properties, dict) else ()):
        # Left out, its default is what is sent: another default is another order.
        if isinstance(argument, dict) and "default" in argument:
            facts[_DEFAULT + name] = _digest(argument.pop("default"))
        facts[_ARGUMENT + name] = _digest([argument, name in required])
    if offer.gives is not None:
        facts["the form of its answers"] = _digest(_bare(offer.gives))
    return facts


def _bare(schema: Any) -> Any:
    """A schema without what only describes; a copy."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    bare: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _BY_NAME and isinstance(value, Mapping):
            bare[key] = {name: _bare(inner) for name, inner in value.items()}
        elif key in _AS_THEY_ARE:
            bare[key] = value
        elif key not in _DESCRIBING:
            bare[key] = _bare(value)
    return bare


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
