"""A stand-in for the runner of GitHub Actions: runs the shell text of steps with the environment that it would give.

It knows as much of the expression language as our steps use, and refuses the rest.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_TOLD = ("GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE")
AUTHOR = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")


@dataclass(frozen=True)
class Repository:
    folder: Path

    def git(self, *arguments: str) -> str:
        done = subprocess.run(("git", *AUTHOR, *arguments), cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--allow-empty", "-m", message)

    def replace(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new), encoding="utf-8")


@dataclass
class Step:
    """What became of a step."""

    outcome: str
    outputs: dict[str, str] = field(default_factory=dict)
    stdout: str = ""
    stderr: str = ""
    summary: str = ""


@dataclass
class Runner:
    """One job. `context` is what expressions may ask for, by its dotted name."""

    workspace: Path
    scratch: Path
    environ: Mapping[str, str]
    context: dict[str, str]
    steps: dict[str, Step] = field(default_factory=dict)

    def run(self, steps: Sequence[Mapping[str, Any]]) -> bool:
        """Run them in order, those that use other actions left out; True where none failed."""
        for step in steps:
            if "run" in step:
                self.steps[step["name"]] = done = self._step(step)
                if "id" in step:
                    self.context[f"steps.{step['id']}.outcome"] = done.outcome
                    self.context |= {f"steps.{step['id']}.outputs.{name}": text for name, text in done.outputs.items()}
        return not self._has_failed()

    @property
    def summary(self) -> str:
        return "".join(step.summary for step in self.steps.values())

    def _has_failed(self) -> bool:
        return any(step.outcome == "failure" for step in self.steps.values())

    def _step(self, step: Mapping[str, Any]) -> Step:
        condition = step.get("if", "")
        if (self._has_failed() and "cancelled()" not in condition) or (condition and not self._value(condition)):
            return Step("skipped")
        number = len(self.steps)
        output, summary, script = (self.scratch / f"{name}-{number}" for name in ("output", "summary", "script"))
        output.touch()
        summary.touch()
        assert "${{" not in step["run"], "an expression in shell text is code that whoever names a branch may write"
        script.write_text(step["run"])
        done = subprocess.run(
            ("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)),
            cwd=self.workspace,
            env={
                **self.environ,
                "GITHUB_OUTPUT": str(output),
                **{name: str(self.scratch / f"{name}-{number}") for name in _TOLD},
                "GITHUB_STEP_SUMMARY": str(summary),
                "RUNNER_TEMP": str(self.scratch),
                **{name: str(self._value(text)) for name, text in step.get("env", {}).items()},
            },
            capture_output=True,
            text=True,
            check=False,
        )
        outputs = dict(line.split("=", 1) for line in output.read_text().splitlines())
        outcome = "failure" if done.returncode else "success"
        return Step(outcome, outputs, done.stdout, done.stderr, summary.read_text())

    def _value(self, text: str) -> Any:
        expression = re.fullmatch(r"\$\{\{ (.*) \}\}", text)
        if expression is None:
            return text
        value: Any = True
        for term in expression[1].split(" && "):
            value = self._term(term)
            if not value:
                return value
        return value

    def _term(self, term: str) -> Any:
        if term == "!cancelled()":
            return True
        left, equals, right = term.partition(" == ")
        assert re.fullmatch(r"[a-z_.-]+", left), f"an expression that this stand-in does not know: {term}"
        may_be_none = left.startswith(("steps.", "github.event."))
        known = self.context.get(left, "") if may_be_none else self.context[left]
        return known == right.strip("'") if equals else known


def pull_request(repository: Repository, scratch: Path, python: Path, api: str) -> dict[str, str]:
    """The environment of a job that a pull request from `change` into `main` started."""
    event = scratch / "event.json"
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": {"sha": repository.git("rev-parse", "HEAD")}}}))
    return {
        **os.environ,
        "PATH": f"{python}:{os.environ['PATH']}",
        "GITHUB_ACTIONS": "true",
        "GITHUB_REPOSITORY": "owner/fleet",
        "GITHUB_BASE_REF": "main",
        "GITHUB_EVENT_PATH": str(event),
        "GITHUB_GRAPHQL_URL": api,
    }
