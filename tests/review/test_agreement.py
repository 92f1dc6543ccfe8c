"""The exported schemas and the validator agree, read by check-jsonschema and by our own validator: on the corpus, on
the fleet of this repository, and on random configs of its strategies.

What a schema cannot say is named here by the rule of the problem, and must then really be accepted by the schema.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler.documents.document import Document, parse
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.evaluator import evaluate
from reconciler.records.snapshot import SourceFile
from reconciler.records.template import templates_by_name
from reconciler.review.editor import INSTANCE, TEMPLATE, exported, strategy_path
from reconciler.settings import SCHEMA
from reconciler.strategy import Strategy
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.definition import Definition
from reconciler.validation.validator import check, compile_config_schema
from tests.drawing import drawn

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"

BEYOND_A_SCHEMA = {
    "id-file-name": "a schema does not know the name of the file",
    "duplicate-id": "nor the other files",
    "unknown-account": "nor the settings",
    "unknown-template": "nor which templates there are",
    "template-name": "nor that two are of one name",
    "secret-literal": "comments are no values",
    "schema-multiple": "binary floats cannot tell what is a multiple of a hundredth",
}
"""Rules that no schema can hold a file to, and why."""
YAML = "yaml-"
"""Rules of this kind are about the text, before any schema: other parsers read on, refuse it too, or crash on it."""

TYPES = ("dca", "grid", "sma_cross")
CONFIG = json.loads((CASES / "grid.schema.json").read_text(encoding="utf-8"))
FACTS = DefinitionFacts("grid", "strategies/grid.py", "c0de", CONFIG, True)
ACCOUNTS = Accounts({"main": DeclaredAccount("main", "paper", real_money=False)}, any_on=None)


def definition(strategy_type: str, config_schema: dict[str, Any]) -> Definition:
    return Definition(strategy_type, f"strategies/{strategy_type}.py", "", Strategy, "", 1.0, 10, False, config_schema)


CORPUS = exported([definition(t, CONFIG if t == "grid" else {"type": "object"}) for t in TYPES], SCHEMA)


def cases(*folders: str) -> list[Path]:
    paths = [path for folder in folders for path in (CASES / folder).iterdir()]
    return sorted(path for path in paths if path.suffix in (".yaml", ".yml"))


def source(path: Path, folder: str) -> SourceFile:
    return SourceFile(f"{folder}/{path.name}", path.read_bytes(), "f11e", committed=True)


TEMPLATES = templates_by_name(source(path, "instances/_templates") for path in cases("_templates"))


@cache
def judged(path: Path) -> Evaluation:
    return evaluate(source(path, "instances"), {"grid": FACTS}.get, ACCOUNTS, TYPES, TEMPLATES)


def own_problems(path: Path) -> list[Problem]:
    """What is wrong with an instance's own file: not what stands in its template, or in neither of the two."""
    evaluation = judged(path)
    problems = [problem for problem in evaluation.problems if problem.path == evaluation.path]
    return [p for p in problems if not (p.rule == "schema-required" and evaluation.template_path)]


def problems_of_template(path: Path) -> set[Problem]:
    """What is wrong with a template, by itself and for the instances that use it."""
    everything = {p for case in cases("valid", "invalid") for p in judged(case).problems}
    everything |= {p for template in TEMPLATES.values() for p in template.problems}
    return {problem for problem in everything if problem.path == f"instances/_templates/{path.name}"}


def is_readable(problems: Iterable[Problem]) -> bool:
    return not any(problem.rule.startswith(YAML) for problem in problems)


INSTANCES = [path for path in cases("valid", "invalid") if is_readable(own_problems(path))]
SHARED = [path for path in cases("_templates") if is_readable(problems_of_template(path))]


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def refused_by_check_jsonschema(schema: str, files: Iterable[Path], folder: Path) -> set[Path]:
    """Those of the files that it finds anything wrong with."""
    (folder / "schema.json").write_text(schema, encoding="utf-8")
    names = [str(path) for path in files]
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", "schema.json", "-o", "json", *names]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50)
    answer = json.loads(done.stdout)
    assert not answer.get("parse_errors")
    return {Path(found["filename"]) for found in answer["errors"]}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> set[Path]:
    """The files of the corpus that check-jsonschema refuses, each by the exported schema for its kind."""
    folder = tmp_path_factory.mktemp("schema")
    return {
        *refused_by_check_jsonschema(CORPUS[INSTANCE], INSTANCES, folder),
        *refused_by_check_jsonschema(CORPUS[TEMPLATE], SHARED, folder),
    }


def assert_agreement(problems: Iterable[Problem], is_refused: bool) -> None:
    """`is_refused` is what check-jsonschema thinks of the file, `problems` are the validator's."""
    sayable = {problem.rule for problem in problems} - BEYOND_A_SCHEMA.keys()
    assert is_refused == bool(sayable), f"the validator says {sorted(sayable) or 'nothing that a schema could say'}"


@pytest.mark.parametrize("path", INSTANCES, ids=name_of)
def test_check_jsonschema_and_the_validator_agree_on_the_corpus(refused: set[Path], path: Path) -> None:
    assert_agreement(own_problems(path), path in refused)


@pytest.mark.parametrize("path", INSTANCES, ids=name_of)
def test_our_own_validator_reads_the_exported_schema_as_check_jsonschema_does(refused: set[Path], path: Path) -> None:
    document = parse(path.read_bytes(), path.name)
    assert isinstance(document, Document)
    assert bool(check(document.values, json.loads(CORPUS[INSTANCE]))) == (path in refused)


@pytest.mark.parametrize("path", SHARED, ids=name_of)
def test_they_agree_on_its_templates(refused: set[Path], path: Path) -> None:
    assert_agreement(problems_of_template(path), path in refused)


def test_each_rule_that_is_beyond_a_schema_is_one_that_the_validator_has() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "reconciler").rglob("*.py")]
    for rule in BEYOND_A_SCHEMA:
        assert any(f'"{rule}"' in text for text in sources), rule


def test_check_jsonschema_finds_nothing_wrong_with_this_fleet_s_instances(tmp_path: Path) -> None:
    committed = (ROOT / INSTANCE).read_text(encoding="utf-8")
    files = sorted((ROOT / "instances").glob("*.y*ml"))
    assert files
    assert refused_by_check_jsonschema(committed, files, tmp_path) == set()


@pytest.fixture(scope="module")
def strategies() -> dict[str, dict[str, Any]]:
    """The CONFIG_SCHEMA of each example strategy."""
    paths = sorted((ROOT / "strategies").glob("*.py"))
    catalogue = Catalogue()
    catalogue.refresh(tuple(source(path, "strategies") for path in paths))
    return {
        facts.strategy_type: dict(facts.config_schema) for facts in map(catalogue.facts, catalogue.types()) if facts
    }


@pytest.fixture(scope="module")
def committed(strategies: dict[str, dict[str, Any]]) -> dict[str, Draft202012Validator]:
    """jsonschema's own validator for each exported schema of the example strategies, by path."""
    files = exported([definition(name, schema) for name, schema in strategies.items()], SCHEMA)
    return {path: Draft202012Validator(json.loads(text)) for path, text in files.items()}


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 600)
    | st.floats(-1, 600, allow_nan=False)
    | st.sampled_from(["", "0", "0.5", "100", "1.50", "1e3", "-1", "0.0", "1m", "1h", "five"])
)


@settings(max_examples=drawn(200), deadline=None)
@given(data=st.data())
def test_they_agree_on_any_config_of_the_example_strategies(
    strategies: dict[str, dict[str, Any]], committed: dict[str, Draft202012Validator], data: st.DataObject
) -> None:
    strategy_type = data.draw(st.sampled_from(sorted(strategies)))
    schema = strategies[strategy_type]
    values = SCALARS | st.lists(SCALARS, max_size=2)
    right = {
        name: st.sampled_from([*part.get("examples", ()), part["default"]] if "default" in part else part["examples"])
        for name, part in schema["properties"].items()
        if "default" in part or "examples" in part
    }
    config = data.draw(st.fixed_dictionaries({}, optional=right))
    config |= data.draw(st.dictionaries(st.sampled_from([*schema["properties"], "unknown"]), values, max_size=2))
    instance = {"id": "a", "strategy_type": strategy_type, "market": "A/B", "mode": "off", "config": config}
    instance["account"] = {"account_id": "main", "client_id": "desk"}
    valid = not compile_config_schema(schema).violations(config)
    assert committed[strategy_path(strategy_type)].is_valid(config) == valid
    assert committed[INSTANCE].is_valid(instance) == valid
