"""A strategy definition, loaded and checked: frozen facts plus the class. Imports no strategy; `loading` does."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any

from reconciler.documents import pointer
from reconciler.errors import Problem
from reconciler.visible import storable

if TYPE_CHECKING:
    from reconciler.strategy.base import Strategy


@dataclass(frozen=True, slots=True)
class Definition:
    """One loaded version of a strategy. Two versions of one type live side by side, told apart by `code_digest`.

    Sent to another process, it is its `source` that travels: there it is loaded anew.
    """

    strategy_type: str
    path: str
    code_digest: str
    cls: type[Strategy]
    description: str
    tick_minutes: float
    cadence_steps: int
    tick_on_load: bool
    config_schema: Mapping[str, Any]
    source: bytes = field(default=b"", repr=False, compare=False)


MAX_SOURCE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """One strategy file. `filename` is what its code objects carry: unlike `path` it names the version, and
    no file on disk has it, so that tracebacks show the lines that ran and not those that stand there now.
    """

    path: str
    filename: str
    text: str
    tree: ast.Module
    code: CodeType
    data: bytes

    def problem(self, at: tuple[int, int], pointer: str, message: str, *, rule: str, hint: str = "") -> Problem:
        """A problem of this file; `at` is (line, column), from 1. What it says may come from the author's code."""
        return Problem(self.path, *at, storable(pointer), storable(message), storable(hint), rule)

    def class_at(self, name: str) -> tuple[int, int]:
        """Where the class of that name stands, (1, 1) where it was not made by a class statement."""
        node = self._class(name)
        return (1, 1) if node is None else self._position(node)

    def member_at(self, class_name: str, name: str) -> tuple[int, int]:
        """Where a class sets `name`: the assigned value or the method; the class where that is not to be seen."""
        value = self.member(class_name, name)
        return self.class_at(class_name) if value is None else self._position(value)

    def member(self, class_name: str, name: str) -> ast.expr | ast.stmt | None:
        """The value a class body assigns to `name`, or the method of that name; the last one, as Python has it."""
        node = self._class(class_name)
        found: ast.expr | ast.stmt | None = None
        for statement in node.body if node else ():
            match statement:
                case ast.Assign(targets=targets, value=value):
                    if any(isinstance(t, ast.Name) and t.id == name for t in targets):
                        found = value
                case ast.AnnAssign(target=ast.Name(id=target), value=ast.expr() as value) if target == name:
                    found = value
                case ast.FunctionDef(name=method) | ast.AsyncFunctionDef(name=method) if method == name:
                    found = statement
                case _:
                    pass
        return found

    def inside(self, class_name: str, name: str, place: str) -> tuple[tuple[int, int], bool]:
        """Where `place` (`properties.levels.default`) stands in the value of `name`, as far as that is written
        out in the class; and whether `place` is a place at all, and not just words.
        """
        node = self.member(class_name, name)
        try:
            steps = pointer.parse(place)
        except ValueError:
            return self.member_at(class_name, name), False
        for step in steps:
            match node:
                case ast.Dict(keys=keys, values=values):
                    found = [
                        v for k, v in zip(keys, values, strict=True) if isinstance(k, ast.Constant) and k.value == step
                    ]
                case ast.List(elts=elements) | ast.Tuple(elts=elements) if isinstance(step, int):
                    found = elements[step : step + 1]
                case _:
                    found = []
            if not found:
                break
            node = found[-1]
        return (self.class_at(class_name) if node is None else self._position(node)), bool(steps)

    def raised_at(self, trace: TracebackType | None) -> tuple[int, int]:
        """Where in this file an exception passed through last, (1, 1) where it never did."""
        found = (1, 1)
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename == self.filename:
                line, _, offset, _ = list(code.co_positions())[trace.tb_lasti // 2]
                found = (line or trace.tb_lineno, self._column(line or 0, offset or 0))
            trace = trace.tb_next
        return found

    def _class(self, name: str) -> ast.ClassDef | None:
        found = [n for n in ast.walk(self.tree) if isinstance(n, ast.ClassDef) and n.name == name]
        return found[-1] if found else None

    def _position(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        return node.lineno, self._column(node.lineno, node.col_offset)

    def _column(self, line: int, offset_bytes: int) -> int:
        """The parser counts UTF-8 bytes from 0, editors count characters from 1."""
        lines = self.text.split("\n")
        written = lines[line - 1] if 0 < line <= len(lines) else ""
        return len(written.encode()[:offset_bytes].decode(errors="ignore")) + 1


def parse(path: str, filename: str, data: bytes) -> ModuleSource | Problem:
    """The source in `data`, or why it is none: too large, not text, not Python."""
    if len(data) > MAX_SOURCE_BYTES:
        return _unreadable(path, f"expected at most {MAX_SOURCE_BYTES:,} bytes, was {len(data):,}")
    try:
        text = importlib.util.decode_source(data)
        tree, code = ast.parse(text, filename), compile(text, filename, "exec", dont_inherit=True)
    except SyntaxError as error:
        line, column = max(error.lineno or 1, 1), max(error.offset or 1, 1)
        return Problem(path, line, column, "", f"expected Python, was a syntax error: {error.msg}", rule="code-syntax")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before.rpartition(b"\n")[2].decode(errors="replace")) + 1
        message = f"expected {error.encoding.upper()} text, was byte 0x{data[error.start]:02x}"
        return Problem(path, before.count(b"\n") + 1, column, "", message, rule="code-encoding")
    except LookupError as error:
        return Problem(path, 1, 1, "", f"expected the encoding of a text, was refused: {error}", rule="code-encoding")
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        return _unreadable(path, f"expected Python that can be compiled, was refused: {error or type(error).__name__}")
    return ModuleSource(path, filename, text, tree, code, data)


def _unreadable(path: str, message: str) -> Problem:
    return Problem(path, 1, 1, "", message, rule="code-syntax")
