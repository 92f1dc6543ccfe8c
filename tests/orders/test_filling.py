"""The one rule by which orders fill where a market is simulated; and that whoever simulates one goes by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.clock import FakeClock, utc
from reconciler.execution.limits import QuotePrices
from reconciler.execution.shadow_book import followed, shadowed
from reconciler.orders.filling import (
    LEVELS,
    NO_MORE,
    NOT_AS_A_WHOLE,
    NOTHING_TO_REDUCE,
    BookSide,
    Filling,
    Level,
    Liquidity,
    Resting,
    fee_on,
    offered,
    quantity_of,
    swept,
    tried,
    within,
)
from reconciler.orders.market import Quote
from reconciler.orders.order import Order, OrderRequest, OrderState, OrderType, Outcome, Side, TimeInForce
from reconciler.paper.account import PaperOptions
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.feed import Prices
from reconciler.paper.paper_order import Ticket
from reconciler.records.mode import Mode
from reconciler.strategy.testing import FakeContext
from tests.execution.standins import StandInGate
from tests.hostile import hostile_context

BUY, SELL = Side
MARKET, LIMIT, STOP, STOP_LIMIT = OrderType
TODAY = utc(0).date()
BID, ASK = Decimal(99), Decimal(101)


def told(levels: Sequence[Level]) -> list[tuple[int, int]]:
    return [(int(level.price), int(level.quantity)) for level in levels]


def offer(side: Side = BUY, depth: int | None = None, taken: int = 0, *, bid: int = 99, ask: int = 101) -> BookSide:
    return offered(side, Decimal(bid), Decimal(ask), None if depth is None else Decimal(depth), Decimal(taken))


def request(side: Side = BUY, limit: int | None = None, **more: Any) -> OrderRequest:
    price = None if limit is None else Decimal(limit)
    asked = OrderRequest(side, MARKET if limit is None else LIMIT, Decimal(7), price)
    return replace(asked, **more)


def waiting(limit: int, **more: Any) -> Resting:
    return Resting(request(limit=limit, **more), Decimal(7), TODAY)


def incoming(limit: int | None = None, **more: Any) -> Resting:
    return Resting(request(limit=limit, **more), Decimal(7), TODAY, has_waited=False)


def test_worse_prices_lie_a_spread_apart_on_either_side() -> None:
    assert told(offer(BUY, 5).levels)[:3] == [(101, 5), (103, 5), (105, 5)]
    sells = told(offer(SELL, 5).levels)
    assert (sells[:2], len(sells)) == ([(99, 5), (97, 5)], LEVELS)


def test_what_was_taken_is_gone_from_the_best_prices_first_and_the_best_price_stays_known() -> None:
    assert told(offer(BUY, 5, 7).levels)[:2] == [(103, 3), (105, 5)]
    assert offer(BUY, 5, 50) == BookSide(ASK, ())


def test_no_price_is_ever_below_zero() -> None:
    assert told(offer(SELL, 1, bid=3, ask=5).levels) == [(3, 1), (1, 1)]


def test_without_a_depth_any_quantity_trades_at_the_best_price() -> None:
    levels = offer(SELL, None, 10**9).levels
    assert swept(levels, Decimal(10**11)) == (Level(Decimal(99), Decimal(10**11)),)


def test_an_order_takes_what_its_limit_lets_it() -> None:
    levels = within(offer(BUY, 5).levels, request(limit=104))
    assert quantity_of(levels) == 10
    assert told(swept(levels, Decimal(7))) == [(101, 5), (103, 2)]
    assert told(swept(levels, Decimal(70))) == [(101, 5), (103, 5)]


def test_what_comes_in_takes_from_the_best_price_on_and_what_waits_fills_at_its_limit_with_what_is_beyond() -> None:
    took = tried(incoming(103), offer(BUY, 5), TODAY)
    made = tried(waiting(105), offer(BUY, 5), TODAY)
    assert took == Filling(False, (Level(Decimal(101), Decimal(5)), Level(Decimal(103), Decimal(2))))
    assert made == Filling(False, (Level(Decimal(105), Decimal(7)),), Liquidity.MAKER)
    assert tried(waiting(103), offer(BUY, 5), TODAY) == Filling(
        False, (Level(Decimal(103), Decimal(5)),), made.liquidity
    )


def test_a_price_that_is_only_reached_fills_nothing_that_waits() -> None:
    assert tried(waiting(101), offer(), TODAY) is None
    assert tried(incoming(101), offer(), TODAY) is not None


def test_where_others_took_all_that_waits_goes_on_waiting() -> None:
    assert tried(waiting(105), offer(BUY, 5, 50), TODAY) is None


@pytest.mark.parametrize(
    ("order", "room", "executed", "reason"),
    [
        (incoming(time_in_force=TimeInForce.FOK), 9, [], NOT_AS_A_WHOLE),
        (incoming(103, time_in_force=TimeInForce.FOK), 9, [], NOT_AS_A_WHOLE),
        (incoming(103, time_in_force=TimeInForce.IOC), 9, [(101, 3), (103, 3)], NO_MORE),
        (incoming(99, time_in_force=TimeInForce.IOC), 9, [], NO_MORE),
        (incoming(), 9, [(101, 3), (103, 3)], NO_MORE),
        (incoming(103, reduce_only=True), 2, [(101, 2)], NOTHING_TO_REDUCE),
        (incoming(103, reduce_only=True), 0, [], NOTHING_TO_REDUCE),
        (waiting(103, reduce_only=True), 2, [(103, 2)], NOTHING_TO_REDUCE),
        (waiting(103, reduce_only=True), 0, [], NOTHING_TO_REDUCE),
    ],
)
def test_what_cannot_go_on_is_cancelled_after_what_it_could_do(
    order: Resting, room: int, executed: list[tuple[int, int]], reason: str
) -> None:
    shallow = BookSide(ASK, offer(BUY, 3).levels[:2])
    filling = tried(order, shallow, TODAY, Decimal(room))
    assert filling is not None
    assert (told(filling.executions), filling.ended, filling.reason) == (executed, OrderState.CANCELLED, reason)


def test_whether_there_is_something_to_reduce_is_asked_once_something_happens() -> None:
    assert tried(waiting(101, reduce_only=True), offer(), TODAY, Decimal(0)) is None


def test_a_stop_for_this_moment_only_waits_for_its_price_and_is_for_that_moment_then() -> None:
    request_ = request(BUY, 102, type=STOP_LIMIT, stop_price=Decimal(103), time_in_force=TimeInForce.IOC)
    order = Resting(request_, Decimal(7), TODAY, has_waited=False)
    assert tried(order, offer(), TODAY) is None
    assert tried(order, offer(ask=103), TODAY) == Filling(True, ended=OrderState.CANCELLED, reason=NO_MORE)


def test_an_order_for_the_day_is_over_the_day_after_whatever_the_price() -> None:
    order = waiting(200, time_in_force=TimeInForce.DAY)
    ended = tried(order, offer(), TODAY + timedelta(days=1))
    assert ended == Filling(False, ended=OrderState.EXPIRED, reason="its day is over")
    assert tried(order, offer(ask=300), TODAY) is None
    assert tried(waiting(50), offer(), TODAY + timedelta(days=1)) is None


def test_a_fee_is_rounded_as_is_said_whatever_decimal_context_the_thread_has() -> None:
    tiny, rate = Decimal("0.00000001"), Decimal("0.001")
    assert [fee_on(tiny, tiny, rate, rounding) for rounding in (ROUND_CEILING, ROUND_FLOOR)] == [tiny, 0]
    for raises in (True, False):
        with hostile_context(raises=raises):
            fee = fee_on(Decimal("1.23456789"), Decimal("57925.7"), Decimal("0.0025"), ROUND_CEILING)
            assert fee == Decimal("178.78302307")
            assert tried(waiting(1050), offer(BUY, 5), TODAY) == Filling(
                False, (Level(Decimal(1050), Decimal(7)),), Liquidity.MAKER
            )


STEP_S = 28_800
"""Three quotes a day: orders for the day end among them."""


class Asked(NamedTuple):
    """An order, and the quotes it saw, the first one as it came in."""

    request: OrderRequest
    quotes: list[tuple[int, int]]

    def quote(self, step: int) -> Quote:
        bid, spread = self.quotes[min(max(step, 0), len(self.quotes) - 1)]
        return Quote("BTC/USD", Decimal(bid), Decimal(bid + spread), Decimal(bid), utc(step * STEP_S))


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    kind = draw(st.sampled_from(list(OrderType)))
    limit = draw(st.integers(5, 30)) if kind in (LIMIT, STOP_LIMIT) else None
    stop = draw(st.integers(5, 30)) if kind in (STOP, STOP_LIMIT) else None
    request = OrderRequest(
        draw(st.sampled_from(list(Side))),
        kind,
        Decimal(2),
        None if limit is None else Decimal(limit),
        None if stop is None else Decimal(stop),
        draw(st.sampled_from(list(TimeInForce))),
    )
    return Asked(request, draw(st.lists(st.tuples(st.integers(5, 30), st.integers(0, 3)), min_size=1, max_size=8)))


class Told(NamedTuple):
    """What became of it, after each quote."""

    state: OrderState | None
    filled: Decimal
    price: Decimal | None
    fee: Decimal | None
    is_triggered: bool
    reason: str


class PathPrices(Prices):
    """Those of the order's path, whatever else is asked for."""

    def __init__(self, path: Asked) -> None:
        super().__init__([], STEP_S)
        self._path = path

    def quote(self, symbol: str, step: int) -> Quote:
        return self._path.quote(step)

    def reach(self, symbol: str, first: int, last: int) -> tuple[Quote, Quote]:
        quotes = [self._path.quote(step) for step in range(first, last + 1)]
        bids, asks = [quote.bid for quote in quotes], [quote.ask for quote in quotes]
        return replace(quotes[-1], bid=min(bids), ask=min(asks)), replace(quotes[-1], bid=max(bids), ask=max(asks))


RATE = Decimal("0.001")
"""Of whole numbers it is nothing that would have to be rounded."""


def by_the_exchange(path: Asked) -> list[Told]:
    clock, told = FakeClock(0), []
    endless = {"USD": Decimal(10**6), "BTC": Decimal(10**6)}
    exchange = PaperExchange(PathPrices(path), clock, PaperOptions(RATE, RATE, starting=endless))
    ticket = Ticket("main", "a", "o1", "BTC/USD", path.request)
    exchange.place_order(ticket)
    for _ in path.quotes:
        order = exchange.get_order("main", "a", "o1")
        fee = order.fee if order.fills else None
        told.append(
            Told(order.state, order.filled_quantity, order.average_price, fee, order.is_triggered, order.reason)
        )
        clock.advance(STEP_S)
    return told


def by_the_shadow_book(path: Asked) -> list[Told]:
    first = path.quote(0)
    draft = Order("o1", StandInGate(mode=Mode.OBSERVE).provenance(0), path.request, Outcome.PENDING, utc(0), utc(0))
    order = shadowed(replace(draft, quote_bid=first.bid, quote_ask=first.ask), RATE)
    told = [_told(order, order.fee)]
    for step in range(1, len(path.quotes)):
        quote = path.quote(step)
        if order.is_open:
            order = followed(order, QuotePrices(quote.bid, quote.ask), RATE, quote.as_of.date())
        told.append(_told(order, order.fee))
    return told


def by_the_fakes(path: Asked) -> list[Told]:
    context, told = FakeContext(now="1970-01-01T00:00:00Z"), []
    asked = path.request
    for step in range(len(path.quotes)):
        quote = path.quote(step)
        context.market.set_quote(quote.bid, quote.ask)
        if not step:
            with context.orders.placing():
                context.orders.place(
                    asked.side,
                    asked.quantity,
                    type=asked.type,
                    limit_price=asked.limit_price,
                    stop_price=asked.stop_price,
                    time_in_force=asked.time_in_force,
                )
        context.match()
        (order,) = context.orders.all()
        paid = order.average_price and order.filled_quantity * order.average_price * RATE
        told.append(_told(order, paid))  # they charge nothing
        context.advance(seconds=STEP_S)
    return told


def _told(order: Order, fee: Decimal | None) -> Told:
    return Told(order.state, order.filled_quantity, order.average_price, fee, order.is_triggered, order.reason)


@given(asked())
def test_exchange_shadow_book_and_fakes_make_the_same_of_the_same_order(path: Asked) -> None:
    assert by_the_exchange(path) == by_the_shadow_book(path) == by_the_fakes(path)
