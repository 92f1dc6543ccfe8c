"""Flattening: after a full halt that asks for it, what its scope holds is closed, until it is flat. On the main loop.

Nothing is sent while anything of the scope is open, pending or unknown; then, per account and symbol, the net of its
instances, never more than the smaller of book and exchange, with the same sign. It never opens exposure: where that
cannot be told, nothing is sent, and it is named.

And the orders of a drill of all that: small, on paper money alone, in the name of an operator. One goes the way of all
orders, and leaves only while no halt forbids it: sent before a halt and after it, it tells whether the halt holds.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import partial

from reconciler import exact
from reconciler.clock import Clock, utc
from reconciler.errors import CannotDrill, CapabilityUnavailable, ExecError, ReconcilerError
from reconciler.exec_mcp.bridge import Bridge
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import Venue
from reconciler.execution.comparing import AccountLook
from reconciler.execution.look_up import Clerk
from reconciler.execution.order_steps import OrderSteps
from reconciler.execution.sending import Dispatch
from reconciler.execution.tally import Held, bearer_of, closing, surely
from reconciler.orders.market import InstrumentRules, Quote, limit_price, slice_of
from reconciler.orders.news import Correction
from reconciler.orders.order import (
    PREFIX_LENGTH,
    Order,
    OrderRequest,
    OrderType,
    Outcome,
    Provenance,
    Side,
    decimal_text,
    prefix,
    tag_of,
)
from reconciler.ports import MarketData
from reconciler.records.event import EventReason, EventType
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.store.store import Store

PATIENCE = timedelta(seconds=10)
"""So old a closing order gets before it is cancelled, and what is left asked anew at the prices of then."""
_ZERO = Decimal(0)
_RESTS_BELOW = Decimal("0.3")
"""So far below the quote, as a fraction, an order rests that is not to fill."""
_TAKES_WITHIN = Decimal("0.05")


@dataclass(frozen=True, slots=True)
class Flat:
    """How far one market of one account is. `is_over`: nothing more is done there; `message` says what goes on."""

    account_id: str
    symbol: str
    message: str
    is_over: bool = False

    def to_json(self) -> dict[str, str | bool]:
        return {"account_id": self.account_id, "symbol": self.symbol, "message": self.message, "over": self.is_over}


_Market = tuple[str, str]
"""Account and symbol."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What an account holds, and on which connection it was compared before that."""

    held: Held
    venue: Venue
    connections: int

    @property
    def is_current(self) -> bool:
        status = self.venue.status
        return status.connected and status.connections == self.connections


class Flattening:
    """`run` raises nothing; one that begins before the last one ended does nothing."""

    def __init__(
        self,
        store: Store,
        look: AccountLook,
        steps: OrderSteps,
        dispatch: Dispatch,
        servers: Servers,
        market: MarketData,
        clerk: Clerk,
        clock: Clock,
    ) -> None:
        self._store = store
        self._look = look
        self._steps = steps
        self._dispatch = dispatch
        self._servers = servers
        self._market = market
        self._clerk = clerk
        self._clock = clock
        self._is_running = False
        self._told: dict[tuple[Halt, _Market], str] = {}
        self._progress: dict[Halt, tuple[Flat, ...]] = {}

    async def run(self, beat: int) -> None:
        halts = [halt for halt in self._store.halts.active() if halt.collar is not None]
        if self._is_running or not halts:
            self._progress = self._progress if self._is_running else {}
            return
        self._is_running = True
        try:
            self._progress = {halt: await self._flatten(halt, beat) for halt in halts}
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._clerk.report("not flattened", error)
        finally:
            self._is_running = False

    def progress(self, halt: Halt) -> tuple[Flat, ...]:
        """From memory; from any thread."""
        return self._progress.get(halt, ())

    async def _flatten(self, halt: Halt, beat: int) -> tuple[Flat, ...]:
        waiting = self._waiting(halt)
        books = await self._clerk.do(partial(self._books, halt))
        found: list[Flat] = []
        for account_id in sorted({account_id for account_id, _ in books}):
            markets = {market: own for market, own in books.items() if market[0] == account_id}
            if waiting:
                told = f"waits: {waiting}"
                found += [Flat(*market, told) for market in markets]
                continue
            try:
                seen = await self._seen(halt, account_id, [row for own in markets.values() for row, _ in own])
            except (ReconcilerError, CapabilityUnavailable) as error:
                seen = f"what the account holds cannot be read: {error}"
            for market, own in markets.items():
                if isinstance(seen, str):
                    found.append(self._named(halt, market, seen))
                else:
                    found.append(await self._surviving(halt, market, own, seen, beat))
        return (*found, *self._became_flat(halt, books))

    def _became_flat(self, halt: Halt, books: Mapping[_Market, object]) -> Iterator[Flat]:
        """The markets in which something was held, and is not any more."""
        for before in self._progress.get(halt, ()):
            if (before.account_id, before.symbol) not in books:
                self._once(halt, (before.account_id, before.symbol), "Normal", EventReason.FLATTENED, "flat")
                yield Flat(before.account_id, before.symbol, "flat", is_over=True)

    def _waiting(self, halt: Halt, but: Order | None = None) -> str:
        """What of the scope has to end first: whatever is open that is no closing order, and all that is in doubt."""
        id_ = "" if but is None else but.client_order_id
        found = [o for o in self._store.ledger.open_real() if _covers(halt, o) and o.client_order_id != id_]
        doubted = [order for order in found if order.outcome in (Outcome.PENDING, Outcome.UNKNOWN)]
        if doubted:
            return f"{doubted[0].client_order_id} is in doubt"
        others = [order for order in found if not order.provenance.is_by_operator]
        return f"{others[0].client_order_id} is still open" if others else ""

    def _books(self, halt: Halt) -> dict[_Market, list[tuple[Row, Decimal]]]:
        """What each instance of the scope holds, whether it is loaded, or exists at all, or not. Blocks."""
        found: defaultdict[_Market, list[tuple[Row, Decimal]]] = defaultdict(list)
        for id_, row in self._store.desired.rows().items():
            account_id = row.record.identity.account_id
            if halt.forbids(account_id, id_):
                # As it is looked at for the last time: once asked for, it is in memory.
                holding = self._store.ledger.holding(id_, row.record.identity.market, False)
                if holding.quantity:
                    found[account_id, holding.symbol].append((row, holding.quantity))
        return dict(sorted(found.items()))

    async def _seen(self, halt: Halt, account_id: str, rows: Sequence[Row]) -> _Seen | str:
        """What the account holds there now, orders of ours compared before it; or what is open there that should not.

        Raises ExecError where nobody tells.
        """
        venue = self._servers.requiring(account_id, "get_positions")
        connections = venue.status.connections
        client_ids = sorted({row.record.identity.client_id for row in rows})
        unknown = await self._look.orders(venue, account_id, client_ids)
        told = await self._look.positions(venue, account_id, client_ids)
        if told is None:
            raise ExecError("its server has no tool that tells positions")
        for order in self._look.watch.lingers(account_id):
            if _covers(halt, order):
                return f"the exchange lists {order.client_order_id} as open, which was taken for {order.state}"
        own, tags = {prefix(row.id) for row in rows}, self._store.ledger.tags
        for id_ in sorted(unknown):
            if id_[:PREFIX_LENGTH] in own and tag_of(id_) in tags:
                return f"{id_} is open there, an order of ours that the ledger does not know: cancel it at the exchange"
        return _Seen(surely(told), venue, connections)

    async def _surviving(
        self, halt: Halt, market: _Market, own: list[tuple[Row, Decimal]], seen: _Seen, beat: int
    ) -> Flat:
        """The boundary to what goes wrong in one market: the others are flattened all the same, this one next beat."""
        try:
            return await self._close(halt, market, own, seen, beat)
        except (ReconcilerError, CapabilityUnavailable) as error:
            return self._named(halt, market, f"tried again each beat: {error}")
        except Exception as error:  # noqa: BLE001 - the other markets are flattened all the same
            self._clerk.report("not flattened", error, account_id=market[0], symbol=market[1])
            return self._named(halt, market, f"tried again each beat: {error}")

    async def _close(self, halt: Halt, market: _Market, own: list[tuple[Row, Decimal]], seen: _Seen, beat: int) -> Flat:
        account_id, symbol = market
        if under_way := self._under_way(market):
            (order, *_) = under_way
            if utc(self._clock.time()) - order.created_at >= PATIENCE:
                await asyncio.wrap_future(self._dispatch.cancel_soon(order))
            return Flat(*market, f"{order.client_order_id} is under way: {order.side} {decimal_text(order.quantity)}")
        rows = {row.id: row for row, _ in own}
        books = {row.id: quantity for row, quantity in own}
        asked = closing(books, seen.held.get(symbol, _ZERO))
        quote = await self._clerk.do(lambda: self._market.quote(account_id, symbol, beat))
        rules = await self._clerk.do(lambda: self._rules(account_id, symbol))
        size = rules.contract_size or Decimal(1)
        if isinstance(asked, str):
            net = exact.size(exact.total(books.values()))
            if slice_of(net, quote.mid, None, rules, size) is None:
                return await self._moved(halt, market, books, quote)
            if _cross(books):  # what they cancel out among themselves is moved all the same
                return await self._moved(halt, market, books, quote, f"nothing is sent: {asked}")
            return self._named(halt, market, asked)
        if asked is None:
            return await self._moved(halt, market, books, quote)
        bearer = rows[asked.bearer]
        price = limit_price(asked.side, quote, halt.collar or _ZERO, rules.price_step)
        if price <= 0:
            return self._named(halt, market, "there is no price to close at")
        if slice_of(asked.quantity, price, None, rules, size) is None:
            return await self._moved(halt, market, books, quote)
        most = bearer.record.limits.max_order_notional
        quantity = slice_of(asked.quantity, price, most, rules, size)
        if quantity is None:
            why = f"the smallest order there is worth more than the max_order_notional of {bearer.id}, {most}: raise it"
            return self._named(halt, market, why)
        order = self._steps.closing(
            Provenance(
                bearer.id, account_id, bearer.record.identity.client_id, symbol, Mode.ACTIVE, bearer.generation,
                bearer.config_digest, bearer.code_digest, bearer.revision, beat, is_by_operator=True,
            ),
            OrderRequest(asked.side, OrderType.LIMIT, quantity, price),
        )  # fmt: skip
        order = replace(order, quote_bid=quote.bid, quote_ask=quote.ask, quote_at=quote.as_of)
        objection = partial(self._objection, halt, market, books, seen, order)
        look = self._steps.last_look_at_closing(order, objection)
        settled = await asyncio.wrap_future(await self._clerk.do(lambda: self._dispatch.order(order, look)))
        told = f"{settled.side} {decimal_text(quantity)} at {decimal_text(price)} or better: {settled.outcome}"
        self._tell(settled.instance_id, "Normal", EventReason.FLATTENING, f"{settled.client_order_id}: {told}")
        if settled.outcome is Outcome.REJECTED:
            return self._named(halt, market, f"{settled.client_order_id} was refused: {settled.reason}")
        return Flat(*market, f"{settled.client_order_id}: {told}")

    def _objection(self, halt: Halt, market: _Market, books: Mapping[str, Decimal], seen: _Seen, order: Order) -> str:
        """The last look at a closing order, from memory: is anything else than it was when it was asked for?"""
        if not any(one is halt for one in self._store.halts.active()):
            return "the halt that flattens was lifted"
        if not seen.is_current:
            return "the connection was lost on which its account was compared"
        if waiting := self._waiting(halt, but=order):
            return waiting
        if other := next((o for o in self._under_way(market) if o.client_order_id != order.client_order_id), None):
            return f"{other.client_order_id} is under way already"
        ledger = self._store.ledger
        if any(ledger.holding(id_, market[1], False).quantity != quantity for id_, quantity in books.items()):
            return "what its instances hold has changed"
        return ""

    def _under_way(self, market: _Market) -> list[Order]:
        """The closing orders there, whoever's scope they are for."""
        return [order for order in self._store.ledger.open_on(*market) if order.provenance.is_by_operator]

    async def _moved(
        self, halt: Halt, market: _Market, books: Mapping[str, Decimal], quote: Quote, why_not: str = ""
    ) -> Flat:
        """Nothing more can be sent: what it closed for others, and what opposite instances cancel out, is moved.

        `why_not` says what keeps the rest; empty where it is less than the smallest order.
        """
        if waiting := self._waiting(halt):  # it came to be known when the account was compared
            return Flat(*market, f"waits: {waiting}")
        net = exact.total(books.values())
        price = await self._clerk.do(partial(self._price, halt, market, quote))
        if len(books) > 1:
            bearer = bearer_of(books, net) if net else ""
            why = f"moved between books: {halt.target} is flattened"
            moves = [
                (id_, Correction(quantity, price, why, halt.by))
                for id_ in sorted(books)
                for quantity in ((_ZERO, net) if id_ == bearer else (_ZERO,))
            ]
            await self._clerk.do(lambda: self._store.ledger.move(books, moves))
            told = f"{_named_market(market)}: {why}, at {decimal_text(price)}"
            self._tell(None, "Normal", EventReason.FLATTENED, told)
        if not net:
            self._once(halt, market, "Normal", EventReason.FLATTENED, "flat")
            return Flat(*market, "flat", is_over=True)
        if why_not:
            self._once(halt, market, "Warning", EventReason.NOT_FLATTENED, why_not)
            return Flat(*market, why_not)
        told = f"{decimal_text(net)} is left, less than the smallest order: it stays"
        self._once(halt, market, "Normal", EventReason.FLATTENED, told)
        return Flat(*market, told, is_over=True)

    def _price(self, halt: Halt, market: _Market, quote: Quote) -> Decimal:
        """What the closing orders traded at on average; the middle of the quote where none did. Blocks."""
        sent = self._store.ledger.closed_by_operator(*market, halt.at)
        filled = [(o.filled_quantity, o.average_price) for o in sent if o.filled_quantity]
        priced = [(quantity, price) for quantity, price in filled if price is not None]
        if priced and len(priced) == len(filled):
            cost = exact.total(exact.multiply(quantity, price) for quantity, price in priced)
            return exact.quotient(cost, exact.total(quantity for quantity, _ in priced))
        return quote.mid

    def _rules(self, account_id: str, symbol: str) -> InstrumentRules:
        try:
            return self._market.rules(account_id, symbol)
        except (ExecError, CapabilityUnavailable):
            return InstrumentRules()

    def _named(self, halt: Halt, market: _Market, why: str) -> Flat:
        self._once(halt, market, "Warning", EventReason.NOT_FLATTENED, why)
        return Flat(*market, f"nothing is sent: {why}")

    def _once(self, halt: Halt, market: _Market, type: EventType, reason: EventReason, message: str) -> None:
        if self._told.get((halt, market)) != message:
            self._told[halt, market] = message
            self._tell(None, type, reason, f"{_named_market(market)}: {message}")

    def _tell(self, instance_id: str | None, type: EventType, reason: EventReason, message: str) -> None:
        self._store.events.record(instance_id, type, reason, message)


def _cross(books: Mapping[str, Decimal]) -> bool:
    """Whether some hold what others owe."""
    return min(books.values()) < 0 < max(books.values())


def _covers(halt: Halt, order: Order) -> bool:
    return halt.forbids(order.provenance.account_id, order.instance_id)


def _named_market(market: _Market) -> str:
    return f"{market[1]} on account {market[0]}"


def flattened(progress: Sequence[Flat]) -> Iterator[str]:
    """How far it is, a line a market."""
    for one in progress:
        yield f"{_named_market((one.account_id, one.symbol))}: {one.message}"


class DrillOrders:
    """Called on worker threads."""

    def __init__(
        self, store: Store, servers: Servers, market: MarketData, steps: OrderSteps, dispatch: Dispatch, bridge: Bridge
    ) -> None:
        self._store = store
        self._servers = servers
        self._market = market
        self._steps = steps
        self._dispatch = dispatch
        self._bridge = bridge

    def place(self, account_id: str, beat: int, *, takes: bool) -> Order:
        """As small a purchase as the market takes: one that fills at once, or one that rests far below the quote.

        Whatever became of it. Raises CannotDrill.
        """
        if self._servers.accounts.is_real(account_id):
            raise CannotDrill(f"account {account_id} is real money: a drill places orders, on paper alone")
        row = self._bearer(account_id)
        symbol = row.record.identity.market
        try:
            quote = self._market.quote(account_id, symbol, beat)
        except (ExecError, CapabilityUnavailable) as error:
            raise CannotDrill(f"{symbol} has no quote to place an order by: {error}") from error
        rules = self._rules(account_id, symbol)
        request = _request(quote, rules, takes=takes)
        origin = Provenance(
            row.id, account_id, row.record.identity.client_id, symbol, Mode.ACTIVE, row.generation, row.config_digest,
            row.code_digest, row.revision, beat, is_by_operator=True,
        )  # fmt: skip
        order = replace(
            self._steps.closing(origin, request), quote_bid=quote.bid, quote_ask=quote.ask, quote_at=quote.as_of
        )
        look = self._steps.last_look_at_closing(
            order, lambda: self._halted(account_id, row.id) or self._steps.reserved(order)
        )
        return self._bridge.result(self._dispatch.order(order, look))

    def _halted(self, account_id: str, instance_id: str) -> str:
        halts = (halt for halt in self._store.halts.active() if halt.forbids(account_id, instance_id))
        return next((f"{halt.target} is halted: {halt.reason}" for halt in halts), "")

    def _bearer(self, account_id: str) -> Row:
        rows = self._store.desired.rows().values()
        found = sorted(
            (row for row in rows if row.is_live and row.record.identity.account_id == account_id),
            key=lambda row: (row.mode is not Mode.ACTIVE, row.id),
        )
        if not found:
            raise CannotDrill(f"no instance trades on account {account_id}: there is nothing to place an order for")
        return found[0]

    def _rules(self, account_id: str, symbol: str) -> InstrumentRules:
        try:
            return self._market.rules(account_id, symbol)
        except (ExecError, CapabilityUnavailable):
            return InstrumentRules()


def _request(quote: Quote, rules: InstrumentRules, *, takes: bool) -> OrderRequest:
    if takes:
        price = limit_price(Side.BUY, quote, _TAKES_WITHIN, rules.price_step)
    else:
        far = exact.multiply(quote.bid, exact.subtract(Decimal(1), _RESTS_BELOW))
        digits = Decimal(1).scaleb(min(0, int(quote.bid.as_tuple().exponent)))
        price = exact.multiple(far, rules.price_step or digits, ROUND_FLOOR)
    quantity = rules.min_quantity or rules.quantity_step or Decimal(1)
    if rules.min_notional is not None and exact.multiply(quantity, price) < rules.min_notional:
        quantity = exact.share(rules.min_notional, Decimal(1), price)
    if takes:  # what a fee, or a lower price, takes away of the smallest order, could not be closed any more
        quantity = exact.multiply(quantity, Decimal(2))
    quantity = exact.multiple(quantity, rules.quantity_step or Decimal("1E-8"), ROUND_CEILING)
    return OrderRequest(Side.BUY, OrderType.LIMIT, quantity, price)
