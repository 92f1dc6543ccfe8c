"""The class a strategy author subclasses. Nothing of the engine is reachable from it but the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final

from reconciler.orders.order import Order
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

    def on_order(self, order: Order) -> None:
        """Runs before the next `on_tick`, within its deadline, once for each change of an own order since the last.

        `order` is as it was after that change, the oldest change first: what `place` and `cancel` answered, too. May
        not place. What changed before this instance was loaded is in `context.orders.recent`.
        """

    def render(self) -> Sequence[Mapping[str, Any]]:
        """Widgets for the instance's page, made by the functions of this package. Runs after ticks."""
        return ()

    def on_unload(self) -> None:
        """Runs once before the instance is dropped."""


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


AMOUNT: Final = r"^(0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*(\.[0-9]+)?)$"
"""A positive decimal in plain digits, `"0.05"` or `"1000"`: read it with `Decimal`, never with `float`."""

FRACTION: Final = r"^0\.[0-9]*[1-9][0-9]*$"
"""A decimal between 0 and 1, `"0.005"` for half a percent."""
