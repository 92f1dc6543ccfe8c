"""Records upon templates, in an engine on real parts: what a template's change does, and what a broken one does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.mode import Mode
from reconciler.records.plan import Reload, Update
from reconciler.records.status import Sync

TEMPLATE = "instances/_templates/small.yaml"


@pytest.fixture
def template(fleet: Any) -> Path:
    """The template `small`, and two records upon it."""
    return laid_out(fleet)


def laid_out(fleet: Any) -> Path:
    path: Path = fleet.root / TEMPLATE
    path.parent.mkdir()
    path.write_text("config:\n  levels: 3\n")
    fleet.write("a", template="small")
    fleet.write("b", template="small", config="{levels: 9}")
    fleet.settle()
    return path


def test_a_record_runs_on_what_file_and_template_add_up_to(fleet: Any, template: Path) -> None:
    assert fleet.status("a").effective_config == {"levels": 3}
    assert fleet.status("b").effective_config == {"levels": 9}
    assert (fleet.status("a").sync, fleet.status("a").template_path) == (Sync.SYNCED, TEMPLATE)
    assert fleet.board.origins("a")["config.levels"] == f"{TEMPLATE}:2"
    assert fleet.board.origins("b")["config.levels"] == "instances/b.yaml:6"
    assert fleet.settle() == []


def test_a_template_s_config_reloads_the_records_it_reaches(fleet: Any, template: Path) -> None:
    template.write_text("config:\n  levels: 4\n")
    done = fleet.settle()
    assert [action.row.id for action in done if isinstance(action, Reload)] == ["a"]
    assert [action.row.id for action in done if isinstance(action, Update)] == ["b"]
    assert fleet.status("a").effective_config == {"levels": 4}
    assert (fleet.status("a").generation, fleet.status("b").generation) == (2, 1)
    assert fleet.settle() == []


def test_a_template_s_labels_and_limits_apply_in_place(fleet: Any, template: Path) -> None:
    template.write_text("config:\n  levels: 3\nlabels: {team: majors}\nlimits: {max_open_orders: 2}\n")
    assert {type(action) for action in fleet.settle()} == {Update}
    assert fleet.status("a").labels == {"team": "majors"}
    assert fleet.host.views()["b"].row.record.limits.max_open_orders == 2
    assert fleet.status("b").generation == 2


def test_invariant_4_a_broken_template_changes_nothing_that_runs_and_is_told_once(fleet: Any, template: Path) -> None:
    template.write_text("config:\n  levels: 4\nmode: active\n")
    assert fleet.settle() == []
    assert [fleet.status(i).sync for i in "ab"] == [Sync.INVALID] * 2
    assert [fleet.status(i).effective_mode for i in "ab"] == [Mode.OBSERVE] * 2
    assert fleet.status("a").effective_config == {"levels": 3}
    (problem,) = fleet.board.problems()
    assert str(problem) == f"{TEMPLATE}:3:1: mode: expected no mode in a template"
    assert problem.hint.endswith("breaks a, b")
    assert fleet.board.problems("a") == (problem,)
    assert fleet.board.origins("a") == {}, "the files say something else by now"


def test_invariant_4_a_record_of_a_missing_template_can_still_be_lowered(fleet: Any, template: Path) -> None:
    template.unlink()
    fleet.write("a", mode="off", template="small")
    fleet.settle_twice()
    assert (fleet.status("a").mode, fleet.status("a").effective_mode) == (Mode.OFF, Mode.OFF)
    assert (fleet.status("b").mode, fleet.status("b").effective_config) == (Mode.OBSERVE, {"levels": 9})
    assert [p.rule for p in fleet.board.problems()] == ["unknown-template"] * 2
    template.write_text("config:\n  levels: 3\n")
    fleet.settle()
    assert [fleet.status(i).sync for i in "ab"] == [Sync.SYNCED] * 2


def test_a_template_nobody_uses_is_a_problem_as_long_as_it_is_broken(fleet: Any, template: Path) -> None:
    other = template.with_name("other.yaml")
    other.write_text("limits: 5\n")
    fleet.settle()
    assert [str(p) for p in fleet.board.problems()] == [
        "instances/_templates/other.yaml:1:9: limits: expected a mapping, was 5"
    ]
    assert fleet.board.engine().counts["problems"] == 1
    other.unlink()
    fleet.settle()
    assert fleet.board.problems() == ()


def test_a_template_survives_a_restart_without_a_change(make_fleet: Any) -> None:
    first = make_fleet()
    laid_out(first)
    row = first.controller.fleet.rows["a"]
    first.close()
    second = make_fleet()
    assert second.controller.fleet.rows["a"] == row
    assert row.template_digest
    second.settle()
    assert second.status("a").generation == 1


def test_real_money_asks_for_the_template_to_be_committed_too(make_fleet: Any) -> None:
    fleet = make_fleet(accounts=Accounts({"main": DeclaredAccount("main", "kraken", real_money=True)}, None))
    template = laid_out(fleet)
    (fleet.root / ".gitignore").write_text(".reconciler/\n")
    fleet.git("init", "-q")
    fleet.git("add", ".")
    fleet.git("commit", "-q", "-m", "all")
    fleet.settle()
    assert fleet.status("a").committed
    template.write_text("config:\n  levels: 3  # not committed\n")
    fleet.settle()
    assert not fleet.status("a").committed
    assert (fleet.status("a").generation, fleet.status("a").sync) == (1, Sync.SYNCED)
    fleet.write("a", mode="active", template="small")
    fleet.settle()
    trading = {c.type: c for c in fleet.status("a").conditions}["Trading"]
    assert (trading.reason, trading.status) == ("NotCommitted", False)
    fleet.git("commit", "-q", "-a", "-m", "the template")
    fleet.settle()
    assert fleet.status("a").committed
