"""Looseness: what libyaml takes although it is no YAML 1.2, or reads otherwise; other readers refuse such a file. Pure.

Found in what stands between the events of a file. https://yaml.org/spec/1.2.2/: flow and quoted text are indented more
than what they belong to (6.1, 7.4), a comment is preceded by a blank (6.6), `?` and `-` are followed by one (7.3.3).
One thing is let pass that other readers only warn of: a closing bracket right below the key it belongs to.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent, ScalarEvent

from reconciler.errors import Problem

_STUCK_COMMENT: Final = re.compile(r"(?<=[^\s])#")
_STUCK_KEY: Final = re.compile(r"\?[^\s]")
_BLANK_LINE: Final = re.compile(r"^ +$", re.MULTILINE)
_COMMENT: Final = re.compile(r"(?:^|(?<=[ \t]))#")
_HEADER: Final = re.compile(r"[|>]([-+0-9]*)(#?)")

_SUSPECTS: Final = tuple(
    (marks, re.compile(pattern, re.MULTILINE))
    for marks, pattern in (
        ((b"#",), rb"[^\s]#"),
        ((b"?",), rb"\?[^\s]"),
        ((b" \n",), rb"^ +$"),
        ((b"\r",), rb"\r"),  # the patterns below know one end of line
        # Flow that may go on in another line: a bracket that is not closed in its line or not opened there, a comma.
        ((b"[", b"{"), rb"[\[{][^\]}\n]*$"),
        ((b"]", b"}"), rb"^[^\[{\n]*[\]}]"),
        ((b"]", b"}"), rb"^[ \t]*,"),
        ((b"]", b"}"), rb",[ \t]*(?:#.*)?$"),
        # And quoted text: a quote without its other in the line.
        ((b'"',), rb'^(?:[^"\n]*"[^"\n]*")*[^"\n]*"[^"\n]*$|\\"'),
        ((b"'",), rb"^(?:[^'\n]*'[^'\n]*')*[^'\n]*'[^'\n]*$"),
    )
)

At = tuple[int, int]
"""Line and column, counted from 0."""


def is_suspect(data: bytes) -> bool:
    """False where certainly no such place is in it, which for most files one look tells."""
    return any(any(mark in data for mark in marks) and pattern.search(data) for marks, pattern in _SUSPECTS)


def problems(text: str, events: Sequence[Any], path: str) -> Iterator[Problem]:
    """Each such place. `events` are those of `text`, a byte order mark left out."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    yield from (
        Problem(path, line + 1, column + 1, "", message, hint, "yaml-otherwise")
        for (line, column), message, hint in _found(text, lines, events)
    )


def _found(text: str, lines: Sequence[str], events: Sequence[Any]) -> Iterator[tuple[At, str, str]]:
    spread = list(_spread(events))
    for first, last, column, is_flow in spread:
        yield from _badly_indented(lines, first, last, column, is_flow)
    if _STUCK_COMMENT.search(text):
        yield from _stuck_comments(lines, events)
    if _STUCK_KEY.search(text):
        yield from _stuck_keys(lines, events)
    if _BLANK_LINE.search(text):
        yield from _too_deep_blanks(lines, events)


def _spread(events: Iterable[Any]) -> Iterator[tuple[int, int, int, bool]]:
    """Quoted text and outermost flow over several lines: its first and last line, the column of the block around it
    (-1 where there is none), and whether it is flow."""
    around = [-1]
    flows: list[int] = []
    for event in events:
        kind = event.__class__
        if kind is ScalarEvent:
            if (event.style == '"' or event.style == "'") and event.start_mark.line != event.end_mark.line:
                yield event.start_mark.line, event.end_mark.line, around[-1], False
        elif _opens(event):
            if flows or event.flow_style:
                flows.append(event.start_mark.line)
            else:
                around.append(event.start_mark.column)
        elif _closes(event):
            if not flows:
                around.pop()
            else:
                first = flows.pop()
                if not flows and first != event.end_mark.line:
                    yield first, event.end_mark.line, around[-1], True


def _badly_indented(
    lines: Sequence[str], first: int, last: int, column: int, is_flow: bool
) -> Iterator[tuple[At, str, str]]:
    for number in range(first + 1, last + 1):
        line = lines[number]
        content = line.lstrip(" ")
        indentation = len(line) - len(content)
        if indentation > column or not content.strip() or (is_flow and content.startswith("#")):
            continue
        if is_flow and indentation == column and content[0] in "]}":
            continue
        what = "the bracket opened" if is_flow else "the quote opened"
        yield (
            (number, indentation),
            f"expected more than {column} spaces before this, were {indentation}",
            f"{what} on line {first + 1} is not closed: indent what is within it",
        )


def _stuck_comments(lines: Sequence[str], events: Iterable[Any]) -> Iterator[tuple[At, str, str]]:
    scalars: list[Any] = [event for event in events if event.__class__ is ScalarEvent]
    spans = [((e.start_mark.line, e.start_mark.column), (e.end_mark.line, e.end_mark.column)) for e in scalars]

    def is_text(at: At) -> bool:
        index = bisect_right(spans, at, key=lambda span: span[0]) - 1
        return index >= 0 and at < spans[index][1]

    message, hint = "expected a space before this #", "with one it begins a comment; quote what belongs to a value"
    for block in filter(_is_block, events):
        line, column = block.start_mark.line, block.start_mark.column
        header = _HEADER.match(lines[line], column)
        if header is not None and header[2]:
            yield (line, header.end() - 1), message, hint
    for number, line in enumerate(lines):
        for match in _STUCK_COMMENT.finditer(line):
            at = (number, match.start())
            if is_text(at):
                continue
            begun = (found.start() for found in _COMMENT.finditer(line) if not is_text((number, found.start())))
            if next(begun, len(line)) > match.start():
                yield at, message, hint
            break


def _stuck_keys(lines: Sequence[str], events: Iterable[Any]) -> Iterator[tuple[At, str, str]]:
    for event in events:
        if _is_node(event) and event.start_mark.column:
            line, column = event.start_mark.line, event.start_mark.column - 1
            if lines[line][column : column + 1] == "?":
                yield (line, column), 'expected a space after this "?"', "quote what begins with it"


def _too_deep_blanks(lines: Sequence[str], events: Iterable[Any]) -> Iterator[tuple[At, str, str]]:
    around = [-1]
    for event in events:
        if _opens(event):
            around.append(around[-1] if event.flow_style else event.start_mark.column)
        elif _closes(event):
            around.pop()
        elif _is_block(event):
            first = event.start_mark.line
            header = _HEADER.match(lines[first], event.start_mark.column)
            if header is None or any(character.isdigit() for character in header[1]):
                continue
            deepest = (0, first)
            for number in range(first + 1, len(lines)):
                content = lines[number].strip(" ")
                if not content:
                    deepest = max(deepest, (len(lines[number]), number))
                    continue
                indentation = len(lines[number]) - len(lines[number].lstrip(" "))
                if around[-1] < indentation < deepest[0]:
                    message = f"expected at most {indentation} spaces in this empty line, were {deepest[0]}"
                    yield (deepest[1], 0), message, "the text below it begins further to the left"
                break


def _is_block(event: Any) -> bool:
    return event.__class__ is ScalarEvent and event.style in ("|", ">")


def _opens(event: Any) -> bool:
    return isinstance(event, CollectionStartEvent)


def _closes(event: Any) -> bool:
    return isinstance(event, CollectionEndEvent)


def _is_node(event: Any) -> bool:
    return isinstance(event, NodeEvent)
