"""A strategy definition, loaded and checked: frozen facts plus the class. Imports no strategy; `loading` does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.strategy.base import Strategy


@dataclass(frozen=True, slots=True)
class Definition:
    """One loaded version of a strategy. Two versions of one type live side by side, told apart by `code_digest`."""

    strategy_type: str
    path: str
    code_digest: str
    cls: type[Strategy]
    description: str
    tick_minutes: float
    cadence_steps: int
    tick_on_load: bool
    config_schema: Mapping[str, Any]
