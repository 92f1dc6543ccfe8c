"""Settings that change while an engine runs: limits hold at once, all else waits for a start, and is told."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reconciler.app import _SparedSource
from reconciler.assembly import Driver
from reconciler.clock import FakeClock
from reconciler.connections import Descriptors
from reconciler.exec_mcp.bridge import LoopBridge
from reconciler.inline import Still
from reconciler.orders.order import Order, Outcome
from reconciler.paper.account import PaperOptions
from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import Evaluation
from reconciler.records.plan import Phase
from reconciler.records.snapshot import Snapshot, SourceFile
from reconciler.runtime.host import ThreadHost
from reconciler.settings import accounts_in, load
from reconciler.settings.live_settings import CHANGED, LiveLimits, Staleness
from reconciler.sources.worktree import Worktree, WorktreeOptions
from tests.proof.floor import Floor, trading_floor, wait_until


def test_settings_that_change_are_told_until_they_are_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text("heartbeat_seconds: 6\n")
    staleness = Staleness(tmp_path)
    assert staleness.note() == ""
    file.write_text("heartbeat_seconds: 12\n")
    assert staleness.note() == CHANGED
    assert staleness.note() == CHANGED
    file.write_text("heartbeat_seconds: 6\n")
    assert staleness.note() == ""


def test_a_file_that_was_only_touched_has_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text("heartbeat_seconds: 6\n")
    staleness = Staleness(tmp_path)
    os.utime(file, (1, 1))
    assert staleness.note() == ""


def test_a_file_that_comes_or_goes_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    staleness = Staleness(tmp_path)
    assert staleness.note() == ""
    file.write_text("heartbeat_seconds: 6\n")
    assert staleness.note() == CHANGED
    staleness = Staleness(tmp_path)
    file.unlink()
    assert staleness.note() == CHANGED


def settings(daily_loss: str, beat: str = "6") -> str:
    return (
        f"heartbeat_seconds: {beat}\n"
        "exec_mcp: {k: {transport: {kind: http, url: 'http://x'}, accounts: {main: {money: real, currency: USD,"
        f" limits: {{max_daily_loss: '{daily_loss}'}}}}}}}}}}\n"
        "limits: [{all: true, currency: USD, max_open_orders: 5}]\n"
    )


def test_limits_need_no_restart_and_all_else_does(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    staleness = Staleness(tmp_path)
    file.write_text(settings("500").replace("max_open_orders: 5", "max_open_orders: 7"))
    assert staleness.note() == ""
    file.write_text(settings("500", beat="7"))
    assert staleness.note() == CHANGED


def test_limits_of_a_changed_file_are_told_once(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    told: list[Accounts] = []
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    limits.tell = told.append
    assert not limits.look()
    file.write_text(settings("500"))
    os.utime(file, (1, 1))
    assert limits.look()
    assert not limits.look()
    (accounts,) = told
    assert accounts.declared["main"].ceilings.max_daily_loss == 500
    assert limits.accounts is accounts


def test_a_file_that_cannot_be_used_leaves_the_limits_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    before = limits.accounts
    for number, text in enumerate(("limits: [", "limits: [{all: true}]", settings("-5")), 1):
        file.write_text(text)
        os.utime(file, (number, number))
        assert not limits.look()
    assert limits.accounts is before


@pytest.mark.parametrize("lost", ["", "\n# and no more\n", None])
def test_a_file_that_is_gone_or_empty_for_a_moment_lifts_no_limit_and_is_told(tmp_path: Path, lost: str | None) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    limits.tell = lambda accounts: pytest.fail("no limit changed")
    before = limits.accounts
    if lost is None:
        file.unlink()
    else:
        file.write_text(lost)
        os.utime(file, (1, 1))
    assert not limits.look()
    assert limits.accounts is before
    assert ("is gone" if lost is None else "says nothing") in limits.fault
    assert "limits stay as they were" in limits.fault
    file.write_text(settings("1000"))
    os.utime(file, (2, 2))
    assert not limits.look()
    assert limits.fault == ""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells who has a file open")
def test_a_file_that_is_still_open_for_writing_changes_no_limit_and_is_looked_at_again(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    before, whole = limits.accounts, settings("500")
    with file.open("w") as writing:
        writing.write(whole.replace("limits: {max_daily_loss: '500'}", "").partition("limits: [")[0])
        writing.flush()
        os.utime(file, (1, 1))
        assert accounts_in(file.read_bytes()) is not None, "half of it is valid, and has no limits"
        assert not limits.look()
        assert limits.is_unfinished
        assert limits.accounts is before
        writing.seek(0)
        writing.write(whole)
    assert limits.look()
    assert not limits.is_unfinished
    assert limits.accounts.declared["main"].ceilings.max_daily_loss == 500


def test_settings_that_are_still_being_written_are_looked_at_again_soon(tmp_path: Path) -> None:
    (tmp_path / "reconciler.yaml").write_text(settings("1000"))
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    snapshot = Snapshot((), (), (), None, revision=None, clean=True, whole=True)
    limits.is_unfinished = True
    assert _SparedSource(Still(snapshot), Descriptors(), limits).read().settings_unfinished


def test_an_account_that_is_new_waits_for_a_start_and_so_does_other_money(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    file.write_text(settings("500").replace("{main: {money: real", "{new: {money: paper}, main: {money: paper"))
    os.utime(file, (1, 1))
    assert limits.look()
    assert set(limits.accounts.declared) == {"main"}
    assert limits.accounts.is_real("main")


def test_of_commits_each_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "reconciler.yaml").write_text(settings("1000"))
    told: list[Accounts] = []
    asked: list[str] = []

    def read(commit: str) -> bytes:
        asked.append(commit)
        return settings("700" if commit == "b" else "1000").encode()

    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path, read)
    limits.tell = told.append
    for commit in ("a", "a", "b", "b", None):
        limits.follow(commit)
    assert asked == ["a", "b"]
    assert [accounts.declared["main"].ceilings.max_daily_loss for accounts in told] == [700]


def test_files_are_judged_anew_where_limits_that_they_must_have_changed(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    snapshot = Snapshot(
        (SourceFile("instances/a.yaml", b"", "d", True),), (), (), None, revision=None, clean=True, whole=True
    )
    source = _SparedSource(Still(snapshot), Descriptors(), limits)
    assert source.read() is snapshot
    file.write_text(settings("500"))
    os.utime(file, (1, 1))
    judged = source.read()
    assert judged.instances is not snapshot.instances
    assert judged == snapshot
    assert source.read() is snapshot


# On a whole engine: threads, a loop, real files, real MCP.

BUYER = """
from reconciler.strategy import Strategy

class Buyer(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object"}

    def on_tick(self):
        self.context.orders.place("buy", "1")
"""
RECORD = """\
id: buyer
strategy_type: buyer
account: {account_id: main, client_id: desk-a}
market: EUR/USD
mode: active
config: {}
description: NOTE
"""


@dataclass
class Fleet:
    """An engine whose passes can be held between the reading of what changed and the deciding about it."""

    floor: Floor
    root: Path
    open: threading.Event
    held: threading.Event = field(default_factory=threading.Event)
    passes: int = 0

    def says(self, *limits: str, label: str = "") -> None:
        """The settings say these limits of the account, and of a label; the record says something else, too."""
        self.passes += 1
        (self.root / "reconciler.yaml").write_text(
            "exec_mcp: {paper: {transport: {kind: paper}, accounts: {main: {money: paper, currency: USD,"
            f" limits: {{{', '.join(limits)}}}}}}}}}}}\nlimits: [{label}]\n"
        )
        os.utime(self.root / "reconciler.yaml", (self.passes, self.passes))
        (self.root / "instances" / "buyer.yaml").write_text(RECORD.replace("NOTE", f"note {self.passes}"))

    def reads(self) -> None:
        """Passes until it has come to rest."""
        while self.floor.engine.controller.run_pass() or self.floor.engine.controller.has_work():
            pass

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A pass that has read what changed, and decides about it only afterwards."""
        self.open.clear()
        self.held.clear()
        self.floor.engine.controller.hint()
        reader = threading.Thread(target=self.reads)
        reader.start()
        assert self.held.wait(60)
        try:
            yield
        finally:
            self.open.set()
            reader.join(60)
        assert not reader.is_alive()

    def buys(self) -> Order:
        """The order of the next beat."""
        self.floor.beat()
        assert not self.floor.host.ticks().errors
        (order,) = self.floor.engine.gateway.recent("buyer", 1, shadow=False)
        return order


@contextmanager
def fleet(root: Path) -> Iterator[Fleet]:
    (root / "strategies").mkdir()
    (root / "instances").mkdir()
    (root / "strategies" / "buyer.py").write_text(BUYER)
    told = Fleet(None, root, threading.Event())  # type: ignore[arg-type]
    told.open.set()
    told.says('max_position: {EUR/USD: "2"}')

    def judge(evaluation: Evaluation) -> Evaluation:
        told.held.set()
        assert told.open.wait(60)
        return evaluation

    limits = LiveLimits(load(root, {}).accounts, root)
    source = _SparedSource(Worktree(root, FakeClock(), WorktreeOptions()), Descriptors(), limits)
    options = PaperOptions()
    with trading_floor(
        root, options, source, lambda: Driver(LoopBridge(), ThreadHost, limits=limits, judge=judge)
    ) as floor:
        told.floor = floor
        floor.engine.controller.hint()
        told.reads()
        running = [Phase.RUNNING]
        wait_until(lambda: [view.phase for view in floor.host.views().values()] == running, "the instance to be loaded")
        told.reads()
        yield told


def refused(order: Order) -> str:
    assert order.outcome is Outcome.REJECTED, order
    return order.reason.partition(" are used")[0]


def test_changed_limits_hold_from_the_pass_that_reads_them_and_the_stricter_ones_first(tmp_path: Path) -> None:
    with fleet(tmp_path) as told:
        assert [told.buys().outcome for _ in range(2)] == [Outcome.ACCEPTED] * 2
        assert refused(told.buys()) == "Limit: account main: max_position[EUR/USD]: 3 of 2"

        told.says('max_position: {EUR/USD: "3"}')
        with told.reading():
            assert refused(told.buys()) == "Limit: account main: max_position[EUR/USD]: 3 of 2", "the pass is not over"
        assert told.buys().outcome is Outcome.ACCEPTED
        assert refused(told.buys()) == "Limit: account main: max_position[EUR/USD]: 4 of 3"

        told.says('max_position: {EUR/USD: "9"}', label='{all: true, currency: USD, max_position: {EUR/USD: "1"}}')
        with told.reading():
            assert refused(told.buys()) == "Limit: account main: max_position[EUR/USD]: 4 of 3", "those of before"
            bound = [(one["scope"], one["most"], one["reached"]) for one in told.floor.engine.gateway.limits()]
            assert bound == [("account main", "3", False), ("account main", "9", False), ("all", "1", True)]
        assert refused(told.buys()) == "Limit: all: max_position[EUR/USD]: 4 of 1"

        told.says('max_position: {EUR/USD: "many"}')
        told.floor.engine.controller.hint()
        told.reads()
        assert refused(told.buys()) == "Limit: all: max_position[EUR/USD]: 4 of 1", "what cannot be used says nothing"

        told.says('max_position: {EUR/USD: "4"}')
        told.floor.engine.controller.hint()
        told.reads()
        assert told.buys().outcome is Outcome.ACCEPTED
        assert refused(told.buys()) == "Limit: account main: max_position[EUR/USD]: 5 of 4"
