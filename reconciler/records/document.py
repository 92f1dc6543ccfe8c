"""Documents: YAML text → plain values, and the line and column of each. Pure; knows nothing of instances.

One walk over libyaml's event stream with a stack of its own: it never recurses on input, and stops
reading where nesting gets too deep. The values are built on the way; the events are kept, and turned
into positions only when somebody asks, which for a valid file nobody does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import yaml
from yaml.cyaml import CParser
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from reconciler.errors import Problem
from reconciler.records import syntax
from reconciler.records.pointer import Path, spell
from reconciler.records.scalars import Unusable, resolve

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 20_000


class Place(NamedTuple):
    """Where something stands. Values of one record may come from more than one file, so a place names its own."""

    path: str
    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """One parsed file. `values` are plain: str, int, float, bool, None, list, dict with string keys."""

    path: str
    values: Any
    _events: Sequence[Event] = field(repr=False, compare=False)

    def place(self, path: Path) -> Place:
        """Where the value at `path` begins; that of its nearest ancestor where it stands nowhere."""
        return self._place(path, 1)

    def key_place(self, path: Path) -> Place:
        """Where the key of the value at `path` begins; the value itself in a list and for the document."""
        return self._place(path, 0)

    def _place(self, path: Path, which: int) -> Place:
        while path not in self._marks:
            path = path[:-1]
        mark = self._marks[path][which].start_mark
        return Place(self.path, mark.line + 1, mark.column + 1)

    @cached_property
    def _marks(self) -> dict[Path, tuple[Event, Event]]:
        return _index(self._events)

    def path_at(self, line: int, column: int) -> Path:
        """The path of the innermost value that begins at or before this position, keys included."""
        found: Path = ()
        for path, (key, _) in self._marks.items():
            mark = key.start_mark
            if (mark.line, mark.column) < (line, column):
                found = path
        return found


def parse(data: bytes, path: str) -> Document | tuple[Problem, ...]:
    """Read one file. `path` is what problems and places call it. Never raises, whatever the bytes.

    Returns every problem that one walk can find, in order of line, instead of a document that has any.
    """
    if len(data) > MAX_BYTES:
        size = f"{len(data) / 1024:.0f} KiB"
        return (Problem(path, 0, 0, "", f"expected at most 256 KiB, was {size}", _SPLIT, "yaml-size"),)
    unreadable = syntax.unreadable_characters(data, path)
    if unreadable:
        return unreadable
    walk = _Walk()
    broken: tuple[Problem, ...] = ()
    try:
        walk.run(CParser(data).get_event)
    except yaml.YAMLError as error:
        broken = (syntax.problem(error, data, path),)
    if walk.faults or broken:
        return tuple(sorted((*_problems(walk, path), *broken)))
    if not walk.root:
        return (Problem(path, 1, 1, "", "expected a document, was an empty file", "", "yaml-empty"),)
    return Document(path, walk.root[0], walk.events)


_SPLIT = "split it into several files"
_NO_KEY: Final[Any] = object()
_BAD_KEY: Final[Any] = object()


class _Fault(NamedTuple):
    event: Event
    path: Path
    message: str
    hint: str
    rule: str


class _Walk:
    """One walk over the events of a file: `root` holds the document's value, `faults` what is wrong."""

    def __init__(self) -> None:
        self.root: list[Any] = []
        self.events: list[Event] = []
        self.faults: list[_Fault] = []
        self._path: list[Any] = []

    def run(self, next_event: Callable[[], Event | None]) -> None:
        """Consume events until the end or the first fault that forbids reading on."""
        keep = self.events.append
        path = self._path
        stack: list[Any] = []
        here: Any = self.root
        is_mapping = False
        key: Any = _NO_KEY
        for event in iter(next_event, None):
            keep(event)
            kind = event.__class__
            if kind is ScalarEvent:
                value: Any = event.value
                if event.anchor is not None or event.tag is not None:
                    self._refuse_properties(event, here, key)
                if not event.style:
                    value = resolve(value)
                    if value.__class__ is Unusable:
                        self._fault(event, here, key, value.message, value.hint, "yaml-number")
                elif event.style == '"' and not value.isprintable() and syntax.has_control_character(value):
                    self._fault(event, here, key, "expected text without control characters", "", "yaml-control")
                if not is_mapping:
                    here.append(value)
                elif key is not _NO_KEY:
                    here[key] = value
                    key = _NO_KEY
                else:
                    key = self._key(event, here, value)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                if event.anchor is not None or event.tag is not None:
                    self._refuse_properties(event, here, key)
                value = {} if kind is MappingStartEvent else []
                stack.append((here, is_mapping))
                if not is_mapping:
                    path.append(len(here))
                    here.append(value)
                elif key is not _NO_KEY:
                    path.append(key)
                    here[key] = value
                else:
                    self._fault(event, here, key, "expected a string as key, was a " + _NAMES[kind], "", "yaml-key")
                    path.append(_BAD_KEY)
                if len(stack) > MAX_DEPTH:
                    self._fault(event, [], _NO_KEY, f"expected at most {MAX_DEPTH} levels of nesting", "", "yaml-depth")
                    return
                here, is_mapping, key = value, kind is MappingStartEvent, _NO_KEY
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                here, is_mapping = stack.pop()
                key = _BAD_KEY if path.pop() is _BAD_KEY and is_mapping else _NO_KEY
