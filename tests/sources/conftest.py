"""A fleet on disk, and git to commit it with."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.sources.worktree import Worktree, WorktreeOptions

LONG_AFTER_S = 4_000_000_000.0
"""A wall clock that makes every file of a test old: none is read again but for its stat."""


@pytest.fixture(autouse=True)
def _no_configuration_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A root with one record, one template and one definition, not in a repository."""
    root = tmp_path / "fleet"
    (root / "instances" / "_templates").mkdir(parents=True)
    (root / "strategies").mkdir()
    (root / "instances" / "btc.yaml").write_text("id: btc\n")
    (root / "instances" / "_templates" / "majors.yaml").write_text("config: {}\n")
    (root / "strategies" / "grid.py").write_text('"""Grid."""\n')
    return root


@pytest.fixture
def git() -> Callable[..., str]:
    """`git(folder, "commit", …)`: runs it there and gives its stdout. Fails the test where git fails."""
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "init.defaultBranch=main")

    def run(folder: Path, *arguments: str) -> str:
        done = subprocess.run(("git", *identity, *arguments), cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def repository(fleet: Path, git: Callable[..., str]) -> Path:
    """The fleet, all of it committed."""
    git(fleet, "init", "-q")
    git(fleet, "add", ".")
    git(fleet, "commit", "-q", "-m", "The fleet")
    return fleet


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(LONG_AFTER_S)


@pytest.fixture
def worktree(clock: FakeClock) -> Callable[[Path], Worktree]:
    """`worktree(root)`, with a clock to which every file is old."""
    return lambda root: Worktree(root, clock, WorktreeOptions())
