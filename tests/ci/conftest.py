"""What CI has: a copy of this repository to install, a fleet in git with a branch, and GitHub to talk to."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli import main
from tests.ci import github
from tests.ci.action import steps
from tests.ci.runner import Repository, Runner

ROOT = Path(__file__).parents[2]
_LEFT_OUT = (".*", "*.egg-info", "__pycache__", "build", "dist", "tests", "instances", "strategies", "node_modules")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository as a checkout has it, so that installing it leaves nothing behind here."""
    folder = tmp_path_factory.mktemp("checkout") / "reconciler"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", folder)
    return folder


@pytest.fixture(scope="session")
def installed(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of a Python of its own, after the Install step as it stands in the action.

    Installed once in a run, by whichever process of it comes first: the others wait, and share it.
    """
    folder = tmp_path_factory.getbasetemp()
    shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "installed"
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "is-whole").exists():
            scratch = tmp_path_factory.mktemp("install")
            _install(_python(shared), checkout, scratch)
            (shared / "is-whole").touch()
    return shared / "bin"


def _python(folder: Path) -> Path:
    """One that finds here what else would have to be downloaded."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "ours.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


def _install(python: Path, checkout: Path, scratch: Path) -> None:
    (scratch / "requirements.txt").write_text("# nothing more\n")
    context = {"github.action_path": str(checkout), "inputs.requirements": str(scratch / "requirements.txt")}
    runner = Runner(scratch, scratch, {**os.environ, "PATH": f"{python}:{os.environ['PATH']}"}, context)
    (install,) = [step for step in steps() if step.get("name") == "Install"]
    assert runner.run([install]), runner.steps["Install"].stderr


@pytest.fixture
def github_api() -> Iterator[github.GitHub]:
    with github.serving() as standing_in:
        yield standing_in


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A fleet as `init` begins it, on `main`; a branch `change` is checked out."""
    folder = tmp_path / "fleet"
    assert CliRunner().invoke(main, ["init", str(folder)]).exit_code == 0
    repository = Repository(folder)
    repository.git("init", "--initial-branch=main")
    repository.commit("Begin the fleet")
    repository.git("update-ref", "refs/remotes/origin/main", "main")
    repository.git("checkout", "-b", "change")
    return repository


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("GITHUB_", "RECONCILER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
