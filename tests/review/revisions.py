"""Snapshots of a fleet at several revisions, made from texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from reconciler.records.accounts import Accounts
from reconciler.records.snapshot import Snapshot, SourceFile, named_id
from reconciler.records.walk import Step
from reconciler.review.plan.comparison import Comparison, compare_revisions
from reconciler.sources.compared import Base
from reconciler.sources.git import GitFacts
from reconciler.sources.history import Told
from reconciler.sources.layout import parts
from reconciler.strategy.catalogue import Catalogue

COMMIT = "c0ffee" + "0" * 34
STRATEGY = """\
from reconciler.strategy import Strategy


class Drift(Strategy):
    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {"type": "object", "properties": {"levels": {"type": "integer", "default": 3}}}

    def on_tick(self):
        pass
"""

Files = Mapping[str, str]


def record(id: str = "a", mode: str = "observe", *, market: str = "BTC/USD", config: str = "{}", more: str = "") -> str:
    """The text of a record; its mode is at 5:7, its market at 4:9."""
    account = "{account_id: main, client_id: desk}"
    return (
        f"id: {id}\nstrategy_type: drift\naccount: {account}\nmarket: {market}\nmode: {mode}\nconfig: {config}\n{more}"
    )


def records(*ids: str, mode: str = "observe") -> dict[str, str]:
    return {f"instances/{id}.yaml": record(id, mode) for id in ids}


def source(path: str, text: str, *, committed: bool = True) -> SourceFile:
    data = text.encode("utf-8", "surrogateescape")
    return SourceFile(path, data, GitFacts().blob_id(data), committed)


def revision(files: Files, known: Snapshot | None = None) -> Snapshot:
    """A snapshot of these files beside the strategy `drift`; those that `known` has alike are the same objects."""
    at_hand = {} if known is None else {f.path: f for f in (*known.instances, *known.templates, *known.strategies)}
    made = [source(path, text) for path, text in {"strategies/drift.py": STRATEGY, **files}.items()]
    found = parts(at_hand[f.path] if at_hand.get(f.path) == f else f for f in made)
    return Snapshot(
        instances=tuple(found.instances),
        templates=tuple(found.templates),
        strategies=tuple(found.strategies),
        halt=found.halt,
        revision=COMMIT,
        clean=True,
        whole=True,
    )


def base_of(files: Files, former: Files | None = None, known: Snapshot | None = None) -> Base:
    """A base with a history of two commits: all files, and `former`, which the second removes."""
    before = revision({**files, **(former or {})}, known)
    founded = step(before, *before.instances, is_first=True)
    gone = [named_id(path) for path in former or ()]
    removed = Step(COMMIT, dict.fromkeys(gone, ()), frozenset(gone))
    return Base("main", COMMIT, revision(files, known), Told((founded, removed)))


def base_after(*commits: Mapping[str, str | None]) -> Base:
    """A base with a history of these commits, each of which writes files, or removes them (None)."""
    files: dict[str, str] = {}
    steps: list[Step] = []
    for commit in commits:
        files = {path: text for path, text in {**files, **commit}.items() if text is not None}
        now = revision(files)
        touched = [file for file in now.instances if file.path in commit]
        made = step(now, *touched, is_first=not steps)
        gone = [named_id(path) for path, text in commit.items() if text is None]
        steps.append(replace(made, files={**made.files, **dict.fromkeys(gone, ())}, removed=frozenset(gone)))
    return Base("main", COMMIT, now, Told(steps))


def step(now: Snapshot, *touched: SourceFile, is_first: bool = False) -> Step:
    files: dict[str, tuple[SourceFile, ...]] = {}
    for file in touched:
        files[named_id(file.path)] = (*files.get(named_id(file.path), ()), file)
    return Step(COMMIT, files, frozenset(), now.strategies, now.templates, is_first)


def compared(before: Files, now: Files, former: Files | None = None) -> Comparison:
    """The files of now against those of before; `former` are records that were removed earlier."""
    head = revision(now)
    return against(base_of(before, former, head), head)


def against(base: Base, head: Snapshot) -> Comparison:
    return compare_revisions(base, Accounts(), head, Accounts(), Catalogue())
