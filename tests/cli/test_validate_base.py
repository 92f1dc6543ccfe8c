"""`reconciler validate --base`, driven as a reviewer would: in a real repository, with real branches and clones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from reconciler.cli import main
from reconciler.records.admission import judge_removal
from tests.cli.conftest import INSTANCE, Fleet

NEVER_IMPORTED = (
    "mcp rich starlette uvicorn sqlite3 sqlite_utils jinja2 httpx watchfiles reconciler.store reconciler.dashboard "
    "reconciler.execution reconciler.runtime reconciler.control"
)


@dataclass(frozen=True, slots=True)
class Review:
    """A repository whose `main` has ten records; the branch `pr` is checked out, and has nothing of its own."""

    fleet: Fleet

    @property
    def root(self) -> Path:
        return self.fleet.root

    def git(self, *arguments: str, at: Path | None = None) -> str:
        who = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")
        done = subprocess.run(
            ("git", *who, *arguments), cwd=at or self.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "Change")

    def replace(self, id: str, old: str, new: str) -> None:
        path = self.root / "instances" / f"{id}.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def remove(self, *ids: str) -> None:
        for id in ids:
            (self.root / "instances" / f"{id}.yaml").unlink()

    def validate(self, *arguments: str, at: Path | None = None) -> Result:
        return CliRunner().invoke(main, ["--root", str(at or self.root), "validate", *arguments])

    def told(self) -> list[str]:
        """The lines against main, the files as they are; hints excluded."""
        result = self.validate("--base", "main")
        lines = [line for line in result.stdout.splitlines() if not line.startswith("  hint: ")]
        assert result.exit_code == (1 if lines else 0), result.output
        return lines


@pytest.fixture
def review(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Review:
    for name in list(os.environ):
        if name.startswith("GIT"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    found = Review(fleet)
    for id_ in "abcdefg":
        fleet.write(id_)
    fleet.write("idle", mode="off")
    fleet.write("live", mode="active")
    fleet.write("kept")
    (fleet.root / "instances" / "kept.yaml").write_text(
        INSTANCE.format(id="kept", mode="observe", levels=5) + "protect: true\n"
    )
    fleet.write("old")
    found.git("init", "-q")
    found.commit()
    found.remove("old")
    found.commit()
    found.git("switch", "-q", "-c", "pr")
    return found


MODE_STEP = "expected a step of one mode at a time, was off → active"


def test_nothing_changed_is_nothing_to_say(review: Review) -> None:
    result = review.validate("--base", "main")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "10 files, all valid\n")


def test_a_step_too_far_is_refused_committed_or_not(review: Review) -> None:
    review.fleet.write("idle", mode="active")
    expected = [f"instances/idle.yaml:5:7: mode: {MODE_STEP}"]
    assert review.told() == expected
    review.commit()
    assert review.told() == expected
    assert review.validate().exit_code == 0, "without --base nobody can know"


def test_each_step_merged_by_itself_is_fine(review: Review) -> None:
    for mode in ("observe", "active"):
        review.fleet.write("idle", mode=mode)
        review.commit()
        assert review.told() == []
        review.git("branch", "-f", "main", "pr")


def test_a_new_record_may_observe_but_not_trade(review: Review) -> None:
    review.fleet.write("new", mode="active")
    assert review.told() == [f"instances/new.yaml:5:7: mode: {MODE_STEP}; a new id starts from off"]
    review.fleet.write("new", mode="observe")
    assert review.told() == []


def test_an_identity_stays(review: Review) -> None:
    review.replace("a", "BTC/USD", "ETH/USD")
    review.replace("a", "desk-a", "desk-b")
    assert review.told() == [
        "instances/a.yaml:3:40: account.client_id: immutable: a is 'desk-a', the file says 'desk-b'",
        "instances/a.yaml:4:9: market: immutable: a is 'BTC/USD', the file says 'ETH/USD'",
    ]


def test_a_removed_id_that_returns_keeps_its_identity_and_starts_from_off(review: Review) -> None:
    review.fleet.write("old", mode="active")
    assert review.told() == [f"instances/old.yaml:5:7: mode: {MODE_STEP}; a returning id starts from off"]
    review.fleet.write("old")
    assert review.told() == []
    review.replace("old", "BTC/USD", "ETH/USD")
    assert review.told() == [
        "instances/old.yaml:4:9: market: immutable: old was, until it was removed, 'BTC/USD', the file says 'ETH/USD'"
    ]


def test_a_move_is_nothing_and_a_protected_record_stays(review: Review) -> None:
    (review.root / "instances" / "desk").mkdir()
    for id_ in ("live", "kept"):
        (review.root / "instances" / f"{id_}.yaml").rename(review.root / "instances" / "desk" / f"{id_}.yaml")
    assert review.told() == []
    (review.root / "instances" / "desk" / "kept.yaml").unlink()
    assert review.told() == [
        "instances/kept.yaml: expected the file of a record under `protect`, was removed: the instance would run on"
    ]


def test_many_removals_are_told_as_one_with_the_digest_that_the_engine_asks_for(review: Review) -> None:
    review.fleet.apply()
    review.remove("a", "b", "c")
    assert review.told() == []
    review.remove("d")
    assert review.told() == [
        "instances: expected at most 3 of 10 records to be removed at once, were 4, "
        "which the engine would hold: a, b, c, d"
    ]
    review.fleet.apply()
    hint = review.validate("--base", "main").stdout.splitlines()[1]
    with review.fleet.store() as store:
        held = judge_removal(frozenset("abcd"), store.desired.rows(), True, frozenset("abcd"), "").held_digest
    assert hint.endswith(f"`reconciler prune --confirm {held}`")


def test_a_file_that_was_broken_at_the_base_can_be_mended(review: Review) -> None:
    review.git("switch", "-q", "main")
    review.replace("live", "levels: 5", "levels: five")
    review.commit()
    review.git("switch", "-q", "-C", "pr")
    assert [line.partition(": ")[0] for line in review.told()] == ["instances/live.yaml:7:11"]
    review.replace("live", "levels: five", "levels: 6")
    assert review.told() == []


def test_what_main_did_meanwhile_is_not_held_against_the_branch(review: Review) -> None:
    review.git("switch", "-q", "main")
    review.fleet.write("live", mode="off")
    review.fleet.write("other")
    review.commit()
    review.git("switch", "-q", "pr")
    assert review.told() == []


def test_strategies_templates_and_accounts_of_the_base_judge_the_base(review: Review) -> None:
    review.git("switch", "-q", "main")
    settings = review.root / "reconciler.yaml"
    declared = "exec_mcp: {k: {transport: {kind: paper}, accounts: {%s: {money: paper}}}}\n"
    settings.write_text(declared % "main")
    templates = review.root / "instances" / "_templates"
    templates.mkdir()
    (templates / "t.yaml").write_text("labels: {team: one}\n")
    review.replace("live", "config:", "template: t\nconfig:")
    review.commit()
    review.git("switch", "-q", "-C", "pr")
    settings.write_text(declared % "other")
    for path in (review.root / "instances").glob("*.yaml"):
        path.write_text(path.read_text().replace("account_id: main", "account_id: other"))
    assert [line.partition(" immutable")[0] for line in review.told()] == [
        f"instances/{id}.yaml:3:23: account.account_id:" for id in sorted([*"abcdefg", "idle", "kept", "live"])
    ]
    settings.write_text("exec_mcp: [")
    review.commit()
    review.git("branch", "-f", "main", "pr")
    settings.write_text(declared % "other")
    result = review.validate("--base", "main")
    assert result.exit_code == 0
    assert "its accounts are taken to be those of now" in result.stderr


def test_paths_narrow_what_is_told_and_may_name_what_was_removed(review: Review) -> None:
    review.fleet.write("idle", mode="active")
    review.replace("a", "BTC/USD", "ETH/USD")
    review.remove("kept")

    def told(*paths: str) -> list[str]:
        found = review.validate("--base", "main", *(str(review.root / path) for path in paths), "--format", "json")
        return [item["path"] for item in json.loads(found.stdout)["items"]]

    assert told("instances/idle.yaml") == ["instances/idle.yaml"]
    assert told("instances/kept.yaml") == ["instances/kept.yaml"]
    assert told("instances/b.yaml") == []
    assert told("instances") == ["instances/a.yaml", "instances/idle.yaml", "instances/kept.yaml"]
    assert review.validate(str(review.root / "instances" / "kept.yaml")).exit_code == 2


def test_a_fleet_in_a_subfolder_is_told_by_its_place_in_the_repository(review: Review, tmp_path: Path) -> None:
    top = tmp_path / "monorepo"
    review.git("init", "-q", "--object-format=sha256", str(top))
    fleet = top / "trading" / "fleet"
    fleet.mkdir(parents=True)
    for folder in ("instances", "strategies"):
        (review.root / folder).rename(fleet / folder)
    review.git("add", "-A", at=top)
    review.git("commit", "-q", "-m", "Fleet", at=top)
    review.git("switch", "-q", "-c", "pr", at=top)
    Fleet(fleet).write("idle", mode="active")
    assert review.validate("--base", "main", at=fleet).stdout.startswith(
        "monorepo/trading/fleet/instances/idle.yaml:5:7: mode: "
    )
    annotated = review.validate("--base", "main", "--format", "github", at=fleet).stdout
    assert "file=trading/fleet/instances/idle.yaml,line=5,col=7" in annotated


def test_from_a_linked_work_tree_too(review: Review, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    review.git("worktree", "add", "-q", "--detach", str(linked), "pr")
    Fleet(linked).write("idle", mode="active")
    assert review.validate("--base", "main", at=linked).stdout.startswith("linked/instances/idle.yaml:5:7: mode: ")


def test_on_github_the_full_list_is_appended_to_the_step_summary(
    review: Review, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    review.fleet.write("idle", mode="active")
    review.validate("--base", "main")
    assert summary.read_text() == "before\n"
    result = review.validate("--base", "main", "--format", "github")
    assert result.stdout.startswith("::error file=instances/idle.yaml,line=5,col=7,")
    assert summary.read_text().startswith("before\n### ")
    assert "instances/idle.yaml:5:7" in summary.read_text()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    result = review.validate("--base", "main", "--format", "github")
    assert result.exit_code == 1
    assert f"{tmp_path}: could not write the step summary: Is a directory" in result.stderr


@pytest.mark.parametrize("ref", ["nowhere", "origin/main", "-x", "", "\udcff", "main\nmain", "f" * 40])
def test_an_unknown_ref_could_not_run(review: Review, ref: str) -> None:
    result = review.validate("--base", ref)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "expected a branch, tag or commit" in result.stderr


def test_a_shallow_clone_could_not_run_and_says_what_to_set(review: Review, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    review.git("clone", "-q", "--depth", "1", f"file://{review.root}", str(clone))
    result = review.validate("--base", "origin/main", at=clone)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"{clone}: expected the whole history, was a shallow clone; "
        "set fetch-depth: 0 where CI checks it out, or run `git fetch --unshallow`\n"
    )


def test_without_repository_common_ancestor_or_git_it_could_not_run(
    review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    review.git("switch", "-q", "--orphan", "alone")
    review.git("checkout", "-q", "main", "--", ".")
    review.commit()
    result = review.validate("--base", "main")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("main: expected a common ancestor with HEAD, found none; ")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "/nowhere")
        result = review.validate("--base", "main")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith("expected git, ")
    (review.root / ".git").rename(review.root / "not-git")
    result = review.validate("--base", "main")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "expected a git repository" in result.stderr


def test_validate_imports_nothing_slow_and_nothing_of_the_engine(review: Review) -> None:
    program = (
        "import sys\nfrom reconciler.cli import main\n"
        f"main({['--root', str(review.root), 'validate', '--base', 'main']!r}, standalone_mode=False)\n"
        f"print(*sorted(name for name in {NEVER_IMPORTED.split()!r} if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "10 files, all valid\n")
