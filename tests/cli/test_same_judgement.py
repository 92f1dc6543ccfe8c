"""One judgement of limits everywhere: what review says of a change, the engine does, and every place shows the same.

Each case is one change of settings or records. `validate --base` and `plan` read it from a real repository; a whole
engine that ran before it reads it too, and places its next order; page, metrics and `reconciler limits` show its state.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, cast

import pytest

from reconciler.cli.positions import _limit_row
from reconciler.clock import SimulatedClock
from reconciler.dashboard.attention import Surveyor, limit_concerns
from reconciler.dashboard.metrics import Metrics
from reconciler.inline import InlineEngine, inline_engine, paper_exchange
from reconciler.ports import StatusReader
from reconciler.settings.loading import load
from reconciler.sources.worktree import Worktree, WorktreeOptions
from tests.cli.conftest import Fleet

START_S = 1_767_225_600.0
BUYER = """
from reconciler.strategy import Strategy

class Buyer(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object"}

    def on_tick(self):
        self.context.orders.place("buy", "1")
"""
SETTINGS = """\
heartbeat_seconds: 60
paper: {{prices: prices.csv, speed: 1, begin: "2026-01-01", maker_fee: "0", taker_fee: "0"}}
exec_mcp:
  practice:
    transport: {{kind: paper}}
    accounts:
      main: {{money: paper, currency: {currency}, throttle: null{more}}}
      other: {{money: paper, currency: USD}}
{top}
"""
RECORD = """\
id: a
strategy_type: buyer
account: {{account_id: {account}, client_id: desk}}
market: BTC/USD
mode: {mode}
config: {{}}
"""
POSITION = 'max_position: {BTC/USD: "%s"}'
NEEDED = "require_limits: {money: paper, of: [max_position]}"
TEAM = 'limits: [{label: team=x, currency: USD, max_position: {BTC/USD: "2"}}]'
TEAMS = TEAM.removesuffix("]") + ', {label: team=y, currency: USD, max_position: {BTC/USD: "9"}}]'
LACKS = "active needs max_position: require_limits"
WARNED = "lacks max_position, which require_limits asks for: it opens nothing"
LACKING = "require_limits: active on paper money needs max_position"
GROSS = 'max_gross_notional: "1000"'
FACTOR = ', count_as: {USD: {EUR: "1"}}'


class Told(NamedTuple):
    """The settings and the record that are in force; what is not said is as it is by default."""

    main: str = ""
    top: str = ""
    own: str = ""
    mode: str = "active"
    labels: str = ""
    account: str = "main"
    currency: str = "USD"
    more: str = ""

    def write(self, root: Path) -> None:
        more = (f", limits: {{{self.main}}}" if self.main else "") + self.more
        settings = SETTINGS.format(top=self.top, currency=self.currency, more=more)
        (root / "reconciler.yaml").write_text(settings)
        record = RECORD.format(account=self.account, mode=self.mode)
        record += "".join(
            f"{key}: {{{value}}}\n" for key, value in (("labels", self.labels), ("limits", self.own)) if value
        )
        (root / "instances" / "a.yaml").write_text(record)


class Case(NamedTuple):
    """Two orders leave before the change. What each place says of it; nothing where it is empty."""

    before: Told
    after: Told
    validate: str
    """What the files say of themselves."""
    base: str
    """What they say as a change."""
    plan: str
    order: str
    """What the next order is refused for; empty: it leaves; `not active`: there is none."""
    limit: tuple[str, str, str, str, str] | None = None
    """Scope, limit, used, left and state, as `reconciler limits` has them once that order was placed."""


CASES = {
    "a rise without what is asked for": Case(
        Told(top=NEEDED, mode="observe"), Told(top=NEEDED),
        LACKS, LACKS, LACKS, "not active"),
    "a rise whose account has what is asked for": Case(
        Told(POSITION % 9, NEEDED, mode="observe"), Told(POSITION % 9, NEEDED), "", "", "observe → active", "",
        ("account main", "max_position[BTC/USD]", "1", "8", "within")),
    "an active one loses what is asked for": Case(
        Told(top=NEEDED, own='max_position: "9"'), Told(top=NEEDED),
        LACKS, "", WARNED, LACKING),
    "it is asked for of one that is active": Case(
        Told(), Told(top=NEEDED),
        LACKS, "", WARNED, LACKING),
    "a limit is raised": Case(
        Told(POSITION % 2), Told(POSITION % 4), "", "", '"2" → "4" WIDER', "",
        ("account main", "max_position[BTC/USD]", "3", "1", "within")),
    "a limit is raised to what is used then": Case(
        Told(POSITION % 2), Told(POSITION % 3), "", "", '"2" → "3" WIDER', "",
        ("account main", "max_position[BTC/USD]", "3", "0", "full")),
    "a limit is lowered below what is held": Case(
        Told(POSITION % 9), Told(POSITION % 1), "", "", '"9" → "1" tighter',
        "account main: max_position[BTC/USD]: 3 of 1",
        ("account main", "max_position[BTC/USD]", "2", "0", "reached")),
    "a limit is removed": Case(
        Told(POSITION % 2), Told(), "", "", '"2" → none (no limit) REMOVED', ""),
    "a limit is new": Case(
        Told(), Told('max_gross_notional: "100"'), "", "", 'max_gross_notional: none (no limit) → "100" added',
        "account main: max_gross_notional: 300.3 of 100",
        ("account main", "max_gross_notional", "200.2", "0", "reached")),
    "a label is left": Case(
        Told(top=TEAM, labels="team: x"), Told(top=TEAM),
        "", "", "leaves the limits of label team=x: they bind it until it is flat",
        "label team=x: max_position[BTC/USD]: 3 of 2", ("label team=x", "max_position[BTC/USD]", "2", "0", "full")),
    "a label is moved": Case(
        Told(top=TEAMS, labels="team: x"), Told(top=TEAMS, labels="team: y"),
        "", "", "leaves the limits of label team=x: they bind it until it is flat",
        "label team=x: max_position[BTC/USD]: 3 of 2", ("label team=y", "max_position[BTC/USD]", "2", "7", "within")),
    "a label is taken": Case(
        Told(top=TEAM), Told(top=TEAM, labels="team: x"), "", "", "labels.team",
        "label team=x: max_position[BTC/USD]: 3 of 2", ("label team=x", "max_position[BTC/USD]", "2", "0", "full")),
    "the limits of a label are removed": Case(
        Told(top=TEAM, labels="team: x"), Told(labels="team: x"), "", "", "REMOVED", ""),
    "an account is moved": Case(
        Told(POSITION % 2), Told(POSITION % 2, account="other"), "", "account_id", "account_id",
        "account main: max_position[BTC/USD]: 3 of 2", ("account main", "max_position[BTC/USD]", "2", "0", "full")),
    "a factor goes": Case(
        Told(GROSS, currency="EUR", more=FACTOR), Told(GROSS, currency="EUR"),
        "", "", "count_as", "account main: BTC/USD cannot be measured in EUR: no factor from USD",
        ("account main", "max_gross_notional", "not measured", "", "reached")),
    "a factor comes": Case(
        Told(GROSS), Told(GROSS, currency="EUR", more=FACTOR),
        "", "", "count_as", "", ("account main", "max_gross_notional", "300.3", "699.7", "within")),
}  # fmt: skip


@contextmanager
def running(root: Path) -> Iterator[InlineEngine]:
    settings, clock = load(root, {}), SimulatedClock(START_S)
    source = Worktree(root, clock, WorktreeOptions())
    with (
        paper_exchange(settings, clock) as exchange,
        inline_engine(settings, clock, exchange, source, seed="1") as engine,
    ):
        yield engine


def beats(engine: InlineEngine, number: int) -> None:
    clock = engine.parts.clock
    engine.run(clock.time() + 60 * number)


@pytest.fixture
def quiet_git(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GIT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def committed(root: Path) -> None:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "Before")):
        subprocess.run(("git", *who, *words), cwd=root, check=True, capture_output=True)


@pytest.mark.usefixtures("quiet_git")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_review_says_of_limits_the_engine_does_and_every_place_shows(case: Case, fleet: Fleet) -> None:
    root = fleet.root
    (root / "strategies" / "buyer.py").write_text(BUYER)
    (root / "prices.csv").write_text("date,BTC/USD\n2026-01-01T00:00:00,100\n2026-02-01T00:00:00,100\n")
    case.before.write(root)
    committed(root)
    with running(root) as engine:
        beats(engine, 2)
        before = len(engine.store.ledger.recent("a", 100, shadow=False))
        assert before == (2 if case.before.mode == "active" else 0)
        case.after.write(root)

        for words, said in (("validate",), case.validate), (("validate", "--base", "main"), case.base):
            told = fleet.run(*words)
            assert (told.exit_code, said in told.output) == (1 if said else 0, True), told.output
        planned = fleet.run("plan", "--base", "main").output
        assert case.plan.lower() in planned.lower(), planned

        engine.gateway.bound_by(load(root, {}).accounts)
        engine.parts.controller.hint()
        engine.settle()
        engine.gateway.scope_limits.bound()
        beats(engine, 1)
        if case.order == "not active":
            assert not engine.store.ledger.recent("a", 100, shadow=False)
            return
        (order,) = engine.store.ledger.recent("a", 1, shadow=False)
        assert order.reason.startswith(f"Limit: {case.order}" if case.order else ""), order.reason
        assert bool(order.rejected_by) is bool(case.order), order
        obstacles = [str(one.message) for one in engine.gateway.obstacles("a", "main")]
        is_shut = case.order == LACKING or (case.limit is not None and case.limit[4] == "reached")
        assert bool(obstacles) is is_shut, "the condition Trading says Limit where nothing at all may be opened"
        shown_everywhere(engine, case)


def shown_everywhere(engine: InlineEngine, case: Case) -> None:
    items = engine.parts.board.limits()
    told = {f"{one['scope']}: {one['limit']}": one for one in items if one["money"] == "paper"}
    if case.limit is None:
        assert not told
        return
    scope, limit, used, left, state = case.limit
    item = told[f"{scope}: {limit}"]
    row = _limit_row(item)
    assert (row[0], row[2], row[3], row[5], row[6]) == (scope, limit, used, left, state)
    (near,) = [one.text for one in limit_concerns([item])] or [""]
    if used == "not measured":
        assert not near, "it is not, but for a moment only, so far"
    else:
        assert near.startswith(limit if state != "within" else ""), near
        assert ("is reached" in near, "is full" in near) == (state == "reached", state == "full")
    status = cast(StatusReader, SimpleNamespace(limits=lambda: [item]))
    metrics = Metrics(status, cast(Surveyor, None), engine.parts.clock)._limits()
    gauges = {metric.name: [one.value for one in metric.samples] for metric in metrics}
    assert gauges["reconciler_limit_reached"] == [state == "reached"]
    assert gauges["reconciler_limit_used"] == ([] if used == "not measured" else [float(used)])
