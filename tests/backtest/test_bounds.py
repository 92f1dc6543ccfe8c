"""What bounds an engine bounds a backtest: limits above the instance, halts, quarantine, deadlines, shared accounts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.backtest import simulation
from reconciler.backtest.simulation import InstanceRun, NotRunnable
from reconciler.backtest.study import Study
from reconciler.backtest.tape import Tape
from reconciler.clock import SimulatedClock
from reconciler.inline import InlineEngine
from reconciler.orders.order import Order, OrderState, OrderType, Outcome, RejectedBy, Side
from reconciler.records.cadence import beat_at

if TYPE_CHECKING:
    from tests.backtest.conftest import Fleet, Studied

HOURS = 54
LISTENER = """
from reconciler.strategy import Strategy

class Tried(Strategy):
    TICK_MINUTES = 60.0
    CONFIG_SCHEMA = {"type": "object"}

    def init(self):
        self.heard = []
        self.ticks = 0

    def on_order(self, order):
        self.heard.append((order.quantity, order.state, self.ticks))

    def on_tick(self):
        self.ticks += 1
        if self.ticks == 1:
            self.context.orders.place("buy", "1")
            self.context.orders.place("buy", "2", type="limit", limit_price="1")
        elif self.ticks == 3:
            self.context.orders.cancel(self.context.orders.open()[0].client_order_id)
        elif self.ticks == 5:
            assert repr([tuple(map(str, one)) for one in self.heard]) == HEARD, self.heard
"""
HEARD = """[('1', 'open', '1'), ('2', 'open', '1'), ('1', 'filled', '1'), ('2', 'cancelled', '3')]"""


@pytest.fixture
def falling(tmp_path: Path) -> Path:
    """A price each half hour that falls by one an hour, from 200 at 18:00 on the first day to the end of the third."""
    lines = ["time,symbol,bid,ask"]
    for half in range(HOURS * 2):
        day, hour = divmod(half // 2 + 18, 24)
        price = 200 - half // 2
        lines.append(f"2026-01-{day + 1:02}T{hour:02}:{half % 2 * 30:02}:00Z,BTC/USD,{price},{price}")
    path = tmp_path / "falling.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def first(falling: Path, rows: int) -> Path:
    """The first rows of the data."""
    lines = falling.read_text(encoding="utf-8").splitlines()[: rows + 1]
    falling.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return falling


def of(found: Study, id: str) -> InstanceRun:
    (one,) = [one.run for one in found.instances if one.run.id == id]
    return one


def refused(orders: Sequence[Order]) -> dict[str, str]:
    """When each order was refused, and why, to the first colon after the scope."""
    return {f"{order.created_at:%dT%H:%M}": order.reason for order in orders if order.rejected_by is RejectedBy.GATEWAY}


def settings(root: Path, text: str) -> None:
    (root / "reconciler.yaml").write_text(text, encoding="utf-8")


REAL = """
exec_mcp:
  broker:
    transport: {kind: http, url: "http://127.0.0.1:9/mcp"}
    accounts: {main: {money: real}}
require_limits: {money: real, of: [max_daily_loss]}
"""
ON_MAIN = "exec_mcp: {{paper: {{transport: {{kind: paper}}, accounts: {{main: {{money: paper, {}}}}}}}}}\n"


def test_an_accounts_limit_binds_all_that_is_on_it(fleet: Fleet, falling: Path, studied: Studied) -> None:
    root = fleet('self.context.orders.place("buy", "1")', "a", "b")
    settings(root, ON_MAIN.format('currency: USD, limits: {max_position: {BTC/USD: "3"}}'))
    found = studied(root, [falling])
    held = [of(found, id).holding.quantity for id in ("a", "b")]
    assert held == [2, 1], "they tick by turns, a first"
    first = of(found, "b").orders[1]
    assert (first.outcome, first.rejected_by) == (Outcome.REJECTED, RejectedBy.GATEWAY)
    assert "account main: max_position" in first.reason
    assert all(order.outcome is Outcome.REJECTED for id in ("a", "b") for order in of(found, id).orders[2:])


def test_a_loss_of_the_day_stops_what_adds_exposure_until_the_day_ends(
    fleet: Fleet, falling: Path, studied: Studied
) -> None:
    body = """
if self.ticks == 1: self.context.orders.place("buy", "1", type="limit", limit_price="1")
held = self.context.orders.position().quantity
if self.context.now().hour != 23: self.context.orders.place("buy", "1")
elif held: self.context.orders.place("sell", held, reduce_only=True)
"""
    root = fleet(body)
    settings(root, 'limits: [{all: true, currency: USD, max_daily_loss: "5"}]\n')
    one = of(studied(root, [falling]), "one")
    stopped = refused(one.orders)
    assert all("all: max_daily_loss" in reason for reason in stopped.values())
    resting = one.orders[0]
    assert resting.state is OrderState.CANCELLED, "what rests and adds exposure is cancelled"
    for day in ("01", "02", "03"):
        bought = [f"{o.created_at:%dT%H:%M}" for o in one.orders if o.side is Side.BUY and o.filled_quantity]
        sold = [o for o in one.orders if o.side is Side.SELL and f"{o.created_at:%d}" == day and o.filled_quantity]
        before, after = ([at for at in found if at.startswith(day)] for found in (bought, stopped))
        assert before, "let go at the end of the day before"
        assert max(before) < min(after), "and reached on each"
        assert sold or day == "03", "which keeps nobody from reducing"


def test_the_throttle_of_real_money_holds_though_here_all_money_is_paper(
    fleet: Fleet, falling: Path, studied: Studied
) -> None:
    body = 'for _ in range(2): self.context.orders.place("buy", "0.001")'
    root = fleet(body, minutes=0.1)
    settings(root, REAL)
    one = of(studied(root, [first(falling, 2)]), "one")
    assert sum(order.outcome is Outcome.ACCEPTED for order in one.orders) == 60
    assert "throttle: 60 buy market orders" in one.orders[60].reason


def test_a_halt_in_the_fleet_lets_nothing_of_its_scope_in(fleet: Fleet, falling: Path, studied: Studied) -> None:
    root = fleet('self.context.orders.place("buy", "1")', "a", "b")
    (root / "instances" / "_halt.yaml").write_text("- {scope: instance, id: a, reason: looked at}\n", encoding="utf-8")
    found = studied(root, [falling])
    assert {order.outcome for order in of(found, "a").orders} == {Outcome.REJECTED}
    assert all("halt" in order.reason for order in of(found, "a").orders)
    assert of(found, "b").holding.quantity > 0


def test_where_the_halt_cannot_be_read_nothing_runs_and_its_line_is_told(
    fleet: Fleet, falling: Path, studied: Studied
) -> None:
    root = fleet('self.context.orders.place("buy", "1")')
    (root / "instances" / "_halt.yaml").write_text("- {scope: [", encoding="utf-8")
    with pytest.raises(NotRunnable, match=r"instances/_halt\.yaml:1:"):
        studied(root, [falling])


def test_beats_at_which_prices_stand_are_jumped_over_under_a_limit_too_and_it_makes_no_difference(
    fleet: Fleet, falling: Path, studied: Studied, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = """
self.context.orders.place("buy", "1", type="limit", limit_price=str(195 - self.ticks))
self.context.orders.place("buy", "1", type="limit", limit_price="50")
self.context.orders.place("sell" if self.context.orders.position().quantity > 3 else "buy", "1")
"""
    root = fleet(body, "a", "b", minutes=360.0)
    limits = '{all: true, currency: USD, max_drawdown: "10"}'
    settings(root, f"limits: [{limits}]\n")
    found = studied(root, [first(falling, 48)])
    jumped = found.result

    def each(engine: InlineEngine, clock: SimulatedClock, tape: Tape, heartbeat_s: float) -> int:
        return beat_at(clock.time(), heartbeat_s) + 5

    monkeypatch.setattr(simulation, "_next_beat", each)
    stepped = simulation.run(found.plan)
    assert jumped.beats < 100 < 2_500 < stepped.beats
    for one, other in zip(jumped.instances, stepped.instances, strict=True):
        assert one.orders == other.orders
        assert (one.holding, one.max_drawdown) == (other.holding, other.max_drawdown)
    reasons = [order.reason for one in jumped.instances for order in one.orders]
    assert any("max_drawdown" in reason for reason in reasons)
    rested = [order for one in jumped.instances for order in one.orders if order.type is OrderType.LIMIT]
    assert any(order.state is OrderState.CANCELLED for order in rested)
    assert any(order.state is OrderState.FILLED for order in rested)


def test_after_five_failed_ticks_it_neither_ticks_nor_trades_and_the_others_go_on(
    fleet: Fleet, falling: Path, studied: Studied
) -> None:
    body = """
self.context.orders.place("buy", "1")
if "bad" in self.context.instance.id and self.ticks > 3: raise RuntimeError(self.ticks)
"""
    found = studied(fleet(body, "bad", "good"), [falling])
    bad, good = of(found, "bad"), of(found, "good")
    assert (bad.ticks, bad.errors, len(bad.orders)) == (8, 5, 8)
    assert bad.ended == "paused after five failed ticks in a row"
    assert "RuntimeError: 8" in bad.last_error
    assert good.errors == 0
    assert good.ticks >= HOURS - 1
    assert [run.id for run in found.failed] == ["bad"]


def test_a_hook_that_waits_for_time_is_ended_by_how_often_it_asks(
    fleet: Fleet, falling: Path, studied: Studied
) -> None:
    body = """
if self.ticks == 2:
    until = self.context.now().timestamp() + 1
    while self.context.now().timestamp() < until: pass
self.context.orders.place("buy", "1")
"""
    one = of(studied(fleet(body), [falling]), "one")
    assert one.errors == 1
    assert "asked its context for more than 10,000 things" in one.last_error
    assert len(one.orders) == one.ticks - 1
    assert one.ended == ""


def test_on_order_hears_of_each_change_before_the_next_tick(fleet: Fleet, falling: Path, studied: Studied) -> None:
    root = fleet("pass")
    (root / "strategies" / "tried.py").write_text(LISTENER.replace("HEARD", repr(HEARD)), encoding="utf-8")
    one = of(studied(root, [falling]), "one")
    assert one.ticks > 5
    assert (one.errors, one.last_error) == (0, "")


def test_instances_on_one_account_see_its_money_and_only_their_own_orders(
    fleet: Fleet, falling: Path, studied: Studied
) -> None:
    body = """
if self.context.instance.id == "a" and self.ticks == 1: self.context.orders.place("buy", "2")
if self.context.instance.id == "b" and self.ticks == 3:
    (whole,) = self.context.account.positions()
    cash = [one.total for one in self.context.account.balances() if one.asset == "USD"]
    assert not self.context.orders.recent() and not self.context.orders.position().quantity
    self.context.orders.place("buy", whole.quantity, type="limit", limit_price=cash[0] / 100)
"""
    found = studied(fleet(body, "a", "b"), [falling])
    (bought,), (asked,) = of(found, "a").orders, of(found, "b").orders
    assert asked.quantity == bought.filled_quantity == 2
    assert bought.average_price is not None
    assert bought.fee is not None
    assert asked.limit_price == (10_000 - 2 * bought.average_price - bought.fee) / 100
