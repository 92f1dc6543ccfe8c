"""A mapping held against the server's own list of tools: one sentence for every mismatch. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from reconciler.execution.mapping.contract import CANCEL, LOOK_UP, PLACE, TOOLS, Argument
from reconciler.execution.mapping.words import ServerWords, Target, ToolWords

Schema = Mapping[str, Any]
"""A tool's inputSchema, as the server lists it."""

_NEARLY = 0.8
_ALIKE = 0.7
"""How alike two names are of which one may be meant by the other, 1 being the same."""
_SHOWN = 30
"""How many names a sentence lists."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What does not fit. `disables` where the tool cannot be used at all; else only calls that need it are refused."""

    tool: str
    sentence: str
    disables: bool = True

    def __str__(self) -> str:
        return f"{self.tool}: {self.sentence}"


@dataclass(frozen=True, slots=True)
class Fit:
    """How a mapping fits a server: every mismatch, and which of our tools can be used."""

    mismatches: tuple[Mismatch, ...]
    tools: tuple[str, ...]

    def why_not(self, tool: str) -> str:
        """Why our `tool` cannot be used; empty where the mapping says that there is none."""
        return "; ".join(one.sentence for one in self.mismatches if one.tool == tool and one.disables)


def fit(words: ServerWords, listed: Mapping[str, Schema], accounts: Sequence[str]) -> Fit:
    """`listed` are the server's tools and their inputSchemas; `accounts` those that the settings put under it."""
    mismatches: list[Mismatch] = []
    for tool in TOOLS:
        spoken = words.tool(tool)
        if spoken is not None:
            mismatches += _tool(tool, spoken, listed)
    mismatches += _accounts(words, accounts)
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
    for name in words.const:
        if _property(schema, (name,), schema) is None:
            there = _there((name,), schema)
            yield Mismatch(tool, f"const sends {name!r}, which is not in the inputSchema of {words.name}{there}")
    yield from _never_sent(tool, words, schema)


def _may_mean(tool: str, name: str) -> bool:
    """False where a tool called so does something else to orders than our `tool` does."""
    spelled = name.lower()
    cancels, places = "cancel" in spelled, any(word in spelled for word in ("place", "create", "submit"))
    return cancels == (tool == CANCEL) and (not places or tool == PLACE)


def _there(path: tuple[str, ...], schema: Schema) -> str:
    """What is there instead, and which of it may be meant; empty where nothing is."""
    inner, above = schema, tuple[str, ...]()
    while len(above) < len(path) and (deeper := _property(inner, path[len(above) :][:1], schema)) is not None:
        inner, above = deeper, path[: len(above) + 1]
    names = [".".join((*above, name)) for name in sorted(_names(inner, schema))]
    close = get_close_matches(".".join(path), names, 1, _ALIKE)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f" (it has {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}{hint})" if names else ""


def _names(schema: Schema, root: Schema) -> set[str]:
    schema = _resolved(schema, root)
    return set(schema.get("properties", {})).union(*(_names(branch, root) for branch in _branches(schema)))


def _argument(tool: str, argument: Argument, target: Target, words: ToolWords, schema: Schema) -> Iterator[Mismatch]:
    always = argument.required or argument.offered
    found = _property(schema, target.path, schema)
    if found is None:
        mend = "calls that have one are refused" if not always else f"write {argument.name}: null where it takes none"
        yield Mismatch(
            tool, f"{argument.name} goes to {str(target)!r}, which is not in the inputSchema of {words.name}"
            f"{_there(target.path, schema)}: {mend}",
            always,
        )  # fmt: skip
        return
    sent = target.type or argument.type
    types = _types(found, schema)
    if types and sent not in types and not (sent == "integer" and "number" in types):
        wanted = " or ".join(sorted(types - {"null"}))
        yield Mismatch(tool, f"{argument.name} goes to {str(target)!r} as {sent}, which wants {wanted}", always)
        return
    yield from _words(tool, argument, target, words, _enum(found, schema))


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
    always, sometimes = set(words.const), set[str]()
    for name, argument in TOOLS[tool].arguments.items():
        if argument.offered and name not in words.args:
            continue
        heads = {target.path[0] for target in words.targets(name)}
        always |= heads if argument.required or argument.offered else set()
        sometimes |= heads
    for name in schema.get("required", ()):
        if name in always:
            continue
        if name in sometimes:
            yield Mismatch(tool, f"{words.name} requires {name!r}, which not every call has", disables=False)
        else:
            yield Mismatch(
                tool, f"{words.name} requires {name!r}, which is never sent; map an argument to it, or const"
            )


def _property(schema: Schema, path: tuple[str, ...], root: Schema) -> Schema | None:
    """The schema of what `path` leads to; an empty one where anything goes, None where nothing may be there."""
    for key in path:
        schema = _resolved(schema, root)
        properties = schema.get("properties", {})
        if key in properties:
            schema = properties[key]
            continue
        branches = [_property(branch, (key,), root) for branch in _branches(schema)]
        if (found := next((branch for branch in branches if branch is not None), None)) is not None:
            schema = found
            continue
        more = schema.get("additionalProperties", not properties and not _branches(schema))
        if more is False:
            return None
        schema = more if isinstance(more, Mapping) else {}
    return schema


def _resolved(schema: Schema, root: Schema) -> Schema:
    """The schema behind local references; anything goes where one leads nowhere, or round in a circle."""
    for _ in range(8):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        found: Any = root
        for key in reference.removeprefix("#/").split("/"):
            found = found.get(key) if isinstance(found, Mapping) else None
        schema = found if isinstance(found, Mapping) else {}
    return {}


def _branches(schema: Schema) -> list[Schema]:
    branches = (*schema.get("anyOf", ()), *schema.get("oneOf", ()))
    return [branch for branch in branches if isinstance(branch, Mapping) and branch.get("type") != "null"]


def _types(schema: Schema, root: Schema) -> set[str]:
    """The JSON types that it takes; empty where it does not say."""
    schema = _resolved(schema, root)
    named = schema.get("type")
    if isinstance(named, str):
        return {named}
    if isinstance(named, list):
        return set(named)
    each = [_types(branch, root) for branch in _branches(schema)]
    return set().union(*each) if each and all(each) else set()


def _enum(schema: Schema, root: Schema) -> set[Any] | None:
    """The words that it knows; None where it does not say."""
    schema = _resolved(schema, root)
    if "enum" in schema:
        return {word for word in schema["enum"] if isinstance(word, (str, int, float, bool))}
    if "const" in schema:
        return {schema["const"]}
    each = [_enum(branch, root) for branch in _branches(schema)]
    words = [known for known in each if known is not None]
    return set().union(*words) if words and len(words) == len(each) else None
