"""What a host is asked to load. A frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.records.record import Row
from reconciler.strategy.definition import Definition


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """A row, and the version of its strategy that it was validated against."""

    row: Row
    definition: Definition
