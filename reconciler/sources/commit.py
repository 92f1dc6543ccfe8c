"""The snapshot of one commit, read from git objects: nothing is checked out, and no bytes at hand are read again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.errors import SourceError
from reconciler.records.snapshot import NO_RECORD, Snapshot, SourceFile
from reconciler.sources.command import WHOLE_CLONE, Blobs
from reconciler.sources.folder import DEPTH_LIMIT
from reconciler.sources.git import Tree, id_of_blob
from reconciler.sources.layout import INSTANCE_RULES, INSTANCES, STRATEGIES, STRATEGY_RULES, Rules, is_strategy, parts
from reconciler.sources.worktree import WorktreeOptions
from reconciler.visible import is_printable

_LINKS_LIMIT = 40
"""So many links may be followed on one way, as on Linux."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """What stands at `path`, relative to the fleet's root: a blob, or the reason why there is none to read."""

    path: str
    blob_id: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class _File:
    blob_id: str


@dataclass(frozen=True, slots=True)
class _Link:
    text: str


class _Submodule:
    """A folder whose files lie in another repository."""


_Folder = dict[str, "_Entry"]
_Entry = _Folder | _File | _Link | _Submodule


@dataclass(frozen=True, slots=True)
class _Place:
    """A folder of the walk: the way to it by name, the real way, and itself with all folders around it, by identity."""

    path: str
    real: tuple[str, ...]
    folder: _Folder
    around: frozenset[int]


@dataclass(slots=True)
class Listing:
    """The walk over one commit. `links` maps each link's blob to what it says. Submodules hold nothing here."""

    tree: Tree
    links: Mapping[str, str]
    _root: _Folder = field(default_factory=dict)

    def __iter__(self) -> Iterator[ListedFile]:
        self._root = _grown(self.tree, self.links)
        yield from self._top(INSTANCES, INSTANCE_RULES)
        yield from self._top(STRATEGIES, STRATEGY_RULES)

    def _top(self, name: str, rules: Rules) -> Iterator[ListedFile]:
        match self._root.get(name):
            case dict() as folder:
                yield from self._walk(_Place(name, (name,), folder, frozenset({id(folder)})), rules)
            case _Link():
                yield ListedFile(name, error="is a link; expected a folder")
            case _File():
                yield ListedFile(name, error="expected a folder, was a file")
            case _Submodule() | None:
                pass

    def _walk(self, place: _Place, rules: Rules) -> Iterator[ListedFile]:
        for name, entry in place.folder.items():
            path = f"{place.path}/{name}"
            takes, opened = rules.takes(name), rules.opens(name)
            if not takes and rules.strangers(name) and self._is_file(place.real, entry):
                yield _refused(path, NO_RECORD)
                continue
            if not takes and opened is None:
                continue
            real = (*place.real, name)
            if isinstance(entry, _Link):
                found = self._follow(place.real, entry)
                if isinstance(found, str):
                    if takes:
                        yield _refused(path, found)
                    continue
                real, entry = found
            if takes:
                yield _taken(path, entry)
            elif isinstance(entry, dict) and opened is not None:
                yield from self._enter(_Place(path, real, entry, place.around), opened)

    def _is_file(self, start: tuple[str, ...], entry: _Entry) -> bool:
        found = self._follow(start, entry) if isinstance(entry, _Link) else ((), entry)
        return not isinstance(found, str) and isinstance(found[1], _File)

    def _enter(self, place: _Place, rules: Rules) -> Iterator[ListedFile]:
        if id(place.folder) in place.around:
            yield _refused(place.path, "could not be read: a link leads back to a folder around it")
        elif not is_printable(place.path):
            yield _refused(place.path, "")
        elif len(place.around) >= DEPTH_LIMIT:
            yield _refused(place.path, f"is nested deeper than {DEPTH_LIMIT} folders")
        else:
            around = place.around | {id(place.folder)}
            yield from self._walk(_Place(place.path, place.real, place.folder, around), rules)

    def _follow(self, start: tuple[str, ...], link: _Link) -> tuple[tuple[str, ...], _Entry] | str:
        """Where a link in the folder `start` really leads and what is there; or why it leads nowhere."""
        top, way = start[0], list(start)
        lost = f"is a link to {link.text}, which leads nowhere"
        leaves = f"is a link to {link.text}, which leaves {top}/"
        if link.text.startswith("/"):
            return leaves
        steps = deque(link.text.split("/"))
        followed = 0
        while steps:
            step = steps.popleft()
            if step == "..":
                if not way:
                    return leaves
                way.pop()
            elif step not in ("", "."):
                inner = self._at((*way, step))
                if isinstance(inner, _Link):
                    followed += 1
                    if followed > _LINKS_LIMIT or inner.text.startswith("/"):
                        return lost
                    steps.extendleft(reversed(inner.text.split("/")))
                elif inner is None:
                    return lost if way[:1] == [top] else leaves
                else:
                    way.append(step)
        entry = self._at(way)
        return leaves if way[:1] != [top] or entry is None else (tuple(way), entry)

    def _at(self, way: Iterable[str]) -> _Entry | None:
        entry: _Entry | None = self._root
        for step in way:
            entry = entry.get(step) if isinstance(entry, dict) else None
        return entry


def _grown(tree: Tree, links: Mapping[str, str]) -> _Folder:
    """Folders within folders, from paths."""
    root: _Folder = {}
    folders: dict[str, _Folder] = {"": root}

    def folder(path: str) -> _Folder:
        found = folders.get(path)
        if found is None:
            found = root
            for step in path.split("/"):
                inner = found.setdefault(step, {})
                assert isinstance(inner, dict)
                found = inner
            folders[path] = found
        return found

    for path, blob_id in tree.files.items():
        above, _, name = path.rpartition("/")
        folder(above)[name] = _File(blob_id)
    for path, blob_id in tree.links.items():
        above, _, name = path.rpartition("/")
        folder(above)[name] = _Link(links[blob_id])
    for path in tree.submodules:
        above, _, name = path.rpartition("/")
        folder(above)[name] = _Submodule()
    return root


def _taken(path: str, entry: _Entry) -> ListedFile:
    match entry:
        case _File(blob_id):
            return ListedFile(path, blob_id) if is_printable(path) else _refused(path, "")
        case _:
            return _refused(path, "expected a file, was a folder")


def _refused(path: str, error: str) -> ListedFile:
    if is_printable(path):
        return ListedFile(path, error=error)
    return ListedFile(repr(path)[1:-1], error="has a name that cannot be printed")


_LINK_LIMIT_BYTES = 4096
_SHA1_DIGITS = 40


class Objects:
    """The bytes of blobs: those of the snapshot at hand, all others from git, each once."""

    def __init__(self, blobs: Blobs, at_hand: Snapshot) -> None:
        self._blobs = blobs
        self._known = {file.digest: file.data for file in every(at_hand) if file.data is not None}

    def read(self, wanted: Mapping[str, str], limit_bytes: int) -> dict[str, bytes]:
        """The bytes of each blob, at most `limit_bytes`; `wanted` maps ids to paths, for messages.

        Raises SourceError where one is not here.
        """
        found = {blob_id: self._known[blob_id] for blob_id in wanted if blob_id in self._known}
        for blob_id, data in self._blobs.read([blob_id for blob_id in wanted if blob_id not in found], limit_bytes):
            if data is None:
                raise SourceError(
                    f"{wanted[blob_id]}: expected its content in this clone, found only its id, {blob_id}; "
                    f"{WHOLE_CLONE}"
                )
            found[blob_id] = data
        return found


def read_commit(commit: str, tree: Tree, objects: Objects, at_hand: Snapshot, options: WorktreeOptions) -> Snapshot:
    """The fleet in `commit`, whose files are `tree`. What `at_hand` has alike is the same object in both; so is what
    a checkout wrote with other ends of line. Of a submodule nothing is known: it has no files here.

    Raises SourceError where an object is not here.
    """
    texts = objects.read({blob_id: path for path, blob_id in tree.links.items()}, _LINK_LIMIT_BYTES)
    listing = Listing(tree, {blob_id: os.fsdecode(data) for blob_id, data in texts.items()})
    listed = list(listing)
    here = {file.path: file for file in every(at_hand)}
    new = [one for one in listed if not _is_same(here.get(one.path), one)]
    limit_bytes = max(options.instance_limit_bytes, options.strategy_limit_bytes) + 1
    data = objects.read({one.blob_id: one.path for one in new if not one.error}, limit_bytes)
    read = {one.path: source_file(one, data, options) for one in new}
    files = [read[one.path] if one.path in read else here[one.path] for one in listed]
    found = parts(files)
    lost = next((f"{INSTANCES}/ {one.error}" for one in listed if one.path == INSTANCES), "")
    return Snapshot(
        instances=tuple(found.instances),
        templates=tuple(found.templates),
        strategies=tuple(found.strategies),
        halt=found.halt,
        revision=commit,
        clean=True,
        whole=not lost,
        not_whole=lost,
        lost=lost,
    )


def source_file(listed: ListedFile, data: Mapping[str, bytes], options: WorktreeOptions) -> SourceFile:
    """One file of a commit as a value, within the limits that hold for files on disk."""
    if listed.error:
        return SourceFile(listed.path, None, "", False, listed.error)
    content = data[listed.blob_id]
    if not is_strategy(listed.path):
        return SourceFile(listed.path, content[: options.instance_limit_bytes + 1], listed.blob_id, True)
    if len(content) > options.strategy_limit_bytes:
        error = f"is larger than {options.strategy_limit_bytes // 1024} KiB"
        return SourceFile(listed.path, None, "", False, error)
    return SourceFile(listed.path, content, listed.blob_id, True)


def every(snapshot: Snapshot) -> Iterator[SourceFile]:
    yield from snapshot.instances
    yield from snapshot.templates
    yield from snapshot.strategies
    if snapshot.halt is not None:
        yield snapshot.halt


def _is_same(file: SourceFile | None, listed: ListedFile) -> bool:
    if file is None or listed.error:
        return False
    if file.committed:
        return file.digest == listed.blob_id
    if file.data is None or b"\r\n" not in file.data:
        return False
    written = file.data.replace(b"\r\n", b"\n")
    return id_of_blob(written, "sha1" if len(listed.blob_id) == _SHA1_DIGITS else "sha256") == listed.blob_id
