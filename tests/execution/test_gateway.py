"""Every way an order can go, and every reason it may not."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.clock import iso, utc
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.request import Unsayable
from reconciler.orders.holding import Holding
from reconciler.orders.order import (
    Order,
    OrderNews,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    RejectedBy,
    Side,
    prefix,
)
from reconciler.records.halt import HaltScope
from reconciler.records.mode import Mode
from reconciler.records.record import Limits
from tests.execution.standins import QUOTE, Desk, StandInGate, request
from tests.hostile import hostile_context

FILLED: dict[str, Any] = {
    "status": "filled",
    "order_id": "x-9",
    "filled_quantity": "0.3",
    "average_price": "101.5",
    "fee": "0.0123",
    "fills": [
        {"fill_id": "f1", "quantity": "0.1", "price": "101.3", "fee": "0.0041", "at": "2026-01-31T12:00:00.000Z"},
        {"fill_id": "f2", "quantity": "0.2", "price": "101.6", "fee": "0.0082", "at": "2026-01-31T12:00:01.000Z"},
    ],
}


def test_an_accepted_order_is_in_the_ledger_with_what_the_exchange_said(desk: Desk) -> None:
    desk.server.answers("place_order", FILLED)
    order = desk.buy(StandInGate(), "0.3")

    assert (order.outcome, order.state, order.exchange_order_id) == (Outcome.ACCEPTED, OrderState.FILLED, "x-9")
    assert (order.filled_quantity, order.average_price, order.fee) == (
        Decimal("0.3"),
        Decimal("101.5"),
        Decimal("0.0123"),
    )
    assert (order.quote_bid, order.quote_ask) == (Decimal(99), Decimal(101))
    assert desk.store.ledger.get(order.client_order_id) == order
    fills = desk.store.ledger.fills(order.client_order_id)
    assert [(f.exchange_fill_id, f.quantity, f.price) for f in fills] == [
        ("f1", Decimal("0.1"), Decimal("101.3")),
        ("f2", Decimal("0.2"), Decimal("101.6")),
    ]
    assert desk.gateway.position("btc-grid-1", "BTC/USD", shadow=False).quantity == Decimal("0.3")


def test_invariant_3_every_order_carries_its_records_account_and_client_and_an_id_of_its_own(desk: Desk) -> None:
    gates = [StandInGate("one", "main", "a"), StandInGate("two", "real", "b"), StandInGate("one", "main", "a")]
    orders = [desk.buy(gate) for gate in gates]

    sent = desk.server.asked("place_order")
    assert [(s["account_id"], s["client_id"]) for s in sent] == [("main", "a"), ("real", "b"), ("main", "a")]
    assert [s["client_order_id"] for s in sent] == [o.client_order_id for o in orders]
    assert len({o.client_order_id for o in orders}) == 3
    assert [s["symbol"] for s in sent] == ["BTC/USD"] * 3
    assert orders[0].client_order_id[:6] == orders[2].client_order_id[:6] != orders[1].client_order_id[:6]


def test_invariant_2_the_ledger_row_is_committed_before_anything_is_sent(desk: Desk) -> None:
    seen: list[Order | None] = []

    async def look(arguments: Mapping[str, Any]) -> dict[str, Any]:
        seen.append(await asyncio.to_thread(desk.store.ledger.get, arguments["client_order_id"]))
        return {"status": "open"}

    desk.server.script["place_order"] = look
    order = desk.buy(StandInGate(), limit="100")

    assert seen[0] is not None
    assert seen[0].outcome is Outcome.PENDING
    assert seen[0].provenance == order.provenance


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mode": Mode.OFF}, "Mode"),
        ({"paused": True}, "Paused"),
        ({"account_id": "nobody"}, "ExecDown"),
        ({"account_id": "real", "committed": False}, "NotCommitted"),
    ],
)
def test_invariant_2_nothing_leaves_through_a_closed_gate(desk: Desk, change: dict[str, Any], reason: str) -> None:
    order = desk.buy(replace(StandInGate(), **change))

    assert (order.outcome, order.rejected_by) == (Outcome.REJECTED, RejectedBy.GATEWAY)
    assert order.reason.startswith(f"{reason}: ")
    assert desk.store.ledger.get(order.client_order_id) == order
    assert desk.server.asked("place_order") == []


def test_a_refusal_for_want_of_a_commit_says_where_none_could_help(desk: Desk) -> None:
    gate = StandInGate(account_id="real", committed=False)
    needs = "NotCommitted: real money needs the file, its template and its strategy's code to be committed"
    assert desk.buy(gate).reason == needs
    desk.gateway.explain_uncommitted(lambda: "no repository around /srv/fleet, so nothing counts as committed")
    assert desk.buy(gate).reason == f"{needs}; no repository around /srv/fleet, so nothing counts as committed"


@pytest.mark.parametrize(("scope", "target"), [("all", ""), ("account", "main"), ("instance", "btc-grid-1")])
def test_invariant_2_no_halt_lets_a_new_order_pass(desk: Desk, scope: HaltScope, target: str) -> None:
    desk.store.halts.add(scope, target, full=False, reason="fire", by="uid 0")
    order = desk.buy(StandInGate())

    assert order.reason.startswith("Halted: ")
    assert order.reason.endswith(": fire")
    assert desk.server.asked("place_order") == []
    assert desk.gateway.blocked("btc-grid-1", "main") == ("Halted", order.reason.removeprefix("Halted: "))


def test_under_a_halt_that_is_not_full_an_order_that_reduces_the_own_position_passes(desk: Desk) -> None:
    desk.server.answers("place_order", FILLED)
    desk.buy(StandInGate(), "0.3")
    desk.server.answers("place_order", {"status": "open"})
    desk.store.halts.add("all", "", full=False, reason="fire", by="uid 0")

    assert desk.buy(StandInGate(), "0.4", side=Side.SELL).outcome is Outcome.REJECTED
    assert desk.buy(StandInGate(), "0.2", limit="100", side=Side.SELL).outcome is Outcome.ACCEPTED
    # 0.2 of the 0.3 are being sold already: this would go through zero
    assert desk.buy(StandInGate(), "0.2", limit="100", side=Side.SELL).outcome is Outcome.REJECTED

    desk.store.halts.add("all", "", full=True, reason="worse", by="uid 0")
    assert desk.buy(StandInGate(), "0.1", limit="100", side=Side.SELL).outcome is Outcome.REJECTED


CLOSINGS = {
    "pause": lambda gate: setattr(gate, "paused", True),
    "lower": lambda gate: setattr(gate, "mode", Mode.OBSERVE),
}


@pytest.mark.parametrize("closing", list(CLOSINGS))
def test_invariant_2_a_gate_closed_between_the_two_looks_sends_nothing(desk: Desk, closing: str) -> None:
    gate = StandInGate()
    appending = desk.store.ledger.appending

    def append_then_close(order: Order) -> Future[Holding | None]:
        intent = appending(order)
        intent.add_done_callback(lambda _: CLOSINGS[closing](gate))
        return intent

    desk.store.ledger.appending = append_then_close  # type: ignore[method-assign]
    order = desk.buy(gate)

    assert (order.outcome, order.rejected_by) == (Outcome.REJECTED, RejectedBy.GATEWAY)
    assert order.reason.startswith(("Paused", "Mode"))
    assert desk.server.asked("place_order") == []


@pytest.mark.parametrize("closing", list(CLOSINGS))
def test_invariant_2_once_a_gate_is_closed_and_what_was_claimed_is_written_nothing_leaves(
    desk: Desk, closing: str
) -> None:
    # Threads place as fast as they can while another closes the gate: what was sent when whoever closed it has waited
    # for what was claimed is all that is ever sent.
    gates = [StandInGate(f"racer-{i}") for i in range(4)]
    going = threading.Barrier(len(gates) + 1)

    def race(gate: StandInGate) -> None:
        going.wait()
        for _ in range(15):
            desk.buy(gate, limit="1")

    threads = [threading.Thread(target=race, args=[gate]) for gate in gates]
    for thread in threads:
        thread.start()
    going.wait()
    sent_at_closing = {}
    for gate in gates:
        CLOSINGS[closing](gate)
        desk.gateway.written(gate.instance_id)
        sent_at_closing[gate.instance_id] = _sent_by(desk, gate)
    for thread in threads:
        thread.join()

    assert {gate.instance_id: _sent_by(desk, gate) for gate in gates} == sent_at_closing
    for gate in gates:
        accepted = [o for o in desk.gateway.recent(gate.instance_id, 99, shadow=False) if o.outcome is Outcome.ACCEPTED]
        assert len(accepted) == sent_at_closing[gate.instance_id]


def _sent_by(desk: Desk, gate: StandInGate) -> int:
    own = prefix(gate.instance_id)
    return sum(1 for sent in desk.server.asked("place_order") if sent["client_order_id"].startswith(own))


def test_a_main_loop_that_is_busy_for_long_refuses_nothing(desk: Desk) -> None:
    gate, busy = StandInGate(), threading.Event()
    desk.market.quote("main", "BTC/USD", 7)  # the quote is there; only the sending finds the loop busy
    desk.main_loop.loop.call_soon_threadsafe(busy.wait)
    orders: list[Order] = []
    placing = threading.Thread(target=lambda: orders.append(desk.buy(gate)))
    placing.start()
    placing.join(0.1)
    assert placing.is_alive()
    desk.gateway.written()  # and nobody who closes something waits for it
    busy.set()
    placing.join(10)
    assert orders[0].outcome is Outcome.ACCEPTED


def test_what_the_exchange_refuses_is_rejected_by_the_exchange(desk: Desk) -> None:
    desk.server.fails("place_order", ExecRejected("insufficient balance"))
    first = desk.buy(StandInGate())
    desk.server.answers("place_order", {"status": "rejected", "reason": "too small"})
    second = desk.buy(StandInGate())

    assert (first.outcome, first.rejected_by, first.reason) == (
        Outcome.REJECTED,
        RejectedBy.EXCHANGE,
        "insufficient balance",
    )
    assert (second.outcome, second.rejected_by, second.reason) == (
        Outcome.REJECTED,
        RejectedBy.EXCHANGE,
        "too small",
    )


def test_without_a_connection_nothing_is_sent_and_the_reason_says_so(desk: Desk) -> None:
    desk.server.went_down("connection refused")
    order = desk.buy(StandInGate())

    assert (order.rejected_by, order.reason) == (
        RejectedBy.GATEWAY,
        "ExecDown: exec-mcp server 'paper' is not connected: connection refused",
    )


def test_a_server_without_a_way_to_look_orders_up_gets_none(desk: Desk) -> None:
    desk.server.lost_tool("get_order")
    order = desk.buy(StandInGate())

    assert order.reason.startswith("CapabilityMissing: ")
    assert desk.server.asked("place_order") == []


@pytest.mark.parametrize("answer", [ExecUnknown("no answer within 5 s"), ExecUnavailable("reset"), {"status": "maybe"}])
def test_an_unknown_outcome_blocks_its_instance_and_no_other(desk: Desk, answer: Any) -> None:
    if isinstance(answer, Exception):
        desk.server.fails("place_order", answer)
    else:
        desk.server.answers("place_order", answer)
    order = desk.buy(StandInGate())
    desk.server.answers("place_order", {"status": "open"})

    assert order.outcome is Outcome.UNKNOWN
    blocked = desk.buy(StandInGate())
    assert blocked.reason == f"UnknownOrder: it is not known whether {order.client_order_id} was placed"
    assert desk.gateway.blocked("btc-grid-1", "main") == ("UnknownOrder", blocked.reason.removeprefix("UnknownOrder: "))
    assert desk.buy(StandInGate("another")).outcome is Outcome.ACCEPTED
    assert len(desk.server.asked("place_order")) == 2


def test_an_unknown_order_that_the_exchange_knows_after_all_unblocks_its_instance(desk: Desk) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    order = desk.buy(StandInGate(), "0.3")
    desk.server.fails("get_order", ExecRejected("not found"))
    desk.follow_up()
    assert desk.gateway.blocked("btc-grid-1", "main") is not None

    desk.server.answers("get_order", FILLED)
    desk.follow_up()
    resolved = desk.store.ledger.get(order.client_order_id)
    assert resolved is not None
    assert (resolved.outcome, resolved.state, resolved.reason) == (Outcome.ACCEPTED, OrderState.FILLED, "")
    assert desk.gateway.blocked("btc-grid-1", "main") is None
    assert len(desk.server.asked("place_order")) == 1


def test_an_order_settled_by_hand_unblocks_its_instance(desk: Desk) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", ExecRejected("not found"))
    order = desk.buy(StandInGate())
    desk.store.ledger.settle(order.client_order_id, OrderNews(outcome=Outcome.REJECTED, reason="looked it up by hand"))
    desk.follow_up()

    assert desk.gateway.blocked("btc-grid-1", "main") is None


def test_what_was_pending_when_the_engine_died_is_unknown_and_blocks(desk: Desk) -> None:
    draft = desk.gateway._steps.draft(StandInGate(), request(), 7)
    desk.store.ledger.append(draft)
    restarted = desk.restarted()

    assert [o.client_order_id for o in restarted.recover()] == [draft.client_order_id]
    assert restarted.blocked("btc-grid-1", "main") is not None
    assert restarted.place(StandInGate(), request(), 8).reason.startswith("UnknownOrder")
    assert desk.server.asked("place_order") == []
    restarted.close()


def test_observing_sends_nothing_and_fills_only_what_would_have_filled(desk: Desk) -> None:
    gate = StandInGate(mode=Mode.OBSERVE)
    at_market, resting, crossing = desk.buy(gate), desk.buy(gate, limit="100"), desk.buy(gate, limit="102")

    assert {o.outcome for o in (at_market, resting, crossing)} == {Outcome.SHADOW}
    assert (at_market.state, at_market.average_price, at_market.fee) == (
        OrderState.FILLED,
        Decimal(101),
        Decimal("0.2525"),
    )
    assert (resting.state, resting.filled_quantity) == (OrderState.OPEN, Decimal(0))
    assert (crossing.state, crossing.average_price) == (OrderState.FILLED, Decimal(101))
    assert desk.server.asked("place_order") == []
    assert [o.client_order_id for o in desk.gateway.open("btc-grid-1", shadow=True)] == [resting.client_order_id]
    assert desk.gateway.position("btc-grid-1", "BTC/USD", shadow=True).quantity == Decimal(2)
    assert desk.gateway.position("btc-grid-1", "BTC/USD", shadow=False).quantity == Decimal(0)
    assert desk.gateway.cancel(gate, resting.client_order_id).state is OrderState.CANCELLED


def test_observing_without_a_quote_simulates_nothing(desk: Desk) -> None:
    desk.server.fails("get_quote", ExecUnavailable("down"))
    order = desk.buy(StandInGate(mode=Mode.OBSERVE))

    assert (order.outcome, order.reason) == (Outcome.REJECTED, "ExecDown: there is no quote to simulate with: down")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ExecRejected("unknown symbol"), "Quote: there is no quote to simulate with: unknown symbol"),
        (
            CapabilityUnavailable("get_quote", "paper"),
            "CapabilityMissing: there is no quote to simulate with: "
            "exec-mcp server 'paper' offers no 'get_quote': this strategy cannot use it there",
        ),
    ],
)
def test_why_nothing_can_be_simulated_is_told(desk: Desk, error: Exception, reason: str) -> None:
    desk.server.fails("get_quote", error)
    assert desk.buy(StandInGate(mode=Mode.OBSERVE)).reason == reason


@pytest.mark.parametrize("error", [ExecRejected("symbol not found"), ExecUnknown("no answer"), Unreadable("bid")])
def test_a_market_order_never_leaves_without_a_quote_where_there_are_quotes(desk: Desk, error: ExecError) -> None:
    gate = StandInGate(limits=Limits(max_order_notional=Decimal(200), max_price_deviation=Decimal("0.05")))
    desk.server.answers("place_order", {"status": "filled", "order_id": "x-1"})
    desk.buy(gate)
    desk.server.fails("get_quote", error)
    selling = desk.gateway.place(gate, request(side=Side.SELL), beat=8)
    assert (selling.outcome, selling.rejected_by) == (Outcome.REJECTED, RejectedBy.GATEWAY)
    assert f"there is no quote, and a market order needs one: {error}" in selling.reason
    at_its_own_price = desk.gateway.place(gate, request("1", "1", Side.SELL), beat=8)
    assert at_its_own_price.outcome is Outcome.ACCEPTED
    assert [sent["type"] for sent in desk.server.asked("place_order")] == ["market", "limit"]


def test_a_server_that_has_no_quotes_takes_market_orders_without_one(desk: Desk) -> None:
    desk.server.lost_tool("get_quote")
    for gate in (StandInGate(), StandInGate("real-1", "real")):
        assert desk.buy(gate).outcome is Outcome.ACCEPTED
    own = StandInGate("own", limits=Limits(max_quote_age_seconds=5))
    assert desk.buy(own).reason == "Limit: max_quote_age_seconds: there is no quote to measure it by"


@pytest.mark.parametrize(
    ("limits", "account", "ahead_s", "leaves"),
    [
        (Limits(), "real", -60, True),
        (Limits(), "real", -61, False),
        (Limits(), "real", 61, False),
        (Limits(), "main", -259_200, True),
        (Limits(max_quote_age_seconds=5), "main", -6, False),
        (Limits(max_quote_age_seconds=5), "main", -5, True),
        (Limits(takes_any_quote=True), "real", -259_200, True),
    ],
)
def test_what_adds_exposure_does_not_leave_on_a_quote_of_another_time(
    desk: Desk, limits: Limits, account: str, ahead_s: float, leaves: bool
) -> None:
    gate = StandInGate(account_id=account, limits=limits)
    desk.server.answers("place_order", {"status": "filled", "order_id": "x-1"})
    desk.buy(gate)
    desk.server.answers("get_quote", {**QUOTE, "as_of": iso(desk.clock.time() + ahead_s)})
    bought = desk.gateway.place(gate, request(), beat=8)
    assert bought.quote_at == utc(desk.clock.time() + ahead_s)
    assert (bought.outcome is Outcome.ACCEPTED) is leaves
    assert leaves or bought.reason.startswith("Limit: max_quote_age_seconds: the quote is ")
    # what reduces passes whatever the quote's age
    assert desk.gateway.place(gate, request(side=Side.SELL), beat=8).outcome is Outcome.ACCEPTED


SWAP = StandInGate(symbol="BTC-USDT-SWAP", limits=Limits(max_order_notional=Decimal(200)))


@pytest.mark.parametrize(
    ("told", "quantity", "reason"),
    [
        ({"contract_size": "0.01"}, "100", ""),
        ({"contract_size": "10"}, "1", "Limit: max_order_notional: the order is worth 1010, the limit is 200"),
        ({}, "1", "Request: BTC-USDT-SWAP is a contract, and its server does not tell how much one of it is"),
        (None, "1", ""),
    ],
)
def test_contracts_are_measured_by_what_one_of_them_is(
    desk: Desk, told: dict[str, str] | None, quantity: str, reason: str
) -> None:
    if told is None:
        desk.server.lost_tool("get_rules")
    else:
        desk.server.answers("get_rules", told)
    order = desk.buy(SWAP, quantity)
    assert order.reason.startswith(reason)
    assert (order.outcome is Outcome.ACCEPTED) is (reason == "")


def test_what_reduces_needs_no_contract_size(desk: Desk) -> None:
    gate = StandInGate(symbol="BTC-USDT-SWAP")
    desk.server.answers("get_rules", {"contract_size": "1"})
    desk.server.answers("place_order", {"status": "filled", "order_id": "x-1"})
    desk.buy(gate)
    desk.server.returned()
    desk.store.flush()
    desk.server.answers("get_rules", {})
    desk.follow_up()
    assert desk.gateway.place(gate, request(side=Side.SELL), beat=9).outcome is Outcome.ACCEPTED
    assert desk.gateway.place(gate, request(), beat=9).reason.startswith("Request: BTC-USDT-SWAP is a contract")


def test_of_spot_markets_no_order_asks_for_rules(desk: Desk) -> None:
    assert desk.buy(StandInGate()).outcome is Outcome.ACCEPTED
    assert desk.server.asked("get_rules") == []


def test_that_there_are_no_quotes_is_told_once_and_so_is_their_return(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "reconciler.execution")

    def told() -> list[str]:
        records = [record.getMessage() for record in caplog.records if "quote" in record.getMessage()]
        caplog.clear()
        return records

    gates = [StandInGate("one", symbol="BTC/USD"), StandInGate("two", symbol="ETH/USD")]
    desk.server.went_down()
    for beat in (7, 8):
        for gate in gates:
            desk.gateway.place(gate, request(), beat)
    assert told() == ["no quotes"]

    desk.server.returned()
    desk.server.fails("get_quote", ExecRejected("unknown symbol"))
    for beat in (9, 10):
        for gate in gates:
            desk.gateway.place(gate, request(), beat)
    assert told() == ["no quotes", "no quotes"]  # one for each symbol now: the server has others

    del desk.server.script["get_quote"]
    for beat in (11, 12):
        desk.gateway.place(gates[0], request(), beat)
    assert told() == ["quotes again"]


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ACTIVE])
def test_limits_hold_in_observe_and_active_alike(desk: Desk, mode: Mode) -> None:
    gate = StandInGate(mode=mode, limits=Limits(max_open_orders=1))
    desk.buy(gate, limit="90")
    refused = desk.buy(gate, limit="91")

    assert (refused.outcome, refused.reason) == (
        Outcome.REJECTED,
        "Limit: max_open_orders: 1 are open, the limit is 1",
    )


def test_orders_per_minute_are_counted_across_restarts_and_refusals_do_not_count(desk: Desk) -> None:
    gate = StandInGate(limits=Limits(max_orders_per_minute=2))
    desk.buy(gate, limit="90")
    desk.buy(gate, limit="90")
    refused = [desk.restarted().place(gate, request("1", "90"), 7) for _ in range(3)]
    assert {o.reason for o in refused} == {"Limit: max_orders_per_minute: 2 in the last minute, the limit is 2"}

    desk.clock.advance(61)
    assert desk.buy(gate, limit="90").outcome is Outcome.ACCEPTED


def test_an_own_order_is_cancelled_though_paused_halted_and_lowered(desk: Desk) -> None:
    gate = StandInGate()
    order = desk.buy(gate, limit="90")
    gate.paused, gate.mode = True, Mode.OFF
    desk.store.halts.add("all", "", full=False, reason="fire", by="uid 0")
    desk.server.answers("cancel_order", {"status": "cancelled", "order_id": "x-1", "filled_quantity": "0"})

    assert desk.gateway.cancel(gate, order.client_order_id).state is OrderState.CANCELLED
    assert desk.server.asked("cancel_order") == [
        {
            "account_id": "main",
            "client_id": "desk-a",
            "client_order_id": order.client_order_id,
            "symbol": "BTC/USD",
            "order_id": "x-1",
        }
    ]
    # over is over: nothing more is sent
    assert desk.gateway.cancel(gate, order.client_order_id).state is OrderState.CANCELLED
    assert len(desk.server.asked("cancel_order")) == 1


def test_a_full_halt_keeps_cancels_in(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="90")
    desk.store.halts.add("account", "main", full=True, reason="fire", by="uid 0")

    with pytest.raises(ExecUnavailable, match="halted in full: fire"):
        desk.gateway.cancel(StandInGate(), order.client_order_id)
    assert desk.server.asked("cancel_order") == []


def test_a_full_halt_that_comes_after_the_order_was_looked_up_keeps_its_cancel_in(desk: Desk) -> None:
    gate, get, looked_up = StandInGate(), desk.store.ledger.get, threading.Event()
    order = desk.buy(gate, limit="90")
    raised: list[str] = []

    def get_then_say_so(client_order_id: str) -> Order | None:
        found = get(client_order_id)
        looked_up.set()
        return found

    def cancel() -> None:
        try:
            desk.gateway.cancel(gate, order.client_order_id)
        except ExecUnavailable as error:
            raised.append(str(error))

    desk.store.ledger.get = get_then_say_so  # type: ignore[method-assign]
    cancelling, busy = threading.Thread(target=cancel), threading.Event()
    desk.main_loop.loop.call_soon_threadsafe(busy.wait)
    cancelling.start()
    assert looked_up.wait(10)
    desk.store.halts.add("all", "", full=True, reason="fire", by="uid 0")
    busy.set()
    cancelling.join()
    assert raised == ["Halted: all trading is halted in full: fire"]
    assert desk.server.asked("cancel_order") == []


def test_nobody_cancels_the_order_of_another_instance(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="90")

    with pytest.raises(KeyError):
        desk.gateway.cancel(StandInGate("another"), order.client_order_id)
    with pytest.raises(KeyError):
        desk.gateway.cancel(StandInGate(), "nonsense")


def test_open_orders_are_followed_up_to_their_end_with_their_fills(desk: Desk) -> None:
    order = desk.buy(StandInGate(), "0.3", limit="101.6")
    partly = {**FILLED, "status": "partially_filled", "filled_quantity": "0.1", "average_price": "101.3"}
    desk.server.answers("get_order", {**partly, "fee": "0.0041", "fills": FILLED["fills"][:1]})
    desk.follow_up()
    assert desk.gateway.open("btc-grid-1", shadow=False)[0].filled_quantity == Decimal("0.1")

    desk.server.answers("get_order", FILLED)
    desk.follow_up()
    desk.follow_up()  # nothing is open any more: nothing is asked
    assert desk.gateway.open("btc-grid-1", shadow=False) == []
    assert [f.exchange_fill_id for f in desk.store.ledger.fills(order.client_order_id)] == ["f1", "f2"]
    assert len(desk.server.asked("get_order")) == 2


def test_a_follow_up_that_meets_the_unexpected_says_so_and_goes_on(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    odd, other = (desk.buy(StandInGate(), "0.3", limit="101.6") for _ in range(2))

    async def trip_over_one(arguments: Mapping[str, Any]) -> dict[str, Any]:
        if arguments["client_order_id"] == odd.client_order_id:
            raise ZeroDivisionError("of the unexpected kind")
        return FILLED

    desk.server.script["get_order"] = trip_over_one
    desk.follow_up()
    assert [o.client_order_id for o in desk.gateway.open("btc-grid-1", shadow=False)] == [odd.client_order_id]
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert (told.getMessage(), told.__dict__["client_order_id"]) == ("order not followed up", odd.client_order_id)
    assert told.exc_info
    assert other.is_open


def test_a_round_that_fails_as_a_whole_says_so_and_the_next_one_works(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.buy(StandInGate(), "0.3", limit="101.6")
    desk.server.answers("get_order", FILLED)
    unresolved = desk.store.ledger.unresolved
    desk.store.ledger.unresolved = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    desk.follow_up()
    desk.store.ledger.unresolved = unresolved  # type: ignore[method-assign]
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert told.getMessage() == "orders not followed up"
    assert told.exc_info

    desk.follow_up()
    assert desk.gateway.open("btc-grid-1", shadow=False) == []


def test_fills_of_a_server_that_does_not_tell_them_apart_are_the_difference(desk: Desk) -> None:
    order = desk.buy(StandInGate(), "3", limit="100")
    told = {"status": "partially_filled", "filled_quantity": "1", "average_price": "90", "fee": "0.1"}
    desk.server.answers("get_order", told)
    desk.follow_up()
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "3", "average_price": "98", "fee": "0.3"})
    desk.follow_up()

    fills = desk.store.ledger.fills(order.client_order_id)
    assert [(f.quantity, f.price, f.fee) for f in fills] == [
        (Decimal(1), Decimal(90), Decimal("0.1")),
        (Decimal(2), Decimal(102), Decimal("0.2")),
    ]


def test_money_is_sent_as_plain_decimal_strings(desk: Desk) -> None:
    desk.gateway.place(StandInGate(), request("1E-7", "1.10E+2"), 7)

    sent = desk.server.asked("place_order")[0]
    assert (sent["quantity"], sent["limit_price"]) == ("0.0000001", "110")
    assert set(sent) == {
        "account_id", "client_id", "client_order_id", "symbol", "side", "type", "quantity", "limit_price",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"quantity": Decimal("-1")}, "Request: quantity: expected more than zero, was -1"),
        ({"quantity": Decimal("NaN")}, "Request: quantity: expected more than zero, was NaN"),
        ({"type": OrderType.LIMIT}, "Request: limit_price: a limit order needs one"),
        ({"stop_price": Decimal(1)}, "Request: stop_price: a market order takes none"),
        ({"reduce_only": True}, "Request: reduce_only: the instance's own position has no room for it"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(desk: Desk, wrong: dict[str, Any], reason: str) -> None:
    order = desk.gateway.place(StandInGate(), replace(request(), **wrong), 7)

    assert order.reason == reason


def told_apart(fill_id: str, quantity: str) -> dict[str, str]:
    """An execution as a server tells it that says nothing of its fee."""
    return {"fill_id": fill_id, "quantity": quantity, "price": "100", "at": "2026-01-31T12:00:00.000Z"}


def book_fees(desk: Desk, order: Order) -> tuple[str, str, str]:
    """The fee of the order, of its fills, and of its instance's book."""
    known, fills = desk.store.ledger.get(order.client_order_id), desk.store.ledger.fills(order.client_order_id)
    assert known is not None
    book = desk.store.ledger.holding(order.instance_id, "BTC/USD", False)
    assert book.realised == -book.fees
    return f"{known.fee}", f"{sum(fill.fee or 0 for fill in fills)}", f"{book.fees}"


def test_the_fee_of_an_order_reaches_its_book_though_its_executions_tell_none(desk: Desk) -> None:
    said: dict[str, Any] = {"order_id": "x-1", "average_price": "100"}
    first = {"status": "partially_filled", "filled_quantity": "1", "fee": "1", "fills": [told_apart("a", "1")]}
    desk.server.answers("place_order", {**said, **first})
    order = desk.buy(StandInGate(), "3", limit="100")
    assert book_fees(desk, order) == ("1", "1", "1")

    fills = [told_apart("a", "1"), told_apart("b", "2")]
    desk.server.answers("get_order", {**said, "status": "filled", "filled_quantity": "3", "fee": "3", "fills": fills})
    desk.follow_up()
    assert book_fees(desk, order) == ("3", "3", "3")


@pytest.mark.parametrize("filled", ["0", "1"])
def test_a_fee_told_when_all_is_over_reaches_the_book_though_nothing_more_was_filled(desk: Desk, filled: str) -> None:
    said = {"order_id": "x-1", "filled_quantity": filled, "average_price": "100"}
    desk.server.answers("place_order", {**said, "status": "open"})
    order = desk.buy(StandInGate(), "3", limit="100")
    assert book_fees(desk, order) == ("None", "0", "0")

    desk.server.answers("get_order", {**said, "status": "cancelled", "fee": "1"})
    desk.follow_up()
    assert book_fees(desk, order) == ("1", "1", "1")
    assert desk.store.ledger.holding(order.instance_id, "BTC/USD", False).quantity == Decimal(filled)


@pytest.mark.parametrize("mode", [Mode.ACTIVE, Mode.OBSERVE])
@pytest.mark.parametrize(
    "asked",
    [
        OrderRequest(Side.SELL, OrderType.LIMIT, Decimal(10), limit_price=Decimal("0.01")),
        OrderRequest(Side.BUY, OrderType.STOP, Decimal(10), stop_price=Decimal("0.01")),
        OrderRequest(Side.SELL, OrderType.STOP, Decimal(10), stop_price=Decimal("0.01")),
        OrderRequest(Side.SELL, OrderType.STOP_LIMIT, Decimal(10), Decimal("0.01"), Decimal("0.01")),
    ],
)
def test_no_order_is_made_small_by_naming_a_price_that_it_will_not_trade_at(
    desk: Desk, asked: OrderRequest, mode: Mode
) -> None:
    gate = replace(StandInGate(), mode=mode, limits=Limits(max_order_notional=Decimal(500)))
    order = desk.gateway.place(gate, asked, 7)
    assert order.outcome is Outcome.REJECTED
    assert order.reason.startswith("Limit: max_order_notional: the order is worth ")
    assert desk.server.asked("place_order") == []


@pytest.mark.parametrize("raises", [True, False])
def test_the_decimal_context_of_the_thread_that_places_changes_nothing(desk: Desk, raises: bool) -> None:
    gate = replace(StandInGate(), limits=Limits(max_position=Decimal("1.04"), max_order_notional=Decimal(500)))
    filled = {"status": "filled", "order_id": "1", "filled_quantity": "1.04", "average_price": "100.03", "fee": "0.11"}
    desk.server.answers("place_order", filled)
    with hostile_context(raises=raises):
        bought = desk.buy(gate, "1.04", limit="100.03")
        desk.gateway.position("btc-grid-1", "BTC/USD", shadow=False)
        refused = desk.buy(gate, "0.01")
        held = desk.store.ledger.holding("btc-grid-1", "BTC/USD", False)
        sold = desk.buy(gate, "1.04", limit="100.03", side=Side.SELL)
    assert (bought.state, sold.state) == (OrderState.FILLED, OrderState.FILLED)
    assert refused.reason == "Limit: max_position: the position could become 1.05, the limit is 1.04"
    assert (held.quantity, held.fees) == (Decimal("1.04"), Decimal("0.11"))
    after = desk.store.ledger.holding("btc-grid-1", "BTC/USD", False)
    assert (after.quantity, after.fees, after.realised) == (Decimal(0), Decimal("0.22"), Decimal("-0.22"))
    assert desk.store.ledger.exposed() == frozenset()


@pytest.mark.parametrize("raises", [True, False])
def test_under_a_halt_no_decimal_context_makes_an_order_reducing(desk: Desk, raises: bool) -> None:
    sold = {"status": "filled", "order_id": "1", "filled_quantity": "0.48702", "average_price": "100"}
    desk.server.answers("place_order", sold)
    desk.buy(StandInGate(), "0.48702", limit="100", side=Side.SELL)
    desk.store.halts.add("instance", "btc-grid-1", False, "looking", "uid 0")
    with hostile_context(raises=raises):
        assert desk.buy(StandInGate(), "0.4899").reason == "Halted: instance btc-grid-1 is halted: looking"
        assert desk.buy(StandInGate(), "0.48702").outcome is Outcome.ACCEPTED


def test_an_order_that_cannot_be_put_in_the_servers_words_is_no_outage(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def call(tool: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        if tool != "place_order":
            return {"bid": "99", "ask": "101", "as_of": "2026-01-31T12:00:00.000Z"}
        more["handover"].finish()
        raise Unsayable("place_order: quantity: 1 has too many digits")

    monkeypatch.setattr(desk.server, "call", call)
    order = desk.buy(StandInGate())
    assert (order.outcome, order.rejected_by) == (Outcome.REJECTED, RejectedBy.GATEWAY)
    assert order.reason == "CapabilityMissing: place_order: quantity: 1 has too many digits"


@pytest.mark.parametrize(("account", "money"), [("main", "paper"), ("real", "real")])
def test_whose_money_it_was_is_written_down_with_each_order(desk: Desk, account: str, money: str) -> None:
    desk.server.answers("place_order", FILLED)
    order = desk.buy(StandInGate(account_id=account), "0.3")
    assert desk.store.ledger.get(order.client_order_id) == order
    assert order.money == money
