"""A new instance file: commented, every default told, `mode: off`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.records.mode import Mode
from reconciler.records.record import Values
from reconciler.records.schema import instance_schema
from reconciler.review.editor import INSTANCE
from reconciler.review.scaffold.properties import Properties, has_values, remark
from reconciler.review.scaffold.spelling import entry, indented, scalar
from reconciler.sources.layout import INSTANCES

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
