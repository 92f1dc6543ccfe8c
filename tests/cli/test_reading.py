"""`status`, `show`, `events`, `history`, `orders`: what the database knows, and what only a running engine does."""

from __future__ import annotations

import json
from dataclasses import replace

import click
import pytest

from reconciler.clock import SystemClock
from reconciler.orders.order import OrderState, Outcome, RejectedBy
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.store.halt_requests import HaltRequests
from tests.cli.conftest import START_S, FakeEngine, Fleet, an_order, live_item

NO_ENGINE = "no engine is running here: this is what is applied, and nothing ticks\n"


@pytest.fixture
def applied(fleet: Fleet) -> Fleet:
    """Two instances that an engine has seen: `a` changed once since, `b` not."""
    fleet.write("a", levels=3)
    fleet.write("b", mode="off")
    fleet.apply()
    fleet.clock.advance(60)
    fleet.write("a", levels=4)
    fleet.apply()
    return fleet


@pytest.mark.parametrize("command", ["status", "show a", "events", "history a", "orders"])
def test_before_the_first_run_every_reader_says_what_to_do(fleet: Fleet, command: str) -> None:
    result = fleet.run(*command.split())
    assert (result.exit_code, result.stdout) == (1, "")
    assert "start it once with: reconciler run" in result.stderr


def test_status_without_an_engine_shows_what_is_applied_and_says_so(applied: Fleet) -> None:
    result = applied.run("status")
    assert (result.exit_code, result.stderr) == (0, NO_ENGINE)
    head, *rows = [line.split() for line in result.stdout.splitlines()]
    assert head[:5] == ["ID", "STRATEGY", "MARKET", "ACCOUNT", "MODE"]
    assert [row[:2] for row in rows] == [["a", "drift"], ["b", "drift"]]
    assert rows[0][4:8] == ["observe", "(in", "force:", "off)"]


def test_status_as_json_has_the_items_of_the_api(applied: Fleet) -> None:
    told = json.loads(applied.run("status", "--format", "json").stdout)
    assert [(item["id"], item["sync"], item["health"]) for item in told["items"]] == [
        ("a", "Synced", "Off"),
        ("b", "Synced", "Off"),
    ]
    assert told["halts"] == []
    assert json.loads(applied.run("status", "b", "--format", "json").stdout) == {**told["items"][1], "halts": []}


def test_status_asks_the_engine_where_one_runs_page_after_page(fleet: Fleet, engine: FakeEngine) -> None:
    engine.items = [live_item(f"i{n:04}") for n in range(2001)]
    result = fleet.run("status")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 2002
    assert "active (in force: observe), paused" in result.stdout


def test_status_of_one_has_its_conditions(fleet: Fleet, engine: FakeEngine) -> None:
    condition = {
        "type": "Trading",
        "status": "False",
        "reason": "Paused",
        "message": "an operator paused it",
        "last_transition_at": "2026-01-31T12:00:00.000Z",
    }
    engine.items = [{**live_item("a"), "conditions": [condition]}]
    output = fleet.run("status", "a").stdout
    assert "generation: 2, running: 1\n" in output
    assert "Trading:    False  Paused  an operator paused it  (since 2026-01-31T12:00:00.000Z)\n" in output


@pytest.mark.parametrize("command", ["status", "show", "history", "events", "orders"])
def test_an_id_that_nobody_knows_fails_with_the_nearest(applied: Fleet, engine: FakeEngine, command: str) -> None:
    applied.write("btc-grid-1")
    applied.apply()
    result = applied.run(command, "nope")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "nope: there is no such instance; all there are: reconciler status\n"
    result = applied.run(command, "btc-gird-1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == 'btc-gird-1: there is no such instance; did you mean "btc-grid-1"?\n'


def test_status_of_one_that_was_removed_says_when(applied: Fleet, engine: FakeEngine) -> None:
    (applied.root / "instances" / "b.yaml").unlink()
    applied.apply("b")
    result = applied.run("status", "b")
    assert result.exit_code == 1
    assert result.stderr.startswith("b was removed at 2023-11-14T22:14:20.000Z; its past: reconciler history b")


def test_status_of_one_that_was_removed_and_is_back_says_why_it_is_refused_and_what_to_do(applied: Fleet) -> None:
    (applied.root / "instances" / "b.yaml").unlink()
    applied.apply("b")
    applied.write("b", mode="active")
    applied.apply()
    told = applied.run("status", "b").stderr
    assert "its file is back, and refused: instances/b.yaml:" in told
    assert "off → active; a returning id starts from off" in told
    assert "merge `mode: observe` first, watch it tick, then raise it to active in a second change" in told


def test_a_refused_file_has_events_and_no_instance_yet(applied: Fleet) -> None:
    with applied.store() as store:
        store.events.record("new", "Warning", "Refused", "starts active")
    assert "Refused  starts active" in applied.run("events", "new").stdout


NO_MORE = {"cancel": False, "flatten": None}
HALTS = [
    {"scope": scope, "id": id_, "full": full, "reason": reason, "by": by, "at": "2026-01-31T12:00:00Z", **NO_MORE}
    for scope, id_, full, reason, by in (
        ("all", "", True, "prices are wrong", "uid 0"),
        ("account", "other", False, "r", "git"),
        ("instance", "a", False, "odd", "engine"),
    )
]


def test_status_says_what_is_halted_before_all_else(fleet: Fleet, engine: FakeEngine) -> None:
    engine.items = [live_item("a"), live_item("b")]
    engine.halts = list(HALTS)
    result = fleet.run("status")
    assert result.stderr.splitlines() == [
        "HALTED  everything, nothing passes: prices are wrong (by uid 0, since 2026-01-31T12:00:00Z)",
        "HALTED  account other, no new exposure: r (by git, since 2026-01-31T12:00:00Z)",
        "HALTED  instance a, no new exposure: odd (by engine, since 2026-01-31T12:00:00Z)",
    ]
    assert len(result.stdout.splitlines()) == 3
    assert [line.split(",")[0] for line in fleet.run("status", "a").stderr.splitlines()] == [
        "HALTED  everything",
        "HALTED  instance a",
    ]
    told = json.loads(fleet.run("status", "--format", "json").stdout)
    assert len(told["items"]) == 2
    assert told["problems"] == []
    assert told["halts"] == HALTS
    one = json.loads(fleet.run("status", "a", "--format", "json").stdout)
    assert one["halts"] == [HALTS[0], HALTS[2]]


def test_status_says_that_nothing_ticks_and_what_is_not_stored(fleet: Fleet, engine: FakeEngine) -> None:
    engine.items = [live_item("a")]
    engine.halts = [{**HALTS[0], "stored": False}]
    engine.engine_says = {"no_beat": "no beat can be committed: disk full", "descriptors_note": "all are used up"}
    said = fleet.run("status").stderr.splitlines()[1:]
    assert said == [
        "note: nothing ticks: no beat can be committed: disk full",
        "note: the halt of everything is in force, the database has not taken it yet",
        "note: all are used up",
    ]


def test_status_knows_halts_that_wait_for_an_engine(applied: Fleet) -> None:
    waiting = Halt("all", "", False, "fire", "uid 0", "2026-01-31T12:00:00.000Z")
    HaltRequests(applied.database.parent, applied.clock).append(waiting)
    assert "HALTED  everything, no new exposure: fire (by uid 0" in applied.run("status").stderr


def notes(fleet: Fleet, instance_id: str) -> str:
    """What the table says of an instance at the end of its line."""
    (line,) = [line for line in fleet.run("status").stdout.splitlines() if line.startswith(f"{instance_id} ")]
    return line.rstrip().rpartition("  ")[2]


def test_the_table_of_status_says_what_freezes_or_endangers_an_instance(fleet: Fleet, engine: FakeEngine) -> None:
    caveat = {"type": "Trading", "status": "True", "reason": "OrderMissing", "message": "", "last_transition_at": ""}
    doubt = [{"reason": "Halted", "message": ""}, {"reason": "UnknownOrder", "message": "x1"}]
    engine.items = [
        {**live_item("a"), "real_money": True, "frozen_with_exposure": True, "obstacles": doubt},
        {**live_item("b"), "conditions": [caveat]},
        live_item("c"),
    ]
    engine.halts = [HALTS[2]]
    assert notes(fleet, "a") == "real money, halted, frozen with exposure, UnknownOrder"
    assert notes(fleet, "b") == "OrderMissing"
    assert notes(fleet, "c") == "-"
    engine.halts = list(HALTS)
    assert notes(fleet, "a").startswith("real money, halted in full, frozen")
    assert "notes:      halted in full\n" in fleet.run("status", "c").stdout


def test_status_without_an_engine_says_what_is_in_doubt_frozen_halted_and_real(applied: Fleet) -> None:
    declared = "{kraken: {transport: {kind: stdio, command: [x]}, accounts: {main: {money: real}}}}"
    (applied.root / "reconciler.yaml").write_text(f"exec_mcp: {declared}\n")
    with applied.store() as store:
        store.ledger.append(an_order("x1", Outcome.UNKNOWN, START_S))
    (applied.root / "instances" / "_halt.yaml").write_text("- {scope: instance, id: b, full: true, reason: odd}\n")
    assert notes(applied, "a") == "real money, frozen with exposure, UnknownOrder"
    assert notes(applied, "b") == "real money, halted in full"
    told = json.loads(applied.run("status", "--format", "json").stdout)
    assert told["items"][0]["obstacles"] == [
        {"reason": "Mode", "message": "no engine is running"},
        {"reason": "UnknownOrder", "message": "it is not known whether x1 was placed"},
    ]
    assert (told["halts"][0]["id"], told["halts"][0]["by"]) == ("b", "instances/_halt.yaml")
    assert "it is not known whether x1 was placed" in applied.run("status", "a").stdout


def test_status_knows_halts_without_an_engine_too(applied: Fleet) -> None:
    with applied.store() as store:
        store.halts.add("account", "main", full=False, reason="odd fills", by="uid 0")
    assert "HALTED  account main, no new exposure: odd fills (by uid 0" in applied.run("status", "b").stderr


def test_show_says_which_line_each_value_comes_from_and_what_is_default(applied: Fleet) -> None:
    result = applied.run("show", "a")
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()[1:]}
    assert rows["id"] == ["a", "instances/a.yaml:1"]
    assert rows["account.client_id"] == ["desk-a", "instances/a.yaml:3"]
    assert rows["config.levels"] == ["4", "instances/a.yaml:7"]
    assert rows["config.pace"] == ["slow", "default"]
    assert result.stderr.startswith("generation 2, applied at 2023-11-14T22:14:20.000Z, not committed")


def test_show_leaves_lines_out_where_the_file_says_something_else_by_now(applied: Fleet) -> None:
    applied.write("a", levels=9)
    result = applied.run("show", "a")
    assert "config.levels       4        instances/a.yaml" in result.stdout
    assert "instances/a.yaml:" not in result.stdout
    assert "instances/a.yaml has changed since this was applied: lines are left out\n" in result.stderr


def test_show_names_the_template_a_value_comes_from(fleet: Fleet) -> None:
    template = fleet.root / "instances" / "_templates" / "slow.yaml"
    template.parent.mkdir()
    template.write_text("config:\n  levels: 3\n")
    file = fleet.write("a")
    file.write_text(file.read_text().partition("config:")[0] + "template: slow\n")
    fleet.apply()
    assert "config.levels       3        instances/_templates/slow.yaml:2" in fleet.run("show", "a").stdout
    template.write_text("config: {levels: 4}\n")
    result = fleet.run("show", "a")
    assert "config.levels       3        instances/_templates/slow.yaml\n" in result.stdout
    assert "instances/_templates/slow.yaml has changed since this was applied: lines are left out" in result.stderr
    fleet.apply()
    assert "config.levels: 3 → 4; through instances/_templates/slow.yaml" in fleet.run("history", "a").stdout


def test_show_as_json_has_every_value_with_its_origin(applied: Fleet) -> None:
    items = json.loads(applied.run("show", "a", "--format", "json").stdout)["items"]
    assert {"pointer": "config.levels", "text": "4", "origin": "instances/a.yaml:7"} in items
    assert {"pointer": "config.pace", "text": "slow", "origin": "default"} in items


def test_history_tells_what_changed_newest_first(applied: Fleet) -> None:
    lines = applied.run("history", "a").stdout.splitlines()
    assert lines[1].split()[0] == "2"
    assert "config.levels: 3 → 4" in lines[1]
    assert lines[2].split()[0] == "1"
    items = json.loads(applied.run("history", "a", "--format", "json", "--limit", "1").stdout)["items"]
    assert [item["generation"] for item in items] == [2]
    assert items[0]["values"]["config"] == {"levels": 4}


def test_events_are_a_log_with_the_newest_last_and_repeats_counted(applied: Fleet) -> None:
    with applied.store() as store:
        store.events.record("a", "Normal", "Loaded", "loaded")
        store.flush()
        for _ in range(3):
            applied.clock.advance(1)
            store.events.record("a", "Warning", "TickFailed", "ValueError: no")
            store.flush()
        store.events.record(None, "Normal", "Started", "engine started")
    lines = applied.run("events", "a").stdout.splitlines()
    assert lines[0].endswith("Normal   a  Loaded  loaded")
    assert lines[1].endswith("Warning  a  TickFailed  ValueError: no  (×3 since 2023-11-14T22:14:21.000Z)")
    assert len(lines) == 2
    assert "engine  Started" in applied.run("events").stdout
    items = json.loads(applied.run("events", "--format", "json").stdout)["items"]
    assert {item["reason"] for item in items} == {"Loaded", "TickFailed", "Started"}


def test_what_observe_was_refused_is_in_the_shadow_book_and_says_by_whom(applied: Fleet) -> None:
    real = an_order("real", Outcome.REJECTED, START_S)
    observed = an_order("observed", Outcome.REJECTED, START_S)
    observed = replace(observed, provenance=replace(observed.provenance, mode=Mode.OBSERVE))
    with applied.store() as store:
        store.ledger.append(replace(real, reason="no funds", rejected_by=RejectedBy.EXCHANGE))
        store.ledger.append(replace(observed, reason="too large", rejected_by=RejectedBy.GATEWAY))
    (row,) = applied.run("orders").stdout.splitlines()[1:]
    assert row.split()[2:6] == ["real", "rejected", "by", "exchange"]
    (row,) = applied.run("orders", "--shadow").stdout.splitlines()[1:]
    assert row.split()[2:7] == ["observed", "rejected", "by", "gateway,", "simulated"]
    (item,) = json.loads(applied.run("orders", "--format", "json").stdout)["items"]
    assert (item["client_order_id"], item["rejected_by"], item["shadow"]) == ("real", "exchange", False)


@pytest.mark.parametrize("words", [["events", "--follow"], ["status", "--watch"], ["status", "a", "--watch"]])
def test_ctrl_c_ends_watching_without_a_word(applied: Fleet, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(SystemClock, "wait", interrupted)
    result = applied.run(*words)
    assert result.exit_code == 130
    assert "Aborted" not in result.output


def test_orders_are_newest_first_and_simulated_ones_only_where_asked_for(applied: Fleet) -> None:
    with applied.store() as store:
        for n, outcome in enumerate((Outcome.REJECTED, Outcome.SHADOW, Outcome.UNKNOWN)):
            store.ledger.append(replace(an_order(f"o{n}", outcome, START_S + n), reason=f"because {n}"))
    rows = [line.split() for line in applied.run("orders").stdout.splitlines()]
    assert [row[2:4] for row in rows[1:]] == [["o2", "unknown"], ["o0", "rejected"]]
    assert rows[1][4:8] == ["buy", "limit", "0.1", "60000"]
    shadow = json.loads(applied.run("orders", "--shadow", "--format", "json").stdout)["items"]
    assert [(order["client_order_id"], order["beat"]) for order in shadow] == [("o1", 5)]
    assert len(applied.run("orders", "a", "--limit", "1").stdout.splitlines()) == 2
    assert len(applied.run("orders", "b").stdout.splitlines()) == 1


def test_where_orders_are_all_of_one_instance_its_id_goes_before_their_time(
    applied: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with applied.store() as store:
        store.ledger.append(an_order("o1", Outcome.REJECTED, START_S))
    monkeypatch.setenv("COLUMNS", "74")
    monkeypatch.setattr("reconciler.cli.output.is_terminal", lambda: True)
    head = click.unstyle(applied.run("orders", "a").stdout).splitlines()[0].split()
    assert {"CREATED", "OUTCOME", "LIMIT"} <= set(head)
    assert "INSTANCE" not in head
    assert "INSTANCE" in click.unstyle(applied.run("orders").stdout).splitlines()[0].split()


def test_orders_are_narrowed_by_outcome_state_and_time(applied: Fleet) -> None:
    with applied.store() as store:
        for n, outcome in enumerate((Outcome.REJECTED, Outcome.ACCEPTED, Outcome.UNKNOWN)):
            state = OrderState.OPEN if outcome is Outcome.ACCEPTED else None
            store.ledger.append(replace(an_order(f"o{n}", outcome, START_S + 3_600 * n), state=state))

    def ids(*options: str) -> list[str]:
        items = json.loads(applied.run("orders", "--format", "json", *options).stdout)["items"]
        return [item["client_order_id"] for item in items]

    assert ids("--outcome", "unknown") == ["o2"]
    assert ids("--state", "open") == ["o1"]
    assert ids("--since", "2023-11-14T23:13:20", "--until", "2023-11-15T00:13:20+00:00") == ["o1"]
    assert ids("--until", "1w") == ["o2", "o1", "o0"]
    assert ids("--since", "1w") == []
    assert applied.run("orders", "--outcome", "filled").exit_code == 2


def test_an_order_says_where_it_came_from(applied: Fleet) -> None:
    committed = replace(an_order("x", Outcome.ACCEPTED, START_S), reason="")
    committed = replace(committed, provenance=replace(committed.provenance, revision="4f2c9d1e8b7a60513f2c", beat=77))
    with applied.store() as store:
        store.ledger.append(committed)
        store.ledger.append(an_order("y", Outcome.ACCEPTED, START_S))
    head, y, x = (line.split() for line in applied.run("orders").stdout.splitlines())
    origin = slice(head.index("MODE"), head.index("COMMIT") + 1)
    assert head[origin] == ["MODE", "GENERATION", "BEAT", "COMMIT"]
    assert x[-5:-1] == ["active", "1", "77", "4f2c9d1e8b7a"]
    assert y[-6:-1] == ["active", "1", "5", "not", "committed"]


def test_a_list_that_was_cut_says_so(applied: Fleet) -> None:
    with applied.store() as store:
        for n in range(3):
            store.ledger.append(an_order(f"o{n}", Outcome.ACCEPTED, START_S))
    assert applied.run("orders", "--limit", "3").stderr == ""
    told = applied.run("orders", "--limit", "2").stderr
    assert told == "the newest 2 of 3; more with --limit, all with: reconciler export orders\n"


def test_refusals_in_a_row_are_one_line_with_their_number(applied: Fleet) -> None:
    refused = replace(an_order("x", Outcome.REJECTED, START_S), rejected_by=RejectedBy.GATEWAY, reason="Limit: no")
    with applied.store() as store:
        for n in range(3):
            store.ledger.refuse(replace(refused, client_order_id=f"x{n}"))
    (row,) = applied.run("orders").stdout.splitlines()[1:]
    assert "rejected by gateway (×3)" in row


def test_orders_of_nobody_here_are_told_where_an_engine_knows_them(fleet: Fleet, engine: FakeEngine) -> None:
    fleet.write("a")
    fleet.apply()
    engine.orphans = [
        {
            "account_id": "main",
            "client_order_id": "",
            "exchange_order_id": "X-9",
            "symbol": "BTC/USD",
            "side": "sell",
            "quantity": "2",
            "state": "open",
            "seen_at": "2026-01-31T12:00:00.000Z",
        }
    ]
    told = (
        "ORPHAN on account main: sell 2 BTC/USD open, order X-9: not in the ledger, seen since 2026-01-31T12:00:00.000Z"
    )
    assert fleet.run("orders").stderr == f"{told}\n"
    assert fleet.run("orders", "a").stderr == fleet.run("orders", "--shadow").stderr == ""


def test_an_instance_that_only_observes_has_its_orders_in_the_simulated_book_and_is_told_so(applied: Fleet) -> None:
    with applied.store() as store:
        store.ledger.append(an_order("s1", Outcome.SHADOW, START_S))
    result = applied.run("orders", "a")
    assert result.exit_code == 0
    assert "none was sent; 1 simulated order of it: reconciler orders a --shadow" in result.stderr
    assert "--shadow" not in applied.run("orders", "a", "--shadow").stderr
    assert "simulated" not in applied.run("orders", "b").stderr
