from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from reconciler.records.instance_schema import instance_schema
from reconciler.validation.conformance import schema_faults
from reconciler.validation.validator import check, compile_schema, is_schema

MINIMAL: dict[str, Any] = {
    "id": "a",
    "strategy_type": "grid",
    "account": {"account_id": "main", "client_id": "desk"},
    "market": "BTC/USD",
    "mode": "off",
    "config": {},
}


def fields(schema: dict[str, Any], pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, part in schema.get("properties", {}).items():
        yield f"{pointer}{name}", part
        yield from fields(part, f"{pointer}{name}.")


def test_it_is_a_schema() -> None:
    assert is_schema(instance_schema())
    assert list(schema_faults(instance_schema())) == []


def test_every_field_has_a_title_a_description_and_examples_that_are_valid() -> None:
    found = dict(fields(instance_schema()))
    assert {"id", "account.client_id", "limits.max_daily_loss", "template"} <= found.keys()
    for name, part in found.items():
        assert part["title"], name
        assert part["description"], name
        assert part["examples"], name
        assert all(check(example, part) == [] for example in part["examples"]), name


def test_every_default_is_valid_and_what_a_record_holds() -> None:
    defaults = {name: part["default"] for name, part in fields(instance_schema()) if "default" in part}
    assert defaults == {"description": "", "open_orders": "keep", "protect": False, "data_markets": []}


@pytest.mark.parametrize("place", [(), ("account",), ("limits",)])
def test_notes_are_welcome_where_people_keep_them(place: tuple[str, ...]) -> None:
    values = {**MINIMAL, "limits": {}}
    for step in place:
        values = {**values, step: {**values[step], "x-note": [1]}}
    values = {**values, "x-note": "top"}
    assert compile_schema(instance_schema()).accepts(values)


@pytest.mark.parametrize("amount", ["0", "500", "0.05", "1.10", "123456789012345678.123456789012345678"])
def test_money_is_a_plain_decimal_in_quotes(amount: str) -> None:
    assert check({**MINIMAL, "limits": {"max_position": amount}}, instance_schema()) == []


@pytest.mark.parametrize("amount", ["", "-1", "1e3", "1,5", ".5", "5.", "007", "NaN", "Infinity", " 5", "5\n", "٣"])
def test_money_spelled_any_other_way_is_refused(amount: str) -> None:
    (violation,) = check({**MINIMAL, "limits": {"max_position": amount}}, instance_schema())
    assert violation.path == ("limits", "max_position")


@pytest.mark.parametrize("id", ["a", "9", "btc-grid-1", "a" * 63])
def test_an_id_is_short_and_lower_case(id: str) -> None:
    assert check({**MINIMAL, "id": id}, instance_schema()) == []


@pytest.mark.parametrize("id", ["", "-a", "A", "a_b", "a.b", "a/b", "a" * 64, "a\n", "é"])
def test_any_other_id_is_refused(id: str) -> None:
    (violation,) = check({**MINIMAL, "id": id}, instance_schema())
    assert violation.path == ("id",)
