"""Who wrote what an order was placed by: the command is run in a repository that has gone on since."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.dashboard.provenance import git_command
from tests.dashboard.conftest import a_tombstone, an_order

VALUES = {"id": "btc-dca", "strategy_type": "dca"}


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "changed", ["instances/majors/btc-dca.yaml", "strategies/dca.py", "instances/_templates/t.yml"]
)
def test_the_command_names_the_commit_of_what_counted_and_not_the_one_checked_out(tmp_path: Path, changed: str) -> None:
    row = replace(
        a_tombstone("btc-dca", ""), path="instances/majors/btc-dca.yaml", template_path="instances/_templates/t.yml"
    )
    for path, message in ((changed, "Let btc-dca trade"), ("instances/eth.yaml", "Something else")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(message)
        if not (tmp_path / ".git").exists():
            git(tmp_path, "init", "-q")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", message)
    revision = git(tmp_path, "rev-parse", "HEAD").strip()
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "Later")
    command = git_command(an_order(revision=revision), VALUES, row)
    said = git(tmp_path, *shlex.split(command)[1:])
    assert "Let btc-dca trade" in said
    assert "Author: Ann <ann@example.com>" in said
    assert changed.rpartition("/")[2] in said
    assert "Something else" not in said


def test_an_order_from_no_commit_has_no_command() -> None:
    assert git_command(an_order(revision=None), VALUES, None) == ""


def test_what_is_not_known_any_more_is_assumed_where_it_belongs() -> None:
    command = git_command(an_order(revision="abc"), {**VALUES, "template": "slow"}, None)
    assert command == (
        "git log -1 --stat abc -- instances/btc-dca.yaml instances/_templates/slow.yaml strategies/dca.py"
    )
