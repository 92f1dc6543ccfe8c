from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import Problem
from reconciler.review.validate import rule

PROBLEM = Problem("instances/a.yaml", 14, 11, "config.levels", "expected an integer", "", "schema-type")
FAMILIES = re.compile(r'"((?:yaml|schema|code|definition|template|secret)-[a-z0-9-]+)"')


def named(name: str) -> Problem:
    return replace(PROBLEM, rule=name)


def test_a_rule_has_a_title_and_a_way_to_mend() -> None:
    assert rule.title("mode-step") == "A mode rises by more than one step"
    assert "one step at a time" in rule.mend("mode-step")


def test_an_unknown_rule_is_told_in_its_own_words() -> None:
    assert rule.title("of-tomorrow") == "Of tomorrow"
    assert "reconciler validate" in rule.mend("of-tomorrow")


def test_a_problem_without_a_rule_has_a_name_all_the_same() -> None:
    assert rule.name(named("")) == "other"
    assert rule.name(PROBLEM) == "schema-type"


def test_a_secret_is_revoked_whatever_the_rule_is_called() -> None:
    assert rule.mend("schema-secret") == rule.mend("secret-literal")
    assert "Revoke" in rule.mend("schema-secret")


def test_the_gravest_is_the_most_urgent() -> None:
    ranks = [rule.urgency(named(name)) for name in ("mode-step", "identity-changed", "secret-literal", "schema-type")]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)


@pytest.mark.parametrize(("name", "safety"), [("mode-step", True), ("schema-secret", True), ("schema-type", False)])
def test_safety_is_what_can_trade_vanish_or_leak(name: str, safety: bool) -> None:
    assert rule.is_about_safety(named(name)) is safety


def test_every_rule_of_a_family_that_the_engine_knows_has_a_title() -> None:
    engine = Path(rule.__file__).parents[2]
    sources = [
        path
        for folder in ("documents", "validation", "records", "strategy")
        for path in (engine / folder).rglob("*.py")
    ]
    named = {name for path in sources for name in FAMILIES.findall(path.read_text(encoding="utf-8"))}
    assert "yaml-duplicate-key" in named
    assert sorted(name for name in named if not rule.is_titled(name)) == []
