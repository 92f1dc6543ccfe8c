"""`halt --flatten`: what a scope holds is closed; never opened, never while something is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.clock import iso, utc
from reconciler.errors import ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.execution.tally import Closing, closing
from reconciler.orders.market import InstrumentRules, Quote, limit_price, slice_of
from reconciler.orders.news import Correction
from reconciler.orders.order import Order, OrderIds, OrderState, Outcome, Side
from reconciler.records.halt import Cancelling, HaltScope
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Limits, Row, RowChange
from tests.execution.standins import Desk, StandInGate, events

A, B = StandInGate("a"), StandInGate("b")
RESTING = {"status": "open", "filled_quantity": "0"}


class Market:
    """One market of one account: closing orders fill as `share` says, at the bid or the ask."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.held: Any = Decimal(0)
        self.share = Decimal(1)
        self.orders: dict[str, dict[str, Any]] = {}
        script = {
            "place_order": self.place,
            "get_order": self.get,
            "cancel_order": self.cancel,
            "get_positions": self.positions,
            "get_quote": self.quote,
        }
        desk.server.script.update(script)

    async def place(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        quantity = Decimal(asked["quantity"]) * self.share
        signed = quantity if asked["side"] == "buy" else -quantity
        self.held += signed
        whole = self.share == 1
        answer = {
            "status": "filled" if whole else "partially_filled" if quantity else "open",
            "filled_quantity": str(quantity),
            **({"average_price": "101" if asked["side"] == "buy" else "99"} if quantity else {}),
        }
        self.orders[asked["client_order_id"]] = answer
        return answer

    async def get(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return self.orders[asked["client_order_id"]]

    async def cancel(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        answer = {**self.orders[asked["client_order_id"]], "status": "cancelled"}
        self.orders[asked["client_order_id"]] = answer
        return answer

    async def positions(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        return {"positions": [{"symbol": "BTC/USD", "quantity": str(self.held)}] if self.held else []}

    async def quote(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        at = self.desk.clock.time()
        return {"symbol": "BTC/USD", "bid": "99", "ask": "101", "as_of": iso(at)}


@pytest.fixture
def market(desk: Desk) -> Market:
    for gate in (A, B):
        row(desk, gate.instance_id)
    return Market(desk)


def row(
    desk: Desk, id: str, limits: Limits | None = None, removed_at: str | None = None, client_id: str = "desk-a"
) -> None:
    record = InstanceRecord(
        id=id,
        identity=Identity("grid", "main", client_id, "BTC/USD"),
        mode=Mode.ACTIVE,
        config={},
        effective_config={},
        limits=limits or Limits(),
    )
    made = Row(record, f"instances/{id}.yaml", 1, "v", "c", "f", "d", None, True, "2026-01-31T00:00:00.000Z")
    desk.store.desired.apply([RowChange(replace(made, removed_at=removed_at), "changed", "a test")], ())


def hold(desk: Desk, gate: StandInGate, quantity: str) -> None:
    side = Side.BUY if Decimal(quantity) > 0 else Side.SELL
    assert desk.buy(gate, quantity.removeprefix("-"), side=side).state is OrderState.FILLED


def flatten(desk: Desk, scope: HaltScope = "all", id: str = "", collar: str = "0.03") -> None:
    desk.store.halts.add(scope, id, True, "out of it", "uid 0", Cancelling.ALL, Decimal(collar))


def beat(desk: Desk, number: int = 1) -> None:
    for _ in range(number):
        desk.clock.advance(6)
        desk.follow_up(int(desk.clock.time()) // 6)


def held(desk: Desk, id: str) -> Any:
    return desk.gateway.position(id, "BTC/USD", shadow=False).quantity


def sent(desk: Desk) -> list[dict[str, Any]]:
    """What was placed since the halt."""
    since = desk.store.halts.active()[0].at
    ids = {o.client_order_id for o in desk.store.ledger.closed_by_operator("main", "BTC/USD", since)}
    return [asked for asked in desk.server.asked("place_order") if asked["client_order_id"] in ids]


def told(desk: Desk) -> tuple[str, ...]:
    desk.store.flush()
    (one,) = desk.gateway.cancellations()
    return one.flat


def last(desk: Desk) -> Order:
    return desk.store.ledger.closed_by_operator("main", "BTC/USD", "")[-1]


@pytest.mark.parametrize(("quantity", "side", "price"), [("2", "sell", "96.03"), ("-2", "buy", "104.03")])
def test_what_is_held_is_closed_within_the_collar(
    desk: Desk, market: Market, quantity: str, side: str, price: str
) -> None:
    hold(desk, A, quantity)
    flatten(desk)
    beat(desk)
    (asked,) = sent(desk)
    assert (asked["side"], asked["quantity"], asked["type"]) == (side, "2", "limit")
    assert abs(Decimal(asked["limit_price"]) - Decimal(price)) < 1
    beat(desk)
    assert (market.held, held(desk, "a")) == (0, 0)
    assert told(desk) == ("BTC/USD on account main: flat",)
    beat(desk, 3)
    assert len(sent(desk)) == 1


def test_a_closing_order_says_that_an_operator_placed_it(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    flatten(desk)
    beat(desk)
    order = last(desk)
    assert order.provenance.is_by_operator
    assert (order.provenance.account_id, order.provenance.client_id) == ("main", "desk-a")
    desk.store.flush()
    (item,) = desk.store.ledger._reads.query("SELECT provenance FROM orders WHERE provenance = 'operator'")
    assert item["provenance"] == "operator"


def test_the_net_of_all_instances_is_closed_and_moved_between_their_books(desk: Desk, market: Market) -> None:
    hold(desk, A, "5")
    hold(desk, B, "-2")
    flatten(desk)
    beat(desk, 3)
    (asked,) = sent(desk)
    assert (asked["side"], asked["quantity"]) == ("sell", "3")
    assert (market.held, held(desk, "a"), held(desk, "b")) == (0, 0, 0)
    for id_, bought, sold in (("a", 101, 99), ("b", 99, 99)):
        holding = desk.store.ledger.holding(id_, "BTC/USD", False)
        quantity = 5 if id_ == "a" else -2
        assert holding.realised == (sold - bought) * quantity
    assert [reason for reason, _ in events(desk)].count("Flattened") == 2


def test_what_one_holds_beside_another_is_closed_in_one_order(desk: Desk, market: Market) -> None:
    hold(desk, A, "3")
    hold(desk, B, "2")
    flatten(desk)
    beat(desk, 3)
    (asked,) = sent(desk)
    assert asked["quantity"] == "5"
    assert last(desk).instance_id == "a"
    assert (market.held, held(desk, "a"), held(desk, "b")) == (0, 0, 0)


def test_books_that_cancel_out_are_moved_and_nothing_is_sent(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    hold(desk, B, "-2")
    flatten(desk)
    beat(desk, 2)
    assert sent(desk) == []
    assert (held(desk, "a"), held(desk, "b")) == (0, 0)
    assert desk.store.ledger.holding("a", "BTC/USD", False).realised == (100 - 101) * 2


def test_one_instance_is_flattened_and_the_others_are_left(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    hold(desk, B, "3")
    flatten(desk, "instance", "a")
    beat(desk, 3)
    assert (held(desk, "a"), held(desk, "b"), market.held) == (0, 3, 3)


def test_never_more_than_the_exchange_holds(desk: Desk, market: Market) -> None:
    hold(desk, A, "5")
    market.held = Decimal(1)
    flatten(desk)
    beat(desk, 3)
    assert [asked["quantity"] for asked in sent(desk)] == ["1"]
    assert market.held == 0
    assert "the books hold 4, the exchange 0" in told(desk)[0]


@pytest.mark.parametrize("at_exchange", ["0", "-2"])
def test_where_the_signs_differ_nothing_is_sent_and_it_is_named(desk: Desk, market: Market, at_exchange: str) -> None:
    hold(desk, A, "2")
    market.held = Decimal(at_exchange)
    flatten(desk)
    beat(desk, 4)
    assert sent(desk) == []
    assert f"the books hold 2, the exchange {at_exchange}" in told(desk)[0]
    assert [reason for reason, _ in events(desk)].count("NotFlattened") == 1


@pytest.mark.parametrize("trouble", [ExecUnavailable("down"), ExecUnknown("time-out"), ExecRejected("no rights")])
def test_where_positions_cannot_be_read_nothing_is_sent(desk: Desk, market: Market, trouble: Exception) -> None:
    hold(desk, A, "2")
    desk.server.fails("get_positions", trouble)
    flatten(desk)
    beat(desk, 3)
    assert sent(desk) == []
    assert "what the account holds cannot be read" in told(desk)[0]
    desk.server.script["get_positions"] = market.positions
    beat(desk, 2)
    assert held(desk, "a") == 0


def test_where_the_server_tells_no_positions_nothing_is_sent(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    desk.server.lost_tool("get_positions")
    flatten(desk)
    beat(desk, 2)
    assert sent(desk) == []


def test_nothing_is_sent_while_an_order_of_the_scope_is_unknown(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", ExecUnknown("time-out"))
    doubted = desk.buy(B, "1")
    desk.server.script["place_order"] = market.place
    flatten(desk)
    beat(desk, 3)
    assert sent(desk) == []
    assert told(desk) == (f"BTC/USD on account main: waits: {doubted.client_order_id} is in doubt",)

    desk.server.answers("get_order", {"status": "cancelled", "filled_quantity": "0"})
    beat(desk, 4)
    assert held(desk, "a") == 0


def test_a_closing_order_in_doubt_is_not_sent_again(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    flatten(desk)
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", ExecUnknown("time-out"))
    beat(desk, 4)
    assert len(desk.store.ledger.closed_by_operator("main", "BTC/USD", "")) == 1
    assert last(desk).outcome is Outcome.UNKNOWN


def test_what_rests_is_cancelled_first_reductions_too(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    market.share = Decimal(0)
    resting = desk.buy(A, "2", limit="120", side=Side.SELL)
    market.share = Decimal(1)
    flatten(desk)
    beat(desk, 3)
    settled = desk.store.ledger.get(resting.client_order_id)
    assert settled is not None
    assert settled.state is OrderState.CANCELLED
    assert (market.held, held(desk, "a")) == (0, 0)


def test_what_fills_in_part_is_asked_anew_at_the_prices_of_then(desk: Desk, market: Market) -> None:
    hold(desk, A, "4")
    flatten(desk)
    market.share = Decimal("0.5")
    beat(desk)
    assert last(desk).state is OrderState.PARTIALLY_FILLED
    assert held(desk, "a") == 2
    beat(desk)
    assert len(sent(desk)) == 1  # one under way at a time
    market.share = Decimal(1)
    beat(desk, 3)
    assert [asked["quantity"] for asked in sent(desk)] == ["4", "2"]
    assert (market.held, held(desk, "a")) == (0, 0)


def test_it_is_sliced_to_what_one_order_of_the_instance_may_be_worth(desk: Desk, market: Market) -> None:
    hold(desk, A, "4")
    row(desk, "a", Limits(max_order_notional=Decimal(200)))
    desk.server.answers("get_rules", {"quantity_step": "0.5", "price_step": "0.01"})
    flatten(desk)
    beat(desk, 5)
    assert [asked["quantity"] for asked in sent(desk)] == ["2", "2"]
    assert held(desk, "a") == 0


def test_what_is_less_than_the_smallest_order_stays_and_is_told(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    desk.server.answers("get_rules", {"quantity_step": "0.5", "min_quantity": "3"})
    flatten(desk)
    beat(desk, 3)
    assert sent(desk) == []
    assert told(desk) == ("BTC/USD on account main: 2 is left, less than the smallest order: it stays",)


def test_an_instance_that_was_removed_is_flattened_too(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    row(desk, "a", removed_at="2026-01-31T00:00:00.000Z")
    flatten(desk)
    beat(desk, 2)
    assert (market.held, held(desk, "a")) == (0, 0)


def test_lifting_the_halt_ends_it(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    flatten(desk)
    desk.store.halts.lift("all", "", "uid 0", "changed my mind")
    beat(desk, 2)
    assert market.held == 2


def test_it_goes_on_after_a_restart(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    flatten(desk)
    restarted = desk.restarted()
    for number in (8, 9, 10):
        desk.clock.advance(6)
        desk.main_loop.run(restarted.follow_up(number))
    assert (market.held, held(desk, "a")) == (0, 0)
    restarted.close()


@pytest.mark.parametrize(
    ("books", "at_exchange", "expected"),
    [
        ({"a": "2"}, "2", Closing(Side.SELL, Decimal(2), "a")),
        ({"a": "-2"}, "-3", Closing(Side.BUY, Decimal(2), "a")),
        ({"a": "2", "b": "3"}, "4", Closing(Side.SELL, Decimal(4), "b")),
        ({"a": "2", "b": "-3"}, "-9", Closing(Side.BUY, Decimal(1), "b")),
        ({"a": "2", "b": "-2"}, "0", None),
        ({}, "5", None),
    ],
)
def test_what_is_to_be_closed(books: dict[str, str], at_exchange: str, expected: Closing | None) -> None:
    assert closing({id_: Decimal(text) for id_, text in books.items()}, Decimal(at_exchange)) == expected


def test_prices_are_rounded_towards_the_quote() -> None:
    quote = Quote("BTC/USD", Decimal("99.5"), Decimal("100.5"), Decimal(100), utc(0))
    assert limit_price(Side.SELL, quote, Decimal("0.03"), Decimal("0.05")) == Decimal("96.55")
    assert limit_price(Side.BUY, quote, Decimal("0.03"), Decimal("0.05")) == Decimal("103.5")
    assert limit_price(Side.SELL, quote, Decimal("0.03"), None) == Decimal("96.6")


def test_a_slice_is_worth_no_more_than_an_order_may_be() -> None:
    rules = InstrumentRules(quantity_step=Decimal("0.1"), min_notional=Decimal(10))
    assert slice_of(Decimal(5), Decimal(100), Decimal(250), rules, Decimal(1)) == Decimal("2.5")
    assert slice_of(Decimal(5), Decimal(100), Decimal(250), rules, Decimal(10)) == Decimal("0.2")
    assert slice_of(Decimal("0.05"), Decimal(100), None, rules, Decimal(1)) is None


def test_what_is_booked_while_books_are_moved_is_not_lost(desk: Desk, market: Market) -> None:
    """A fill came to be known between looking at the books and moving what they hold."""
    hold(desk, A, "2")
    hold(desk, B, "-2")
    move = desk.store.ledger.move

    def late(held: Any, moves: Any) -> None:
        desk.store.ledger.move = move  # type: ignore[method-assign]
        desk.store.ledger.correct({"a": Correction(Decimal(3), Decimal(100), "a fill", "uid 0")})
        move(held, moves)

    desk.store.ledger.move = late  # type: ignore[method-assign]
    flatten(desk)
    desk.follow_up()
    assert (held(desk, "a"), held(desk, "b")) == (3, -2)
    assert "holds something else by now" in told(desk)[0]


def test_one_answer_to_every_client_is_taken_for_the_accounts(desk: Desk, market: Market) -> None:
    """Added up it would be what is booked: by luck, where somebody else traded there."""
    other = StandInGate("b", client_id="desk-b")
    row(desk, "b", client_id="desk-b")
    hold(desk, A, "3")
    hold(desk, other, "-1")
    market.held = Decimal(1)
    flatten(desk)
    beat(desk, 3)
    assert [asked["quantity"] for asked in sent(desk)] == ["1"]


def test_nothing_is_sent_while_the_exchange_lists_what_was_taken_for_cancelled(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    market.share = Decimal(0)
    resting = desk.buy(A, "2", limit="120", side=Side.SELL)
    market.share = Decimal(1)
    item = {"client_order_id": resting.client_order_id, "symbol": "BTC/USD", "status": "open", "filled_quantity": "0"}
    desk.server.answers("list_orders", {"orders": [item]})
    flatten(desk)
    beat(desk, 3)
    assert sent(desk) == []
    assert f"lists {resting.client_order_id} as open" in told(desk)[0]
    desk.server.answers("list_orders", {"orders": []})
    beat(desk, 2)
    assert held(desk, "a") == 0


def test_an_order_of_ours_that_the_ledger_lost_keeps_everything_back(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    desk.clock.advance(1)
    id_ = OrderIds(desk.clock, desk.store.ledger.tags[-1]).make("a")
    desk.server.answers("list_orders", {"orders": [{"client_order_id": id_, "symbol": "BTC/USD", "status": "open"}]})
    flatten(desk)
    beat(desk, 2)
    assert sent(desk) == []
    assert f"{id_} is open there, an order of ours that the ledger does not know" in told(desk)[0]


def test_what_opposite_instances_cancel_out_is_moved_though_the_exchange_holds_nothing(
    desk: Desk, market: Market
) -> None:
    """As after a fee in the base currency: all that is there was closed, and the books are a little off."""
    hold(desk, A, "5")
    hold(desk, B, "-2")
    market.held = Decimal(0)
    flatten(desk)
    beat(desk, 2)
    assert sent(desk) == []
    assert (held(desk, "a"), held(desk, "b")) == (3, 0)
    assert "the books hold 3, the exchange 0" in told(desk)[0]


def test_a_rest_of_the_books_below_the_smallest_order_ends_it_though_the_exchange_holds_nothing(
    desk: Desk, market: Market
) -> None:
    """As after fees in the base currency that its server does not tell."""
    hold(desk, A, "2")
    desk.server.answers("get_rules", {"min_quantity": "3"})
    market.held = Decimal(0)
    flatten(desk)
    beat(desk, 2)
    (one,) = desk.gateway.cancellations()
    assert one.flat == ("BTC/USD on account main: 2 is left, less than the smallest order: it stays",)
    assert one.is_closed


def test_a_limit_below_the_smallest_order_is_named_and_is_no_end(desk: Desk, market: Market) -> None:
    hold(desk, A, "4")
    row(desk, "a", Limits(max_order_notional=Decimal(50)))
    desk.server.answers("get_rules", {"min_quantity": "1"})
    flatten(desk)
    beat(desk, 2)
    assert sent(desk) == []
    (one,) = desk.gateway.cancellations()
    assert "more than the max_order_notional of a, 50: raise it" in one.flat[0]
    assert not one.is_closed
    row(desk, "a")
    beat(desk, 2)
    assert held(desk, "a") == 0


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"positions": None},
        {"positions": "none"},
        {"positions": [{"symbol": "BTC/USD"}]},
        {"positions": [{"symbol": "BTC/USD", "quantity": "two"}]},
        {"positions": [{"symbol": "BTC/USD", "quantity": None}]},
        {"positions": [{"symbol": "BTC/USD", "quantity": "NaN"}]},
        {"positions": [{"symbol": "BTC/USD", "quantity": "-2"}]},
        {"positions": [{"symbol": "BTC/USD", "quantity": "2", "side": "short"}]},
        {"positions": [{"symbol": "BTC/USD", "quantity": "2"}, {"symbol": "BTC/USD", "quantity": "-2"}]},
        {"positions": [{"symbol": "ETH/USD", "quantity": "2"}]},
        {"positions": [{"quantity": "2"}]},
        {"positions": []},
    ],
)
def test_positions_that_make_no_sense_close_nothing(desk: Desk, market: Market, told: dict[str, Any]) -> None:
    hold(desk, A, "2")
    desk.server.answers("get_positions", told)
    flatten(desk)
    beat(desk, 3)
    assert sent(desk) == []
    assert market.held == 2
    assert "nothing is sent" in desk.gateway.cancellations()[0].flat[0]


@pytest.mark.parametrize(("told", "much"), [(2, "2"), (1.5, "1.5"), ("2.0", "2"), ("BTCUSD", "2")])
def test_positions_told_in_other_ways_are_closed(desk: Desk, market: Market, told: Any, much: str) -> None:
    hold(desk, A, "2")
    symbol, quantity = ("BTCUSD", "2") if told == "BTCUSD" else ("BTC/USD", told)
    desk.server.answers("get_positions", {"positions": [{"symbol": symbol, "quantity": quantity}]})
    flatten(desk)
    beat(desk)
    assert [asked["quantity"] for asked in sent(desk)] == [much]


@pytest.mark.parametrize("trouble", [ExecRejected("price out of the collar"), ExecRejected("rejected: min notional")])
def test_a_closing_order_that_is_refused_is_named_and_asked_anew(
    desk: Desk, market: Market, trouble: Exception
) -> None:
    hold(desk, A, "2")
    desk.server.fails("place_order", trouble)
    flatten(desk)
    beat(desk, 2)
    assert f"was refused: {trouble}" in told(desk)[0]
    desk.server.script["place_order"] = market.place
    beat(desk, 2)
    assert (market.held, held(desk, "a")) == (0, 0)


def test_a_server_that_is_asked_too_often_is_asked_again_and_nothing_is_sent_twice(desk: Desk, market: Market) -> None:
    """A 429 says nothing of whether it placed the order: that is looked up, three times over half a minute."""
    hold(desk, A, "2")
    desk.server.fails("place_order", ExecUnknown("HTTP 429"))
    desk.server.fails("get_order", OrderNotFound("no such order"))
    flatten(desk)
    beat(desk, 3)
    assert len(sent(desk)) == 1
    desk.server.script["place_order"] = market.place
    beat(desk, 4)
    desk.server.script["get_order"] = market.get
    beat(desk, 3)
    assert len(sent(desk)) == 2
    assert (market.held, held(desk, "a")) == (0, 0)


def test_what_fills_in_odd_parts_leaves_no_more_than_dust(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    desk.server.answers("get_rules", {"quantity_step": "0.01", "min_quantity": "0.05", "price_step": "0.5"})
    market.share = Decimal("0.333")
    flatten(desk)
    beat(desk, 60)
    assert 0 < held(desk, "a") < Decimal("0.05")
    assert market.held == held(desk, "a")
    (one,) = desk.gateway.cancellations()
    assert one.is_closed


def test_without_a_quote_nothing_is_sent(desk: Desk, market: Market) -> None:
    hold(desk, A, "2")
    desk.server.fails("get_quote", ExecRejected("symbol not found"))
    flatten(desk)
    beat(desk, 2)
    assert sent(desk) == []
    desk.server.script["get_quote"] = market.quote
    beat(desk, 2)
    assert held(desk, "a") == 0


@pytest.mark.parametrize(("size", "quantities"), [("0.1", ["4"]), ("10", ["0.2"] * 20), (None, ["2", "2"])])
def test_a_slice_of_contracts_is_measured_by_what_one_is_worth(
    desk: Desk, market: Market, size: str | None, quantities: list[str]
) -> None:
    hold(desk, A, "4")
    row(desk, "a", Limits(max_order_notional=Decimal(200)))
    desk.server.answers("get_rules", {"quantity_step": "0.1", **({"contract_size": size} if size else {})})
    flatten(desk)
    beat(desk, 45)
    assert [asked["quantity"] for asked in sent(desk)] == quantities
    assert market.held == 0
