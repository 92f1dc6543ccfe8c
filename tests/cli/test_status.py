"""What `status` says beside modes: problems without an instance, filters, what is held, ages, on any width."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import click
import pytest

from reconciler.clock import SystemClock, iso
from reconciler.orders.order import OrderNews, OrderState, Outcome
from tests.cli.conftest import START_S, FakeEngine, Fleet, an_order, live_item

BROKEN = {"path": "instances/foo.yaml", "line": 2, "column": 1, "pointer": "", "message": "expected spaces, was a tab"}


def test_files_that_have_a_problem_and_no_instance_are_told_below(fleet: Fleet, engine: FakeEngine) -> None:
    engine.items = [live_item("a")]
    engine.problems = [BROKEN, {**BROKEN, "path": "instances/a.yaml", "pointer": "config.levels", "hint": "write 5"}]
    result = fleet.run("status")
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [
        "instances/foo.yaml:2:1: expected spaces, was a tab",
        "1 problem of files that have no instance here; all of them: reconciler validate",
    ]
    assert "instances/a.yaml:2:1: config.levels: expected spaces, was a tab (write 5)" in result.stdout
    assert json.loads(fleet.run("status", "--format", "json").stdout)["problems"] == engine.problems
    assert "problem:    instances/a.yaml:2:1: config.levels" in fleet.run("status", "a").stdout


def test_status_of_what_is_no_instance_yet_says_what_is_wrong_with_its_file(fleet: Fleet, engine: FakeEngine) -> None:
    fleet.write("a")
    fleet.apply()
    engine.problems = [BROKEN]
    result = fleet.run("status", "foo")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "foo: no instance yet, for its file has a problem",
        "instances/foo.yaml:2:1: expected spaces, was a tab",
    ]


def test_problems_are_told_without_an_engine_too(trading: Fleet) -> None:
    (trading.root / "instances" / "foo.yaml").write_text("id: foo\n\tbar: 1\n")
    trading.apply()
    assert "instances/foo.yaml:2:1: " in trading.run("status").stdout
    assert trading.run("status", "foo").stderr.splitlines()[-1].startswith("instances/foo.yaml:2:1: ")


def test_a_new_file_with_a_problem_has_a_row_without_mode_and_says_what_is_wrong(trading: Fleet) -> None:
    (trading.root / "instances" / "foo.yaml").write_text("id: foo\n\tbar: 1\n")
    trading.apply()
    result = trading.run("status")
    row = next(line for line in result.stdout.splitlines() if line.startswith("foo "))
    assert row.split()[:9] == ["foo", "-", "-", "-", "-", "Invalid", "-", "-", "-"]
    assert "no instance yet: instances/foo.yaml:2:1: " in row
    assert "1 file is no instance yet; all that is wrong with them: reconciler validate" in result.stderr
    assert "of files that have no instance here" not in result.stderr
    for narrowed, is_told in ((("--sync", "Invalid"), True), (("--q", "FOO"), True), (("--mode", "observe"), False)):
        assert ("foo.yaml" in trading.run("status", *narrowed).stdout) is is_told
    assert all(item["id"] != "foo" for item in json.loads(trading.run("status", "--format", "json").stdout)["items"])


def test_filters_are_those_of_the_page_with_an_engine(fleet: Fleet, engine: FakeEngine) -> None:
    words = (
        "--q btc --label team=majors --mode active --health Degraded --sync Synced --strategy-type grid --account main"
    )
    assert fleet.run("status", *words.split()).exit_code == 0
    assert engine.asked == {
        "q": "btc",
        "label": "team=majors",
        "mode": "active",
        "health": "Degraded",
        "sync": "Synced",
        "strategy_type": "grid",
        "account": "main",
        "limit": "1000",
        "offset": "0",
    }


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("--q A", {"a"}),
        ("--mode off", {"b"}),
        ("--health Off", {"a", "b"}),
        ("--sync Invalid", set()),
        ("--strategy-type drift", {"a", "b"}),
        ("--account other", set()),
        ("--label team", set()),
    ],
)
def test_filters_mean_the_same_without_an_engine(trading: Fleet, words: str, ids: set[str]) -> None:
    told = json.loads(trading.run("status", "--format", "json", *words.split()).stdout)
    assert {item["id"] for item in told["items"]} == ids


def test_a_filter_beside_an_id_is_refused(trading: Fleet) -> None:
    assert trading.run("status", "a", "--mode", "off").exit_code == 2


def test_what_is_held_and_what_it_earned_stand_in_the_row(trading: Fleet) -> None:
    output = trading.run("status").stdout
    assert output.splitlines()[0].split()[7:9] == ["POSITION", "PROFIT"]
    assert "  0.1  " in output
    assert "  -1 USD  " in output
    assert "position:   0.1\nprofit:     -1 USD\n" in trading.run("status", "a").stdout
    assert "position:   -\nprofit:     -\n" in trading.run("status", "b").stdout


def test_a_position_in_doubt_is_not_known(trading: Fleet) -> None:
    with trading.store() as store:
        store.ledger.append(an_order("x2", Outcome.UNKNOWN, START_S))
    assert "position:   not known\n" in trading.run("status", "a").stdout


def test_a_simulated_position_is_called_that(trading: Fleet) -> None:
    observed = an_order("s1", Outcome.SHADOW, START_S)
    with trading.store() as store:
        provenance = replace(observed.provenance, instance_id="b")
        store.ledger.append(replace(observed, provenance=provenance, state=OrderState.OPEN))
        store.ledger.settle("s1", OrderNews(state=OrderState.FILLED, filled_quantity=Decimal("0.1")))
    assert "position:   0.1 simulated\n" in trading.run("status", "b").stdout


def test_the_last_tick_is_an_age_for_people_and_a_time_for_machines(fleet: Fleet, engine: FakeEngine) -> None:
    item = live_item("a")
    then = iso(SystemClock().time() - 3 * 3_600)
    engine.items = [{**item, "ticks": {**item["ticks"], "last_at": then}}]  # type: ignore[dict-item]
    assert "3 h ago" in fleet.run("status").stdout
    assert json.loads(fleet.run("status", "--format", "json").stdout)["items"][0]["ticks"]["last_at"] == then


@pytest.mark.parametrize(("reason", "noted"), [("RenderFailed", True), ("TicksMissed", True), ("Ticking", False)])
def test_what_is_amiss_though_it_ticks_is_noted(fleet: Fleet, engine: FakeEngine, reason: str, noted: bool) -> None:
    ready = {"type": "Ready", "status": "True", "reason": reason, "message": "", "last_transition_at": ""}
    engine.items = [{**live_item("a"), "conditions": [ready]}]
    assert (reason in fleet.run("status").stdout) is noted


@pytest.mark.parametrize("width", [80, 60])
def test_a_narrow_terminal_keeps_what_a_trader_reads(
    fleet: Fleet, engine: FakeEngine, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [live_item("btc-usd-grid"), live_item("eur-usd-dca")]
    engine.items = [{**item, "paused": False, "effective_mode": "active", "sync": "OutOfSync"} for item in items]
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("reconciler.cli.output.is_terminal", lambda: True)
    lines = click.unstyle(fleet.run("status").stdout).splitlines()
    assert {"ID", "MODE", "HEALTH", "POSITION"} <= set(lines[0].split())
    assert [line.split()[0] for line in lines[1:]] == ["btc-usd-grid", "eur-usd-dca"]
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize(("width", "kept"), [(80, {"SYNC", "PROFIT"}), (60, set[str]())])
def test_what_is_wrong_with_a_file_stands_below_its_row_and_leaves_the_table_whole(
    fleet: Fleet, engine: FakeEngine, width: int, kept: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {**live_item("btc-usd-grid"), "sync": "Invalid", "health": "Healthy", "obstacles": [], "conditions": []}
    first = {**first, "path": "instances/btc-usd-grid.yaml", "paused": False, "effective_mode": "active"}
    engine.items = [first, {**first, "id": "eur-usd-dca", "path": "instances/eur-usd-dca.yaml"}]
    message = 'expected an integer, was "five"'
    engine.problems = [{**BROKEN, "path": first["path"], "pointer": "config.levels", "message": message}]
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("reconciler.cli.output.is_terminal", lambda: True)
    head, row, *below, last = click.unstyle(fleet.run("status").stdout).splitlines()
    assert {"ID", "MODE", "HEALTH", "POSITION"} | kept <= set(head.split())
    assert [row.split()[0], last.split()[0]] == ["btc-usd-grid", "eur-usd-dca"]
    assert " ".join(line.strip() for line in below) == f"instances/btc-usd-grid.yaml:2:1: config.levels: {message}"
    assert max(map(len, (head, row, *below, last))) <= width
