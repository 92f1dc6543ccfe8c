"""The corpus: each file of tests/cases/valid is valid, each of tests/cases/invalid has exactly the problems it names.

Dropping a file in adds a test. Beside `invalid/name.yaml` stands `name.expected`, a line for each
problem: `line:column: pointer: message`, with the path in front where it stands in a template. They are judged
with the strategy `grid`, whose CONFIG_SCHEMA is `grid.schema.json`, with the account `main`, and upon the
templates in `_templates`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.records import evaluator
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.evaluator import evaluate, is_valid
from reconciler.records.snapshot import SourceFile
from reconciler.records.template import templates_by_name

CASES = Path(__file__).parent.parent / "cases"
GRID = DefinitionFacts("grid", "strategies/grid.py", "c0de", json.loads((CASES / "grid.schema.json").read_text()), True)


TEMPLATES = templates_by_name(
    SourceFile(f"instances/_templates/{path.name}", path.read_bytes(), "d1ce", committed=True)
    for path in sorted((CASES / "_templates").iterdir())
)


def named(folder: str) -> list[Path]:
    return sorted(path for path in (CASES / folder).iterdir() if path.suffix in (".yaml", ".yml"))


def judged(path: Path) -> Evaluation:
    file = SourceFile(f"instances/{path.name}", path.read_bytes(), "f11e", committed=True)
    accounts = Accounts({"main": DeclaredAccount("main", "paper", real_money=False)}, any_on=None)
    by = {"grid": GRID}.get, accounts, ["dca", "grid", "sma_cross"], TEMPLATES
    evaluation = evaluate(file, *by)
    assert is_valid(file, *by) is (evaluation.problems == ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "values_of", lambda data: None)
        assert evaluate(file, *by) == evaluation, "as the parser has it"
    return evaluation


@pytest.mark.parametrize("path", named("valid"), ids=lambda path: path.name)
def test_a_valid_case_has_no_problem_and_makes_a_record(path: Path) -> None:
    evaluation = judged(path)
    assert [str(problem) for problem in evaluation.problems] == []
    assert evaluation.record is not None
    assert evaluation.record.id == path.stem


@pytest.mark.parametrize("path", named("invalid"), ids=lambda path: path.name)
def test_an_invalid_case_has_exactly_the_problems_it_names(path: Path) -> None:
    evaluation = judged(path)
    found = [str(problem).removeprefix(f"{evaluation.path}:").strip() for problem in evaluation.problems]
    assert found == path.with_suffix(".expected").read_text().splitlines()
    assert evaluation.record is None


def test_every_expectation_belongs_to_a_case() -> None:
    expected = {path.stem for path in (CASES / "invalid").glob("*.expected")}
    assert expected == {path.stem for path in named("invalid")}
