"""Who wrote and merged what an order was placed by: each command is run in a repository that has gone on since."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.dashboard.pages import traces
from tests.dashboard.conftest import a_tombstone, an_order

VALUES = {"id": "btc-dca", "strategy_type": "dca"}


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def commit(root: Path, path: str, text: str, message: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    git(root, "add", ".")
    git(root, "commit", "-qm", message)


def run(root: Path, command: str) -> str:
    return git(root, *shlex.split(command)[1:])


@pytest.mark.parametrize(
    "changed", ["instances/majors/btc-dca.yaml", "strategies/dca.py", "instances/_templates/t.yml"]
)
def test_the_command_names_the_commit_of_what_counted_and_not_the_one_checked_out(tmp_path: Path, changed: str) -> None:
    row = replace(
        a_tombstone("btc-dca", ""), path="instances/majors/btc-dca.yaml", template_path="instances/_templates/t.yml"
    )
    git(tmp_path, "init", "-q")
    commit(tmp_path, changed, "1", "Let btc-dca trade")
    commit(tmp_path, "instances/eth.yaml", "1", "Something else")
    revision = git(tmp_path, "rev-parse", "HEAD").strip()
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "Later")
    for _, command in traces(an_order(revision=revision), VALUES, row):
        said = run(tmp_path, command)
        assert "Let btc-dca trade" in said
        assert "Author: Ann <ann@example.com>" in said
        assert changed.rpartition("/")[2] in said
        assert "Something else" not in said


@pytest.mark.parametrize("later", [False, True])
def test_the_merge_that_brought_the_change_is_found_and_not_a_later_one(tmp_path: Path, later: bool) -> None:
    """The order ran from the merge itself, or from a main that other changes have been merged to since."""
    git(tmp_path, "init", "-q")
    commit(tmp_path, "README.md", "1", "Begin")
    for branch, path, number in (("a", "instances/btc-dca.yaml", 7), ("b", "instances/eth.yaml", 8))[: 1 + later]:
        git(tmp_path, "switch", "-qc", branch)
        commit(tmp_path, path, branch, f"Change {branch}")
        git(tmp_path, "switch", "-q", "main")
        commit(tmp_path, f"{branch}.txt", "1", "Meanwhile")
        message = f"Merge pull request {number}"
        git(tmp_path, "-c", "user.name=Bo", "merge", "-q", "--no-ff", "-m", message, branch)
    revision = git(tmp_path, "rev-parse", "HEAD").strip()
    wrote, merged = (run(tmp_path, command) for _, command in traces(an_order(revision=revision), VALUES, None))
    assert ("Change a" in wrote, "Merge pull request" in wrote) == (True, False)
    assert ("Merge pull request 7" in merged, "Author: Bo" in merged, "pull request 8" in merged) == (True, True, False)
    assert "btc-dca.yaml" in merged


def test_an_order_of_uncommitted_files_leads_to_what_differs_now(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    commit(tmp_path, "strategies/dca.py", "one = 1\n", "Write it")
    commit(tmp_path, "instances/eth.yaml", "1", "Something else")
    (tmp_path / "strategies" / "dca.py").write_text("one = 2\n")
    (tmp_path / "instances" / "btc-dca.yaml").write_text("id: btc-dca\n")
    commands = [command for _, command in traces(an_order(revision=None), VALUES, None)]
    assert commands == [
        "git status --short -- instances/btc-dca.yaml strategies/dca.py",
        "git diff HEAD -- instances/btc-dca.yaml strategies/dca.py",
        "git log -1 --stat -- instances/btc-dca.yaml strategies/dca.py",
    ]
    status, difference, last = (run(tmp_path, command) for command in commands)
    assert status == " M strategies/dca.py\n?? instances/btc-dca.yaml\n"
    assert "+one = 2" in difference
    assert ("Write it" in last, "Something else" in last) == (True, False)


def test_what_is_not_known_any_more_is_assumed_where_it_belongs() -> None:
    commands = [command for _, command in traces(an_order(revision="abc"), {**VALUES, "template": "slow"}, None)]
    paths = "instances/btc-dca.yaml instances/_templates/slow.yaml strategies/dca.py"
    assert commands == [
        f"git log -1 --stat abc -- {paths}",
        f"git log -1 --first-parent -m --stat abc -- {paths}",
    ]
