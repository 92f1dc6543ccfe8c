from __future__ import annotations

import inspect
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import Problem
from reconciler.strategy.definition import Definition
from reconciler.strategy.module_loading import forget, load

ROOT = Path(__file__).parents[2]
Refused = Callable[..., tuple[Problem, ...]]
Accepted = Callable[[str], Definition]


def the_only(problems: tuple[Problem, ...]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


def test_a_good_source_becomes_a_definition(definition_of: Accepted, good: str) -> None:
    definition = definition_of(good)
    assert definition.strategy_type == "grid"
    assert definition.path == "strategies/grid.py"
    assert definition.description == "Keeps a ladder.\n\nOf orders."
    assert (definition.tick_minutes, definition.cadence_steps, definition.tick_on_load) == (1.0, 10, False)
    assert definition.config_schema["properties"]["levels"]["default"] == 5


def test_two_versions_live_side_by_side(definition_of: Accepted, good: str) -> None:
    old, new = definition_of(good), definition_of(good.replace("= 1.0", "= 2.1"))
    assert (old.cls.TICK_MINUTES, new.cls.TICK_MINUTES) == (1.0, 2.1)
    assert old.cls is not new.cls
    assert sys.modules[old.cls.__module__] is not sys.modules[new.cls.__module__]


def test_a_module_has_a_private_name_and_nothing_joins_sys_path(definition_of: Accepted, good: str) -> None:
    before = list(sys.path)
    definition = definition_of(good)
    assert definition.cls.__module__ == f"_reconciler_strategy_grid_{definition.code_digest}"
    assert "grid" not in sys.modules
    assert sys.path == before


def test_tracebacks_and_inspect_show_the_lines_that_ran(definition_of: Accepted, good: str) -> None:
    old, new = definition_of(good), definition_of("# moved down a line\n" + good)
    shown = []
    for definition in (old, new):
        with pytest.raises(ValueError, match="from on_tick") as caught:
            definition.cls().on_tick()
        shown.append(traceback.extract_tb(caught.value.__traceback__)[-1])
    assert [frame.line for frame in shown] == ['raise ValueError("from on_tick")'] * 2
    assert (shown[1].lineno or 0) - (shown[0].lineno or 0) == 1
    assert shown[0].filename == f"strategies/grid.py@{old.code_digest[:8]}"
    assert inspect.getsource(new.cls).startswith("class Grid(Strategy):")


def test_no_bytecode_is_written(tmp_path: Path, good: str) -> None:
    path = tmp_path / "grid.py"
    path.write_text(good)
    definition = load("grid", path.read_bytes(), str(path), "0" * 40)
    assert isinstance(definition, Definition)
    forget(definition)
    assert [p.name for p in tmp_path.rglob("*")] == ["grid.py"]


def test_a_forgotten_version_leaves_sys_modules_but_still_runs(definition_of: Accepted, good: str) -> None:
    definition = definition_of(good)
    forget(definition)
    assert definition.cls.__module__ not in sys.modules
    assert definition.cls().render()[0]["value"] == "1"


def test_a_source_that_fails_leaves_nothing_in_sys_modules(problems_of: Refused, good: str) -> None:
    before = set(sys.modules)
    problems_of(good + "\nraise RuntimeError('no')\n")
    assert {name for name in set(sys.modules) - before if name.startswith("_reconciler_strategy")} == set()


def test_dataclasses_in_a_strategy_file_work(definition_of: Accepted, good: str) -> None:
    dataclass = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass Rung:\n    n: int\n"
    )
    assert definition_of(dataclass + good)


def test_an_installed_package_can_be_imported_also_later(definition_of: Accepted, good: str) -> None:
    late = good.replace("return [metric", "import yaml.error\n        assert yaml.error\n        return [metric")
    assert definition_of("import json, yaml\n" + late).cls().render()


@pytest.mark.parametrize(
    ("source", "line", "column", "part"),
    [
        ("x = 1\ny = (\n", 2, 5, "syntax error: '(' was never closed"),
        ("if True:\nx = 1\n", 2, 1, "syntax error: expected an indented block"),
        ("x = 1\nreturn 5\n", 2, 1, "syntax error: 'return' outside function"),
        ("x = 1\nname = 'abc\n", 2, 8, "syntax error: unterminated string literal"),
    ],
)
def test_a_syntax_error_has_line_and_column(
    problems_of: Refused, source: str, line: int, column: int, part: str
) -> None:
    problem = the_only(problems_of(source.encode()))
    assert (problem.line, problem.column, problem.rule) == (line, column, "code-syntax")
    assert part in problem.message


def test_bytes_that_are_not_utf8_are_found(problems_of: Refused) -> None:
    problem = the_only(problems_of(b"x = 1\ny = 'caf\xe9'\n"))
    assert (problem.line, problem.column, problem.rule) == (2, 9, "code-encoding")
    assert problem.message == "expected UTF-8 text, was byte 0xe9"


@pytest.mark.parametrize("source", [b"x = 1\0", b"# coding: no-such\n", b"x = " + b"(" * 5000, b"x = " + b"-" * 50_000])
def test_source_that_python_cannot_compile_is_one_problem(problems_of: Refused, source: bytes) -> None:
    assert the_only(problems_of(source)).rule == "code-syntax"


def test_a_source_over_a_mebibyte_is_refused(problems_of: Refused) -> None:
    assert "expected at most 1,048,576 bytes, was 1,048,577" in the_only(problems_of(b"#" * (2**20 + 1))).message


@pytest.mark.parametrize(
    ("statement", "column", "part"),
    [
        (
            "é = 1; import no_such_package",
            8,
            "expected 'no_such_package' to be installed, was not found: ModuleNotFound",
        ),
        (
            "from json import no_such_name",
            1,
            "expected to import from json, was refused: ImportError: cannot import name",
        ),
        ("raise ImportError('my own')", 1, "expected to import from a module, was refused: ImportError: my own"),
        ("import sys; sys.exit(3)", 13, "expected to be imported, was ended by SystemExit: 3"),
        ("x = [1]; x[5]", 10, "expected to be imported, was ended by IndexError: list index out of range"),
        ("raise KeyboardInterrupt", 1, "expected to be imported, was ended by KeyboardInterrupt"),
        ("raise type('E', (Exception,), {'__str__': lambda self: 1 / 0})", 1, "<exception str() failed>"),
    ],
)
def test_what_ends_an_import_is_told_with_its_place(
    problems_of: Refused, good: str, statement: str, column: int, part: str
) -> None:
    problem = the_only(problems_of(f"\n{statement}\n{good}"))
    assert (problem.line, problem.column) == (2, column)
    assert part in problem.message


def test_an_exception_in_a_function_is_placed_where_it_was_raised(problems_of: Refused) -> None:
    problem = the_only(problems_of("def f():\n    return {}['key']\n\nf()\n"))
    assert (problem.line, problem.column, problem.rule) == (2, 12, "code-exception")


def test_an_exception_in_a_library_is_placed_at_the_own_line_that_led_there(problems_of: Refused) -> None:
    problem = the_only(problems_of("import json\n\nDATA = json.loads('{')\n"))
    assert (problem.line, problem.column) == (3, 8)


@pytest.mark.parametrize(
    "statement", ["import dca", "import strategies.dca", "from strategies import dca", "from . import dca"]
)
@pytest.mark.parametrize("start", ["root", "strategies", "elsewhere"])
def test_a_sibling_is_not_importable_wherever_the_engine_was_started(
    problems_of: Refused,
    good: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    statement: str,
    start: str,
) -> None:
    folder = {"root": ROOT, "strategies": ROOT / "strategies", "elsewhere": tmp_path}[start]
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    problem = the_only(problems_of(f"{statement}\n{good}"))
    assert (problem.line, problem.column) == (1, 1)
    assert problem.rule in ("code-import-sibling", "code-import")
    assert "never another file of their folder" in problem.hint


def test_a_sibling_is_not_importable_from_a_hook(
    definition_of: Accepted, good: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "strategies"))
    definition = definition_of(good.replace('raise ValueError("from on_tick")', "import dca"))
    with pytest.raises(ImportError, match="'dca' is a file of strategies"):
        definition.cls().on_tick()


def test_an_import_that_waits_for_ever_is_given_up(problems_of: Refused, good: str) -> None:
    source = f"import threading\n\nthreading.Event().wait()\n{good}"
    problem = the_only(problems_of(source, deadline_s=0.2))
    assert (problem.line, problem.rule) == (3, "code-import-hangs")
    assert "expected the import to end within 0.2 s" in problem.message


def test_an_import_that_loops_for_ever_is_given_up_and_ended() -> None:
    source = b"x = 0\nwhile True:\n    x += 1\n"
    problems = load("looper", source, "strategies/looper.py", "0" * 40, deadline_s=0.2)
    assert isinstance(problems, tuple)
    assert the_only(problems).line in (2, 3)
    for thread in threading.enumerate():
        if thread.name == "import looper":
            thread.join(10)
            assert not thread.is_alive()


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_arbitrary_bytes_never_get_past_the_boundary(data: bytes) -> None:
    result = load("grid", data, "strategies/grid.py", "0" * 40)
    assert not isinstance(result, Definition)
    assert all(problem.path == "strategies/grid.py" and problem.line >= 1 and problem.column >= 1 for problem in result)


WORDS = ["class", "Grid", "(", "Strategy", ")", ":", "\n", "\n   ", "def", "on_tick", "self", "return", "TICK_MINUTES"]
WORDS += ["=", "1.0", "CONFIG_SCHEMA", "{", "}", "import", "json", ";", "raise", "1", "/", "0", "[", "]", "@", "x"]


@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join))
@settings(deadline=None)
def test_pieces_of_python_never_get_past_the_boundary(source: str) -> None:
    result = load(
        "grid", f"from reconciler.strategy import Strategy\n{source}".encode(), "strategies/grid.py", "1" * 40
    )
    assert not isinstance(result, Definition) or result.strategy_type == "grid"


def test_an_exception_whose_text_utf_8_cannot_hold_is_told_escaped(problems_of: Refused) -> None:
    problem = the_only(problems_of("raise ValueError('\\ud800')\n"))
    assert problem.message == "expected to be imported, was ended by ValueError: \\ud800"
    problem = the_only(problems_of("raise ModuleNotFoundError('no', name='\\ud800')\n"))
    problem.message.encode()
