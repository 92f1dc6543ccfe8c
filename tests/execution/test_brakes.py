"""The brakes: what is held back after how many equal refusals, for how long, and what lets it go."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.clock import FakeClock
from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.execution.brakes import plain
from reconciler.orders.order import Order, Outcome, RejectedBy, Side
from reconciler.records.mode import Mode
from tests.execution.standins import Desk, StandInGate, events

REASON = "Account has insufficient balance for requested action."


@pytest.fixture(autouse=True)
def refusing(desk: Desk) -> None:
    desk.server.fails("place_order", ExecRejected(REASON))


def by(order: Order) -> str:
    return "placed" if order.outcome is Outcome.ACCEPTED else str(order.rejected_by)


def ask(desk: Desk, times: int = 1, quantity: str = "1", limit: str | None = None) -> list[str]:
    """Who refused so many orders to buy."""
    return [by(desk.buy(StandInGate(), quantity, limit)) for _ in range(times)]


def sent(desk: Desk) -> int:
    return len(desk.server.asked("place_order"))


HELD = ["gateway"]


def test_after_five_equal_refusals_the_next_are_held_back_and_counted_on_one_row(desk: Desk) -> None:
    assert ask(desk, 9) == ["exchange"] * 5 + ["gateway"] * 4
    held = desk.buy(StandInGate())
    assert held.reason == (
        f"RefusedAgain: the exchange refused 5 buy market orders in a row: {REASON}; the next may leave at"
        " 2023-11-14T22:13:30.000Z"
    )
    assert (sent(desk), len(desk.store.ledger.recent("btc-grid-1", 99, False))) == (5, 6)
    assert [message for reason, message in events(desk) if reason == "RefusedAgain"] == [
        f"buy market orders are held back: refused again and again: {REASON}"
    ]


def test_the_pause_doubles_to_ten_minutes_and_one_order_leaves_after_each(desk: Desk, clock: FakeClock) -> None:
    ask(desk, 5)
    pauses = []
    for _ in range(9):
        waited = 0
        while ask(desk) == HELD:
            clock.advance(1)
            waited += 1
        pauses.append(waited)
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert sent(desk) == 5 + 9


def test_a_reduction_is_never_held_back_for_longer_than_thirty_seconds(desk: Desk, clock: FakeClock) -> None:
    desk.server.answers("place_order", {"status": "filled", "filled_quantity": "1", "average_price": "100"})
    desk.buy(StandInGate())
    desk.server.fails("place_order", ExecRejected(REASON))
    pauses = []
    for _ in range(12):
        waited = 0
        while by(desk.buy(StandInGate(), side=Side.SELL)) == "gateway":
            clock.advance(1)
            waited += 1
        pauses.append(waited)
    assert pauses == [0] * 5 + [10, 20, 30, 30, 30, 30, 30]


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_fewer_than_five_hold_nothing_back_and_another_reason_begins_anew(desk: Desk, number: int) -> None:
    assert ask(desk, number) == ["exchange"] * number
    desk.server.fails("place_order", ExecRejected("Filter failure: LOT_SIZE"))
    assert ask(desk, 5) == ["exchange"] * 5
    assert ask(desk) == HELD


def test_an_order_that_is_taken_ends_the_row(desk: Desk) -> None:
    ask(desk, 4)
    desk.server.answers("place_order", {"status": "open", "order_id": "x-1"})
    ask(desk)
    desk.server.fails("place_order", ExecRejected(REASON))
    assert ask(desk, 5) == ["exchange"] * 5


def test_amounts_ids_and_times_in_the_words_make_no_other_reason(desk: Desk) -> None:
    for n in range(5):
        desk.server.fails("place_order", ExecRejected(f"need {n}.5 USD, have {n} (request 9f{n}e-77, 12:0{n}:00Z)"))
        assert ask(desk, quantity=f"1.{n}", limit=f"9{n}") == ["exchange"]
    assert ask(desk, limit="99") == HELD


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("need 10 USD", "need 99.5 USD"),
        ("id 8fl267loyw3v28l39j: LOT_SIZE", "id 7zz267loyw3v28l39j: LOT_SIZE"),
        ("at 2026-01-01T00:00:00Z: closed", "at 2026-01-02 01:02:03: closed"),
        ('{"code": -2010, "msg": "no"}', '{"code":-2015,"msg":"no"}'),
        ("Insufficient funds.", "insufficient  FUNDS"),
    ],
)
def test_words_are_compared_without_what_moves_in_them(one: str, other: str) -> None:
    assert plain(one) == plain(other)


def test_other_words_are_another_reason() -> None:
    assert plain("insufficient balance") != plain("market closed")


@pytest.mark.parametrize("lets_go", ["quantity", "type", "side", "position", "connection", "instance"])
def test_what_may_change_the_answer_begins_anew(desk: Desk, lets_go: str) -> None:
    ask(desk, 6)
    assert sent(desk) == 5
    gate = StandInGate("another") if lets_go == "instance" else StandInGate()
    if lets_go == "position":
        desk.server.answers("place_order", {"status": "filled", "filled_quantity": "1", "average_price": "100"})
        desk.buy(gate, limit="100")
        desk.server.fails("place_order", ExecRejected(REASON))
    if lets_go == "connection":
        desk.server.went_down()
        desk.server.returned()
        desk.follow_up()
    before = sent(desk)
    for _ in range(6):
        desk.buy(
            gate,
            "0.9" if lets_go == "quantity" else "1",
            limit="50" if lets_go == "type" else None,
            side=Side.SELL if lets_go == "side" else Side.BUY,
        )
    assert sent(desk) - before == 5


def test_a_change_of_the_balance_that_it_pays_with_begins_anew(desk: Desk) -> None:
    def has(asset: str, total: str, beat: int) -> None:
        desk.server.answers("get_balances", {"balances": [{"asset": asset, "total": total}]})
        desk.market.balances("main", "desk-a", beat)

    has("USD", "1", 1)
    ask(desk, 6)
    has("USD", "1", 2)
    assert ask(desk) == HELD
    has("USD", "500", 3)
    assert ask(desk, 6) == ["exchange"] * 5 + HELD


def test_quantities_that_shrink_all_the_time_are_held_back_all_the_same(desk: Desk) -> None:
    quantity = Decimal(1)
    for _ in range(60):
        quantity *= Decimal("0.999")
        ask(desk, quantity=str(quantity))
    assert sent(desk) <= 10
    assert ask(desk, quantity="0.4") == ["exchange"], "half of it is another matter"


def test_a_refusal_that_is_no_answer_counts_for_nothing(desk: Desk) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    first = desk.buy(StandInGate())
    assert first.outcome is Outcome.UNKNOWN
    assert desk.gateway.held_back() == frozenset()


def test_what_is_held_back_is_a_caveat_while_it_lasts(desk: Desk, clock: FakeClock) -> None:
    ask(desk, 5)
    (caveat,) = desk.gateway.caveats("btc-grid-1", "main")
    assert caveat.reason == "RefusedAgain"
    assert "buy market orders are held back until 2023-11-14T22:13:30.000Z" in caveat.message
    assert desk.gateway.held_back() == {"btc-grid-1"}
    assert list(desk.gateway.caveats("another", "main")) == []
    clock.advance(11)
    assert list(desk.gateway.caveats("btc-grid-1", "main")) == []
    assert desk.gateway.held_back() == frozenset()


def test_what_only_observes_is_held_back_by_nothing(desk: Desk) -> None:
    ask(desk, 6)
    assert desk.buy(StandInGate(mode=Mode.OBSERVE)).rejected_by is not RejectedBy.GATEWAY
