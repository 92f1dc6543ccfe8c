"""`status`, `show`, `events`, `history`, `orders`: what the database knows, and what only a running engine does."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

import pytest

from reconciler.clock import SystemClock, utc
from reconciler.records.mode import Mode
from reconciler.records.order import Order, OrderRequest, OrderType, Outcome, Provenance, RejectedBy, Side
from reconciler.records.status import Health, InstanceStatus, Sync, Ticks
from tests.cli.conftest import START_S, FakeEngine, Fleet

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


def live_item(id_: str) -> dict[str, object]:
    return InstanceStatus(
        id=id_,
        strategy_type="drift",
        account_id="main",
        client_id="desk-a",
        market="BTC/USD",
        mode=Mode.ACTIVE,
        effective_mode=Mode.OBSERVE,
        paused=True,
        sync=Sync.OUT_OF_SYNC,
        health=Health.PAUSED,
        generation=2,
        observed_generation=1,
        revision=None,
        committed=False,
        path=f"instances/{id_}.yaml",
        config={},
        effective_config={},
        labels={},
        description="",
        conditions=(),
        ticks=Ticks(count=7, errors=1),
    ).to_json()


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
    assert json.loads(applied.run("status", "b", "--format", "json").stdout) == told["items"][1]


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


def test_status_of_an_unknown_instance_fails(applied: Fleet, engine: FakeEngine) -> None:
    for command in ("status", "show", "history"):
        result = applied.run(command, "nope")
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("nope: there ")


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


def an_order(client_order_id: str, outcome: Outcome, at_s: float) -> Order:
    return Order(
        client_order_id=client_order_id,
        provenance=Provenance("a", "main", "desk-a", "BTC/USD", Mode.ACTIVE, 1, "c", "d", None, 5),
        request=OrderRequest(Side.BUY, OrderType.LIMIT, Decimal("0.10"), limit_price=Decimal("60000")),
        outcome=outcome,
        created_at=utc(at_s),
        updated_at=utc(at_s),
    )


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
    assert row.split()[2:6] == ["observed", "rejected", "by", "gateway"]
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
    assert rows[1][5:9] == ["buy", "limit", "0.1", "60000"]
    shadow = json.loads(applied.run("orders", "--shadow", "--format", "json").stdout)["items"]
    assert [(order["client_order_id"], order["beat"]) for order in shadow] == [("o1", 5)]
    assert len(applied.run("orders", "a", "--limit", "1").stdout.splitlines()) == 2
    assert len(applied.run("orders", "b").stdout.splitlines()) == 1
