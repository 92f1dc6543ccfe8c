"""`blame`: what is applied, each value with the commit that made it so."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.cli.conftest import Fleet


@pytest.fixture
def committed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A record upon a template: ann began it, bob raised `levels` in the template, ann its mode."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    template = fleet.root / "instances" / "_templates" / "slow.yaml"
    template.parent.mkdir()
    template.write_text("config:\n  levels: 3\n  pace: fast\n")
    file = fleet.write("a", mode="off")
    file.write_text(file.read_text().partition("config:")[0] + "template: slow\n")
    git(fleet, "init", "-q")
    commit(fleet, "ann", "Begin a")
    template.write_text("config:\n  levels: 4\n  pace: fast\n")
    commit(fleet, "bob\x1b[31m", "More levels (#12)")
    file.write_text("# now\n" + file.read_text().replace("mode: off", "mode: observe"))
    commit(fleet, "ann", "Observe a")
    fleet.apply()
    return fleet


def git(fleet: Fleet, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    subprocess.run(("git", *identity, *arguments), cwd=fleet.root, check=True, capture_output=True)


def commit(fleet: Fleet, author: str, subject: str) -> None:
    git(fleet, "add", "instances")
    git(fleet, "commit", "-q", "-m", subject, f"--author={author} <{author[:3]}@desk.example>")


def test_each_value_of_record_and_template_has_the_commit_that_made_it_so(committed: Fleet) -> None:
    result = committed.run("blame", "a", "--format", "json")
    assert result.exit_code == 0, result.stderr
    items = {item["pointer"]: item for item in json.loads(result.stdout)["items"]}
    subjects = {pointer: item["subject"] for pointer, item in items.items()}
    assert subjects["id"] == subjects["template"] == subjects["account.client_id"] == "Begin a"
    assert subjects["mode"] == "Observe a"
    assert subjects["config.levels"] == "More levels (#12)"
    assert subjects["config.pace"] == "Begin a"
    levels = items["config.levels"]
    assert levels["origin"] == "instances/_templates/slow.yaml:2"
    assert (levels["author"], levels["author_email"], levels["text"]) == (r"bob\x1b[31m", "bob@desk.example", "4")
    assert levels["commit"] in items["config.levels"]["commit"]
    assert items["mode"]["origin"] == "instances/a.yaml:6"


def test_the_table_shows_it_and_what_no_commit_has_is_not_committed(committed: Fleet) -> None:
    committed.write("a", mode="observe", levels=9)
    committed.apply()
    lines = {line.split()[0]: line for line in committed.run("blame", "a").stdout.splitlines()}
    assert "not committed" in lines["config.levels"]
    assert "Begin a" in lines["market"]
    assert "ann" in lines["market"]


def test_without_a_repository_or_a_commit_there_is_a_reason(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.apply()
    assert "expected a git repository, which knows who wrote what, found none" in fleet.run("blame", "a").stderr
    git(fleet, "init", "-q")
    result = fleet.run("blame", "a")
    assert (result.exit_code, "expected a commit, which knows who wrote what" in result.stderr) == (1, True)


def test_an_unknown_id_is_told_with_the_one_that_may_be_meant(committed: Fleet) -> None:
    result = committed.run("blame", "aa")
    assert result.exit_code == 1
    assert "did you mean" in result.stderr


def test_where_an_engine_follows_a_branch_its_commits_are_told_and_not_the_files_on_disk(
    committed: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = tmp_path_factory.mktemp("clones") / "fleet.git"
    git(committed, "add", "-A")
    git(committed, "commit", "-q", "-m", "All of it")
    git(committed, "clone", "-q", "--bare", ".", str(bare))
    branch = subprocess.run(
        ("git", "--git-dir", str(bare), "branch", "--show-current"), check=True, capture_output=True, text=True
    ).stdout.strip()
    command = (sys.executable, "-m", "reconciler", "--root", str(bare))
    environ = {**os.environ, "RECONCILER_DASHBOARD_PORT": "0"}
    ran = (*command, "run", "--once", "--source", "git", "--branch", branch)
    done = subprocess.run(ran, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words, told in (("show", "instances/_templates/slow.yaml:2"), ("blame", "More levels (#12)")):
        asked = subprocess.run((*command, words, "a"), env=environ, capture_output=True, text=True, check=False)
        assert asked.returncode == 0, asked.stderr
        (line,) = (line for line in asked.stdout.splitlines() if line.startswith("config.levels"))
        assert told in line
