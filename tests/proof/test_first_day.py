"""The README's first day: from `init` to the first merged change running from git, as it tells to type it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


def blocks() -> tuple[str, str]:
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Your own fleet\n")[2].partition("\n## ")[0]
    first, second = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return first, second


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has just installed it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "RECONCILER_"))}
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Ann\n\temail = ann@desk.example\n")
    environ = {**kept, "HOME": str(tmp_path), "PATH": f"{BIN}:{kept['PATH']}", "RECONCILER_DASHBOARD_PORT": "0"}
    return environ | {"GIT_CONFIG_NOSYSTEM": "1"}


def test_the_first_merged_change_runs_from_git(home: dict[str, str], tmp_path: Path) -> None:
    first, second = blocks()
    setting_up, run = first.split("\nreconciler run", 1)
    assert run.count("\n") == 1, "the engine is started last"
    done = subprocess.run(("bash", "-euc", setting_up), env=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fleet = tmp_path / "fleet"
    log = (tmp_path / "log").open("w")
    engine = subprocess.Popen(("reconciler", "run"), cwd=fleet, env=home, stderr=log, text=True)
    try:
        waited = ("reconciler", "wait", "eur-usd-dip", "--for", "Loaded", "--timeout", "60")
        started = subprocess.run(waited, cwd=fleet, env=home, capture_output=True, text=True, check=False)
        for _ in range(100):  # until it listens
            if started.returncode == 0:
                break
            started = subprocess.run(waited, cwd=fleet, env=home, capture_output=True, text=True, check=False)
        assert started.returncode == 0, (tmp_path / "log").read_text()
        done = subprocess.run(
            ("bash", "-euc", second), cwd=fleet, env=home, capture_output=True, text=True, check=False
        )
    finally:
        engine.terminate()
        engine.wait()
        log.close()
    assert done.returncode == 0, done.stdout + done.stderr
    proposed, _, merged = done.stdout.partition("GENERATION")
    assert "RELOADS" in proposed
    assert "config.minutes" in proposed
    assert re.search(r"^2 +\S+ +[0-9a-f]{12} .*config\.minutes: .*60", merged, re.MULTILINE), merged
    assert re.search(r"^config\.minutes +60 .*Ann .*Look back an hour", merged, re.MULTILINE), merged
    assert engine.returncode == 0
