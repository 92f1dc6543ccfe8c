"""A fleet that follows a branch: what is merged runs, and nothing else does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.mode import Mode
from reconciler.records.status import Sync
from tests.control.conftest import PROBE, Fleet
from tests.control.test_code_loading import look


@pytest.fixture(autouse=True)
def _repository(tmp_path: Path, make_fleet: Callable[..., Fleet]) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", "."], cwd=tmp_path, check=True)


@pytest.fixture
def follow(make_fleet: Callable[..., Fleet]) -> Callable[..., Fleet]:
    return lambda **options: make_fleet(follows="main", **options)


def history(fleet: Fleet, instance_id: str) -> list[tuple[int, str, str]]:
    from reconciler.store.reader import Reader

    fleet.store.flush()
    reader = Reader.open(fleet.root / ".reconciler" / "reconciler.db")
    try:
        found: list[dict[str, Any]] = list(reader.history(instance_id)[0])
        return [(one["generation"], one["kind"], one["mode"]) for one in found]
    finally:
        reader.close()


def test_what_is_committed_runs_and_what_is_edited_does_not(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a")
    fleet.commit()
    fleet.write("a", "off")
    fleet.write("b")
    (fleet.root / "strategies" / "probe.py").write_text("nonsense(")
    fleet.settle()
    assert fleet.ids() == ["a"]
    assert fleet.status("a").mode is Mode.OBSERVE


def test_each_commit_of_several_is_a_change_of_its_own(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "off")
    fleet.commit()
    fleet.settle()
    for mode in ("observe", "active"):
        fleet.write("a", mode)
        fleet.commit()
    fleet.settle()
    assert fleet.status("a").mode is Mode.ACTIVE
    assert history(fleet, "a") == [(3, "changed", "active"), (2, "changed", "observe"), (1, "created", "off")]


def test_a_refused_change_leaves_its_record_and_does_not_stop_later_ones(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "off")
    fleet.commit()
    fleet.settle()
    fleet.write("a", "active")
    fleet.write("b")
    fleet.commit()
    fleet.write("c")
    fleet.commit()
    fleet.settle()
    assert (fleet.status("a").mode, fleet.status("a").sync) == (Mode.OFF, Sync.REFUSED)
    assert fleet.ids() == ["a", "b", "c"]


def test_a_record_is_judged_by_the_schema_of_its_own_commit(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "off")
    fleet.commit()
    fleet.settle()
    fleet.write_code("2", PROBE.replace('"levels"', '"steps"'))
    fleet.write("a", "observe", config="{steps: 2}")
    fleet.commit()
    fleet.write_code("3")
    fleet.write("a", "active", config="{levels: 2}")
    fleet.commit()
    fleet.settle()
    assert fleet.status("a").mode is Mode.ACTIVE


def test_a_restart_goes_on_where_it_was(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "off")
    fleet.commit()
    fleet.settle()
    fleet.close()
    fleet.write("a", "observe")
    fleet.commit()
    fleet.write("a", "active")
    last = fleet.commit()
    again = follow()
    again.settle()
    assert again.status("a").mode is Mode.ACTIVE
    followed = again.store.following.followed()
    assert followed is not None
    assert (followed.applied, followed.seen, followed.held) == (last, last, None)


def test_a_branch_that_was_moved_back_is_held_and_lifts_nothing(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "off")
    fleet.write("b", "observe")
    first = fleet.commit()
    fleet.settle()
    fleet.write("a", "observe")
    fleet.write("b", "off")
    second = fleet.commit()
    fleet.settle()
    fleet.git("reset", "-q", "--hard", first)
    fleet.settle()
    followed = fleet.store.following.followed()
    assert followed is not None
    assert (followed.applied, followed.held) == (second, first)
    assert {i: fleet.status(i).mode for i in "ab"} == {"a": Mode.OFF, "b": Mode.OFF}
    assert fleet.status("a").sync is Sync.HELD
    condition = next(one for one in fleet.status("a").conditions if one.type == "Accepted")
    assert (condition.status, condition.reason) == (False, "SourceHeld")
    assert "off instead of observe" in condition.message
    fleet.git("reset", "-q", "--hard", second)
    fleet.settle()
    assert fleet.status("a").mode is Mode.OFF, "it stays lowered until another commit says otherwise"
    fleet.close()
    again = follow()
    again.settle()
    assert again.status("a").mode is Mode.OFF
    again.commit("Nothing")
    again.settle()
    assert again.status("a").mode is Mode.OBSERVE


def test_a_held_commit_is_told_and_applied_once_an_operator_accepts_exactly_it(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "observe")
    first = fleet.commit()
    fleet.settle()
    fleet.write("a", "off")
    fleet.commit()
    fleet.settle()
    fleet.git("reset", "-q", "--hard", first)
    fleet.settle()
    (told,) = [message for reason, message in fleet.told() if reason == "SourceHeld"]
    assert told.startswith(f"commit {first[:12]} is held: it does not descend from what is applied")
    assert f"reconciler source accept {first} --reason" in told
    assert fleet.controller.accept("c0ffee") == f"expected {first}, which is held"
    assert fleet.controller.accept(first) == ""
    fleet.settle()
    followed = fleet.store.following.followed()
    assert followed is not None
    assert (followed.applied, followed.held, followed.accepted) == (first, None, None)
    assert fleet.status("a").mode is Mode.OBSERVE
    assert fleet.controller.accept(first) == "no commit is held"


def test_a_branch_that_is_gone_keeps_what_is_applied(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a")
    fleet.commit()
    fleet.settle()
    fleet.git("branch", "-m", "main", "other")
    fleet.settle()
    assert fleet.status("a").mode is Mode.OBSERVE
    assert ("SourceHeld", "the branch is gone; what is applied stays") in fleet.told()
    fleet.git("branch", "-m", "other", "main")
    fleet.settle()
    followed = fleet.store.following.followed()
    assert followed is not None
    assert followed.held is None


def test_a_held_commit_halts_and_its_halts_outlive_it_and_a_restart(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a")
    applied = fleet.commit()
    fleet.settle()
    (fleet.root / "instances" / "_halt.yaml").write_text("- {scope: all, reason: stop}\n")
    fleet.git("add", ".")
    fleet.git("commit", "-q", "--amend", "-m", "Rewritten")
    fleet.settle()
    assert [halt.reason for halt in fleet.store.halts.active()] == ["stop"]
    fleet.git("reset", "-q", "--hard", applied)
    fleet.close()
    again = follow()
    again.settle()
    assert [halt.reason for halt in again.store.halts.active()] == ["stop"]
    again.commit("Nothing")
    again.settle()
    assert again.store.halts.active() == ()


def test_too_many_removals_in_one_commit_wait_and_those_of_others_do_not(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    ids = [f"i{number}" for number in range(6)]
    for instance_id in ids:
        fleet.write(instance_id)
    fleet.commit()
    fleet.settle()
    for instance_id in ids[:4]:
        (fleet.root / "instances" / f"{instance_id}.yaml").unlink()
    fleet.commit()
    (fleet.root / "instances" / "i4.yaml").unlink()
    fleet.commit()
    fleet.settle()
    assert fleet.ids() == ["i0", "i1", "i2", "i3", "i5"]
    removal = fleet.controller.fleet.removal
    assert removal.held == tuple(ids[:4])
    fleet.controller.confirm_removal(removal.held_digest)
    fleet.settle()
    assert fleet.ids() == ["i5"]


def test_an_engine_that_is_fenced_off_the_branch_for_a_week_walks_every_commit(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "off")
    fleet.commit()
    fleet.settle()
    fleet.close()
    for number in range(30):
        fleet.write("a", "off", config=f"{{levels: {number}}}")
        fleet.commit()
    again = follow()
    again.settle()
    assert again.status("a").generation == 31


def test_from_a_work_tree_to_commits_ids_generations_modes_and_what_runs_stay(make_fleet: Callable[..., Fleet]) -> None:
    files = make_fleet()
    files.write("a", "off")
    files.commit()
    files.settle()
    for mode in ("observe", "active"):
        files.write("a", mode)
        files.commit()
        files.settle()
    before = files.controller.fleet.rows["a"]
    past = history(files, "a")
    files.write("a", "observe")  # edited, and never committed
    files.close()
    commits = make_fleet(follows="main")
    commits.settle()
    after = commits.controller.fleet.rows["a"]
    assert (after.mode, after.generation, after.record) == (Mode.ACTIVE, before.generation, before.record)
    assert history(commits, "a") == past, "nothing of it is another"


SETTINGS = "exec_mcp: {p: {transport: {kind: paper}, accounts: ACCOUNTS}}\n"


def test_a_record_is_judged_by_the_accounts_that_the_settings_of_its_commit_declare(
    follow: Callable[..., Fleet],
) -> None:
    fleet = follow(by_settings=True)
    settings = fleet.root / "reconciler.yaml"
    settings.write_text(SETTINGS.replace("ACCOUNTS", "{other: {money: paper}}"))
    fleet.write("a", "off")
    fleet.commit()
    fleet.settle()
    assert fleet.ids() == [], "no account of that name is declared"
    settings.write_text(SETTINGS.replace("ACCOUNTS", "{main: {money: paper}}"))
    fleet.commit()
    fleet.write("a", "observe")
    fleet.commit()
    settings.write_text("nonsense: [")
    fleet.commit()
    fleet.settle()
    assert history(fleet, "a") == [(2, "changed", "observe"), (1, "created", "off")]


def test_nothing_active_on_real_money_is_adopted_but_of_the_commit_that_is_trusted(
    make_fleet: Callable[..., Fleet],
) -> None:
    real = Accounts({"main": DeclaredAccount("main", "kraken", real_money=True)}, any_on=None)
    fleet = make_fleet(follows="main", adopt=True, accounts=real)
    fleet.write("a", "active")
    fleet.write("b", "observe")
    commit = fleet.commit()
    fleet.settle()
    assert fleet.ids() == []
    assert fleet.controller.fleet.source_error.startswith("--adopt: expected a trusted commit, was none;")
    assert fleet.controller.fleet.source_error.endswith(f"--trust {commit}")
    fleet.close()
    fleet = make_fleet(follows="main", adopt=True, accounts=real, trust=commit)
    fleet.settle()
    assert {i: fleet.status(i).mode for i in fleet.ids()} == {"a": Mode.ACTIVE, "b": Mode.OBSERVE}


def damage(fleet: Fleet, what: str) -> None:
    """Put nonsense where the object is that `what` names."""
    object_id = fleet.git("rev-parse", what)
    path = fleet.root / ".git" / "objects" / object_id[:2] / object_id[2:]
    path.chmod(0o644)
    path.write_bytes(b"nonsense")


HALT = "- {scope: all, reason: stop}\n"


def test_a_damaged_range_lets_its_newest_commit_halt_and_lower_all_the_same(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "observe")
    fleet.write("b", "observe")
    applied = fleet.commit()
    fleet.settle()
    fleet.write("b", "observe", config="{levels: 7}")
    middle = fleet.commit()
    fleet.write("b", "observe")
    fleet.write("a", "off")
    (fleet.root / "instances" / "_halt.yaml").write_text(HALT)
    fleet.commit()
    damage(fleet, f"{middle}:instances/b.yaml")
    fleet.settle()
    assert fleet.controller.fleet.source_error
    assert [halt.reason for halt in fleet.store.halts.active()] == ["stop"]
    assert set(fleet.views()) == {"b"}
    fleet.close()
    fleet = follow()
    fleet.settle()
    assert [halt.reason for halt in fleet.store.halts.active()] == ["stop"]
    assert set(fleet.views()) == {"b"}
    fleet.git("reset", "-q", "--hard", applied)
    fleet.settle()
    assert fleet.controller.fleet.source_error == ""
    assert fleet.status("a").mode is Mode.OFF, "it stays lowered until another commit is applied"
    assert [halt.reason for halt in fleet.store.halts.active()] == ["stop"]
    fleet.commit("Nothing")
    fleet.settle()
    assert (fleet.status("a").mode, fleet.store.halts.active()) == (Mode.OBSERVE, ())


def test_a_halt_file_that_is_damaged_halts_everything_in_full(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "observe")
    fleet.commit()
    fleet.settle()
    (fleet.root / "instances" / "_halt.yaml").write_text(HALT)
    fleet.commit()
    damage(fleet, "HEAD:instances/_halt.yaml")
    fleet.settle()
    (halt,) = fleet.store.halts.active()
    assert (halt.scope, halt.full) == ("all", True)
    assert "instances/_halt.yaml cannot be understood" in halt.reason


def test_where_what_is_applied_cannot_be_read_any_more_a_new_process_halts_everything(
    follow: Callable[..., Fleet],
) -> None:
    fleet = follow()
    fleet.write("a", "observe")
    (fleet.root / "instances" / "_halt.yaml").write_text(HALT)
    fleet.commit()
    fleet.settle()
    fleet.close()
    damage(fleet, "HEAD:instances")
    fleet = follow()
    fleet.settle()
    (halt,) = fleet.store.halts.active()
    assert (halt.scope, halt.full) == ("all", True)
    assert "nobody knows what it halts" in halt.reason


def test_a_commit_that_is_larger_than_is_read_is_applied_and_told_by_what_is_read(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    fleet.write("a", "off")
    fleet.commit()
    fleet.settle()
    fleet.write("a", "observe")
    message = fleet.root / ".git" / "message"
    message.write_text("A long story\n\n" + "and so on\n" * 200_000)
    fleet.git("add", "-A")
    fleet.git("commit", "-q", "-F", str(message))
    fleet.settle()
    assert fleet.status("a").mode is Mode.OBSERVE
    said = fleet.store.following.commit(fleet.git("rev-parse", "HEAD"))
    assert said is not None
    assert (said.subject, said.author) == ("A long story", "t")


def test_the_first_records_of_a_branch_begin_as_any_other_id_does(follow: Callable[..., Fleet]) -> None:
    fleet = follow()
    (fleet.root / "README").write_text("a fleet to be\n")
    fleet.commit()
    fleet.settle()
    fleet.write("a", "active")
    fleet.write("b", "observe")
    fleet.commit()
    fleet.settle()
    assert fleet.ids() == ["b"]


def test_what_is_adopted_once_its_code_is_there_must_be_trusted_on_real_money_too(
    make_fleet: Callable[..., Fleet],
) -> None:
    real = Accounts({"main": DeclaredAccount("main", "kraken", real_money=True)}, any_on=None)
    fleet = make_fleet(follows="main", adopt=True, accounts=real, imports_beside=True)
    fleet.write_code("1", "import threading\nthreading.Event().wait(2)\n" + PROBE)
    fleet.write("a", "active")
    commit = fleet.commit()
    look(fleet)
    assert fleet.controller.fleet.source_error.endswith(f"--trust {commit}")
    assert fleet.store.desired.rows() == {}


@pytest.mark.parametrize("target", ["/etc/hostname", "../outside.yaml", "instances", "nowhere.yaml"])
def test_settings_that_are_a_link_out_of_their_commit_stop_no_later_one(
    follow: Callable[..., Fleet], target: str
) -> None:
    fleet = follow(by_settings=True)
    settings = fleet.root / "reconciler.yaml"
    settings.write_text(SETTINGS.replace("ACCOUNTS", "{main: {money: paper}}"))
    fleet.write("a", "off")
    fleet.commit()
    fleet.settle()
    settings.unlink()
    settings.symlink_to(target)
    fleet.write("a", "observe")
    fleet.commit()
    fleet.settle()
    assert fleet.status("a").mode is Mode.OBSERVE, "by the settings that were last good"
    settings.unlink()
    settings.write_text(SETTINGS.replace("ACCOUNTS", "{main: {money: paper}, other: {money: paper}}"))
    fleet.write("a", "active")
    fleet.commit()
    fleet.settle()
    assert (fleet.status("a").mode, fleet.controller.fleet.source_error) == (Mode.ACTIVE, "")
