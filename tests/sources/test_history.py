from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.records.walk import Step
from reconciler.sources.compared import read_base
from reconciler.sources.worktree import Worktree

Run = Callable[..., str]
Steps = Callable[[Path, Collection[str]], Sequence[Step]]


@pytest.fixture
def steps(clock: FakeClock, worktree: Callable[[Path], Worktree]) -> Steps:
    """`steps(root, names)`: how they came to be in HEAD, but for what strategies and templates alone did."""

    def told(root: Path, names: Collection[str]) -> Sequence[Step]:
        found = read_base(root, "HEAD", worktree(root).read(), clock).history.steps(names)
        return tuple(step for step in found if step.files)

    return told


def commit(root: Path, git: Run, **files: str | None) -> str:
    """Write the records of these names (None: remove), and commit. Gives the commit."""
    return commit_files(root, git, {f"instances/{name}.yaml": text for name, text in files.items()})


def commit_files(root: Path, git: Run, files: dict[str, str | None]) -> str:
    for path, text in files.items():
        if text is None:
            (root / path).unlink()
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Change")
    return git(root, "rev-parse", "HEAD")


def told(found: Sequence[Step]) -> list[dict[str, list[str | None]]]:
    """The texts of the files of each step."""
    return [{name: [(f.data or b"").decode() for f in files] for name, files in step.files.items()} for step in found]


@pytest.mark.parametrize("prefix", ["", "trading/fleet"])
def test_each_version_is_told_the_oldest_first(
    fleet: Path, tmp_path: Path, git: Run, steps: Steps, prefix: str
) -> None:
    root = tmp_path / "top" / prefix
    root.parent.mkdir(parents=True, exist_ok=True)
    fleet.rename(root)
    git(tmp_path / "top", "init", "-q")
    git(tmp_path / "top", "commit", "-q", "--allow-empty", "-m", "Nothing yet")
    first = commit(root, git, a="1", b="x")
    commit(root, git, b="y")
    second = commit(root, git, a="2")
    found = steps(root, {"a"})
    assert told(found) == [{"a": ["1"]}, {"a": ["2"]}]
    assert [(step.commit, step.is_first) for step in found] == [(first, True), (second, False)]
    assert all(f.committed and f.path == "instances/a.yaml" for step in found for f in step.files["a"])


def test_strategies_and_templates_are_those_of_the_moment(repository: Path, git: Run, steps: Steps) -> None:
    commit(repository, git, a="1")
    commit_files(repository, git, {"strategies/grid.py": "# other\n", "instances/_templates/majors.yaml": None})
    commit(repository, git, a="2")
    first, second = steps(repository, {"a"})
    assert [f.data for f in first.strategies] == [b'"""Grid."""\n']
    assert [f.data for f in first.templates] == [b"config: {}\n"]
    assert [f.data for f in second.strategies] == [b"# other\n"]
    assert second.templates == ()


def test_a_removal_is_a_step_and_so_is_a_return(repository: Path, git: Run, steps: Steps) -> None:
    commit(repository, git, a="1", b="x")
    commit(repository, git, a=None)
    commit(repository, git, a="2")
    found = steps(repository, {"a"})
    assert told(found) == [{"a": ["1"]}, {"a": []}, {"a": ["2"]}]
    assert [step.removed for step in found] == [frozenset(), {"a"}, frozenset()]


def test_too_many_removals_at_once_are_held_and_those_of_each_commit_are_judged_by_themselves(
    repository: Path, git: Run, steps: Steps
) -> None:
    names = [f"i{number}" for number in range(6)]
    commit(repository, git, **dict.fromkeys(names, "x"))
    commit(repository, git, **dict.fromkeys(names[:5], None))
    commit(repository, git, i0="x", i5=None)
    removed = [step.removed for step in steps(repository, names)]
    assert removed == [frozenset(), frozenset(), {"i5"}]


def test_a_move_is_a_step_with_another_path(repository: Path, git: Run, steps: Steps) -> None:
    commit(repository, git, a="1")
    commit_files(repository, git, {"instances/a.yaml": None, "instances/desk/a.yml": "1"})
    found = steps(repository, {"a"})
    assert [[f.path for f in step.files["a"]] for step in found] == [["instances/a.yaml"], ["instances/desk/a.yml"]]
    assert not any(step.removed for step in found)


def test_all_files_of_a_name_are_told_where_one_changes(repository: Path, git: Run, steps: Steps) -> None:
    commit(repository, git, a="1")
    commit_files(repository, git, {"instances/desk/a.yaml": "2"})
    assert told(steps(repository, {"a"})) == [{"a": ["1"]}, {"a": ["1", "2"]}]


def test_a_merge_is_one_change(repository: Path, git: Run, steps: Steps) -> None:
    git(repository, "switch", "-q", "-c", "work")
    commit(repository, git, a="draft", b="gone soon")
    commit(repository, git, a="1", b=None)
    git(repository, "switch", "-q", "main")
    commit(repository, git, other="x")
    git(repository, "merge", "-q", "--no-ff", "-m", "Merge", "work")
    (step,) = steps(repository, {"a", "b"})
    assert (step.commit, told([step])) == (git(repository, "rev-parse", "HEAD"), [{"a": ["1"]}])


@pytest.mark.parametrize("path", ["_drafts/a.yaml", "de\x07sk/a.yaml", "a.yaml.bak"])
def test_what_is_no_record_is_no_version_of_one(repository: Path, git: Run, steps: Steps, path: str) -> None:
    commit_files(repository, git, {f"instances/{path}": "x"})
    assert steps(repository, {"a"}) == ()


def test_a_link_is_no_version(repository: Path, git: Run, steps: Steps) -> None:
    (repository / "instances" / "a.yaml").symlink_to("btc.yaml")
    commit(repository, git)
    assert told(steps(repository, {"a"})) == [{"a": []}]


def test_configuration_does_not_change_what_history_says(repository: Path, git: Run, steps: Steps) -> None:
    commit(repository, git, old="1")
    commit(repository, git, old=None, renamed="1")
    for setting in ("log.follow=true", "log.showSignature=true", "diff.renames=copies", "diff.noprefix=true"):
        git(repository, "config", *setting.split("="))
    assert told(steps(repository, {"old"})) == [{"old": ["1"]}, {"old": []}]


def test_what_records_build_on_is_a_step_of_them_all(
    repository: Path, git: Run, clock: FakeClock, worktree: Callable[[Path], Worktree]
) -> None:
    commit(repository, git, a="1")
    commit_files(repository, git, {"strategies/grid.py": "# other\n"})
    found = read_base(repository, "HEAD", worktree(repository).read(), clock).history.steps({"a"})
    assert told(found) == [{}, {"a": ["1"]}, {}]
    assert [f.data for f in found[-1].strategies] == [b"# other\n"]
