"""What fills add up to: what is held, what it cost, and the profit of what was closed. Exact, frozen, pure.

The average-cost method: what adds to the position adds its price to the cost, what reduces it takes its share of
the cost out, and what turns it around closes all of it and opens the rest. At any price, realised and unrealised
profit together are, to the last digit, what was taken in less what was paid out, plus what is held at that price.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from reconciler import exact
from reconciler.orders.market import FeeIn, Position, Quote, pair_of, usual
from reconciler.orders.news import Correction
from reconciler.orders.order import Fill, Side, decimal_text

_SHARE = exact.fixed(100)
_SHARE_STEP = Decimal("1E-40")
"""The share of a cost that a reduction takes out is rounded to this; what it takes is what the rest loses."""
_SENSIBLE = 58
"""How many digits before the point leave room for that."""
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Holding:
    """What one book's fills of a symbol add up to. Money is in the symbol's quote currency.

    `quantity` is positive long, negative short; `cost` is what it was opened for, of the same sign, and None while
    a price of it was not told. `realised` is the profit of what was closed, less all `fees`: those in the quote
    currency, where none is told it is that, and those in the base currency, at the price of their fills; these lower
    the position, too. `other_fees` are in neither, by currency: nothing else counts them. `unmeasured_on` is the last
    day on which something was closed whose profit nobody can tell, for want of a price: `realised` lacks it.

    `day` is the UTC day of the last fill or correction, `realised_before` what was realised when that day began,
    `corrected` how a person corrected it on that day.
    """

    symbol: str
    quantity: Decimal = _ZERO
    cost: Decimal | None = _ZERO
    realised: Decimal = _ZERO
    fees: Decimal = _ZERO
    day: date | None = None
    realised_before: Decimal = _ZERO
    unmeasured_on: date | None = None
    other_fees: tuple[tuple[str, Decimal], ...] = ()
    corrected: tuple[Corrected, ...] = ()

    @property
    def average_price(self) -> Decimal | None:
        """What one of it cost, to 28 digits; None where flat, or where a price was not told."""
        return exact.quotient(self.cost, self.quantity) if self.quantity and self.cost is not None else None

    @property
    def position(self) -> Position:
        return Position(self.symbol, self.quantity, self.average_price)

    def filled(self, side: Side, fill: Fill, on: date) -> Holding:
        """The holding after one more fill, which became known on the UTC day `on`.

        A day before the last one (a clock was set back) counts as the last one.
        """
        charged = self._on(on)._traded(side, fill.quantity, fill.price)
        return charged._charged(fill.fee, fill.fee_currency, fill.price) if fill.fee else charged

    def set_right(self, correction: Correction, on: date) -> Holding:
        """The holding as a person says it is, on the UTC day `on`.

        Its cost is what the correction says. Closed by it, all that was held is realised at its price; what it takes
        away or adds otherwise makes neither profit nor loss. Its fee is charged, and changes no quantity: that is told.
        """
        before = self._on(on)
        after = replace(
            before, quantity=correction.quantity, cost=exact.multiply(correction.quantity, correction.price)
        )
        if not correction.quantity and before.quantity:
            if before.cost is None:
                after = replace(after, unmeasured_on=after.day)
            else:
                closed = exact.subtract(exact.multiply(before.quantity, correction.price), before.cost)
                after = replace(after, realised=exact.add(before.realised, closed))
        if correction.fee:
            price = correction.price if before.average_price is None else before.average_price
            after = after._charged(correction.fee, correction.fee_currency, price, lowers=False)
        return after.by_hand(before, correction.price, on)

    def by_hand(self, before: Holding, price: Decimal | None, on: date) -> Holding:
        """This holding, which a person's word made of `before` on that day: the loss of the day is no less for it."""
        was = before._on(on)
        kept = Corrected(replace(was, corrected=()), replace(self, corrected=()), price or _ZERO)
        return replace(self, corrected=(*was.corrected, kept))

    def unrealised(self, bid: Decimal, ask: Decimal) -> Decimal | None:
        """The profit of closing what is held at these prices, fees aside; None where its cost is not known."""
        if self.cost is None:
            return None
        price = bid if self.quantity > 0 else ask
        return exact.subtract(exact.multiply(self.quantity, price), self.cost)

    def realised_on(self, day: date) -> Decimal:
        """What was realised on the UTC day `day`, today as a rule: of earlier days it knows nothing."""
        return exact.subtract(self.realised, self.realised_before) if self.is_of(day) else _ZERO

    def is_of(self, day: date) -> bool:
        """True where the last fill became known on `day`, or, where a clock was set back, after it."""
        return self.day is not None and day <= self.day

    def loss_on(self, day: date, bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
        """The loss of the UTC day `day`, a gain being negative; None where it cannot be measured.

        What was realised that day, fees included; and what is lost on what is held, whichever day it was lost on.
        What is gained on what is held does not count. What a person corrected that day lowers no loss: what it would
        take away is added again, at any price.
        """
        lost = self._loss_on(day, bid, ask)
        if lost is None or not self.is_of(day):
            return lost
        return exact.total((lost, *(correction.forgives(day, bid, ask) for correction in self.corrected)))

    def _loss_on(self, day: date, bid: Decimal | None, ask: Decimal | None) -> Decimal | None:
        if self.unmeasured_on is not None and day <= self.unmeasured_on:
            return None
        gained = self.realised_on(day)
        if self.quantity:
            unrealised = None if bid is None or ask is None else self.unrealised(bid, ask)
            if unrealised is None:
                return None
            gained = exact.add(gained, min(unrealised, _ZERO))
        return exact.negative(gained)

    def to_item(self, shadow: bool, quote: Quote | None) -> dict[str, Any]:
        """As lists show it: `symbol shadow quantity average_price realised fees other_fees unrealised currency
        quoted_at`. Money is Decimal, but in `other_fees`, texts by currency.

        `shadow` where it is simulated. `unrealised` is as of `quoted_at`; None without a quote, or where the cost is
        not known. `currency` is what profit is in, as far as the symbol tells.
        """
        return {
            "symbol": self.symbol,
            "shadow": shadow,
            "quantity": self.quantity,
            "average_price": self.average_price,
            "realised": self.realised,
            "fees": self.fees,
            "other_fees": {currency: decimal_text(fee) for currency, fee in self.other_fees},
            "unrealised": None if quote is None else self.unrealised(quote.bid, quote.ask),
            "currency": self.symbol.partition("/")[2],
            "quoted_at": None if quote is None else quote.as_of.isoformat(),
        }

    def _on(self, day: date) -> Holding:
        return self if self.is_of(day) else replace(self, day=day, realised_before=self.realised, corrected=())

    def _traded(self, side: Side, quantity: Decimal, price: Decimal | None) -> Holding:
        change = _signed(side, quantity)
        return self._closed(change, price)._opened(change, price, self.quantity)

    def _closed(self, change: Decimal, price: Decimal | None) -> Holding:
        """What the change closes of what is held: nothing where it adds to it."""
        if exact.multiply(self.quantity, change) >= 0:
            return self
        turns = exact.size(change) >= exact.size(self.quantity)
        closing = exact.negative(self.quantity) if turns else change
        left = exact.add(self.quantity, closing)
        share = None if self.cost is None else _share(self.cost, closing, self.quantity)
        cost = _ZERO if not left else None if share is None else exact.subtract(self.cost or _ZERO, share)
        if share is None or price is None:
            return replace(self, quantity=left, cost=cost, unmeasured_on=self.day)
        taken_in = exact.negative(exact.multiply(closing, price))
        realised = exact.add(self.realised, exact.subtract(taken_in, share))
        return replace(self, quantity=left, cost=cost, realised=realised)

    def _opened(self, change: Decimal, price: Decimal | None, held_before: Decimal) -> Holding:
        """What of the change is left after closing what was held before, added to what is held now."""
        after = exact.add(held_before, change)
        opening = exact.subtract(after, self.quantity)
        if not opening:
            return self
        known = self.cost is not None and price is not None
        cost = exact.add(self.cost or _ZERO, exact.multiply(opening, price or _ZERO)) if known else None
        return replace(self, quantity=after, cost=cost)

    def _charged(self, fee: Decimal, currency: str | None, price: Decimal | None, *, lowers: bool = True) -> Holding:
        """After one fee. In the base currency it is taken out of what is held, as if sold to pay it, at `price`."""
        charged_in = pair_of(self.symbol).fee_in(currency)
        if charged_in is FeeIn.OTHER:
            name, fees = usual(currency or ""), dict(self.other_fees)
            fees[name] = exact.add(fees.get(name, _ZERO), fee)
            return replace(self, other_fees=tuple(sorted((name, amount) for name, amount in fees.items() if amount)))
        paid, worth = self, fee
        if charged_in is FeeIn.BASE:
            at = self.average_price if price is None else price
            paid = self._traded(Side.SELL, fee, at) if lowers else self
            if at is None:
                return replace(paid, unmeasured_on=self.day)
            worth = exact.multiply(fee, at)
        return replace(paid, realised=exact.subtract(paid.realised, worth), fees=exact.add(paid.fees, worth))


@dataclass(frozen=True, slots=True)
class Corrected:
    """One correction of a book: what it made of which holding, and its price."""

    before: Holding
    after: Holding
    price: Decimal

    def forgives(self, day: date, bid: Decimal | None, ask: Decimal | None) -> Decimal:
        """By how much, at these prices, the correction lowered the loss of that day; zero where it did not.

        Without a quote, as of what is traded no more, by its own price.
        """
        at = (bid or self.price, ask or self.price)
        was, made = self.before._loss_on(day, *at), self.after._loss_on(day, *at)
        return _ZERO if was is None or made is None else max(_ZERO, exact.subtract(was, made))


def _signed(side: Side, quantity: Decimal) -> Decimal:
    return quantity if side is Side.BUY else exact.negative(quantity)


def _share(cost: Decimal, closing: Decimal, held: Decimal) -> Decimal:
    """What of `cost` goes with `closing`, which is of the other sign than `held`: all of it where all is closed."""
    if closing == exact.negative(held):
        return cost
    share = _SHARE.divide(exact.multiply(cost, exact.negative(closing)), held)
    return exact.rounded(share, _SHARE_STEP, ROUND_HALF_EVEN) if share.adjusted() < _SENSIBLE else share
