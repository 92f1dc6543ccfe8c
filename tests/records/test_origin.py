from __future__ import annotations

from dataclasses import replace

from reconciler.records.evaluation import Evaluation, holds, leaves, origins
from reconciler.records.snapshot import SourceFile
from reconciler.records.template import read_template

INSTANCE = b"id: a\ntemplate: grid\nconfig:\n  levels: 7\n"
TEMPLATE = b"config:\n  spacing: 0.25\n  levels: 5\nlimits: {}\n"


def evaluation(source: bytes | None) -> Evaluation:
    template = read_template(SourceFile("instances/_templates/grid.yaml", TEMPLATE, "d1ce", committed=True))
    return replace(
        Evaluation("instances/a.yaml", "f11e", "a", None, None, "", "", "", ()), source=source, template=template
    )


def test_every_value_that_was_written_has_its_file_and_line() -> None:
    assert origins(evaluation(INSTANCE)) == {
        "id": "instances/a.yaml:1",
        "template": "instances/a.yaml:2",
        "config.spacing": "instances/_templates/grid.yaml:2",
        "config.levels": "instances/a.yaml:4",
        "limits": "instances/_templates/grid.yaml:4",
    }


def test_a_file_that_does_not_parse_has_none() -> None:
    assert origins(evaluation(b"id: [")) == {}
    assert origins(evaluation(None)) == {}


def test_leaves_are_what_is_no_mapping_or_an_empty_one() -> None:
    assert list(leaves({"a": {"b": [1, {"c": 2}]}, "d": {}})) == [(("a", "b"), [1, {"c": 2}]), (("d",), {})]


def test_a_value_is_held_where_mappings_lead_to_it() -> None:
    values = {"a": {"b": None}, "c": 5}
    assert holds(values, ("a", "b"))
    assert not holds(values, ("a", "c"))
    assert not holds(values, ("c", "b"))
