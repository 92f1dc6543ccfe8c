"""The last unit: a hundred instances race for it, orders stay in doubt, engines start again; never one too many."""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.exec_mcp.bridge import InlineBridge
from reconciler.exec_mcp.market_data import MarketData
from reconciler.execution.watch import SPREAD_S
from reconciler.orders.order import Order, Outcome, Side
from reconciler.records.accounts import Ceilings, Scope, Turnover
from reconciler.store.store import Store
from tests.execution.standins import ACCOUNTS, Desk, StandInGate, events

D = Decimal


def bounded(desk: Desk, ceilings: Ceilings, above: tuple[Scope, ...] = ()) -> None:
    """Begin anew, as after a restart, with these limits of the account."""
    main = replace(ACCOUNTS.declared["main"], currency="USD", ceilings=ceilings)
    desk.servers.accounts = replace(ACCOUNTS, declared={**ACCOUNTS.declared, "main": main}, above=above)
    desk.gateway.close()
    desk.gateway = desk.restarted()


def open_orders(desk: Desk) -> list[Order]:
    return [order for order in desk.store.ledger.open_everywhere() if not order.is_shadow]


def held(desk: Desk) -> Decimal:
    return sum((abs(holding.quantity) for *_, holding in desk.store.ledger.standing()), D(0))


def gross(desk: Desk) -> Decimal:
    """What is held at the ask of 101, and all that is open, at its limit of 100."""
    rests = sum((order.quantity - order.filled_quantity for order in open_orders(desk)), D(0))
    return held(desk) * 101 + rests * 100


@pytest.mark.parametrize("names", [100])
def test_a_hundred_instances_race_for_ten_units_and_ten_leave(desk: Desk, names: int) -> None:
    bounded(desk, Ceilings(max_open_orders=10))
    together = threading.Barrier(names)

    def race(number: int) -> Order:
        gate = StandInGate(instance_id=f"i-{number}")
        together.wait()
        return desk.buy(gate, limit="100")

    with ThreadPoolExecutor(names) as pool:
        placed = list(pool.map(race, range(names)))
    left = [order for order in placed if order.outcome is Outcome.ACCEPTED]
    assert len(left) == len(desk.server.asked("place_order")) == 10
    refused = {order.reason.partition(" are used")[0] for order in placed if order not in left}
    assert refused == {"Limit: account main: max_open_orders: 11 of 10"}


class Exchange:
    """Does with each order what chance says; what it did is what it tells, also of what it never answered."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.orders: dict[str, dict[str, Any]] = {}

    async def place(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        what = self.chance.choice(("open", "filled", "part", "refused", "lost", "never"))
        id_, quantity = arguments["client_order_id"], D(arguments["quantity"])
        if what == "refused":
            raise ExecRejected("insufficient funds")
        if what == "never":
            raise ExecUnknown("no answer")
        filled = {"filled": quantity, "part": quantity / 2}.get(what, D(0))
        known = {"status": "filled" if what == "filled" else "open", "order_id": id_, "filled_quantity": str(filled)}
        self.orders[id_] = {**known, **({"average_price": "100"} if filled else {})}
        if what == "lost":
            raise ExecUnknown("no answer")
        return self.orders[id_]

    async def find(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        from reconciler.exec_mcp.reply import OrderNotFound

        known = self.orders.get(arguments["client_order_id"])
        if known is None:
            raise OrderNotFound("no such order")
        return known

    async def cancel(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        known = self.orders[arguments["client_order_id"]]
        if known["status"] == "open":
            known["status"] = "cancelled"
        return known


LIMITS = Ceilings(
    max_gross_notional=D(2500), max_open_orders=6, max_turnover=Turnover(D(4000), 5), max_position={"BTC/USD": D(22)}
)


class Inline:
    """A desk whose gateway moves on the calling thread alone."""

    def __init__(self, desk: Desk) -> None:
        self.bridge = InlineBridge()
        self.market = MarketData(desk.servers, self.bridge)
        desk.bridge, desk.market, desk.store = self.bridge, self.market, Store.in_memory(desk.clock)
        desk.follow_up = self.follow_up  # type: ignore[method-assign]
        self._desk = desk

    def follow_up(self, beat: int = 8) -> None:
        self.bridge.call(lambda: self._desk.gateway.follow_up(beat))


@pytest.mark.parametrize("driver", ["threads", "inline"])
@pytest.mark.parametrize("seed", range(4))
def test_whatever_becomes_of_orders_and_however_often_it_starts_again_nothing_is_exceeded(
    desk: Desk, seed: int, driver: str
) -> None:
    chance = random.Random(seed)
    if driver == "inline":
        Inline(desk)
    exchange = Exchange(chance)
    desk.server.script |= {"place_order": exchange.place, "get_order": exchange.find, "cancel_order": exchange.cancel}
    bounded(desk, LIMITS)
    gates = [StandInGate(instance_id=f"i-{number}") for number in range(12)]
    left = refused = 0
    traded: list[tuple[float, Decimal]] = []
    for _ in range(120):
        what = chance.random()
        before = held(desk)
        if what < 0.7:
            quantity = str(chance.choice((1, 2, 3, 5)))
            order = desk.buy(chance.choice(gates), quantity, limit="100")
            left += order.outcome is not Outcome.REJECTED
            refused += "Limit" in order.reason
        elif what < 0.8:
            mine = chance.choice(gates)
            for order in desk.gateway.open(mine.instance_id, shadow=False)[:1]:
                if order.outcome is Outcome.ACCEPTED:
                    desk.gateway.cancel(mine, order.client_order_id)
        elif what < 0.9:
            desk.clock.advance(chance.choice((6, SPREAD_S, 200)))
            for _ in range(3):
                desk.follow_up(beat=chance.randrange(10_000))
        else:
            bounded(desk, LIMITS)
        if (more := held(desk) - before) > 0:
            traded.append((desk.clock.time(), more * 100))
        assert len(open_orders(desk)) <= 6
        assert gross(desk) <= D(2500) + held(desk), "beyond what the ask adds to what was bought at a hundred"
        window = [amount for at_s, amount in traded if at_s > desk.clock.time() - 300]
        assert sum(window) <= 4000
    assert left >= 6
    assert refused > 5


def test_orders_in_doubt_hold_their_unit_through_a_restart_until_they_are_known(desk: Desk) -> None:
    desk.server.fails("place_order", ExecUnknown("no answer"))
    bounded(desk, Ceilings(max_open_orders=1))
    assert desk.buy(StandInGate(instance_id="a"), limit="100").outcome is Outcome.UNKNOWN
    bounded(desk, Ceilings(max_open_orders=1))
    assert "max_open_orders: 2 of 1" in desk.buy(StandInGate(instance_id="b"), limit="100").reason
    desk.server.answers("get_order", {"status": "cancelled", "order_id": "x"})
    desk.follow_up()
    desk.server.answers("place_order", {"status": "open", "order_id": "y"})
    assert desk.buy(StandInGate(instance_id="b"), limit="100").outcome is Outcome.ACCEPTED


def test_what_the_exchange_refuses_gives_its_unit_back(desk: Desk) -> None:
    desk.server.fails("place_order", ExecRejected("insufficient funds"))
    bounded(desk, Ceilings(max_open_orders=1))
    for _ in range(3):
        assert "insufficient funds" in desk.buy(StandInGate(), limit="100").reason


def test_no_limit_of_the_account_keeps_a_reduction_in(desk: Desk) -> None:
    filled = {"status": "filled", "filled_quantity": "5", "average_price": "100", "order_id": "x"}
    desk.server.answers("place_order", filled)
    bounded(desk, Ceilings())
    gate = StandInGate()
    desk.buy(gate, "5", limit="100")
    nothing = Ceilings(D(1), D("0.01"), D("0.01"), 1, {"BTC/USD": D(1)}, Turnover(D(1), 5), D(10**9))
    bounded(desk, nothing)
    assert "Limit" in desk.buy(gate, "1", limit="100").reason
    assert desk.buy(gate, "5", limit="100", side=Side.SELL).outcome is Outcome.ACCEPTED


def test_nor_do_its_orders_per_minute(desk: Desk) -> None:
    filled = {"status": "filled", "filled_quantity": "5", "average_price": "100", "order_id": "x"}
    desk.server.answers("place_order", filled)
    main = replace(ACCOUNTS.declared["main"], max_orders_per_minute=1)
    desk.servers.accounts = replace(ACCOUNTS, declared={**ACCOUNTS.declared, "main": main})
    desk.buy(StandInGate(), "5", limit="100")
    assert "max_orders_per_minute" in desk.buy(StandInGate(), "1", limit="100").reason
    assert desk.buy(StandInGate(), "5", limit="100", side=Side.SELL).outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("halted", [False, True])
def test_what_rests_is_cancelled_where_a_limit_is_reached_and_what_reduces_stays(desk: Desk, halted: bool) -> None:
    filled = {"status": "filled", "filled_quantity": "5", "average_price": "100", "order_id": "x"}
    desk.server.answers("place_order", filled)
    bounded(desk, Ceilings(max_gross_notional=D(1000)))
    holder, other = StandInGate(instance_id="a"), StandInGate(instance_id="b")
    desk.buy(holder, "5", limit="100")
    desk.server.answers("place_order", {"status": "open"})
    stop = desk.buy(holder, "5", limit="150", side=Side.SELL)
    resting = desk.buy(other, "4", limit="100")
    states = {stop.client_order_id: "open", resting.client_order_id: "open"}

    async def find(arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"status": states[arguments["client_order_id"]]}

    async def cancel(arguments: Mapping[str, Any]) -> dict[str, Any]:
        states[arguments["client_order_id"]] = "cancelled"
        return await find(arguments)

    desk.server.script |= {"get_order": find, "cancel_order": cancel}
    desk.follow_up(beat=8)
    assert "cancelled" not in states.values()
    if halted:
        desk.store.halts.add("all", "", True, "prices are wrong", "uid 1")
    desk.server.answers("get_quote", {"bid": "140", "ask": "140", "as_of": "2023-11-14T22:13:20Z"})
    desk.follow_up(beat=9)
    desk.follow_up(beat=10)
    desk.follow_up(beat=11)
    assert states == {stop.client_order_id: "open", resting.client_order_id: "cancelled"}
    assert [order.client_order_id for order in open_orders(desk)] == [stop.client_order_id]
    told = dict(reversed(events(desk)))
    assert "account main: max_gross_notional is reached" in told["LimitCancel"]
    assert "account main, paper money: max_gross_notional: 1100 of 1000 USD are used" in told["LimitReached"]
    assert "80" not in told.get("LimitNear", "")
