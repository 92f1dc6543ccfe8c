"""The course of one instance through a run: its equity, measured at every price that was told, and what it traded.

Money is in the quote currency of its market, exact. Equity is what it made: realised profit less fees, and what is
held at the price it could be closed at. Curves are thinned as they grow; drawdown and days are of all points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from reconciler import exact
from reconciler.exact import ZERO
from reconciler.orders.holding import Holding
from reconciler.orders.order import Side

MOST_POINTS: Final = 2_000
_DAY_S: Final = 86_400


class CurvePoint(NamedTuple):
    """A moment: equity, what was at risk in the market, and the price."""

    time_s: float
    equity: Decimal
    exposure: Decimal
    price: Decimal


class Curve:
    """Points at even distances, at most `MOST_POINTS` in the end, the first and the last among them."""

    def __init__(self) -> None:
        self._points: list[CurvePoint] = []
        self._stride = 1
        self._seen = 0
        self._last: tuple[float, Decimal, Decimal, Decimal] | None = None

    def add(self, time_s: float, equity: Decimal, exposure: Decimal, price: Decimal) -> None:
        if self._seen % self._stride == 0:
            self._points.append(CurvePoint(time_s, equity, exposure, price))
            if len(self._points) >= 2 * MOST_POINTS:
                del self._points[1::2]
                self._stride *= 2
        self._seen += 1
        self._last = (time_s, equity, exposure, price)

    def points(self) -> tuple[CurvePoint, ...]:
        found = self._points
        while len(found) > MOST_POINTS - 1:
            found = found[::2]
        if self._last is not None and found and found[-1] != self._last:
            found = [*found, CurvePoint(*self._last)]
        return tuple(found)


@dataclass(slots=True)
class Drawdown:
    """How far it fell from its highest, of all values that it is told."""

    highest: Decimal = ZERO
    deepest: Decimal = ZERO

    def add(self, value: Decimal) -> None:
        if value > self.highest:
            self.highest = value
            return
        fallen = exact.subtract(self.highest, value)
        if fallen > self.deepest:
            self.deepest = fallen


@dataclass(frozen=True, slots=True)
class TradeFill:
    """One execution. The fee is in `fee_currency`."""

    at: datetime
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    order: str


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """From flat to flat, or from one side to the other: what it made, fees included."""

    side: Side
    opened_at: datetime
    closed_at: datetime
    quantity: Decimal
    entry: Decimal
    exit: Decimal
    profit: Decimal


@dataclass(slots=True)
class Course:
    """Of the instance `id` in `symbol`."""

    id: str
    symbol: str
    holding: Holding
    currency: str = ""
    """What prices of it are in."""
    curve: Curve = field(default_factory=Curve)
    drawdown: Drawdown = field(default_factory=Drawdown)
    equity: Decimal = ZERO
    at_work: Decimal = ZERO
    """The most that it ever had in the market, at cost."""
    _days: list[tuple[int, Decimal]] = field(default_factory=list)
    _day_ends_s: float = float("-inf")

    @property
    def days(self) -> tuple[tuple[int, Decimal], ...]:
        """Of each UTC day with a price: which it is, counted from the epoch, and the equity at its last price."""
        today = () if self._day_ends_s == float("-inf") else ((int(self._day_ends_s // _DAY_S) - 1, self.equity),)
        return (*self._days, *today)

    def hold(self, holding: Holding) -> None:
        """What it holds from now on."""
        self.holding = holding
        if holding.cost is not None:
            self.at_work = max(self.at_work, exact.size(holding.cost))

    def mark(self, time_s: float, bid: Decimal, ask: Decimal) -> Decimal:
        """Measure it at these prices; by how much its equity has changed."""
        holding, before = self.holding, self.equity
        if time_s >= self._day_ends_s:
            self._days[:] = self.days
            self._day_ends_s = (time_s // _DAY_S + 1) * _DAY_S
        quantity = holding.quantity
        if not quantity:
            self.equity = equity = holding.realised
            self.curve.add(time_s, equity, ZERO, bid)
            if equity is before:
                return ZERO
        else:
            self.equity = equity = exact.add(holding.realised, holding.unrealised(bid, ask) or ZERO)
            self.curve.add(time_s, equity, exact.size(exact.multiply(quantity, bid if quantity > 0 else ask)), bid)
        self.drawdown.add(equity)
        return exact.subtract(equity, before)


def round_trips(fills: Sequence[TradeFill], currency: str) -> tuple[RoundTrip, ...]:
    """The trades that fills, oldest first, add up to, their prices in `currency`. One that is still open is none yet.

    The average-cost way: entry and exit are what all its fills on that side cost on average.
    """
    found: list[RoundTrip] = []
    held, began = ZERO, None
    entered, left, paid, got, fees = ZERO, ZERO, ZERO, ZERO, ZERO
    for fill in fills:
        signed = fill.quantity if fill.side is Side.BUY else exact.negative(fill.quantity)
        unpaid = fill.fee if fill.fee_currency == currency else exact.multiply(fill.fee, fill.price)
        while signed:
            if began is None:
                began = fill
            adds = held == 0 or (held > 0) == (signed > 0)
            part = signed if adds else min(exact.size(signed), exact.size(held)).copy_sign(signed)
            is_last = part == signed
            share = unpaid if is_last else exact.quotient(exact.multiply(unpaid, part), signed)
            unpaid = exact.subtract(unpaid, share)
            worth = exact.multiply(exact.size(part), fill.price)
            if adds:
                entered, paid = exact.add(entered, exact.size(part)), exact.add(paid, worth)
            else:
                left, got = exact.add(left, exact.size(part)), exact.add(got, worth)
            fees, held, signed = exact.add(fees, share), exact.add(held, part), exact.subtract(signed, part)
            if not held and began is not None:
                gained = exact.subtract(got, paid) if began.side is Side.BUY else exact.subtract(paid, got)
                entry, out = exact.quotient(paid, entered), exact.quotient(got, left)
                profit = exact.subtract(gained, fees)
                found.append(RoundTrip(began.side, began.at, fill.at, entered, entry, out, profit))
                began, entered, left, paid, got, fees = None, ZERO, ZERO, ZERO, ZERO, ZERO
    return tuple(found)
