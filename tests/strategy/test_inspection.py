from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.errors import Problem
from reconciler.strategy.definition import Definition

Refused = Callable[..., tuple[Problem, ...]]
Accepted = Callable[[str], Definition]

HEAD = "from reconciler.strategy import Strategy\n\n\nclass Grid(Strategy):\n"
TICK = "    TICK_MINUTES = 1\n"
SCHEMA = '    CONFIG_SCHEMA = {"type": "object"}\n'
ON_TICK = "    def on_tick(self): pass\n"


def the_only(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


def test_the_smallest_strategy_is_accepted(definition_of: Accepted) -> None:
    definition = definition_of(HEAD + TICK + SCHEMA + ON_TICK)
    assert (definition.description, definition.cadence_steps) == ("", 10)


def test_the_module_describes_a_class_that_does_not_describe_itself(definition_of: Accepted) -> None:
    assert definition_of('"""What it does."""\n' + HEAD + TICK + SCHEMA + ON_TICK).description == "What it does."


def test_everything_wrong_is_told_at_once_and_where_it_stands(problems_of: Refused) -> None:
    source = (
        HEAD
        + "    TICK_MINUTES = 0.05\n"
        + "    TICK_ON_LOAD = 1\n"
        + "    CONFIG_SCHEMA = []\n"
        + "    def init(self, extra): pass\n"
        + "    async def on_tick(self): pass\n"
        + "    def on_order(self): pass\n"
        + "    def render(self): yield 1\n"
        + "    on_unload = 5\n"
    )
    found = [(p.line, p.column, p.pointer, p.message) for p in problems_of(source)]
    assert found == [
        (5, 20, "TICK_MINUTES", "expected at least 0.1 minutes, was 0.05"),
        (6, 20, "TICK_ON_LOAD", "expected True or False, was 1"),
        (7, 21, "CONFIG_SCHEMA", "expected a dict, was []"),
        (8, 5, "init", "expected to be called with self alone, was init(self, extra)"),
        (9, 5, "on_tick", "expected a plain method, was async"),
        (10, 5, "on_order", "expected to be called with self and order, was on_order(self)"),
        (11, 5, "render", "expected a plain method, was a generator: calling it would run nothing"),
        (12, 17, "on_unload", "expected a plain method, was 5"),
    ]


def test_everything_missing_is_told_at_once(problems_of: Refused) -> None:
    problems = problems_of(HEAD + "    pass\n")
    assert [(p.line, p.column, p.pointer) for p in problems] == [
        (4, 1, "TICK_MINUTES"),
        (4, 1, "CONFIG_SCHEMA"),
        (4, 1, "on_tick"),
    ]
    assert problems[0].hint == "add `TICK_MINUTES = 1.0` to the class"


def test_a_name_that_is_nearly_right_is_asked_about(problems_of: Refused) -> None:
    problems = problems_of(HEAD + "    TICK_MINUTE = 1\n" + SCHEMA + "    def on_tik(self): pass\n")
    assert [(p.line, p.column, p.hint) for p in problems] == [
        (5, 19, "TICK_MINUTE is not known: did you mean TICK_MINUTES?"),
        (7, 5, "on_tik is not known: did you mean on_tick?"),
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("'1'", "expected a number of minutes, was '1'"),
        ("True", "expected a number of minutes, was True"),
        ("None", "expected a number of minutes, was None"),
        ("float('nan')", "expected a finite number of minutes, was nan"),
        ("float('inf')", "expected a finite number of minutes, was inf"),
        ("-1", "expected at least 0.1 minutes, was -1"),
        ("0.0999", "expected at least 0.1 minutes, was 0.0999"),
    ],
)
def test_a_cadence_is_a_number_of_at_least_a_tenth(problems_of: Refused, value: str, message: str) -> None:
    problem = the_only(problems_of(f"{HEAD}    TICK_MINUTES = {value}\n{SCHEMA}{ON_TICK}"))
    assert (problem.line, problem.column, problem.message) == (5, 20, message)


@pytest.mark.parametrize(("value", "steps"), [("0.1", 1), ("0.25", 3), ("2.1", 21), ("1440", 14400)])
def test_a_cadence_is_counted_in_beats(definition_of: Accepted, value: str, steps: int) -> None:
    assert definition_of(f"{HEAD}    TICK_MINUTES: float = {value}\n{SCHEMA}{ON_TICK}").cadence_steps == steps


@pytest.mark.parametrize(
    ("schema", "column", "part"),
    [
        ('{"properties": {}}', 21, 'expected "type": "object" at the top'),
        ('{"type": "array"}', 21, 'expected "type": "object" at the top'),
        ('{"type": "object", "x-a": {1}}', 21, "expected plain JSON values"),
        ('{"type": "object", "properties": {"a": {"type": "integr"}}}', 69, "integr"),
        ('{"type": "object", "properties": {"a": {"type": "integer", "default": "5"}}}', 91, "integer"),
        ('{"type": "object", "properties": {"a": {"$ref": "#/$defs/no"}}}', 69, "expected a place within this schema"),
    ],
)
def test_a_schema_is_checked_down_to_the_place(problems_of: Refused, schema: str, column: int, part: str) -> None:
    problem = the_only(problems_of(f"{HEAD}{TICK}    CONFIG_SCHEMA = {schema}\n{ON_TICK}"))
    assert (problem.line, problem.column, problem.rule) == (6, column, "definition-schema")
    assert problem.pointer.startswith("CONFIG_SCHEMA")
    assert part in problem.message


def test_a_schema_made_elsewhere_is_placed_as_far_as_it_can_be_seen(problems_of: Refused) -> None:
    source = (
        f'WRONG = {{"type": 5}}\n{HEAD}{TICK}    CONFIG_SCHEMA = {{"type": "object", "properties": {{"a": WRONG}}}}\n'
    )
    problem = problems_of(source + ON_TICK)[0]
    assert (problem.line, problem.column) == (7, 60)


def test_a_schema_is_kept_as_a_copy_in_plain_json(definition_of: Accepted) -> None:
    schema = '{"type": "object", "properties": {"a": {"enum": ("x", "y")}}}'
    definition = definition_of(f"{HEAD}{TICK}    CONFIG_SCHEMA = {schema}\n{ON_TICK}")
    assert definition.config_schema["properties"]["a"]["enum"] == ["x", "y"]
    assert definition.config_schema is not definition.cls.CONFIG_SCHEMA


def test_no_class_is_a_problem_of_the_file_and_imported_ones_do_not_count(problems_of: Refused) -> None:
    problem = the_only(problems_of("from reconciler.strategy import Strategy\n"))
    assert (problem.line, problem.column) == (1, 1)
    assert problem.message == "expected one class that subclasses Strategy, was none"


def test_several_classes_are_each_named(problems_of: Refused) -> None:
    body = TICK + SCHEMA + ON_TICK
    problems = problems_of(HEAD + body + "\n\nclass Finer(Grid):\n    pass\n")
    assert [(p.line, p.column, p.pointer) for p in problems] == [(4, 1, "Grid"), (10, 1, "Finer")]
    assert problems[0].message == "expected one Strategy class in a file, was 2: Grid, Finer"


def test_a_second_name_for_the_class_is_not_a_second_class(definition_of: Accepted) -> None:
    assert definition_of(HEAD + TICK + SCHEMA + ON_TICK + "\nAlias = Grid\n")


def test_a_decorated_hook_is_judged_by_what_is_called(definition_of: Accepted) -> None:
    source = (
        "import functools\n"
        + HEAD.replace(
            "class",
            "def with_price(hook):\n"
            "    @functools.wraps(hook)\n"
            "    def call(self): return hook(self, 1)\n"
            "    return call\n\n\nclass",
        )
        + TICK
        + SCHEMA
        + "    @with_price\n    def on_tick(self, price): pass\n"
    )
    assert definition_of(source)


@pytest.mark.parametrize("decorator", ["staticmethod", "classmethod", "property"])
def test_a_hook_is_a_plain_method(problems_of: Refused, decorator: str) -> None:
    source = f"{HEAD}{TICK}{SCHEMA}    @{decorator}\n    def on_tick(self): pass\n"
    problem = the_only(problems_of(source))
    assert (problem.line, problem.column, problem.message) == (8, 5, f"expected a plain method, was {decorator}")


def test_a_constructor_that_wants_arguments_is_refused(problems_of: Refused) -> None:
    problem = the_only(problems_of(HEAD + TICK + SCHEMA + ON_TICK + "    def __init__(self, price): pass\n"))
    assert (problem.line, problem.pointer) == (8, "__init__")


def test_a_class_that_defends_itself_is_still_only_a_problem(problems_of: Refused) -> None:
    source = HEAD.replace(
        "class Grid(Strategy):",
        "class Meta(type):\n"
        "    def __getattribute__(cls, name): raise SystemExit\n\n\nclass Grid(Strategy, metaclass=Meta):",
    )
    assert the_only(problems_of(source + TICK + SCHEMA + ON_TICK)).rule == "code-exit"


def test_half_a_character_in_a_docstring_is_refused(problems_of: Refused, good: str) -> None:
    problem = the_only(problems_of('"""Keeps \\ud800."""\n' + HEAD + TICK + SCHEMA + ON_TICK))
    assert (problem.line, problem.column, problem.rule) == (5, 1, "definition-docstring")
    (problem,) = problems_of(good.replace('"""Keeps', '"""Keeps \\ud800'))
    assert problem.rule == "code-exception"  # Python itself refuses to make such a class
    problem.message.encode()
