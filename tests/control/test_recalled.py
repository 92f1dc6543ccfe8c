"""What an engine before this one judged is taken as it was; each cause to judge anew, by itself."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.records.accounts import Accounts, DeclaredAccount, Requirement
from reconciler.records.crosscheck import Basis, EvaluationCache, evaluate_all
from reconciler.records.evaluation import Evaluation
from reconciler.records.mode import Mode
from reconciler.records.plan import Load, Phase
from reconciler.records.snapshot import SourceFile
from reconciler.records.status import Health, Sync
from reconciler.sources.worktree import Worktree, WorktreeOptions
from tests.control.conftest import PROBE

MakeFleet = Callable[..., Any]
MAIN = Accounts({"main": DeclaredAccount("main", "paper", real_money=False)}, any_on=None)


def started(make_fleet: MakeFleet, **options: Any) -> Any:
    """The next engine on the same folder, once it has arrived."""
    fleet = make_fleet(**options)
    fleet.settle()
    return fleet


def left(make_fleet: MakeFleet, **options: Any) -> Any:
    """A fleet of three, two upon a template, that was running and has been stopped."""
    fleet = make_fleet(**options)
    fleet.write("majors", folder="instances/_templates").write_text("config: {levels: 7}\nlabels: {team: majors}\n")
    fleet.write("a", config="{levels: 3}", limits='{max_position: "2", max_open_orders: 3.0}', protect="true")
    fleet.write("b", template="majors", data_markets="[ETH/USD]", description="'#2'")
    fleet.write("c", mode="off", template="majors", config="{fail: ''}")
    fleet.settle()
    fleet.close()
    return fleet


def judged_anew(fleet: Any, accounts: Accounts | None = None) -> list[Evaluation]:
    """What an engine says of the files that never saw them."""
    snapshot = Worktree(fleet.root, fleet.clock, WorktreeOptions()).read()
    known, types = accounts or Accounts(), fleet.catalogue.types()
    return list(
        evaluate_all(snapshot.instances, snapshot.templates, fleet.catalogue.facts, known, types, EvaluationCache())
    )


def by_hand(fleet: Any, sql: str, *values: Any) -> None:
    database = sqlite3.connect(fleet.root / ".reconciler" / "reconciler.db")
    database.execute(sql, values)
    database.commit()
    database.close()


def history(fleet: Any) -> int:
    database = sqlite3.connect(fleet.root / ".reconciler" / "reconciler.db")
    (count,) = database.execute("SELECT count(*) FROM generations").fetchone()
    database.close()
    return int(count)


def test_what_is_as_it_was_is_taken_as_it_was_judged(make_fleet: MakeFleet) -> None:
    before = history(left(make_fleet))
    fleet = make_fleet()
    assert [type(action) for action in fleet.settle()] == [Load, Load]
    assert fleet.recalled() == ["a", "b", "c"]
    assert list(fleet.controller.fleet.evaluations) == judged_anew(fleet)
    assert fleet.status("a").sync is Sync.SYNCED
    assert fleet.status("a").health is Health.HEALTHY
    assert fleet.status("b").effective_config["levels"] == 7
    assert history(fleet) == before
    assert fleet.settle() == []


def test_a_file_that_was_edited_is_judged_anew(make_fleet: MakeFleet) -> None:
    left(make_fleet).write("a", config="{levels: 4}")
    fleet = started(make_fleet)
    assert fleet.recalled() == ["b", "c"]
    assert fleet.status("a").effective_config["levels"] == 4


def test_a_file_that_was_made_invalid_raises_nothing_and_may_lower(make_fleet: MakeFleet) -> None:
    stopped = left(make_fleet)
    stopped.write("c", mode="observe", config="{levels: many}")
    stopped.write("a", mode="off", config="{levels: many}")
    fleet = started(make_fleet)
    assert fleet.recalled() == ["b"]
    assert fleet.status("c").sync is Sync.INVALID
    assert fleet.status("c").mode is Mode.OFF
    assert fleet.status("a").mode is Mode.OFF
    assert sorted(fleet.views()) == ["b"]


def test_what_was_lowered_by_an_invalid_file_is_judged_anew_when_its_file_is_as_before(make_fleet: MakeFleet) -> None:
    first = make_fleet()
    path = first.write("a", config="{levels: 3}")
    first.settle()
    well = path.read_text()
    first.write("a", mode="off", config="{levels: many}")
    first.settle()
    first.close()
    path.write_text(well)
    fleet = started(make_fleet)
    assert fleet.recalled() == []
    assert fleet.status("a").mode is Mode.OBSERVE


def test_limits_that_a_record_lacks_are_known_of_it(make_fleet: MakeFleet) -> None:
    asking = Accounts(MAIN.declared, any_on=None, requirement=Requirement("paper", ("max_daily_loss",)))
    left(make_fleet, accounts=asking)
    fleet = started(make_fleet, accounts=asking)
    assert fleet.recalled() == ["a", "b", "c"]
    assert [one.lacking for one in fleet.controller.fleet.evaluations] == [("max_daily_loss",)] * 3
    assert list(fleet.controller.fleet.evaluations) == judged_anew(fleet, asking)


def test_a_template_of_which_there_are_two_by_now_is_nobodys(make_fleet: MakeFleet) -> None:
    templates = left(make_fleet).root / "instances" / "_templates"
    (templates / "majors.yml").write_text("config: {levels: 9}\n")
    fleet = started(make_fleet)
    assert fleet.recalled() == ["a"]
    assert fleet.status("b").sync is Sync.INVALID


@pytest.mark.parametrize("text", ["config: {levels: 8}\n", "config: {levels: many}\n", "config: [", None])
def test_a_template_that_was_changed_has_all_that_use_it_judged_anew(make_fleet: MakeFleet, text: str | None) -> None:
    template = left(make_fleet).root / "instances" / "_templates" / "majors.yaml"
    if text is None:
        template.unlink()
    else:
        template.write_text(text)
    fleet = started(make_fleet)
    assert fleet.recalled() == ["a"]
    assert list(fleet.controller.fleet.evaluations) == judged_anew(fleet) or text == "config: {levels: many}\n"
    is_well = text is not None and "8" in text
    assert fleet.status("b").sync is (Sync.SYNCED if is_well else Sync.INVALID)
    assert fleet.status("b").effective_config["levels"] == (8 if is_well else 7)


def test_code_that_was_changed_has_its_records_judged_anew(make_fleet: MakeFleet) -> None:
    stopped = left(make_fleet)
    stopped.write_code("2", PROBE.replace('"type": "integer", "default": 5', '"type": "integer", "maximum": 5'))
    fleet = started(make_fleet)
    assert fleet.recalled() == []
    assert fleet.status("a").sync is Sync.SYNCED
    assert fleet.status("b").sync is Sync.INVALID, "7 levels are too many by now"


def test_code_that_was_changed_with_the_same_schema_has_them_judged_anew_and_runs(make_fleet: MakeFleet) -> None:
    stopped = left(make_fleet)
    before = stopped.controller.fleet.rows["a"].code_digest
    stopped.write_code("2")
    fleet = started(make_fleet)
    assert fleet.recalled() == []
    assert fleet.views()["a"].key.code_digest != before


def test_the_same_code_with_another_schema_has_its_records_judged_anew(
    make_fleet: MakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOST_LEVELS", "9")
    bounded = PROBE.replace('"default": 5', '"maximum": int(__import__("os").environ["MOST_LEVELS"])')
    (tmp_path / "strategies" / "probe.py").write_text(bounded)
    left(make_fleet)
    monkeypatch.setenv("MOST_LEVELS", "5")
    fleet = started(make_fleet)
    assert fleet.recalled() == []
    assert fleet.status("a").sync is Sync.SYNCED
    assert fleet.status("b").sync is Sync.INVALID


def test_other_settings_have_all_judged_anew(make_fleet: MakeFleet) -> None:
    left(make_fleet, accounts=MAIN)
    other = Accounts({"other": DeclaredAccount("other", "paper", real_money=False)}, any_on=None)
    fleet = started(make_fleet, accounts=other)
    assert fleet.recalled() == []
    assert fleet.status("a").sync is Sync.INVALID
    fleet.close()
    assert started(make_fleet, accounts=MAIN).recalled() == ["a", "b", "c"], "it is invalid by those settings alone"


def test_limits_that_are_asked_for_by_now_are_lacking(make_fleet: MakeFleet) -> None:
    left(make_fleet, accounts=MAIN)
    asking = Accounts(MAIN.declared, any_on=None, requirement=Requirement("paper", ("max_daily_loss",)))
    fleet = make_fleet(accounts=asking)
    fleet.write("a", mode="active", config="{levels: 3}")
    fleet.settle()
    assert fleet.recalled() == []
    assert fleet.status("a").sync is Sync.REFUSED
    assert fleet.status("a").mode is Mode.OBSERVE


def test_money_that_is_real_by_now_asks_for_a_commit(make_fleet: MakeFleet) -> None:
    first = make_fleet(accounts=MAIN)
    first.write("a")
    first.settle()
    first.write("a", mode="active")
    first.settle()
    first.close()
    real = Accounts({"main": DeclaredAccount("main", "paper", real_money=True)}, any_on=None)
    fleet = started(make_fleet, accounts=real)
    assert fleet.recalled() == []
    assert "NotCommitted" in {one.reason for one in fleet.status("a").obstacles}


def test_another_engine_judges_all_anew_and_once(make_fleet: MakeFleet) -> None:
    left(make_fleet)
    fleet = started(make_fleet, rules="others")
    assert fleet.recalled() == []
    before = history(fleet)
    fleet.close()
    assert started(make_fleet, rules="others").recalled() == ["a", "b", "c"]
    assert history(fleet) == before, "nothing but what it was judged by has changed"


def test_an_engine_that_cannot_tell_its_rules_judges_all_anew(make_fleet: MakeFleet) -> None:
    left(make_fleet)
    fleet = started(make_fleet, rules="")
    assert fleet.recalled() == []
    fleet.close()
    left(make_fleet, rules="")
    assert started(make_fleet).recalled() == ["a", "b", "c"], "as the first one had left it"


CHANGED_BY_HAND = {
    "mode": "active",
    "mode_override": "off",
    "config": json.dumps({"levels": 99}),
    "effective_config": json.dumps({"levels": 99}),
    "limits": "{}",
    "labels": json.dumps({"team": "others"}),
    "open_orders": "cancel",
    "protect": 0,
    "values": json.dumps({"data_markets": ["BTC/USD"]}),
    "path": "instances/b.yaml",
    "template": "majors",
    "code_digest": "0",
    "config_digest": "0",
    "values_digest": "0",
    "committed": 1,
    "generation": 7,
    "description": "by hand",
}


@pytest.mark.parametrize("column", CHANGED_BY_HAND)
def test_a_row_that_was_changed_by_hand_is_judged_anew(make_fleet: MakeFleet, column: str) -> None:
    stopped = left(make_fleet)
    well = stopped.controller.fleet.rows["a"]
    by_hand(stopped, f"UPDATE instances SET \"{column}\" = ? WHERE id = 'a'", CHANGED_BY_HAND[column])
    fleet = started(make_fleet)
    assert "a" not in fleet.recalled()
    assert fleet.controller.fleet.rows["a"].record == well.record
    assert fleet.status("a").mode is Mode.OBSERVE


def test_a_word_of_another_row_is_none_for_this_one(make_fleet: MakeFleet) -> None:
    stopped = left(make_fleet)
    by_hand(stopped, "UPDATE judgements SET seal = (SELECT seal FROM judgements WHERE instance_id = 'b')")
    assert started(make_fleet).recalled() == ["b"]


def test_ends_of_line_that_git_would_convert_are_read_anew(make_fleet: MakeFleet, tmp_path: Path) -> None:
    first = make_fleet()
    path = first.write("a")
    (tmp_path / ".gitattributes").write_text("*.yaml text eol=crlf\n")
    first.git("init", "-q")
    first.commit()
    first.settle()
    first.close()
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    fleet = started(make_fleet)
    assert fleet.recalled() == []
    assert fleet.status("a").sync is Sync.SYNCED


def test_what_is_committed_is_asked_anew(make_fleet: MakeFleet) -> None:
    real = Accounts({"main": DeclaredAccount("main", "paper", real_money=True)}, any_on=None)
    first = make_fleet(accounts=real)
    first.git("init", "-q")
    first.write("a")
    first.commit()
    first.settle()
    first.write("a", mode="active")
    first.commit()
    first.settle()
    assert first.controller.fleet.rows["a"].committed
    first.close()
    first.git("reset", "-q", "HEAD~1")
    fleet = started(make_fleet, accounts=real)
    assert fleet.recalled() == ["a"]
    assert not fleet.controller.fleet.rows["a"].committed
    assert "NotCommitted" in {one.reason for one in fleet.status("a").obstacles}


def test_a_halt_that_was_declared_meanwhile_is_in_force(make_fleet: MakeFleet) -> None:
    stopped = left(make_fleet)
    (stopped.root / "instances" / "_halt.yaml").write_text("- {scope: instance, id: a, reason: look}\n")
    fleet = started(make_fleet)
    assert fleet.recalled() == ["a", "b", "c"]
    assert [halt.id for halt in fleet.store.halts.active()] == ["a"]


def test_two_files_that_claim_one_id_are_refused_as_ever(make_fleet: MakeFleet) -> None:
    stopped = left(make_fleet)
    stopped.write("a", folder="instances/more", config="{levels: 3}")
    fleet = started(make_fleet)
    assert fleet.status("a").sync is Sync.INVALID


def test_a_file_that_was_moved_is_judged_anew_and_one_that_is_gone_is_missing(make_fleet: MakeFleet) -> None:
    stopped = left(make_fleet)
    (stopped.root / "instances" / "more").mkdir()
    (stopped.root / "instances" / "a.yaml").rename(stopped.root / "instances" / "more" / "a.yaml")
    (stopped.root / "instances" / "c.yaml").unlink()
    fleet = started(make_fleet)
    assert fleet.recalled() == ["b"]
    assert fleet.status("a").path == "instances/more/a.yaml"
    assert fleet.controller.fleet.removal.waiting == ("c",)


def test_a_secret_is_looked_for_at_every_load(make_fleet: MakeFleet, tmp_path: Path) -> None:
    secret = '"fail": {"type": "string", "writeOnly": True}, "key": {"type": "string", "writeOnly": True}'
    code = PROBE.replace('"fail": {"enum": ["init", "tick", ""]}', secret)
    (tmp_path / "strategies" / "probe.py").write_text(code)
    (tmp_path / "key").write_text("k")
    first = make_fleet(environment={"NAME": "n"})
    first.write("a", config="{key: {file: key}, fail: {env: NAME}}")
    first.settle()
    assert first.views()["a"].phase is Phase.RUNNING
    first.close()
    fleet = started(make_fleet, environment={})
    assert fleet.recalled() == ["a"]
    assert fleet.views()["a"].phase is Phase.FAILED
    fleet.close()
    (tmp_path / "key").unlink()
    assert started(make_fleet, environment={"NAME": "n"}).views()["a"].phase is Phase.FAILED


def test_code_that_is_still_being_imported_is_waited_for(make_fleet: MakeFleet) -> None:
    left(make_fleet)
    fleet = make_fleet(imports_beside=True)
    fleet.controller.run_pass()
    fleet.wait_until(lambda: not fleet.importer.is_busy)
    fleet.settle()
    assert fleet.recalled() == ["a", "b", "c"]
    assert list(fleet.controller.fleet.evaluations) == judged_anew(fleet)
    assert sorted(fleet.views()) == ["a", "b"]


def test_while_code_is_waited_for_other_settings_have_a_say(make_fleet: MakeFleet) -> None:
    fleet = left(make_fleet, accounts=MAIN)
    row = fleet.controller.fleet.rows["a"]
    data = (fleet.root / row.path).read_bytes()
    file = SourceFile(row.path, data, row.file_digest, committed=False)
    facts = fleet.catalogue.facts("probe")
    assert facts is not None
    waiting = replace(facts, config_schema={}, waiting="it is being imported")
    told = Basis("rules").told(facts, MAIN)

    def said(accounts: Accounts) -> Evaluation:
        cache = EvaluationCache(basis=Basis("rules"))
        cache.recall([row], {"a": told})
        (found,) = evaluate_all([file], [], lambda strategy_type: waiting, accounts, ["probe"], cache)
        return found

    assert (said(MAIN).problems, said(MAIN).record, said(MAIN).waiting) == ((), None, "it is being imported")
    assert [problem.rule for problem in said(Accounts({}, any_on=None)).problems] == ["unknown-account"]


def test_commits_are_taken_as_they_were_judged_too(make_fleet: MakeFleet) -> None:
    first = make_fleet()
    first.write("a", config="{levels: 3}", limits='{max_position: "2"}')
    first.write("b")
    first.git("init", "-q")
    first.commit()
    first.close()
    shutil.rmtree(first.root / ".reconciler")
    following = make_fleet(follows="main")
    following.settle()
    following.close()
    following.write("b", config="{levels: 4}")
    following.commit()
    fleet = started(make_fleet, follows="main")
    assert fleet.recalled() == ["a"]
    assert fleet.status("b").effective_config["levels"] == 4
    assert fleet.status("a").sync is Sync.SYNCED
    assert fleet.controller.fleet.rows["a"].record.limits.max_position == Decimal(2)
