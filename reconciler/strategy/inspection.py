"""What a strategy class must be, checked when it is loaded: every problem at once, where it stands in the file."""

from __future__ import annotations

import difflib
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from reconciler.errors import Problem
from reconciler.records import cadence
from reconciler.strategy.base import Strategy
from reconciler.strategy.definition import Definition, ModuleSource
from reconciler.validation.validator import schema_problems
from reconciler.visible import is_storable

HOOKS = ("init", "on_tick", "on_order", "render", "on_unload")
_GIVEN = {"on_order": "order"}
"""What a hook is called with besides self."""
SETTINGS = ("TICK_MINUTES", "CONFIG_SCHEMA", "TICK_ON_LOAD")
_MISSING = object()


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
