from __future__ import annotations

from typing import Any

import pytest

from reconciler.documents.scalars import Unusable, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("on", "on"),
        ("yes", "yes"),
        ("n", "n"),
        ("tRue", "tRue"),
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("nULL", "nULL"),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("0o18", "0o18"),
        ("-0x1F", "-0x1F"),
        ("+5", 5),
        ("-5", -5),
        ("1_000", "1_000"),
        ("1,000", "1,000"),
        ("12:30:00", "12:30:00"),
        ("190:20:30", "190:20:30"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31T12:00:00Z", "2024-01-31T12:00:00Z"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        ("1E-3", 0.001),
        ("1e", "1e"),
        (".", "."),
        ("+", "+"),
        ("-", "-"),
        ("..5", "..5"),
        ("1.2.3", "1.2.3"),
        (".infinity", ".infinity"),
        ("inf", "inf"),
        ("NaN", "NaN"),
        ("٣", "٣"),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("0" * 5000 + "7", 7),
    ],
)
def test_a_plain_word_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    found = resolve(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.Inf", "+.INF", ".nan", ".NaN", ".NAN", "1e999", "-1e999"])
def test_what_is_not_finite_is_unusable(text: str) -> None:
    assert isinstance(resolve(text), Unusable)


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "1" * 5000, "0x" + "F" * 17])
def test_an_integer_beyond_64_bits_is_unusable_however_long_it_is(text: str) -> None:
    found = resolve(text)
    assert isinstance(found, Unusable)
    assert found.message == "expected an integer of at most 64 bits"
