"""A desk's day in real repositories: merge, force-push, hold, accept, an outage of the forge, a kill, a restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reconciler.cli.place import Engine, NoEngine
from tests.control.conftest import PROBE

SETTINGS = """\
source: {kind: git, branch: main, remote: origin, fetch_seconds: 1}
dashboard: {port: 0}
heartbeat_seconds: 1
"""
RECORD = """\
id: {name}
strategy_type: probe
account: {{account_id: main, client_id: desk}}
market: EUR/USD
mode: {mode}
config: {{}}
"""


class Desk:
    """A clone in which somebody works, the bare forge it pushes to, and the bare clone that an engine follows."""

    def __init__(self, folder: Path) -> None:
        self.forge, self.clone, self.engine = folder / "forge.git", folder / "clone", folder / "engine.git"
        self.git(folder, "init", "-q", "--bare", "-b", "main", str(self.forge))
        self.git(folder, "clone", "-q", str(self.forge), str(self.clone))
        for name in ("instances", "strategies"):
            (self.clone / name).mkdir()
        (self.clone / "strategies" / "probe.py").write_text(PROBE)
        (self.clone / "reconciler.yaml").write_text(SETTINGS)
        self.write("a", "off")
        self.push("Begin")
        self.git(folder, "clone", "-q", "--bare", f"file://{self.forge}", str(self.engine))

    def git(self, folder: Path, *arguments: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "init.defaultBranch=main")
        done = subprocess.run(("git", *identity, *arguments), cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def write(self, name: str, mode: str) -> None:
        (self.clone / "instances" / f"{name}.yaml").write_text(RECORD.format(name=name, mode=mode))

    def push(self, subject: str, *options: str) -> str:
        self.git(self.clone, "add", "-A")
        self.git(self.clone, "commit", "-q", "--allow-empty", "-m", subject)
        self.git(self.clone, "push", "-q", *options, "origin", "HEAD:main")
        return self.git(self.clone, "rev-parse", "HEAD")

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        command = (sys.executable, "-m", "reconciler", "--root", str(self.engine), "run", "--source", "git")
        with subprocess.Popen((*command, "--remote", "origin"), stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.terminate()

    @property
    def socket(self) -> Engine:
        return Engine(self.engine / ".reconciler" / "control.sock")

    def until(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until what is told of the source is so."""
        pause, found = threading.Event(), dict[str, Any]()
        for _ in range(1200):
            with suppress(NoEngine):
                found = self.socket.get("/api/v1/source")
            if found and holds(found):
                return found
            pause.wait(0.05)
        raise AssertionError(f"waited in vain, the last that was told: {found}")

    def until_modes(self, **wanted: str) -> None:
        """The database may know more than the engine shows yet."""

        def is_so(found: dict[str, Any]) -> bool:
            return {one["id"]: one["mode"] for one in self.socket.items("/api/v1/instances")} == wanted

        self.until(is_so)


def test_a_desk_s_day(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with desk.running() as process:
        desk.until(lambda found: found["applied"])
        # a proposal is merged
        desk.git(desk.clone, "switch", "-q", "-c", "raise-a")
        desk.write("a", "observe")
        desk.git(desk.clone, "commit", "-q", "-am", "Observe a")
        desk.git(desk.clone, "switch", "-q", "main")
        desk.git(desk.clone, "merge", "-q", "--no-ff", "-m", "Merge pull request #7 from ada/raise-a", "raise-a")
        merged = desk.push("Nothing more")
        found = desk.until(lambda found: found["applied"]["commit"] == merged)
        assert (found["branch"], found["remote"], found["applied"]["author"]) == ("main", "origin", "Ada")
        desk.until_modes(a="observe")
        # somebody rewrites the branch: it is held, and only what is lower counts
        desk.git(desk.clone, "reset", "-q", "--hard", "HEAD~2")
        desk.write("b", "observe")
        rewritten = desk.push("Rewritten", "--force")
        found = desk.until(lambda found: found["held"])
        assert (found["applied"]["commit"], found["held"]["commit"]) == (merged, rewritten)
        assert "does not descend" in found["held"]["why"]
        desk.until_modes(a="off")
        # somebody looked, and accepts it
        desk.socket.post("/v1/source/accept", {"commit": rewritten, "reason": "looked at it"})
        desk.until(lambda found: found["applied"]["commit"] == rewritten and not found["held"])
        desk.until_modes(a="off", b="observe")
        # the forge is gone, and the engine is killed
        desk.forge.rename(tmp_path / "away.git")
        desk.until(lambda found: found["unreachable_since"])
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (tmp_path / "away.git").rename(desk.forge)
    desk.write("b", "active")
    desk.push("Raise b")
    desk.write("c", "observe")
    last = desk.push("Observe c")
    with desk.running():
        desk.until(lambda found: found["applied"]["commit"] == last and not found["unreachable_since"])
        desk.until_modes(a="off", b="active", c="observe")
        history = desk.socket.get("/api/v1/instances/b")["history"]
        assert [(one["mode"], one["change"]["subject"]) for one in history] == [
            ("active", "Raise b"),
            ("observe", "Rewritten"),
        ]
    assert not (desk.engine / "instances").exists()
