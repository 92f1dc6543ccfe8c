from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from markdown_it import MarkdownIt
from markdown_it.token import Token

from reconciler.errors import Problem
from reconciler.review.validate import report_formats
from reconciler.review.validate.report import Report, position, statement
from reconciler.review.validate.report_formats import SUMMARY_BYTES, step_summary
from reconciler.visible import visible

TYPE = Problem(
    "instances/a.yaml", 14, 11, "config.levels", 'expected an integer, was "five"', "100% sure:\nyes", "schema-type"
)
STEP = Problem("instances/b,c:d.yaml", 0, 0, "mode", "expected observe first", "", "mode-step")
COMMANDS = {"error", "warning", "notice", "debug", "group", "endgroup", "add-mask", "add-path", "set-env", "set-output"}

Command = tuple[str, dict[str, str], str]


def commands(stdout: str) -> Iterator[Command]:
    """What GitHub's runner does for each line: the newer form at its start, or else the older one anywhere in it."""
    for line in re.split("\r\n|\n|\r", stdout):
        stripped = line.lstrip()
        if stripped.startswith("::") and (end := stripped.find("::", 2)) > 0:
            name, _, properties = stripped[2:end].partition(" ")
            if name in COMMANDS:
                pairs = (pair.split("=", 1) for pair in properties.split(",") if pair)
                yield name, {key: unescaped(value) for key, value in pairs}, unescaped(stripped[end + 2 :])
                continue
        older = re.search(r"##\[([^\] ]+)", line)
        if older and older[1] in COMMANDS:
            yield older[1], {}, line


def unescaped(value: str) -> str:
    for character, escape in ((":", "%3A"), (",", "%2C"), ("\r", "%0D"), ("\n", "%0A"), ("%", "%25")):
        value = value.replace(escape, character)
    return value


def annotated(report: Report) -> list[Command]:
    return [command for command in commands(report_formats.as_github(report)) if command[0] == "error"]


def code_spans(markdown: str) -> list[str]:
    """The code spans of a summary that is nothing but code spans and our own words."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    inline = [child for token in tokens for child in token.children or ()]
    assert {token.type for token in tokens} <= BLOCKS, markdown
    assert all(is_ours(token) for token in inline), [t for t in inline if not is_ours(t)]
    return [token.content for token in inline if token.type == "code_inline"]


BLOCKS = {f"{kind}_{end}" for kind in ("heading", "paragraph", "bullet_list", "list_item") for end in ("open", "close")}
BLOCKS |= {"inline"}
OUR_WORDS = re.compile(r"|hint:|reconciler validate|[\d,]+ files?, .*|no instance files|and [\d,]+ more, .*")


def is_ours(token: Token) -> bool:
    if token.type == "text":
        return OUR_WORDS.fullmatch(token.content.strip()) is not None
    return token.type in ("code_inline", "strong_open", "strong_close", "softbreak") or token.content == "<br>"


def test_a_problem_is_an_annotation_at_its_line() -> None:
    assert report_formats.as_github(Report((TYPE,), folder="fleet/")) == (
        "::error file=fleet/instances/a.yaml,line=14,col=11,title=The value is of another type"
        '::config.levels: expected an integer, was "five"%0Ahint: 100%25 sure:\\nyes'
    )


def test_a_file_as_a_whole_has_no_line_and_its_name_is_escaped() -> None:
    assert report_formats.as_github(Report((STEP,))) == (
        "::error file=instances/b%2Cc%3Ad.yaml,title=A mode rises by more than one step::mode: expected observe first"
    )


def test_nothing_wrong_is_nothing_written() -> None:
    assert report_formats.as_github(Report((), {"instances/a.yaml": ()})) == ""


def test_ten_are_annotated_the_gravest_first_and_the_others_counted_and_listed() -> None:
    many = [replace(TYPE, path=f"instances/{n:02}.yaml") for n in range(57)]
    found = list(commands(report_formats.as_github(Report(tuple(sorted([*many, STEP]))))))
    assert [name for name, _, _ in found] == ["error"] * 10 + ["notice", "group", "endgroup"]
    assert found[0][1]["file"] == STEP.path
    assert found[10][2] == "48 more problems, 58 in all: listed below and in the step summary"
    plain = report_formats.as_github(Report((*many, STEP))).partition("::group::")[2].splitlines()
    assert len(plain) == 48 + 2
    assert plain[1].startswith("- instances/09.yaml:14:11: config.levels: ")


def test_one_file_takes_no_more_than_three_of_the_ten() -> None:
    others = [replace(TYPE, path=f"instances/{n}.yaml") for n in range(8)]
    same = [replace(TYPE, path="instances/0.yaml", line=line) for line in range(20, 60)]
    files = [properties["file"] for _, properties, _ in annotated(Report(tuple(sorted([*others, *same]))))]
    assert files.count("instances/0.yaml") == 3
    assert len(set(files)) == 8


@given(...)
def test_no_text_starts_a_command_and_annotations_are_read_back(report: Report) -> None:
    written = report_formats.as_github(report)
    left = len(report.problems) - 10
    expected = ["error"] * min(10, len(report.problems)) + (["notice", "group", "endgroup"] if left > 0 else [])
    assert [name for name, _, _ in commands(written.encode().decode())] == expected
    told = {
        (visible(report.folder + p.path), str(p.line) if p.line else None, statement(p) + hint_of(p))
        for p in report.problems
    }
    for _, properties, data in annotated(report):
        assert (properties["file"], properties.get("line"), data) in told


def hint_of(problem: Problem) -> str:
    return f"\nhint: {visible(problem.hint)}" if problem.hint else ""


@pytest.mark.parametrize("line", ["::add-mask::x", " \t::error::x", "a ##[add-path]/x"])
def test_the_reader_of_these_tests_sees_what_the_runner_would(line: str) -> None:
    assert len(list(commands(line))) == 1


def test_the_summary_lists_every_problem_the_gravest_first() -> None:
    checked = {TYPE.path: (TYPE,), STEP.path: (STEP,), "instances/z.yaml": ()}
    assert step_summary(Report((TYPE, STEP), checked)) == (
        "### reconciler validate\n"
        "\n"
        "3 files, 1 valid; 2 problems\n"
        "\n"
        "- **`instances/b,c:d.yaml`** `mode: expected observe first`\n"
        '- **`instances/a.yaml:14:11`** `config.levels: expected an integer, was "five"`\n'
        "  <br>hint: `100% sure:\\nyes`\n"
    )


def test_the_summary_of_a_valid_fleet_says_so() -> None:
    assert step_summary(Report((), {"a": (), "b": ()})) == "### reconciler validate\n\n2 files, all valid\n\n"


@given(...)
def test_no_text_is_markup_in_the_summary_and_all_is_read_back(report: Report) -> None:
    expected = []
    for problem in report.problems:
        where = ":".join(filter(None, (visible(problem.path), position(problem))))
        expected += [where, statement(problem), *([visible(problem.hint)] if problem.hint else [])]
    expected = [text if text.strip(" ") else f'"{text}"' for text in expected]
    assert sorted(code_spans(step_summary(report).encode().decode())) == sorted(expected)


def test_a_summary_that_would_be_dropped_ends_early_and_says_how_much_is_missing() -> None:
    many = tuple(replace(TYPE, line=line, message="ü" * 100) for line in range(1, 8_001))
    written = step_summary(Report(many))
    assert SUMMARY_BYTES - 400 < len(written.encode()) < SUMMARY_BYTES + 100 < 1024 * 1024
    told = sum(line.startswith("- ") for line in written.splitlines())
    assert written.endswith(f"\n\nand {8_000 - told:,} more, for which there is no room here\n")
