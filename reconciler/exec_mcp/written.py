"""Mappings as they are written, and how they are read. Pure.

`read` takes what stands in the settings (`bind` and `tools`, valid by their schema) and raises `BadMapping` with
every fault that the schema cannot see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Final

from reconciler.exec_mcp.contract import CANCEL, LOOK_UP, PLACE, SHARED, STATES, TOOLS
from reconciler.exec_mcp.words import (
    CONDITIONS,
    AnswerCondition,
    Confirmation,
    Path,
    ServerWords,
    Target,
    ToolWords,
    compared,
    leaves,
    parse,
)
from reconciler.orders.order import OrderType, Side

Where = tuple[str | int, ...]
"""Where in `bind` and `tools` something stands, as keys and indices."""

Faults = list[tuple[Where, str]]
"""What is wrong so far, and where."""

_MERGED = ("args", "const", "enums", "result", "states")
"""The keys of a tool that are put together key by key; what else is written anew replaces."""
_BINDABLE = ("account_id", "client_id")
_BY: Final = {"type": tuple(map(str, OrderType)), "side": tuple(map(str, Side))}
"""By what a tool for orders may be chosen, and the values that may stand for a tool."""
_VARIANTS: Final = tuple(value for values in _BY.values() for value in values)


class BadMapping(ValueError):
    """What is wrong with a mapping: each fault with its place below the server, and a sentence."""

    def __init__(self, faults: tuple[tuple[Where, str], ...]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{'.'.join(map(str, where))}: {sentence}" for where, sentence in faults))


def merged(base: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """A ready-made mapping with what the settings write about the same server on top. Both as written."""
    tools = dict(base.get("tools", {}))
    for name, tool in written.get("tools", {}).items():
        before = tools.get(name)
        tools[name] = _both(before, tool) if isinstance(before, Mapping) and isinstance(tool, Mapping) else tool
    return {"bind": {**base.get("bind", {}), **written.get("bind", {})}, "tools": tools}


def _both(before: Mapping[str, Any], tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool with what is written on top of it, key by key where that makes sense."""
    both = {key: {**before.get(key, {}), **tool[key]} for key in _MERGED if key in tool}
    variants = {
        key: _both(before[key], tool[key])
        for key in _VARIANTS
        if isinstance(before.get(key), Mapping) and isinstance(tool.get(key), Mapping)
    }
    return {**before, **tool, **both, **variants}


def read(written: Mapping[str, Any]) -> ServerWords:
    """`{bind, tools}` as written, valid by the settings' schema. Raises BadMapping with every fault."""
    bind, tools = written.get("bind", {}), written.get("tools", {})
    faults: Faults = []
    read_tools: dict[str, ToolWords | None] = {}
    for name in TOOLS:
        tool, here = tools.get(name, {}), ("tools", name)
        placing = read_tools.get(PLACE)
        if tool is None:
            read_tools[name] = None
        elif isinstance(tool, list):
            each = [
                _as_placed(name, one, _one(name, one, bind, (*here, index), faults), placing)
                for index, one in enumerate(tool)
            ]
            read_tools[name] = replace(each[0], elsewhere=tuple(each[1:]))
            if name != LOOK_UP:
                faults.append((here, f"expected one tool, was a list: only {LOOK_UP} is asked in several places"))
        else:
            read_tools[name] = _as_placed(name, tool, _chosen(name, tool, bind, here, faults), placing)
    if faults:
        raise BadMapping(tuple(dict.fromkeys(faults)))
    return ServerWords(read_tools, takes_no_account="account_id" in bind and bind["account_id"] is None)


def _one(name: str, tool: Mapping[str, Any], bind: Mapping[str, Any], here: Where, faults: Faults) -> ToolWords:
    """One tool, as it is written at `here`."""
    faults += _misnamed(name, tool, here)
    words = _tool(name, tool, bind, here, faults)
    faults += _crowded(name, tool, words, here)
    faults += _misplaced(name, tool, words, here)
    return words


def _chosen(name: str, tool: Mapping[str, Any], bind: Mapping[str, Any], here: Where, faults: Faults) -> ToolWords:
    """One tool, or several of which each call is one, by the value of an argument."""
    by = tool.get("by", "")
    written = [value for value in _VARIANTS if value in tool]
    if not by:
        faults += [((*here, value), f"expected by: type or by: side beside {value}") for value in written]
        return _one(name, {key: value for key, value in tool.items() if key not in _VARIANTS}, bind, here, faults)
    common = {key: value for key, value in tool.items() if key not in ("by", *_VARIANTS)}
    if by not in common.get("args", {}):
        common["args"] = {**common.get("args", {}), by: None}  # which tool it is says it
    shared: Faults = []
    base = _one(name, common, bind, here, shared)
    faults += shared
    if name != PLACE:
        faults.append(((*here, "by"), f"expected it under {PLACE} alone"))
    for value in written:
        if value not in _BY[by]:
            faults.append(((*here, value), f"expected a value of {by}, one of {', '.join(_BY[by])}, was {value!r}"))
    if not set(written) & set(_BY[by]):
        faults.append(((*here, "by"), f"expected a tool for a value of {by}: {', '.join(_BY[by])}"))
    told = {(where[len(here) :], sentence) for where, sentence in shared}
    variants = {}
    for value in written:
        if value in _BY[by]:
            own: Faults = []
            variants[value] = replace(_one(name, _both(common, tool[value]), bind, (*here, value), own), by=by)
            # What is wrong with what holds for all is told once, where it stands.
            faults += [fault for fault in own if (fault[0][len(here) + 1 :], fault[1]) not in told]
    return replace(base, by=by, variants=variants)


def _misplaced(name: str, tool: Mapping[str, Any], words: ToolWords, here: Where) -> Iterator[tuple[Where, str]]:
    """Keys that say nothing where they stand."""
    if "by" in tool:
        yield (*here, "by"), "expected no choice within a choice"
    if words.confirm is not None and name != PLACE:
        yield (*here, "confirm"), f"expected it under {PLACE} alone"
    one = TOOLS[name].items == "" and name != LOOK_UP
    if words.pick and words.items is None:
        yield (*here, "pick"), "expected items beside it: which list is it picked from?"
    elif one and words.items is not None and not words.pick:
        yield (*here, "items"), "expected pick beside it: which of the items is meant?"
    for argument in words.pick:
        if argument not in TOOLS[name].arguments:
            known = TOOLS[name].arguments
            yield (*here, "pick", argument), _unknown(f"an argument of {name}", argument, known)
    for argument, targets in words.args.items():
        if argument != "client_order_id" and any(target.form is not None for target in targets):
            yield (*here, "args", argument), "expected no form: only client_order_id has one"


def _as_placed(name: str, tool: Mapping[str, Any], words: ToolWords, placing: ToolWords | None) -> ToolWords:
    """With what `place_order` says of its answers where the tool says nothing of its own: one server, the same words.

    Within the items of a list paths lead elsewhere. The form of our ids is everywhere that in which they were placed.
    """
    if placing is None or name not in (CANCEL, LOOK_UP, "list_orders"):
        return words
    first = next(placing.each())
    placing = replace(placing, result=placing.result or first.result, states=placing.states or first.states)
    words = replace(words, form=first.form or words.form)
    leads = "result" not in tool and "items" not in tool and name != "list_orders"
    return replace(
        words,
        result=placing.result if leads else words.result,
        states=words.states if "states" in tool else placing.states,
    )


def _crowded(name: str, tool: Mapping[str, Any], words: ToolWords, here: Where) -> Iterator[tuple[Where, str]]:
    """What would be sent to where something else goes: of the two, only one would arrive."""
    taken: dict[tuple[str, ...], str] = {}
    ours = [
        argument for argument in TOOLS[name].arguments.values() if not argument.offered or argument.name in words.args
    ]
    for argument in sorted(ours, key=lambda argument: argument.name in tool.get("args", {})):  # the written are named
        for target in words.targets(argument.name):
            for other, whose in taken.items():
                if _overlap(other, target.path) and (whose, argument.name) != SHARED:
                    yield _written_at(here, tool, argument.name), _elsewhere(target.path, other, whose)
            taken[target.path] = argument.name
    for key, value in words.const.items():
        for path, _ in leaves((key,), value):
            for other, whose in taken.items():
                if _overlap(other, path):
                    yield (*here, "const", key), _elsewhere(path, other, whose)


def _overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """True where both lead to the same place, or one through the other's."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _elsewhere(path: tuple[str, ...], other: tuple[str, ...], whose: str) -> str:
    where = f", where {whose} goes" if path == other else f", and {whose} goes to {'.'.join(other)!r}"
    return f"expected a place of its own, was {'.'.join(path)!r}{where}"


def _written_at(here: Where, tool: Mapping[str, Any], argument: str) -> Where:
    written = argument in tool.get("args", {}) or argument not in _BINDABLE
    return (*here, "args", argument) if written else ("bind", argument)


def _tool(name: str, tool: Mapping[str, Any], bind: Mapping[str, Any], here: Where, faults: Faults) -> ToolWords:
    binds = tool.get("bind") != "none"
    args = {key: _targets(bind[key] if binds else None) for key in _BINDABLE if key in bind or not binds}
    args |= {key: _targets(to) for key, to in tool.get("args", {}).items()}
    conditions: dict[str, Any] = {
        key: tuple(
            condition
            for index, one in enumerate(tool.get(key, ()))
            if (condition := _condition(one, (*here, key, index), faults)) is not None
        )
        for key in CONDITIONS
    }
    result = {
        key: None if path is None else _path(path, (*here, "result", key), faults, turns=key == "fee")
        for key, path in tool.get("result", {}).items()
    }
    forms = [target.form for target in args.get("client_order_id", ()) if target.form is not None]
    words = ToolWords(
        tool.get("name", name),
        binds,
        args,
        tool.get("const", {}),
        tool.get("enums", {}),
        result,
        _path(tool["items"], (*here, "items"), faults, each=True) if "items" in tool else None,
        tool.get("lists_finished", False),
        tool.get("states", {}),
        pick={
            argument: found
            for argument, path in tool.get("pick", {}).items()
            if (found := _path(path, (*here, "pick", argument), faults)) is not None
        },
        confirm=_confirmation(tool["confirm"], (*here, "confirm"), faults) if "confirm" in tool else None,
        form=forms[0] if forms else None,
    )
    return replace(words, **conditions)


def _confirmation(written: Mapping[str, Any], here: Where, faults: Faults) -> Confirmation:
    args = {
        argument: found
        for argument, path in written.get("args", {}).items()
        if (found := _path(path, (*here, "args", argument), faults)) is not None
    }
    return Confirmation(written["name"], args, written.get("const", {}))


def _targets(written: Any) -> tuple[Target, ...]:
    if written is None:
        return ()
    if isinstance(written, list):
        return tuple(target for one in written for target in _targets(one))
    if isinstance(written, str):
        return (Target(tuple(written.split("."))),)
    return (Target(tuple(written["to"].split(".")), written.get("as"), written.get("form")),)


def _condition(written: Any, where: Where, faults: Faults) -> AnswerCondition | None:
    if isinstance(written, str):
        path = _path(written, where, faults)
        return None if path is None else AnswerCondition(path)
    path = _path(written["path"], (*where, "path"), faults)
    pattern = None
    try:
        pattern = re.compile(written["matches"]) if "matches" in written else None
    except re.error as error:
        faults.append(((*where, "matches"), f"expected a regular expression, was none: {error}"))
    if path is None:
        return None
    return AnswerCondition(path, _values(written.get("is")), _values(written.get("is_not")), pattern)


def _values(written: Any) -> tuple[str, ...] | None:
    if written is None:
        return None
    return tuple(compared(value) for value in (written if isinstance(written, list) else [written]))


def _path(text: str, where: Where, faults: Faults, *, each: bool = False, turns: bool = False) -> Path | None:
    try:
        path = parse(text)
    except ValueError as error:
        faults.append((where, str(error)))
        return None
    if path.is_each and not each:
        faults.append((where, f"expected a path to one thing, was {text!r}: .* is for items"))
    if path.turns and not turns:
        faults.append((where, f"expected a path from $, was {text!r}: a minus before it is for a fee alone"))
    return path


def _misnamed(name: str, tool: Mapping[str, Any], here: Where) -> Iterator[tuple[Where, str]]:
    """Words of ours that are none."""
    known = TOOLS[name]
    spoken = {**dict.fromkeys(known.arguments), **dict.fromkeys(known.fields)}
    for key, names in (("args", known.arguments), ("enums", spoken)):
        for argument in tool.get(key, {}):
            if argument not in names:
                what = "argument" if key == "args" else "argument or field"
                yield (*here, key, argument), _unknown(f"an {what} of {name}", argument, names)
    for field_name in tool.get("result", {}):
        if field_name not in known.fields:
            yield (*here, "result", field_name), _unknown(f"a field of {name}", field_name, known.fields)
    for argument, words in tool.get("enums", {}).items():
        ours = known.arguments[argument].words if argument in known.arguments else ()
        for word in words:
            if ours and word not in ours:
                yield (*here, "enums", argument, word), _unknown(f"a word for {argument}", word, ours)
    for word, state in tool.get("states", {}).items():
        if state not in STATES:
            yield (*here, "states", word), _unknown("a state", state, STATES)


def _unknown(what: str, was: str, known: Any) -> str:
    close = get_close_matches(was, list(known), 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"expected {what}, one of {', '.join(known)}, was {was!r}{hint}"
