"""Code that is slow, or fails to be imported: it holds nobody else up, and leaves what ran running."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from reconciler.records.mode import Mode
from reconciler.records.plan import Phase, Running
from reconciler.records.status import Health, InstanceStatus, Sync
from reconciler.strategy.module_loading import IMPORT_DEADLINE_S
from tests.control.conftest import PROBE, Fleet

MakeFleet = Callable[..., Fleet]

GATE = "_test_code_gate"
GATED = f"import {GATE}\n{GATE}.enter()\n"


class Gate(ModuleType):
    """What slow code waits for while it is imported; `fault` is raised in it instead."""

    def __init__(self) -> None:
        super().__init__(GATE)
        self.is_open = threading.Event()
        self.fault: Exception | None = None

    def enter(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.is_open.wait(30)


@pytest.fixture
def gate() -> Iterator[Gate]:
    sys.modules[GATE] = one = Gate()
    yield one
    one.is_open.set()
    del sys.modules[GATE]


def look(fleet: Fleet, times: int = 3, most_s: float = float("inf")) -> bool:
    """Passes that look at the files, while time goes on for the moment that they may wait, for `most_s` in all. Always
    true."""
    until_s = fleet.clock.monotonic() + most_s
    for _ in range(times):
        fleet.controller.hint()
        turn = threading.Thread(target=fleet.controller.run_pass)
        turn.start()
        while turn.is_alive():
            if fleet.clock.monotonic() < until_s:
                fleet.clock.advance(0.1)
            turn.join(0.001)
    return True


def follow_slow_code(fleet: Fleet) -> tuple[str, str]:
    """A record is applied; then it rises with code that the gate keeps back, and once more with code that is free."""
    fleet.write("a", "off")
    fleet.commit()
    look(fleet)
    fleet.write_code("2", GATED + PROBE)
    fleet.write("a", "observe")
    first = fleet.commit()
    fleet.write_code("3")
    fleet.write("a", "active")
    return first, fleet.commit()


def until_loaded(fleet: Fleet, instance_id: str = "a") -> None:
    def is_there() -> bool:
        look(fleet, 1)
        view = fleet.views().get(instance_id)
        return view is not None and view.phase is Phase.RUNNING and not fleet.controller.has_reports

    fleet.wait_until(is_there)


def loaded(status: InstanceStatus) -> tuple[bool, str, str]:
    return next((one.status, one.reason, one.message) for one in status.conditions if one.type == "Loaded")


def test_a_first_start_on_slow_code_waits_for_it_and_says_so(make_fleet: MakeFleet, gate: Gate) -> None:
    fleet = make_fleet()
    fleet.write("a")
    fleet.write_code("v1", GATED + PROBE)
    gate.is_open.set()
    fleet.settle()
    fleet.close()
    gate.is_open.clear()

    fleet = make_fleet(imports_beside=True)
    look(fleet)
    status = fleet.status("a")
    assert (status.health, status.sync) == (Health.PROGRESSING, Sync.OUT_OF_SYNC)
    assert loaded(status) == (False, "CodeLoading", "strategies/probe.py is being imported")
    assert not fleet.controller.settled.is_set()
    gate.is_open.set()
    until_loaded(fleet)
    assert (fleet.status("a").health, fleet.status("a").sync) == (Health.HEALTHY, Sync.SYNCED)


def test_adoption_takes_the_modes_of_what_waits_for_its_code(make_fleet: MakeFleet, gate: Gate) -> None:
    fleet = make_fleet(adopt=True, imports_beside=True)
    fleet.write_code("v1", GATED + PROBE)
    fleet.write("a", mode="active")
    fleet.write("b", mode="observe")
    look(fleet)
    assert not fleet.views()
    fleet.write("b", mode="active")  # another file than the one that was found
    fleet.write("c", mode="active")
    look(fleet)
    gate.is_open.set()
    until_loaded(fleet)
    assert fleet.status("a").effective_mode is Mode.ACTIVE
    assert fleet.views().keys() == {"a"}
    refused = fleet.controller.fleet.attempts
    assert refused["instances/b.yaml"].sync is refused["instances/c.yaml"].sync is Sync.REFUSED


def test_new_code_that_is_slow_leaves_what_runs_running_while_modes_fall(make_fleet: MakeFleet, gate: Gate) -> None:
    fleet = make_fleet(imports_beside=True)
    fleet.write("a")
    fleet.write("b")
    until_loaded(fleet)
    until_loaded(fleet, "b")
    fleet.write_code("v2", GATED + PROBE)
    fleet.write("a", mode="off")
    fleet.write("b", labels="{team: x}")
    fleet.write("c")
    look(fleet)
    fleet.wait_until(lambda: look(fleet, 1) and fleet.views().keys() == {"b"})
    assert fleet.status("a").mode is Mode.OFF
    is_loaded, reason, message = loaded(fleet.status("b"))
    assert (is_loaded, reason) == (True, "CodeLoading")
    assert message == "generation 1 runs on by the code it was loaded with: strategies/probe.py is being imported"
    assert fleet.status("b").labels == {}
    assert fleet.controller.fleet.attempts["instances/c.yaml"].sync is Sync.OUT_OF_SYNC
    gate.is_open.set()
    until_loaded(fleet, "c")
    fleet.wait_until(lambda: look(fleet, 1) and fleet.status("b").observed_generation == 2)
    assert fleet.status("b").labels == {"team": "x"}


def is_another(fleet: Fleet, before: Running) -> bool:
    """True once something else runs; between the two nothing does."""
    return "a" in fleet.views() and fleet.views()["a"].key != before.key


def test_an_import_that_fails_has_its_own_reason_and_is_tried_again(make_fleet: MakeFleet, gate: Gate) -> None:
    fleet = make_fleet(imports_beside=True)
    gate.fault = ModuleNotFoundError("No module named 'pandas'", name="pandas")
    fleet.write("a")
    until_loaded(fleet)
    before = fleet.views()["a"]
    fleet.write_code("v2", GATED + PROBE)
    fleet.wait_until(lambda: look(fleet, 1) and fleet.status("a").sync is Sync.INVALID)
    assert loaded(fleet.status("a"))[1] == "ImportFailed"
    assert "strategies/probe.py:2:1: expected 'pandas' to be installed" in loaded(fleet.status("a"))[2]
    assert [problem.rule for problem in fleet.board.problems()] == ["definition-broken"]
    assert fleet.views()["a"] is before
    gate.fault = None
    gate.is_open.set()
    fleet.clock.advance(400.0)
    fleet.wait_until(lambda: look(fleet, 1) and is_another(fleet, before))
    until_loaded(fleet)
    assert (fleet.status("a").sync, loaded(fleet.status("a"))[1]) == (Sync.SYNCED, "Loaded")
    assert not fleet.board.problems()


def test_a_commit_whose_code_is_slow_is_applied_but_for_its_records_which_follow_in_their_order(
    make_fleet: MakeFleet, gate: Gate, tmp_path: Path
) -> None:
    """Each change of theirs is made, though the code of a moment came only after the branch had gone on."""
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    fleet = make_fleet(follows="main", imports_beside=True)
    other = fleet.root / "strategies" / "other.py"
    other.write_text(PROBE.replace("Probe", "Other"))
    fleet.write("a", "off")
    path = fleet.write("b", "off")
    path.write_text(path.read_text().replace("probe", "other"))
    fleet.commit()
    look(fleet)
    fleet.write_code("2", GATED + PROBE.replace('"levels"', '"steps"'))
    fleet.write("a", "observe", config="{steps: 1}")
    path.write_text(path.read_text().replace("mode: off", "mode: observe"))
    slow = fleet.commit()
    look(fleet)
    fleet.write_code("3")
    fleet.write("a", "active", config="{levels: 1}")
    last = fleet.commit()
    look(fleet)
    followed = fleet.store.following.followed()
    assert followed is not None
    assert (followed.applied, followed.behind) == (last, {"a": slow})
    modes = {name: row.mode for name, row in fleet.controller.fleet.rows.items()}
    assert modes == {"a": Mode.OFF, "b": Mode.OBSERVE}
    fleet.close()

    fleet = make_fleet(follows="main", imports_beside=True)
    gate.is_open.set()
    fleet.wait_until(lambda: look(fleet, 1) and fleet.controller.fleet.rows["a"].mode is Mode.ACTIVE)
    followed = fleet.store.following.followed()
    assert followed is not None
    assert followed.behind == {}
    reader = fleet.store.desired._reads
    kept = reader.query("SELECT generation, mode, revision FROM generations WHERE instance_id = 'a' ORDER BY id")
    assert [(one["generation"], one["mode"]) for one in kept] == [(1, "off"), (2, "observe"), (3, "active")]
    assert [one["revision"] for one in kept][1:] == [slow, last]


def test_a_start_has_not_settled_while_code_that_has_come_waits_to_be_looked_at(
    make_fleet: MakeFleet, gate: Gate
) -> None:
    fleet = make_fleet(imports_beside=True)
    fleet.write("a")
    fleet.write_code("v1", GATED + PROBE)
    look(fleet)
    gate.is_open.set()
    fleet.wait_until(lambda: not fleet.catalogue.is_loading)
    assert not fleet.controller._has_arrived(), "nothing of it is loaded"
    until_loaded(fleet)
    assert fleet.controller._has_arrived()


def test_an_import_that_failed_for_a_moment_refuses_no_commit_on_the_way(
    make_fleet: MakeFleet, gate: Gate, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    fleet = make_fleet(follows="main", imports_beside=True)
    gate.fault = OSError("too many open files")
    slow, last = follow_slow_code(fleet)
    look(fleet, most_s=0.8)  # it is tried again after a second, and given up after some
    followed = fleet.store.following.followed()
    assert followed is not None
    assert (followed.applied, followed.behind) == (last, {"a": slow})
    gate.fault = None
    gate.is_open.set()
    fleet.wait_until(lambda: look(fleet, 1) and fleet.controller.fleet.rows["a"].mode is Mode.ACTIVE)


def test_an_import_that_goes_on_failing_refuses_its_commit_and_none_that_comes_later(
    make_fleet: MakeFleet, gate: Gate, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    fleet = make_fleet(follows="main", imports_beside=True)
    gate.fault = ModuleNotFoundError("No module named 'gone'")
    follow_slow_code(fleet)
    fleet.wait_until(lambda: look(fleet, 1) and fleet.status("a").sync is Sync.REFUSED)
    assert fleet.controller.fleet.rows["a"].mode is Mode.OFF
    fleet.write("a", "observe")
    fleet.commit()
    fleet.wait_until(lambda: look(fleet, 1) and fleet.status("a").mode is Mode.OBSERVE)


def test_an_import_that_hangs_is_waited_for_and_not_for_ever(make_fleet: MakeFleet, gate: Gate, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    fleet = make_fleet(follows="main", imports_beside=True)
    slow, last = follow_slow_code(fleet)
    look(fleet)
    begun_s = fleet.clock.monotonic()
    fleet.wait_until(lambda: look(fleet, 1) and fleet.clock.monotonic() > begun_s + 2 * IMPORT_DEADLINE_S)
    followed = fleet.store.following.followed()
    assert followed is not None
    assert followed.behind == {"a": slow}
    fleet.wait_until(lambda: look(fleet, 1) and fleet.status("a").sync is Sync.REFUSED)
    followed = fleet.store.following.followed()
    assert followed is not None
    assert (followed.applied, followed.behind) == (last, {})


def test_code_on_the_way_that_is_slow_each_time_is_imported_once(
    make_fleet: MakeFleet, gate: Gate, tmp_path: Path
) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", str(tmp_path)], check=True)
    fleet = make_fleet(follows="main", imports_beside=True)
    begun: list[str] = []

    def late() -> None:
        begun.append("once more")
        threading.Event().wait(0.2)

    gate.enter = late  # type: ignore[method-assign]
    follow_slow_code(fleet)
    fleet.wait_until(lambda: look(fleet, 1) and fleet.controller.fleet.rows["a"].mode is Mode.ACTIVE)
    assert begun == ["once more"]
