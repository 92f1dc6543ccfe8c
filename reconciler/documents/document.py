"""Documents: YAML text → plain values, and the line and column of each. Pure; knows nothing of instances.

One walk over libyaml's event stream with a stack of its own: it never recurses on input, and stops
reading where nesting gets too deep. The values are built on the way; the events are kept, and turned
into positions only when somebody asks, which for a valid file nobody does.

And what an instance's file says, merged upon what its template does, with where each of the values stands: mappings
merge key by key, everything else is taken whole, and the instance wins.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

import yaml
from yaml._yaml import CParser
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

from reconciler.documents import syntax
from reconciler.documents.scalars import LONE_DASH, SPECIAL_STARTS, Unusable, resolve, values_of
from reconciler.documents.wording import Path, quoted, shown, spell
from reconciler.errors import Problem

MAX_DEPTH: Final = 32
MAX_NODES: Final = 20_000

_NO_KEY: Final[Any] = object()
"""In a mapping: the next node is a key."""
_LOST_KEY: Final[Any] = object()
"""Stands for a key that was refused, so that the walk can go on with its value."""
_IN_KEY: Final[Any] = object()
"""Stands in the path while inside a mapping or list that is used as a key."""
INHERITED: Final = ("config", "limits", "labels", "open_orders")
"""What a template may hold, and a record takes from it."""


class _Fault(NamedTuple):
    event: Any
    path: Path
    message: str
    hint: str
    rule: str


class Walk:
    """One walk over the events of a file: `root` holds the document's value, `faults` what is wrong."""

    def __init__(self) -> None:
        self.root: list[Any] = []
        self.events: list[Any] = []
        self.faults: list[_Fault] = []
        self._repeated: list[tuple[Any, Path]] = []
        self._steps: list[Any] = []  # from `root` down to the container being filled

    def run(self, next_event: Callable[[], Event | None]) -> None:
        """Consume events until the end, or the first fault after which reading on makes no sense.

        The hot loop of validation: what a valid file does not need is in methods of its own.
        """
        keep = self.events.append
        steps = self._steps
        stack: list[tuple[Any, bool]] = []
        here: Any = self.root
        in_mapping = False
        key: Any = _NO_KEY
        event: Any
        for event in iter(next_event, None):
            keep(event)
            kind = event.__class__
            if kind is ScalarEvent:
                value: Any = event.value
                style = event.style
                if event.anchor is not None or event.tag is not None:
                    self._refuse_properties(event, here, key)
                if not style:
                    if value[:1] in SPECIAL_STARTS:
                        value = resolve(value) if value != "-" else LONE_DASH
                        if value.__class__ is Unusable:
                            self._fault(event, here, key, value.message, value.hint, value.rule)
                elif style == '"' and not value.isprintable() and syntax.has_control_character(value):
                    self._fault(event, here, key, "expected text without control characters", "", "yaml-control")
                if not in_mapping:
                    here.append(value)
                elif key is not _NO_KEY:
                    here[key] = value
                    key = _NO_KEY
                elif value.__class__ is str and value not in here and (value != "<<" or style):
                    key = value
                else:
                    key = self._refuse_key(event, here, value)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                if event.anchor is not None or event.tag is not None:
                    self._refuse_properties(event, here, key)
                value = {} if kind is MappingStartEvent else []
                if not in_mapping:
                    steps.append(len(here))
                    here.append(value)
                elif key is not _NO_KEY:
                    steps.append(key)
                    here[key] = value
                else:
                    self._refuse_key(event, here, value)
                    steps.append(_IN_KEY)
                stack.append((here, in_mapping))
                if len(stack) > MAX_DEPTH:
                    self.faults.append(_Fault(event, (), f"expected at most {MAX_DEPTH} levels", "", "yaml-depth"))
                    return
                here, in_mapping, key = value, kind is MappingStartEvent, _NO_KEY
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                here, in_mapping = stack.pop()
                key = _LOST_KEY if steps.pop() is _IN_KEY else _NO_KEY
            elif kind is AliasEvent:
                self._fault(event, here, key, "expected a value, was an alias", _SPELL_OUT, "yaml-alias")
                if not in_mapping:
                    here.append(None)
                elif key is _NO_KEY:
                    key = _LOST_KEY
                else:
                    key = _NO_KEY
            elif kind is DocumentStartEvent:
                if self.root:
                    message = "expected one document, was a second"
                    self._fault(event, None, _NO_KEY, message, "one file holds one document", "yaml-documents")
                    return
                self._check_directives(event)

    def check_size(self) -> None:
        """Note the fault of having too many nodes, at the first that is too many."""
        if len(self.events) <= MAX_NODES:
            return
        nodes = [event for event in self.events if isinstance(event, NodeEvent)]
        if len(nodes) > MAX_NODES:
            message = f"expected at most {MAX_NODES:,} values and keys, were {len(nodes):,} or more"
            self.faults.append(_Fault(nodes[MAX_NODES], (), message, "split it into several files", "yaml-nodes"))

    def problems(self, path: str) -> list[Problem]:
        """All faults, with the line and column each stands at."""
        marks = index(self.events) if self._repeated else {}
        for event, place in self._repeated:
            first = f": it is on line {marks[place][0].start_mark.line + 1} already" if place in marks else ""
            message = f"duplicate key {quoted(event.value)}{first}"
            self.faults.append(_Fault(event, _known(place), message, "keep one of the two", "yaml-duplicate-key"))
        return [
            Problem(path, f.event.start_mark.line + 1, f.event.start_mark.column + 1, spell(f.path), *f[2:])
            for f in self.faults
        ]

    def _fault(self, event: Any, here: Any, key: Any, message: str, hint: str, rule: str) -> None:
        """Note a fault of the node that would be put into `here` next; None stands for the container itself."""
        step = len(here) if isinstance(here, list) else key
        steps = self._steps if here is None else (*self._steps, step)
        self.faults.append(_Fault(event, _known(steps[1:]), message, hint, rule))  # the first is the index in `root`

    def _refuse_properties(self, event: Any, here: Any, key: Any) -> None:
        if event.anchor is not None:
            self._fault(event, here, key, "expected no anchor", _SPELL_OUT, "yaml-anchor")
        if event.tag is not None:
            hint = "quote the value if it is text" if event.tag == "tag:yaml.org,2002:str" else "remove the tag"
            self._fault(event, here, key, "expected no tag", hint, "yaml-tag")

    def _refuse_key(self, event: Any, here: Any, value: Any) -> Any:
        if value.__class__ is not str:
            if value.__class__ is not Unusable:
                hint = f'quote it: "{event.value}"' if event.__class__ is ScalarEvent else ""
                self._fault(event, None, None, f"expected a string as key, was {shown(value)}", hint, "yaml-key")
            return _LOST_KEY
        if value in here:
            self._repeated.append((event, (*self._steps[1:], value)))
            return value
        self._fault(event, None, None, "expected no merge key, was <<", _SPELL_OUT, "yaml-merge-key")
        return _LOST_KEY

    def _check_directives(self, event: Any) -> None:
        if event.version not in (None, (1, 2)):
            version = ".".join(map(str, event.version))
            self._fault(
                event, None, None, f"expected YAML 1.2, was {version}", "remove the directive", "yaml-directive"
            )
        if event.tags:
            self._fault(event, None, None, "expected no tags, was %TAG", "remove the directive", "yaml-directive")


_SPELL_OUT: Final = "write the values out where they are used"


def _known(steps: Iterable[Any]) -> Path:
    """The path without the placeholders of refused keys."""
    return tuple(step for step in steps if isinstance(step, (str, int)))


def index(events: Sequence[Any]) -> dict[Path, tuple[Any, Any]]:
    """(key event, value event) of every value by its path; of a repeated key, the first.

    What stands below a key that is itself a list or mapping has no path, and is left out.
    """
    marks: dict[Path, tuple[Any, Any]] = {}
    stack: list[tuple[Path | None, int, bool]] = []  # the container's path, the nodes seen in it, is it a mapping
    path: Path | None = ()
    seen, in_mapping = 0, False
    key: Any = None
    for event in events:
        if isinstance(event, NodeEvent):
            own: Path | None = None
            if in_mapping and seen % 2 == 0:
                key = event
            elif path is not None and (not in_mapping or key.__class__ is ScalarEvent):
                step = key.value if in_mapping else seen
                own = (*path, step) if stack else ()
                marks.setdefault(own, (key if in_mapping else event, event))
            seen += 1
            if isinstance(event, CollectionStartEvent):
                stack.append((path, seen, in_mapping))
                path, seen, in_mapping = own, 0, event.__class__ is MappingStartEvent
        elif isinstance(event, CollectionEndEvent):
            path, seen, in_mapping = stack.pop()
            key = None  # a key that was a mapping or list has no name
    return marks


MAX_BYTES: Final = 256 * 1024
_LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"


class Mark(NamedTuple):
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

    def place(self, path: Path) -> Mark:
        """Where the value at `path` begins; that of its nearest ancestor where it stands nowhere."""
        return self._place(path, 1)

    def key_place(self, path: Path) -> Mark:
        """Where the key of the value at `path` begins; the value itself in a list and for the document."""
        return self._place(path, 0)

    def path_at(self, line: int, column: int) -> Path:
        """The path of the key or scalar that this position is in, `()` where it is in none."""
        at = (line - 1, column - 1)
        start, end, path = self._spans[max(bisect_right(self._spans, at, key=lambda span: span[0]) - 1, 0)]
        return path if start <= at < end else ()

    def _place(self, path: Path, which: int) -> Mark:
        while path and path not in self._marks:
            path = path[:-1]
        mark = self._marks[path][which].start_mark
        return Mark(self.path, mark.line + 1, mark.column + 1)

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
        # In a plain file there is nothing that YAML readers read otherwise, and a look at each line costs less to tell.
        if not broken and not walk.faults and values_of(data) is None and syntax.is_suspect(data):
            broken = tuple(syntax.loose_problems(data.decode("utf-8-sig"), walk.events, path))
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


@dataclass(frozen=True)
class Merged:
    """An instance's document upon its template's. Both hold a mapping."""

    instance: Document
    template: Document

    @cached_property
    def values(self) -> dict[str, Any]:
        """The record's values; keys that only the template has come last."""
        own: dict[str, Any] = self.instance.values
        inherited = self._inherited
        return own | {key: merged(value, own[key]) if key in own else value for key, value in inherited.items()}

    def place(self, path: Path) -> Mark:
        """Where the value at `path` begins, in the file it comes from; its nearest ancestor where it is in neither."""
        return self._origin(path).place(path)

    def key_place(self, path: Path) -> Mark:
        """Where the key of the value at `path` begins, in the file it comes from."""
        return self._origin(path).key_place(path)

    def place_to_add(self, path: Path) -> Mark:
        """Where to say that a key is missing in the mapping at `path`: in the instance's file, which may add it.

        Where that does not even begin the mapping, at the key `template`. Lists are not merged: what is missing
        within one is missing in the file that has it.
        """
        if any(isinstance(step, int) for step in path):
            return self.key_place(path)
        return self.instance.key_place(path if path[:1] == () or path[0] in self.instance.values else ("template",))

    @property
    def _inherited(self) -> dict[str, Any]:
        return {key: self.template.values[key] for key in INHERITED if key in self.template.values}

    def _origin(self, path: Path) -> Document:
        own, inherited = self.instance.values, self._inherited
        for step in path:
            if not _merge(inherited, own) or step not in inherited:
                break
            if step not in own:
                return self.template
            own, inherited = own[step], inherited[step]
        return self.instance


def merged(inherited: Any, own: Any) -> Any:
    """`own` upon `inherited`, as new values where both are mappings, else `own` itself."""
    if not _merge(inherited, own):
        return own
    return inherited | {key: merged(inherited[key], value) if key in inherited else value for key, value in own.items()}


def _merge(inherited: Any, own: Any) -> bool:
    """True for two mappings; two references to secrets are two values, one of which replaces the other."""
    both = isinstance(inherited, dict) and isinstance(own, dict)
    return both and not (_is_reference(inherited) and _is_reference(own))


def _is_reference(values: dict[str, Any]) -> bool:
    return len(values) == 1 and not values.keys().isdisjoint(("env", "file"))
