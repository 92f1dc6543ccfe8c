"""The fake account: positions and balances are what the test says they are."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from reconciler.records.market import Balance, Position
from reconciler.records.order import to_decimal
from reconciler.strategy.testing.tools import Tools


class FakeAccount:
    """Implements `strategy.context.Account`. Independent of the instance's own orders, as a shared account is."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._positions: dict[str, Position] = {}
        self._balances: dict[str, Balance] = {}

    def set_position(self, symbol: str, quantity: str | Decimal, average_price: str | Decimal | None = None) -> None:
        price = None if average_price is None else to_decimal(average_price, "average_price")
        self._positions[symbol] = Position(symbol, to_decimal(quantity, "quantity"), price)

    def set_balance(self, asset: str, total: str | Decimal, available: str | Decimal | None = None) -> None:
        """`available` is the total where left out."""
        whole = to_decimal(total, "total")
        self._balances[asset] = Balance(
            asset, whole, whole if available is None else to_decimal(available, "available")
        )

    def positions(self) -> Sequence[Position]:
        self._tools.require("get_positions")
        return tuple(self._positions.values())

    def balances(self) -> Sequence[Balance]:
        self._tools.require("get_balances")
        return tuple(self._balances.values())
