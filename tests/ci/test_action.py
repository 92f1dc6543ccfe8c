"""action.yml: its steps, with the real commands, in a repository with a pull request."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ci.action import ACTION, parsed, steps
from tests.ci.github import TOKEN, Comment, GitHub
from tests.ci.runner import Repository, Runner, pull_request

INSTANCE = "instances/eur-usd-dip.yaml"
MARKER = "<!-- reconciler plan -->"


@dataclass
class Job:
    """The action, used in a pull request."""

    repository: Repository
    github: GitHub
    python: Path
    scratch: Path

    def run(self, environ: dict[str, str] | None = None, queued_on: str = "", **inputs: str) -> Runner:
        given = {name: value["default"] for name, value in parsed()["inputs"].items()}
        given |= {"token": TOKEN, **{name.replace("_", "-"): value for name, value in inputs.items()}}
        context = {f"inputs.{name}": value for name, value in given.items()}
        context["github.event.merge_group.base_sha"] = queued_on
        base = pull_request(self.repository, self.scratch, self.python, self.github.url)
        runner = Runner(self.repository.folder, self.scratch, {**base, **(environ or {})}, context)
        runner.run([step for step in steps() if step.get("name") != "Install"])
        return runner


@pytest.fixture
def job(repository: Repository, github_api: GitHub, installed: Path, tmp_path: Path) -> Job:
    (tmp_path / "scratch").mkdir()
    return Job(repository, github_api, installed, tmp_path / "scratch")


def raise_it(repository: Repository) -> None:
    repository.replace(INSTANCE, "mode: observe", "mode: active")
    repository.commit("Let it trade")


def break_it(repository: Repository) -> None:
    repository.replace(INSTANCE, "# minutes: 30", "minutes: half an hour")
    repository.commit("Break it")


@pytest.mark.timeout(180)
def test_a_change_is_planned_in_the_summary_and_in_a_comment(job: Job) -> None:
    raise_it(job.repository)
    runner = job.run()
    assert {name: step.outcome for name, step in runner.steps.items()} == dict.fromkeys(
        ("Validate", "Plan", "Comment"), "success"
    ) | {"Comment alone": "skipped"}
    (comment,) = job.github.comments
    assert comment.body.startswith(f"{MARKER}\n")
    assert "eur-usd-dip" in comment.body
    assert comment.body.endswith(f"\nFor {job.repository.git('rev-parse', 'HEAD')}.\n")
    assert "eur-usd-dip" in runner.steps["Plan"].summary
    assert runner.context["steps.validate.outputs.valid"] == "true"
    assert json.loads(runner.context["steps.plan.outputs.raises"]) == ["eur-usd-dip"]
    assert json.loads(runner.context["steps.plan.outputs.active_changes"]) == []
    plan = json.loads(Path(runner.context["steps.plan.outputs.json"]).read_text())
    assert plan["raises"] == ["eur-usd-dip"]
    for name, output in parsed()["outputs"].items():
        told = re.fullmatch(r"\$\{\{ (steps\.[a-z]+\.outputs\.[a-z_]+) \}\}", output["value"])
        assert told is not None
        assert told[1] in runner.context, f"the output {name} is none of a step"


def test_a_second_run_brings_the_one_comment_up_to_date(job: Job) -> None:
    raise_it(job.repository)
    job.run()
    first = job.github.comments[0].body
    job.repository.replace(INSTANCE, "# minutes: 30", "minutes: 45")
    job.repository.commit("And look further back")
    assert job.run().steps["Comment"].stdout == "comment brought up to date\n"
    (comment,) = job.github.comments
    assert comment.body != first
    assert "config.minutes" in comment.body


def test_a_problem_is_annotated_and_the_plan_is_made_all_the_same(job: Job) -> None:
    break_it(job.repository)
    runner = job.run()
    outcomes = [step.outcome for step in runner.steps.values()]
    assert outcomes == ["failure", "success", "success", "skipped"]
    assert re.search(rf"^::error file={INSTANCE},line=\d+,col=12,", runner.steps["Validate"].stdout, re.MULTILINE)
    assert "config.minutes" in runner.steps["Validate"].summary
    assert runner.context["steps.validate.outputs.valid"] == "false"
    assert "eur-usd-dip" in job.github.comments[0].body


def test_what_only_a_comparison_shows_is_a_problem(job: Job) -> None:
    job.repository.replace(INSTANCE, "market: EUR/USD", "market: USD/JPY")
    job.repository.commit("Change what never changes")
    runner = job.run()
    assert runner.steps["Validate"].outcome == "failure"
    assert "market" in runner.steps["Validate"].stdout


def test_without_the_history_it_says_how_to_get_it(job: Job, tmp_path: Path) -> None:
    raise_it(job.repository)
    shallow = tmp_path / "shallow"
    job.repository.git("clone", "--depth=1", f"file://{job.repository.folder}", str(shallow))
    runner = Job(Repository(shallow), job.github, job.python, job.scratch).run()
    assert [step.outcome for step in runner.steps.values()] == ["failure", "skipped", "skipped", "skipped"]
    assert "fetch-depth: 0" in runner.steps["Validate"].stderr
    assert job.github.asked == []


def test_a_token_that_may_not_write_fails_nothing(job: Job) -> None:
    raise_it(job.repository)
    job.github.refusal = "FORBIDDEN"
    runner = job.run()
    assert runner.steps["Comment"].outcome == "success"
    assert runner.steps["Comment"].stdout.startswith("::notice title=reconciler plan::No comment")
    assert "eur-usd-dip" in runner.steps["Plan"].summary
    assert job.github.comments == []


def test_comments_are_left_out_where_nobody_wants_them(job: Job) -> None:
    raise_it(job.repository)
    runner = job.run(comment="false")
    assert runner.steps["Comment"].outcome == "skipped"
    assert "eur-usd-dip" in runner.summary
    assert job.github.asked == []


def test_somebody_else_s_comment_is_not_touched_whatever_it_says(job: Job) -> None:
    raise_it(job.repository)
    job.github.comments = [Comment("Fine."), Comment(f"{MARKER}\nmine", own=False), Comment("Really?")]
    job.run()
    assert [comment.body for comment in job.github.comments[:3]] == ["Fine.", f"{MARKER}\nmine", "Really?"]
    assert len(job.github.comments) == 4


def test_without_a_base_there_is_no_plan(job: Job) -> None:
    runner = job.run({"GITHUB_BASE_REF": ""})
    assert [step.outcome for step in runner.steps.values()] == ["success", "skipped", "skipped", "skipped"]
    assert runner.context["steps.validate.outputs.valid"] == "true"


def test_in_a_merge_queue_the_change_is_compared_with_what_the_queue_stands_on(job: Job) -> None:
    raise_it(job.repository)
    runner = job.run({"GITHUB_BASE_REF": ""}, queued_on=job.repository.git("rev-parse", "main").strip())
    assert json.loads(runner.context["steps.plan.outputs.raises"]) == ["eur-usd-dip"]


def test_the_base_may_be_named(job: Job) -> None:
    raise_it(job.repository)
    job.repository.commit("And nothing more")
    runner = job.run({"GITHUB_BASE_REF": "no-such-branch"}, base="HEAD~1")
    assert json.loads(runner.context["steps.plan.outputs.raises"]) == []


def test_a_fleet_in_a_folder_is_annotated_where_it_lies_and_has_a_comment_of_its_own(job: Job) -> None:
    inner = job.repository.folder / "fleets" / "one"
    inner.mkdir(parents=True)
    for name in ("instances", "strategies", "schemas", "reconciler.yaml"):
        job.repository.git("mv", name, str(inner / name))
    job.repository.commit("Move it")
    job.repository.git("update-ref", "refs/remotes/origin/main", "HEAD")
    job.repository.replace(f"fleets/one/{INSTANCE}", "# minutes: 30", "minutes: never")
    job.repository.commit("Break it")
    job.github.comments = [Comment(f"{MARKER}\nof the fleet at the top")]
    runner = job.run(root="fleets/one")
    assert f"::error file=fleets/one/{INSTANCE},line=" in runner.steps["Validate"].stdout
    assert [comment.body.split("\n")[0] for comment in job.github.comments] == [
        MARKER,
        "<!-- reconciler plan of fleets/one -->",
    ]


@pytest.mark.parametrize("name", ["$(touch${IFS}pwned)`touch${IFS}pwned`;touch${IFS}pwned", "x'\";touch"])
def test_a_branch_may_have_any_name(job: Job, name: str) -> None:
    job.repository.git("update-ref", f"refs/remotes/origin/{name}", "main")
    runner = job.run({"GITHUB_BASE_REF": name})
    assert [step.outcome for step in runner.steps.values()] == ["success"] * 3 + ["skipped"]
    assert not (job.repository.folder / "pwned").exists()


def test_a_pull_request_that_holds_a_package_of_our_name_does_not_write_the_comment(job: Job) -> None:
    raise_it(job.repository)
    (job.repository.folder / "reconciler").mkdir()
    (job.repository.folder / "reconciler" / "__init__.py").write_text("raise SystemExit('taken over')\n")
    job.repository.commit("Take over")
    assert job.run().steps["Comment"].stdout == "comment written\n"


def test_a_job_of_its_own_writes_the_comment_and_imports_nothing(job: Job) -> None:
    raise_it(job.repository)
    plan = job.run(comment="false").context["steps.plan.outputs.markdown"]
    (job.repository.folder / "strategies/dip.py").write_text("raise SystemExit('imported')\n")
    runner = job.run(comment_from=plan)
    assert {name: step.outcome for name, step in runner.steps.items()} == {
        "Validate": "skipped",
        "Plan": "skipped",
        "Comment": "skipped",
        "Comment alone": "success",
    }
    assert "eur-usd-dip" in job.github.comments[0].body


def test_a_strategy_is_not_told_where_later_steps_take_their_variables_from(job: Job) -> None:
    strategy = job.repository.folder / "strategies/dip.py"
    names = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STATE")
    strategy.write_text(f"{strategy.read_text()}\nimport os\nassert not set(os.environ) & set({names})\n")
    job.repository.commit("Look around")
    assert job.run().steps["Validate"].outcome == "success"


def test_it_is_an_action_as_github_reads_them() -> None:
    checker = str(Path(sys.executable).parent / "check-jsonschema")
    command = (checker, "--builtin-schema", "vendor.github-actions", str(ACTION))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_other_actions_are_pinned() -> None:
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used == ["actions/setup-python@v5"]


def test_no_expression_is_ever_part_of_shell_text() -> None:
    assert [step["name"] for step in steps() if "${{" in step.get("run", "")] == []


def test_the_token_is_given_to_the_comment_alone() -> None:
    assert [step["name"] for step in steps() if "inputs.token" in str(step)] == ["Comment", "Comment alone"]
