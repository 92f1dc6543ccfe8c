"""The history of records: the commits that led to a base, one after the other, as an engine that follows it saw them.

Read from git objects alone, and only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol

from reconciler.records.admission import too_many
from reconciler.records.snapshot import Snapshot, SourceFile, named_id
from reconciler.sources.commit import ListedFile, Objects, source_file
from reconciler.sources.git import Repository
from reconciler.sources.layout import HALT_PATHS, counts, is_strategy, is_template
from reconciler.sources.worktree import WorktreeOptions
from reconciler.visible import is_printable


@dataclass(frozen=True, slots=True)
class Step:
    """What one commit did to the records asked for.

    `files` are those of each name that it touched: all that then had the name, none where it took them away.
    `removed` are names whose removal an engine then carries out: not of too many at once, which it holds, but later,
    once few enough are left. `strategies` and `templates` are the files of that moment. `is_first`: no commit before
    it held any record.
    """

    commit: str
    files: Mapping[str, tuple[SourceFile, ...]]
    removed: frozenset[str] = frozenset()
    strategies: tuple[SourceFile, ...] = ()
    templates: tuple[SourceFile, ...] = ()
    is_first: bool = False


class Past(Protocol):
    def steps(self, names: Collection[str]) -> Sequence[Step]:
        """The commits that changed any record of these names, the oldest first. Raises SourceError."""


@dataclass(frozen=True, slots=True)
class Told:
    """A past that is at hand."""

    told: Sequence[Step] = ()

    def steps(self, names: Collection[str]) -> Sequence[Step]:
        return self.told


NO_PAST: Final = Told()


class History:
    """What led to `commit`, along first parents: a merge is one change, as it is to an engine that follows a branch."""

    def __init__(self, repository: Repository, commit: str, snapshot: Snapshot, options: WorktreeOptions) -> None:
        self._repository = repository
        self._commit = commit
        self._snapshot = snapshot
        self._options = options

    def steps(self, names: Collection[str]) -> Sequence[Step]:
        if not names:
            return ()
        moments = tuple(_moments(self._repository.changes(self._commit), frozenset(names)))
        wanted = {blob_id: path for moment in moments for path, blob_id in moment.blobs()}
        limit_bytes = max(self._options.instance_limit_bytes, self._options.strategy_limit_bytes) + 1
        with self._repository.git.blobs() as blobs:
            data = Objects(blobs, self._snapshot).read(wanted, limit_bytes)

        @cache
        def file(path: str, blob_id: str) -> SourceFile:
            return source_file(ListedFile(path, blob_id), data, self._options)

        @cache
        def files(listed: _Listed) -> tuple[SourceFile, ...]:
            return tuple(file(*one) for one in listed)

        return tuple(
            Step(
                moment.commit,
                {name: files(listed) for name, listed in moment.files.items()},
                moment.removed,
                files(moment.strategies),
                files(moment.templates),
                moment.is_first,
            )
            for moment in moments
        )


_Listed = tuple[tuple[str, str], ...]
"""Paths with their blob ids."""


@dataclass(frozen=True, slots=True)
class _Moment:
    """A step by blob ids, before anything is read."""

    commit: str
    files: Mapping[str, _Listed]
    removed: frozenset[str]
    strategies: _Listed
    templates: _Listed
    is_first: bool

    def blobs(self) -> Iterator[tuple[str, str]]:
        for listed in self.files.values():
            yield from listed
        yield from self.strategies
        yield from self.templates


def _moments(changes: Iterable[tuple[str, Mapping[str, str]]], names: frozenset[str]) -> Iterator[_Moment]:
    """Those of the commits that matter to `names`. Too many removals at once are held, as an engine holds them, until
    so many of the files are back that the rest are few enough."""
    records: dict[str, dict[str, str]] = {}
    held: set[str] = set()
    strategies: dict[str, str] = {}
    templates: dict[str, str] = {}
    is_first = True
    for commit, changed in changes:
        live = len(records) + len(held)
        touched: set[str] = set()
        for path, blob_id in changed.items():
            if not is_printable(path) or not counts(path) or path in HALT_PATHS:
                continue
            if is_strategy(path) or is_template(path):
                _put(strategies if is_strategy(path) else templates, path, blob_id)
            else:
                name = named_id(path)
                touched.add(name)
                _put(records.setdefault(name, {}), path, blob_id)
        gone = {name for name in touched if not records[name]}
        for name in gone:
            del records[name]
        held = (held | gone) - records.keys()
        removed = frozenset() if too_many(len(held), live) else frozenset(held)
        held -= removed
        if not names.isdisjoint(touched | removed):
            files = {name: tuple(sorted(records.get(name, {}).items())) for name in sorted(touched & names)}
            yield _Moment(
                commit,
                files,
                removed & names,
                tuple(sorted(strategies.items())),
                tuple(sorted(templates.items())),
                is_first,
            )
        is_first = is_first and not touched


def _put(files: dict[str, str], path: str, blob_id: str) -> None:
    if blob_id:
        files[path] = blob_id
    else:
        files.pop(path, None)
