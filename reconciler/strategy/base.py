"""The class a strategy author subclasses. Nothing of the engine is reachable from it but the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from reconciler.strategy.context import Context


class Strategy:
    """One running strategy. Subclass it, once per module, and override the hooks.

    `context` and `config` are set before `init` runs and are gone with the instance: state that must
    outlive a reload is read back from `context.orders`.
    """

    TICK_MINUTES: ClassVar[float]
    """Minutes between ticks, at least 0.1; beats are a tenth of a minute."""
    CONFIG_SCHEMA: ClassVar[Mapping[str, Any]]
    """JSON Schema 2020-12 of `config`, `"type": "object"`; defaults are filled in before `init`."""
    TICK_ON_LOAD: ClassVar[bool] = False
    """True asks for one more tick at the first beat after each load."""

    context: Context
    config: Mapping[str, Any]

    def init(self) -> None:
        """Runs once after loading. May read the market and the book; may not place."""

    def on_tick(self) -> None:
        """Runs at the cadence. The only hook that may place orders."""
        raise NotImplementedError

    def render(self) -> Sequence[Mapping[str, Any]]:
        """Widgets for the instance's page, made by the functions of this package. Runs after ticks."""
        return ()

    def on_unload(self) -> None:
        """Runs once before the instance is dropped."""
