"""Blame: since which commit each value of a file has been as it is. Read from git objects, only when somebody asks.

It is a value that is followed, not a line: where it stands in the file, how the file is indented, ordered or commented,
and which folder it lies in, makes nobody its author. A merge made only what neither side had.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.documents.document import Document, parse
from reconciler.documents.wording import Path
from reconciler.errors import SourceError
from reconciler.records.snapshot import named_id
from reconciler.sources.git import Repository
from reconciler.sources.layout import is_template
from reconciler.sources.raw_commit import LIMIT_BYTES, RawCommit, parsed

_FILE_BYTES: Final = 256 * 1024 + 1
_TIMEOUT_S: Final = 120.0
_MOVES: Final = 20
"""So many moves of one file are followed."""
_ABSENT: Final = object()


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
