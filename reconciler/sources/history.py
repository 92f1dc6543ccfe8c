"""The history of records, read from git objects alone, and only when somebody asks.

The mainline: the commits that led to another, one after the other, as steps for whoever walks them.

And blame: since which commit each value of a file has been as it is. It is a value that is followed, not a line:
where it stands in the file, how the file is indented, ordered or commented, and which folder it lies in, makes nobody
its author. A merge made only what neither side had.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple, Protocol

from reconciler.documents.document import Document, parse
from reconciler.documents.wording import Path
from reconciler.errors import SourceError
from reconciler.records.admission import too_many
from reconciler.records.snapshot import Snapshot, SourceFile, named_id
from reconciler.records.walk import Step
from reconciler.sources.commit import ListedFile, Objects, source_file
from reconciler.sources.git import Repository
from reconciler.sources.layout import HALT_PATHS, INSTANCES, SETTINGS, STRATEGIES, counts, is_strategy, is_template
from reconciler.sources.raw_commit import LIMIT_BYTES, RawCommit, parsed
from reconciler.sources.worktree import WorktreeOptions
from reconciler.visible import is_printable

_HISTORY_TIMEOUT_S = 120.0
"""How long git may take to go through all commits; some 300,000 take it 10 s."""
_FILE_BYTES: Final = 256 * 1024 + 1
_TIMEOUT_S: Final = 120.0
_MOVES: Final = 20
"""So many moves of one file are followed."""
_ABSENT: Final = object()


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
        self._before = before

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


def _moments(
    changes: Iterable[Changed], before: Mapping[str, str] | None, names: frozenset[str] | None
) -> Iterator[_Moment]:
    """Those of the commits that matter to `names`, or all of them. Each is judged by itself: what was held before it is
    none of its removals."""
    records: dict[str, dict[str, str]] = {}
    shared: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for path, blob_id in (before or {}).items():
        _take(records, shared, path, blob_id)
    strategies, templates = (tuple(sorted(one.items())) for one in shared)
    is_first, settings = before is None, (before or {}).get(SETTINGS, "")  # what leads on from a commit begins nothing
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


class Blame:
    """The past of files as of `tip`, a commit. Not thread-safe."""

    def __init__(self, repository: Repository, tip: str) -> None:
        self._repository = repository
        self.tip = tip

    def of(self, path: str, values: Mapping[Path, Any]) -> dict[Path, RawCommit]:
        """For each value of the file at `path`, from the fleet's root, the commit that made it what it is.

        Left out are those that the file does not have so at the tip: they are not committed. Raises SourceError.
        """
        found: dict[Path, str] = {}
        left, at, where = dict(values), self.tip, path
        for _ in range(_MOVES):
            past = self._past(where, at)
            met = {pointer: past.met(pointer, value) for pointer, value in left.items()}
            moved = {pointer: commit for pointer, commit in met.items() if commit is not None and past.adds(commit)}
            found |= {pointer: commit for pointer, commit in met.items() if commit is not None}
            before = self._before(where, moved.values())
            if before is None:
                break
            came, at, where = before
            left = {pointer: left[pointer] for pointer, commit in moved.items() if commit == came}
        commits = self._commits(frozenset(found.values()))
        return {pointer: commits[commit] for pointer, commit in found.items()}

    def blob(self, blob_id: str) -> bytes | None:
        """The first bytes of a blob, more than a file of the fleet may have; None where it is not in the repository."""
        with self._repository.git.blobs() as objects:
            return next((data for _, data in objects.read([blob_id], _FILE_BYTES)), None)

    def _past(self, path: str, tip: str) -> _Past:
        place = self._place(path)
        asked = ("rev-list", "--parents", "--topo-order", tip, "--", place)
        listed = [line.split() for line in self._repository.git.text(*asked, timeout_s=_TIMEOUT_S).splitlines()]
        parents = {commit: tuple(others) for commit, *others in listed}
        texts: dict[str, bytes | None] = {}
        with self._repository.git.blobs() as objects:
            for name, data in objects.read([f"{commit}:{place}" for commit in parents], _FILE_BYTES):
                texts[name.partition(":")[0]] = data
        return _Past(parents, {commit: _values(data, path) for commit, data in texts.items()})

    def _before(self, path: str, adding: Collection[str]) -> tuple[str, str, str] | None:
        """The commit that moved a file to `path`, one of `adding`; its parent, and what the file's path was there.

        A record's name stays when it moves; a template may get another one, as far as git finds it alike.
        """
        for commit in dict.fromkeys(adding):
            raw = self._commits([commit])[commit]
            if not raw.parents:
                continue
            for was, now in self._moves(raw.parents[0], commit):
                is_same_record = not is_template(path) and named_id(was) == named_id(path) and not is_template(was)
                if now == path if is_template(path) else is_same_record:
                    return commit, raw.parents[0], was
        return None

    def _moves(self, before: str, after: str) -> Iterator[tuple[str, str]]:
        """Paths from the fleet's root that are gone, each with the one that git thinks it became, if any."""
        folder = posixpath.dirname(self._place("instances/x"))
        asked = ("diff-tree", "-r", "-M", "--name-status", "--diff-filter=DR", "-z", before, after, "--", folder)
        told = iter(self._repository.git.text(*asked).split("\0"))
        for status in told:
            if status:
                was = next(told)
                now = next(told) if status.startswith("R") else ""
                yield self._home(was), self._home(now)

    def _place(self, path: str) -> str:
        return self._repository.place(path)

    def _home(self, place: str) -> str:
        """The path from the fleet's root of a place in `instances/`."""
        folder = posixpath.dirname(self._place("instances/x"))
        return f"instances{place.removeprefix(folder)}" if place else ""

    def _commits(self, ids: Collection[str]) -> dict[str, RawCommit]:
        found: dict[str, RawCommit] = {}
        with self._repository.git.blobs() as objects:
            for commit, data in objects.read(tuple(ids), LIMIT_BYTES + 1):
                if data is None:
                    raise SourceError(f"commit {commit[:12]} is missing; run `git fsck`, and fetch it again")
                found[commit] = parsed(commit, data)
        return found


@dataclass(frozen=True, slots=True)
class _Past:
    """The commits that changed one file, the newest first, each with those of them that led to it, and what the file
    then held; None where it was not there, or could not be read."""

    parents: Mapping[str, Sequence[str]]
    values: Mapping[str, Any]

    def met(self, pointer: Path, value: Any) -> str | None:
        """The commit that made the value what it is; None where the newest has another, or none."""
        at = next(iter(self.parents), None)
        wanted = _written(value)
        if at is None or self._at(at, pointer) != wanted:
            return None
        while True:
            before = next((one for one in self.parents[at] if self._at(one, pointer) == wanted), None)
            if before is None:
                return at
            at = before

    def adds(self, commit: str) -> bool:
        """Whether no commit before it had the file."""
        return all(self.values.get(one) is None for one in self.parents[commit])

    def _at(self, commit: str, pointer: Path) -> str | None:
        value = self.values.get(commit)
        for step in pointer:
            value = value.get(step, _ABSENT) if isinstance(value, dict) else _ABSENT
        return None if value is _ABSENT else _written(value)


def _values(data: bytes | None, path: str) -> Any:
    document = None if data is None else parse(data, path)
    return document.values if isinstance(document, Document) else None


def _written(value: Any) -> str:
    """The same text for the same value alone: 1, 1.0 and true are three, as a reader of the file sees it."""
    return json.dumps(value, sort_keys=True, default=str)
