"""What people begin with: an instance file, commented, every default told; and a repository for a fleet. Pure.

The texts of the repository lie in `scaffold_files/`.
"""

from __future__ import annotations

import hashlib
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from reconciler import __version__
from reconciler.documents.document import Document, parse
from reconciler.documents.wording import Path as Pointer
from reconciler.documents.wording import spell
from reconciler.records.instance_schema import instance_schema
from reconciler.records.mode import Mode
from reconciler.records.record import Values
from reconciler.review.editor import EDITOR_SETTINGS, INSTANCE
from reconciler.sources.layout import INSTANCES
from reconciler.strategy.definition import Definition
from reconciler.strategy.describe import config_field
from reconciler.strategy.module_loading import load
from reconciler.validation.config_schema import defaults
from reconciler.validation.schema_tree import Schema, referred

_BARE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_WORDS: Final = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n"))
"""Words that a reader of YAML may take for something else than text, in any case."""
_LONGEST_LINE: Final = 100
_INDENT: Final = "  "


def scalar(value: Any) -> str:
    """A value on one line: text bare where every reader of YAML takes it for that text, lists and mappings in flow."""
    if isinstance(value, str):
        return value if _is_bare(value) else _quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(scalar, value)) + "]"
    return json.dumps(value)


def entry(key: str, value: Any) -> Iterator[str]:
    """`key: value`, on one line where it fits, else with what it holds indented below."""
    line = f"{scalar(key)}: {scalar(value)}"
    if len(line) <= _LONGEST_LINE or not isinstance(value, (dict, list)) or not value:
        yield line
        return
    yield f"{scalar(key)}:"
    yield from indented(_block(value))


def indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"{_INDENT}{line}" if line else line for line in lines)


def can_be_spelled(key: str, value: Any) -> bool:
    """False for what a file cannot hold: control characters, integers beyond 64 bits, keys longer than a line."""
    document = parse("\n".join(entry(key, value)).encode(), "")
    return isinstance(document, Document) and _is_same(document.values, {key: value})


def _block(value: dict[str, Any] | list[Any]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from entry(key, inner)
    else:
        yield from (f"- {scalar(item)}" for item in value)


def _is_bare(text: str) -> bool:
    return _BARE.fullmatch(text) is not None and text.lower() not in _WORDS


def _quoted(text: str) -> str:
    """In double quotes, as JSON has it, but that what YAML would fold or refuse is escaped as well."""
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in json.dumps(text, ensure_ascii=False))


def _is_same(one: Any, other: Any) -> bool:
    """Equal, and 1, 1.0 and true are three different values."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


GAP: Final = "# fill in"
_WIDTH: Final = 100
_MAX_DEPTH: Final = 8
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Properties:
    """Writes what `schema` says may stand at `at`.

    A required property has its default or its example, or is a gap, noted in `gaps` as people write such places.
    What may be left out is there as a comment to be uncommented, so that a template can still fill it and a new
    default still arrives: with its default where `with_defaults` and it has one, else with its example. A secret
    becomes a reference to an environment variable, `SECRET_PREFIX_NAME`.
    """

    schema: Values
    at: Pointer = ()
    with_defaults: bool = True
    secret_prefix: str = ""
    gaps: list[str] = field(default_factory=list)

    def lines(self, *, leaving_out: Iterable[str] = ()) -> list[str]:
        """Not indented, a blank line between properties."""
        lines: list[str] = []
        for name in self.schema.get("properties", {}):
            if name not in leaving_out:
                lines += ["", *self._property(self.schema, self.at, name, shown=False)]
        return lines[1:]

    def _property(self, parent: Mapping[str, Any], at: Pointer, name: str, *, shown: bool) -> Iterator[str]:
        """Where `shown`, what may be left out is written all the same: it stands in a comment already."""
        schema = self._resolved(parent["properties"][name])
        required = name in parent.get("required", ())
        written = required or shown
        yield from self._meaning(name, schema, required)
        value = self._value(name, schema)
        if "default" in schema and (self.with_defaults or required):
            filled = defaults({}, {"properties": {name: schema}}, self.schema)[name]
            if can_be_spelled(name, filled):
                yield from entry(name, filled) if written else commented(entry(name, filled))
            else:
                yield "# its default cannot be written here"
        elif value is not _NOTHING and can_be_spelled(name, value):
            yield from entry(name, value) if written else commented(entry(name, value))
        elif "properties" in schema and len(at) < _MAX_DEPTH:
            lines = self._mapping(schema, (*at, name), shown=not required)
            yield from lines if written else commented(lines)
        elif required:
            if not shown:
                self.gaps.append(spell((*at, name)))
            yield f"{scalar(name)}: {GAP}"
        else:
            yield f"# {scalar(name)}:"

    def _mapping(self, schema: Mapping[str, Any], at: Pointer, *, shown: bool) -> list[str]:
        lines = [line for name in schema["properties"] for line in self._property(schema, at, name, shown=shown)]
        name = scalar(str(at[-1]))
        return [f"{name}:" if has_values(lines) else f"{name}: {{}}", *indented(lines)]

    def _value(self, name: str, schema: Mapping[str, Any]) -> Any:
        if schema.get("writeOnly") is True:
            return {"env": re.sub(r"\W+", "_", f"{self.secret_prefix}_{name}", flags=re.ASCII).upper()}
        if "properties" in schema:
            return _NOTHING
        return schema.get("const", next(iter(schema.get("examples", ())), _NOTHING))

    def _meaning(self, name: str, schema: Mapping[str, Any], required: bool) -> Iterator[str]:
        described = config_field(self.schema, schema, name, required)
        rules = [described.type, *(rule for rule in described.constraints if not rule.startswith("matches "))]
        last = f"({', '.join([*rules, *(['required'] if required else [])])})"
        text = str(schema.get("description") or schema.get("title") or "")
        on_one_line = list(remark(f"{text} {last}"))
        yield from on_one_line if len(on_one_line) == 1 else [*remark(text), *remark(last)]

    def _resolved(self, schema: Schema) -> Mapping[str, Any]:
        """The schema on top of what its `$ref`s name."""
        parts: list[Mapping[str, Any]] = []
        at: Schema | None = schema
        while isinstance(at, Mapping) and not any(at is part for part in parts):
            parts.append(at)
            at = referred(at["$ref"], self.schema) if "$ref" in at else None
        return {key: value for part in reversed(parts) for key, value in part.items()}


def has_values(lines: Iterable[str]) -> bool:
    """False where all of it is comments, so that the mapping around it must say `{}`."""
    return any(line and not line.startswith("#") for line in lines)


def commented(lines: Iterable[str]) -> Iterator[str]:
    return (f"# {line}".rstrip() for line in lines)


def remark(text: str) -> Iterator[str]:
    """A comment, wrapped, whatever the text holds."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return commented(textwrap.wrap(" ".join(words), _WIDTH, break_on_hyphens=False))


_WRITTEN: Final = ("id", "strategy_type", "account", "market", "mode", "config")
_IDENTITY: Final = ("account.account_id", "account.client_id", "market")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for. Where a part of the identity is None, the example of the instance schema stands in for it."""

    id: str
    strategy_type: str
    account_id: str | None = None
    client_id: str | None = None
    market: str | None = None
    mode: Mode = Mode.OFF
    folder: str = ""
    """Below `instances/`, `""` for none."""
    limits: Mapping[str, Any] = field(default_factory=dict)
    """Those it begins with; none: they stand there as a comment."""

    @property
    def path(self) -> str:
        """Where the file belongs, relative to the fleet."""
        return "/".join(part for part in (INSTANCES, self.folder, f"{self.id}.yaml") if part)


@dataclass(frozen=True, slots=True)
class Draft:
    """The text of a new file. `gaps` must be filled in before it is valid; `assumed` are only examples."""

    path: str
    text: str
    gaps: tuple[str, ...]
    assumed: tuple[str, ...]


def instance_file(wanted: Wanted, description: str, config_schema: Values) -> Draft:
    """The file of a new instance of a strategy, whose own `description` it begins with."""
    schema = instance_schema()
    config = Properties(config_schema, ("config",), secret_prefix=wanted.id)
    given = {
        name: value if value is not None else _example(schema, name)
        for name, value in zip(_IDENTITY, (wanted.account_id, wanted.client_id, wanted.market), strict=True)
    }
    lines = [
        f"# yaml-language-server: $schema={'../' * wanted.path.count('/')}{INSTANCE}",
        "#",
        *remark(description.partition("\n\n")[0]),
        *([] if not description else ["#"]),
        "# What can be left out is commented out. id, strategy_type, account and market can never be changed.",
        f"id: {scalar(wanted.id)}",
        f"strategy_type: {scalar(wanted.strategy_type)}",
        "account:",
        f"  account_id: {scalar(given['account.account_id'])}",
        f"  client_id: {scalar(given['account.client_id'])}",
        f"market: {scalar(given['market'])}",
        f"mode: {wanted.mode} # {' | '.join(Mode)}: one step at a time up, any distance down",
        "",
        *_config(config),
        "",
        *_limits(schema, wanted.limits),
        *Properties(_described(schema, description), with_defaults=False).lines(
            leaving_out=(*_WRITTEN, *(["limits"] if wanted.limits else []))
        ),
    ]
    assumed = tuple(
        name for name, value in given.items() if value not in (wanted.account_id, wanted.client_id, wanted.market)
    )
    return Draft(wanted.path, "\n".join(lines) + "\n", tuple(config.gaps), assumed)


def _config(config: Properties) -> Iterator[str]:
    lines = config.lines()
    yield "config:" if has_values(lines) else "config: {}"
    yield from indented(lines)


def _limits(schema: Values, limits: Mapping[str, Any]) -> Iterator[str]:
    """Each limit with what it means."""
    if not limits:
        return
    own = schema["properties"]["limits"]
    yield from remark(str(own["description"]))
    yield "limits:"
    for name, value in limits.items():
        yield from indented([*remark(str(own["properties"][name]["description"])), *entry(name, value)])
    yield ""


def _described(schema: Values, description: str) -> Values:
    """The schema with what the strategy says of itself as the example of a description."""
    first = " ".join(description.partition("\n\n")[0].split())
    if not first:
        return schema
    properties = schema["properties"]
    told = {**properties["description"], "examples": [first[: properties["description"]["maxLength"]]]}
    return {**schema, "properties": {**properties, "description": told}}


def _example(schema: Values, name: str) -> Any:
    part = schema
    for step in name.split("."):
        part = part["properties"][step]
    return part["examples"][0]


_FILES: Final = Path(__file__).with_name("scaffold_files")
_EXAMPLE: Final = {"strategies/dip.py": "dip.py", "tests/test_dip.py": "test_dip.py"}
_SURROUNDINGS: Final = {
    "README.md": "README.md",
    "reconciler.yaml": "reconciler.yaml",
    "requirements.txt": "requirements.txt",
    ".gitignore": "gitignore.txt",
}
_AT_THE_TOP: Final = {
    ".github/workflows/fleet.yml": "workflow.yaml",
    ".pre-commit-config.yaml": "pre-commit-config.yaml",
}
_LIMITS: Final = {
    "max_order_notional": "500",
    "max_position": "1000",
    "max_open_orders": 4,
    "max_orders_per_minute": 4,
    "max_daily_loss": "50",
    "max_price_deviation": "0.02",
}
_INSTANCE: Final = Wanted("eur-usd-dip", "dip", "main", "desk-a", "EUR/USD", Mode.OBSERVE, limits=_LIMITS)
_EDITOR: Final = {
    ".vscode/settings.json": EDITOR_SETTINGS,
    ".vscode/extensions.json": {"recommendations": ["redhat.vscode-yaml"]},
}

NEEDED: Final = {".gitignore": ".reconciler/", "requirements.txt": f"strategy-reconciler=={__version__}"}
"""A line that a file must have even where it is one's own: the engine's state is never committed, CI installs this."""


def example() -> dict[str, str]:
    """A strategy, its test and an instance that observes."""
    texts = _texts(_EXAMPLE)
    path = "strategies/dip.py"
    definition = load("dip", texts[path].encode(), path, hashlib.sha1(texts[path].encode()).hexdigest())
    assert isinstance(definition, Definition), definition
    draft = instance_file(_INSTANCE, definition.description, definition.config_schema)
    return {**texts, draft.path: draft.text}


def surroundings(branch: str = "main") -> dict[str, str]:
    """What stands around instances and strategies, but for the schemas, which come from the strategies. `branch` is the
    one whose commits are to run."""
    editor = {path: json.dumps(settings, indent=2) + "\n" for path, settings in _EDITOR.items()}
    texts = _texts(_SURROUNDINGS)
    texts["reconciler.yaml"] = texts["reconciler.yaml"].replace("branch: main", f"branch: {scalar(branch)}")
    return {**texts, **editor}


def at_the_top() -> dict[str, str]:
    """What counts only at the top of a git repository, for a fleet that is the whole of one."""
    return _texts(_AT_THE_TOP)


def deployment() -> dict[str, str]:
    """What runs the engine as a service or in a container, and watches it."""
    return {f"deploy/{file.name}": file.read_text(encoding="utf-8") for file in sorted((_FILES / "deploy").iterdir())}


def _texts(names: dict[str, str]) -> dict[str, str]:
    texts = {path: (_FILES / name).read_text(encoding="utf-8") for path, name in names.items()}
    return {path: text.replace("=={version}", f"=={__version__}") for path, text in texts.items()}
