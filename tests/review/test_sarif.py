from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from jsonschema import Draft4Validator

from reconciler import __version__
from reconciler.errors import Problem
from reconciler.review.validate import report_formats
from reconciler.review.validate.report import Report, statement
from reconciler.review.validate.report_formats import fingerprints
from reconciler.visible import storable, visible

PROBLEM = Problem(
    "instances/a b.yaml", 14, 11, "config.levels", 'expected an integer, was "five"', "remove the quotes", "schema-type"
)
STEP = Problem("instances/b.yaml", 0, 0, "mode", "expected observe first", "", "mode-step")
URI = re.compile(r"(?:[A-Za-z0-9_.~/-]|%[0-9A-F]{2})+")
LINK = re.compile(r"(?<!\\)\]\(")


@cache
def published() -> Draft4Validator:
    path = Path(__file__).parent / "published" / "sarif-2.1.0-rtm.5.json"
    return Draft4Validator(json.loads(path.read_text(encoding="utf-8")))


def read(report: Report) -> dict[str, Any]:
    log = json.loads(report_formats.as_sarif(report).encode())
    published().validate(log)
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def displayed(message: dict[str, str]) -> str:
    """A message as a viewer shows it (3.11.5)."""
    return message["text"].replace("{{", "{").replace("}}", "}")


def test_the_tool_and_its_rules_are_described() -> None:
    driver = read(Report((PROBLEM, STEP)))["tool"]["driver"]
    assert (driver["name"], driver["semanticVersion"]) == ("reconciler", __version__)
    assert [rule["id"] for rule in driver["rules"]] == ["mode-step", "schema-type"]
    assert driver["rules"][0]["shortDescription"]["text"] == "A mode rises by more than one step"
    assert "one step at a time" in driver["rules"][0]["help"]["text"]


def test_a_result_has_its_rule_place_and_fingerprint() -> None:
    report = Report((PROBLEM,), folder="fleet/")
    run = read(report)
    (result,) = run["results"]
    assert run["columnKind"] == "unicodeCodePoints"
    assert (result["ruleId"], result["ruleIndex"], result["level"]) == ("schema-type", 0, "error")
    assert result["message"]["text"] == 'config.levels: expected an integer, was "five"\nhint: remove the quotes'
    assert result["partialFingerprints"] == {"problem/v1": fingerprints(report)[0]}
    (location,) = result["locations"]
    assert location["physicalLocation"] == {
        "artifactLocation": {"uri": "fleet/instances/a%20b.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 14, "startColumn": 11},
    }


def test_a_file_as_a_whole_has_no_region() -> None:
    (result,) = read(Report((STEP,)))["results"]
    assert "region" not in result["locations"][0]["physicalLocation"]


def test_braces_are_doubled_since_single_ones_are_placeholders() -> None:
    problem = Problem("a", 1, 1, "", "expected {env: NAME}, was {0}")
    (result,) = read(Report((problem,)))["results"]
    assert result["message"]["text"] == "expected {{env: NAME}}, was {{0}}"


def test_nothing_wrong_is_a_run_without_results() -> None:
    assert read(Report())["results"] == []


@given(...)
def test_any_text_meets_the_published_schema_is_no_link_and_is_read_back(report: Report) -> None:
    run = read(report)
    for result, problem in zip(run["results"], report.problems, strict=True):
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert not LINK.search(result["message"]["text"])
        hint = f"\nhint: {visible(problem.hint)}" if problem.hint else ""
        assert displayed(result["message"]) == (statement(problem) + hint).replace("](", "\\](")
        raw = {"pointer": problem.pointer, "message": problem.message, "hint": problem.hint}
        assert result["properties"] == {key: storable(value) for key, value in raw.items()}
        uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert URI.fullmatch(uri)
        assert unquote(uri, errors="strict") == storable(report.folder + problem.path)


def test_a_run_has_no_more_results_than_github_takes_the_most_telling_first(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report_formats.RESULTS == 25_000
    monkeypatch.setattr(report_formats, "RESULTS", 250)
    many = tuple(replace(PROBLEM, path=f"instances/a{i}.yaml") for i in range(250))
    run = read(Report((*many, STEP)))
    assert len(run["results"]) == 250
    assert run["results"][0]["ruleId"] == "mode-step"
    (notification,) = run["invocations"][0]["toolExecutionNotifications"]
    assert notification["message"]["text"].startswith("1 of 251 problems are left out")
    assert "toolExecutionNotifications" not in read(Report((PROBLEM, STEP)))["invocations"][0]
