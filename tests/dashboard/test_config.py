"""Config lines: what was written, what is in force, what is a default."""

from __future__ import annotations

from reconciler.dashboard.pages import ConfigLine, config_lines


def test_defaults_are_told_from_what_was_written() -> None:
    assert config_lines({"levels": 5}, {"levels": 5, "step": "0.5"}, {}) == [
        ConfigLine("levels", "5", "5", is_default=False),
        ConfigLine("step", "", "0.5", is_default=True),
    ]


def test_a_default_within_a_written_map_is_found() -> None:
    lines = config_lines({"band": {"low": "1"}}, {"band": {"low": "1", "high": "9"}}, {})
    assert [(line.pointer, line.is_default) for line in lines] == [("band.low", False), ("band.high", True)]


def test_empty_maps_lists_and_null_are_values() -> None:
    lines = config_lines({"a": {}, "b": [1], "c": None}, {"a": {}, "b": [1], "c": None}, {})
    assert [(line.pointer, line.effective) for line in lines] == [("a", "{}"), ("b", "[1]"), ("c", "null")]
    assert not any(line.is_default for line in lines)


def test_a_secret_is_shown_as_the_reference_it_is() -> None:
    (line,) = config_lines({"key": {"env": "API_KEY"}}, {"key": {"env": "API_KEY"}}, {})
    assert (line.pointer, line.effective) == ("key.env", "API_KEY")


def test_each_written_value_says_where_it_was_written() -> None:
    origins = {"config.levels": "instances/a.yaml:7", 'config.band["a b"]': "instances/_templates/grid.yaml:3"}
    config = {"levels": 5, "band": {"a b": "1"}, "late": 2}
    lines = config_lines(config, {**config, "step": "0.5"}, origins)
    assert [(line.pointer, line.origin) for line in lines] == [
        ("levels", "instances/a.yaml:7"),
        ('band["a b"]', "instances/_templates/grid.yaml:3"),
        ("late", ""),
        ("step", ""),
    ]
