"""The history of records: the commits that led to another, one after the other, as steps for whoever walks them.

Read from git objects alone, and only when somebody asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final, NamedTuple, Protocol

from reconciler.records.admission import too_many
from reconciler.records.snapshot import Snapshot, SourceFile, named_id
from reconciler.records.walk import Step
from reconciler.sources.commit import ListedFile, Objects, source_file
from reconciler.sources.git import Repository
from reconciler.sources.layout import HALT_PATHS, INSTANCES, SETTINGS, STRATEGIES, counts, is_strategy, is_template
from reconciler.sources.worktree import WorktreeOptions
from reconciler.visible import is_printable

_HISTORY_TIMEOUT_S = 120.0
"""How long git may take to go through all commits; some 300,000 take it 10 s."""


class Changed(NamedTuple):
    """What one commit changed: path → blob id of the files that it wrote, the empty id where it removed one, or made it
    anything but a plain file. `is_plain`: nothing of it is or was a link or a submodule."""

    commit: str
    files: Mapping[str, str]
    is_plain: bool


def _changed(told: str) -> Iterator[Changed]:
    """Of what `git log --format=%H --raw -z` says: those with any change."""
    parts = iter(told.split("\0"))
    files: dict[str, str] = {}
    commit, is_plain = "", True
    for part in parts:
        about = part.strip("\n")
        if about.startswith(":"):
            was, mode, _, blob_id, _ = about.split()
            files[next(parts)] = blob_id if mode.startswith("100") else ""
            is_plain = is_plain and {was[1:4], mode[:3]} <= {"000", "100"}
        elif about:
            if files:
                yield Changed(commit, files, is_plain)
            commit, files, is_plain = about, {}, True
    if files:
        yield Changed(commit, files, is_plain)


def changes(repository: Repository, commit: str, since: str = "") -> Iterator[Changed]:
    """Each commit that led to this one, after `since`, and changed the fleet, the oldest first.

    Goes along first parents, the way a branch itself went: a merge is one change. Raises SourceError.
    """
    how = ("--reverse", "--first-parent", "-m", "--no-follow", "--no-show-signature", "--format=%H")
    asked = ("log", *how, *_raw(repository), f"{since}..{commit}" if since else commit, "--", *_wanted(repository))
    return _changed(repository.git.text(*asked, timeout_s=_HISTORY_TIMEOUT_S))


def leap(repository: Repository, before: str, after: str) -> Changed:
    """What differs from one commit to another, whichever parents they have. Raises SourceError."""
    told = repository.git.text("diff-tree", "-r", *_raw(repository), before, after, "--", *_wanted(repository))
    return next(iter(_changed(f"{after}\0{told}")), Changed(after, {}, True))


def _raw(repository: Repository) -> tuple[str, ...]:
    return ("--no-renames", "--raw", "--no-abbrev", f"--relative={repository.where.prefix}", "-z")


def _wanted(repository: Repository) -> tuple[str, ...]:
    return tuple(f"{repository.where.prefix}{path}" for path in (INSTANCES, STRATEGIES, SETTINGS))


class Past(Protocol):
    def steps(self, names: Collection[str]) -> Sequence[Step]:
        """The commits that mattered to any record of these names, the oldest first. Raises SourceError."""


@dataclass(frozen=True, slots=True)
class Told:
    """A past that is at hand."""

    told: Sequence[Step] = ()

    def steps(self, names: Collection[str]) -> Sequence[Step]:
        return self.told


NO_PAST: Final = Told()


class History:
    """What led to a commit, along first parents: a merge is one change, as it is to an engine that follows a branch."""

    def __init__(
        self,
        repository: Repository,
        changes: str | Sequence[Changed],
        snapshot: Snapshot,
        options: WorktreeOptions,
        before: Mapping[str, str] | None = None,
    ) -> None:
        """`changes` are the commit, of which all is told that led there; or what led there from a commit, the plain
        files of which are `before`: path → blob id. Bytes that `snapshot` has are not read again."""
        self._repository = repository
        self._changes = changes
        self._snapshot = snapshot
        self._options = options
        self._before = before or {}

    def steps(self, names: Collection[str]) -> Sequence[Step]:
        return self._steps(frozenset(names)) if names else ()

    def all_steps(self) -> Sequence[Step]:
        """Every commit of it, also those that changed nothing here."""
        return self._steps(None)

    def _steps(self, names: frozenset[str] | None) -> Sequence[Step]:
        told = changes(self._repository, self._changes) if isinstance(self._changes, str) else self._changes
        moments = tuple(_moments(told, self._before, names))
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
                data[moment.settings] if moment.settings else None,
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
    settings: str

    def blobs(self) -> Iterator[tuple[str, str]]:
        for listed in self.files.values():
            yield from listed
        yield from self.strategies
        yield from self.templates
        if self.settings:
            yield SETTINGS, self.settings


def removed_by(gone: Collection[str], live: int) -> frozenset[str]:
    """Those of the names that one commit took away, of so many, that really go: none where they are too many at once,
    which an engine holds until somebody confirms them."""
    return frozenset() if too_many(len(gone), live) else frozenset(gone)


def _moments(changes: Iterable[Changed], before: Mapping[str, str], names: frozenset[str] | None) -> Iterator[_Moment]:
    """Those of the commits that matter to `names`, or all of them. Each is judged by itself: what was held before it is
    none of its removals."""
    records: dict[str, dict[str, str]] = {}
    shared: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for path, blob_id in before.items():
        _take(records, shared, path, blob_id)
    strategies, templates = (tuple(sorted(one.items())) for one in shared)
    is_first, settings = not records, before.get(SETTINGS, "")
    for commit, changed, _ in changes:
        live, there = len(records), records.keys() & map(named_id, changed)
        touched = {name for path, blob_id in changed.items() if (name := _take(records, shared, path, blob_id))}
        gone = {name for name in there if not records[name]}
        for name in touched:
            if not records[name]:
                del records[name]
        are_new = changed.get(SETTINGS, settings) != settings
        settings = changed.get(SETTINGS, settings)
        are_new |= tuple(tuple(sorted(one.items())) for one in shared) != (strategies, templates)
        if are_new:
            strategies, templates = (tuple(sorted(one.items())) for one in shared)
        mine = touched if names is None else touched & names
        if mine or are_new or names is None:
            files = {name: tuple(sorted(records.get(name, {}).items())) for name in sorted(mine)}
            yield _Moment(commit, files, removed_by(gone, live) & mine, strategies, templates, is_first, settings)
        is_first = is_first and not touched


def _take(
    records: dict[str, dict[str, str]], shared: tuple[dict[str, str], dict[str, str]], path: str, blob_id: str
) -> str:
    """Put what stands at `path` now where it belongs. Returns the name of the record that it is, if it is one."""
    if not is_printable(path) or not counts(path) or path in HALT_PATHS:
        return ""
    if is_strategy(path) or is_template(path):
        _put(shared[0] if is_strategy(path) else shared[1], path, blob_id)
        return ""
    name = named_id(path)
    _put(records.setdefault(name, {}), path, blob_id)
    return name


def _put(files: dict[str, str], path: str, blob_id: str) -> None:
    if blob_id:
        files[path] = blob_id
    else:
        files.pop(path, None)
