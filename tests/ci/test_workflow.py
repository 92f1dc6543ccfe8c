"""The CI workflow that `reconciler init` writes: its steps, with the real commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

from tests.ci.github import TOKEN, GitHub
from tests.ci.runner import Repository, Runner, pull_request

INSTANCE = "instances/eur-usd-dip.yaml"


def review(
    repository: Repository,
    github: GitHub,
    scratch: Path,
    event: str = "pull_request",
    queued_on: str = "",
    **environment: str,
) -> Runner:
    workflow: Any = yaml.load((repository.folder / ".github/workflows/fleet.yml").read_text(), yaml.BaseLoader)
    assert workflow["defaults"] == {"run": {"shell": "bash"}}
    scratch.mkdir(exist_ok=True)
    environ = pull_request(repository, scratch, Path(sys.executable).parent, github.url) | environment
    context = {"github.event_name": event, "github.token": TOKEN, "github.event.merge_group.base_sha": queued_on}
    runner = Runner(repository.folder, scratch, {**environ, **workflow["env"]}, context)
    runner.run([step for step in workflow["jobs"]["review"]["steps"] if step.get("name") != "Install"])
    if runner.steps["Plan"].outcome == "success":  # the artifact is where the second job looks for it: in RUNNER_TEMP
        second = Runner(repository.folder, scratch, environ, {"github.token": TOKEN})
        second.context["steps.install.outputs.done"] = "true"
        steps = workflow["jobs"]["comment"]["steps"]
        second.run([step for step in steps if step.get("name") == "Plan in a comment"])
        runner.steps |= second.steps
    return runner


def outcomes(runner: Runner) -> list[str]:
    return [step.outcome for step in runner.steps.values()]


def test_a_good_change_passes_and_its_plan_is_one_comment_kept_up_to_date(
    repository: Repository, github_api: GitHub, tmp_path: Path
) -> None:
    repository.replace(INSTANCE, "mode: observe", "mode: active")
    repository.commit("Let it trade")
    runner = review(repository, github_api, tmp_path / "scratch")
    assert outcomes(runner) == ["success"] * 5
    assert "eur-usd-dip" in runner.steps["Plan"].summary
    repository.replace(INSTANCE, "mode: active", "mode: observe")
    repository.commit("Do not")
    review(repository, github_api, tmp_path / "scratch")
    (comment,) = github_api.comments
    assert "eur-usd-dip" not in comment.body


def test_everything_that_is_wrong_is_said_at_once(repository: Repository, github_api: GitHub, tmp_path: Path) -> None:
    repository.replace(INSTANCE, "# minutes: 30", "minutes: never")
    repository.replace("strategies/dip.py", '"buy"', '"sell"')
    repository.replace("strategies/dip.py", '"default": 30', '"default": 31')
    repository.commit("Break all of it")
    runner = review(repository, github_api, tmp_path / "scratch")
    assert outcomes(runner) == ["failure", "failure", "failure", "success", "success"]
    assert f"::error file={INSTANCE},line=" in runner.steps["Instance files are valid"].stdout
    assert "schemas/strategies/dip.schema.json: stale" in runner.steps["Schemas are current"].stdout
    assert "3 failed" in runner.steps["Strategies do what their tests say"].stdout


def test_a_push_is_checked_and_has_no_plan(repository: Repository, github_api: GitHub, tmp_path: Path) -> None:
    runner = review(repository, github_api, tmp_path / "scratch", event="push")
    assert outcomes(runner) == ["success", "success", "success", "skipped"]
    assert github_api.asked == []


def test_a_merge_queue_is_answered_and_judged_against_what_it_stands_on(
    repository: Repository, github_api: GitHub, tmp_path: Path
) -> None:
    repository.replace(INSTANCE, "mode: observe", "mode: off")
    repository.commit("Off")
    base = repository.git("rev-parse", "HEAD").strip()
    repository.replace(INSTANCE, "mode: off", "mode: active")
    repository.commit("From off to active")
    runner = review(repository, github_api, tmp_path / "scratch", "merge_group", base, GITHUB_BASE_REF="")
    assert "off → active" in runner.steps["Instance files are valid"].stdout
    assert outcomes(runner) == ["failure", "success", "success", "skipped"]


def test_it_runs_for_queues_and_when_a_pull_request_goes_to_another_branch(repository: Repository) -> None:
    workflow: Any = yaml.load((repository.folder / ".github/workflows/fleet.yml").read_text(), yaml.BaseLoader)
    assert "merge_group" in workflow["on"]
    assert set(workflow["on"]["pull_request"]["types"]) == {"opened", "synchronize", "reopened", "edited"}


def test_what_it_uses_is_pinned_and_its_checkout_is_whole_and_holds_no_token(repository: Repository) -> None:
    workflow: Any = yaml.load((repository.folder / ".github/workflows/fleet.yml").read_text(), yaml.BaseLoader)
    steps = workflow["jobs"]["review"]["steps"]
    used = {step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step}
    assert used == {
        "actions/checkout@v4",
        "actions/setup-python@v5",
        "actions/upload-artifact@v4",
        "actions/download-artifact@v4",
    }
    assert steps[0]["with"] == {"fetch-depth": "0", "persist-credentials": "false"}


def test_what_runs_strategies_may_write_nothing_and_what_may_write_runs_none(repository: Repository) -> None:
    workflow: Any = yaml.load((repository.folder / ".github/workflows/fleet.yml").read_text(), yaml.BaseLoader)
    review, comment = workflow["jobs"]["review"], workflow["jobs"]["comment"]
    assert workflow["permissions"] == {}
    assert review["permissions"] == {"contents": "read"}
    assert "token" not in str(review["steps"])
    assert comment["permissions"] == {"actions": "read", "contents": "read", "pull-requests": "write"}
    checkout = comment["steps"][0]
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    assert "cache" not in str(comment["steps"])
    assert [word for step in comment["steps"] for word in ("validate", "plan --", "schema") if word in str(step)] == []


def test_a_strategy_is_not_told_where_later_steps_take_their_variables_from(
    repository: Repository, github_api: GitHub, tmp_path: Path
) -> None:
    strategy = repository.folder / "strategies/dip.py"
    names = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE")
    strategy.write_text(f"{strategy.read_text()}\nimport os\nassert not set(os.environ) & set({names})\n")
    repository.commit("Look around")
    runner = review(repository, github_api, tmp_path / "scratch")
    assert runner.steps["Instance files are valid"].outcome == "success", runner.steps[
        "Instance files are valid"
    ].stdout
