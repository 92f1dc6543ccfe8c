"""Syntax: what is wrong with the bytes of a file, or with its YAML, in words that help to mend it. Pure.

And looseness: what libyaml takes although it is no YAML 1.2, or reads otherwise; other readers refuse such a file. It
is found in what stands between the events of a file. https://yaml.org/spec/1.2.2/: flow and quoted text are indented
more than what they belong to (6.1, 7.4), a comment is preceded by a blank (6.6), `?` and `-` are followed by one
(7.3.3). One thing is let pass that other readers only warn of: a closing bracket right below the key it belongs to.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import yaml
from yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent, ScalarEvent

from reconciler.errors import Problem

_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What no file should hold: invisible, refused by libyaml, or (U+0085, U+2028) a line break to libyaml alone."""
_ASCII_CONTROL: Final = bytes(i for i in (*range(32), 127) if chr(i) not in "\t\n\r")

# fmt: off
_RESEMBLING: Final = {
    **dict.fromkeys("\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u202f\u205f\u2060\u3000",
                    "a space"),
    **dict.fromkeys("\u02d0\u02d1\u2236\ua789\ufe13\ufe55\uff1a", '":"'),
    **dict.fromkeys("\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\ufe58\ufe63\uff0d", '"-"'),
    **dict.fromkeys("\u201a\u3001\ufe10\ufe50\ufe51\uff0c\uff64", '","'),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033\uff02", 'a straight quote, ",'),
    **dict.fromkeys("\u2018\u2019\u201b\u2032\u02bc\uff07\u00b4", "a straight quote, ',"),
    "\uff5b": '"{"', "\ufe5b": '"{"', "\uff5d": '"}"', "\ufe5c": '"}"',
    "\uff3b": '"["', "\u3010": '"["', "\uff3d": '"]"', "\u3011": '"]"',
    "\uff03": '"#"', "\ufe5f": '"#"',
}
# fmt: on
"""What looks like a character that YAML has a use for, and is another, by what was meant."""

_INDENTATION: Final = "look at the indentation of this line and of those above"
_SPACES: Final = "YAML is indented with spaces"
_WORDS: Final = {
    "mapping values are not allowed in this context": (
        'expected no ":" here',
        'quote the value if the ":" belongs to it, otherwise look at the indentation',
    ),
    "did not find expected key": ("expected a key", _INDENTATION),
    "did not find expected '-' indicator": ('expected an item beginning with "- "', _INDENTATION),
    "block sequence entries are not allowed in this context": ('expected no "- " here', _INDENTATION),
    "could not find expected ':'": ('expected ":" after this key', ""),
    "did not find expected ',' or '}'": ('expected "," or "}"', ""),
    "did not find expected ',' or ']'": ('expected "," or "]"', ""),
    "did not find expected node content": ("expected a value", ""),
    "did not find expected <document start>": ("expected the end of the file", "one file holds one document"),
    "found unexpected end of stream": ("expected a closing quote, was the end of the file", ""),
    "found unexpected document indicator": ("expected a closing quote, was the end of the document", ""),
    "found a tab character where an indentation space is expected": ("expected spaces, was a tab", _SPACES),
    "found unknown escape character": ("expected a known escape after the backslash", "single quotes keep it as it is"),
}
_OPENED_AT_CONTEXT: Final = ("found unexpected", "could not find expected ':'")
"""Complaints that are best shown where the thing began, not where its end was missed."""
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


def has_control_character(text: str) -> bool:
    """True where text holds a character that is neither printable nor tab, CR or LF."""
    return _CONTROL.search(text) is not None


def unreadable(data: bytes, path: str) -> tuple[Problem, ...]:
    """What is wrong with the bytes: not UTF-8, or control characters (the first of each line; of another encoding's,
    which are everywhere, the first)."""
    if data.isascii() and len(data.translate(None, _ASCII_CONTROL)) == len(data):
        return ()
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode().removeprefix("\ufeff"))
        hint = "save it as UTF-8" + (", not as UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "")
        return (Problem(path, line, column, "", f"expected UTF-8, was 0x{data[error.start]:02x}", hint, "yaml-utf8"),)
    if data.strip(b"\0") == b"":
        message = f"expected YAML, was nothing but {len(data):,} bytes of zero, as a crash of the machine leaves files"
        return (Problem(path, 1, 1, "", message, f"restore it, from git: git checkout HEAD -- {path}", "yaml-control"),)
    is_utf16 = b"\0" in data[:2]
    hint = "save it as UTF-8, not as UTF-16" if is_utf16 else ""
    problems = []
    for number, content in enumerate(_lines(text), start=1):
        match = _CONTROL.search(content)
        if match is not None:
            message = f"expected no control characters, was U+{ord(match[0]):04X}"
            problems.append(Problem(path, number, match.start() + 1, "", message, hint, "yaml-control"))
    return tuple(problems[:1] if is_utf16 else problems)


def problems(error: yaml.YAMLError, text: str, path: str) -> tuple[Problem, ...]:
    """What libyaml stopped at: where git left it, each conflict; else the one thing, in the clearest words."""
    return conflicts(text, path) or (_resembling(problem(error, text, path), error, text),)


def conflicts(text: str, path: str) -> tuple[Problem, ...]:
    """Each conflict whose markers git, or `stash pop`, left in the file: of a merge that somebody has yet to make."""
    found: list[tuple[int, int]] = []
    opened = 0
    for number, line in enumerate(_lines(text), start=1):
        if line.startswith("<<<<<<< ") or line == "<<<<<<<":
            opened = number
        elif opened and (line.startswith(">>>>>>> ") or line == ">>>>>>>"):
            found.append((opened, number))
            opened = 0
    if opened and found == []:
        found.append((opened, opened))
    return tuple(
        Problem(
            path,
            first,
            1,
            "",
            f"expected a merged file, was a conflict: git's markers stand on lines {first} to {last}"
            if last > first
            else "expected a merged file, was a conflict marker of git",
            "keep what is right of both sides, and remove the lines with <<<<<<<, |||||||, ======= and >>>>>>>",
            "conflict",
        )
        for first, last in found
    )


def resembling(text: str) -> tuple[int, str, str] | None:
    """The first character that looks like one of YAML's own and is another: where, its name, what to write; None
    where there is none."""
    if text.isascii():
        return None
    for at, character in enumerate(text):
        meant = _RESEMBLING.get(character)
        if meant is not None:
            return at, named(character), meant
    return None


_ALIKE: Final = ("CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "FULLWIDTH", "MATHEMATICAL")
_ALONE: Final = 3
"""So short a text of another script may be meant as a Latin one."""


def foreign(text: str) -> str | None:
    """The name of the first letter or digit that looks like a Latin one, among which it stands, and is another; None
    where there is none."""
    if text.isascii() or not (len(text) <= _ALONE or any(one.isascii() and one.isalnum() for one in text)):
        return None
    for character in text:
        if character.isascii() or not character.isalnum():
            continue
        if character.isdecimal() or unicodedata.name(character, "").startswith(_ALIKE):
            return named(character)
    return None


def named(character: str) -> str:
    """`U+FF1A fullwidth colon`."""
    return f"U+{ord(character):04X} {unicodedata.name(character, 'without a name').lower()}"


def _resembling(found: Problem, error: yaml.YAMLError, text: str) -> Problem:
    """Where a character that only looks like the one expected stands on the lines concerned, that is the fault."""
    lines = _lines(text)
    marks = [getattr(error, name, None) for name in ("context_mark", "problem_mark")]
    numbers = dict.fromkeys((found.line, *(mark.line + 1 for mark in marks if mark is not None)))
    above = [number for number, line in enumerate(lines[: found.line], start=1) if line.lstrip(" ")[:1] in _RESEMBLING]
    for number in (*numbers, *above):
        look_alike = resembling(lines[number - 1]) if 0 < number <= len(lines) else None
        if look_alike is not None:
            at, name, meant = look_alike
            hint = f"{found.message}; write {meant} instead of {name}, which only looks like it"
            message = f"expected {meant} here, was {name}"
            return Problem(found.path, number, at + 1, "", message, hint, "yaml-resembling")
    return found


def problem(error: yaml.YAMLError, text: str, path: str) -> Problem:
    """The one thing libyaml stopped at."""
    mark = getattr(error, "problem_mark", None)
    reason = str(getattr(error, "problem", None) or error)
    context = getattr(error, "context_mark", None)
    if context is not None and reason.startswith(_OPENED_AT_CONTEXT):
        mark = context
    if mark is None:
        return Problem(path, 1, 1, "", f"expected YAML, but {reason}", "", "yaml-syntax")
    message, hint = _WORDS.get(reason, (f"expected YAML, but {reason}", ""))
    if reason == "found character that cannot start any token":
        message, hint = _unexpected(text, mark.line, mark.column)
    elif context is not None and reason.startswith("did not find expected ',' or"):
        hint = f"the bracket opened at {context.line + 1}:{context.column + 1} is not closed"
    line, column = _position(text) if mark.index >= len(text) else (mark.line + 1, mark.column + 1)
    return Problem(path, line, column, "", message, hint, "yaml-syntax")


def _unexpected(text: str, line: int, column: int) -> tuple[str, str]:
    lines = _lines(text)
    character = lines[line][column : column + 1] if line < len(lines) else ""
    if character == "\t":
        return "expected spaces, was a tab", _SPACES
    return f'expected a value, was "{character}"', f'quote a value that begins with "{character}"'


def _position(before: str) -> tuple[int, int]:
    lines = _lines(before)
    return len(lines), len(lines[-1]) + 1


def _lines(text: str) -> list[str]:
    """The lines as YAML and editors count them: `splitlines` knows of more ends of line than they do."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def is_suspect(data: bytes) -> bool:
    """False where certainly no such place is in it, which for most files one look tells."""
    return any(any(mark in data for mark in marks) and pattern.search(data) for marks, pattern in _SUSPECTS)


def loose_problems(text: str, events: Sequence[Any], path: str) -> Iterator[Problem]:
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
