from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.records.instance_schema import instance_schema, template_schema
from reconciler.review.editor import EDITOR_SETTINGS, MARK, differences, exported, is_ours
from reconciler.settings import SCHEMA
from reconciler.strategy import Strategy
from reconciler.strategy.definition import Definition

ROOT = Path(__file__).parents[2]
INSTANCE, TEMPLATE = "schemas/instance.schema.json", "schemas/template.schema.json"
LEVELS = {"type": "object", "required": ["levels"], "properties": {"levels": {"type": "integer"}}}
HEAD = {"id": "a", "account": {"account_id": "main", "client_id": "desk"}, "market": "BTC/USD", "mode": "off"}

Define = Callable[..., Definition]


@pytest.fixture
def define() -> Define:
    def make(strategy_type: str, config_schema: dict[str, Any], description: str = "") -> Definition:
        path = f"strategies/{strategy_type}.py"
        return Definition(strategy_type, path, "c0de", Strategy, description, 1.0, 10, False, config_schema)

    return make


def schemas(*definitions: Definition) -> dict[str, Any]:
    return {path: json.loads(text) for path, text in exported(definitions, SCHEMA).items()}


def accepts(schema: Any, **values: Any) -> bool:
    return bool(Draft202012Validator(schema).is_valid(values))


def test_every_schema_is_json_schema_and_says_that_it_is_generated(define: Define) -> None:
    files = schemas(define("grid", LEVELS), define("dca", {"type": "object"}))
    assert set(files) == {
        *(f"schemas/{name}.schema.json" for name in ("instance", "template", "halt", "reconciler")),
        "schemas/strategies/dca.schema.json",
        "schemas/strategies/grid.schema.json",
    }
    for schema in files.values():
        Draft202012Validator.check_schema(schema)
        assert schema["$comment"] == MARK


def test_without_any_strategy_there_are_schemas_all_the_same() -> None:
    files = schemas()
    Draft202012Validator.check_schema(files[TEMPLATE])
    assert accepts(files[TEMPLATE], config={"any": "thing"})
    assert not accepts(files[INSTANCE], **HEAD, strategy_type="grid", config={})


def test_the_config_is_that_of_the_strategy_the_file_names(define: Define) -> None:
    schema = schemas(define("grid", LEVELS), define("dca", {"type": "object", "properties": {"every": {}}}))[INSTANCE]
    assert accepts(schema, **HEAD, strategy_type="grid", config={"levels": 5})
    assert accepts(schema, **HEAD, strategy_type="dca", config={"every": 5})
    assert not accepts(schema, **HEAD, strategy_type="grid", config={"levels": "five"})
    assert not accepts(schema, **HEAD, strategy_type="grid", config={"levels": 5, "every": 5})
    assert not accepts(schema, **HEAD, strategy_type="grid", config={})
    assert not accepts(schema, **HEAD, strategy_type="grid")
    assert not accepts(schema, **HEAD, strategy_type="sma", config={"levels": 5})
    assert not accepts(schema, **HEAD, config={"levels": 5})


def test_on_a_template_only_what_is_written_is_judged(define: Define) -> None:
    schema = schemas(define("grid", LEVELS))[INSTANCE]
    head = {**HEAD, "strategy_type": "grid", "template": "majors"}
    assert accepts(schema, **head)
    assert accepts(schema, **head, config={})
    assert not accepts(schema, **head, config={"levels": "five"})
    assert not accepts(schema, **head, config={"lvels": 5})


def test_a_template_holds_a_part_of_some_strategy_s_config(define: Define) -> None:
    schema = schemas(define("grid", LEVELS), define("dca", {"type": "object", "properties": {"every": {}}}))[TEMPLATE]
    assert accepts(schema, config={"levels": 5}, **{"x-note": "so"})
    assert accepts(schema, config={"every": 5}, limits={"max_open_orders": 10})
    assert not accepts(schema, config={"levels": 5, "every": 5})
    assert not accepts(schema, config={"levels": "five"})
    assert not accepts(schema, mode="off")


def test_each_strategy_is_offered_with_the_first_paragraph_of_what_it_says_of_itself(define: Define) -> None:
    grid = define("grid", LEVELS, "Keeps a ladder\nof orders.\n\nMore than anybody reads.")
    offered = schemas(grid, define("dca", LEVELS))[INSTANCE]["properties"]["strategy_type"]
    assert offered["enum"] == ["dca", "grid"]
    assert offered["enumDescriptions"] == ["", "Keeps a ladder of orders."]


def test_a_strategy_s_schema_is_the_strict_form_that_validation_uses(define: Define) -> None:
    schema = schemas(define("grid", LEVELS, "Keeps a ladder."))["schemas/strategies/grid.schema.json"]
    assert (schema["title"], schema["description"]) == ("grid config", "Keeps a ladder.")
    assert schema["additionalProperties"] is False
    named = {**LEVELS, "title": "Ladder", "description": "Of orders."}
    schema = schemas(define("grid", named))["schemas/strategies/grid.schema.json"]
    assert (schema["title"], schema["description"]) == ("Ladder", "Of orders.")


def test_what_is_exported_does_not_depend_on_the_order_of_strategies(define: Define) -> None:
    both = [define("grid", LEVELS), define("dca", LEVELS)]
    assert exported(both, SCHEMA) == exported(reversed(both), SCHEMA)


def test_exporting_changes_no_schema_that_validation_uses(define: Define) -> None:
    before = json.dumps([instance_schema(), template_schema(), LEVELS, SCHEMA])
    schemas(define("grid", LEVELS))
    assert json.dumps([instance_schema(), template_schema(), LEVELS, SCHEMA]) == before


def test_a_file_is_missing_stale_or_left_over() -> None:
    ours = json.dumps({"$comment": MARK})
    found = {"a": ours, "b": ours, "gone": ours, "own": '{"$comment": "mine"}', "list": "[]", "broken": "{"}
    wanted = {"a": ours, "b": "new", "c": "new"}
    assert list(differences(wanted, found)) == [("b", "stale"), ("c", "missing"), ("gone", "left over")]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"$comment": "mine"}'])
def test_what_does_not_say_so_is_not_ours(text: str) -> None:
    assert not is_ours(text)


def test_the_committed_editor_settings_know_the_schemas() -> None:
    committed = json.loads((ROOT / ".vscode" / "settings.json").read_text(encoding="utf-8"))
    assert committed == EDITOR_SETTINGS
    assert {path.removeprefix("./") for path in committed["yaml.schemas"]} <= set(exported((), SCHEMA))
