from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.errors import SourceError
from reconciler.sources.compared import Base, read_base
from reconciler.sources.worktree import Worktree, WorktreeOptions

Run = Callable[..., str]
Read = Callable[..., Base]


@pytest.fixture
def base(clock: FakeClock) -> Read:
    """`base(root, ref)`: what the files on disk are compared with."""
    return lambda root, ref="main": read_base(root, ref, Worktree(root, clock, WorktreeOptions()).read(), clock)


@pytest.fixture
def branch(repository: Path, git: Run) -> Path:
    git(repository, "switch", "-q", "-c", "pr")
    return repository


def _refusal(base: Read, root: Path, ref: str = "main") -> str:
    with pytest.raises(SourceError) as caught:
        base(root, ref)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _commit(root: Path, git: Run) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Change")


def _add_submodule(root: Path, tmp_path: Path, git: Run, at: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "eth.yaml").write_text("id: eth\n")
    _commit(other, git)
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), at)
    _commit(root, git)


@pytest.mark.parametrize("at", ["instances/desk", "instances/_set_aside", "strategies/shared"])
def test_a_submodule_within_the_fleet_cannot_be_compared(
    branch: Path, tmp_path: Path, git: Run, base: Read, at: str
) -> None:
    _add_submodule(branch, tmp_path, git, at)
    mend = "so what it held cannot be compared; keep the fleet's files in one repository"
    told = f"{at}: expected files of this repository, was a submodule in"
    assert _refusal(base, branch) == f"{told} HEAD, {mend}"
    git(branch, "branch", "-q", "-f", "main")
    left = git(branch, "rev-parse", "--short=8", "main")
    assert _refusal(base, branch) == f"{told} {left}, {mend}"
    git(branch, "rm", "-q", "-r", at)
    _commit(branch, git)
    assert _refusal(base, branch) == f"{told} {left}, {mend}"


def test_a_fleet_that_was_a_submodule_cannot_be_compared(
    repository: Path, tmp_path: Path, git: Run, base: Read
) -> None:
    _add_submodule(repository, tmp_path, git, "fleets/one")
    git(repository, "switch", "-q", "-c", "pr")
    git(repository, "rm", "-q", "-r", "fleets/one")
    (repository / "fleets" / "one" / "instances").mkdir(parents=True)
    (repository / "fleets" / "one" / "instances" / "eth.yaml").write_text("id: eth\n")
    _commit(repository, git)
    assert "fleets/one: expected files of this repository" in _refusal(base, repository / "fleets" / "one")


def test_a_submodule_elsewhere_is_nobodys_business(branch: Path, tmp_path: Path, git: Run, base: Read) -> None:
    _add_submodule(branch, tmp_path, git, "vendor")
    assert base(branch).snapshot.instances


@pytest.mark.parametrize("name", ["instances/btc.yaml", "strategies/grid.py", "reconciler.yaml"])
def test_a_sparse_checkout_is_no_removal(branch: Path, git: Run, base: Read, name: str) -> None:
    (branch / "reconciler.yaml").write_text("heartbeat_seconds: 3\n")
    _commit(branch, git)
    git(branch, "sparse-checkout", "set", "--no-cone", "/*", f"!/{name}")
    assert not (branch / name).exists()
    assert _refusal(base, branch) == (
        f"{name}: expected to be checked out, was left out by a sparse checkout; run `git sparse-checkout disable`"
    )
    git(branch, "sparse-checkout", "disable")
    assert base(branch).snapshot.instances


@pytest.mark.parametrize(
    ("attribute", "told"),
    [
        ("filter=lfs", "filter=lfs"),
        ("working-tree-encoding=UTF-16", "working-tree-encoding=UTF-16"),
        ("ident", "ident"),
    ],
)
def test_files_that_a_checkout_converts_cannot_be_compared(
    branch: Path, git: Run, base: Read, attribute: str, told: str
) -> None:
    (branch / ".git" / "info").mkdir(exist_ok=True)
    (branch / ".git" / "info" / "attributes").write_text(f"*.py {attribute}\n")
    assert _refusal(base, branch) == (
        f"strategies/grid.py: expected on disk what git keeps, was converted by the attribute {told} now, "
        "so it cannot be compared; keep the fleet's files free of it"
    )


@pytest.mark.parametrize("where", ["", "strategies/"])
def test_attributes_of_the_base_count_though_they_are_gone(branch: Path, git: Run, base: Read, where: str) -> None:
    (branch / f"{where}.gitattributes").write_text("*.py filter=lfs\n")
    _commit(branch, git)
    git(branch, "branch", "-q", "-f", "main")
    left = git(branch, "rev-parse", "--short=8", "main")
    (branch / f"{where}.gitattributes").unlink()
    _commit(branch, git)
    assert (
        f"strategies/grid.py: expected on disk what git keeps, was converted by the attribute filter=lfs in {left}"
        in (_refusal(base, branch))
    )


def test_attributes_around_a_fleet_in_a_subfolder_count(fleet: Path, git: Run, base: Read) -> None:
    top = fleet.parent
    (top / ".gitattributes").write_text("fleet/instances/*.yaml ident\n")
    git(top, "init", "-q")
    _commit(top, git)
    left = git(top, "rev-parse", "--short=8", "HEAD")
    (top / ".gitattributes").unlink()
    _commit(top, git)
    assert f"instances/btc.yaml: expected on disk what git keeps, was converted by the attribute ident in {left}" in (
        _refusal(base, fleet, "HEAD~1")
    )


def test_no_filter_is_run_and_other_attributes_do_not_matter(
    branch: Path, tmp_path: Path, git: Run, base: Read
) -> None:
    git(branch, "config", "filter.evil.smudge", f"touch {tmp_path}/ran; cat")
    git(branch, "config", "filter.evil.clean", "cat")
    (branch / ".gitattributes").write_text("*.yaml text -filter\n*.md filter=evil\n*.py diff=python\n")
    (branch / "instances" / "notes.md").write_text("notes\n")
    _commit(branch, git)
    git(branch, "branch", "-q", "-f", "main")
    assert base(branch).snapshot.instances
    (branch / ".gitattributes").write_text("*.py filter=evil\n")
    assert "filter=evil" in _refusal(base, branch)
    assert not (tmp_path / "ran").exists()
