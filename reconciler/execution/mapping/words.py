"""A server's words: how it spells the contract's tools, arguments and answers. Frozen values, and how they are read.

`read` takes what stands in the settings (`bind` and `tools`, valid by their schema) and raises `BadMapping` with
every fault that the schema cannot see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from reconciler.execution.mapping.contract import STATES, TOOLS, JsonType
from reconciler.execution.mapping.path import Path, parse

Where = tuple[str | int, ...]
"""Where in `bind` and `tools` something stands, as keys and indices."""

_MERGED = ("args", "const", "enums", "result", "states")
"""The keys of a tool that are put together key by key; what else is written anew replaces."""
_BINDABLE = ("account_id", "client_id")


@dataclass(frozen=True, slots=True)
class Target:
    """Where one of our arguments goes: a name, or a path into nested objects; and as which JSON type."""

    path: tuple[str, ...]
    type: JsonType | None = None

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that an answer may say. Met where the path leads to anything but false and the empty text.

    With `one_of`, `none_of` or `matches`: where it leads to such a value. Values are compared as texts.
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
        text = found if isinstance(found, str) else str(found)
        if self.one_of is not None:
            return found if text in self.one_of else None
        if self.none_of is not None:
            return found if text not in self.none_of else None
        if self.matches is not None:
            return found if self.matches.search(text) else None
        return None if found in ("", False) else found


@dataclass(frozen=True, slots=True)
class ToolWords:
    """One tool of the server's. In `args`, an argument with no target is not sent; one not named keeps its name.

    `result` leads from our fields into its answer, None for what it never tells.
    """

    name: str
    binds: bool = True
    args: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    const: Mapping[str, Any] = field(default_factory=dict)
    enums: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    result: Mapping[str, Path | None] = field(default_factory=dict)
    items: Path | None = None
    states: Mapping[str, str] = field(default_factory=dict)
    error_when: tuple[Condition, ...] = ()
    unknown_when: tuple[Condition, ...] = ()
    not_found_when: tuple[Condition, ...] = ()

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


CONTRACT = ServerWords()
"""The words of a server that speaks the contract as it is."""


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
        if tool is None or before is None:
            tools[name] = tool
        else:
            both = {key: {**before.get(key, {}), **tool[key]} for key in _MERGED if key in tool}
            tools[name] = {**before, **tool, **both}
    return {"bind": {**base.get("bind", {}), **written.get("bind", {})}, "tools": tools}


def read(written: Mapping[str, Any]) -> ServerWords:
    """`{bind, tools}` as written, valid by the settings' schema. Raises BadMapping with every fault."""
    bind, tools = written.get("bind", {}), written.get("tools", {})
    faults: list[tuple[Where, str]] = []
    read_tools: dict[str, ToolWords | None] = {}
    for name in TOOLS:
        tool = tools.get(name, {})
        if tool is None:
            read_tools[name] = None
        else:
            faults += _misnamed(name, tool)
            read_tools[name] = _tool(name, tool, bind, faults)
    if faults:
        raise BadMapping(tuple(faults))
    return ServerWords(read_tools, takes_no_account="account_id" in bind and bind["account_id"] is None)


def _tool(name: str, tool: Mapping[str, Any], bind: Mapping[str, Any], faults: list[tuple[Where, str]]) -> ToolWords:
    here: Where = ("tools", name)
    binds = tool.get("bind") != "none"
    args = {key: _targets(bind[key] if binds else None) for key in _BINDABLE if key in bind or not binds}
    args |= {key: _targets(to) for key, to in tool.get("args", {}).items()}
    conditions = {
        key: tuple(
            condition
            for index, one in enumerate(tool.get(key, ()))
            if (condition := _condition(one, (*here, key, index), faults)) is not None
        )
        for key in ("error_when", "unknown_when", "not_found_when")
    }
    result = {
        key: None if path is None else _path(path, (*here, "result", key), faults)
        for key, path in tool.get("result", {}).items()
    }
    return ToolWords(
        tool.get("name", name),
        binds,
        args,
        tool.get("const", {}),
        tool.get("enums", {}),
        result,
        _path(tool["items"], (*here, "items"), faults, each=True) if "items" in tool else None,
        tool.get("states", {}),
        **conditions,
    )


def _targets(written: Any) -> tuple[Target, ...]:
    if written is None:
        return ()
    if isinstance(written, list):
        return tuple(target for one in written for target in _targets(one))
    if isinstance(written, str):
        return (Target(tuple(written.split("."))),)
    return (Target(tuple(written["to"].split(".")), written.get("as")),)


def _condition(written: Any, where: Where, faults: list[tuple[Where, str]]) -> Condition | None:
    if isinstance(written, str):
        path = _path(written, where, faults)
        return None if path is None else Condition(path)
    path = _path(written["path"], (*where, "path"), faults)
    pattern = None
    try:
        pattern = re.compile(written["matches"]) if "matches" in written else None
    except re.error as error:
        faults.append(((*where, "matches"), f"expected a regular expression, was none: {error}"))
    if path is None:
        return None
    return Condition(path, _values(written.get("is")), _values(written.get("is_not")), pattern)


def _values(written: Any) -> tuple[str, ...] | None:
    if written is None:
        return None
    return tuple(str(value) for value in (written if isinstance(written, list) else [written]))


def _path(text: str, where: Where, faults: list[tuple[Where, str]], *, each: bool = False) -> Path | None:
    try:
        path = parse(text)
    except ValueError as error:
        faults.append((where, str(error)))
        return None
    if path.is_each and not each:
        faults.append((where, f"expected a path to one thing, was {text!r}: .* is for items"))
    return path


def _misnamed(name: str, tool: Mapping[str, Any]) -> Iterator[tuple[Where, str]]:
    """Words of ours that are none."""
    known = TOOLS[name]
    spoken = {**dict.fromkeys(known.arguments), **dict.fromkeys(known.fields)}
    for key, names in (("args", known.arguments), ("enums", spoken)):
        for argument in tool.get(key, {}):
            if argument not in names:
                what = "argument" if key == "args" else "argument or field"
                yield ("tools", name, key, argument), _unknown(f"an {what} of {name}", argument, names)
    for field_name in tool.get("result", {}):
        if field_name not in known.fields:
            yield ("tools", name, "result", field_name), _unknown(f"a field of {name}", field_name, known.fields)
    for argument, words in tool.get("enums", {}).items():
        ours = known.arguments[argument].words if argument in known.arguments else ()
        for word in words:
            if ours and word not in ours:
                yield ("tools", name, "enums", argument, word), _unknown(f"a word for {argument}", word, ours)
    for word, state in tool.get("states", {}).items():
        if state not in STATES:
            yield ("tools", name, "states", word), _unknown("a state", state, STATES)


def _unknown(what: str, was: str, known: Any) -> str:
    close = get_close_matches(was, list(known), 1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"expected {what}, one of {', '.join(known)}, was {was!r}{hint}"
