"""A mapping held against the server's own list of tools: one sentence for every mismatch. Pure.

What is sent is held against the inputSchemas, what is read against the outputSchemas where there are any.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any

from reconciler.execution.mapping.contract import CANCEL, LOOK_UP, PLACE, TOOLS, Argument
from reconciler.execution.mapping.promises import unconfirmed, unreadable
from reconciler.execution.mapping.schemas import Schema, branches, enum_of, resolved, types_of, within
from reconciler.execution.mapping.words import ServerWords, Target, ToolWords, leaves, reference

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
    for tool in TOOLS:
        spoken = words.tool(tool)
        if spoken is not None:
            mismatches += _tool(tool, spoken, listed)
            answer = (gives or {}).get(spoken.name)
            if answer is not None:
                mismatches += [
                    Mismatch(tool, why, disables, hinders=not disables)
                    for why, disables in unreadable(tool, spoken, answer)
                ]
    mismatches += _accounts(words, accounts)
    if (placing := words.tool(PLACE)) is not None and placing.name in listed:
        answer = (gives or {}).get(placing.name)
        mismatches += [
            Mismatch(PLACE, why, disables=False, hinders=True) for why in unconfirmed(placing, listed, answer)
        ]
    disabled = {one.tool for one in mismatches if one.disables}
    usable = tuple(tool for tool in TOOLS if words.tool(tool) is not None and tool not in disabled)
    return Fit(tuple(mismatches), usable)


def _accounts(words: ServerWords, accounts: Sequence[str]) -> Iterator[Mismatch]:
    if words.takes_no_account and len(accounts) > 1:
        both = ", ".join(accounts)
        yield Mismatch(
            PLACE, f"account_id has nowhere to go: the server takes no account, and {both} are declared under it"
        )
    for tool in ("list_orders", "get_positions", "get_balances"):
        spoken = words.tool(tool)
        if spoken is not None and not spoken.targets("account_id") and len(accounts) > 1:
            both = ", ".join(accounts)
            yield Mismatch(tool, f"account_id has nowhere to go, and {both} are declared under the server")
    for tool in (PLACE, CANCEL, LOOK_UP):
        spoken = words.tool(tool)
        if spoken is None:
            continue
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


def _tool(tool: str, words: ToolWords, listed: Mapping[str, Schema]) -> Iterator[Mismatch]:
    schema = listed.get(words.name)
    if schema is None:
        close = get_close_matches(words.name, [name for name in listed if _may_mean(tool, name)], 1, _NEARLY)
        hint = f"did you mean {close[0]!r}?" if close else f"where it has none, write {tool}: null"
        yield Mismatch(tool, f"the server has no tool {words.name!r}; {hint}")
        return
    for name, argument in TOOLS[tool].arguments.items():
        if argument.offered and name not in words.args:
            continue
        for target in words.targets(name):
            yield from _argument(tool, argument, target, words, schema)
    for name, value in words.const.items():
        for path, constant in leaves((name,), value):
            yield from _constant(tool, path, constant, words, schema)
    yield from _nowhere(tool, words)
    yield from _never_sent(tool, words, schema)


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


def _nowhere(tool: str, words: ToolWords) -> Iterator[Mismatch]:
    """What is in every call, says what it is about, and goes nowhere: every call would be refused."""
    for name, argument in TOOLS[tool].arguments.items():
        if not argument.required or argument.may_be_dropped or words.targets(name):
            continue
        if (tool, name) != ("list_orders", "status"):  # where that is not sent, open ones are meant
            yield Mismatch(tool, f"{name} has nowhere to go, and every call has one: each would be refused")


def _may_mean(tool: str, name: str) -> bool:
    """False where a tool called so does something else to orders than our `tool` does."""
    spelled = name.lower()
    cancels, places = "cancel" in spelled, any(word in spelled for word in ("place", "create", "submit"))
    return cancels == (tool == CANCEL) and (not places or tool == PLACE)


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


def _never_sent(tool: str, words: ToolWords, schema: Schema) -> Iterator[Mismatch]:
    """What the server requires, in objects within objects, too, and what does not come with every call, or never."""
    always = {path for name, value in words.const.items() for path, _ in leaves((name,), value)}
    sometimes = set[tuple[str, ...]]()
    for name, argument in TOOLS[tool].arguments.items():
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
