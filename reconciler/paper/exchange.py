"""The paper exchange: accounts, orders and their executions against a price feed. No MCP, no files, no waiting.

Balances and positions belong to the account_id; the client_id tags orders, and only those with the same
tag are found again. Time passes when it is looked at: every call first tries open orders against the
prices since the last look, in the order of time, so that nothing in between is missed. When an order fills is the
rule of `orders.filling`; here are this exchange's depth, its fees, and what they are taken in. Belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from decimal import Decimal

from reconciler import exact
from reconciler.clock import Clock, utc
from reconciler.exact import ZERO
from reconciler.orders.filling import BookSide, Filling, best_price, tried
from reconciler.orders.market import TIMEFRAMES_S, Balance, Candle, Position, Quote
from reconciler.orders.order import OrderState, Side, decimal_text
from reconciler.paper.account import PaperAccount, PaperOptions
from reconciler.paper.feed import Meeting, PriceSource
from reconciler.paper.paper_order import MarketRules, OrderRefused, PaperFill, PaperOrder, Ticket, fee_on, known_symbol


class Depleted:
    """What was taken from each side of each market in its last step."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, Side], tuple[int, Decimal]] = {}

    def take(self, symbol: str, side: Side, step: int, quantity: Decimal) -> None:
        self._taken[symbol, side] = step, exact.add(self.taken(symbol, side, step), quantity)

    def taken(self, symbol: str, side: Side, step: int) -> Decimal:
        at, quantity = self._taken.get((symbol, side), (step, ZERO))
        return quantity if at == step else ZERO


def touch(quote: Quote, side: Side) -> Decimal:
    """The best price for an order of `side`."""
    return best_price(side, quote.bid, quote.ask)


def moves(order: PaperOrder, lowest: Quote, highest: Quote) -> bool:
    """True where a quote between `lowest` and `highest` may trigger, fill or end `order`; False where none can."""
    resting, side = order.resting(has_waited=True), order.request.side
    return resting.is_over(highest.as_of.date()) or resting.is_moved_by(touch(lowest, side), touch(highest, side))


def advanced(
    order: PaperOrder, offer: BookSide, options: PaperOptions, room: Decimal, today: date, at: datetime, *, waited: bool
) -> PaperOrder:
    """`order` after it met `offer`; itself where nothing happens to it.

    `room` is how much a reduce_only order may fill, `today` the UTC day of that moment, `at` the time of whatever
    happens, `waited` False for an order that just came in.
    """
    filling = tried(order.resting(has_waited=waited), offer, today, room)
    return order if filling is None else _after(order, filling, options, today, at)


def _after(order: PaperOrder, filling: Filling, options: PaperOptions, today: date, at: datetime) -> PaperOrder:
    if filling.is_triggered and not order.is_triggered:
        order = order.triggered(at)
    rate = options.fee_rate(filling.liquidity)
    kept_in_base = options.fees_in == "received" and order.request.side is Side.BUY
    for execution in filling.executions:
        currency, price = (order.ticket.base, Decimal(1)) if kept_in_base else (order.ticket.quote, execution.price)
        fee = fee_on(execution.quantity, price, rate)
        order = order.filled(execution.quantity, execution.price, fee, filling.liquidity, at, currency)
    if filling.ended is OrderState.EXPIRED:
        at = datetime(today.year, today.month, today.day, tzinfo=UTC)
    return order if filling.ended is None else order.ended(filling.ended, at, filling.reason)


_CANDLES = 1_000
_LONGEST_S = 86_400

Record = Callable[[PaperOrder, tuple[PaperFill, ...]], None]


def _forget(order: PaperOrder, new_fills: tuple[PaperFill, ...]) -> None:
    """Nothing is remembered."""


class PaperExchange:
    """The exchange.

    `record` is told every change before it holds: the order as it is now, and which of its fills are new. What it
    was told, in its order, is enough to restore from. Where it raises, the change did not happen.
    """

    def __init__(
        self, prices: PriceSource, clock: Clock, options: PaperOptions | None = None, record: Record = _forget
    ) -> None:
        self._prices = prices
        self._clock = clock
        self._options = options or PaperOptions()
        self._record = record
        self._accounts: dict[str, PaperAccount] = {}
        self._orders: dict[tuple[str, str], PaperOrder] = {}
        self._resting: dict[str, dict[tuple[str, str], PaperOrder]] = {}
        self._fresh: dict[tuple[str, str], int] = {}
        """What came in and has met no price yet, where orders are filled with the next one, and the step it came in."""
        self._depleted = Depleted()
        self._looked_at = prices.step_at(clock.time())
        self._number = 0
        self._cancels_at_s: dict[str, float] = {}
        self.changes = 0
        """How often anything has happened to any order since the start."""

    def restore(self, changes: Iterable[PaperOrder]) -> None:
        """Take up where an exchange that recorded `changes` stopped: only before any other call.

        The step of the last change is tried again: the exchange may have stopped in the middle of it, and what
        was done in it is not done twice.
        """
        last = None
        for order in changes:
            if self._options.fills == "next" and order.key not in self._orders:
                self._fresh[order.key] = self._prices.step_at(order.created_at.timestamp())
            self._take(order, self._new_fills(order))
            self._number = max(self._number, int(order.order_id.removeprefix("paper-")))
            last = order.updated_at if last is None else max(last, order.updated_at)
        if last is not None:
            self._looked_at = min(self._looked_at, self._prices.step_at(last.timestamp()) - 1)

    def place_order(self, ticket: Ticket) -> PaperOrder:
        """Place an order, or find the one already placed under this client_order_id. Raises Refused."""
        now = self._look()
        known = self._orders.get((ticket.account_id, ticket.client_order_id))
        if known is not None:
            return _same(known, ticket)
        account, quote = self._account(ticket.account_id), self._quote(ticket.symbol, self._looked_at)
        order = PaperOrder(f"paper-{self._number + 1}", ticket, OrderState.OPEN, now, now)
        rules = self._options.markets.of(ticket.symbol)
        faults = [*rules.faults(ticket, touch(quote, ticket.request.side)), *_room_faults(order, account.room(order))]
        if faults:
            raise OrderRefused("; ".join(faults))
        if self._options.fills == "next":
            order = replace(order, seen=touch(quote, ticket.request.side))
        else:
            offer = self._offer(order, self._looked_at, 0, ZERO, waited=False)
            assert offer is not None, "an order that comes in meets the price that it sees"
            room = account.room(order)
            order = advanced(order, offer, self._options, room, quote.as_of.date(), now, waited=False)
        if lacking := account.lacking(order, order.fills):
            raise OrderRefused(lacking)
        self._keep(order)
        if self._options.fills == "next":
            self._fresh[order.key] = self._looked_at
        self._number += 1
        return order

    def cancel_order(self, account_id: str, client_id: str, client_order_id: str, symbol: str) -> PaperOrder:
        """Cancel an open order; one that is already final stays what it is. Raises Refused for an unknown one."""
        now = self._look()
        order = self._found(account_id, client_id, client_order_id)
        if order.ticket.symbol != symbol:
            raise OrderRefused(f"order {client_order_id} is on {order.ticket.symbol}, not on {symbol}")
        return order if order.state.is_final else self._keep(order.ended(OrderState.CANCELLED, now))

    def cancel_all(self, account_id: str, client_id: str, symbol: str | None = None) -> list[PaperOrder]:
        """Cancel all that is open of this client, of one symbol or of all; what was cancelled."""
        now = self._look()
        found = self.list_orders(account_id, client_id, "open", symbol)
        return [self._keep(order.ended(OrderState.CANCELLED, now)) for order in found]

    def cancel_all_after(self, account_id: str, seconds: int) -> None:
        """Unless this is said anew before, all that is open of the account is cancelled then; 0: never.

        An exchange that is started anew has forgotten it. Raises Refused.
        """
        if not 0 <= seconds <= _LONGEST_S:
            raise OrderRefused(f"seconds: expected 0 to {_LONGEST_S}, was {seconds}")
        self._look()
        self._cancels_at_s.pop(account_id, None)
        if seconds:
            self._cancels_at_s[account_id] = self._clock.time() + seconds

    def get_order(self, account_id: str, client_id: str, client_order_id: str) -> PaperOrder:
        """Raises Refused where this client of the account has no such order."""
        self._look()
        return self._found(account_id, client_id, client_order_id)

    def list_orders(self, account_id: str, client_id: str, status: str, symbol: str | None = None) -> list[PaperOrder]:
        """The client's orders, oldest first. `status` is open, closed or all. Raises Refused."""
        if status not in ("open", "closed", "all"):
            raise OrderRefused(f"status: expected open, closed or all, was {status!r}")
        self._look()
        account = self._accounts.get(account_id)
        open_orders = {} if account is None else account.open_orders
        return [
            order
            for order in list(open_orders.values() if status == "open" else self._orders.values())
            if (order.ticket.account_id, order.ticket.client_id) == (account_id, client_id)
            and symbol in (None, order.ticket.symbol)
            and status in ("all", "closed" if order.state.is_final else "open")
        ]

    def get_positions(self, account_id: str) -> list[Position]:
        self._look()
        return self._account(account_id).positions()

    def get_balances(self, account_id: str) -> list[Balance]:
        self._look()
        return self._account(account_id).balances()

    def get_quote(self, symbol: str) -> Quote:
        """The quote of this step. Raises Refused."""
        return self._quote(symbol, self._prices.step_at(self._clock.time()))

    def get_candles(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """Closed candles, oldest first; at most 1,000. Raises Refused. May run on any thread."""
        if not 1 <= limit <= _CANDLES:
            raise OrderRefused(f"limit: expected 1 to {_CANDLES}, was {limit}")
        if timeframe not in TIMEFRAMES_S:
            raise OrderRefused(f"timeframe: expected one of {', '.join(TIMEFRAMES_S)}, was {timeframe!r}")
        return self._prices.candles(self._known(symbol), timeframe, limit, self._clock.time())

    def get_rules(self, symbol: str) -> MarketRules:
        """What the market lets through. Raises Refused."""
        return self._options.markets.of(self._known(symbol))

    def priced_in(self, symbol: str) -> str:
        """What prices of a symbol are in that is not BASE/QUOTE; empty where it is, or is not known."""
        return self._options.priced_in.get(symbol, "")

    def look(self) -> int:
        """Try open orders against every price since the last look; the step up to which that is done."""
        self._look()
        return self._looked_at

    def _look(self) -> datetime:
        """Try open orders against every price step since the last look, whichever comes first; the time it is now."""
        now = utc(self._clock.time())
        for account_id, at_s in sorted(self._cancels_at_s.items(), key=lambda one: one[1]):
            if at_s <= now.timestamp():
                self._move_to(self._prices.step_at(at_s))
                for order in tuple(self._account(account_id).open_orders.values()):
                    self._keep(order.ended(OrderState.CANCELLED, utc(at_s), "cancel_all_after"))
                del self._cancels_at_s[account_id]
        self._move_to(self._prices.step_at(now.timestamp()))
        return now

    def _move_to(self, today: int) -> None:
        if today > self._looked_at:
            waiting = [symbol for symbol, orders in self._resting.items() if orders]
            moving = {symbol: self._next_move(symbol, self._looked_at + 1, today) for symbol in waiting}
            while due := {symbol: step for symbol, step in moving.items() if step is not None}:
                step = min(due.values())
                for symbol in (symbol for symbol, at in due.items() if at == step):
                    self._try(symbol, step)
                    moving[symbol] = self._next_move(symbol, step + 1, today)
                self._looked_at = step
            self._looked_at = today

    def _next_move(self, symbol: str, first: int, last: int) -> int | None:
        """The first of the steps `first` to `last` that triggers, fills or ends any order, None where none does."""
        orders, fresh = tuple(self._resting[symbol].values()), self._fresh
        return self._prices.next_move(
            symbol, lambda lo, hi: any(order.key in fresh or moves(order, lo, hi) for order in orders), first, last
        )

    def _try(self, symbol: str, step: int) -> None:
        """Trigger, fill or end what `step` does of the open orders on `symbol`, the oldest first."""
        quote = self._prices.quote(symbol, step)
        ids = {order.ticket.account_id for order in self._resting[symbol].values()}
        held = {account_id: self._account(account_id).position(symbol).quantity for account_id in ids}
        for number in range(self._prices.passes(symbol, step)):
            for order in tuple(self._resting[symbol].values()):
                self._meet(order, quote, step, number, held[order.ticket.account_id])

    def _meet(self, order: PaperOrder, quote: Quote, step: int, number: int, held: Decimal) -> None:
        if step <= self._fresh.get(order.key, step - 1):
            return  # taken up again in the step that it came in
        account, waited = self._account(order.ticket.account_id), order.key not in self._fresh
        offer = self._offer(order, step, number, held, waited=waited)
        if offer is None:
            return
        self._fresh.pop(order.key, None)
        at = max(quote.as_of, order.created_at)
        moved = advanced(order, offer, self._options, account.room(order), quote.as_of.date(), at, waited=waited)
        if moved is not order:
            pays = moved.is_triggered or not waited
            lacking = account.lacking(moved, self._new_fills(moved)) if pays else ""
            self._keep(order.ended(OrderState.CANCELLED, at, lacking) if lacking else moved)

    def _offer(self, order: PaperOrder, step: int, number: int, held: Decimal, *, waited: bool) -> BookSide | None:
        symbol = order.ticket.symbol
        taken = self._depleted.taken(symbol, order.request.side, self._prices.share_of(symbol, step))
        at = Meeting(symbol, step, number, order.created_at.timestamp())
        depth = self._options.markets.of(symbol).depth
        return self._prices.offer(at, order.resting(has_waited=waited), depth, taken, held)

    def _keep(self, order: PaperOrder) -> PaperOrder:
        """Let a change happen: on record first."""
        new_fills = self._new_fills(order)
        self._record(order, new_fills)
        self._take(order, new_fills)
        self.changes += 1
        return order

    def _take(self, order: PaperOrder, new_fills: tuple[PaperFill, ...]) -> None:
        symbol = order.ticket.symbol
        account = self._accounts.setdefault(order.ticket.account_id, PaperAccount(self._options))
        account.take(order, new_fills)
        for fill in new_fills:
            share = self._prices.share_at(symbol, fill.at.timestamp())
            self._depleted.take(symbol, order.request.side, share, fill.quantity)
        self._orders[order.key] = order
        resting = self._resting.setdefault(symbol, {})
        if order.state.is_final:
            resting.pop(order.key, None)
            self._fresh.pop(order.key, None)
        else:
            resting[order.key] = order

    def _new_fills(self, order: PaperOrder) -> tuple[PaperFill, ...]:
        known = self._orders.get(order.key)
        return order.fills if known is None else order.fills[len(known.fills) :]

    def _found(self, account_id: str, client_id: str, client_order_id: str) -> PaperOrder:
        order = self._orders.get((account_id, client_order_id))
        if order is None or order.ticket.client_id != client_id:
            raise OrderRefused(f"order not found: {client_order_id}")
        return order

    def _account(self, account_id: str) -> PaperAccount:
        """To look at; one that had no order yet is kept with its first."""
        return self._accounts.get(account_id) or PaperAccount(self._options)

    def _known(self, symbol: str) -> str:
        return symbol if symbol in self._options.priced_in else known_symbol(symbol)

    def _quote(self, symbol: str, step: int) -> Quote:
        try:
            return self._prices.quote(self._known(symbol), step)
        except KeyError:
            raise OrderRefused(f"unknown symbol {symbol!r}: no feed has its price") from None


def _same(known: PaperOrder, asked: Ticket) -> PaperOrder:
    """The order already placed, where the same one is asked for again. Raises Refused where it is another."""
    if known.ticket == asked:
        return known
    differing = [
        field.name
        for part, other in ((known.ticket, asked), (known.request, asked.request))
        for field in fields(part)
        if field.name != "request" and getattr(part, field.name) != getattr(other, field.name)
    ]
    raise OrderRefused(f"client_order_id {asked.client_order_id} was used for another order: {', '.join(differing)}")


def _room_faults(order: PaperOrder, room: Decimal) -> Iterator[str]:
    quantity = order.request.quantity
    if order.request.reduce_only and quantity > room:
        asked = f"{order.request.side} {decimal_text(quantity)}"
        yield f"reduce_only: expected at most the {decimal_text(room)} that would close the position, was {asked}"
