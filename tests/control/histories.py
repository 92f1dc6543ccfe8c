"""Histories of a fleet, written into a repository at once, and engines that follow it without running anything."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from reconciler.clock import FakeClock
from reconciler.control.follower import Follower
from reconciler.control.trail import Trail, judging
from reconciler.errors import StoreError
from reconciler.records.accounts import Accounts
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.records.followed import Pinned
from reconciler.sources.branch import Branch
from reconciler.store.store import Store
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.importing import CODE_LOADING, Importing, Key
from reconciler.strategy.module_loading import Version, load_all

Files = Mapping[str, str]
"""Path → text of all files of a commit."""

STRATEGY = '''
from reconciler.strategy import Strategy

class Probe(Strategy):
    """Does nothing."""
    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {"type": "object", "properties": {"KEY": {"type": "integer", "default": 5}},
                     "additionalProperties": False}

    def on_tick(self):
        pass
'''


@dataclass
class Written:
    """A commit to be: all its files, its first parent by number, and what it merges."""

    files: Files
    parent: int | None
    merges: Sequence[int] = ()


@dataclass
class Repository:
    """A bare one, made by one run of git."""

    root: Path
    commits: list[str] = field(default_factory=list)

    def write(self, commits: Sequence[Written]) -> None:
        """Write them all. `commits` then has their ids, in this order."""
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(self.root)], check=True)
        told: list[bytes] = []
        for number, commit in enumerate(commits):
            message = f"Change {number}"
            told.append(f"commit refs/scratch/{number}\nmark :{number + 1}\n".encode())
            told.append(f"committer T <t@example.com> {1_700_000_000 + number} +0000\n".encode())
            told.append(f"data {len(message)}\n{message}\n".encode())
            if commit.parent is not None:
                told.append(f"from :{commit.parent + 1}\n".encode())
            told += [f"merge :{one + 1}\n".encode() for one in commit.merges]
            told.append(b"deleteall\n")
            for path, text in commit.files.items():
                data = text.encode()
                told.append(f"M 100644 inline {path}\ndata {len(data)}\n".encode() + data + b"\n")
        marks = self.root / "marks"
        subprocess.run(
            ["git", "fast-import", "--quiet", "--force", f"--export-marks={marks}"],
            cwd=self.root,
            input=b"".join(told),
            check=True,
        )
        found = dict(line.split() for line in marks.read_text().splitlines())
        self.commits = [found[f":{number + 1}"] for number in range(len(commits))]

    def move(self, commit: str | None) -> None:
        """Have the branch there, or nowhere."""
        ref = self.root / "refs" / "heads" / "main"
        if commit is None:
            ref.unlink(missing_ok=True)
        else:
            ref.write_text(f"{commit}\n")


class NothingRuns:
    """A host without instances."""

    def views(self) -> Mapping[str, Any]:
        return {}

    def settle(self) -> None: ...
    def set_mode(self, instance_id: str, mode: Any) -> None: ...


class LateImports:
    """An importer with which each version is there only after some looks, as chance has it."""

    is_busy = False

    def __init__(self, chance: Random, most: int) -> None:
        self._chance, self._most = chance, most
        self._waits: dict[Key, int] = {}
        self._versions: dict[Key, Version] = {}

    @property
    def has_news(self) -> bool:
        """So that each look counts."""
        return bool(self._waits)

    def want(self, versions: Iterable[Version]) -> None:
        self._versions = {(one.strategy_type, one.digest): one for one in versions}
        self._waits = {key: self._waits.get(key, self._chance.randint(0, self._most)) for key in self._versions}

    def settle(self, within_s: float) -> None: ...

    def take(self) -> dict[Key, Any]:
        self._waits = {key: looks - 1 for key, looks in self._waits.items()}
        ready = [key for key, looks in self._waits.items() if looks < 0]
        for key in ready:
            del self._waits[key]
        return dict(zip(ready, load_all([self._versions[key] for key in ready], deadline_s=30), strict=True))

    def state(self, key: Key) -> Importing | None:
        return Importing(CODE_LOADING, "it is being imported") if key in self._waits else None


class Engine:
    """Follows the repository; what it has written outlives it, in `store`. `late`: code comes late, as it decides."""

    def __init__(
        self,
        repository: Repository,
        store: Store | None = None,
        clock: FakeClock | None = None,
        late: Random | None = None,
    ) -> None:
        clock = clock or FakeClock()
        self._late = late
        self.store = store or Store.in_memory(clock)
        self.repository = repository
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """A process that knows nothing but what is stored."""
        judged, accounts, root = EvaluationCache(), Accounts(), self.repository.root
        trail = Trail(
            Branch(root, "main", None, self._clock),
            self.store.following,
            judging(accounts),
            Pinned("git", None, "main"),
        )
        self.follower = Follower(
            trail,
            self._clock,
            Catalogue(importer=None if self._late is None else LateImports(self._late, 3)),  # type: ignore[arg-type]
            lambda snapshot, catalogue: evaluate_all(
                snapshot.instances, snapshot.templates, catalogue.facts, accounts, catalogue.types(), judged
            ),
            self.store,
            NothingRuns(),
            False,
        )

    def see(self, commit: str | None) -> None:
        """Look once the branch is there."""
        self.repository.move(commit)
        self.follower.observe()

    def look_until_all_code_is_there(self) -> None:
        for _ in range(50):
            self.follower.observe()

    def killed_while_it_writes(self, commit: str) -> None:
        """It sees the commit, and dies before what it writes is committed."""

        def dies(*_: object, **__: object) -> None:
            raise StoreError("killed")

        self.repository.move(commit)
        desired: Any = self.store.desired
        applied, desired.apply = desired.apply, dies
        try:
            self.follower.observe()
        except StoreError:
            pass
        finally:
            desired.apply = applied
        self.begin()

    def outcome(self) -> dict[str, Any]:
        """Rows, history and attempts, but for when they were written; of attempts, neither as of which commit."""
        reads = self.store.desired._reads
        rows = reads.query("SELECT * FROM instances ORDER BY id")
        generations = reads.query("SELECT * FROM generations ORDER BY instance_id, id")
        attempts = reads.query("SELECT * FROM attempts ORDER BY path")
        return {
            "rows": [_timeless(row) for row in rows],
            "generations": [_timeless(row) for row in generations],
            "attempts": [{**_timeless(row), "revision": None} for row in attempts],
        }


def _timeless(row: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in row.items() if key not in ("at", "applied_at")}
    told.pop("id" if "instance_id" in told else "", None)
    return told | ({"removed_at": told["removed_at"] is not None} if "removed_at" in told else {})


def record(
    name: str, mode: str = "observe", *, config: str = "{}", market: str = "EUR/USD", more: str = "", id: str = ""
) -> str:
    account = "{account_id: main, client_id: desk}"
    return (
        f"id: {id or name}\nstrategy_type: probe\naccount: {account}\n"
        f"market: {market}\nmode: {mode}\nconfig: {config}\n{more}"
    )
