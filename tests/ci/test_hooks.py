"""The pre-commit hooks of this repository, tried with the real pre-commit."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.ci.runner import Repository

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]


def pre_commit(folder: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {
        **os.environ,
        "PRE_COMMIT_HOME": str(home),
        "PYTHONPATH": sysconfig.get_path("purelib"),  # what the hooks need is there already: install only what is ours
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    command = (str(BIN / "pre-commit"), *arguments)
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def test_the_manifest_is_one(tmp_path: Path) -> None:
    done = pre_commit(ROOT, tmp_path, "validate-manifest", ".pre-commit-hooks.yaml")
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(300)
def test_the_hooks_pass_on_a_good_fleet_and_fail_on_a_bad_one(
    repository: Repository, checkout: Path, tmp_path: Path
) -> None:
    """One test, as what is installed for the first run serves the others."""
    released = Repository(checkout)
    for arguments in (("init",), ("add", "--all"), ("commit", "-m", "Release")):
        released.git(*arguments)
    hooks = [{"id": hook["id"]} for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())]
    source = {"repo": str(checkout), "rev": released.git("rev-parse", "HEAD"), "hooks": hooks}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"repos": [source]}))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        config = ("--config", str(tmp_path / "config.yaml"))
        return pre_commit(repository.folder, tmp_path / "home", "run", *config, *arguments)

    tried = run("--all-files")
    assert (tried.returncode, tried.stdout.count("Passed")) == (0, 2), tried.stdout

    repository.git("rm", "--quiet", "strategies/dip.py")  # pre-commit tells a hook no file of such a commit
    tried = run()
    assert (tried.returncode, tried.stdout.count("Skipped")) == (1, 0), tried.stdout
    assert "instances/eur-usd-dip.yaml:" in tried.stdout
    repository.git("reset", "--quiet", "--hard")

    repository.replace("instances/eur-usd-dip.yaml", "# minutes: 30", "minutes: never")
    repository.replace("strategies/dip.py", '"default": 30', '"default": 31')
    repository.git("add", "--all")
    tried = run("--all-files")
    assert (tried.returncode, tried.stdout.count("Failed")) == (1, 2), tried.stdout
    assert "instances/eur-usd-dip.yaml:" in tried.stdout
    assert "config.minutes: expected an integer" in tried.stdout
    assert "schemas/strategies/dip.schema.json: stale" in tried.stdout
