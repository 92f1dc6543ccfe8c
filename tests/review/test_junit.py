from __future__ import annotations

from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import xmlschema
from hypothesis import given

from reconciler.errors import Problem
from reconciler.review.validate import report_formats
from reconciler.review.validate.report import Report, as_lines
from reconciler.visible import visible

TYPE = Problem(
    "instances/a.yaml", 14, 11, "config.levels", 'expected <int>, was "five"', "remove & mend", "schema-type"
)
ENUM = Problem("instances/a.yaml", 7, 7, "mode", "expected off, was on", "", "schema-enum")
BROKEN = Problem("strategies/grid.py", 3, 1, "", "expected Python", "", "code-syntax")
REMOVED = Problem("instances/gone.yaml", 0, 0, "", "protected, was removed", "", "protected-removal")


@cache
def published() -> xmlschema.XMLSchema:
    return xmlschema.XMLSchema(str(Path(__file__).parent / "published" / "junit-10.xsd"))


def read(report: Report) -> ElementTree.Element:
    written = report_formats.as_junit(report)
    published().validate(written)
    return ElementTree.fromstring(written.encode())


def test_a_file_is_a_case_and_fails_where_problems_stand_in_it() -> None:
    checked = {"instances/a.yaml": (TYPE,), "instances/b.yaml": ()}
    suites = read(Report((TYPE,), checked, folder="fleet/"))
    (suite,) = suites
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "1", "0")
    assert [(case.get("classname"), case.get("name"), len(case)) for case in suite] == [
        ("fleet/instances", "fleet/instances/a.yaml", 1),
        ("fleet/instances", "fleet/instances/b.yaml", 0),
    ]
    failure = suite[0][0]
    assert (failure.tag, failure.get("type")) == ("failure", "schema-type")
    assert failure.get("message") == '14:11: config.levels: expected <int>, was "five"'
    assert failure.text == as_lines(TYPE)


def test_several_problems_of_a_file_are_one_failure_since_servers_read_only_the_first() -> None:
    (case,) = read(Report((ENUM, TYPE), {"instances/a.yaml": (ENUM, TYPE)}))[0]
    (failure,) = case
    assert failure.get("message") == "2 problems, the first 7:7: mode: expected off, was on"
    assert failure.text == f"{as_lines(ENUM)}\n{as_lines(TYPE)}"


def test_a_fault_in_a_strategy_fails_once_and_its_records_are_skipped() -> None:
    checked = {"instances/a.yaml": (BROKEN,), "instances/b.yaml": (BROKEN,)}
    suite = read(Report((BROKEN,), checked))[0]
    assert [[child.tag for child in case] for case in suite] == [["skipped"], ["skipped"], ["failure"]]
    assert suite[0][0].get("message") == "invalid because of strategies/grid.py:3:1: expected Python"
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "2")


def test_a_removed_file_is_a_case_too() -> None:
    (case,) = read(Report((REMOVED,)))[0]
    assert case.get("name") == "instances/gone.yaml"
    assert case[0].get("message") == "protected, was removed"


def test_nothing_to_check_is_an_empty_suite() -> None:
    assert list(read(Report())[0]) == []


@given(...)
def test_any_text_is_well_formed_meets_the_published_schema_and_is_read_back(report: Report) -> None:
    (suite,) = read(report)
    cases = {case.get("name"): case for case in suite}
    assert set(cases) == {
        visible(report.folder + path) for path in [*report.checked, *(p.path for p in report.problems)]
    }
    told = "\n".join(case[0].text or "" for case in suite if [child.tag for child in case] == ["failure"])
    assert sorted(told.splitlines()) == sorted("\n".join(map(as_lines, report.problems)).splitlines())
