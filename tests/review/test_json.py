from __future__ import annotations

import json as standard_json

from reconciler.errors import Problem
from reconciler.review import json
from reconciler.review.report import Report

PROBLEM = Problem("instances/a.yaml", 14, 11, "config.größe", "expected an integer", "a hint", "schema-type")


def test_items_are_problems_as_the_api_has_them() -> None:
    written = json.render(Report((PROBLEM,), 2, 1))
    assert standard_json.loads(written) == {"items": [PROBLEM.to_json()], "valid": 1, "files": 2}
    assert "größe" in written


def test_nothing_wrong_is_an_empty_list() -> None:
    assert standard_json.loads(json.render(Report((), 0, 0))) == {"items": [], "valid": 0, "files": 0}
