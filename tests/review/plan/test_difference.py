"""Key by key: what differs, where it comes from, what it does to a limit, and that no secret is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from reconciler.review.plan.differences import ABSENT, Difference, Hidden
from reconciler.review.plan.plan_formats import as_markdown as markdown
from reconciler.review.plan.plan_formats import as_text as text
from reconciler.review.plan.plan_formats import to_json
from tests.review.plan.conftest import SCHEMA, World, fleet, instance, only_change, planned


def differing(old: str, new: str) -> dict[str, Difference]:
    change = only_change(planned(World(fleet(old)), World(fleet(new))))
    return {found.pointer: found for found in change.differences}


def test_each_side_says_where_it_is_written_or_that_it_is_a_default() -> None:
    found = differing(instance("a", config="levels: 5"), instance("a", config="pace: fast"))
    assert (found["config.pace"].old, found["config.pace"].new) == ("slow", "fast")
    assert (found["config.pace"].old_origin, found["config.pace"].new_origin) == ("default", "instances/a.yaml:7")
    assert (found["config.levels"].old, found["config.levels"].new) == (5, ABSENT)
    assert (found["config.levels"].old_origin, found["config.levels"].new_origin) == ("instances/a.yaml:7", "")


def test_odd_keys_are_spelled_so_that_they_can_be_told_apart() -> None:
    found = differing(
        instance("a", config="note: {a.b: 1, a: {b: 1}}"), instance("a", config="note: {a.b: 2, a: {b: 3}}")
    )
    assert [(f.pointer, f.new, f.new_origin) for f in found.values()] == [
        ('config.note["a.b"]', 2, "instances/a.yaml:7"),
        ("config.note.a.b", 3, "instances/a.yaml:7"),
    ]


def test_a_mapping_that_comes_is_told_by_its_keys_and_an_empty_one_as_itself() -> None:
    found = differing(instance("a"), instance("a", rest="labels: {b: c}\nlimits: {}"))
    assert [(f.pointer, f.old, f.new) for f in found.values()] == [("labels.b", ABSENT, "c"), ("limits", ABSENT, {})]


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("[1, 2]", "[1, 3]", [1, 3]),
        ("1", '"1"', "1"),
        ("1", "true", True),
        ("[1]", "[true]", [True]),
        ("1", "1.0", 1.0),
    ],
)
def test_a_list_is_told_whole_and_one_is_neither_its_text_nor_true(old: str, new: str, value: object) -> None:
    found = differing(instance("a", config=f"note: {old}"), instance("a", config=f"note: {new}"))["config.note"]
    assert (found.new, repr(found.new)) == (value, repr(value))


@pytest.mark.parametrize(
    ("old", "new", "limit"),
    [
        ('{max_position: "2"}', '{max_position: "10"}', "wider"),
        ('{max_position: "10"}', '{max_position: "9.5"}', "tighter"),
        ('{max_position: "2"}', '{max_position: "2.0"}', None),
        ('{max_position: "2", max_open_orders: 1}', "{max_open_orders: 1}", "removed"),
        ("{max_open_orders: 1}", '{max_position: "2", max_open_orders: 1}', "added"),
        ("{max_open_orders: 9}", "{max_open_orders: 10}", "wider"),
        ("{x-note: a}", "{x-note: b}", None),
    ],
)
def test_what_a_change_does_to_a_limit(old: str, new: str, limit: str | None) -> None:
    (found,) = differing(instance("a", rest=f"limits: {old}"), instance("a", rest=f"limits: {new}")).values()
    assert found.limit == limit
    assert found.opens is (limit in ("wider", "removed"))


def test_limits_that_go_as_a_whole_are_each_removed() -> None:
    limits = 'limits: {max_position: "2", max_open_orders: 3}'
    found = differing(instance("a", rest=limits), instance("a"))
    assert {(f.pointer, f.limit) for f in found.values()} == {
        ("limits.max_position", "removed"),
        ("limits.max_open_orders", "removed"),
    }


def test_references_to_secrets_are_shown() -> None:
    found = differing(instance("a", config="key: {env: OLD}"), instance("a", config="key: {env: NEW}"))
    assert (found["config.key.env"].old, found["config.key.env"].new) == ("OLD", "NEW")


OPEN = {"type": "object", "properties": {"key": {}}}


@pytest.mark.parametrize(
    ("old", "new"),
    [("key: hunter2", "key: {env: KEY}"), ("key: hunter2", "levels: 1"), ("key: {a: hunter2}", "levels: 1")],
)
def test_a_value_that_the_strategy_now_calls_secret_is_not_told(old: str, new: str) -> None:
    """It was written openly while the schema did not say so."""
    before = World(fleet(instance("a", config=old)), schema=OPEN)
    plan = planned(before, World(fleet(instance("a", config=new)), schema=SCHEMA))
    assert any(isinstance(found.old, Hidden) for found in only_change(plan).differences)
    for written in (text(plan), markdown(plan), json.dumps(to_json(plan))):
        assert "hunter2" not in written
        assert "config.key" in written


def test_a_value_that_takes_the_place_of_a_reference_is_not_told() -> None:
    """The schema of before, which called it secret, is not at hand."""
    before = World(fleet(instance("a", config="key: {env: KEY}")))
    plan = planned(before, replace(before, files=fleet(instance("a", config="key: hunter2")), schema=OPEN))
    assert plan.changes
    for written in (text(plan), markdown(plan), json.dumps(to_json(plan))):
        assert "hunter2" not in written


def test_the_mode_is_no_difference_of_values() -> None:
    assert differing(instance("a"), instance("a", "active")) == {}
