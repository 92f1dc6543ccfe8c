"""Documents: YAML text → plain values, and the line and column of each. Pure; knows nothing of instances.

One walk over libyaml's event stream with a stack of its own: it never recurses on input, and stops
reading where nesting gets too deep. The values are built on the way; the events are kept, and turned
into positions only when somebody asks, which for a valid file nobody does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import yaml
from yaml._yaml import CParser
from yaml.events import ScalarEvent

from reconciler.errors import Problem
from reconciler.records import looseness, syntax
from reconciler.records.pointer import Path
from reconciler.records.walk import Walk, index

MAX_BYTES: Final = 256 * 1024
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"


class Place(NamedTuple):
    """Where something stands. The values of one record may come from two files, so a place names its own."""

    path: str
    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """One parsed file. `values` are plain: str, int, float, bool, None, list, dict with string keys."""

    path: str
    values: Any
    _events: Sequence[Any] = field(repr=False, compare=False)

    def place(self, path: Path) -> Place:
        """Where the value at `path` begins; that of its nearest ancestor where it stands nowhere."""
        return self._place(path, 1)

    def key_place(self, path: Path) -> Place:
        """Where the key of the value at `path` begins; the value itself in a list and for the document."""
        return self._place(path, 0)

    def path_at(self, line: int, column: int) -> Path:
        """The path of the key or scalar that this position is in, `()` where it is in none."""
        at = (line - 1, column - 1)
        start, end, path = self._spans[max(bisect_right(self._spans, at, key=lambda span: span[0]) - 1, 0)]
        return path if start <= at < end else ()

    def _place(self, path: Path, which: int) -> Place:
        while path and path not in self._marks:
            path = path[:-1]
        mark = self._marks[path][which].start_mark
        return Place(self.path, mark.line + 1, mark.column + 1)

    @cached_property
    def _marks(self) -> dict[Path, tuple[Any, Any]]:
        return index(self._events)

    @cached_property
    def _spans(self) -> list[tuple[tuple[int, int], tuple[int, int], Path]]:
        """Where each key and scalar begins and ends, counted from 0, in order."""
        spans = [
            ((event.start_mark.line, event.start_mark.column), (event.end_mark.line, event.end_mark.column), path)
            for path, pair in self._marks.items()
            for event in pair
            if event.__class__ is ScalarEvent or not path
        ]
        return sorted(spans, key=lambda span: span[:2])


def parse(data: bytes, path: str) -> Document | tuple[Problem, ...]:
    """Read one file. `path` is what problems and places call it. Never raises, whatever the bytes.

    Instead of a document that has any, returns every problem that one walk can find, in order of line.
    """
    if len(data) > MAX_BYTES:
        message = f"expected at most {MAX_BYTES // 1024} KiB, was {len(data):,} bytes"
        return (Problem(path, 0, 0, "", message, "split it into several files", "yaml-size"),)
    if data.startswith(_LFS_POINTER):
        message = "expected the file itself, was what git LFS keeps in its place"
        hint = "run `git lfs pull`, and keep the fleet's files out of LFS: they are small, and read by their commit"
        return (Problem(path, 1, 1, "", message, hint, "lfs-pointer"),)
    unreadable = syntax.unreadable(data, path)
    if unreadable:
        return unreadable
    if data[-1:] == b" " and not data.rpartition(b"\n")[2].strip(b" "):
        data += b"\n"  # without it libyaml takes the blanks of such a last line for text
    walk = Walk()
    broken: tuple[Problem, ...] = ()
    try:
        walk.run(CParser(data).get_event)
    except yaml.YAMLError as error:
        broken = syntax.problems(error, data.decode("utf-8-sig"), path)
    else:
        if b"\n<<<<<<< " in b"\n" + data:
            broken = syntax.conflicts(data.decode("utf-8-sig"), path)
        if not broken and not walk.faults and looseness.is_suspect(data):
            broken = tuple(looseness.problems(data.decode("utf-8-sig"), walk.events, path))
    walk.check_size()
    problems = (*walk.problems(path), *broken)
    if problems:
        return tuple(sorted(problems))
    if not walk.root or _is_empty(walk.events):
        return (Problem(path, 1, 1, "", "expected a document, was an empty file", "", "yaml-empty"),)
    return Document(path, walk.root[0], walk.events)


def _is_empty(events: Sequence[Any]) -> bool:
    """True for a file of `---` and nothing else: its one node is a plain scalar without a character."""
    root = events[2]
    return root.__class__ is ScalarEvent and not root.style and not root.value
