"""The inline driver: the whole engine on one thread, at the time that it is told."""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler import inline
from reconciler.clock import SimulatedClock, SystemClock, iso
from reconciler.inline import InlineEngine, Sentry, inline_engine, paper_exchange
from reconciler.orders.order import Order, OrderState, Outcome
from reconciler.records.mode import Mode
from reconciler.runtime.protocol import HostOptions
from reconciler.settings.loading import load
from reconciler.sources.worktree import Worktree, WorktreeOptions

ROOT = Path(__file__).parent.parent
START_S = 1_767_225_600.0

TRADER = """
from reconciler.strategy import Strategy

class {name}(Strategy):
    TICK_MINUTES = {minutes}
    CONFIG_SCHEMA = {{"type": "object"}}

    def init(self):
        self.ticks = 0

    def on_tick(self):
        self.ticks += 1
        {body}
"""
RECORD = """
id: {id}
strategy_type: {type}
account: {{account_id: main, client_id: desk}}
market: EUR/USD
mode: active
config: {{}}
"""


def fleet(root: Path, body: str, *ids: str, minutes: float = 1.0, rest: str = "") -> Path:
    """A repository whose instances all run one strategy, which does `body` at every tick."""
    for folder in ("strategies", "instances"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    source = TRADER.format(name="Tried", minutes=minutes, body=body)
    (root / "strategies" / "tried.py").write_text(source, encoding="utf-8")
    for id in ids or ("one",):
        (root / "instances" / f"{id}.yaml").write_text(RECORD.format(id=id, type="tried") + rest, encoding="utf-8")
    return root


@contextmanager
def engine(
    root: Path, seed: str = "", mode: Mode | None = None, sentry: Sentry | None = None
) -> Iterator[InlineEngine]:
    settings, clock = load(root, {}), SimulatedClock(START_S)
    source = Worktree(root, clock, WorktreeOptions())
    with (
        paper_exchange(settings, clock) as exchange,
        inline_engine(settings, clock, exchange, source, seed=seed, mode=mode, sentry=sentry) as made,
    ):
        yield made


def indented(body: str) -> str:
    return textwrap.dedent(body).strip().replace("\n", "\n        ")


def hours(running: InlineEngine, hours: float) -> None:
    running.run(START_S + hours * 3600)


def orders(running: InlineEngine, id: str = "one") -> list[Order]:
    return running.store.ledger.recent(id, 1_000, shadow=False)


def test_the_example_at_its_top_runs() -> None:
    doc = inspect.getdoc(inline)
    assert doc is not None
    example = textwrap.dedent("\n".join(line for line in doc.splitlines() if not line or line.startswith("    ")))
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(compile(example, "the example", "exec"), {"root": ROOT})
    assert "Side.BUY" in told.getvalue() or "buy" in told.getvalue()


def test_the_same_seed_gives_the_same_orders_to_the_letter_and_another_one_other_chance(tmp_path: Path) -> None:
    body = "self.context.orders.place('buy', str(self.context.random.randint(1, 1000)))"
    root = fleet(tmp_path, body, "b", "a")

    def run(seed: str) -> list[Any]:
        with engine(root, seed) as running:
            hours(running, 0.2)
            return [orders(running, "a"), orders(running, "b")]

    first = run("1")
    assert len(first[0]) == 12
    assert all(order.outcome is Outcome.ACCEPTED for order in first[0])
    assert first == run("1")
    other = run("2")
    assert [one.quantity for one in first[0]] != [one.quantity for one in other[0]]
    assert {one.client_order_id for one in first[0]}.isdisjoint(one.client_order_id for one in other[0])


def test_who_is_due_ticks_in_the_order_of_the_ids(tmp_path: Path) -> None:
    with engine(fleet(tmp_path, "self.context.orders.place('buy', '1')", "c", "a", "b")) as running:
        hours(running, 0.1)
        placed = sorted((o for id in "abc" for o in orders(running, id)), key=lambda o: o.client_order_id[10:])
        assert [order.instance_id for order in placed] == ["a", "b", "c"] * 6


def test_beats_at_which_nothing_happens_are_jumped_over_and_none_while_an_order_waits(tmp_path: Path) -> None:
    with engine(fleet(tmp_path / "idle", "pass", minutes=10.0)) as running:
        hours(running, 2)
        assert (running.beats, running.host.ticks().count) == (12, 12)
    resting = "self.ticks == 1 and self.context.orders.place('buy', '1', type='limit', limit_price='0.01')"
    with engine(fleet(tmp_path / "waits", resting, minutes=10.0)) as running:
        hours(running, 2)
        assert running.beats == 1 + 110 * 10


def test_what_waits_fills_before_who_is_due_ticks(tmp_path: Path) -> None:
    body = """
        if self.ticks == 1:
            price = str(self.context.market.quote().bid)
            self.context.orders.place('buy', '1', type='limit', limit_price=price)
        held, waits = self.context.orders.position().quantity, len(self.context.orders.open())
        self.context.log.info(f"{held} held, {waits} waits")
    """
    with engine(fleet(tmp_path, indented(body), minutes=0.1)) as running:
        hours(running, 0.25)
        (order,) = orders(running)
        logged = running.parts.board.logs("one")
        assert logged[0]["message"] == "1 held, 0 waits"
        first = next(line["at"] for line in reversed(logged) if line["message"] == "1 held, 0 waits")
        assert first == iso(order.updated_at.timestamp()), "known in the very tick at which it filled"


def test_no_thread_is_begun_and_none_is_needed(tmp_path: Path) -> None:
    root = fleet(tmp_path, "self.context.orders.place('buy', '1')")
    with engine(root) as running:
        before = threading.active_count()
        hours(running, 0.1)
        assert threading.active_count() == before
        assert len(orders(running)) == 6


def test_limits_and_halts_hold_as_in_any_engine(tmp_path: Path) -> None:
    root = fleet(tmp_path, "self.context.orders.place('buy', '1')", rest="limits: {max_position: '3'}\n")
    with engine(root) as running:
        hours(running, 0.1)
        assert running.gateway.position("one", "EUR/USD", shadow=False).quantity == 3
        assert "max_position" in orders(running)[0].reason
        running.store.halts.add("all", "", False, "look", "ann")
        hours(running, 0.2)
        assert orders(running)[0].reason.startswith("Halted: all trading is halted: look")


def test_five_failed_ticks_quarantine_and_halt_an_active_instance(tmp_path: Path) -> None:
    with engine(fleet(tmp_path, "1 / 0", "one", "two")) as running:
        hours(running, 0.2)
        assert running.host.ticks().count == 10
        assert [halt.id for halt in running.store.halts.active()] == ["one", "two"]


def test_a_hook_that_waits_for_time_to_pass_is_ended_and_counted_as_failed(tmp_path: Path) -> None:
    body = """
        began = self.context.now()
        while self.context.now() == began:
            pass
    """
    with engine(fleet(tmp_path, indented(body))) as running:
        hours(running, 0.2)
        facts = running.host.facts("one")
        assert facts is not None
        assert facts.last_error.startswith("Overdue: it asked its context for more than 10,000 things")
        assert facts.pause is not None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("while True: pass", id="a loop that asks for nothing"),
        pytest.param(
            """
            while self.ticks < 4:
                try:
                    while True: pass
                except BaseException:
                    self.ticks += 1
            """,
            id="one that does not want to be ended",
        ),
    ],
)
def test_a_hook_that_runs_for_ever_is_ended_by_real_time_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(inline, "_AGAIN_S", 0.05)
    sentry = Sentry(HostOptions(tick_deadline_s=0.05), SystemClock())
    with engine(fleet(tmp_path, indented(body)), sentry=sentry) as running:
        hours(running, 0.02)
        assert sentry.hung.startswith("one: on_tick did not end within 0.05 s, at strategies/tried.py:")
        facts = running.host.facts("one")
        assert facts is not None
        assert facts.ticks.count == 1


def test_a_watched_run_leaves_the_interpreter_as_it_was(tmp_path: Path) -> None:
    """Taking back what is to be raised in a thread has Python 3.11 look for it for ever, where it is profiled."""
    code = f"""
import cProfile, pathlib
from tests.test_inline import Sentry, HostOptions, SystemClock, engine, fleet, hours
with cProfile.Profile():
    for _ in range(2):
        with engine(fleet(pathlib.Path({str(tmp_path)!r}), "pass"), sentry=Sentry(HostOptions(), SystemClock())) as one:
            hours(one, 0.1)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=120)


def test_what_cannot_be_ended_is_given_up_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is raised in code that does not come back to Python: whoever drives the engine is told."""
    monkeypatch.setattr(inline, "_AGAIN_S", 0.05)
    inlet, outlet = os.pipe()
    told: list[str] = []

    def hopeless(why: str) -> None:
        told.append(why)
        os.close(outlet)

    sentry = Sentry(HostOptions(tick_deadline_s=0.05), SystemClock(), hopeless)
    with engine(fleet(tmp_path, f"import os; os.read({inlet}, 1)"), sentry=sentry) as running:
        hours(running, 0.02)
    os.close(inlet)
    assert told == [sentry.hung]
    assert sentry.hung.startswith("one: on_tick did not end within 0.05 s, at strategies/tried.py:")


def test_a_failed_load_is_tried_again_at_simulated_time(tmp_path: Path) -> None:
    root = fleet(tmp_path, "pass")
    path = root / "strategies" / "tried.py"
    path.write_text(path.read_text().replace("self.ticks = 0", "self.ticks = 1 / (self.context.now().minute > 2)"))
    with engine(root) as running:
        hours(running, 0.1)
        facts = running.host.facts("one")
        assert facts is not None
        assert facts.ticks.count in (1, 2)
        assert facts.load_attempts == 0


def test_modes_are_taken_as_the_records_say_or_as_one_is_told(tmp_path: Path) -> None:
    root = fleet(tmp_path, "self.context.orders.place('buy', '1')")
    path = root / "instances" / "one.yaml"
    path.write_text(path.read_text().replace("mode: active", "mode: observe"))
    with engine(root) as running:
        hours(running, 0.1)
        assert orders(running) == []
        assert len(running.store.ledger.recent("one", 100, shadow=True)) == 6
    with engine(root, mode=Mode.ACTIVE) as running:
        hours(running, 0.1)
        assert {order.outcome for order in orders(running)} == {Outcome.ACCEPTED}


@pytest.mark.parametrize(("says", "state"), [("keep", OrderState.OPEN), ("cancel", OrderState.CANCELLED)])
def test_who_leaves_active_at_simulated_time_keeps_or_cancels_its_open_orders(
    tmp_path: Path, says: str, state: OrderState
) -> None:
    body = 'self.context.orders.place("buy", "1", type="limit", limit_price="0.5")'
    root = fleet(tmp_path, body, minutes=60.0, rest=f"open_orders: {says}\n")
    with engine(root) as running:
        hours(running, 1.5)
        (resting,) = orders(running)
        assert resting.state is OrderState.OPEN
        path = root / "instances" / "one.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("mode: active", "mode: observe"), encoding="utf-8")
        running.parts.controller.hint()
        hours(running, 1.6)
        assert [order.state for order in orders(running)] == [state]


def test_simulated_time_goes_forward_only() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        SimulatedClock(5.0).move_to(4.0)
