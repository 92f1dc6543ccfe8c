from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator

from reconciler.strategy import __all__ as exported
from reconciler.strategy.widgets import WIDGETS, widgets_schema

COMMITTED = Path(__file__).parents[2] / "schemas" / "widgets.schema.json"


def test_the_committed_schema_is_fresh() -> None:
    fresh = json.dumps(widgets_schema(), indent=2, ensure_ascii=False) + "\n"
    assert COMMITTED.read_text(encoding="utf-8") == fresh


def test_the_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(widgets_schema())


def test_every_widget_has_a_function_that_authors_can_import() -> None:
    assert set(WIDGETS) <= set(exported)
