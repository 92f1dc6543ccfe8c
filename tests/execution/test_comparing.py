"""Comparing accounts with the ledger, after a connection was lost and now and then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from reconciler.errors import ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.orders.news import Verdict
from reconciler.orders.order import Order, OrderState, Outcome, RejectedBy
from tests.execution.standins import TOOLS, Desk, StandInGate, events

PENDING = "comparing the orders and positions of account main after (re)connecting to 'paper'"


def known(desk: Desk, order: Order) -> Order:
    found = desk.store.ledger.get(order.client_order_id)
    assert found is not None
    return found


def item(order: Order, **more: Any) -> dict[str, Any]:
    """An order as exchanges list it."""
    return {
        "client_order_id": order.client_order_id,
        "order_id": order.exchange_order_id,
        "symbol": order.provenance.symbol,
        "side": order.side.value,
        "quantity": "1",
        "status": "open",
        "filled_quantity": "0",
        **more,
    }


STRANGE = {
    "client_order_id": "by-hand",
    "order_id": "x-77",
    "symbol": "ETH/USD",
    "side": "sell",
    "quantity": "3",
    "status": "resting",
}


@pytest.fixture
def resting(desk: Desk) -> Order:
    """An order of ours that rests at the exchange."""
    return desk.buy(StandInGate(), limit="90")


def reconnected(desk: Desk, *tools: str) -> None:
    desk.server.went_down()
    desk.server.returned(*tools)


def held(desk: Desk, quantity: str) -> None:
    desk.server.answers("get_positions", {"positions": [{"symbol": "BTC/USD", "quantity": quantity}]})


def test_after_a_lost_connection_only_cancels_leave_until_the_account_was_compared(desk: Desk, resting: Order) -> None:
    reconnected(desk)
    assert desk.gateway.blocked("btc-grid-1", "main") == ("ExecDown", PENDING)
    assert desk.buy(StandInGate()).reason == f"ExecDown: {PENDING}"
    desk.server.answers("cancel_order", {"status": "cancelled", "filled_quantity": "0"})
    assert desk.gateway.cancel(StandInGate(), resting.client_order_id).state is OrderState.CANCELLED

    desk.follow_up()
    assert desk.gateway.blocked("btc-grid-1", "main") is None
    assert desk.buy(StandInGate()).outcome is Outcome.ACCEPTED
    assert len(desk.server.asked("place_order")) == 2


def test_an_account_that_the_ledger_knows_nothing_of_need_not_wait_once_the_connection_was_looked_at(
    desk: Desk,
) -> None:
    reconnected(desk)
    assert desk.gateway.blocked("new", "main") is not None
    desk.follow_up()
    assert desk.gateway.blocked("new", "main") is None


def test_a_listed_order_is_settled_by_the_list_and_one_that_is_not_is_looked_up(desk: Desk, resting: Order) -> None:
    gone = desk.buy(StandInGate(), limit="91")
    partly = item(resting, status="partially_filled", filled_quantity="0.4", average_price="90")
    desk.server.answers("list_orders", {"orders": [partly]})
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1", "average_price": "91"})
    reconnected(desk)
    desk.main_loop.run(desk.gateway._comparing.run())

    assert (known(desk, resting).state, known(desk, resting).filled_quantity) == ("partially_filled", Decimal("0.4"))
    assert known(desk, gone).state is OrderState.FILLED
    assert [sent["client_order_id"] for sent in desk.server.asked("get_order")] == [gone.client_order_id]
    assert desk.server.asked("list_orders") == [{"account_id": "main", "client_id": "desk-a", "status": "open"}]


def test_an_order_listed_only_by_the_exchanges_own_id_is_ours_all_the_same(desk: Desk, resting: Order) -> None:
    desk.server.answers("list_orders", {"orders": [item(resting, client_order_id=None)]})
    reconnected(desk)
    desk.main_loop.run(desk.gateway._comparing.run())
    assert desk.gateway.orphans() == ()
    assert desk.server.asked("get_order") == []


def test_without_a_list_each_order_of_ours_is_looked_up(desk: Desk, resting: Order) -> None:
    desk.server.answers("get_order", {"status": "expired", "filled_quantity": "0"})
    reconnected(desk, *(tool for tool in TOOLS if tool != "list_orders"))
    desk.follow_up()
    assert known(desk, resting).state is OrderState.EXPIRED
    assert desk.gateway.blocked("btc-grid-1", "main") is None


@pytest.mark.parametrize("tool", ["list_orders", "get_order", "get_positions"])
@pytest.mark.parametrize("error", [ExecUnknown("time-out"), ExecUnavailable("reset"), ExecRejected("maintenance")])
def test_what_could_not_be_compared_waits_on_says_why_and_is_tried_at_the_next_beat(
    desk: Desk, resting: Order, tool: str, error: Exception
) -> None:
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    desk.server.fails(tool, error)
    reconnected(desk)
    desk.follow_up()
    why = f"{resting.client_order_id} could not be looked up" if tool == "get_order" else str(error)
    assert desk.gateway.blocked("btc-grid-1", "main") == ("ExecDown", f"{PENDING}: {why}")
    assert desk.gateway.is_comparing()

    desk.server.script.pop(tool)
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    desk.follow_up()
    assert desk.gateway.blocked("btc-grid-1", "main") is None
    assert not desk.gateway.is_comparing()


def test_one_accounts_trouble_keeps_no_other_waiting(desk: Desk, resting: Order) -> None:
    desk.buy(StandInGate("rich", account_id="real"), limit="90")

    async def list_main_only(arguments: Mapping[str, Any]) -> dict[str, Any]:
        if arguments["account_id"] == "real":
            raise ExecUnknown("time-out")
        return {"orders": [item(resting)]}

    desk.server.script["list_orders"] = list_main_only
    reconnected(desk)
    desk.follow_up()
    assert desk.gateway.blocked("btc-grid-1", "main") is None
    blocked = desk.gateway.blocked("rich", "real")
    assert blocked is not None
    assert blocked[1].endswith(": time-out")


def test_a_connection_lost_while_it_is_compared_on_is_compared_anew(desk: Desk, resting: Order) -> None:
    async def lose_it(_: Mapping[str, Any]) -> dict[str, Any]:
        desk.server.script.pop("list_orders")
        reconnected(desk)
        return {"orders": [item(resting)]}

    desk.server.script["list_orders"] = lose_it
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    reconnected(desk)
    desk.main_loop.run(desk.gateway._comparing.run())
    assert desk.gateway.blocked("btc-grid-1", "main") is not None
    desk.follow_up()
    assert desk.gateway.blocked("btc-grid-1", "main") is None


def test_invariant_2_an_order_whose_connection_is_replaced_under_way_never_leaves(desk: Desk) -> None:
    started, busy = desk.bridge.start, threading.Event()

    def reconnect_then_start(work: Any) -> Any:
        desk.bridge.start = started  # type: ignore[method-assign]
        reconnected(desk)
        busy.set()
        return started(work)

    desk.bridge.start = reconnect_then_start  # type: ignore[method-assign]
    desk.gateway._quoting.quoted = lambda order: (order, None)  # type: ignore[method-assign]
    order = desk.buy(StandInGate())
    assert busy.is_set()
    assert (order.outcome, order.rejected_by) == (Outcome.REJECTED, RejectedBy.GATEWAY)
    assert order.reason == f"ExecDown: {PENDING}"
    assert desk.server.asked("place_order") == []


def test_an_order_the_ledger_does_not_know_is_an_orphan_told_once_and_dropped_when_it_is_gone(
    desk: Desk, resting: Order
) -> None:
    desk.server.answers("list_orders", {"orders": [item(resting), STRANGE]})
    reconnected(desk)
    desk.follow_up()
    (orphan,) = desk.gateway.orphans()
    assert (orphan.account_id, orphan.client_order_id, orphan.symbol, orphan.side, orphan.quantity, orphan.state) == (
        "main",
        "by-hand",
        "ETH/USD",
        "sell",
        "3",
        "resting",
    )
    seen_at = orphan.seen_at
    desk.clock.advance(61)
    desk.follow_up()
    assert [orphan.seen_at for orphan in desk.gateway.orphans()] == [seen_at]
    told = [message for reason, message in events(desk) if reason == "OrphanOrder"]
    assert told == ["account main: an order of no known instance: sell 3 ETH/USD (by-hand)"]
    assert desk.gateway.blocked("btc-grid-1", "main") is None

    desk.server.answers("list_orders", {"orders": [item(resting)]})
    desk.clock.advance(61)
    desk.follow_up()
    assert desk.gateway.orphans() == ()


def test_an_order_in_doubt_that_is_listed_is_known_by_that(desk: Desk, resting: Order) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", OrderNotFound("order not found"))
    order = desk.buy(StandInGate(), limit="92")
    desk.server.answers("list_orders", {"orders": [item(resting), item(order)]})
    reconnected(desk)
    desk.main_loop.run(desk.gateway._comparing.run())
    assert known(desk, order).outcome is Outcome.ACCEPTED
    assert desk.gateway.blocked("btc-grid-1", "main") is None


def test_an_order_in_doubt_that_cannot_be_looked_up_keeps_only_its_own_instance_waiting(
    desk: Desk, resting: Order
) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", ExecUnknown("time-out"))
    desk.buy(StandInGate(), limit="92")
    desk.server.answers("list_orders", {"orders": [item(resting)]})
    reconnected(desk)
    desk.follow_up()
    assert desk.gateway.blocked("another", "main") is None
    blocked = desk.gateway.blocked("btc-grid-1", "main")
    assert blocked is not None
    assert blocked[0] == "UnknownOrder"


def test_positions_that_do_not_add_up_are_told_once_they_last_and_block_nothing(desk: Desk, resting: Order) -> None:
    desk.server.answers("list_orders", {"orders": [item(resting)]})
    held(desk, "0.5")
    reconnected(desk)
    desk.follow_up()
    assert desk.gateway.blocked("btc-grid-1", "main") is None
    assert events(desk) == []  # a fill that is not known yet would look the same

    desk.follow_up()
    difference = "the exchange holds 0.5 BTC/USD, the instances' fills make 0"
    before = "beside what the instances' fills make it holds 0.5 BTC/USD, which counts as held before"
    assert events(desk) == [
        ("PositionsDiffer", f"account main: {difference}"),
        ("BaselineTaken", f"account main: {before}"),
    ]
    assert [one.difference for one in desk.gateway.comparisons()] == [difference]
    desk.clock.advance(61)
    desk.follow_up()
    assert len(events(desk)) == 2

    held(desk, "0")
    desk.clock.advance(61)
    desk.follow_up()
    desk.follow_up()
    assert [one.difference for one in desk.gateway.comparisons()] == [""]


def test_a_difference_that_is_gone_at_the_second_look_was_a_fill_on_its_way(desk: Desk, resting: Order) -> None:
    held(desk, "1")
    desk.server.answers("list_orders", {"orders": [item(resting)]})
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1", "average_price": "90"})
    reconnected(desk)
    desk.follow_up()
    desk.follow_up()
    desk.clock.advance(61)
    desk.follow_up()
    assert [reason for reason, _ in events(desk)] == []


def test_every_client_of_an_account_is_compared(desk: Desk, resting: Order) -> None:
    desk.buy(StandInGate("b", client_id="desk-b"), limit="91")
    asked: list[str] = []

    async def positions(arguments: Mapping[str, Any]) -> dict[str, Any]:
        asked.append(arguments["client_id"])
        return {"positions": [{"symbol": "BTC/USD", "quantity": "2" if arguments["client_id"] == "desk-a" else "3"}]}

    desk.server.script["get_positions"] = positions
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    reconnected(desk)
    desk.follow_up()
    desk.follow_up()
    assert sorted(set(asked)) == ["desk-a", "desk-b"]
    assert [one.difference for one in desk.gateway.comparisons()] == [
        "the exchange holds 5 BTC/USD, the instances' fills make 0"
    ]


def test_a_connection_that_is_made_is_compared_on_without_waiting_for_a_beat(desk: Desk, resting: Order) -> None:
    desk.server.answers("list_orders", {"orders": [item(resting)]})
    reconnected(desk)

    async def tell() -> None:
        assert desk.server.on_connected is not None
        desk.server.on_connected()
        async with asyncio.timeout(10):
            while desk.gateway.is_comparing():
                await asyncio.sleep(0.001)

    desk.main_loop.run(tell())
    assert desk.gateway.blocked("btc-grid-1", "main") is None


@pytest.mark.parametrize("tool", ["list_orders", "get_positions"])
@pytest.mark.parametrize("answer", [{"hello": 1}, {"orders": "none", "positions": [{"symbol": "BTC/USD"}]}])
def test_an_answer_that_makes_no_sense_was_not_compared(
    desk: Desk, resting: Order, tool: str, answer: dict[str, Any]
) -> None:
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    desk.server.answers(tool, answer)
    reconnected(desk)
    for _ in range(3):
        desk.follow_up()
        blocked = desk.gateway.blocked("btc-grid-1", "main")
        assert blocked is not None
        assert blocked[1].startswith(f"{PENDING}: ")
    assert len(desk.server.asked(tool)) == 3
    assert desk.buy(StandInGate()).outcome is Outcome.REJECTED
    assert desk.gateway.comparisons() == ()


def test_positions_that_the_server_does_not_tell_do_not_add_up_they_are_not_known(desk: Desk, resting: Order) -> None:
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    reconnected(desk, *(tool for tool in TOOLS if tool != "get_positions"))
    desk.follow_up()
    assert desk.gateway.blocked("btc-grid-1", "main") is None
    assert desk.gateway.comparisons() == ()


@pytest.mark.parametrize(
    "others",
    [
        {"client_order_id": "by-hand", "symbol": "ETH/USD", "side": "sell"},
        {"client_order_id": "by-hand"},
        {"client_order_id": None, "symbol": "ETH/USD"},
    ],
)
def test_an_order_that_only_shares_the_exchanges_id_with_ours_is_an_orphan(
    desk: Desk, resting: Order, others: dict[str, Any]
) -> None:
    filled = item(resting, status="partially_filled", filled_quantity="0.4", average_price="2000")
    desk.server.answers("list_orders", {"orders": [{**filled, **others}]})
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    reconnected(desk)
    desk.follow_up()
    assert known(desk, resting).filled_quantity == 0
    assert len(desk.gateway.orphans()) == 1


def test_a_listed_order_that_names_nothing_but_the_exchanges_id_is_looked_up(desk: Desk, resting: Order) -> None:
    said = {"order_id": resting.exchange_order_id, "status": "filled", "filled_quantity": "1", "average_price": "1"}
    desk.server.answers("list_orders", {"orders": [said]})
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    reconnected(desk)
    desk.main_loop.run(desk.gateway._comparing.run())
    assert known(desk, resting).filled_quantity == 0
    assert len(desk.server.asked("get_order")) == 1
    assert desk.gateway.orphans() == ()


def test_a_list_that_shows_what_is_over_makes_no_orphans_of_it(desk: Desk, resting: Order) -> None:
    over = [{**STRANGE, "client_order_id": f"old-{word}", "status": word} for word in ("filled", "canceled", "closed")]
    desk.server.answers("list_orders", {"orders": [item(resting), *over]})
    reconnected(desk)
    desk.follow_up()
    assert desk.gateway.orphans() == ()
    assert events(desk) == []


def test_a_listed_order_of_ours_that_is_another_by_its_side_is_not_booked_but_looked_up(
    desk: Desk, resting: Order
) -> None:
    desk.server.answers("list_orders", {"orders": [item(resting, side="sell", status="filled", filled_quantity="1")]})
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    reconnected(desk)
    desk.main_loop.run(desk.gateway._comparing.run())
    assert known(desk, resting).filled_quantity == 0
    assert len(desk.server.asked("get_order")) == 1
    assert [reason for reason, _ in events(desk)] == ["AnswerUnreadable"]


def test_a_refusal_that_comes_after_the_order_was_listed_gives_the_order_as_it_is_known(desk: Desk) -> None:
    async def late(arguments: Mapping[str, Any]) -> dict[str, Any]:
        listed = {**arguments, "order_id": "x-1", "status": "open", "filled_quantity": "0"}
        desk.server.answers("list_orders", {"orders": [listed]})
        desk.server.returned()
        await desk.gateway._comparing.run()
        raise ExecRejected("duplicate client_order_id")

    desk.server.script["place_order"] = late
    order = desk.buy(StandInGate(), limit="90")
    assert (order.outcome, order.state) == (Outcome.ACCEPTED, OrderState.OPEN)
    assert desk.gateway.blocked("btc-grid-1", "main") is None


@pytest.mark.parametrize("spelled", ["t-{}", "x-broker_{}", "{}"])
def test_an_order_in_doubt_is_known_by_what_the_exchange_makes_of_its_id(
    desk: Desk, resting: Order, spelled: str
) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", ExecUnknown("time-out"))
    order = desk.buy(StandInGate(), limit="92")
    theirs = {**item(order), "client_order_id": spelled.format(order.client_order_id).upper(), "symbol": "their word"}
    desk.server.answers("list_orders", {"orders": [item(resting), theirs]})
    reconnected(desk)
    desk.main_loop.run(desk.gateway._comparing.run())
    assert known(desk, order).outcome is Outcome.ACCEPTED
    assert desk.gateway.orphans() == ()


def test_an_order_whose_answers_cannot_be_read_blocks_its_own_instance_and_no_other(desk: Desk, resting: Order) -> None:
    desk.server.answers("get_order", {"status": "a word of theirs"})
    reconnected(desk)
    desk.follow_up()
    assert desk.gateway.blocked("another", "main") is None
    assert not desk.gateway.is_comparing()
    blocked = desk.gateway.blocked("btc-grid-1", "main")
    assert blocked is not None
    assert blocked[0] == "UnknownOrder"
    assert blocked[1].startswith(f"what its server answers about {resting.client_order_id} cannot be booked: ")
    assert blocked[1].endswith(f"; settle it: reconciler orders resolve {resting.client_order_id} --as … --reason …")

    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    desk.follow_up()
    assert desk.gateway.blocked("btc-grid-1", "main") is None


def test_an_order_whose_answers_cannot_be_read_can_be_settled_by_hand(desk: Desk, resting: Order) -> None:
    desk.server.answers("get_order", {"status": "a word of theirs"})
    reconnected(desk)
    desk.follow_up()
    assert desk.gateway.resolve(resting.client_order_id, Verdict("cancelled", "gone", "uid 0")) == ""
    assert desk.gateway.blocked("btc-grid-1", "main") is None


@pytest.fixture
def another(desk: Desk) -> Order:
    """An open order, for which the account is compared."""
    return desk.buy(StandInGate("another"), limit="80")


def test_an_order_taken_for_over_that_stays_listed_as_open_halts_its_instance(
    desk: Desk, resting: Order, another: Order
) -> None:
    assert desk.gateway.resolve(resting.client_order_id, Verdict("expired", "a mistake", "uid 0")) == ""
    desk.server.answers("list_orders", {"orders": [item(resting)]})
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    reconnected(desk)
    desk.follow_up()
    reconnected(desk)
    desk.follow_up()
    assert desk.store.halts.active() == ()  # cancelled a moment ago, it may still be listed
    for _ in range(3):
        desk.clock.advance(61)
        desk.follow_up()

    what = "the exchange lists it as open, but it was taken for expired"
    way_out = "cancel it at the exchange, then lift the halt"
    told = [message for reason, message in events(desk) if reason == "OrderStillOpen"]
    assert told == [f"{resting.client_order_id}: {what}; {way_out}"]
    (halt,) = desk.store.halts.active()
    assert (halt.scope, halt.id, halt.full) == ("instance", "btc-grid-1", False)
    assert halt.reason == f"order {resting.client_order_id}: {what}; {way_out}"


def test_an_order_that_was_still_listed_once_after_its_end_is_no_news(
    desk: Desk, resting: Order, another: Order
) -> None:
    desk.server.answers("cancel_order", {"status": "cancelled", "filled_quantity": "0"})
    desk.server.answers("get_order", {"status": "cancelled", "filled_quantity": "0"})
    desk.gateway.cancel(StandInGate(), resting.client_order_id)
    for orders in ([item(resting)], [], [item(resting)], [], []):
        desk.server.answers("list_orders", {"orders": [item(another), *orders]})
        desk.clock.advance(61)
        desk.follow_up()
    assert desk.store.halts.active() == ()
    assert events(desk) == []


def test_what_filled_of_an_order_that_was_still_open_is_booked_when_it_is_listed_no_more(
    desk: Desk, resting: Order, another: Order
) -> None:
    assert desk.gateway.resolve(resting.client_order_id, Verdict("expired", "a mistake", "uid 0")) == ""
    desk.server.answers("list_orders", {"orders": [item(resting)]})
    reconnected(desk)
    desk.follow_up()
    desk.server.answers("list_orders", {"orders": []})
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1", "average_price": "90", "fee": "0"})
    desk.clock.advance(61)
    desk.follow_up()
    desk.clock.advance(6)
    desk.follow_up()
    assert known(desk, resting).filled_quantity == 1


def compared_with(desk: Desk, *rows: tuple[str, str], **more: str) -> str:
    """What two looks at positions of 1 BTC/USD, by the ledger, and of `rows`, say of the difference."""
    told = [{"symbol": symbol, "quantity": quantity, **more} for symbol, quantity in rows]
    desk.server.answers("get_positions", {"positions": told})
    for _ in range(2):
        desk.clock.advance(61)
        desk.follow_up()
    return "; ".join(one.difference for one in desk.gateway.comparisons())


@pytest.fixture
def bought(desk: Desk) -> Order:
    """1 BTC/USD, filled; another order rests, for which the account is compared."""
    desk.server.answers("list_orders", {"orders": [item(desk.buy(StandInGate("another"), limit="80"))]})
    desk.server.answers("place_order", {"status": "filled", "filled_quantity": "1", "average_price": "100", "fee": "0"})
    return desk.buy(StandInGate())


def told_of(desk: Desk, reason: str) -> list[str]:
    return [message for told, message in events(desk) if told == reason]


def test_positions_are_compared_however_their_markets_are_spelled(desk: Desk, bought: Order) -> None:
    assert compared_with(desk, ("BTCUSD", "0.4"), ("btc-usd", "0.6")) == ""
    difference = "the exchange holds 0.004 BTC/USD, the instances' fills make 1"
    assert compared_with(desk, ("BTCUSD", "0.004")) == difference
    assert told_of(desk, "PositionsDiffer") == [f"account main: {difference}"]


def test_rows_of_one_symbol_are_added_up_before_they_are_compared(desk: Desk, bought: Order) -> None:
    assert compared_with(desk, ("BTC/USD", "3"), ("BTC/USD", "-2")) == ""


def test_a_side_without_a_sign_is_told_and_nothing_is_compared_by_it(desk: Desk, bought: Order) -> None:
    compared_with(desk, ("BTC/USD", "1"), ("BTC/USD", "2"), side="short")
    (told,) = told_of(desk, "AnswerUnreadable")
    assert told.startswith("account main: not compared: positions: unsupported: a row of BTC/USD tells its side")
    assert desk.gateway.comparisons() == ()
