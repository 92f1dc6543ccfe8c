"""A config as its page shows it: one line per value, what was written and where, and what was filled in. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.dashboard.render import written
from reconciler.records.pointer import Path, spell


@dataclass(frozen=True, slots=True)
class ConfigLine:
    """`pointer` as problems spell it, below `config` (`levels.step`).

    `as_written` is empty where the schema's default applies. `origin` is the file and line it was written at
    (`instances/a.yaml:7`, or its template's), empty where nobody knows.
    """

    pointer: str
    as_written: str
    effective: str
    is_default: bool
    origin: str = ""


def config_lines(
    config: Mapping[str, Any], effective: Mapping[str, Any], origins: Mapping[str, str]
) -> list[ConfigLine]:
    """Every value in force, maps opened up, in the order of the effective config. `origins` by whole pointers."""
    return list(_lines(config, effective, origins, ()))


_ABSENT = object()


def _lines(
    config: Mapping[str, Any], effective: Mapping[str, Any], origins: Mapping[str, str], above: Path
) -> Iterator[ConfigLine]:
    for key, value in effective.items():
        path = (*above, key)
        own = config.get(key, _ABSENT)
        if isinstance(value, Mapping) and value:
            yield from _lines(own if isinstance(own, Mapping) else {}, value, origins, path)
        elif own is _ABSENT:
            yield ConfigLine(spell(path), "", written(value), is_default=True)
        else:
            origin = origins.get(spell(("config", *path)), "")
            yield ConfigLine(spell(path), written(own), written(value), is_default=False, origin=origin)
