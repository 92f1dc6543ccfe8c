"""The GitLab job of docs/ci.md: its script, with the real commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests.ci.runner import Repository

PAGE = Path(__file__).parents[2] / "docs" / "ci.md"


@pytest.fixture
def job() -> Any:
    section = PAGE.read_text(encoding="utf-8").partition("\n## GitLab\n")[2]
    snippet = section.partition("```yaml\n")[2].partition("```")[0]
    return yaml.load(snippet, yaml.BaseLoader)["fleet"]


def run(repository: Repository, job: Any) -> subprocess.CompletedProcess[str]:
    """As GitLab does: all lines in one shell, which stops at the first that fails."""
    lines = [line for line in job["script"] if not line.startswith("pip install")]
    assert len(lines) == len(job["script"]) - 1
    variables = {name: value for name, value in job["variables"].items() if not value.startswith("$")}
    environ = {
        **os.environ,
        **variables,
        "BASE": repository.git("merge-base", "main", "HEAD"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    command = ("bash", "-eo", "pipefail", "-c", "\n".join(lines))
    return subprocess.run(command, cwd=repository.folder, env=environ, capture_output=True, text=True, check=False)


def reports(repository: Repository, job: Any) -> tuple[Any, ElementTree.Element, str]:
    named = job["artifacts"]["reports"]
    (plan,) = job["artifacts"]["paths"]
    quality = json.loads((repository.folder / named["codequality"]).read_text())
    return (
        quality,
        ElementTree.parse(repository.folder / named["junit"]).getroot(),
        (repository.folder / plan).read_text(),
    )


def test_a_good_change_passes_and_is_planned(repository: Repository, job: Any) -> None:
    repository.replace("instances/eur-usd-dip.yaml", "mode: observe", "mode: active")
    repository.commit("Let it trade")
    done = run(repository, job)
    assert done.returncode == 0, done.stderr
    quality, junit, plan = reports(repository, job)
    assert quality == []
    assert list(junit.iter("failure")) == []
    assert "eur-usd-dip" in plan


def test_a_bad_one_fails_with_every_report_written(repository: Repository, job: Any) -> None:
    repository.replace("instances/eur-usd-dip.yaml", "# minutes: 30", "minutes: never")
    repository.commit("Break it")
    done = run(repository, job)
    assert done.returncode == 1
    quality, junit, plan = reports(repository, job)
    assert [issue["location"]["path"] for issue in quality] == ["instances/eur-usd-dip.yaml"]
    assert len(list(junit.iter("failure"))) == 1
    assert plan.startswith("<!-- reconciler plan -->")
    assert "config.minutes: expected an integer" in done.stdout


def test_it_compares_with_where_the_merge_request_left_its_target(job: Any) -> None:
    assert job["variables"] == {"GIT_DEPTH": "0", "BASE": "$CI_MERGE_REQUEST_DIFF_BASE_SHA"}
