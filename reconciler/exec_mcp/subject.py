"""The subject of an answer: the order that a server was asked about, and whether what it says can be about it. Pure.

An answer about another order, once booked, is a position that nobody holds: what plainly is not about ours, or tells
of it what cannot be, is unreadable, and the order stays what it is known to be.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from reconciler import exact
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.answers import OrderReport, Unreadable
from reconciler.orders.order import Order, OrderState, Side, decimal_text

_OTHER_NAMES: Final = {"xbt": "btc", "xdg": "doge"}
"""What some exchanges call what others call so."""
_DOUBLES: Final = Decimal("1e-9")
"""By less than this part of what was ordered, more is filled only because a server added doubles up."""
_ROUNDED_UP: Final = Decimal("0.02")
"""By up to this part of what was ordered, exchanges that round up fill more, and it is believed."""
_LETTERS: Final = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of the order that a server is asked about."""

    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal

    @classmethod
    def of(cls, order: Order) -> Subject:
        return cls(order.client_order_id, order.provenance.symbol, order.side, order.quantity)

    def report(self, answer: Mapping[str, Any]) -> OrderReport:
        """`place_order`, `cancel_order`, `get_order` or an item of a list: what it says of this order.

        What is filled whole is filled, and no more open, whatever the state that is told with it.

        Raises Unreadable, which says what was answered, also where that is another order, or clearly more than was
        ordered.
        """
        self._recognise(answer)
        report = self._believed(answers.order(answer))
        is_whole = report.filled_quantity >= self.quantity and report.state is not None and not report.state.is_final
        return replace(report, state=OrderState.FILLED) if is_whole else report

    def _believed(self, report: OrderReport) -> OrderReport:
        """The report, where what it says to be filled can be."""
        filled = max(report.filled_quantity, exact.total(fill.quantity for fill in report.fills or ()))
        excess = exact.subtract(filled, self.quantity)
        if excess <= 0:
            return report
        if excess < exact.multiply(self.quantity, _DOUBLES):
            return replace(report, filled_quantity=self.quantity)
        if excess <= exact.multiply(self.quantity, _ROUNDED_UP):
            return report
        raise Unreadable(
            f"{self.client_order_id}: filled_quantity: expected at most {decimal_text(self.quantity)}, all that"
            f" was ordered, and 2 % more at most, was {decimal_text(filled)}"
        )

    def ending(self, answer: Mapping[str, Any]) -> OrderReport | None:
        """`cancel_order`: what it says of this order; None where it is an acknowledgement, and no more.

        That is one that names no state, or an end without what was filled before it: the order is looked up then.
        Raises Unreadable, as `report` does.
        """
        if answer.get("status") in (None, ""):
            self._recognise(answer)
            return None
        report = self.report(answer)
        return None if report.hides_fills else report

    def _recognise(self, answer: Mapping[str, Any]) -> None:
        """Raise where it plainly is another order. By its symbol only where nothing calls it by our name."""
        told = {name: str(answer[name]).strip() for name in ("client_order_id", "symbol", "side") if answer.get(name)}
        id = told.get("client_order_id")
        if id is not None and not is_called(self.client_order_id, id):
            raise self._another("client_order_id", self.client_order_id, id)
        if id is None and names_another(self.symbol, symbol := told.get("symbol", self.symbol)):
            raise self._another("symbol", self.symbol, symbol)
        # What is neither is a word of the server's own, which the mapping does not translate.
        if (side := told.get("side", self.side).lower()) in tuple(Side) and side != self.side:
            raise self._another("side", self.side, side)

    def _another(self, name: str, expected: str, was: str) -> Unreadable:
        return Unreadable(
            f"the answer is about another order than {self.client_order_id}: {name}: expected {expected}, was {was:.80}"
        )


def is_called(client_order_id: str, told: str) -> bool:
    """True where `told` is that order's client_order_id; some exchanges put a prefix of theirs before it: `t-`."""
    if told == client_order_id:  # as nearly all do; what follows costs as much as booking the order
        return True
    return re.fullmatch(rf"(.*[^a-z0-9])?{re.escape(client_order_id.lower())}", told.lower()) is not None


def own_part(told: str) -> str:
    """What is ours of a client_order_id as an exchange tells it: all of it that comes after a prefix of theirs."""
    parts = _LETTERS.findall(told.lower())
    return parts[-1] if parts else ""


def names_another(symbol: str, told: str) -> bool:
    """True where `told` plainly is not the market `symbol`, of which exchanges have several spellings.

    BTC/USD may be told as BTCUSD, btc-usd, XBT/USD, XXBTZUSD or BTC/USD:USD. In the same spelling, it is another
    wherever it differs: WBTC/USD. In another one, where it does not hold every part of ours: BTC-EUR. A bare number
    is an id, which says nothing of this.
    """
    ours, theirs = _parts(symbol), _parts(told)
    if "".join(ours) == "".join(theirs) or told.isdecimal():
        return False
    if len(ours) > 1 and _signs(symbol) == _signs(told):
        return True
    return not all(part in "".join(theirs) for part in ours)


def _parts(symbol: str) -> list[str]:
    text = symbol.lower()
    for name, usual in _OTHER_NAMES.items():
        text = text.replace(name, usual)
    return _LETTERS.findall(text)


def _signs(symbol: str) -> list[str]:
    return [sign for sign in _LETTERS.split(symbol.lower()) if sign]
