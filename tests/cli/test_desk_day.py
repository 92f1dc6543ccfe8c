"""A desk's day, from outside: one engine that follows a remote whose commits must be signed, and people who push to it.

Propose, merge, push what nobody signed, move the branch, accept, lose the remote, kill the engine: a real process, real
repositories, real signatures.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")

RECONCILER = (sys.executable, "-m", "reconciler")
STRATEGY = """\
from reconciler.strategy import Strategy


class Calm(Strategy):
    \"\"\"Does nothing.\"\"\"

    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {"type": "object", "additionalProperties": False, "properties": {"levels": {"type": "integer"}}}

    def on_tick(self):
        pass
"""
RECORD = """\
id: {id}
strategy_type: calm
account: {{account_id: main, client_id: desk-a}}
market: BTC/USD
mode: {mode}
config: {{levels: {levels}}}
"""
SETTINGS = """\
source: {kind: git, branch: main, remote: origin, fetch_seconds: 1, signatures: {required: true}}
exec_mcp: {practice: {transport: {kind: paper}, accounts: {main: {money: paper}}}}
"""


@dataclass
class Day:
    """`ann` is a signer's clone of `origin`, `engine` the one that an engine was given; `log` is what it says."""

    home: Path
    process: subprocess.Popen[str] | None = None
    reading: threading.Thread | None = None
    page: str = ""
    log: list[str] = field(default_factory=list)

    @property
    def ann(self) -> Path:
        return self.home / "ann"

    @property
    def origin(self) -> Path:
        return self.home / "origin.git"

    def run(self, *command: str, cwd: Path | None = None) -> str:
        done = subprocess.run(
            command, cwd=cwd or self.home, env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr, self.log[-5:])
        return done.stdout.strip()

    @property
    def environ(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "RECONCILER_"))}
        more = {"HOME": str(self.home), "GIT_CONFIG_NOSYSTEM": "1", "RECONCILER_DASHBOARD_PORT": "0"}
        return {**kept, **more}

    def git(self, *words: str) -> str:
        return self.run("git", *words, cwd=self.ann)

    def write(self, id_: str, mode: str = "observe", levels: int = 5) -> None:
        path = self.ann / "instances" / f"{id_}.yaml"
        path.write_text(RECORD.format(id=id_, mode=mode, levels=levels), encoding="utf-8")

    def commit(self, subject: str, *, is_signed: bool = True) -> str:
        self.git("add", "-A")
        self.git("commit", "-q", *(("-S",) if is_signed else ()), "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def push(self, *options: str) -> str:
        self.git("push", "-q", *options, "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    # The engine.

    def start(self) -> None:
        command = (*RECONCILER, "--root", str(self.home / "engine"), "run")
        asked = ("--source", "git", "--branch", "main", "--remote", "origin")
        self.process = subprocess.Popen(
            (*command, *asked), cwd=self.home, env=self.environ, stderr=subprocess.PIPE, text=True
        )
        stderr = self.process.stderr
        assert stderr is not None
        found = threading.Event()

        def read() -> None:
            for line in iter(stderr.readline, ""):
                self.log.append(line)
                if match := re.search(r"page=(http://\S+)", line):
                    self.page = match[1]
                    found.set()

        self.reading = threading.Thread(target=read, daemon=True)
        self.reading.start()
        assert found.wait(120), self.log

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        assert self.process.stderr is not None
        assert self.reading is not None
        self.process.send_signal(how)
        code = self.process.wait(120)
        self.reading.join()
        self.process.stderr.close()
        return code

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.page}{path}", timeout=10) as answer:
            return json.load(answer)

    def source(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("/api/v1/source")
        return found

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"{self.page}/metrics", timeout=10) as answer:
            found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def applied(self) -> str | None:
        applied = self.source()["applied"]
        return None if applied is None else str(applied["commit"])

    def modes(self) -> dict[str, str]:
        return {item["id"]: item["mode"] for item in self.ask("/api/v1/instances")["items"]}

    def until(self, condition: Callable[[], object], what: str) -> None:
        """As long as a busy machine may take; on a free one it is about a second."""
        pause = threading.Event()
        for _ in range(1200):
            if condition():
                return
            pause.wait(0.1)
        raise AssertionError((what, self.source(), self.modes(), self.log[-5:]))


@pytest.fixture
def day(tmp_path: Path) -> Iterator[Day]:
    day = Day(tmp_path)
    day.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key"))
    (tmp_path / ".gitconfig").write_text(
        f"[user]\n\tname = Ann\n\temail = ann@desk.example\n\tsigningkey = {tmp_path}/key\n[gpg]\n\tformat = ssh\n"
        "[init]\n\tdefaultBranch = main\n"
    )
    day.run("git", "init", "-q", "--bare", str(day.origin))
    day.run("git", "init", "-q", str(day.ann))
    day.git("remote", "add", "origin", f"file://{day.origin}")
    for folder in ("instances", "strategies"):
        (day.ann / folder).mkdir()
    (day.ann / "strategies" / "calm.py").write_text(STRATEGY)
    (day.ann / "reconciler.yaml").write_text(SETTINGS)
    public = " ".join((tmp_path / "key.pub").read_text().split()[:2])
    (day.ann / "allowed_signers").write_text(f'ann@desk.example namespaces="git" {public}\n')
    day.write("a", "off")
    day.commit("Begin the fleet")
    day.push()
    day.run("git", "clone", "-q", f"file://{day.origin}", str(tmp_path / "engine"))
    yield day
    if day.process is not None and day.process.poll() is None:
        day.end(signal.SIGKILL)


def test_a_desks_day(day: Day) -> None:
    first = day.git("rev-parse", "HEAD")
    day.start()
    day.until(lambda: day.applied() == first, "the first commit is applied")
    assert day.modes() == {"a": "off"}

    # Proposed and merged, signed: it runs.
    day.git("switch", "-q", "-c", "raise")
    day.write("a", "observe")
    day.write("b")
    day.commit("Observe a and b (#1)\n\nReviewed-by: Bo <bo@desk.example>")
    day.git("switch", "-q", "main")
    day.git("merge", "-q", "--no-ff", "-S", "-m", "Merge pull request #1 from desk/raise", "raise")
    merged = day.push()
    day.until(lambda: day.applied() == merged, "what was merged is applied")
    day.until(lambda: day.modes() == {"a": "observe", "b": "observe"}, "and runs")
    assert day.source()["held"] is None

    # Somebody pushes what nobody signed: it lifts nothing, and lowers.
    day.write("a", "active")
    day.write("b", "off")
    unsigned = day.commit("Trust me", is_signed=False)
    day.push()
    day.until(lambda: day.source()["held"] is not None, "what is not signed is held")
    day.until(lambda: day.modes() == {"a": "observe", "b": "off"}, "it lowers and lifts nothing")
    held = day.source()["held"]
    assert held["commit"] == unsigned
    assert day.metric("reconciler_source_held") == 1
    assert f"commit {unsigned[:12]} is not signed" in held["why"]
    assert day.applied() == merged
    told = json.loads(day.run(*RECONCILER, "--root", str(day.home / "engine"), "source", "--format", "json"))
    assert told["held"]["commit"] == unsigned

    # The branch goes back, and what was meant is merged again, signed. What was lowered comes back with that.
    day.git("reset", "-q", "--hard", merged)
    day.write("a", "active")
    again = day.commit("Let a trade on paper")
    day.push("--force")
    day.until(lambda: day.applied() == again, "a signed commit on what is applied is applied")
    day.until(lambda: day.modes() == {"a": "active", "b": "observe"}, "and says otherwise again")
    assert day.source()["held"] is None

    # History is rewritten: held, until somebody says that it is meant.
    day.git("reset", "-q", "--hard", merged)
    day.write("a", "observe")
    day.write("b", "observe", levels=9)
    moved = day.commit("Another past")
    day.push("--force")
    day.until(lambda: (day.source()["held"] or {}).get("commit") == moved, "a moved branch is held")
    day.until(lambda: day.modes() == {"a": "observe", "b": "observe"}, "and lowers")
    assert day.applied() == again
    accept = ("source", "accept", moved, "--reason", "seen by two")
    day.run(*RECONCILER, "--root", str(day.home / "engine"), *accept)
    day.until(lambda: day.applied() == moved, "what was accepted is applied")
    assert day.source()["held"] is None

    # The remote is away for a while: what is applied stays, and since when is told.
    away = day.origin.with_name("away.git")
    day.origin.rename(away)
    day.until(lambda: day.source()["unreachable_since"] is not None, "the remote does not answer")
    assert (day.applied(), day.modes()) == (moved, {"a": "observe", "b": "observe"})
    day.until(lambda: day.metric("reconciler_source_unreachable_seconds") > 0, "and for how long is measured")
    away.rename(day.origin)
    day.until(lambda: day.source()["unreachable_since"] is None, "it answers again")
    assert (day.metric("reconciler_source_unreachable_seconds"), day.metric("reconciler_source_held")) == (0, 0)

    # Killed, while something is merged: the next start goes on from what was applied.
    day.write("c", "off")
    day.commit("Begin c")
    day.write("c", "observe")
    last = day.commit("Observe c")
    day.push()
    day.end(signal.SIGKILL)
    day.start()
    day.until(lambda: day.applied() == last, "the next engine goes on")
    assert day.modes() == {"a": "observe", "b": "observe", "c": "observe"}
    generations = day.ask("/api/v1/instances/c")
    assert generations["generation"] == 2, "each commit was a change of its own"
    assert day.end(signal.SIGTERM) == 0
