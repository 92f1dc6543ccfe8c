"""A config as its page shows it: one line per value, with what was written and what was filled in. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.dashboard.render import written


@dataclass(frozen=True, slots=True)
class ConfigLine:
    """`pointer` as problems spell it (`levels.step`); `as_written` empty where the schema's default applies."""

    pointer: str
    as_written: str
    effective: str
    is_default: bool


def config_lines(config: Mapping[str, Any], effective: Mapping[str, Any], prefix: str = "") -> list[ConfigLine]:
    """Every value in force, maps opened up, in the order of the effective config."""
    return list(_lines(config, effective, prefix))


_ABSENT = object()


def _lines(config: Mapping[str, Any], effective: Mapping[str, Any], prefix: str) -> Iterator[ConfigLine]:
    for key, value in effective.items():
        pointer = f"{prefix}{key}"
        own = config.get(key, _ABSENT)
        if isinstance(value, Mapping) and value:
            yield from _lines(own if isinstance(own, Mapping) else {}, value, f"{pointer}.")
        elif own is _ABSENT:
            yield ConfigLine(pointer, "", written(value), is_default=True)
        else:
            yield ConfigLine(pointer, written(own), written(value), is_default=False)
