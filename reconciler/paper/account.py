"""The money of one paper account: what executions move, and what open orders set aside. No clock, no prices.

What is sold must be held, what is bought must be paid for. Where selling short is allowed, what is sold
without being held is owed; as long as it is, its proceeds are set aside and as much again, and buying it
back is always possible.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Literal, NamedTuple

from reconciler import exact
from reconciler.exact import ZERO, exactly, negative, size
from reconciler.orders.filling import Liquidity
from reconciler.orders.market import Balance, Position
from reconciler.orders.order import Side, decimal_text
from reconciler.paper.paper_order import Markets, PaperFill, PaperOrder, average, fee_on

_PLEDGE = 2
"""A short sale's proceeds, and as much again."""
_PLEDGE_STEP = Decimal("0.00000001")


STARTING = {currency: Decimal(100_000) for currency in ("USD", "EUR", "GBP", "CHF", "JPY", "USDT", "USDC")}


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """What the exchange charges, gives and lets through. Fees are fractions of the notional.

    `fees_in` is what they are taken in: `quote`, or `received`, out of what the trade brings in: of a purchase, out of
    what is bought.

    Every account begins with `starting` of each currency named there, and with `default_starting` of any
    other when it first buys with it and has never had any. With `shorts`, more may be sold than is held. `priced_in`
    names the quote currency of symbols that are not BASE/QUOTE; no others are known.

    `fills` says when an order that comes in is tried first: `at_once`, or with the `next` price, the first that whoever
    placed it did not know.
    """

    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    fees_in: Literal["quote", "received"] = "quote"
    default_starting: Decimal = Decimal(100_000)
    starting: Mapping[str, Decimal] = field(default_factory=lambda: STARTING)
    shorts: bool = False
    priced_in: Mapping[str, str] = field(default_factory=dict)
    markets: Markets = field(default_factory=Markets)
    fills: Literal["at_once", "next"] = "at_once"

    def fee_rate(self, liquidity: Liquidity) -> Decimal:
        return self.maker_fee if liquidity is Liquidity.MAKER else self.taker_fee


class Claim(NamedTuple):
    """What an open order lays claim to: `left` of it at `price`, which costs `cost`, fee included."""

    base: str
    quote: str
    sells: bool
    left: Decimal
    price: Decimal
    cost: Decimal


@dataclass(slots=True)
class PaperAccount:
    """One account_id. Balances and positions belong to it as a whole."""

    options: PaperOptions
    holdings: dict[str, Decimal] = field(default_factory=dict)
    pledges: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """What is set aside for what is owed: by the asset owed, and the currency set aside."""
    traded: dict[str, Position] = field(default_factory=dict)
    open_orders: dict[str, PaperOrder] = field(default_factory=dict)
    """By client_order_id, oldest first."""
    claims: dict[str, Claim] = field(default_factory=dict)
    """Those of the open orders, likewise."""

    def __post_init__(self) -> None:
        self.holdings = {**self.options.starting, **self.holdings}

    def take(self, order: PaperOrder, new_fills: tuple[PaperFill, ...]) -> None:
        """`order` became what it is now, by `new_fills` among others: move their money, set aside what is left.

        Who is the first to pay with a currency begins with some of it. So what is held follows from what was taken,
        in its order, and from nothing else: no order that was refused ever gave anybody money.
        """
        if order.request.side is Side.BUY:
            self.holdings.setdefault(order.ticket.quote, self.options.default_starting)
        for fill in new_fills:
            self._settle(order, fill)
        if order.state.is_final:
            self.open_orders.pop(order.ticket.client_order_id, None)
            self.claims.pop(order.ticket.client_order_id, None)
        else:
            self.open_orders[order.ticket.client_order_id] = order
            self.claims[order.ticket.client_order_id] = self._claim(order)

    def lacking(self, order: PaperOrder, new_fills: tuple[PaperFill, ...]) -> str:
        """Why the account cannot afford that `order` becomes what it is now; empty where it can."""
        ticket, request = order.ticket, order.request
        if request.side is Side.BUY and exact.add(self.holdings.get(ticket.base, ZERO), request.quantity) <= 0:
            return ""
        after = self._trial()
        after.take(order, new_fills)
        has = after.available()
        short = [
            asset
            for asset in ((ticket.quote,) if self.options.shorts else (ticket.base, ticket.quote))
            if has.get(asset, ZERO) < 0
        ]
        if not short:
            return ""
        before = self._trial()
        if request.side is Side.BUY:
            before.holdings.setdefault(ticket.quote, self.options.default_starting)
        before.claims.pop(ticket.client_order_id, None)
        had = before.available()
        for asset in short:
            free, would_be = had.get(asset, ZERO), has.get(asset, ZERO)
            if would_be < free:
                with exactly():
                    needs = free - would_be
                return f"insufficient balance: needs {decimal_text(needs)} {asset}, available {decimal_text(free)}"
        return ""

    def position(self, symbol: str) -> Position:
        return self.traded.get(symbol) or Position(symbol, ZERO)

    def room(self, order: PaperOrder) -> Decimal:
        """How much of the position `order` could close."""
        held = self.position(order.ticket.symbol).quantity
        return max(ZERO, negative(held) if order.request.side is Side.BUY else held)

    def positions(self) -> list[Position]:
        """What trading added up to, symbol by symbol; nothing for what is flat."""
        return [position for _, position in sorted(self.traded.items()) if position.quantity]

    def balances(self) -> list[Balance]:
        """Every asset the account holds, or began with, by name."""
        available = self.available()
        return [Balance(asset, total, available[asset]) for asset, total in sorted(self.holdings.items())]

    def available(self) -> dict[str, Decimal]:
        """What a new order may use, by asset; below zero where what is owed has grown dear."""
        aside = self.reserved()
        with exactly():
            return {
                asset: self.holdings.get(asset, ZERO) - aside.get(asset, ZERO) for asset in {*self.holdings, *aside}
            }

    def reserved(self) -> dict[str, Decimal]:
        """What is set aside, by asset: for open orders, fees included, and for what is owed."""
        aside: dict[str, Decimal] = {}
        with exactly():
            for asset, amount in self._needs():
                aside[asset] = aside.get(asset, ZERO) + amount
            for (_, currency), amount in self.pledges.items():
                aside[currency] = aside.get(currency, ZERO) + amount
        return aside

    def _needs(self) -> Iterator[tuple[str, Decimal]]:
        """What every open order may take: of the oldest first, what is sold from what is held, bought back if owed."""
        held = dict(self.holdings)
        for claim in self.claims.values():
            base = held.get(claim.base, ZERO)
            if claim.sells:
                covered = min(claim.left, max(ZERO, base)) if self.options.shorts else claim.left
                held[claim.base] = base - covered
                yield claim.base, covered
            else:
                covered = min(claim.left, max(ZERO, -base))
                held[claim.base] = base + covered
            if covered < claim.left:
                yield claim.quote, self._cost(claim.left - covered, claim.price) if covered else claim.cost

    def _claim(self, order: PaperOrder) -> Claim:
        """At the worst price that the order names."""
        ticket, request, left = order.ticket, order.request, order.left
        price = request.limit_price or request.stop_price or order.seen
        assert price is not None, "a market order that stays open says what it saw"
        return Claim(ticket.base, ticket.quote, request.side is Side.SELL, left, price, self._cost(left, price))

    def _cost(self, quantity: Decimal, price: Decimal) -> Decimal:
        """What `quantity` may cost at `price`, or is worth where it is sold without being held."""
        rate = max(self.options.maker_fee, self.options.taker_fee)
        with exactly():
            return quantity * price + fee_on(quantity, price, rate)

    def _settle(self, order: PaperOrder, fill: PaperFill) -> None:
        """Move the money of one execution."""
        base, quote = order.ticket.base, order.ticket.quote
        with exactly():
            signed = fill.quantity if order.request.side is Side.BUY else -fill.quantity
            before = self.holdings.get(base, ZERO)
            self.holdings[base] = before + signed
            self.holdings[quote] = self.holdings.get(quote, ZERO) - signed * fill.price
            charged = fill.fee_currency or quote
            self.holdings[charged] = self.holdings.get(charged, ZERO) - fill.fee
        owed, owes = (max(ZERO, negative(held)) for held in (before, self.holdings[base]))
        self._pledge(base, quote, owed, owes, fill.price)
        moved = _moved(self.position(order.ticket.symbol), signed, fill.price)
        kept = fill.fee if charged == base else ZERO
        self.traded[order.ticket.symbol] = _moved(moved, negative(kept), fill.price) if kept else moved

    def _pledge(self, base: str, quote: str, owed: Decimal, owes: Decimal, price: Decimal) -> None:
        """Set aside for what is sold short, and let go of it as it is bought back."""
        if owes > owed:
            with exactly():
                more = (owes - owed) * price * _PLEDGE
                self.pledges[base, quote] = self.pledges.get((base, quote), ZERO) + more
        elif owes < owed:
            for key, amount in [item for item in self.pledges.items() if item[0][0] == base]:
                self.pledges[key] = exact.rounded(exact.share(amount, owes, owed), _PLEDGE_STEP, ROUND_CEILING)
                if not owes:
                    del self.pledges[key]

    def _trial(self) -> PaperAccount:
        """A copy to try something on."""
        return PaperAccount(
            self.options,
            dict(self.holdings),
            dict(self.pledges),
            dict(self.traded),
            dict(self.open_orders),
            dict(self.claims),
        )


def _moved(position: Position, signed: Decimal, price: Decimal) -> Position:
    """The position after trading `signed` at `price`; average cost, rounded to ten decimals."""
    held, cost = position.quantity, position.average_price
    with exactly():
        quantity = held + signed
    if not quantity:
        return Position(position.symbol, quantity)
    if cost is None or (held < 0) != (signed < 0):
        # Reducing leaves the cost of what remains; going through zero begins anew.
        begins_anew = cost is None or size(signed) > size(held)
        return Position(position.symbol, quantity, price if begins_anew else cost)
    with exactly():
        notional = held * cost + signed * price
    return Position(position.symbol, quantity, average(notional, quantity))
