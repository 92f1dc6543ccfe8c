"""A day of ten instances on two paper accounts, a beat a minute: every scope is reached once, and lets go again.

The whole engine, inline: what is refused names its scope, what rests and would add is cancelled, what reduces passes.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import SimulatedClock
from reconciler.inline import InlineEngine, inline_engine, paper_exchange
from reconciler.orders.order import Order, OrderState, Outcome
from reconciler.settings.loading import load
from reconciler.sources.worktree import Worktree, WorktreeOptions

START_S = 1_767_225_600.0  # 2026-01-01, midnight
HOUR_S = 3600

SETTINGS = """\
heartbeat_seconds: 60
paper: {prices: prices.csv, speed: 1, begin: "2026-01-01", maker_fee: "0", taker_fee: "0", balances: {USD: "100000"}}
exec_mcp:
  practice:
    transport: {kind: paper}
    accounts:
      one:
        money: paper
        currency: USD
        limits: {max_gross_notional: "1000", max_drawdown: "250", max_position: {BTC/USD: "10"}}
      two:
        money: paper
        currency: USD
        limits: {max_turnover: {amount: "1500", within_minutes: 60}, min_equity: "98500"}
limits:
  - {label: team=red, currency: USD, max_daily_loss: "60"}
  - {all: true, currency: USD, max_open_orders: 4}
"""
PRICES = """\
date,BTC/USD
2026-01-01T00:00:00,100
2026-01-01T03:00:00,120
2026-01-01T04:00:00,100
2026-01-01T06:00:00,85
2026-01-01T07:00:00,100
2026-01-09T00:00:00,100
"""
STRATEGY = """
from reconciler.strategy import Strategy

class Actor(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object"}

    def init(self):
        self.seen = None

    def on_tick(self):
        hour = self.context.now().hour
        if hour != self.seen:
            self.seen = hour
            for side, quantity, price in self.config.get(str(hour), ()):
                kind = {} if price is None else {"type": "limit", "limit_price": price}
                self.context.orders.place(side, quantity, **kind)
            if self.config.get("clears") == hour:
                for order in self.context.orders.open():
                    self.context.orders.cancel(order.client_order_id)
"""
RECORD = """
id: {id}
strategy_type: actor
account: {{account_id: {account}, client_id: desk}}
market: BTC/USD
mode: active
labels: {{team: {team}}}
config: {plan}
"""
FAR = '["buy", "0.1", "10"]'
PLANS = {
    "a1": ("one", "blue", '{"0": [["buy", "5", null]], "9": [["sell", "5", null]]}'),
    "a2": ("one", "red", '{"0": [["buy", "3", null]], "6": [["buy", "1", null]], "8": [["sell", "3", null]]}'),
    "a3": ("one", "blue", '{"0": [["buy", "2", "90"]], "5": [["buy", "2", "50"]], "6": [["buy", "1", null]], "7": '
           '[["buy", "0.1", null]]}'),
    "a4": ("one", "blue", '{"1": [["buy", "3", "1"]], "8": [["buy", "0.1", null]], "9": [["sell", "0.1", null]]}'),
    "b1": ("two", "red", '{"0": [["buy", "2", null]], "7": [["buy", "1", null]], "8": [["sell", "2", null]]}'),
    "b2": ("two", "blue", '{"10": [["buy", "10", null], ["sell", "10", null], ["buy", "10", null]]}'),
    "b3": ("two", "blue", '{"14": [["buy", "14", null]], "15": [["buy", "2", null]], "16": [["buy", "2", null]], "17": '
           '[["sell", "14", null]], "18": [["buy", "1", null]]}'),
    "c1": ("one", "blue", f'{{"12": [{FAR}, {FAR}], "clears": 13}}'),
    "c2": ("two", "blue", f'{{"12": [{FAR}, {FAR}], "clears": 13}}'),
    "c3": ("two", "blue", f'{{"12": [{FAR}], "13": [{FAR}], "clears": 14}}'),
}  # fmt: skip


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("fleet")
    (root / "strategies").mkdir()
    (root / "instances").mkdir()
    (root / "reconciler.yaml").write_text(SETTINGS)
    (root / "prices.csv").write_text(PRICES)
    (root / "strategies" / "actor.py").write_text(STRATEGY)
    for id_, (account, team, plan) in PLANS.items():
        (root / "instances" / f"{id_}.yaml").write_text(RECORD.format(id=id_, account=account, team=team, plan=plan))
    settings, clock = load(root, {}), SimulatedClock(START_S)
    source = Worktree(Path(root), clock, WorktreeOptions())
    with (
        paper_exchange(settings, clock) as exchange,
        inline_engine(settings, clock, exchange, source, seed="1") as engine,
    ):
        assert not engine.problems()
        yield lived(engine)


class Day:
    def __init__(self) -> None:
        self.orders: dict[str, list[Order]] = {}
        self.reached: dict[int, set[str]] = defaultdict(set)
        """By hour: scope and limit, of what was reached at any beat of it."""
        self.shown: dict[int, list[dict[str, Any]]] = {}
        self.events: list[tuple[str, str]] = []


def lived(engine: InlineEngine) -> Day:
    day = Day()

    def look() -> None:
        hour = int((engine.parts.clock.time() - START_S) // HOUR_S)
        for one in engine.parts.board.limits():
            if one["reached"]:
                day.reached[hour].add(f"{one['scope']}: {one['limit']}")
        day.shown[hour] = [dict(one) for one in engine.parts.board.limits()]
        if hour == 7 and engine.parts.clock.time() % HOUR_S == 30 * 60:
            assert engine.gateway.lift("account one") == ""

    engine.run(START_S + 25 * HOUR_S, look)
    for id_ in PLANS:
        day.orders[id_] = list(reversed(engine.store.ledger.recent(id_, 100, shadow=False)))
    found = engine.store.ledger._reads.query("SELECT reason, message FROM events ORDER BY id")
    day.events = [(one["reason"], one["message"]) for one in found]
    return day


def refused(day: Day, id_: str, number: int) -> str:
    order = day.orders[id_][number]
    assert order.outcome is Outcome.REJECTED, order
    return order.reason


def filled(day: Day, id_: str, number: int) -> None:
    assert day.orders[id_][number].state is OrderState.FILLED, day.orders[id_][number]


def test_the_position_of_a_market_ends_at_its_limit(day: Day) -> None:
    assert "account one: max_position[BTC/USD]: 13 of 10 are used" in refused(day, "a4", 0)


def test_a_price_that_rises_reaches_the_gross_notional_and_what_rests_and_adds_is_cancelled(day: Day) -> None:
    resting = day.orders["a3"][0]
    assert (resting.state, str(resting.filled_quantity)) == (OrderState.CANCELLED, "0")
    assert resting.updated_at.hour == 3
    cancelled_with_it = day.reached[3] | day.reached[4] | day.reached[5]
    assert "account one: max_gross_notional" not in cancelled_with_it, "in the beat that measures it, it is free again"
    assert any(reason == "LimitReached" and "max_gross_notional" in message for reason, message in day.events)
    assert ("LimitFree", "account one, paper money: max_gross_notional: 960.8 of 1000") in day.events


def test_the_loss_of_a_label_over_both_accounts_holds_until_the_day_ends(day: Day) -> None:
    hours = {hour for hour, found in day.reached.items() if "label team=red: max_daily_loss" in found}
    assert hours == set(range(6, 24)), "though the price came back at seven"
    assert "label team=red: max_daily_loss" in refused(day, "b1", 1)
    assert "it was reached today" in refused(day, "b1", 1)
    filled(day, "b1", 2)


def test_the_drawdown_of_an_account_holds_until_it_is_lifted(day: Day) -> None:
    assert "account one: max_drawdown" in day.reached[6] & day.reached[7]
    assert "account one: max_drawdown" in refused(day, "a3", 3)
    assert "account one: max_drawdown" not in day.reached[8]
    filled(day, "a4", 1)


def test_what_was_traded_within_an_hour_ends_at_its_limit_and_selling_passes(day: Day) -> None:
    filled(day, "b2", 0)
    filled(day, "b2", 1)
    assert "account two: max_turnover: 3001 of 1500 USD are used" in refused(day, "b2", 2)


def test_all_instances_together_have_so_many_open_orders_and_no_more(day: Day) -> None:
    assert "all: max_open_orders: 5 of 4 are used" in refused(day, "c3", 0)
    assert [order.outcome for id_ in ("c1", "c2") for order in day.orders[id_]] == [Outcome.ACCEPTED] * 4
    assert day.orders["c3"][1].outcome is Outcome.ACCEPTED


def test_below_its_equity_an_account_opens_nothing_and_sells_all_the_same(day: Day) -> None:
    filled(day, "b3", 0)
    filled(day, "b3", 1)
    assert "account two: min_equity: equity is" in refused(day, "b3", 2)
    filled(day, "b3", 3)
    filled(day, "b3", 4)


def test_on_the_next_day_only_what_waits_for_a_person_would_still_hold(day: Day) -> None:
    assert day.reached[24] == set()
    assert {f"{one['scope']}: {one['limit']}" for one in day.shown[24]} >= {
        "account one: max_drawdown",
        "account two: min_equity",
        "label team=red: max_daily_loss",
        "all: max_open_orders",
    }
