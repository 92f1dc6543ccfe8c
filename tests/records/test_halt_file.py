"""`instances/_halt.yaml`: entries that name what is not there."""

from __future__ import annotations

import pytest

from reconciler.records.halt import read_halts, strange_halts
from reconciler.records.snapshot import SourceFile

PATH = "instances/_halt.yaml"


def a_file(text: str) -> SourceFile:
    return SourceFile(PATH, text.encode(), "", committed=True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- {scope: instance, id: grid, reason: r}", []),
        ("- {scope: all, reason: r}", []),
        ("- scope: instance\n  id: gird\n  reason: r", [(2, 7, "[0].id", "instance", 'did you mean "grid"?')]),
        ("- {scope: account, id: mian, reason: r}", [(1, 24, "[0].id", "account", 'did you mean "main"?')]),
        ("- {scope: instance, id: main, reason: r}", [(1, 25, "[0].id", "instance", "")]),
        ("- {scope: account", []),
        ("[]", []),
    ],
)
def test_an_entry_that_covers_nothing_is_a_problem_at_its_id(
    text: str, found: list[tuple[int, int, str, str, str]]
) -> None:
    problems = strange_halts(a_file(text), ["grid"], lambda: ["main"])
    assert [(one.line, one.column, one.pointer, one.hint) for one in problems] == [
        (line, column, pointer, hint) for line, column, pointer, _, hint in found
    ]
    for problem, (*_, scope, _) in zip(problems, found, strict=True):
        assert ("no instance trades on" if scope == "account" else "no instance is called") in problem.message
        assert problem.rule == "halt-id"


def test_what_else_the_file_names_is_halted_all_the_same() -> None:
    halts, problems = read_halts(a_file("- {scope: instance, id: gird, reason: r}"), "")
    assert [halt.id for halt in halts] == ["gird"]
    assert problems == ()


def test_no_file_has_no_strangers() -> None:
    assert strange_halts(None, [], list) == ()


def test_a_file_that_cannot_be_understood_halts_everything_in_full() -> None:
    """Half of an edit must not let out what a full halt held back."""
    (halt,), problems = read_halts(a_file("- scope: ["), "")
    assert (halt.scope, halt.full) == ("all", True)
    assert problems
