"""What is known of an order beyond the ledger: when an order was never placed, and what is forgotten when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from reconciler.clock import FakeClock, utc
from reconciler.execution.watch import ACKNOWLEDGED_S, SPREAD_S, OrderWatch
from reconciler.orders.order import Order, OrderRequest, OrderState, OrderType, Outcome, RejectedBy, Side
from reconciler.records.event import EventReason
from tests.execution.standins import Desk, StandInGate


@pytest.fixture
def watch(clock: FakeClock) -> OrderWatch:
    return OrderWatch(clock)


def order(id_: str = "x", outcome: Outcome = Outcome.ACCEPTED, state: OrderState | None = None) -> Order:
    now, request = utc(FakeClock().time()), OrderRequest(Side.BUY, OrderType.MARKET, Decimal(1))
    return Order(id_, StandInGate().provenance(1), request, outcome, now, now, state)


OPEN = order(state=OrderState.OPEN)
UNKNOWN = order(outcome=Outcome.UNKNOWN)
CANCELLED = order(state=OrderState.CANCELLED)
WRITTEN_OFF = replace(order(outcome=Outcome.REJECTED), rejected_by=RejectedBy.GATEWAY)
WHOLE = replace(order(state=OrderState.FILLED), filled_quantity=Decimal(1), average_price=Decimal(100), fee=Decimal(0))


@pytest.mark.parametrize(
    ("answers_s", "counts"),
    [
        ([0, 15, 30], True),
        ([0, 30], False),
        ([0, 1, 29.9], False),
        ([0, 0, 0, 0], False),
        ([5, 6, 35], True),
    ],
)
def test_three_answers_over_thirty_seconds_say_that_there_is_no_order(
    answers_s: list[float], counts: bool, watch: OrderWatch, clock: FakeClock
) -> None:
    began_s, told = clock.monotonic(), ""
    for at_s in answers_s:
        clock.advance(at_s - (clock.monotonic() - began_s))
        told = watch.absent(OPEN)
    assert bool(told) is counts


def test_each_order_is_counted_for_itself_and_anew_once_it_was_found(watch: OrderWatch, clock: FakeClock) -> None:
    for _ in range(2):
        watch.absent(OPEN)
        clock.advance(15)
    assert not watch.absent(order("y"))
    watch.heard(OPEN)
    assert not watch.absent(OPEN)


Known = Callable[[OrderWatch], object]


def DOUBTED(watch: OrderWatch) -> None:
    watch.doubt(UNKNOWN)
    watch.hindered("x", "no such tool")


UNREADABLE: Known = lambda watch: watch.unreadable(OPEN, "side: expected buy")  # noqa: E731
COMPLAINED: Known = lambda watch: watch.complains(OPEN, "side: expected buy")  # noqa: E731
ABSENT: Known = lambda watch: watch.absent(OPEN)  # noqa: E731
DENIED: Known = lambda watch: watch.deny(OPEN, "asked 3 times")  # noqa: E731
LINGERING: Known = lambda watch: watch.lingering("main", [CANCELLED])  # noqa: E731
CANCELLING: Known = lambda watch: watch.cancel_taken(OPEN)  # noqa: E731
TOLD: Known = lambda watch: watch.is_news(OPEN, EventReason.WITHDRAWING)  # noqa: E731
ENDED: Known = lambda watch: watch.ended(CANCELLED)  # noqa: E731


@pytest.mark.parametrize(
    ("known", "moot"),
    [
        (DOUBTED, OPEN),
        (DOUBTED, WRITTEN_OFF),
        (UNREADABLE, OPEN),
        (COMPLAINED, OPEN),
        *((one, over) for one in (ABSENT, DENIED, CANCELLING, TOLD) for over in (CANCELLED, WHOLE, WRITTEN_OFF)),
        (LINGERING, OPEN),
        (ENDED, WHOLE),
        (ENDED, WRITTEN_OFF),
    ],
)
def test_what_the_state_of_an_order_makes_moot_is_forgotten_whole(known: Known, moot: Order, watch: OrderWatch) -> None:
    known(watch)
    assert watch._known
    watch.note(moot)
    assert not watch._known
    assert not watch._doubtful


@pytest.mark.parametrize(
    ("known", "still"),
    [
        (DOUBTED, UNKNOWN),
        *((one, OPEN) for one in (ABSENT, DENIED, CANCELLING, TOLD)),
        (LINGERING, CANCELLED),
        (ENDED, CANCELLED),
    ],
)
def test_what_is_still_so_is_kept(known: Known, still: Order, watch: OrderWatch) -> None:
    known(watch)
    before = dict(watch._known)
    watch.note(still)
    assert watch._known.keys() == before.keys()


def test_the_oldest_doubt_is_told_first_and_what_was_never_placed_before_what_cannot_be_read(
    watch: OrderWatch, clock: FakeClock
) -> None:
    watch.unreadable(OPEN, "garbage")
    clock.advance(1)
    for id_ in ("second", "first"):
        at = utc(clock.time() + (id_ == "second"))
        watch.doubt(replace(order(id_, Outcome.UNKNOWN), created_at=at))
    assert [doubt.client_order_id for doubt in watch.doubts()] == ["first", "second", "x"]
    assert watch.obstacle("btc-grid-1") == "it is not known whether first was placed"
    assert watch.obstacle("another") == ""
    assert watch.in_doubt() == {"first", "second"}


def test_a_cancel_that_was_taken_is_not_sent_again_for_a_while(watch: OrderWatch, clock: FakeClock) -> None:
    assert not watch.is_cancelled(OPEN)
    watch.cancel_taken(OPEN)
    assert watch.is_cancelled(OPEN)
    clock.advance(ACKNOWLEDGED_S)
    assert not watch.is_cancelled(OPEN)


def test_what_is_tried_again_each_beat_is_told_once_for_as_long_as_the_order_is_open(watch: OrderWatch) -> None:
    assert [watch.is_news(OPEN, EventReason.NOT_WITHDRAWN) for _ in range(2)] == [True, False]
    assert watch.is_news(OPEN, EventReason.WITHDRAWING)


def test_what_is_listed_as_open_though_it_is_over_is_told_once_it_was_so_for_long(
    watch: OrderWatch, clock: FakeClock
) -> None:
    assert watch.lingering("main", [CANCELLED]) == ([], [])
    clock.advance(SPREAD_S)
    assert watch.lingering("another", []) == ([], [])
    assert watch.lingering("main", [CANCELLED]) == ([CANCELLED], [])
    assert watch.lingering("main", [CANCELLED]) == ([], [])
    assert watch.lingering("main", []) == ([], [CANCELLED])
    assert not watch._known


def test_what_is_learned_of_an_order_that_has_ended_meanwhile_is_forgotten_at_the_next_beat(desk: Desk) -> None:
    """An answer that was on its way when somebody else settled the order: nobody would note that one any more."""
    placed = desk.buy(StandInGate(), limit="90")
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1", "average_price": "90", "fee": "0"})
    desk.follow_up()
    desk.gateway._watch.deny(placed, "asked 3 times")
    assert desk.gateway.denials()
    desk.follow_up()
    assert not desk.gateway.denials()
