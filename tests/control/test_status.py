"""The status board over a whole fleet: what is counted, what may be troubled, and that it does not work for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.control import roll
from reconciler.control.diagnosis import trading
from reconciler.ports import InstanceFilter
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.status import Health, Obstacle, Sync

DOUBT = Obstacle("UnknownOrder", "it is not known whether x1 was placed")
HALT = Obstacle("Halted", "account main is halted: margin call")
DOWN = Obstacle("ExecDown", "not connected")

FAILS_TO_RENDER = """
from reconciler.strategy import Strategy

class Probe(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object"}

    def on_tick(self):
        pass

    def render(self):
        raise ValueError("no picture")
"""


def troubled(fleet: Any) -> list[str]:
    return [one.id for one in fleet.board.troubled()]


def ids(fleet: Any, **wanted: str) -> list[str]:
    found, total = fleet.board.instances(InstanceFilter(**wanted), 1000, 0)
    assert total == len(found)
    return [one.id for one in found]


def test_the_summary_counts_everybody_by_what_they_are(fleet: Any) -> None:
    for name, mode in (("a", "observe"), ("b", "observe"), ("c", "off")):
        fleet.write(name, mode=mode)
    fleet.write("d", config="{levels: five}")
    fleet.settle()
    fleet.write("a", config="{levels: six}")
    fleet.settle()
    summary = fleet.board.summary()
    assert (summary.total, summary.real_money_active) == (3, 0)
    assert dict(summary.by_mode) == {Mode.OBSERVE: 2, Mode.OFF: 1}
    assert dict(summary.by_sync) == {Sync.SYNCED: 2, Sync.INVALID: 1}
    assert dict(summary.by_health) == {Health.HEALTHY: 2, Health.OFF: 1}
    counts = fleet.board.engine().counts
    assert (counts["total"], counts["Healthy"], counts["Off"], counts["Stuck"]) == (3, 2, 1, 0)
    assert (counts["problems"], counts["active"]) == (2, 0)


def test_money_that_is_real_is_counted_where_it_is_at_work(make_fleet: Any) -> None:
    fleet = make_fleet(adopt=True, accounts=Accounts({"main": DeclaredAccount("main", "paper", real_money=True)}))
    fleet.git("init", "-q")
    fleet.write("a", mode="active")
    fleet.write("b", mode="observe")
    fleet.git("add", ".")
    fleet.git("commit", "-qm", "two")
    fleet.settle()
    assert fleet.board.summary().real_money_active == 1


def test_ticks_are_added_up_and_stay_when_instances_go(fleet: Any) -> None:
    fleet.write("a")
    fleet.write("b", config="{fail: tick}")
    fleet.settle()
    fleet.host.beat(1)
    fleet.wait_until(lambda: fleet.board.ticks().count == 2)
    (fleet.root / "instances" / "a.yaml").unlink()
    fleet.settle_twice()
    ticks = fleet.board.ticks()
    assert (fleet.board.summary().total, ticks.count, ticks.errors, ticks.missed) == (1, 2, 1, 0)


def test_what_may_need_attention_is_found_and_what_is_well_is_left_alone(fleet: Any) -> None:
    for name in ("failing", "invalid", "paused", "well"):
        fleet.write(name)
    fleet.write("off", mode="off")
    fleet.settle()
    assert troubled(fleet) == []
    fleet.write("failing", config="{fail: init}")
    fleet.write("invalid", config="{levels: five}")
    fleet.settle()
    fleet.host.pause("paused", "operator", "a look at it")
    assert troubled(fleet) == ["failing", "invalid", "paused"]


def test_a_closed_gate_is_trouble_for_what_is_active(fleet: Any) -> None:
    for mode in ("observe", "active"):
        fleet.write("a", mode=mode)
        fleet.write("b")
        fleet.settle()
    assert troubled(fleet) == []
    fleet.trading.obstructions = (DOUBT,)
    assert troubled(fleet) == ["a"]


def test_orders_that_are_held_back_degrade_their_instance_and_say_so(fleet: Any) -> None:
    for mode in ("observe", "active"):
        fleet.write("a", mode=mode)
        fleet.write("b")
        fleet.settle()
    assert fleet.status("a").health is Health.HEALTHY
    fleet.trading.braked = frozenset({"a"})
    status = fleet.status("a")
    (condition,) = (one for one in status.conditions if one.type == "Trading")
    assert (condition.status, condition.reason) == (True, "RefusedAgain")
    assert "buy orders are held back" in condition.message
    assert (status.health, fleet.status("b").health) == (Health.DEGRADED, Health.HEALTHY)
    assert ids(fleet, health="Degraded") == troubled(fleet) == ["a"]
    fleet.trading.braked = frozenset()
    assert ids(fleet, health="Healthy") == ["a", "b"]


@pytest.mark.parametrize("hushed", [({"main"}, set()), (set(), {"paper"})])
def test_an_account_or_a_server_that_asks_to_be_let_alone_degrades_its_instances(
    fleet: Any, hushed: tuple[set[str], set[str]]
) -> None:
    fleet.write("a")
    fleet.write("off", mode="off")
    fleet.settle()
    fleet.trading.hushed = tuple(map(frozenset, hushed))
    assert (ids(fleet, health="Degraded"), fleet.status("a").health) == (["a"], Health.DEGRADED)


def test_while_no_beat_fires_nothing_is_healthy_and_one_sentence_says_why(fleet: Any) -> None:
    fleet.write("a")
    fleet.write("b", mode="off")
    fleet.settle()
    fleet.heartbeat.start()
    try:
        assert (fleet.status("a").health, fleet.board.engine().no_beat) == (Health.HEALTHY, "")
        now_s = fleet.clock.time()
        fleet.clock.advance(20)
        fleet.clock.set_wall(now_s)
        why = fleet.board.engine().no_beat
        assert "clock stands still" in why
        status = fleet.status("a")
        assert (status.health, fleet.status("b").health) == (Health.DEGRADED, Health.OFF)
        assert ids(fleet, health="Degraded") == ["a"]
        (ready,) = (one for one in status.conditions if one.type == "Ready")
        assert (ready.status, ready.reason, ready.message) == (False, "NoBeat", f"nothing ticks: {why}")
        assert troubled(fleet) == [], "the engine says it once, not each instance"
    finally:
        fleet.heartbeat.stop()
    assert ids(fleet, health="Healthy") == ["a"]


def test_until_its_server_answers_an_instance_waits_and_then_it_ticks_without(make_fleet: Any) -> None:
    fleet = make_fleet(
        accounts=Accounts({name: DeclaredAccount(name, f"of-{name}", False) for name in ("main", "b")}, None)
    )
    fleet.write("a")
    fleet.write("off", mode="off")
    fleet.settle()

    def told() -> tuple[Health, bool, str]:
        status = fleet.status("a")
        (ready,) = (one for one in status.conditions if one.type == "Ready")
        assert [one.health for one in fleet.board.instances(InstanceFilter(), 9, 0)[0]] == [status.health, Health.OFF]
        assert ids(fleet, health=str(status.health)) == ["a"]
        assert troubled(fleet) == [], "the server says it once, not each instance"
        return status.health, ready.status, ready.reason

    fleet.awaited = frozenset({"of-main"})
    assert told() == (Health.PROGRESSING, False, "Waiting")
    fleet.awaited, fleet.unheard = frozenset(), frozenset({"of-main"})
    assert told() == (Health.DEGRADED, False, "ExecDown")
    fleet.unheard = frozenset()
    assert told() == (Health.HEALTHY, True, "Ticking")
    fleet.awaited = fleet.unheard = frozenset({"of-b"})
    assert told() == (Health.HEALTHY, True, "Ticking"), "it is about its own server"


def test_an_instance_that_cannot_be_drawn_says_so_and_ticks_on(fleet: Any) -> None:
    fleet.write_code("v1", FAILS_TO_RENDER)
    fleet.write("a")
    fleet.settle()
    fleet.wait_until(lambda: troubled(fleet) == ["a"])
    ready = {one.type: one for one in fleet.status("a").conditions}["Ready"]
    assert (ready.status, ready.reason, fleet.status("a").health) == (True, "RenderFailed", Health.HEALTHY)
    assert "render failed: ValueError: no picture" in ready.message
    fleet.write_code("v2")
    fleet.settle()
    fleet.wait_until(lambda: troubled(fleet) == [])


def test_a_quarantine_is_told_apart_from_an_operators_pause(fleet: Any) -> None:
    fleet.write("a", config="{fail: tick}")
    fleet.write("b")
    fleet.settle()
    fleet.host.pause("b", "operator", "a look at it")
    for beat in range(1, 6):
        fleet.host.beat(beat)
        fleet.wait_until(lambda count=beat: fleet.board.ticks().count == count)
    fleet.wait_until(lambda: fleet.views()["a"].paused)
    reasons = {name: {c.type: c.reason for c in fleet.status(name).conditions}["Ready"] for name in ("a", "b")}
    assert reasons == {"a": "Quarantined", "b": "Paused"}


def test_filters_narrow_the_fleet(fleet: Any) -> None:
    fleet.write("a", labels="{team: majors}", description="follows the mean")
    fleet.write("b", mode="off", market="BTC/USD")
    fleet.write("c", labels="{team: minors}")
    fleet.settle()
    assert ids(fleet) == ["a", "b", "c"]
    assert ids(fleet, mode="off") == ids(fleet, health="Off") == ids(fleet, q="btc/") == ["b"]
    assert ids(fleet, label="team") == ["a", "c"]
    assert ids(fleet, label="team=minors") == ["c"]
    assert ids(fleet, q="MEAN") == ["a"]
    assert ids(fleet, sync="Invalid") == ids(fleet, strategy_type="grid") == []
    assert ids(fleet, strategy_type="probe", sync="Synced", health="Healthy", label="team=majors") == ["a"]


def test_what_is_active_on_real_money_is_exactly_what_is_found_so(make_fleet: Any) -> None:
    main = DeclaredAccount("main", "paper", real_money=True)
    fleet = make_fleet(adopt=True, accounts=Accounts({"main": main, "spare": DeclaredAccount("spare", "paper", False)}))
    fleet.git("init", "-q")
    fleet.write("a", mode="active")
    fleet.write("b", mode="active")
    path = fleet.write("c", mode="active")
    path.write_text(path.read_text().replace("account_id: main", "account_id: spare"))
    fleet.write("d", mode="observe")
    fleet.git("add", ".")
    fleet.git("commit", "-qm", "four")
    fleet.settle()
    fleet.host.set_mode("b", Mode.OBSERVE)
    assert ids(fleet, mode="active") == ["a", "b", "c"]
    assert ids(fleet, effective_mode="active") == ["a", "c"]
    assert ids(fleet, money="real") == ids(fleet, account="main") == ["a", "b", "d"]
    assert ids(fleet, money="paper") == ids(fleet, account="spare") == ["c"]
    assert ids(fleet, money="real", effective_mode="active") == ["a"]
    assert fleet.board.summary().real_money_active == 1
    assert fleet.board.summary().active_accounts == {"main", "spare"}


def test_a_fleet_is_judged_once_and_then_only_what_changed(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        fleet.write(f"i{number:02}")
    fleet.settle()
    judged: list[str] = []
    judge = roll._judged

    def noting(case: Any) -> Any:
        judged.append(case.row.id)
        return judge(case)

    monkeypatch.setattr(roll, "_judged", noting)
    fleet.board.summary()
    judged.clear()
    for beat in (1, 2):
        fleet.host.beat(beat)
        fleet.board.summary()
        fleet.board.engine()
        fleet.board.instances(InstanceFilter(), 5, 0)
    assert judged == []
    fleet.host.pause("i07", "operator", "a look at it")
    assert fleet.board.summary().by_health == {Health.PAUSED: 1, Health.HEALTHY: 19}
    assert judged == ["i07"]
    fleet.host.resume("i07")
    assert fleet.board.summary().by_health == {Health.HEALTHY: 20}
    judged.clear()
    fleet.write("i07", config="{levels: five}")
    fleet.settle()
    assert fleet.board.summary().by_sync == {Sync.SYNCED: 19, Sync.INVALID: 1}
    assert set(judged) == {"i07"}


def test_a_fleet_stays_in_order_while_instances_come_and_go(fleet: Any) -> None:
    for name in ("b", "d"):
        fleet.write(name)
    fleet.settle()
    assert ids(fleet) == ["b", "d"]
    for name in ("a", "c", "e"):
        fleet.write(name)
    fleet.settle()
    assert ids(fleet) == ["a", "b", "c", "d", "e"]
    (fleet.root / "instances" / "b.yaml").unlink()
    fleet.settle_twice()
    assert ids(fleet) == ["a", "c", "d", "e"]
    assert fleet.board.summary().by_sync == {Sync.SYNCED: 4}


def trading_of(fleet: Any, instance_id: str = "a") -> tuple[bool, str, str]:
    found = {one.type: one for one in fleet.status(instance_id).conditions}["Trading"]
    return found.status, found.reason, found.message


def active(fleet: Any) -> Any:
    """A fleet with one active instance, `a`."""
    for mode in ("observe", "active"):
        fleet.write("a", mode=mode)
        fleet.settle()
    return fleet


def test_trading_names_everything_that_closes_the_gate_and_a_pause_hides_no_doubt(fleet: Any) -> None:
    active(fleet)
    fleet.trading.obstructions = (HALT, DOUBT, DOWN)
    assert trading_of(fleet) == (False, "Halted", f"{HALT.message}; {DOUBT}; {DOWN}")
    fleet.host.pause("a", "operator", "a look at it")
    paused = ("Paused", "paused by the operator: a look at it")
    assert trading_of(fleet) == (False, "Paused", f"{paused[1]}; {HALT}; {DOUBT}; {DOWN}")
    assert fleet.status("a").obstacles == (paused, HALT, DOUBT, DOWN)
    assert fleet.status("a").to_json()["obstacles"][2] == {"reason": "UnknownOrder", "message": DOUBT.message}


def test_what_does_not_trade_still_says_what_is_in_doubt_and_halted(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    assert trading_of(fleet) == (False, "Mode", "mode in force is observe")
    fleet.trading.obstructions = (HALT, DOUBT, DOWN)
    assert trading_of(fleet) == (False, "Mode", f"mode in force is observe; {HALT}; {DOUBT}")


def test_an_open_gate_does_not_read_as_all_well_while_the_exchange_says_otherwise(fleet: Any) -> None:
    active(fleet)
    assert trading_of(fleet) == (True, "Open", "orders may leave")
    fleet.differences = [{"account_id": "main", "difference": "BTC/USD: 1 held", "at": ""}]
    assert trading_of(fleet) == (
        True,
        "PositionsDiffer",
        "orders may leave, but account main does not add up: BTC/USD: 1 held",
    )
    fleet.denials = [{"client_order_id": "x7", "instance_id": "a", "account_id": "main", "message": "asked 6 times"}]
    status, reason, message = trading_of(fleet)
    assert (status, reason) == (True, "OrderMissing")
    assert message.startswith("orders may leave, but its exchange denies x7, which it took: asked 6 times")
    assert "reconciler orders resolve x7" in message
    assert message.endswith("account main does not add up: BTC/USD: 1 held")
    fleet.denials = [*fleet.denials, {**fleet.denials[0], "client_order_id": "x8"}]
    assert "but its exchange denies 2 orders, which it took: x7, x8; look there" in trading_of(fleet)[2]
    fleet.denials.pop()
    assert troubled(fleet) == []
    assert [one["client_order_id"] for one in fleet.board.denials()] == ["x7"]
    assert [one["account_id"] for one in fleet.board.differences()] == ["main"]


def test_whose_money_is_real_says_so(make_fleet: Any) -> None:
    fleet = make_fleet(accounts=Accounts({"main": DeclaredAccount("main", "paper", real_money=True)}))
    fleet.write("a")
    fleet.settle()
    assert fleet.status("a").real_money
    assert fleet.status("a").to_json()["real_money"] is True


def test_a_halt_that_matches_nothing_says_so(fleet: Any) -> None:
    fleet.write("btc-usd-grid")
    fleet.settle()
    fleet.operator.halt(Halt("instance", "btc-usd-gird", False, "loops", "", ""), 7)
    fleet.operator.halt(Halt("account", "main", False, "margin", "", ""), 7)
    notes = [(halt["id"], halt["note"]) for halt in fleet.board.engine().halts]
    assert notes == [
        ("btc-usd-gird", 'no instance is called btc-usd-gird (did you mean "btc-usd-grid"?)'),
        ("main", ""),
    ]


def test_trading_says_of_an_open_gate_that_lost_rows_could_not_be_seen() -> None:
    differs = Obstacle("PositionsDiffer", "it does not add up")
    assert trading((), (), "nobody could see it") == (True, "Open", "orders may leave; nobody could see it")
    told = "orders may leave, but it does not add up; nobody could see it"
    assert trading((), (differs,), "nobody could see it") == (True, "PositionsDiffer", told)
    assert trading((Obstacle("Mode", "it is off"),), (), "nobody could see it") == (False, "Mode", "it is off")


def test_while_no_order_can_be_written_down_trading_says_so(fleet: Any) -> None:
    active(fleet)
    fleet.trading.obstructions = (DOUBT,)
    fleet.store._writer.fault = "reconciler.db: disk I/O error: check the disk"
    why = "no order can be written down: reconciler.db: disk I/O error: check the disk"
    assert trading_of(fleet) == (False, "LedgerDown", f"{why}; {DOUBT}")
    fleet.trading.obstructions = ()
    assert troubled(fleet) == ["a"]
    fleet.store.flush()
    assert trading_of(fleet) == (True, "Open", "orders may leave")
    assert troubled(fleet) == []
