"""Who was at work when the process ended: remembered over any end, suspected after the second."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.records.mode import Mode
from reconciler.records.plan import Phase
from reconciler.runtime.process import AtWork, Culprit, culprit
from reconciler.runtime.protocol import Quarantined
from reconciler.strategy.base import Strategy

if TYPE_CHECKING:
    from tests.runtime.conftest import MakeStage

ONE, TWO = Culprit("instance", "one", "v1"), Culprit("instance", "two", "v1")
ENDS = """
import os, sys
from pathlib import Path
from reconciler.runtime.process import AtWork, Culprit
work = AtWork(Path(sys.argv[1]), "boot")
with work.working(Culprit("instance", sys.argv[2], "v1")):
    {}
    os.kill(os.getpid(), 9)
"""


def end(folder: Path, name: str = "one", before: str = "pass") -> None:
    """A process that ends while `name` is at work."""
    done = subprocess.run([sys.executable, "-c", ENDS.format(before), str(folder), name], timeout=50, check=False)
    assert done.returncode == -9


def test_a_process_that_ends_says_who_was_at_work_and_the_second_time_makes_a_suspect(tmp_path: Path) -> None:
    assert AtWork(tmp_path, "boot").ended is None
    end(tmp_path)
    first = AtWork(tmp_path, "boot")
    assert first.ended is not None
    assert (first.ended.culprits, first.ended.how) == ((ONE,), "")
    assert first.suspicion(ONE) == ""
    end(tmp_path)
    second = AtWork(tmp_path, "boot")
    assert second.suspicion(ONE) == "the engine ended 2 times while its code ran"
    assert second.suspicion(ONE._replace(version="v2")) == second.suspicion(TWO) == ""
    second.close()
    assert AtWork(tmp_path, "boot").suspicion(ONE), "a suspect stays one"
    third = AtWork(tmp_path, "boot")
    third.forgive("instance", "one")
    assert third.suspicion(ONE) == AtWork(tmp_path, "boot").suspicion(ONE) == ""


def test_who_ended_it_by_name_is_the_only_one(tmp_path: Path) -> None:
    end(tmp_path, "two", f"work.marks[7] = work.number(Culprit{tuple(ONE)!r}); work.note('os._exit at x.py:1')")
    found = AtWork(tmp_path, "boot")
    assert found.ended is not None
    assert (found.ended.culprits, found.ended.how) == ((TWO,), "os._exit at x.py:1")


@pytest.mark.parametrize("ending", ["work.stop()", "work.close()", "back = work.engine_works()"])
def test_nobody_is_blamed_for_an_end_that_was_asked_for_or_came_while_the_engine_was_at_work(
    tmp_path: Path, ending: str
) -> None:
    end(tmp_path, before=ending)
    assert AtWork(tmp_path, "boot").ended is None


def test_a_machine_that_went_down_blames_nobody(tmp_path: Path) -> None:
    end(tmp_path)
    assert AtWork(tmp_path, "another boot").ended is None


def test_an_orderly_end_forgets_what_happened_once(tmp_path: Path) -> None:
    end(tmp_path)
    AtWork(tmp_path, "boot").close()
    end(tmp_path)
    assert AtWork(tmp_path, "boot").suspicion(ONE) == ""


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"at work 1\nboot" + b" " * 60 + b"\xff" * 20_000])
def test_damaged_files_cost_the_memory_and_no_more(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "at-work").write_bytes(damage)
    (tmp_path / "crashes.json").write_bytes(damage)
    assert AtWork(tmp_path, "boot").ended is None
    (tmp_path / "at-work").unlink()
    (tmp_path / "at-work").mkdir()
    work = AtWork(tmp_path, "boot")
    with work.working(ONE):
        work.note("nothing")


def test_a_number_is_written_down_once_and_marks_end_with_the_work(tmp_path: Path) -> None:
    work = AtWork(tmp_path, "boot")
    assert work.number(ONE) == work.number(ONE) == 1
    with work.working(TWO):
        assert sum(work.marks) == 2
        back = work.engine_works()
        assert back is not None
        assert sum(work.marks) == 0
        back()
        assert sum(work.marks) == 2
    assert sum(work.marks) == 0
    assert work.engine_works() is None


def test_a_suspect_is_quarantined_unloaded_until_it_is_resumed(make_stage: MakeStage, tmp_path: Path) -> None:
    made: list[str] = []

    class Ends(Strategy):
        def init(self) -> None:
            made.append(self.context.instance.id)

        def on_tick(self) -> None:
            pass

    stage = make_stage(at_work=AtWork(tmp_path, "boot"))
    row = stage.row(mode=Mode.ACTIVE)
    who = culprit("instance", row.id, (row.config_digest, row.code_digest))
    told = [{"who": list(who), "times": 2, "how": "os._exit at x.py:1"}]
    (tmp_path / "crashes.json").write_text(json.dumps(told))
    stage = make_stage(at_work=AtWork(tmp_path, "boot"))
    stage.ask(Ends, row)
    stage.until(lambda: stage.told(Quarantined))
    why = "the engine ended 2 times while its code ran, by os._exit at x.py:1"
    assert stage.told(Quarantined) == [Quarantined("one", why, was_active=True, is_barred=True)]
    view = stage.view()
    assert view is not None
    assert (view.phase, view.paused, view.mode, made) == (Phase.FAILED, True, Mode.OFF, [])
    assert view.retry_at_s == float("inf")
    stage.host.resume("one")
    view = stage.view()
    assert view is not None
    assert (view.paused, view.retry_at_s) == (False, 0.0)
    stage.load(Ends, row)
    assert made == ["one"]


def test_of_many_that_are_expected_each_is_known_but_one_whose_name_is_too_long(tmp_path: Path) -> None:
    many = [Culprit("instance", name, "v1") for name in ("first", "x" * 300, "two", "one", "two", "last")]
    known = ", ".join(f"Culprit{tuple(who)!r}" for who in many)
    end(tmp_path, "one", f"work.number(Culprit{tuple(TWO)!r}); work.expect([{known}]); work.expect([{known}])")
    found = AtWork(tmp_path, "boot").ended
    assert found is not None
    assert found.culprits == (ONE,)
    end(tmp_path, "x" * 300, f"work.expect([{known}])")
    assert AtWork(tmp_path, "boot").ended is None, "nobody knows what it was"
