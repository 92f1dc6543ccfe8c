"""A strategy's config, made read-only all the way down. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


def frozen(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """`config` as a strategy sees it: mappings are `MappingProxyType`, lists are tuples.

    Parts that hold no list or mapping are not copied; the record's values are never changed in place.
    """
    return MappingProxyType(_contents(config))


def _contents(values: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(values, dict) and not any(isinstance(item, (dict, list)) for item in values.values()):
        return values
    return {key: _frozen(item) for key, item in values.items()}


def _frozen(value: Any) -> Any:
    match value:
        case Mapping():
            return frozen(value)
        case list() | tuple():
            return tuple(_frozen(item) for item in value)
    return value
