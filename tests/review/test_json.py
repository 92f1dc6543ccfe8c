from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from jsonschema import Draft202012Validator

from reconciler.errors import Problem
from reconciler.review.validate.report import Report
from reconciler.review.validate.report_formats import as_json
from reconciler.visible import storable

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "report.schema.json").read_text(encoding="utf-8"))
PROBLEM = Problem("instances/a.yaml", 14, 11, "config.größe", "expected an integer", "a hint", "schema-type")


def test_items_are_problems_as_the_api_has_them() -> None:
    written = as_json(Report((PROBLEM,), {"instances/a.yaml": (PROBLEM,), "instances/b.yaml": ()}))
    assert json.loads(written) == {
        "items": [PROBLEM.to_json()],
        "valid": 1,
        "files": 2,
        "invalid": ["instances/a.yaml"],
    }
    assert "größe" in written


def test_nothing_wrong_is_an_empty_list() -> None:
    assert json.loads(as_json(Report())) == {"items": [], "valid": 0, "files": 0, "invalid": []}


def test_the_schema_describes_every_key() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["required"] == list(SCHEMA["properties"])
    item = SCHEMA["$defs"]["problem"]
    assert item["required"] == list(item["properties"]) == list(PROBLEM.to_json())
    assert all(of["description"] for of in [*SCHEMA["properties"].values(), *item["properties"].values()])


@given(...)
def test_any_text_is_read_back_as_it_was_and_meets_the_schema(report: Report) -> None:
    document = json.loads(as_json(report).encode())
    Draft202012Validator(SCHEMA).validate(document)
    for item, problem in zip(document["items"], report.problems, strict=True):
        assert item == {key: storable(v) if isinstance(v, str) else v for key, v in problem.to_json().items()}
