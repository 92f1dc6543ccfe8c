"""How values are written."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from reconciler.dashboard.query import QueryRefusal, error_response
from reconciler.dashboard.render import _ENVIRONMENT, duration, moment, moment_at, segment, short, to_json, written


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
