"""A ledger that lost rows does not trade on real money; one that is whole does, whatever else its account holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import pytest

from reconciler.clock import FakeClock
from reconciler.errors import ExecUnavailable, ExecUnknown
from reconciler.orders.news import Correction, Shares
from reconciler.orders.order import Order, OrderIds, OrderNews, OrderState, Outcome, Side, prefix
from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row, RowChange
from tests.execution.standins import TOOLS, Desk, StandInGate, events, request

GATE = StandInGate(account_id="real")
OTHER = StandInGate("btc-grid-2", account_id="real")
WAITS = "comparing what account real holds with the ledger, for the first time since the start"
POSITIONLESS = tuple(tool for tool in TOOLS if tool != "get_positions")


class Engine:
    """A gateway from one start on."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.gateway = desk.restarted()

    def beats(self, number: int = 2, apart_s: float = 6.0) -> Engine:
        for _ in range(number):
            self.desk.main_loop.run(self.gateway.follow_up(8))
            self.desk.clock.advance(apart_s)
        return self

    def trade(self, side: Side, quantity: str, gate: StandInGate = GATE, limit: str | None = None) -> Order:
        return self.gateway.place(gate, request(quantity, limit, side), beat=7)

    @property
    def closed_by(self) -> str:
        """The reason for which nothing may be opened on the real account."""
        blocked = self.gateway.blocked(GATE.instance_id, "real")
        return "" if blocked is None else blocked[0]


Start = Callable[[], Engine]


@pytest.fixture
def start(desk: Desk) -> Iterator[Start]:
    """Starts an engine on the ledger as it is; the account was compared when nothing was there yet."""
    engines: list[Engine] = []

    def one() -> Engine:
        engines.append(Engine(desk))
        return engines[-1]

    rows = [_row(gate.instance_id, account) for gate in (GATE, OTHER) for account in ("real",)]
    desk.store.desired.apply([RowChange(row, "created", "a test") for row in (*rows, _row("paper-1", "main"))])
    yield one
    for engine in engines:
        engine.gateway.close()


def _row(instance_id: str, account_id: str) -> Row:
    identity = Identity("grid", account_id, "desk-a", "BTC/USD")
    record = InstanceRecord(instance_id, identity, Mode.ACTIVE, {}, {})
    path = f"instances/{instance_id}.yaml"
    return Row(record, path, 1, "v", "c", "f", "d", None, True, "2026-01-31T00:00:00.000Z")


def holds(desk: Desk, quantity: str, symbol: str = "BTC/USD") -> None:
    """What the exchange says is held."""
    desk.server.answers("get_positions", {"positions": [{"symbol": symbol, "quantity": quantity}]})


def filled(desk: Desk, gate: StandInGate, quantity: str, side: Side = Side.BUY, **more: Any) -> Order:
    """An order of before the start, all of it filled."""
    answer = {"status": "filled", "filled_quantity": quantity, "average_price": "100", "fee": "0", **more}
    desk.server.answers("place_order", answer)
    order = desk.buy(gate, quantity, side=side)
    assert order.state is OrderState.FILLED
    desk.server.script.pop("place_order")
    return order


def told(desk: Desk, reason: str) -> list[str]:
    return [message for known, message in events(desk) if known == reason]


def test_real_money_waits_for_the_first_comparison_after_a_start_and_trades_on_where_nothing_is_lost(
    desk: Desk, start: Start
) -> None:
    filled(desk, GATE, "1")
    holds(desk, "1")
    engine = start()
    assert engine.trade(Side.BUY, "1").reason == f"ExecDown: {WAITS}"
    assert engine.beats(1).closed_by == ""
    assert engine.trade(Side.BUY, "1").outcome is Outcome.ACCEPTED
    assert told(desk, "LedgerBehind") == []


def test_money_that_is_not_real_does_not_wait(desk: Desk, start: Start) -> None:
    assert start().gateway.blocked("paper-1", "main") is None


def test_books_of_real_money_are_not_traded_on_where_the_settings_do_not_say_real_any_more(
    desk: Desk, start: Start
) -> None:
    filled(desk, GATE, "1")
    desk.servers.accounts = Accounts()  # reconciler.yaml is gone: the embedded exchange takes any account
    holds(desk, "0")
    engine = start()
    assert engine.trade(Side.BUY, "1").reason == f"ExecDown: {WAITS}"
    assert engine.beats(2).closed_by == "LedgerBehind"
    order = engine.trade(Side.SELL, "1")
    assert (order.outcome, order.reason.partition(":")[0]) == (Outcome.REJECTED, "LedgerBehind")
    assert "was traded for real money, and the settings do not say so of it now" in order.reason
    assert told(desk, "LedgerBehind") == [
        "account real: the exchange holds 0 BTC/USD, the instances' fills make 1, beside them were 0"
    ]


def test_a_flat_account_may_become_one_of_paper_money(desk: Desk, start: Start) -> None:
    filled(desk, GATE, "1")
    filled(desk, GATE, "1", Side.SELL)
    desk.servers.accounts = Accounts()
    holds(desk, "3")
    assert start().beats(2).closed_by == ""


def test_a_first_comparison_that_fails_says_why(desk: Desk, start: Start) -> None:
    desk.server.answers("get_positions", {"positions": "none"})
    engine = start().beats(1)
    assert engine.trade(Side.BUY, "1").reason.startswith(f"ExecDown: {WAITS}: positions: expected a list")


def test_a_ledger_that_lost_rows_lets_nothing_leave_that_adds_exposure(desk: Desk, start: Start) -> None:
    filled(desk, GATE, "0.4")
    holds(desk, "1")  # 0.6 were bought after the copy was made that was put back
    engine = start().beats()
    order = engine.trade(Side.BUY, "0.1")
    assert (order.outcome, order.reason.partition(":")[0]) == (Outcome.REJECTED, "LedgerBehind")
    gap = "the exchange holds 1 BTC/USD, the instances' fills make 0.4, beside them were 0"
    assert gap in order.reason
    assert order.reason.endswith("then say what is whose: reconciler exec settle real")
    assert told(desk, "LedgerBehind") == [f"account real: {gap}"]
    (differing,) = engine.gateway.differences()
    assert (differing["account_id"], differing["behind"]) == ("real", gap)
    assert desk.server.asked("place_order")[1:] == []


@pytest.mark.parametrize(
    ("quantity", "side", "leaves"),
    [("0.4", Side.SELL, True), ("0.5", Side.SELL, False), ("0.1", Side.BUY, False)],
)
@pytest.mark.parametrize("held", ["1", "0.45"])
def test_what_reduces_a_position_that_both_know_of_leaves(
    desk: Desk, start: Start, quantity: str, side: Side, leaves: bool, held: str
) -> None:
    filled(desk, GATE, "0.4")
    holds(desk, held)
    engine = start().beats()
    assert engine.closed_by == "LedgerBehind"
    assert (engine.trade(side, quantity).outcome is Outcome.ACCEPTED) == leaves


@pytest.mark.parametrize(("held", "quantity", "leaves"), [("0.3", "0.3", True), ("0.3", "0.31", False)])
def test_no_reduction_exceeds_what_the_exchange_holds(
    desk: Desk, start: Start, held: str, quantity: str, leaves: bool
) -> None:
    filled(desk, GATE, "1")
    holds(desk, held)
    engine = start().beats()
    assert (engine.trade(Side.SELL, quantity).outcome is Outcome.ACCEPTED) == leaves


def test_where_book_and_exchange_are_on_different_sides_nothing_reduces(desk: Desk, start: Start) -> None:
    filled(desk, GATE, "1")
    holds(desk, "-0.5")
    assert start().beats().trade(Side.SELL, "0.1").reason.startswith("LedgerBehind: ")


def test_a_short_position_is_reduced_by_buying(desk: Desk, start: Start) -> None:
    filled(desk, GATE, "1", Side.SELL)
    holds(desk, "-0.5")
    engine = start().beats()
    assert engine.trade(Side.BUY, "0.6").outcome is Outcome.REJECTED
    assert engine.trade(Side.SELL, "0.1").outcome is Outcome.REJECTED
    assert engine.trade(Side.BUY, "0.5").outcome is Outcome.ACCEPTED


def test_two_instances_on_one_account_together_reduce_no_more_than_the_exchange_holds(desk: Desk, start: Start) -> None:
    filled(desk, GATE, "1")
    filled(desk, OTHER, "1")
    holds(desk, "1.5")
    engine = start().beats()
    assert engine.trade(Side.SELL, "1", GATE, limit="120").outcome is Outcome.ACCEPTED
    assert engine.trade(Side.SELL, "0.6", OTHER).reason.startswith("LedgerBehind: ")
    assert engine.trade(Side.SELL, "0.5", OTHER).outcome is Outcome.ACCEPTED


def test_what_was_reduced_leaves_less_to_reduce(desk: Desk, start: Start) -> None:
    filled(desk, GATE, "1")
    holds(desk, "0.5")
    engine = start().beats()
    desk.server.answers("place_order", {"status": "filled", "filled_quantity": "0.4", "average_price": "9", "fee": "0"})
    assert engine.trade(Side.SELL, "0.4").state is OrderState.FILLED
    assert engine.trade(Side.SELL, "0.2").outcome is Outcome.REJECTED
    desk.server.script.pop("place_order")
    assert engine.trade(Side.SELL, "0.1").outcome is Outcome.ACCEPTED


def test_cancels_leave_while_the_ledger_is_behind(desk: Desk, start: Start) -> None:
    resting = desk.buy(GATE, limit="90")
    desk.server.answers("get_order", {"status": "open", "filled_quantity": "0"})
    holds(desk, "1")
    engine = start().beats()
    assert engine.closed_by == "LedgerBehind"
    desk.server.answers("cancel_order", {"status": "cancelled", "filled_quantity": "0"})
    assert engine.gateway.cancel(GATE, resting.client_order_id).state is OrderState.CANCELLED


def test_coins_held_before_the_first_comparison_are_the_baseline(desk: Desk, start: Start) -> None:
    # As in a database that never compared the account.
    desk.store._writer.write(lambda db: db.execute("DELETE FROM compared"))
    holds(desk, "5")
    engine = start().beats()
    assert engine.closed_by == ""
    what = "beside what the instances' fills make it holds 5 BTC/USD, which counts as held before"
    assert told(desk, "BaselineTaken") == [f"account real: {what}"]
    assert start().beats(1).closed_by == ""
    holds(desk, "6")
    assert start().beats().closed_by == "LedgerBehind"


def test_what_was_traded_by_hand_while_the_engine_looked_blocks_no_start(desk: Desk, start: Start) -> None:
    engine = start().beats()
    holds(desk, "2")
    assert engine.beats(4, apart_s=31).closed_by == ""
    assert start().beats().closed_by == ""


def test_what_was_traded_by_hand_while_no_engine_ran_waits(desk: Desk, start: Start) -> None:
    start().beats()
    holds(desk, "-2", "ETH/USD")
    assert start().beats().closed_by == "LedgerBehind"


@pytest.mark.parametrize("right", ["0.9", "0.5"])
def test_a_book_that_a_person_put_right_with_no_engine_running_is_no_loss(desk: Desk, start: Start, right: str) -> None:
    filled(desk, GATE, "1")
    holds(desk, "1")
    engine = start().beats()
    holds(desk, "0.9")
    engine.beats(4, apart_s=31)  # that the book is wrong by 0.1 was seen
    desk.store.ledger.correct({"btc-grid-1": Correction(Decimal(right), Decimal(100), "a fee", "uid 0")})
    assert start().beats().closed_by == ""
    holds(desk, "1.9")
    assert start().beats().closed_by == "LedgerBehind"


@pytest.mark.parametrize(
    ("fee", "held", "closed_by"),
    [
        (None, "0.991", ""),  # kept by the exchange as a fee, of which it tells nothing
        (None, "0.98", "LedgerBehind"),
        ("0.009", "0.991", ""),  # in a currency that is not told
        ("0", "0.991", "LedgerBehind"),
        ("0", "1.00000000000000004", ""),  # a double
    ],
)
def test_what_fees_that_are_not_told_may_explain_is_no_loss(
    desk: Desk, start: Start, fee: str | None, held: str, closed_by: str
) -> None:
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1", "average_price": "100"})
    filled(desk, GATE, "1", fee=fee)
    holds(desk, held)
    assert start().beats().closed_by == closed_by


@pytest.mark.parametrize("tools", [TOOLS, POSITIONLESS])
@pytest.mark.parametrize(("stray", "closed_by"), [("own", "LedgerBehind"), ("another database's", ""), ("by hand", "")])
def test_an_open_order_whose_id_this_ledger_made_and_does_not_know_is_a_lost_row(
    desk: Desk, start: Start, tools: tuple[str, ...], stray: str, closed_by: str
) -> None:
    ids = {
        "own": OrderIds(desk.clock, desk.store.ledger.tags[-1]).make("btc-grid-1"),
        "another database's": OrderIds(desk.clock, "0zzz").make("btc-grid-1"),
        "by hand": "by-hand",
    }
    _lists(desk, ids[stray])
    desk.server.returned(*tools)
    engine = start().beats(1)
    assert engine.closed_by == closed_by
    assert [orphan.account_id for orphan in engine.gateway.orphans()] == ["real"]
    if closed_by:
        assert ids[stray] in engine.trade(Side.BUY, "1").reason


def _lists(desk: Desk, client_order_id: str) -> None:
    about = {"symbol": "BTC/USD", "side": "buy", "quantity": "1", "status": "open", "filled_quantity": "0"}

    async def listed(asked: Mapping[str, Any]) -> dict[str, Any]:
        one = {"client_order_id": client_order_id, "order_id": "x-9", **about}
        return {"orders": [one] if asked["account_id"] == "real" else []}

    desk.server.script["list_orders"] = listed


@pytest.mark.parametrize(
    ("instance_id", "time", "closed_by"),
    [
        ("btc-grid-1", "loyw3v28", "LedgerBehind"),
        ("btc-grid-1", "k0000000", ""),  # of before the first order of this ledger
        ("nobody", "loyw3v28", ""),
    ],
)
def test_an_id_of_before_there_were_tags_is_ours_by_its_instance_and_its_time(
    desk: Desk, start: Start, instance_id: str, time: str, closed_by: str
) -> None:
    filled(desk, GATE, "1")
    holds(desk, "1")
    _lists(desk, f"{prefix(instance_id)}{time}l39j")
    assert start().beats().closed_by == closed_by


def test_a_ledger_is_whole_again_once_two_looks_find_nothing(desk: Desk, start: Start) -> None:
    _lists(desk, OrderIds(desk.clock, desk.store.ledger.tags[-1]).make("btc-grid-1"))
    engine = start().beats(1)
    assert engine.closed_by == "LedgerBehind"
    desk.server.script.pop("list_orders")
    assert engine.beats(1).closed_by == "LedgerBehind"
    assert engine.beats(1).closed_by == ""
    assert len(told(desk, "LedgerWhole")) == 1


def test_a_fill_that_was_under_way_when_the_engine_stopped_is_booked_before_anything_counts_as_lost(
    desk: Desk, start: Start
) -> None:
    order = desk.buy(GATE, limit="90")
    desk.server.answers("cancel_order", {"status": "cancelled", "filled_quantity": "0"})
    desk.gateway.cancel(GATE, order.client_order_id)
    desk.server.answers("get_order", {"status": "cancelled", "filled_quantity": "0.5", "average_price": "90"})
    holds(desk, "0.5")
    assert start().beats(2, apart_s=0.1).closed_by == ""
    assert told(desk, "LedgerBehind") == []


def test_paper_money_is_told_once_and_trades_on(desk: Desk, start: Start) -> None:
    desk.server.returned()
    start().beats()
    holds(desk, "3")
    engine = start().beats()
    assert engine.gateway.blocked("paper-1", "main") is None
    what = "the exchange holds 3 BTC/USD, the instances' fills make 0, beside them were 0"
    assert [one for one in told(desk, "LedgerBehind") if "main" in one] == [
        f"account main: {what}; its money is not real, so it trades on"
    ]
    start().beats()
    assert len([one for one in told(desk, "LedgerBehind") if "main" in one]) == 1


def test_what_never_agrees_at_two_looks_is_a_loss_at_the_third(desk: Desk, start: Start, clock: FakeClock) -> None:
    numbers = iter(range(1, 100))

    async def moving(_: Any) -> dict[str, Any]:
        return {"positions": [{"symbol": "BTC/USD", "quantity": str(next(numbers))}]}

    desk.server.script["get_positions"] = moving
    engine = start().beats(2)
    assert engine.closed_by == "ExecDown"
    assert engine.beats(1).closed_by == "LedgerBehind"


@pytest.fixture
def behind(desk: Desk, start: Start) -> Engine:
    """An engine whose ledger knows of 0.4 of the 1 that the exchange holds, which two instances bought."""
    filled(desk, GATE, "0.3")
    filled(desk, OTHER, "0.1")
    holds(desk, "1")
    engine = start().beats()
    assert engine.closed_by == "LedgerBehind"
    return engine


def shares(assigned: Mapping[str, str] | None = None, outside: Mapping[str, str] | None = None) -> Shares:
    return Shares(
        "restored",
        "uid 0",
        {id: Correction(Decimal(held), Decimal(100), "restored", "uid 0") for id, held in (assigned or {}).items()},
        {symbol: Decimal(held) for symbol, held in (outside or {}).items()},
    )


@pytest.mark.parametrize(
    ("said", "held"),
    [
        (shares({"btc-grid-1": "0.9"}), "0.9"),
        (shares({"btc-grid-1": "0.9", "btc-grid-2": "0.1"}), "0.9"),
        (shares({"btc-grid-1": "0.3"}, {"BTC/USD": "0.6"}), "0.3"),
        (shares(outside={"BTC/USD": "0.6"}), "0.3"),
        (shares({"btc-grid-1": "-0.1", "btc-grid-2": "1.1"}), "-0.1"),
    ],
)
def test_what_a_person_says_adds_up_ends_it_for_good(
    desk: Desk, behind: Engine, start: Start, said: Shares, held: str
) -> None:
    assert behind.gateway.settle("real", said) == ""
    assert behind.closed_by == ""
    assert desk.store.ledger.position("btc-grid-1", "BTC/USD", shadow=False).quantity == Decimal(held)
    assert behind.trade(Side.BUY, "0.1").outcome is Outcome.ACCEPTED
    desk.store.ledger.settle(behind.trade(Side.BUY, "0.1").client_order_id, OrderNews(state=OrderState.CANCELLED))
    desk.server.answers("get_order", {"status": "cancelled", "filled_quantity": "0"})
    assert behind.beats().closed_by == ""
    assert start().beats().closed_by == ""


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (shares(), "BTC/USD: the exchange holds 1; the instances hold 0.4 and 0 is outside of them: 0.6 is nobody's"),
        (shares({"btc-grid-1": "0.90000001"}), "the instances hold 1.00000001 and 0 is outside of them: -0.00000001"),
        (shares({"btc-grid-1": "1"}, {"BTC/USD": "-0.2"}), "the instances hold 1.1 and -0.2 is outside of them: 0.1"),
        (shares({"btc-grid-1": "0.9"}, {"ETH/USD": "1"}), "ETH/USD: the exchange holds 0; the instances hold 0 and 1"),
        (shares({"nobody": "0.6"}), "nobody: expected an instance on it, one of btc-grid-1, btc-grid-2"),
        (shares({"paper-1": "0.6"}), "paper-1: expected an instance on it"),
    ],
)
def test_what_does_not_add_up_to_the_digit_changes_nothing(behind: Engine, said: Shares, why: str) -> None:
    assert why in behind.gateway.settle("real", said)
    assert behind.closed_by == "LedgerBehind"
    assert behind.desk.store.ledger.held("real") == {"BTC/USD": Decimal("0.4")}


def test_what_was_beside_the_books_before_stays_there_where_nobody_says_otherwise(desk: Desk, start: Start) -> None:
    engine = start().beats()
    desk.server.answers(
        "get_positions", {"positions": [{"symbol": "BTC/USD", "quantity": "2"}, {"symbol": "ETH/USD", "quantity": "5"}]}
    )
    engine.beats(4, apart_s=31)
    desk.server.answers(
        "get_positions", {"positions": [{"symbol": "BTC/USD", "quantity": "3"}, {"symbol": "ETH/USD", "quantity": "5"}]}
    )
    engine = start().beats()
    assert engine.closed_by == "LedgerBehind"
    assert engine.gateway.settle("real", shares({"btc-grid-1": "1"})) == ""
    assert engine.closed_by == ""


def test_a_ledger_that_is_whole_needs_no_settling(desk: Desk, start: Start) -> None:
    engine = start().beats()
    assert engine.gateway.settle("real", shares()) == "its ledger is not behind: there is nothing to settle"


@pytest.mark.parametrize("tools", [TOOLS, POSITIONLESS])
def test_orders_that_are_lost_count_no_more_once_a_person_has_seen_them(
    desk: Desk, start: Start, tools: tuple[str, ...]
) -> None:
    _lists(desk, OrderIds(desk.clock, desk.store.ledger.tags[-1]).make("btc-grid-1"))
    desk.server.returned(*tools)
    engine = start().beats()
    assert engine.closed_by == "LedgerBehind"
    assert engine.gateway.settle("real", shares()) == ""
    assert engine.beats(4, apart_s=31).closed_by == ""
    assert len(engine.gateway.orphans()) == 1
    assert start().beats().closed_by == ""


def test_where_positions_are_not_told_nothing_can_be_held_against_them(desk: Desk, start: Start) -> None:
    desk.server.returned(*POSITIONLESS)
    engine = start().beats()
    assert "its server does not tell what it holds" in engine.gateway.settle("real", shares({"btc-grid-1": "1"}))


def test_an_account_that_cannot_be_looked_at_is_not_settled(desk: Desk, behind: Engine) -> None:
    desk.server.went_down()
    with pytest.raises(ExecUnavailable, match="'paper' is not connected: gone"):
        behind.gateway.settle("real", shares(outside={"BTC/USD": "0.6"}))
    with pytest.raises(ExecUnavailable, match="no exec-mcp server is declared"):
        behind.gateway.settle("mars", shares())


def test_where_positions_are_not_told_it_is_told_that_lost_rows_cannot_be_seen(desk: Desk, start: Start) -> None:
    assert start().gateway.unseen("real") == ""
    desk.server.returned(*POSITIONLESS)
    assert start().gateway.unseen("real") == (
        "rows that its ledger lost cannot be seen, but for open orders: paper tells no positions (it has no such tool)"
    )
    assert start().gateway.unseen("mars") == ""


def test_what_an_order_in_doubt_explains_is_not_kept_so_that_it_blocks_no_later_start(desk: Desk, start: Start) -> None:
    engine = start().beats()
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", ExecUnknown("time-out"))
    order = engine.trade(Side.BUY, "1")
    holds(desk, "1")
    engine.beats(4, apart_s=31)
    answer = {"status": "filled", "filled_quantity": "1", "average_price": "100", "fee": "0"}
    desk.server.answers("get_order", {**answer, "client_order_id": order.client_order_id})
    assert start().beats().closed_by == ""
