from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reconciler.sources.git import Whereabouts, locate

Git = Callable[..., str]


def test_a_repository_is_found_from_its_top_and_from_below(repository: Path) -> None:
    git_dir = repository / ".git"
    assert locate(repository) == Whereabouts(repository, "", git_dir, git_dir)
    assert locate(repository / "instances" / "_templates") == Whereabouts(
        repository, "instances/_templates/", git_dir, git_dir
    )


def test_a_linked_work_tree_has_a_git_directory_of_its_own(repository: Path, tmp_path: Path, git: Git) -> None:
    linked, git_dir = tmp_path / "linked", repository / ".git"
    git(repository, "worktree", "add", "-q", "-b", "side", str(linked))
    assert locate(linked) == Whereabouts(linked, "", git_dir / "worktrees" / "linked", git_dir)


def test_an_empty_git_folder_is_passed_over_as_git_does(repository: Path) -> None:
    (repository / "instances" / ".git").mkdir()
    where = locate(repository / "instances")
    assert where is not None
    assert (where.top, where.prefix) == (repository, "instances/")


def test_where_there_is_no_repository_there_is_none(fleet: Path) -> None:
    assert locate(fleet) is None


def test_a_root_reached_through_a_link_is_where_it_really_is(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(repository)
    assert locate(tmp_path / "current") == locate(repository)
