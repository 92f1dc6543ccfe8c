"""A report in SARIF 2.1.0, for code scanning. Section numbers are those of the standard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from reconciler import __version__
from reconciler.errors import Problem
from reconciler.review.validate import rule
from reconciler.review.validate.gitlab import fingerprints
from reconciler.review.validate.report import Report, urgent_first
from reconciler.review.validate.text import hinted, statement
from reconciler.visible import json_text, storable

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
RESULTS: Final = 25_000
"""GitHub refuses a run of more."""
_TOP: Final = "%SRCROOT%"
_ESCAPES: Final = (("{", "{{"), ("}", "}}"), ("](", "\\]("))


def render(report: Report) -> str:
    told = list(zip(report.problems, fingerprints(report), strict=True))
    if left_out := max(0, len(told) - RESULTS):
        told = sorted(told, key=lambda one: urgent_first(report)(one[0]))[:RESULTS]
    rules = sorted({rule.name(problem) for problem, _ in told})
    index = {name: at for at, name in enumerate(rules)}
    results = [_result(problem, report.folder, index, fingerprint) for problem, fingerprint in told]
    driver = {"name": "reconciler", "semanticVersion": __version__, "rules": [_rule(name) for name in rules]}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, **_left_out(left_out, len(report.problems))}],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_TOP: {"description": {"text": "the top of the repository"}}},
        "results": results,
    }
    return json_text({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _left_out(number: int, of: int) -> dict[str, Any]:
    """What 3.20.21 has for what a run could not tell."""
    if not number:
        return {}
    told = f"{number:,} of {of:,} problems are left out, the most telling are here; all of them: reconciler validate"
    return {"toolExecutionNotifications": [{"level": "warning", "message": _message(told)}]}


def _rule(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": _message(rule.title(name)),
        "help": _message(rule.mend(name)),
        "defaultConfiguration": {"level": "error"},
    }


def _result(problem: Problem, folder: str, index: Mapping[str, int], fingerprint: str) -> dict[str, Any]:
    name = rule.name(problem)
    place: dict[str, Any] = {
        "artifactLocation": {"uri": quote(storable(folder + problem.path)), "uriBaseId": _TOP},
    }
    if problem.line:
        place["region"] = {"startLine": problem.line, "startColumn": max(1, problem.column)}
    return {
        "ruleId": name,
        "ruleIndex": index[name],
        "level": "error",
        "message": _message(statement(problem) + hinted(problem, "\n")),
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"problem/v1": fingerprint},
        "properties": {"pointer": problem.pointer, "message": problem.message, "hint": problem.hint},
    }


def _message(text: str) -> dict[str, str]:
    """As 3.11.5 and 3.11.6 want it: braces doubled, since `{0}` is a placeholder; nothing that reads as a link."""
    for character, escaped in _ESCAPES:
        text = text.replace(character, escaped)
    return {"text": text}
