"""What a server promises of its answers by its outputSchemas, and whether a mapping can find there what it reads.

Pure. Where a server promises nothing, anything may be in its answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.exec_mcp.contract import CANDLES, LOOK_UP, PLACE, STATES, TOOLS
from reconciler.exec_mcp.words import CONDITIONS, Each, Element, Member, Named, Path, Step, ToolWords, leaves

Schema = Mapping[str, Any]
"""A tool's inputSchema or outputSchema, as the server lists it."""

_DEEPEST: Final = 8
"""How many choices within choices are followed."""


def within(schema: Schema, path: tuple[str, ...], root: Schema) -> Schema | None:
    """The schema of what `path` leads to; an empty one where anything goes, None where nothing may be there."""
    for key in path:
        schema = resolved(schema, root)
        properties = schema.get("properties", {})
        if key in properties:
            schema = properties[key]
            continue
        each = [within(branch, (key,), root) for branch in branches(schema)]
        if (found := next((branch for branch in each if branch is not None), None)) is not None:
            schema = found
            continue
        more = schema.get("additionalProperties", not properties and not branches(schema))
        if more is False:
            return None
        schema = more if isinstance(more, Mapping) else {}
    return schema


def resolved(schema: Schema, root: Schema) -> Schema:
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


def branches(schema: Schema) -> list[Schema]:
    """What it may be instead, or is besides, but for null."""
    each = (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ()))
    return [branch for branch in each if isinstance(branch, Mapping) and branch.get("type") != "null"]


def types_of(schema: Schema, root: Schema) -> set[str]:
    """The JSON types that it takes; empty where it does not say."""
    schema = resolved(schema, root)
    named = schema.get("type")
    if isinstance(named, str):
        return {named}
    if isinstance(named, list):
        return set(named)
    each = [types_of(branch, root) for branch in branches(schema)]
    return set().union(*each) if each and all(each) else set()


def enum_of(schema: Schema, root: Schema) -> set[Any] | None:
    """The words that it knows; None where it does not say."""
    schema = resolved(schema, root)
    if "enum" in schema:
        return {word for word in schema["enum"] if isinstance(word, (str, int, float, bool))}
    if "const" in schema:
        return {schema["const"]}
    each = [enum_of(branch, root) for branch in branches(schema)]
    words = [known for known in each if known is not None]
    return set().union(*words) if words and len(words) == len(each) else None


def led(path: Path, item: Schema, whole: Schema) -> Schema | None:
    """The schema of what a path into an answer leads to, None where there can be nothing. `whole` is the answer's."""
    schema: Schema | None = whole if path.whole else item
    for step in path.steps:
        schema = None if schema is None else _stepped(step, schema, whole)
    return schema


def of_items(schema: Schema, root: Schema) -> Schema:
    """The schema of one item of the list that is there; of what is there itself, where that is no list."""
    found = [_of_list(one) if _may_be("array", one, root) else one for one in _alternatives(schema, root)]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _stepped(step: Step, schema: Schema, root: Schema) -> Schema | None:
    each = [found for one in _alternatives(schema, root) if (found := _beyond(step, one, root)) is not None]
    return None if not each else each[0] if len(each) == 1 else {"anyOf": each}


def _beyond(step: Step, schema: Schema, root: Schema) -> Schema | None:
    is_object, is_list = (_may_be(wanted, schema, root) for wanted in ("object", "array"))
    match step:
        case Member(name):
            return within(schema, (name,), root) if is_object else None
        case Named():
            return _of_members(schema) if is_object else None
        case Element():
            return _of_list(schema) if is_list else None
        case Each():
            if is_object and not (is_list and not schema.get("properties")):
                return {"type": "object", "properties": {"key": {"type": "string"}, "value": _of_members(schema)}}
            return _of_list(schema) if is_list else None


def _of_members(schema: Schema) -> Schema:
    """Of a member whose name nobody knows yet."""
    properties = schema.get("properties")
    each = [one for one in properties.values() if isinstance(one, Mapping)] if isinstance(properties, Mapping) else []
    more = schema.get("additionalProperties")
    each += [more] if isinstance(more, Mapping) else []
    return {"anyOf": each} if each and more is not True else {}


def _of_list(schema: Schema) -> Schema:
    items = schema.get("items")
    return items if isinstance(items, Mapping) and "prefixItems" not in schema else {}


def _may_be(wanted: str, schema: Schema, root: Schema) -> bool:
    known = types_of(schema, root)
    return not known or wanted in known


def _alternatives(schema: Schema, root: Schema, depth: int = 0) -> list[Schema]:
    """The schemas that it stands for, references and choices followed."""
    schema = resolved(schema, root)
    each = [] if "properties" in schema else branches(schema)
    if not each or depth == _DEEPEST:
        return [schema]
    return [inner for branch in each for inner in _alternatives(branch, root, depth + 1)]


Needs = Sequence[tuple[str, ...]]
"""Fields without which an answer says nothing: one of each group."""

_NEEDED: Final[Mapping[str, Needs]] = {
    PLACE: (("status", "order_id"),),
    LOOK_UP: (("status",),),
    "list_orders": (("client_order_id", "order_id"),),
    "get_positions": (("symbol",), ("quantity",)),
    "get_balances": (("asset",), ("total",)),
    "get_quote": (("bid",), ("ask",)),
    CANDLES: (("opened_at",), ("open",), ("high",), ("low",), ("close",)),
}
_AMONG_OTHERS: Final = ("client_order_id", "order_id")
"""By what an order is told from others of a list."""
_TEXT_OF_A_FAILURE: Final = Member("error")
"""Where the text of a failure that is no JSON is found, whatever the schema of answers says."""
_CONFIRMS: Final = re.compile(r"(?i)confirm|approv")
_STAGED: Final = re.compile(r"(?i)confirm|approv|preview_?(id|token)|(?<![a-z])otp")
_CONSENT: Final = re.compile(r"(?i)(?:user_?|is_?|require_?)?(?:confirm(?:ed|ation)?|approved?)")
_REHEARSAL: Final = re.compile(
    r"(?i)(?:is_?)?(?:dry_?run|preview(?:_?only)?|simulate|validate(?:_?only)?|test(?:_?only)?)"
)


def unreadable(tool: str, words: ToolWords, gives: Schema) -> Iterator[tuple[str, bool]]:
    """What the answers of `words.name` cannot hold: a sentence each, and whether the tool is of no use for it."""
    answers = _answers(gives)
    if TOOLS[tool].items or words.items is not None:
        path = words.items or Path((Member(TOOLS[tool].items),))
        items = [
            of_items(found, gives) for answer in answers if (found := _list(words, path, answer, gives)) is not None
        ]
        if not items:
            yield _missing("items", path, words, gives), True
            return
    else:
        items = answers
    yield from _fields(tool, words, items, gives)
    yield from _unmet(words, answers, gives)


def may_hold(path: Path, gives: Schema) -> bool:
    """Whether there can be anything at the path into the answer."""
    return any(led(path, one, gives) is not None for one in _answers(gives))


def _answers(gives: Schema) -> list[Schema]:
    """What an answer may be: as it is promised, and without the `{"result": …}` that libraries put around it.

    Around a text, too, which may be JSON of any shape.
    """
    properties = gives.get("properties")
    wrapped = properties.get("result") if isinstance(properties, Mapping) and len(properties) == 1 else None
    if not isinstance(wrapped, Mapping):
        return [gives]
    return [gives, wrapped, *([{}] if "string" in types_of(wrapped, gives) else [])]


def _list(words: ToolWords, path: Path, answer: Schema, gives: Schema) -> Schema | None:
    """What is at the path of the items; of a server that names none, the answer itself may be the list."""
    found = led(path, answer, gives)
    if found is None and words.items is None and "array" in types_of(answer, gives):
        return answer
    return found


def _fields(tool: str, words: ToolWords, items: Sequence[Schema], gives: Schema) -> Iterator[tuple[str, bool]]:
    there = set[str]()
    for name in TOOLS[tool].fields:
        path = words.result.get(name, Path((Member(name),)))
        found = [] if path is None else [one for item in items if (one := led(path, item, gives)) is not None]
        if found:
            there.add(name)
            if name == "status":
                yield from _states(words, found, gives)
        elif path is not None and name in words.result:
            yield _missing(name, path, words, gives), False
    needed = _NEEDED.get(tool, ())
    if tool == LOOK_UP and words.items is not None:
        needed = (*(needed if words.lists_finished else ()), _AMONG_OTHERS)  # what a list of open orders shows is open
    for group in needed:
        if there.isdisjoint(group):
            which = " or ".join(group)
            yield (
                f"no answer could be read: the outputSchema of {words.name} has no {which} where it is looked for",
                True,
            )


def _states(words: ToolWords, found: Sequence[Schema], gives: Schema) -> Iterator[tuple[str, bool]]:
    """Words for the state of an order that the server promises, and that nothing translates."""
    known = [enum_of(one, gives) for one in found]
    if not known or any(one is None for one in known):
        return
    states = {*STATES, *words.states}
    strange = sorted(str(word) for one in known if one for word in one if str(word) not in states)
    if strange:
        everything = all(str(word) in strange for one in known if one for word in one)
        yield f"status may be {', '.join(strange)}, for which states has no word of ours", everything


def _unmet(words: ToolWords, answers: Sequence[Schema], gives: Schema) -> Iterator[tuple[str, bool]]:
    for key in CONDITIONS:
        for condition in getattr(words, key):
            path = condition.path
            if path.steps[:1] == (_TEXT_OF_A_FAILURE,) or any(led(path, one, gives) is not None for one in answers):
                continue
            yield _missing(key, path, words, gives), False


def _missing(what: str, path: Path, words: ToolWords, gives: Schema) -> str:
    properties = gives.get("properties")
    there = f" (it has {', '.join(sorted(properties))})" if isinstance(properties, Mapping) and properties else ""
    return f"{what} is read at {path}, which is not in the outputSchema of {words.name}{there}"


def unconfirmed(words: ToolWords, listed: Mapping[str, Schema], gives: Schema | None) -> Iterator[str]:
    """Why `place_order` seems to place nothing, but to ask whether that is meant."""
    takes = listed[words.name]
    sent = {path[0] for name, value in words.const.items() for path, _ in leaves((name,), value)}
    sent |= {target.path[0] for targets in words.args.values() for target in targets}
    for name in _names(takes):
        found = within(takes, (name,), takes) or {}
        if name in sent or "boolean" not in types_of(found, takes):
            continue
        if _CONSENT.fullmatch(name) and found.get("default") is not True:
            yield f"{words.name} asks for {name!r}, which is not sent: it may place nothing; const: {{{name}: true}}"
        elif _REHEARSAL.fullmatch(name) and found.get("default") is True:
            yield f"{words.name} only rehearses unless {name!r} is false, which is not sent; const: {{{name}: false}}"
    promised = [name for name in _names(gives or {}) if _STAGED.search(name)]
    confirming = [
        name
        for name, schema in listed.items()
        if name != words.name
        and _CONFIRMS.search(name)
        and any(_STAGED.search(needed) for needed in schema.get("required", ()))
    ]
    if not promised and not confirming:
        return
    by = f"the server has {confirming[0]}" if confirming else f"its outputSchema has {promised[0]!r}"
    yield f"{words.name} seems to ask for a confirmation, and to place nothing before it: {by}; say so with confirm"


def _names(schema: Schema) -> list[str]:
    properties = schema.get("properties")
    return sorted(properties) if isinstance(properties, Mapping) else []
