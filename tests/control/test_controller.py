"""From files to running instances and back, on real parts."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.control.chronicle import named
from reconciler.errors import StoreError
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.plan import Load, Phase, Reload, SetMode, Unload, Update
from reconciler.records.status import Health, Sync
from tests.control.conftest import PROBE

MakeFleet = Callable[..., Any]


def kinds(actions: list[Any]) -> list[type]:
    return [type(action) for action in actions]


def test_a_written_file_is_loaded_and_healthy(fleet: Any) -> None:
    fleet.write("a")
    assert kinds(fleet.settle()) == [Load]
    status = fleet.status("a")
    assert (status.sync, status.health, status.effective_mode) == (Sync.SYNCED, Health.HEALTHY, Mode.OBSERVE)
    assert (status.generation, status.observed_generation) == (1, 1)


def test_of_many_that_are_loaded_each_is_looked_at_once_when_all_have_settled(fleet: Any) -> None:
    """The start of a whole fleet: nobody who waits for it waits for since when each has been as it is."""
    names = {f"i-{n}" for n in range(150)}
    for name in names:
        fleet.write(name)
    looked_at: list[tuple[frozenset[str], bool]] = []
    look_at = fleet.controller.touched

    def touched(ids: frozenset[str]) -> None:
        looked_at.append((ids & names, fleet.controller.has_settled))
        look_at(ids)

    fleet.controller.touched = touched
    fleet.controller.start()
    try:
        fleet.wait_until(lambda: any(has_settled for ids, has_settled in looked_at if ids))
    finally:
        fleet.controller.stop()
    told = [(ids, has_settled) for ids, has_settled in looked_at if ids]
    assert sum(len(ids) for ids, _ in told) == 150
    assert {name for ids, _ in told for name in ids} == names
    assert all(has_settled for _, has_settled in told)
    assert fleet.status("i-7").health is Health.HEALTHY


HOLD = "_test_init_hold"
HOLDING = PROBE.replace(
    """            raise RuntimeError("no luck in init")""",
    f'''            raise RuntimeError("no luck in init")
        if self.config["levels"] == 7:
            import sys
            sys.modules["{HOLD}"].wait()''',
)


def test_one_of_many_that_does_not_come_keeps_no_other_from_being_looked_at(
    fleet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one whose load fails."""
    held, go_on = threading.Event(), threading.Event()

    class Hold:
        @staticmethod
        def wait() -> None:
            held.set()
            go_on.wait(60)

    monkeypatch.setitem(sys.modules, HOLD, Hold)
    fleet.write_code("1", HOLDING)
    for n in range(150):
        fleet.write(f"i-{n}", config={3: "{levels: 7}", 5: "{fail: init}"}.get(n, "{}"))
    looked_at: set[str] = set()
    fleet.controller.touched = looked_at.update
    fleet.controller.start()
    try:
        assert held.wait(60)
        fleet.clock.advance(1.0)
        fleet.host._watchdog.look()
        fleet.wait_until(lambda: sum(view.phase is Phase.RUNNING for view in fleet.views().values()) == 148)
        assert not looked_at - {"i-5"}
        fleet.clock.advance(6.0)
        fleet.wait_until(lambda: len(looked_at) == 149)
        assert "i-3" not in looked_at
    finally:
        go_on.set()
        fleet.controller.stop()


def test_invariant_5_a_second_pass_does_nothing(fleet: Any) -> None:
    fleet.write("a")
    fleet.write("b", mode="off")
    fleet.settle()
    assert fleet.settle() == []


def test_a_changed_config_reloads(fleet: Any) -> None:
    fleet.write("a", config="{levels: 5}")
    fleet.settle()
    fleet.write("a", config="{levels: 7}")
    assert kinds(fleet.settle()) == [Reload, Load]
    assert fleet.status("a").effective_config["levels"] == 7
    assert fleet.status("a").observed_generation == 2


def test_a_changed_description_applies_in_place(fleet: Any) -> None:
    fleet.write("a", description="old")
    fleet.settle()
    fleet.write("a", description="new")
    assert kinds(fleet.settle()) == [Update]
    assert fleet.status("a").observed_generation == 2


def test_off_unloads_and_closes_the_gate_first(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    fleet.write("a", mode="off")
    # The gate is closed while the file is admitted, before the plan is made: only the unload is left to do.
    assert kinds([a for a in fleet.settle() if not isinstance(a, SetMode)]) == [Unload]
    assert fleet.views() == {}
    assert fleet.status("a").health is Health.OFF


def test_observe_to_active_is_one_step_and_off_to_active_is_refused(fleet: Any) -> None:
    fleet.write("a", mode="off")
    fleet.settle()
    fleet.write("a", mode="active")
    fleet.settle()
    assert fleet.status("a").sync is Sync.REFUSED
    assert fleet.views() == {}
    fleet.write("a", mode="observe")
    fleet.settle()
    fleet.write("a", mode="active")
    fleet.settle()
    assert fleet.status("a").effective_mode is Mode.ACTIVE


def test_a_refused_new_file_is_a_problem_at_its_mode(fleet: Any) -> None:
    fleet.write("a", mode="active")
    fleet.settle()
    (problem,) = fleet.board.problems()
    assert (problem.path, problem.line, problem.column, problem.pointer) == ("instances/a.yaml", 5, 7, "mode")
    assert "observe" in problem.hint


def test_invariant_4_an_invalid_file_changes_nothing_that_runs(fleet: Any) -> None:
    fleet.write("a", config="{levels: 5}")
    fleet.settle()
    before = fleet.views()["a"]
    fleet.write("a", config="{levels: many}")
    assert fleet.settle() == []
    assert fleet.views()["a"] is before
    status = fleet.status("a")
    assert (status.sync, status.health, status.generation) == (Sync.INVALID, Health.HEALTHY, 1)
    (problem,) = fleet.board.problems()
    assert (problem.line, problem.column, problem.pointer) == (6, 18, "config.levels")


def test_invariant_4_an_invalid_file_may_lower_a_mode(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    fleet.write("a", mode="off", config="{levels: many}")
    fleet.settle()
    assert fleet.views() == {}
    assert fleet.status("a").mode is Mode.OFF
    assert fleet.status("a").sync is Sync.INVALID


def test_one_bad_file_delays_no_other(fleet: Any) -> None:
    fleet.write("bad", config="[")
    fleet.write("good")
    fleet.settle()
    assert fleet.ids() == ["good"]
    assert fleet.status("good").health is Health.HEALTHY


def test_a_deleted_file_unloads_after_a_second_look(fleet: Any) -> None:
    path = fleet.write("a")
    fleet.write("b")
    fleet.settle()
    path.unlink()
    assert fleet.settle() == []
    assert fleet.status("a").sync is Sync.OUT_OF_SYNC
    fleet.clock.advance(1.5)
    fleet.settle()
    assert list(fleet.views()) == ["b"]
    assert fleet.ids() == ["b"]
    assert ("a", "Removed") in fleet.events()


def test_a_file_gone_for_a_moment_is_not_removed(fleet: Any) -> None:
    path = fleet.write("a")
    fleet.write("b")
    fleet.settle()
    text = path.read_text()
    path.unlink()
    fleet.settle()
    path.write_text(text)
    fleet.clock.advance(1.5)
    assert fleet.settle() == []
    path.unlink()
    assert fleet.settle() == []


def test_what_goes_one_by_one_is_held_as_if_it_had_gone_at_once(fleet: Any) -> None:
    paths = [fleet.write(f"i{n:02}") for n in range(20)]
    fleet.settle()
    for path in paths:
        path.unlink()
        fleet.settle()
        fleet.clock.advance(0.7)
    fleet.settle_twice()
    assert len(fleet.views()) == 20
    assert len(fleet.operator.prune().held) == 20


def test_a_file_that_is_still_open_for_writing_is_no_change_yet(fleet: Any) -> None:
    text = fleet.write("a", config="{levels: 6}").read_text()
    fleet.settle()
    with (fleet.root / "instances" / "a.yaml").open("w") as file:
        file.write(text.replace("levels: 6", "levels: 7"))
        file.flush()
        fleet.settle()
        assert fleet.status("a").generation == 1
        accepted = next(c for c in fleet.status("a").conditions if c.type == "Accepted")
        assert "instances/a.yaml is still open for writing; it counts once it is closed" in accepted.message
        file.write('limits: {max_order_notional: "10"}\n')
    fleet.clock.advance(1.0)
    fleet.settle()
    assert fleet.status("a").generation == 2
    assert fleet.store.desired.rows()["a"].record.limits.max_order_notional == 10


def test_a_file_that_is_still_open_for_writing_may_lower_a_mode(fleet: Any) -> None:
    text = fleet.write("a").read_text()
    fleet.settle()
    with (fleet.root / "instances" / "a.yaml").open("w") as file:
        file.write(text.replace("mode: observe", "mode: off"))
        file.flush()
        fleet.settle()
        assert fleet.views() == {}
        file.write("description: more\n")


def test_a_halt_that_is_still_being_written_lifts_nothing(fleet: Any) -> None:
    fleet.write("a")
    halt = fleet.root / "instances" / "_halt.yaml"
    halt.write_text("- {scope: all, reason: stop}\n")
    fleet.settle()
    with halt.open("w") as file:
        file.write("[]\n")
        file.flush()
        fleet.settle()
        assert [one.reason for one in fleet.store.halts.active()] == ["stop"]
    fleet.settle()
    assert fleet.store.halts.active() == ()


def test_what_keeps_changes_waiting_for_a_minute_is_an_event_and_told_to_who_asks(fleet: Any) -> None:
    fleet.git("init", "-q")
    path = fleet.write("a")
    fleet.write("b")
    fleet.settle()
    (fleet.root / ".git" / "index.lock").touch()
    path.unlink()
    fleet.settle()
    assert "SourceBlocked" not in [reason for reason, _ in fleet.told()]
    fleet.clock.advance(61)
    fleet.settle()
    told = [message for reason, message in fleet.told() if reason == "SourceBlocked"]
    assert len(told) == 1
    assert "index.lock exists" in told[0]
    assert fleet.board.engine().source_blocked_s >= 61
    accepted = next(c for c in fleet.status("a").conditions if c.type == "Accepted")
    assert "whether it was removed is not known: git is changing the index" in accepted.message
    (fleet.root / ".git" / "index.lock").unlink()
    fleet.settle()
    assert "SourceUnblocked" in [reason for reason, _ in fleet.told()]
    assert fleet.board.engine().source_blocked_s == 0


def test_what_went_within_ten_minutes_counts_with_what_goes(fleet: Any) -> None:
    paths = [fleet.write(f"i{n:02}") for n in range(10)]
    fleet.settle()
    for path in paths[:3]:
        path.unlink()
        fleet.settle_twice()
        fleet.clock.advance(60)
    assert len(fleet.views()) == 7
    paths[3].unlink()
    fleet.settle_twice()
    assert fleet.operator.prune().held == ("i03",)
    accepted = next(c for c in fleet.status("i03").conditions if c.type == "Accepted")
    assert "1 of 7 are missing, and 3 went within the last ten minutes" in accepted.message
    fleet.clock.advance(600)
    fleet.write("another")
    fleet.settle_twice()
    assert fleet.operator.prune().held == ("i03",)
    assert fleet.operator.confirm_prune(fleet.operator.prune().digest, "meant", 7).ok
    fleet.settle()
    paths[4].unlink()
    fleet.settle_twice()
    assert sorted(fleet.views()) == ["another", "i05", "i06", "i07", "i08", "i09"]


def test_what_somebody_confirmed_does_not_count_with_what_goes_later(fleet: Any) -> None:
    paths = [fleet.write(f"i{n:02}") for n in range(10)]
    fleet.settle()
    for path in paths[:5]:
        path.unlink()
    fleet.settle_twice()
    assert fleet.operator.confirm_prune(fleet.operator.prune().digest, "meant", 7).ok
    fleet.settle()
    assert len(fleet.views()) == 5
    paths[5].unlink()
    fleet.settle_twice()
    assert len(fleet.views()) == 4


def test_the_only_one_is_held_for_that_and_no_other_reason(fleet: Any) -> None:
    fleet.write("a").unlink()
    path = fleet.write("a")
    fleet.settle()
    path.unlink()
    fleet.settle_twice()
    accepted = next(c for c in fleet.status("a").conditions if c.type == "Accepted")
    assert accepted.reason == "PruneHeld"
    assert "it is the only one" in accepted.message


def test_what_is_active_is_looked_for_longer(fleet: Any) -> None:
    path = fleet.write("a")
    fleet.write("b")
    fleet.settle()
    text = fleet.write("a", mode="active").read_text()
    fleet.settle()
    path.unlink()
    fleet.settle()
    fleet.clock.advance(5)
    fleet.settle()
    assert fleet.views()["a"].mode is Mode.ACTIVE
    path.write_text(text)
    fleet.settle()
    path.unlink()
    for _ in range(3):
        fleet.settle()
        fleet.clock.advance(5)
    fleet.settle()
    assert list(fleet.views()) == ["b"]


def test_removing_everything_is_held_until_confirmed(fleet: Any) -> None:
    paths = [fleet.write(f"i{n}") for n in range(5)]
    fleet.settle()
    for path in paths:
        path.unlink()
    fleet.settle_twice()
    assert len(fleet.views()) == 5
    held = fleet.operator.prune()
    assert held.held == tuple(f"i{n}" for n in range(5))
    assert fleet.status("i0").sync is Sync.HELD
    assert not fleet.operator.confirm_prune("wrong", "", 0).ok
    assert fleet.operator.confirm_prune(held.digest, "the desk is closed", 7).ok
    fleet.settle()
    assert fleet.views() == {}
    noted = fleet.operations()[0]
    assert (noted["uid"], noted["action"], noted["scope"]) == (7, "prune", "i0, i1, i2, i3, i4")
    assert noted["reason"] == f"the desk is closed ({held.digest})"
    told = next(message for reason, message in fleet.told() if reason == "PruneConfirmed")
    assert told == f"i0, i1, i2, i3, i4: the desk is closed ({named(7)})"


def test_a_confirmation_is_good_for_what_is_held_and_for_nothing_later(fleet: Any) -> None:
    fleet.git("init", "-q")
    files = {path: path.read_text() for path in (fleet.write(f"i{n}") for n in range(5))}
    fleet.settle()
    for path in files:
        path.unlink()
    fleet.settle_twice()
    (fleet.root / ".git" / "index.lock").touch()
    assert fleet.operator.confirm_prune(fleet.operator.prune().digest, "", 0).ok
    digest = fleet.operator.prune().digest
    assert fleet.operations()[0]["reason"] == digest
    fleet.settle()
    for path, text in files.items():
        path.write_text(text)
    (fleet.root / ".git" / "index.lock").unlink()
    fleet.settle_twice()
    for path in files:
        path.unlink()
    fleet.settle_twice()
    assert len(fleet.views()) == 5
    assert len(fleet.operator.prune().held) == 5


def test_what_is_halted_need_not_exist_but_the_slip_is_told(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    told = fleet.operator.halt(Halt("instance", "aa", False, "typo", "", ""), 0)
    assert told.failed[0][0] == "aa"
    assert fleet.operator.halt(Halt("account", "main", False, "meant", "", ""), 0).ok
    assert len(fleet.store.halts.active()) == 2


def test_a_source_that_is_lost_is_an_error_and_not_an_empty_fleet(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    (fleet.root / "instances").rename(fleet.root / "elsewhere")
    fleet.settle()
    assert fleet.board.engine().source_error == "instances/ is missing"
    (fleet.root / "elsewhere").rename(fleet.root / "instances")
    fleet.settle_twice()
    assert fleet.board.engine().source_error == ""
    assert list(fleet.views()) == ["a"]


def test_active_to_off_is_told_step_by_step(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    fleet.write("a", mode="active")
    fleet.settle()
    fleet.write("a", mode="off")
    fleet.settle()
    assert [reason for id_, reason in fleet.events() if id_ == "a"].count("Lowered") == 2


def test_a_gate_closes_while_the_database_is_locked(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    fleet.write("a", mode="active")
    fleet.settle()
    other = sqlite3.connect(fleet.root / ".reconciler" / "reconciler.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    fleet.write("a", mode="off")
    fleet.controller.hint()
    with pytest.raises(StoreError):
        fleet.controller.run_pass()
    assert fleet.views()["a"].mode is Mode.OFF
    other.execute("COMMIT")
    other.close()
    fleet.settle()
    assert fleet.views() == {}


def lowered_unstored(fleet: Any, lower: str = "observe") -> None:
    """Active, then lowered by its file while the database could not take it."""
    fleet.write("a")
    fleet.settle()
    fleet.write("a", mode="active")
    fleet.settle()
    other = sqlite3.connect(fleet.root / ".reconciler" / "reconciler.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    fleet.write("a", mode=lower)
    fleet.controller.hint()
    with pytest.raises(StoreError):
        fleet.controller.run_pass()
    other.execute("COMMIT")
    other.close()
    status = fleet.status("a")
    assert (status.mode, status.effective_mode, status.sync) == (Mode.ACTIVE, Mode(lower), Sync.OUT_OF_SYNC)
    (loaded,) = (one for one in status.conditions if one.type == "Loaded")
    assert (loaded.reason, f"mode in force is {lower}, the record says active" in loaded.message) == ("Outdated", True)


@pytest.mark.parametrize("lower", ["observe", "off"])
def test_a_lowering_that_could_not_be_written_down_ends_when_the_file_says_so_again(fleet: Any, lower: str) -> None:
    lowered_unstored(fleet, lower)
    fleet.write("a", mode="active")
    assert Reload in kinds(fleet.settle())
    status = fleet.status("a")
    assert (status.effective_mode, status.sync, status.health) == (Mode.ACTIVE, Sync.SYNCED, Health.HEALTHY)
    assert fleet.settle() == []


def test_a_lowering_that_could_not_be_written_down_is_written_down_later(fleet: Any) -> None:
    lowered_unstored(fleet)
    fleet.settle()
    status = fleet.status("a")
    assert (status.mode, status.effective_mode, status.sync) == (Mode.OBSERVE, Mode.OBSERVE, Sync.SYNCED)


def test_nothing_but_a_valid_file_ends_a_lowering_that_could_not_be_written_down(fleet: Any) -> None:
    lowered_unstored(fleet)
    path = fleet.write("a", mode="active", config="{levels: five}")
    fleet.settle()
    assert (fleet.status("a").effective_mode, fleet.status("a").sync) == (Mode.OBSERVE, Sync.INVALID)
    path.rename(path.with_suffix(".away"))
    fleet.settle()
    assert fleet.status("a").effective_mode is Mode.OBSERVE
    fleet.write("a", mode="active")
    fleet.settle()
    assert (fleet.status("a").effective_mode, fleet.status("a").sync) == (Mode.ACTIVE, Sync.SYNCED)


def test_a_removed_instance_that_holds_something_stays_in_sight(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fleet.write("a")
    fleet.write("b")
    fleet.settle()
    path.unlink()
    fleet.settle_twice()
    assert fleet.ids() == ["b"]
    monkeypatch.setattr(fleet.store.ledger, "exposed", lambda: frozenset({"a"}))
    assert fleet.ids() == ["a", "b"]
    assert fleet.status("a").frozen_with_exposure is True
    assert {c.type: c.reason for c in fleet.status("a").conditions}["Accepted"] == "Removed"


def test_a_vanished_folder_removes_nothing(fleet: Any) -> None:
    for n in range(3):
        fleet.write(f"i{n}")
    fleet.settle()
    (fleet.root / "instances").rename(fleet.root / "elsewhere")
    fleet.settle_twice()
    assert len(fleet.views()) == 3


def test_nothing_is_removed_in_the_middle_of_a_merge(fleet: Any) -> None:
    fleet.git("init", "-q")
    path = fleet.write("a")
    fleet.write("b")
    fleet.settle()
    (fleet.root / ".git" / "MERGE_HEAD").write_text("0" * 40)
    path.unlink()
    fleet.write("b", config="{levels: 9}")
    fleet.settle_twice()
    assert sorted(fleet.views()) == ["a", "b"]
    assert fleet.status("b").generation == 1
    (fleet.root / ".git" / "MERGE_HEAD").unlink()
    fleet.settle_twice()
    assert sorted(fleet.views()) == ["b"]
    assert fleet.status("b").generation == 2


def test_protect_outlives_the_file(fleet: Any) -> None:
    path = fleet.write("a", protect="true")
    fleet.write("b")
    fleet.settle()
    path.unlink()
    fleet.settle_twice()
    assert sorted(fleet.views()) == ["a", "b"]
    assert fleet.status("a").sync is Sync.HELD


def test_a_moved_file_does_not_disturb_its_instance(fleet: Any) -> None:
    fleet.write("a").unlink()
    fleet.write("a")
    fleet.settle()
    before = fleet.views()["a"].key
    (fleet.root / "instances" / "a.yaml").unlink()
    fleet.write("a", folder="instances/majors")
    assert kinds(fleet.settle()) == [Update]
    assert fleet.views()["a"].key == before
    assert fleet.status("a").path == "instances/majors/a.yaml"


def test_new_code_reloads_one_by_one(fleet: Any) -> None:
    for n in range(4):
        fleet.write(f"i{n}")
    fleet.settle()
    fleet.write_code("v2")
    fleet.controller.hint()
    travelling = []

    def shows_the_new_code() -> bool:
        fleet.controller.run_pass()
        travelling.append(4 - sum(1 for view in fleet.views().values() if view.phase == "running"))
        return {w["text"] for n in range(4) for w in fleet.board.widgets(f"i{n}")} == {"v2"}

    fleet.wait_until(shows_the_new_code)
    assert max(travelling) == 1
    assert fleet.status("i0").generation == 1


def test_broken_code_is_a_problem_of_its_instances_and_what_ran_runs_on(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    before = fleet.views()["a"]
    fleet.write_code("v2", "class Probe(:\n")
    assert fleet.settle() == []
    assert fleet.views()["a"] is before
    assert fleet.status("a").sync is Sync.INVALID
    assert fleet.board.problems()


def test_a_restart_on_broken_code_loads_nothing_and_says_why(make_fleet: MakeFleet) -> None:
    first = make_fleet()
    first.write("a")
    first.settle()
    first.close()
    first.write_code("v2", "class Probe(:\n")
    second = make_fleet()
    assert second.settle() == []
    status = second.status("a")
    assert (status.health, status.effective_mode) == (Health.DEGRADED, Mode.OFF)
    assert {c.type: c.reason for c in status.conditions}["Loaded"] == "CodeMissing"


def test_a_failing_init_is_retried_with_patience(fleet: Any) -> None:
    fleet.write("a", config="{fail: init}")
    fleet.settle()
    assert fleet.status("a").health is Health.DEGRADED
    assert fleet.settle() == []
    fleet.clock.advance(2.0)
    assert kinds(fleet.settle()) == [Load]
    assert ("a", "LoadFailed") in fleet.events()
    fleet.write("a", config="{}")
    fleet.settle()
    assert fleet.status("a").health is Health.HEALTHY


def test_a_removed_id_that_returns_starts_from_off(fleet: Any) -> None:
    path = fleet.write("a")
    fleet.write("b")
    fleet.settle()
    path.unlink()
    fleet.settle_twice()
    fleet.write("a", mode="active")
    fleet.settle()
    assert "a" not in fleet.views()
    fleet.write("a", mode="observe")
    fleet.settle()
    assert fleet.status("a").generation == 2


def test_a_changed_identity_is_refused(fleet: Any) -> None:
    fleet.write("a", market="EUR/USD")
    fleet.settle()
    fleet.write("a", market="EUR/JPY")
    fleet.settle()
    status = fleet.status("a")
    assert (status.sync, status.market) == (Sync.REFUSED, "EUR/USD")
    (problem,) = fleet.board.problems()
    assert (problem.line, problem.pointer) == (4, "market")


def test_a_restart_judges_steps_against_the_row(make_fleet: MakeFleet) -> None:
    first = make_fleet()
    first.write("a", mode="off")
    first.settle()
    first.close()
    first.write("a", mode="active")
    second = make_fleet()
    second.settle()
    assert second.status("a").sync is Sync.REFUSED
    assert second.views() == {}


def test_adoption_takes_established_modes_once(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(adopt=True)
    fleet.write("a", mode="active")
    fleet.settle()
    assert fleet.status("a").effective_mode is Mode.ACTIVE
    fleet.write("b", mode="active")
    fleet.settle()
    assert sorted(fleet.views()) == ["a"]


def test_rows_changed_by_hand_are_written_back_and_told(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    by_hand = sqlite3.connect(fleet.root / ".reconciler" / "reconciler.db")
    by_hand.execute("UPDATE instances SET mode = 'active', config = ?", [json.dumps({"levels": 99})])
    by_hand.commit()
    by_hand.close()
    assert fleet.settle() == []
    assert fleet.store.desired.rows() == fleet.controller.fleet.rows
    assert ("a", "Drift") in fleet.events()


def test_rows_changed_by_hand_between_two_engines_are_written_back(make_fleet: MakeFleet) -> None:
    first = make_fleet()
    first.write("a", config="{levels: 5}")
    first.settle()
    first.close()
    by_hand = sqlite3.connect(first.root / ".reconciler" / "reconciler.db")
    edited = json.dumps({"levels": 99})
    by_hand.execute("UPDATE instances SET config = ?, effective_config = ?", [edited, edited])
    by_hand.commit()
    by_hand.close()
    second = make_fleet()
    second.settle()
    assert second.status("a").effective_config["levels"] == 5
    assert ("a", "Drift") in second.events()


def test_rows_spoilt_by_hand_are_written_back(fleet: Any) -> None:
    fleet.write("a", limits='{max_position: "5"}')
    fleet.settle()
    by_hand = sqlite3.connect(fleet.root / ".reconciler" / "reconciler.db")
    by_hand.execute("UPDATE instances SET limits = ?", [json.dumps({"max_position": "much"})])
    by_hand.commit()
    by_hand.close()
    fleet.settle()
    assert fleet.store.desired.rows() == fleet.controller.fleet.rows


def test_a_commit_is_noticed_without_a_reload(fleet: Any) -> None:
    fleet.git("init", "-q")
    fleet.write("a")
    fleet.settle()
    assert fleet.status("a").revision is None
    fleet.git("add", "-A")
    fleet.git("commit", "-qm", "first")
    assert kinds(fleet.settle()) == [Update]
    assert fleet.status("a").revision == fleet.git("rev-parse", "HEAD")


def test_real_money_asks_for_a_commit(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(accounts=Accounts({"main": DeclaredAccount("main", "paper", real_money=True)}, any_on=None))
    fleet.git("init", "-q")
    fleet.write("a")
    fleet.settle()
    fleet.write("a", mode="active")
    fleet.settle()
    closed = {c.type: c.reason for c in fleet.status("a").conditions}["Trading"]
    assert (fleet.status("a").effective_mode, closed) == (Mode.ACTIVE, "NotCommitted")
    fleet.git("add", "-A")
    fleet.git("commit", "-qm", "first")
    fleet.settle()
    assert {c.type: c.reason for c in fleet.status("a").conditions}["Trading"] == "Open"


def test_a_rebase_under_way_is_shown_until_it_is_over(fleet: Any) -> None:
    fleet.git("init", "-q")
    fleet.write("a")
    fleet.settle()
    (fleet.root / ".git" / "rebase-merge").mkdir()
    fleet.settle()
    assert "rebase" in fleet.board.engine().source_notes[0]
    (fleet.root / ".git" / "rebase-merge").rmdir()
    fleet.settle()
    assert fleet.board.engine().source_notes == ()


def test_a_halt_file_halts_for_as_long_as_it_says_so(fleet: Any) -> None:
    halt = fleet.root / "instances" / "_halt.yaml"
    halt.write_text("- {scope: account, id: main, reason: maintenance}\n")
    fleet.settle()
    (found,) = fleet.store.halts.active()
    assert (found.scope, found.id, found.reason) == ("account", "main", "maintenance")
    halt.write_text("- {scope: account\n")
    fleet.settle()
    (found,) = fleet.store.halts.active()
    assert found.scope == "all"
    assert fleet.board.problems()[0].path == "instances/_halt.yaml"
    halt.unlink()
    fleet.settle()
    fleet.clock.advance(10.0)
    fleet.controller.run_pass()
    assert fleet.store.halts.active() == (), "it looked again by itself, before the next full pass"


def test_a_halt_file_that_is_away_for_a_moment_lifts_nothing(fleet: Any) -> None:
    halt = fleet.root / "instances" / "_halt.yaml"
    halt.write_text("- {scope: all, reason: stop}\n")
    fleet.settle()
    for away_s in (0.0, 1.0, 8.9):  # whoever uploads a file often deletes it first
        halt.unlink()
        fleet.settle()
        fleet.clock.advance(away_s)
        fleet.settle()
        assert [one.reason for one in fleet.store.halts.active()] == ["stop"]
        halt.write_text("- {scope: all, reason: stop}\n")
        fleet.settle()
        fleet.clock.advance(10.0)
        fleet.settle()
        assert [one.reason for one in fleet.store.halts.active()] == ["stop"]


def test_of_two_halt_files_nobody_knows_which_is_meant(fleet: Any) -> None:
    fleet.write("a")
    (fleet.root / "instances" / "_halt.yaml").write_text("[]\n")
    other = fleet.root / "instances" / "_halt.yml"
    other.write_text("- {scope: instance, id: a, reason: look}\n")
    fleet.settle()
    (found,) = fleet.store.halts.active()
    assert (found.scope, found.full) == ("all", True)
    assert "there is another halt file, instances/_halt.yml" in fleet.board.problems()[0].message
    other.unlink()
    fleet.settle()
    assert fleet.store.halts.active() == ()


def fail_five_times(fleet: Any) -> None:
    for errors in range(1, 6):
        fleet.host.beat(100 + errors)
        fleet.wait_until(lambda: fleet.host.facts("a").ticks.errors == errors)  # noqa: B023 - called at once
    fleet.settle()


def test_quarantine_pauses_and_new_config_lifts_it(fleet: Any) -> None:
    fleet.write("a", config="{fail: tick}")
    fleet.settle()
    fail_five_times(fleet)
    assert fleet.status("a").health is Health.PAUSED
    assert fleet.store.halts.active() == ()
    fleet.write("a", config="{}")
    fleet.settle()
    assert fleet.status("a").health is Health.HEALTHY


def test_quarantining_an_active_instance_halts_it_as_well(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    fleet.write("a", mode="active", config="{fail: tick}")
    fleet.settle()
    fail_five_times(fleet)
    (halt,) = fleet.store.halts.active()
    assert (halt.scope, halt.id) == ("instance", "a")


def test_an_operators_pause_is_lifted_only_by_the_operator(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    assert fleet.operator.pause(["a"], "looking into it", 1000).ok
    fleet.write("a", config="{levels: 8}")
    fleet.settle()
    assert fleet.status("a").health is Health.PAUSED
    assert fleet.operator.resume(["a"], "fine", 1000).ok
    assert fleet.status("a").health is Health.HEALTHY
    assert fleet.operator.pause(["nobody"], "x", 0).failed[0][0] == "nobody"


def test_an_operators_halt_is_kept_and_named_until_lifted(make_fleet: MakeFleet) -> None:
    first = make_fleet()
    assert first.operator.halt(Halt("all", "", False, "drill", "", ""), 1000).ok
    first.close()
    second = make_fleet()
    assert second.store.halts.active()[0].reason == "drill"
    assert second.operator.unhalt("all", "", "over", 1000).ok
    assert not second.operator.unhalt("all", "", "over", 1000).ok
    assert second.store.halts.active() == ()


def test_accepting_changed_tools_is_recorded_with_who_and_why(fleet: Any) -> None:
    assert fleet.operator.accept_tools("kraken", "read its changelog", 1000).done == ("kraken",)
    refused = fleet.operator.accept_tools("mars", "why", 1000)
    assert refused.failed == (("mars", "there is no such server"),)
    (operation,) = fleet.operations()
    assert (operation["action"], operation["scope"]) == ("accept-tools", "server kraken")
    assert (operation["uid"], operation["reason"]) == (1000, "read its changelog")


def test_an_order_placed_by_hand_is_recorded_with_who_and_why(fleet: Any) -> None:
    assert fleet.operator.note_placing("main", "a1, buy 1 X", "a new key", 1000).done == ("main",)
    (operation,) = fleet.operations()
    assert (operation["action"], operation["scope"]) == ("place", "account main")
    assert (operation["uid"], operation["reason"]) == (1000, "a1, buy 1 X: a new key")
    assert messages(fleet, "PlacedByHand") == [f"account main: a1, buy 1 X: a new key ({named(1000)})"]


def messages(fleet: Any, reason: str) -> list[str]:
    """What the events of that reason say, newest first."""
    from reconciler.store.reader import Reader

    fleet.store.flush()
    with contextlib.closing(Reader.open(fleet.root / ".reconciler" / "reconciler.db")) as reader:
        return [item["message"] for item in reader.events(limit=1000)[0] if item["reason"] == reason]


def test_a_full_halt_says_so_in_what_is_recorded_of_it(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    assert fleet.operator.halt(Halt("instance", "a", True, "loops", "", ""), 7).ok
    assert fleet.operator.unhalt("instance", "a", "mended", 7).ok
    assert messages(fleet, "Halted") == [f"instance a, in full: loops ({named(7)})"]
    assert messages(fleet, "Unhalted") == [f"instance a, halted in full: mended ({named(7)})"]
    scopes = [one["scope"] for one in fleet.operations()]
    assert scopes == ["instance a, halted in full", "instance a, in full"]


def test_a_halt_in_a_file_says_whether_it_is_full_and_where_it_comes_from(fleet: Any) -> None:
    fleet.write("a")
    halt = fleet.root / "instances" / "_halt.yaml"
    halt.write_text("- {scope: instance, id: a, full: true, reason: maintenance}\n")
    fleet.git("init", "-q")
    fleet.settle()
    assert messages(fleet, "Halted") == ["instance a, in full: maintenance (instances/_halt.yaml, not committed)"]
    fleet.git("add", ".")
    fleet.git("commit", "-qm", "halt")
    fleet.settle()
    halt.write_text("[]\n")
    fleet.git("commit", "-qam", "lift")
    fleet.settle()
    commit = fleet.git("rev-parse", "HEAD")
    assert messages(fleet, "Unhalted") == [
        f"instance a, halted in full: maintenance (instances/_halt.yaml, commit {commit[:10]})"
    ]


def test_a_halt_in_a_file_that_names_nothing_there_is_a_problem_and_halts_what_else_it_names(fleet: Any) -> None:
    fleet.write("btc-usd-grid")
    halt = fleet.root / "instances" / "_halt.yaml"
    halt.write_text(
        "- {scope: instance, id: btc-usd-gird, reason: loops}\n- {scope: instance, id: btc-usd-grid, reason: loops}\n"
    )
    fleet.settle()
    assert [one.id for one in fleet.store.halts.active()] == ["btc-usd-gird", "btc-usd-grid"]
    (problem,) = fleet.board.problems()
    assert (problem.path, problem.line, problem.column) == ("instances/_halt.yaml", 1, 25)
    assert "no instance is called btc-usd-gird" in problem.message
    fleet.write("btc-usd-gird")
    fleet.settle()
    assert fleet.board.problems() == ()


def test_what_is_not_paused_is_not_resumed_and_no_event_says_so(fleet: Any) -> None:
    fleet.write("a")
    fleet.write("b")
    fleet.settle()
    assert fleet.operator.resume(["a"], "why", 7).failed == (("a", "it is not paused"),)
    assert fleet.operator.resume(None, "why", 7).failed == (("all", "nothing is paused"),)
    assert messages(fleet, "Resumed") == []
    fleet.operator.pause(["b"], "a look", 7)
    assert fleet.operator.resume(None, "why", 7).done == ("b",)
    assert [one["action"] for one in fleet.operations()] == ["resume", "pause"]
