"""The files of one commit by name, found as a walk over its checkout would find them. Pure.

What `folder` does on disk, on a tree of git: the same names count, the same links are followed, the same
things are refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.records.snapshot import NO_RECORD
from reconciler.sources.folder import DEPTH_LIMIT
from reconciler.sources.git import Tree
from reconciler.sources.layout import INSTANCE_RULES, INSTANCES, STRATEGIES, STRATEGY_RULES, Rules
from reconciler.visible import is_printable

_LINKS_LIMIT = 40
"""So many links may be followed on one way, as on Linux."""


@dataclass(frozen=True, slots=True)
class Listed:
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

    def __iter__(self) -> Iterator[Listed]:
        self._root = _grown(self.tree, self.links)
        yield from self._top(INSTANCES, INSTANCE_RULES)
        yield from self._top(STRATEGIES, STRATEGY_RULES)

    def _top(self, name: str, rules: Rules) -> Iterator[Listed]:
        match self._root.get(name):
            case dict() as folder:
                yield from self._walk(_Place(name, (name,), folder, frozenset({id(folder)})), rules)
            case _Link():
                yield Listed(name, error="is a link; expected a folder")
            case _File():
                yield Listed(name, error="expected a folder, was a file")
            case _Submodule() | None:
                pass

    def _walk(self, place: _Place, rules: Rules) -> Iterator[Listed]:
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

    def _enter(self, place: _Place, rules: Rules) -> Iterator[Listed]:
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


def _taken(path: str, entry: _Entry) -> Listed:
    match entry:
        case _File(blob_id):
            return Listed(path, blob_id) if is_printable(path) else _refused(path, "")
        case _:
            return _refused(path, "expected a file, was a folder")


def _refused(path: str, error: str) -> Listed:
    if is_printable(path):
        return Listed(path, error=error)
    return Listed(repr(path)[1:-1], error="has a name that cannot be printed")
