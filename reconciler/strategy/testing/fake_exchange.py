"""The fake exchange: the market, the account and the book that a test sets up, and fills when it says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, TradingClosed
from reconciler.orders.filling import Resting, best_price, offered, tried
from reconciler.orders.holding import Holding
from reconciler.orders.market import TIMEFRAMES_S, Balance, Candle, InstrumentRules, Position, Quote
from reconciler.orders.order import (
    Fill,
    Order,
    OrderChanges,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    Provenance,
    RejectedBy,
    Side,
    to_decimal,
)
from reconciler.records.mode import Mode
from reconciler.strategy.base import order_request


class FakeTools:
    """Every tool is there until it is withdrawn."""

    def __init__(self) -> None:
        self._withdrawn: set[str] = set()

    def withdraw(self, tool: str) -> None:
        """From now on what needs `tool` raises CapabilityUnavailable."""
        self._withdrawn.add(tool)

    def require(self, tool: str) -> None:
        if tool in self._withdrawn:
            raise CapabilityUnavailable(tool, "fake")


class FakeAccount:
    """Implements `strategy.base.Account`. Independent of the instance's own orders, as a shared account is."""

    def __init__(self, tools: FakeTools) -> None:
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


class FakeMarket:
    """Implements `strategy.base.Market`."""

    def __init__(self, symbol: str, clock: Clock, tools: FakeTools) -> None:
        self._symbol = symbol
        self._clock = clock
        self._tools = tools
        self._quote: Quote | None = None
        self._candles: dict[str, tuple[Candle, ...]] = {}
        self._rules = InstrumentRules()

    def set_quote(
        self, bid: str | Decimal, ask: str | Decimal | None = None, last: str | Decimal | None = None
    ) -> None:
        """The quote from now on; `ask` and `last` are the bid where left out."""
        low = to_decimal(bid, "bid")
        high = low if ask is None else to_decimal(ask, "ask")
        if not 0 < low <= high:
            raise ValueError(f"expected 0 < bid ≤ ask, was bid {bid}, ask {ask}")
        price = low if last is None else to_decimal(last, "last")
        self._quote = Quote(self._symbol, low, high, price, utc(self._clock.time()))

    def set_candles(self, timeframe: str, candles: Iterable[Candle]) -> None:
        """The closed candles of a timeframe from now on, oldest first."""
        self._candles[_known(timeframe)] = tuple(candles)

    def set_closes(self, timeframe: str, closes: Iterable[str | Decimal]) -> None:
        """Flat candles with these closes, the last one closed just now."""
        self.set_candles(timeframe, candles_of(closes, timeframe, utc(self._clock.time())))

    def has_quote(self) -> bool:
        return self._quote is not None

    def quote(self) -> Quote:
        self._tools.require("get_quote")
        if self._quote is None:
            raise AssertionError("the test has set no quote: call context.market.set_quote(bid, ask)")
        return self._quote

    def candles(self, timeframe: str, limit: int) -> Sequence[Candle]:
        self._tools.require("get_candles")
        known = self._candles.get(_known(timeframe))
        if known is None:
            raise AssertionError(
                f"the test has set no {timeframe} candles: call context.market.set_closes or set_candles"
            )
        return known[-limit:] if limit > 0 else ()

    def set_rules(self, **rules: str | Decimal) -> None:
        """What the market lets through from now on: `price_step`, `quantity_step`, `min_quantity`, `min_notional`,
        `contract_size`; what is left out the server does not tell."""
        self._rules = InstrumentRules(**{name: to_decimal(value, name) for name, value in rules.items()})

    def rules(self) -> InstrumentRules:
        self._tools.require("get_rules")
        return self._rules


def candles_of(closes: Iterable[str | Decimal], timeframe: str, end: datetime) -> tuple[Candle, ...]:
    """A candle for each close, flat, volume 1, aligned to the clock; the last one closed at or before `end`."""
    length = timedelta(seconds=TIMEFRAMES_S[_known(timeframe)])
    prices = [to_decimal(close, "close") for close in closes]
    last_close = utc(end.timestamp() // length.total_seconds() * length.total_seconds())
    first_open = last_close - len(prices) * length
    return tuple(Candle(first_open + i * length, p, p, p, p, Decimal(1)) for i, p in enumerate(prices))


def _known(timeframe: str) -> str:
    if timeframe not in TIMEFRAMES_S:
        raise ValueError(f"timeframe: expected one of {', '.join(TIMEFRAMES_S)}, was {timeframe!r}")
    return timeframe


@dataclass(frozen=True, slots=True)
class FakeInstance:
    """Implements `strategy.base.InstanceInfo`."""

    id: str = "under-test"
    strategy_type: str = "under_test"
    account_id: str = "main"
    client_id: str = "desk-a"
    market: str = "BTC/USD"
    mode: str = "observe"
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.mode not in (Mode.OBSERVE, Mode.ACTIVE):
            raise ValueError(f"mode: expected observe or active (off runs nothing), was {self.mode!r}")


_SENT = (Outcome.ACCEPTED, Outcome.SHADOW)
_UNSETTLED = (Outcome.PENDING, Outcome.UNKNOWN)


class FakeOrders:
    """Implements `strategy.base.Orders`.

    In observe an order's outcome is `shadow`, in active `accepted`, and each mode has its own book; the shadow book
    begins from the real position and ends with observing. A market order fills at once where there is a quote; any
    other waits for `fill`, or for `match`.
    """

    def __init__(self, instance: Callable[[], FakeInstance], market: FakeMarket, clock: Clock) -> None:
        self._instance = instance
        self._market = market
        self._clock = clock
        self._book: dict[str, Order] = {}
        self._matched: set[str] = set()
        """What the market has looked at: all that is not in here just came in."""
        self._answers: list[tuple[Outcome, str]] = []
        self._news: OrderChanges | None = None
        self._permit: int | None = None
        self._ticks = 0
        self._real = Holding(instance().market)
        self._shadow: Holding | None = None
        """None until the first shadow order: till then the book holds what the real one does."""
        self._ended = 0
        """How many orders there were when the last shadow book ended."""

    def answer_next(self, outcome: str, reason: str = "") -> None:
        """What becomes of the next order placed: `rejected`, `unknown` or `pending`. May be called several times."""
        self._answers.append((Outcome(outcome), reason))

    def settle(self, order: Order, outcome: str) -> Order:
        """An order that was `unknown` or `pending` turns out to be `accepted` or `rejected`."""
        state = OrderState.OPEN if Outcome(outcome) in _SENT else None
        return self._keep(replace(self._own(order.client_order_id), outcome=Outcome(outcome), state=state))

    def fill(self, order: Order, price: str | Decimal | None = None, quantity: str | Decimal | None = None) -> Order:
        """As `FakeContext.fill` says."""
        known = self._own(order.client_order_id)
        if known.outcome not in _SENT or known.state is None or known.state.is_final:
            raise ValueError(f"expected an open order, was {known.outcome} {known.state or ''}".rstrip())
        left = known.quantity - known.filled_quantity
        amount = left if quantity is None else to_decimal(quantity, "quantity")
        if not 0 < amount <= left:
            raise ValueError(f"expected a quantity in (0, {left}], was {amount}")
        paid = self._price(known) if price is None else to_decimal(price, "price")
        return self._filled(known, amount, paid)

    def match(self) -> tuple[Order, ...]:
        """What the quote set now makes of the open orders of the mode in force: those that it moved, oldest first.

        By the rule of the paper exchange and of the shadow book: what just came in takes the quote as far as its limit
        lets it, a limit order that waits is filled at its limit once the market trades through it, a stop is triggered
        where its price is reached, and what was for the day ends with it.
        """
        before = self.open()
        return tuple(now for order in before if (now := self._tried(order)) is not order)

    def all(self) -> tuple[Order, ...]:
        """Every order of every mode as it stands now, oldest first."""
        return tuple(self._book.values())

    def listen(self) -> OrderChanges:
        """Every change of an order from now on; ends an earlier one."""
        self._news = OrderChanges()
        return self._news

    @property
    def tick(self) -> int:
        """Which tick is under way, counted from 1; 0 between ticks."""
        return 0 if self._permit is None else self._ticks

    @contextmanager
    def placing(self) -> Iterator[None]:
        """While this is open, this thread may place: what `on_tick` runs inside of."""
        self._permit = threading.get_ident()
        self._ticks += 1
        try:
            yield
        finally:
            self._permit = None

    def place(
        self,
        side: str,
        quantity: str | Decimal,
        *,
        type: str = "market",
        limit_price: str | Decimal | None = None,
        stop_price: str | Decimal | None = None,
        time_in_force: str = "gtc",
        reduce_only: bool = False,
    ) -> Order:
        if self._permit is None:
            raise TradingClosed("orders are placed from on_tick: expected it to be running, it is not")
        if self._permit != threading.get_ident():
            raise TradingClosed("orders are placed from on_tick's own thread: this is another one")
        request = order_request(side, quantity, type, limit_price, stop_price, time_in_force, reduce_only)
        order = self._keep(self._answered(request))
        if order.outcome is Outcome.SHADOW:
            self._shadow = self._begun()
        fills_now = order.outcome in _SENT and request.type is OrderType.MARKET and self._market.has_quote()
        return self._tried(order) if fills_now else order

    def cancel(self, client_order_id: str) -> Order:
        order = self._own(client_order_id)
        if order.outcome in _SENT and order.is_open:
            return self._keep(replace(order, state=OrderState.CANCELLED))
        return order

    def open(self) -> Sequence[Order]:
        return tuple(order for order in self._mine() if order.is_open)

    def recent(self, limit: int = 20) -> Sequence[Order]:
        return tuple(reversed(self._mine()))[: max(limit, 0)]

    def position(self) -> Position:
        shadow = self._shadow if self._instance().mode == Mode.OBSERVE else None
        return (shadow or self._real).position

    def mode_changed(self) -> None:
        """End the shadow book: what is open in it is cancelled, and the next one starts from the real position."""
        for order in self._book.values():
            if order.outcome is Outcome.SHADOW and order.is_open:
                self._keep(replace(order, state=OrderState.CANCELLED))
        self._shadow = None
        self._ended = len(self._book)

    def _answered(self, request: OrderRequest) -> Order:
        instance, now = self._instance(), utc(self._clock.time())
        provenance = Provenance(
            instance_id=instance.id,
            account_id=instance.account_id,
            client_id=instance.client_id,
            symbol=instance.market,
            mode=Mode(instance.mode),
            generation=1,
            config_digest="",
            code_digest="",
            revision=None,
            beat=int(now.timestamp() // 6),
        )
        outcome, reason, by = self._outcome()
        quote = self._market.quote() if self._market.has_quote() else None
        return Order(
            client_order_id=f"fake{len(self._book) + 1:06d}",
            provenance=provenance,
            request=request,
            outcome=outcome,
            created_at=now,
            updated_at=now,
            state=OrderState.OPEN if outcome in _SENT else None,
            reason=reason,
            rejected_by=by,
            quote_bid=quote.bid if quote else None,
            quote_ask=quote.ask if quote else None,
        )

    def _outcome(self) -> tuple[Outcome, str, RejectedBy | None]:
        unsettled = next((order for order in self._mine() if order.outcome in _UNSETTLED), None)
        if unsettled is not None:
            reason = (
                f"the outcome of {unsettled.client_order_id} is {unsettled.outcome}: nothing new until it is settled"
            )
            return Outcome.REJECTED, reason, RejectedBy.GATEWAY
        if self._answers:
            outcome, reason = self._answers.pop(0)
            return outcome, reason, RejectedBy.EXCHANGE if outcome is Outcome.REJECTED else None
        active = self._instance().mode == Mode.ACTIVE
        return Outcome.ACCEPTED if active else Outcome.SHADOW, "", None

    def _tried(self, order: Order) -> Order:
        if order.outcome not in _SENT:
            return order
        quote, now = self._market.quote(), utc(self._clock.time())
        has_waited = order.client_order_id in self._matched
        self._matched.add(order.client_order_id)
        left = order.quantity - order.filled_quantity
        resting = Resting(order.request, left, order.created_at.date(), order.is_triggered, has_waited)
        held = self.position().quantity
        room = max(Decimal(0), held if order.side is Side.SELL else -held)
        filling = tried(resting, offered(order.side, quote.bid, quote.ask), now.date(), room)
        if filling is None:
            return order
        order = self._keep(replace(order, is_triggered=filling.is_triggered))
        for execution in filling.executions:
            order = self._filled(order, execution.quantity, execution.price)
        ended = replace(order, state=filling.ended, reason=filling.reason)
        return order if filling.ended is None else self._keep(ended)

    def _filled(self, order: Order, quantity: Decimal, price: Decimal) -> Order:
        self._count(order, Fill(order.client_order_id, "", quantity, price, None, utc(self._clock.time())))
        filled = order.filled_quantity + quantity
        cost = (order.average_price or Decimal(0)) * order.filled_quantity + price * quantity
        state = OrderState.FILLED if filled == order.quantity else OrderState.PARTIALLY_FILLED
        return self._keep(replace(order, filled_quantity=filled, average_price=cost / filled, state=state))

    def _price(self, order: Order) -> Decimal:
        if order.limit_price is not None:
            return order.limit_price
        quote = self._market.quote()
        return best_price(order.side, quote.bid, quote.ask)

    def _mine(self) -> list[Order]:
        """The book of the mode in force, oldest first."""
        mode = self._instance().mode
        orders = list(self._book.values())[self._ended if mode == Mode.OBSERVE else 0 :]
        return [order for order in orders if order.provenance.mode == mode]

    def _own(self, client_order_id: str) -> Order:
        if client_order_id not in self._book:
            raise KeyError(client_order_id)
        return self._book[client_order_id]

    def _count(self, order: Order, fill: Fill) -> None:
        if order.provenance.mode is Mode.ACTIVE:
            self._real = self._real.filled(order.side, fill, fill.at.date())
        else:
            self._shadow = self._begun().filled(order.side, fill, fill.at.date())

    def _begun(self) -> Holding:
        return self._shadow or Holding(self._real.symbol, self._real.quantity, self._real.cost)

    def _keep(self, order: Order) -> Order:
        kept = replace(order, updated_at=utc(self._clock.time()))
        self._book[order.client_order_id] = kept
        if self._news is not None and kept.outcome is not Outcome.PENDING:
            self._news.add(kept)
        return kept
