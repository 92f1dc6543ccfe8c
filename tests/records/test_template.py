from __future__ import annotations

import pytest

from reconciler.documents.document import Document
from reconciler.records import template as module
from reconciler.records.snapshot import SourceFile
from reconciler.records.template import ANY_NAME, find_template, read_template, templates_by_name


def file(text: str | bytes | None, name: str = "grid.yaml", error: str = "") -> SourceFile:
    data = text.encode() if isinstance(text, str) else text
    return SourceFile(f"instances/_templates/{name}", data, "d1ce", committed=True, error=error)


def said(text: str | bytes | None, error: str = "") -> list[str]:
    found = read_template(file(text, error=error)).problems
    return [str(problem).removeprefix("instances/_templates/grid.yaml:") for problem in found]


def test_it_is_named_as_its_file_whatever_the_ending() -> None:
    found = templates_by_name([file("config: {}", "grid.yaml"), file("config: {}", "two.words.yml")])
    assert list(found) == ["grid", "two.words"]


def test_it_holds_what_a_record_inherits_and_notes() -> None:
    text = "config: {}\nlimits: {}\nlabels: {}\nopen_orders: keep\nx-why: so\n"
    found = read_template(file(text))
    assert found.problems == ()
    assert isinstance(found.document, Document)


def test_an_empty_mapping_is_a_template_that_gives_nothing() -> None:
    assert said("{}") == []


def test_on_one_with_more_faults_than_anybody_reads_nothing_is_built() -> None:
    found = read_template(file("labels:\n" + "".join(f"  l{n}: {n}\n" for n in range(9_000))))
    assert found.document is None
    assert str(found.problems[0]) == "instances/_templates/grid.yaml:2:7: labels.l0: expected a string, was 0"
    assert str(found.problems[-1]) == "instances/_templates/grid.yaml:102:9: and 8,900 more problems"
    assert len(found.problems) == 101


def test_one_file_is_read_once() -> None:
    one = file("config: {levels: 5}")
    assert read_template(one) is read_template(one)
    assert read_template(one) is read_template(file("config: {levels: 5}"))
    assert read_template(one) is not read_template(file("config: {levels: 6}"))


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("5\n", ["1:1: expected a mapping, was 5"]),
        ("config: 5\n", ["1:9: config: expected a mapping, was 5"]),
        ("limits: {max_position: 2}\n", ['1:24: limits.max_position: expected a string, was 2']),
        ("limits: {max_positon: '2'}\n", ['1:10: limits.max_positon: unknown key "max_positon"']),
        ("labels: {team: 5}\n", ["1:16: labels.team: expected a string, was 5"]),
        ("open_orders: sell\n", ['1:14: open_orders: expected one of keep, cancel, was "sell"']),
        ("confg: {}\n", ['1:1: confg: unknown key "confg"']),
        ("config: {}\nmode: off\nid: a\n", [
            "2:1: mode: expected no mode in a template",
            "3:1: id: expected no id in a template",
        ]),
        ("config: {}\ntemplate: other\n", ["2:1: template: expected no template in a template"]),
        ("config: {a: 1, a: 2}\n", ['1:16: config.a: duplicate key "a": it is on line 1 already']),
        ("", ["1:1: expected a document, was an empty file"]),
        (b"\xff", ["1:1: expected UTF-8, was 0xff"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_it_is_told_with_line_and_column(text: str | bytes, problems: list[str]) -> None:
    assert said(text) == problems


def test_what_it_may_not_hold_is_told_why() -> None:
    hints = [problem.hint for problem in read_template(file("mode: off\ntemplate: grid\nlabel: {}")).problems]
    assert hints == [
        "a template holds config, limits, labels, open_orders; the rest is each instance's own",
        "a template builds on no other: write the values out",
        'did you mean "labels"?',
    ]


def test_one_that_cannot_be_read_says_so() -> None:
    assert said(None, "permission denied") == [" expected a readable file: permission denied"]


def test_what_looks_like_a_key_is_a_problem_at_its_line_whether_the_file_parses_or_not() -> None:
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    for text in (f"config: {{}}\n# {key}\n", f"config: {{\n# {key}\n"):
        problems = read_template(file(text)).problems
        assert [(p.line, p.column) for p in problems if p.rule == "secret-literal"] == [(2, 3)]
        assert key not in repr(problems)


def test_two_files_of_one_name_are_both_refused_each_naming_the_other() -> None:
    found = templates_by_name([file("config: {a: 1}", "grid.yaml"), file("mode: off", "grid.yml")])["grid"]
    assert found.document is None
    assert [str(problem) for problem in found.problems] == [
        "instances/_templates/grid.yaml: the template grid is also instances/_templates/grid.yml",
        "instances/_templates/grid.yml: the template grid is also instances/_templates/grid.yaml",
        "instances/_templates/grid.yml:1:1: mode: expected no mode in a template",
    ]


def test_a_folder_that_cannot_be_read_may_hold_any_template() -> None:
    found = templates_by_name([SourceFile("instances/_templates", None, "", False, "permission denied")])
    template = find_template(found, "grid")
    assert template is not None
    assert (template.name, template.document) == (ANY_NAME, None)
    assert [str(p) for p in template.problems] == ["instances/_templates: expected a readable file: permission denied"]
    assert find_template({}, "grid") is None


def test_what_the_engine_fails_on_is_a_problem_of_that_template(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(file: SourceFile) -> Document:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "document_of", failing)
    found = read_template(file("config: {only: here}"))
    assert [problem.rule for problem in found.problems] == ["engine-fault"]
    assert found.document is None
    read_template.cache_clear()
