"""The plan for machines, held to its published schema."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from jsonschema import Draft202012Validator

from reconciler.review.plan.model import FleetPlan, Point
from reconciler.review.plan.plan_formats import as_json, to_json
from tests.drawing import drawn
from tests.review.plan.conftest import World, fleet, instance, planned
from tests.review.plan.hostile import PLANS

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def test_the_schema_itself_is_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@settings(max_examples=drawn(40))
@given(plan=PLANS)
def test_every_plan_meets_the_schema_and_can_be_written(plan: FleetPlan) -> None:
    VALIDATOR.validate(json.loads(json.dumps(to_json(plan))))
    as_json(plan).encode()


def test_what_a_ci_asks_for() -> None:
    limits = 'limits: {max_position: "2"}'
    old = fleet(instance("rise", account="play"), instance("live", "active", rest=limits), instance("b"))
    new = fleet(
        instance("rise", "active", account="play"),
        instance("live", "active", rest=limits.replace("2", "2.50")),
        instance("b", config="levels: 7"),
    )
    told = json.loads(as_json(planned(World(old), World(new))))
    VALIDATOR.validate(told)
    assert (told["version"], told["raises"], told["active_changes"]) == (1, ["rise"], ["live"])
    assert told["before"] == {"label": "origin/main (merge base 1a2b3c4d)", "revision": "1a2b3c4d" * 5}
    rise, live, _ = told["changes"]
    assert (rise["account"]["money"], rise["mode"]["before"], rise["mode"]["after"]) == ("paper", "observe", "active")
    assert live["limits"] == {"max_position": "2.50"}
    assert live["differences"] == [
        {
            "pointer": "limits.max_position",
            "before": {"value": "2", "origin": "instances/live.yaml:8"},
            "after": {"value": "2.50", "origin": "instances/live.yaml:8"},
            "limit": "wider",
        }
    ]


def test_nothing_to_do_is_all_there_and_empty() -> None:
    told = to_json(FleetPlan(Point("a"), Point("b")))
    VALIDATOR.validate(told)
    assert (told["summary"], told["raises"], told["changes"]) == ("nothing to do", [], [])
