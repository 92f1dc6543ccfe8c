"""How values are written."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.clock import iso
from reconciler.dashboard.query import QueryRefusal, error_response
from reconciler.dashboard.render import (
    _ENVIRONMENT,
    aged,
    compile_templates,
    duration,
    fleet_row,
    moment,
    moment_at,
    segment,
    short,
    to_json,
    written,
)
from reconciler.records.mode import Mode
from reconciler.records.status import Health, InstanceStatus, Obstacle, Sync, Ticks
from tests.dashboard.conftest import NOW_S, a_condition, an_instance


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (-1.0, "0.000 s"),
        (0.0124, "0.012 s"),
        (1.0, "1 s"),
        (119.9, "119 s"),
        (120.0, "2 min"),
        (7_200.0, "2 h"),
        (172_800.0, "2 d"),
    ],
)
def test_a_duration_is_written_as_people_say_it(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_moment_is_written_to_the_second() -> None:
    assert moment("2026-01-31T12:00:05.123Z") == "2026-01-31 12:00:05Z"
    assert moment(None) == "–"
    assert moment("yesterday") == "yesterday"


def test_the_date_is_left_out_where_it_is_today() -> None:
    assert moment_at("2026-01-31T12:00:05.123Z", "2026-01-31T13:00:00.000Z") == "12:00:05Z"
    assert moment_at("2026-01-30T12:00:05.123Z", "2026-01-31T13:00:00.000Z") == "2026-01-30 12:00:05Z"
    assert moment_at(None, "2026-01-31T13:00:00.000Z") == "–"


def test_values_are_written_as_json_and_strings_as_themselves() -> None:
    assert (written("a"), written(None), written({"a": [True]})) == ("a", "null", '{"a": [true]}')


def test_a_revision_is_shortened() -> None:
    assert (short("4f2c9d1e8b7a6051"), short(None)) == ("4f2c9d1e8b", "–")


def test_a_path_segment_can_hold_anything() -> None:
    assert segment("a/b?c#d") == "a%2Fb%3Fc%23d"


def test_json_has_exact_decimals_and_no_nan() -> None:
    assert to_json({"x": Decimal("1.10")}) == b'{"x":"1.1"}'
    with pytest.raises(ValueError, match="JSON"):
        to_json({"x": float("nan")})
    with pytest.raises(TypeError, match="expected a plain value, was object"):
        to_json(object())


def test_text_that_utf_8_cannot_hold_takes_no_page_down() -> None:
    assert json.loads(to_json({"a\ud800": "\udcff"})) == {"a\ud800": "\udcff"}
    refusal = QueryRefusal(404, "no instance \ud800")
    assert json.loads(bytes(error_response("/api/v1/x", refusal).body))["error"]["message"] == "no instance \ud800"
    assert b"no instance \\ud800" in bytes(error_response("/x", refusal).body)


def test_what_turns_text_around_is_shown_and_lines_stay() -> None:
    source = "{{ said }}{% macro own() %}<b>\n{{ said }}</b>{% endmacro %}{{ own() }}"
    shown = _ENVIRONMENT.from_string(source).render(said="a\u202eb\x1b[1m\nc\td")
    assert shown == "a\\u202eb\\x1b[1m\nc\td<b>\na\\u202eb\\x1b[1m\nc\td</b>"


def test_json_hides_nothing() -> None:
    assert to_json({"a": "\u202e\x9b\ud800"}) == b'{"a":"\\u202e\\u009b\\ud800"}'


def some_ticks(**changes: Any) -> Ticks:
    """Late by then, where one is due."""
    ticks = Ticks(12, 0, 0, iso(NOW_S - 100), 0.004, iso(NOW_S + 54), iso(NOW_S - 100), 60.0)
    return replace(ticks, **changes)


def a_row(one: InstanceStatus, *, is_real: bool = False, now_s: float = NOW_S) -> Any:
    return fleet_row(one, is_real, iso(now_s), 6.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "other"},
        {"description": "a new one"},
        {"description": "x" * 3_000},
        {"labels": {"team": "minors"}},
        {"strategy_type": "grid"},
        {"account_id": "second"},
        {"client_id": "desk-b"},
        {"market": "ETH/USD"},
        {"mode": Mode.ACTIVE},
        {"effective_mode": Mode.ACTIVE},
        {"paused": True},
        {"frozen_with_exposure": True},
        {"sync": Sync.INVALID},
        {"health": Health.STUCK},
        {"ticks": some_ticks()},
        {"ticks": some_ticks(last_good_at=iso(NOW_S - 7))},
        {"ticks": some_ticks(last_good_at=None)},
        {"ticks": some_ticks(last_good_at=None, last_at=None)},
        {"ticks": some_ticks(every_s=120.0)},
        {"ticks": some_ticks(every_s=None)},
        {"ticks": some_ticks(next_at=None)},
        {"ticks": some_ticks(errors=1)},
        {"ticks": some_ticks(errors=1, errors_last_hour=1)},
        {"ticks": some_ticks(missed=1)},
        {"ticks": some_ticks(missed=1, missed_last_hour=1)},
        {"conditions": (a_condition("Trading", True, "Open"),)},
        {"conditions": (a_condition("Trading", False, "Halted"),), "obstacles": (Obstacle("Halted", "by uid 1"),)},
    ],
    ids=lambda changes: " and ".join(f"{key}={value}" for key, value in changes.items())[:60],
)
def test_a_row_that_says_something_else_is_rendered_anew(changes: dict[str, Any]) -> None:
    before = a_row(an_instance())
    assert a_row(an_instance(**changes)) != before
    assert a_row(an_instance()) == before


def test_the_ages_of_a_row_are_those_of_the_moment_it_is_asked_for() -> None:
    one = an_instance()
    assert "6 s ago" in a_row(one)
    assert "9 s ago" in a_row(one, now_s=NOW_S + 3)
    assert 'class="late"' not in a_row(one, now_s=NOW_S + 66)
    assert 'class="late"' in a_row(one, now_s=NOW_S + 67), "a cadence and two heartbeats"


def test_every_template_is_compiled_before_anybody_looks() -> None:
    assert _ENVIRONMENT.cache is not None
    _ENVIRONMENT.cache.clear()
    compile_templates().join()
    assert len(_ENVIRONMENT.cache) == len(_ENVIRONMENT.list_templates()) > 10


def test_whose_money_is_real_is_no_part_of_a_kept_row_of_paper() -> None:
    active = an_instance(mode=Mode.ACTIVE, effective_mode=Mode.ACTIVE)
    assert "real money" not in a_row(active)
    assert "active on real money" in a_row(active, is_real=True)


def test_what_a_row_says_is_escaped_however_it_is_kept() -> None:
    row = a_row(an_instance(description="<b>bold</b>\u202e", labels={"a": "<i>"}))
    assert "<b>bold" not in row
    assert "&lt;b&gt;bold" in row
    assert "\u202e" not in row
    assert "<i>" not in row


def test_an_age_is_late_where_it_is_longer_than_it_should_be() -> None:
    now = "2026-01-31T12:00:10.000Z"
    assert aged("2026-01-31T12:00:05.000Z", now, 5.0) == ("5 s ago", False)
    assert aged("2026-01-31T12:00:04.000Z", now, 5.0) == ("6 s ago", True)
    assert aged("2026-01-31T12:00:04.000Z", now, None) == ("6 s ago", False)
    assert aged(None, now, 5.0) == ("–", False)
    assert aged("no time", now, 5.0) == ("no time", False)
