"""News of orders: what may become known of one after what is known already, and which of its fills are new. Pure.

Told by an exchange, or by a verdict: what an operator, having looked at the exchange, says of an order, an account or a
book.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, get_args

from reconciler import exact
from reconciler.errors import StoreError
from reconciler.orders.order import Fill, Order, OrderNews, OrderState, Outcome, RejectedBy, decimal_text

VerdictWord = Literal["accepted", "filled", "cancelled", "expired", "rejected"]
WORDS: tuple[VerdictWord, ...] = get_args(VerdictWord)

_FINAL = {word: OrderState(word) for word in ("filled", "cancelled", "expired")}
_ZERO = Decimal(0)
_FOLLOWERS = {
    Outcome.SHADOW: frozenset({Outcome.SHADOW}),
    Outcome.PENDING: frozenset({Outcome.PENDING, Outcome.ACCEPTED, Outcome.REJECTED, Outcome.UNKNOWN}),
    Outcome.UNKNOWN: frozenset({Outcome.UNKNOWN, Outcome.ACCEPTED, Outcome.REJECTED}),
    Outcome.ACCEPTED: frozenset({Outcome.ACCEPTED}),
    Outcome.REJECTED: frozenset({Outcome.REJECTED, Outcome.ACCEPTED}),
}
"""What may be told of an order after each outcome, itself included. One taken for rejected may turn up after all."""

_OF_FILLS = frozenset({"filled_quantity", "average_price", "fee", "fee_currency"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """`word`: accepted (it is there and open), filled, cancelled, expired, or rejected (it was never placed).

    `filled_quantity` is how much of it is filled in all, None for all of it where it is filled, else for what is
    known; more than was ordered where the exchange rounded up, or less than is known where that was wrong.
    `average_price` and `fee`, in `fee_currency`, are of all of that. `by` says who (`uid 1000`).
    """

    word: VerdictWord
    reason: str
    by: str
    filled_quantity: Decimal | None = None
    average_price: Decimal | None = None
    fee: Decimal | None = None
    exchange_order_id: str | None = None
    fee_currency: str | None = None

    def fault(self, order: Order, *, was_unknown: bool) -> str:
        """Why this cannot be said of `order`, with what to do; empty where it can.

        `was_unknown`: whether it was placed was not known, now or earlier. Of an order that the gateway rejected only
        then more can be said: any other was certainly never sent. One that the exchange rejected may be there after
        all: its server may have called a failure a refusal. Of one that is over, fills may be told that are not known.
        """
        if order.outcome is Outcome.SHADOW:
            return "it is a shadow order: nothing was sent, there is nothing to resolve"
        if order.outcome is Outcome.REJECTED and order.rejected_by is not RejectedBy.EXCHANGE and not was_unknown:
            return f"it was never placed, that is certain: {order.reason}"
        if order.outcome is Outcome.REJECTED and self.word == "rejected":
            return f"it is rejected already: {order.reason}"
        if order.state is not None and order.state.is_final:
            return self._addition_fault(order, order.state)
        if self.word == "rejected":
            return self._rejection_fault(order)
        return self._fill_fault(order)

    def news(self, order: Order) -> OrderNews:
        """What the ledger is to write down. Only where there is no `fault`."""
        reason = f"resolved by hand ({self.by}): {self.reason}"
        if self.word == "rejected":
            return OrderNews(outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY, reason=reason)
        filled = self._filled(order)
        return OrderNews(
            outcome=Outcome.ACCEPTED,
            state=_FINAL.get(self.word) or (OrderState.PARTIALLY_FILLED if filled else OrderState.OPEN),
            filled_quantity=filled,
            average_price=self.average_price,
            fee=self.fee,
            fee_currency=self.fee_currency,
            exchange_order_id=self.exchange_order_id,
            reason=reason,
        )

    def __str__(self) -> str:
        filled = "" if self.filled_quantity is None else f", {decimal_text(self.filled_quantity)} filled"
        price = "" if self.average_price is None else f" at {decimal_text(self.average_price)}"
        return f"{self.word}{filled}{price}"

    def _filled(self, order: Order) -> Decimal:
        if self.filled_quantity is not None:
            return self.filled_quantity
        is_all = self.word == "filled" and not (order.state is not None and order.state.is_final)
        return order.quantity if is_all else order.filled_quantity

    def _rejection_fault(self, order: Order) -> str:
        if order.outcome is Outcome.ACCEPTED:
            return "the exchange took it: say cancelled, or expired, with what was filled"
        if (self.filled_quantity, self.average_price, self.fee) != (None, None, None):
            return "a rejected order has no fills: leave quantity, price and fee out, or say cancelled"
        return ""

    def _addition_fault(self, order: Order, state: OrderState) -> str:
        """Of an order that is over, what is filled may be more, or less; its state stays, unless not all was filled."""
        takes_back = state is OrderState.FILLED and self._filled(order) < order.quantity
        if self.word != state and not (takes_back and self.word in ("cancelled", "expired")):
            return f"it is {state}, and that is final: say {state}, with what is filled in all"
        told = ((self.average_price, order.average_price), (self.fee, order.fee))
        is_told = any(new is not None and known is None for new, known in told)
        is_changed = any(new is not None and known not in (None, new) for new, known in told)
        if self._filled(order) == order.filled_quantity and (is_changed or not is_told):
            return f"it is {state}, with {decimal_text(order.filled_quantity)} filled, and this adds nothing to it"
        return self._fill_fault(order)

    def _fill_fault(self, order: Order) -> str:
        filled, known = self._filled(order), order.filled_quantity
        if self.word == "filled" and filled < order.quantity:
            return f"filled quantity: expected {decimal_text(order.quantity)}, all; else say cancelled or accepted"
        is_more = filled > order.quantity and self.word != "filled"
        if is_more or (self.word == "accepted" and filled == order.quantity):
            return "all of it is filled: say filled"
        if filled > known and self.average_price is None:
            return "price: expected the average of what is filled: position and profit are made of it"
        if filled == _ZERO and (self.average_price or self.fee):
            return "filled quantity: expected one, for there is a price or a fee"
        return ""


@dataclass(frozen=True, slots=True)
class Correction:
    """`quantity` is all that is held afterwards, signed, fees taken out; `price` what one of it cost on average.

    Of nothing, `price` is what one of all that was held was closed at: 0 where it was written off. `fee` was charged
    besides what the book knows, in `fee_currency`, None for the quote currency. `by` says who (`uid 1000`).
    """

    quantity: Decimal
    price: Decimal
    reason: str
    by: str
    fee: Decimal | None = None
    fee_currency: str | None = None

    def fault(self) -> str:
        """Why no book can be put right so; empty where it can."""
        for name, value in (("quantity", self.quantity), ("price", self.price), ("fee", self.fee)):
            if value is not None and not value.is_finite():
                return f"{name}: expected a finite number, was {value}"
        if self.price < 0:
            return f"price: expected zero or more, was {decimal_text(self.price)}"
        if self.quantity and not self.price:
            return "price: expected what one of what is held cost, was 0: only of nothing held, written off, it may be"
        if self.fee is not None and self.fee < 0:
            return f"fee: expected zero or more, was {decimal_text(self.fee)}"
        return ""

    def __str__(self) -> str:
        fee = "" if self.fee is None else f", fee {decimal_text(self.fee)} {self.fee_currency or ''}".rstrip()
        return f"{decimal_text(self.quantity)} at {decimal_text(self.price)}{fee}"


@dataclass(frozen=True, slots=True)
class Shares:
    """Whose is what an account holds: `assigned` to instances, by id, all that each one holds afterwards; `outside` of
    all instances, by symbol, signed. Who is not named keeps what the books say.
    """

    reason: str
    by: str
    assigned: Mapping[str, Correction] = field(default_factory=dict)
    outside: Mapping[str, Decimal] = field(default_factory=dict)

    def __str__(self) -> str:
        told = [f"{instance_id} holds {correction}" for instance_id, correction in self.assigned.items()]
        told += [f"{decimal_text(quantity)} {symbol} is outside" for symbol, quantity in self.outside.items()]
        return ", ".join(told) or "nothing was assigned"


def settled_order(known: Order, news: Mapping[str, Any]) -> Order:
    """`known` with `news`, fields of `Order` by name. Raises StoreError where they cannot follow what is known."""
    if news.get("filled_quantity", known.filled_quantity) < known.filled_quantity:
        news = {k: v for k, v in news.items() if k not in _OF_FILLS}
    if news.get("outcome", known.outcome) is Outcome.ACCEPTED:
        news = {**news, "rejected_by": None}
    told = replace(known, **news)
    if told.outcome not in _FOLLOWERS[known.outcome]:
        raise StoreError(f"orders: {known.client_order_id}: {told.outcome} cannot follow {known.outcome}")
    if known.state is not None and known.state.is_final and told.state is not known.state:
        raise StoreError(f"orders: {known.client_order_id}: {told.state} cannot follow {known.state}, which is final")
    happened = told.state is not None or told.filled_quantity != 0
    if happened and told.outcome not in (Outcome.ACCEPTED, Outcome.SHADOW):
        raise StoreError(f"orders: {known.client_order_id}: expected no state or fill, for it is {told.outcome}")
    return told


def resolved_order(known: Order, news: Mapping[str, Any]) -> Order:
    """`known` as a person has it: with less filled, too, than is known, and another end. Else as `settled_order`."""
    told = replace(known, **news)
    if told.outcome is Outcome.ACCEPTED:
        told = replace(told, rejected_by=None)
    if not told.filled_quantity:
        told = replace(told, average_price=None)
    return settled_order(replace(known, state=None, filled_quantity=exact.ZERO), _differing(known, told))


def _differing(known: Order, told: Order) -> dict[str, Any]:
    names = ("outcome", "state", "filled_quantity", "average_price", "fee", "fee_currency", "exchange_order_id")
    return {name: getattr(told, name) for name in (*names, "reason", "rejected_by")}


def new_fills(
    order: Order, known: Sequence[Fill], told: Sequence[Fill], average: Decimal | None, now: datetime
) -> list[Fill]:
    """The fills, besides those `known`, that add up to what `order` says is filled.

    They are those `told` that are not known, and, for what these leave unexplained, one made of the difference; its
    price follows from `average`, the order's average price, and is None without one. One of a negative quantity takes
    back what is filled no more. Where more is told than is
    filled, or where one was made up before, executions told apart would count twice: then all is made up.

    Their fees in the order's currency add up to its fee, where that was told: what is missing, or too much, is on the
    last new one. Where no fill is new, or that one was charged in another currency, it is on one of no quantity, made
    up for it. A currency that is told later takes the place of none.
    """
    news = _executions(order, known, told, average, now)
    if order.fee is None:
        return news
    for currency, amount in ((order.fee_currency, order.fee), (None, exact.ZERO)):
        charged = (fill.fee for fill in (*known, *news) if fill.fee is not None and fill.fee_currency == currency)
        owed = exact.subtract(amount, exact.total(charged))
        last = news[-1] if news else None
        if last is not None and (last.fee is None or last.fee_currency == currency) and currency == order.fee_currency:
            news[-1] = replace(last, fee=exact.add(last.fee or exact.ZERO, owed), fee_currency=currency)
        elif owed:
            fee_id, price = f"fee-{len(known) + len(news) + 1}", None if currency is None else order.average_price
            news.append(Fill(order.client_order_id, fee_id, exact.ZERO, price, owed, now, True, currency))
        if order.fee_currency is None:
            break
    return news


def late_prices(order: Order, known: Sequence[Fill], average: Decimal | None) -> list[Fill]:
    """Those `known` fills whose price was not told with them, at the price that follows from the order's `average` now.

    It is the one at which all fills together trade at the average; empty where it cannot be, or none is told.
    """
    late = [fill for fill in known if fill.price is None and fill.quantity]
    if average is None or not late:
        return []
    # A fee in what is held is worth what that trades at.
    fees = [fill for fill in known if fill.price is None and not fill.quantity and fill.fee_currency is not None]
    quantity, others = _sum(late), [fill for fill in known if fill.price is not None]
    price = _price_of_rest(exact.add(quantity, _sum(others)), average, others, quantity)
    return [replace(fill, price=price) for fill in (*late, *fees)]


def _executions(
    order: Order, known: Sequence[Fill], told: Sequence[Fill], average: Decimal | None, now: datetime
) -> list[Fill]:
    """The new fills with the fees that were told of each."""
    missing = exact.subtract(order.filled_quantity, _sum(known))
    if not missing:
        return []
    if missing < 0:  # a person took it back
        price = _price_of_rest(order.filled_quantity, average, known, missing)
        return [Fill(order.client_order_id, f"less-{len(known) + 1}", missing, price, None, now, is_made_up=True)]
    ids = {fill.exchange_fill_id for fill in known}
    news = list({f.exchange_fill_id: f for f in told if f.exchange_fill_id not in ids and f.quantity > 0}.values())
    if any(fill.is_made_up and fill.quantity for fill in known) or _sum(news) > missing:
        news = []
    rest = exact.subtract(missing, _sum(news))
    if rest:
        price = _price_of_rest(order.filled_quantity, average, (*known, *news), rest)
        fill_id = f"to-{decimal_text(order.filled_quantity)}"
        news.append(Fill(order.client_order_id, fill_id, rest, price, None, now, is_made_up=True))
    return news


def _sum(fills: Iterable[Fill]) -> Decimal:
    return exact.total(fill.quantity for fill in fills)


def _price_of_rest(filled: Decimal, average: Decimal | None, others: Sequence[Fill], rest: Decimal) -> Decimal | None:
    """What the rest must have traded at for the average to be right; the average itself where that cannot be."""
    if average is None:
        return None
    paid = exact.multiply(filled, average)
    for fill in others:
        paid = exact.subtract(paid, exact.multiply(fill.quantity, average if fill.price is None else fill.price))
    price = exact.quotient(paid, rest)
    return price if price > 0 else average
