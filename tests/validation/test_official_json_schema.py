"""JSON-Schema-Test-Suite, draft 2020-12: each schema below a property of a CONFIG_SCHEMA. See tests/suites/README.md.

The verdicts that are not the suite's: its required part takes `format` for a note, which is an assertion here.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from reconciler.validation.conformance import faults
from reconciler.validation.schema_tree import every
from reconciler.validation.validator import check, compile_config_schema, compile_schema, schema_problems

SUITE = Path(__file__).parents[1] / "suites" / "json-schema.json.gz"


class Verdict(NamedTuple):
    file: str
    about: str
    value: Any
    expected: bool
    found: bool
    quick: bool | None
    """What the quick path says; None where it is not asked."""
    strict: bool


class Outcome(NamedTuple):
    taken: int
    refused: int
    verdicts: tuple[Verdict, ...]

    def counts(self) -> Counter[str]:
        return Counter(
            run=len(self.verdicts),
            right=sum(one.expected == one.found for one in self.verdicts),
            asked=sum(one.quick is not None for one in self.verdicts),
            quick=sum(one.quick is True for one in self.verdicts),
        )


def below_a_property(schema: Any) -> dict[str, Any]:
    schema = copy.deepcopy(schema)
    top: dict[str, Any] = {"type": "object", "properties": {"v": schema}}
    if isinstance(schema, dict):
        if "$schema" in schema:
            top["$schema"] = schema.pop("$schema")
        for _, part in every(schema):
            if isinstance(part, dict) and str(part.get("$ref")).startswith(("#/", "#")):
                name = part["$ref"].removeprefix("#")
                part["$ref"] = f"#/properties/v{name}" if name.startswith("/") or not name else part["$ref"]
    return top


@cache
def outcome(part: str) -> Outcome:
    groups = [
        (file, group)
        for file, found in json.loads(gzip.decompress(SUITE.read_bytes()))[part].items()
        for group in found
    ]
    verdicts: list[Verdict] = []
    refused = 0
    for file, group in groups:
        schema = below_a_property(group["schema"])
        if schema_problems(schema):
            refused += 1
        else:
            verdicts += _verdicts(file, group, schema)
    return Outcome(len(groups) - refused, refused, tuple(verdicts))


def _verdicts(file: str, group: Any, schema: dict[str, Any]) -> Iterator[Verdict]:
    compiled = compile_schema(schema)
    is_asked = compiled._accept is not None
    for value, expected in group["tests"]:
        values = {"v": value}
        quick = compiled.accepts(values) if is_asked else None
        strict = not compile_config_schema(schema).violations(values)
        yield Verdict(file, group["description"], value, expected, not check(values, schema), quick, strict)
        if quick:
            assert list(faults(values, schema, schema)) == [], (group["description"], value)


@pytest.mark.parametrize(
    ("part", "taken", "least"),
    [
        ("required", 296, {"run": 1_087, "right": 1_068, "asked": 571, "quick": 313}),
        ("optional", 46, {"run": 565, "right": 565, "asked": 77, "quick": 37}),
    ],
)
def test_no_fewer_verdicts_are_right_than_were(part: str, taken: int, least: dict[str, int]) -> None:
    found = outcome(part)
    assert found.taken >= taken
    counts = found.counts()
    assert all(counts[name] >= number for name, number in least.items()), counts


def test_what_differs_is_that_a_format_is_an_assertion() -> None:
    wrong = [one for part in ("required", "optional") for one in outcome(part).verdicts if one.expected != one.found]
    assert {one.file for one in wrong} == {"format.json"}
    assert all(one.expected for one in wrong)
    assert len(wrong) <= 19


@pytest.mark.parametrize("part", ["required", "optional"])
def test_the_quick_path_and_the_strict_form_are_never_more_lenient(part: str) -> None:
    assert [one for one in outcome(part).verdicts if one.quick and not one.expected] == []
    assert [one for one in outcome(part).verdicts if one.strict and not one.found] == []
