"""Syntax: what is wrong with the bytes of a file, or with its YAML, in words that help to mend it. Pure."""

from __future__ import annotations

import re
from typing import Final

import yaml

from reconciler.errors import Problem

_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What no file should hold: invisible, refused by libyaml, or (U+0085, U+2028) a line break to libyaml alone."""
_ASCII_CONTROL: Final = bytes(i for i in (*range(32), 127) if chr(i) not in "\t\n\r")

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


def has_control_character(text: str) -> bool:
    """True where text holds a character that is neither printable nor tab, CR or LF."""
    return _CONTROL.search(text) is not None


def unreadable(data: bytes, path: str) -> tuple[Problem, ...]:
    """What is wrong with the bytes: not UTF-8, or control characters (the first of each line)."""
    if data.isascii() and len(data.translate(None, _ASCII_CONTROL)) == len(data):
        return ()
    try:
        text = data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line, column = _position(data[: error.start].decode().removeprefix("\ufeff"))
        hint = "save it as UTF-8" + (", not as UTF-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "")
        return (Problem(path, line, column, "", f"expected UTF-8, was 0x{data[error.start]:02x}", hint, "yaml-utf8"),)
    hint = "save it as UTF-8, not as UTF-16" if b"\0" in data[:2] else ""
    problems = []
    for number, content in enumerate(_lines(text), start=1):
        match = _CONTROL.search(content)
        if match is not None:
            message = f"expected no control characters, was U+{ord(match[0]):04X}"
            problems.append(Problem(path, number, match.start() + 1, "", message, hint, "yaml-control"))
    return tuple(problems)


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
