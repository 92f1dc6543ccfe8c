from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import FakeClock
from reconciler.sources.git import Repository
from reconciler.sources.history import Blame

Run = Callable[..., str]
RECORD = "instances/btc.yaml"


class Past:
    """Commits of one fleet, each by who wrote it."""

    def __init__(self, root: Path, git: Run) -> None:
        self.root, self.git = root, git
        (root / "instances" / "_templates").mkdir(parents=True)
        git(root, "init", "-q")

    def write(self, who: str, text: str, path: str = RECORD) -> None:
        (self.root / path).parent.mkdir(exist_ok=True, parents=True)
        (self.root / path).write_text(text)
        self.commit(who)

    def commit(self, who: str) -> None:
        self.git(self.root, "add", "-A")
        self.git(self.root, "commit", "-q", "-m", who, f"--author={who} <{who}@desk.example>")

    def merge(self, branch: str, *options: str) -> None:
        self.git(self.root, "merge", "-q", "--no-ff", "-m", "merge", *options, branch)

    def blamed(self, path: str = RECORD, **values: Any) -> dict[str, str]:
        repository = Repository.discover(self.root, FakeClock(0))
        assert repository is not None
        tip = repository.resolve("HEAD")
        assert tip is not None
        found = Blame(repository, tip).of(path, {tuple(name.split("__")): value for name, value in values.items()})
        return {"__".join(map(str, pointer)): raw.author.name for pointer, raw in found.items()}


@pytest.fixture
def past(tmp_path: Path, git: Run) -> Past:
    return Past(tmp_path / "fleet", git)


def test_each_value_has_the_commit_since_which_it_is_as_it_is(past: Past) -> None:
    past.write("ann", "mode: off\nconfig: {levels: 5, pace: slow}\n")
    past.write("bob", "mode: off\nconfig: {levels: 7, pace: slow}\n")
    past.write("cyd", "mode: observe\nconfig: {levels: 7, pace: slow}\n")
    past.write("dan", "another\n", "README.md")
    told = past.blamed(mode="observe", config__levels=7, config__pace="slow")
    assert told == {"mode": "cyd", "config__levels": "bob", "config__pace": "ann"}


def test_moving_indenting_quoting_and_commenting_make_nobody_an_author(past: Past) -> None:
    past.write("ann", "mode: off\nconfig:\n  levels: 5\n  pace: slow\nlist: [1, 2]\n")
    past.write("bob", 'list:\n  - 1  # one\n  - 2\n\nconfig:\n    pace: "slow"\n    levels: 5\n# off\nmode: off\n')
    told = past.blamed(mode="off", config__levels=5, config__pace="slow", list=[1, 2])
    assert set(told.values()) == {"ann"}


def test_a_value_of_another_type_is_another_value(past: Past) -> None:
    past.write("ann", "a: 1\nb: 1\nc: off\n")
    past.write("bob", 'a: true\nb: "1"\nc: "off"\n')
    assert past.blamed(a=True, b="1", c="off") == {"a": "bob", "b": "bob", "c": "ann"}


def test_a_value_that_went_and_came_back_is_of_who_brought_it_back(past: Past) -> None:
    past.write("ann", "mode: off\n")
    past.write("bob", "mode: observe\n")
    past.write("cyd", "mode: off\n")
    assert past.blamed(mode="off") == {"mode": "cyd"}


def test_what_is_not_committed_so_has_no_author(past: Past) -> None:
    past.write("ann", "mode: off\n")
    assert past.blamed(mode="observe", config__levels=5) == {}
    assert past.blamed("instances/none.yaml", mode="off") == {}


def test_moving_the_file_to_another_folder_makes_nobody_an_author_but_of_what_changed(past: Past) -> None:
    past.write("ann", "mode: off\nmarket: BTC/USD\n")
    (past.root / "instances" / "majors").mkdir()
    past.git(past.root, "mv", RECORD, "instances/majors/btc.yml")
    past.write("bob", "mode: observe\nmarket: BTC/USD\n", "instances/majors/btc.yml")
    past.git(past.root, "mv", "instances/majors/btc.yml", RECORD)
    past.commit("cyd")
    assert past.blamed(mode="observe", market="BTC/USD") == {"mode": "bob", "market": "ann"}


def test_a_template_is_followed_through_its_names_as_git_finds_it_alike(past: Past) -> None:
    body = "config:\n  levels: 5\n  pace: slow\n  other: thing\n  and: more\n"
    past.write("ann", body, "instances/_templates/a.yaml")
    past.write("eve", "config: {levels: 5}\n", "instances/a.yaml")
    past.git(past.root, "mv", "instances/_templates/a.yaml", "instances/_templates/b.yaml")
    past.write("bob", body.replace("slow", "fast"), "instances/_templates/b.yaml")
    told = past.blamed("instances/_templates/b.yaml", config__levels=5, config__pace="fast")
    assert told == {"config__levels": "ann", "config__pace": "bob"}


def test_a_merge_made_only_what_neither_side_had(past: Past) -> None:
    past.write("ann", "a: 0\n\n\n\nb: 0\n\n\n\nc: 0\n")
    past.git(past.root, "checkout", "-q", "-b", "side")
    past.write("bob", "a: 1\n\n\n\nb: 0\n\n\n\nc: 0\n")
    past.git(past.root, "checkout", "-q", "-")
    past.write("cyd", "a: 0\n\n\n\nb: 0\n\n\n\nc: 1\n")
    past.merge("side")
    assert past.blamed(a=1, b=0, c=1) == {"a": "bob", "b": "ann", "c": "cyd"}
    past.git(past.root, "checkout", "-q", "side")
    past.write("dan", "a: 1\n\n\n\nb: 2\n\n\n\nc: 0\n")
    past.git(past.root, "checkout", "-q", "-")
    past.git(past.root, "merge", "-q", "--no-commit", "--no-ff", "side")
    past.write("evil", "a: 1\n\n\n\nb: 3\n\n\n\nc: 1\n")
    assert past.blamed(a=1, b=3, c=1) == {"a": "bob", "b": "evil", "c": "cyd"}


def test_a_file_that_could_not_be_read_for_a_while_is_of_who_mended_it(past: Past) -> None:
    past.write("ann", "mode: off\n")
    past.write("bob", "mode: [\n")
    past.write("cyd", "mode: off\n")
    assert past.blamed(mode="off") == {"mode": "cyd"}


def test_a_fleet_below_the_top_of_its_repository_is_found(tmp_path: Path, git: Run) -> None:
    git(tmp_path, "init", "-q")
    past = Past(tmp_path / "fleets" / "one", git)
    (past.root / ".git").rename(tmp_path / "unused")
    past.write("ann", "mode: off\nx: y\n", "instances/old/btc.yaml")
    past.git(past.root, "mv", "instances/old/btc.yaml", RECORD)
    past.write("bob", "mode: observe\nx: y\n")
    assert past.blamed(mode="observe", x="y") == {"mode": "bob", "x": "ann"}
