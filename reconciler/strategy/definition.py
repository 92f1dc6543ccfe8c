"""A strategy definition: frozen facts plus the class. Imports no strategy; `module_loading` does.

What a class must be is checked when it is loaded: every problem at once, where it stands in the file.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import CodeType, FunctionType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from reconciler.documents.wording import parse_pointer
from reconciler.errors import Problem
from reconciler.records import cadence
from reconciler.strategy.base import Strategy
from reconciler.validation.validator import schema_problems
from reconciler.visible import is_storable, storable

if TYPE_CHECKING:
    from reconciler.strategy.base import Strategy

HOOKS = ("init", "on_tick", "on_order", "render", "on_unload")
_GIVEN = {"on_order": "order"}
"""What a hook is called with besides self."""
SETTINGS = ("TICK_MINUTES", "CONFIG_SCHEMA", "TICK_ON_LOAD")
_MISSING = object()


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
            steps = parse_pointer(place)
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


def inspect_module(
    module: ModuleType, source: ModuleSource, strategy_type: str, digest: str
) -> Definition | tuple[Problem, ...]:
    """The definition that `module`, just imported from `source`, exposes, or all that is wrong with it."""
    classes = _strategies(module)
    if len(classes) != 1:
        return tuple(_not_one(classes, source))
    cls = classes[0]
    checks = (_tick_minutes, _tick_on_load, _config_schema, _hooks, _docstring)
    problems = tuple(problem for check in checks for problem in check(cls, source))
    if problems:
        return problems
    return Definition(
        strategy_type=strategy_type,
        path=source.path,
        code_digest=digest,
        cls=cls,
        description=_description(cls),
        tick_minutes=float(cls.TICK_MINUTES),
        cadence_steps=cadence.steps(float(cls.TICK_MINUTES)),
        tick_on_load=cls.TICK_ON_LOAD,
        config_schema=json.loads(json.dumps(cls.CONFIG_SCHEMA)),
        source=source.data,
    )


def _strategies(module: ModuleType) -> list[type[Strategy]]:
    found: dict[int, type[Strategy]] = {}
    for value in list(vars(module).values()):
        if isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == module.__name__:
            found[id(value)] = value
    return list(found.values())


def _not_one(classes: list[type[Strategy]], source: ModuleSource) -> Iterator[Problem]:
    if not classes:
        yield source.problem(
            (1, 1),
            "",
            "expected one class that subclasses Strategy, was none",
            rule="definition-class",
            hint="write `class …(Strategy):` in this file, with `from reconciler.strategy import Strategy`; "
            "imported classes do not count",
        )
    for cls in classes:
        yield source.problem(
            source.class_at(cls.__name__),
            cls.__name__,
            f"expected one Strategy class in a file, was {len(classes)}: {', '.join(c.__name__ for c in classes)}",
            rule="definition-class",
            hint="give each strategy a file of its own; what they share belongs in a class or function that is no "
            "Strategy, or in an installed package",
        )


def _tick_minutes(cls: type[Strategy], source: ModuleSource) -> Iterator[Problem]:
    value = getattr(cls, "TICK_MINUTES", _MISSING)
    if value is _MISSING:
        yield _missing(cls, source, "TICK_MINUTES", "a number of minutes", "TICK_MINUTES = 1.0")
        return
    wrong = ""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        wrong = f"expected a number of minutes, was {_shown(value)}"
    elif not abs(value) <= 1e9:
        wrong = f"expected a finite number of minutes, was {_shown(value)}"
    elif value < cadence.MINIMUM_TICK_MINUTES:
        wrong = f"expected at least {cadence.MINIMUM_TICK_MINUTES} minutes, was {_shown(value)}"
    if wrong:
        yield source.problem(
            source.member_at(cls.__name__, "TICK_MINUTES"), "TICK_MINUTES", wrong, rule="definition-tick-minutes"
        )


def _tick_on_load(cls: type[Strategy], source: ModuleSource) -> Iterator[Problem]:
    if not isinstance(cls.TICK_ON_LOAD, bool):
        yield source.problem(
            source.member_at(cls.__name__, "TICK_ON_LOAD"),
            "TICK_ON_LOAD",
            f"expected True or False, was {_shown(cls.TICK_ON_LOAD)}",
            rule="definition-tick-on-load",
        )


def _config_schema(cls: type[Strategy], source: ModuleSource) -> Iterator[Problem]:
    schema: object = getattr(cls, "CONFIG_SCHEMA", _MISSING)
    if schema is _MISSING:
        example = 'CONFIG_SCHEMA = {"type": "object", "properties": {}}'
        yield _missing(cls, source, "CONFIG_SCHEMA", "the JSON Schema of its config", example)
        return
    for message in _wrong_schema(schema):
        place, _, rest = message.partition(": ")
        at, within = source.inside(cls.__name__, "CONFIG_SCHEMA", place)
        pointer = f"CONFIG_SCHEMA.{place}" if within else "CONFIG_SCHEMA"
        yield source.problem(at, pointer, rest if within else message, rule="definition-schema")


def _wrong_schema(schema: object) -> list[str]:
    """Each as `place within the schema: what`, or only what."""
    if not isinstance(schema, dict):
        return [f"expected a dict, was {_shown(schema)}"]
    try:
        plain: Mapping[str, Any] = json.loads(json.dumps(schema, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        return [f"expected plain JSON values, was something else ({error})"]
    return schema_problems(plain)


def _hooks(cls: type[Strategy], source: ModuleSource) -> Iterator[Problem]:
    if cls.on_tick is Strategy.on_tick:
        yield _missing(cls, source, "on_tick", "a method", "def on_tick(self): …")
    for name in (*HOOKS, "__init__"):
        hook = inspect.getattr_static(cls, name)
        if hook is inspect.getattr_static(Strategy, name):
            continue
        wrong, hint = _wrong_hook(name, hook)
        if wrong:
            yield source.problem(source.member_at(cls.__name__, name), name, wrong, rule="definition-hook", hint=hint)


def _wrong_hook(name: str, hook: object) -> tuple[str, str]:
    """(what is wrong, how to mend it) with one hook, both empty where it is a plain method taking what it is given."""
    given = _GIVEN.get(name, "")
    written = f"def {name}(self, {given})" if given else f"def {name}(self)"
    if not isinstance(hook, FunctionType):
        return f"expected a plain method, was {_shown(hook)}", f"write `{written}: …`"
    if inspect.iscoroutinefunction(hook) or inspect.isasyncgenfunction(hook):
        return "expected a plain method, was async", f"write `{written}`: hooks run on threads and may block"
    if inspect.isgeneratorfunction(hook):
        return "expected a plain method, was a generator: calling it would run nothing", "return a list, do not yield"
    if not _takes(hook, 2 if given else 1):
        signature = inspect.signature(hook, follow_wrapped=False)
        alone = f"self and {given}" if given else "self alone"
        return f"expected to be called with {alone}, was {name}{signature}", f"write `{written}: …`"
    return "", ""


def _takes(hook: Callable[..., object], arguments: int) -> bool:
    try:
        inspect.signature(hook, follow_wrapped=False).bind(*[None] * arguments)
    except TypeError:
        return False
    return True


def _docstring(cls: type[Strategy], source: ModuleSource) -> Iterator[Problem]:
    if not is_storable(_description(cls)):
        message = "expected text, was half a character (a lone surrogate) in the docstring"
        yield source.problem(source.class_at(cls.__name__), "", message, rule="definition-docstring")


def _description(cls: type[Strategy]) -> str:
    return inspect.cleandoc(cls.__doc__ or sys.modules[cls.__module__].__doc__ or "")


def _missing(cls: type[Strategy], source: ModuleSource, name: str, expected: str, example: str) -> Problem:
    near = difflib.get_close_matches(name, [n for n in vars(cls) if n not in (*HOOKS, *SETTINGS)], 1, 0.75)
    hint = f"{near[0]} is not known: did you mean {name}?" if near else f"add `{example}` to the class"
    at = source.member_at(cls.__name__, near[0]) if near else source.class_at(cls.__name__)
    return source.problem(at, name, f"expected {expected}, was missing", rule="definition-missing", hint=hint)


def _shown(value: object) -> str:
    if isinstance(value, (str, int, float, type(None), list, dict, tuple)):
        text = repr(value)
        return text if len(text) <= 60 else f"{text[:57]}…"
    return type(value).__name__
