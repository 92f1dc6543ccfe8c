from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from reconciler.records.accounts import Accounts, DeclaredAccount, Requirement
from reconciler.records.snapshot import Snapshot
from reconciler.review.validate.check import Against, check, is_under, known_paths
from tests.review.revisions import base_of, record, records, revision

ANY = Accounts()
GOOD = b"id: a\nstrategy_type: drift\naccount: {account_id: m, client_id: c}\nmarket: BTC/USD\nmode: off\nconfig: {}\n"
BAD = GOOD.replace(b"config: {}", b"config: {levels: x}")
Make = Callable[..., Snapshot]


def test_records_are_judged_by_their_strategy(snapshot: Make) -> None:
    assert check(snapshot({"instances/a.yaml": GOOD}), ANY).ok
    (problem,) = check(snapshot({"instances/a.yaml": BAD}), ANY).problems
    assert str(problem) == 'instances/a.yaml:6:18: config.levels: expected an integer, was "x"'


def test_records_are_judged_by_the_accounts(snapshot: Make) -> None:
    accounts = Accounts({"other": DeclaredAccount("other", "k", real_money=True)}, any_on=None)
    (problem,) = check(snapshot({"instances/a.yaml": GOOD}), accounts).problems
    assert (problem.line, problem.column, problem.pointer) == (3, 23, "account.account_id")


def test_a_definition_nobody_uses_is_a_problem_too(snapshot: Make) -> None:
    found = check(snapshot({"strategies/bad.py": b"\ndef (:\n"}), ANY)
    assert [(p.path, p.line) for p in found.problems] == [("strategies/bad.py", 2)]
    assert found.files == 0


def test_a_halt_file_is_checked(snapshot: Make) -> None:
    (problem,) = check(snapshot({}, halt=b"- scope: all\n"), ANY).problems
    assert (problem.path, problem.line, problem.column) == ("instances/_halt.yaml", 1, 3)


def test_a_narrowed_check_still_compares_with_everything(snapshot: Make) -> None:
    files = {
        "instances/a.yaml": GOOD,
        "instances/desk/a.yaml": GOOD,
        "instances/z.yaml": BAD.replace(b"id: a", b"id: z"),
    }
    found = check(snapshot(files), ANY, ["instances/desk"])
    assert [(p.path, p.line, p.column) for p in found.problems] == [("instances/desk/a.yaml", 1, 5)]
    assert (found.files, found.valid) == (1, 0)


def test_against_a_base_what_only_a_comparison_shows_is_told_too() -> None:
    head = revision({**records("a", mode="active"), "instances/b.yaml": record("b", config="{levels: x}")})
    against = Against(base_of(records("a", "b", mode="off")), ANY)
    found = check(head, ANY, against=against)
    assert [(p.path, p.line, p.column, p.rule) for p in found.problems] == [
        ("instances/a.yaml", 5, 7, "mode-step"),
        ("instances/b.yaml", 6, 18, "schema-type"),
    ]
    assert (found.files, found.valid) == (2, 0)
    assert [p.path for p in check(head, ANY, ["instances/b.yaml"], against).problems] == ["instances/b.yaml"]


def test_definitions_that_are_told_are_those_of_now() -> None:
    against = Against(base_of({"strategies/drift.py": "def (:\n", **records("a")}), ANY)
    assert check(revision(records("a")), ANY, against=against).ok
    head = revision({"strategies/drift.py": "\ndef (:\n"})
    found = check(head, ANY, against=Against(base_of({}), ANY))
    assert [(p.path, p.line) for p in found.problems] == [("strategies/drift.py", 2)]


def test_known_paths_are_all_that_counts(snapshot: Make) -> None:
    found = known_paths(snapshot({"instances/a.yaml": GOOD}, halt=b"[]"))
    assert set(found) == {"instances/a.yaml", "instances/_halt.yaml", "strategies/drift.py"}


@pytest.mark.parametrize(
    ("path", "folder", "inside"),
    [
        ("instances/a.yaml", "", True),
        ("instances/a.yaml", "instances", True),
        ("instances/a.yaml", "instances/a.yaml", True),
        ("instances/ab.yaml", "instances/a", False),
        ("instances/a.yaml", "strategies", False),
    ],
)
def test_a_folder_holds_what_lies_in_it(path: str, folder: str, inside: bool) -> None:
    assert is_under(path, [folder]) is inside


def test_a_halt_of_what_is_not_there_is_a_problem_at_its_line(snapshot: Make) -> None:
    found = check(snapshot({"instances/a.yaml": GOOD}, halt=b"- {scope: instance, id: nobody, reason: r}\n"), ANY)
    (problem,) = found.problems
    assert (problem.path, problem.line, problem.column) == ("instances/_halt.yaml", 1, 25)
    assert problem.message == "no instance is called nobody"


@pytest.mark.parametrize(("id", "ok"), [("m", True), ("declared", True), ("n", False)])
def test_a_halt_of_an_account_names_one_that_is_declared_or_traded_on(snapshot: Make, id: str, ok: bool) -> None:
    accounts = Accounts({"declared": DeclaredAccount("declared", "k", real_money=False)})
    files = snapshot({"instances/a.yaml": GOOD}, halt=f"- {{scope: account, id: {id}, reason: r}}".encode())
    assert check(files, accounts).ok is ok


REQUIRING = Accounts(
    {"m": DeclaredAccount("m", "k", real_money=True)}, any_on=None, requirement=Requirement("real", ("max_position",))
)
LACKING = GOOD.replace(b"mode: off", b"mode: active")


def test_an_active_record_without_a_limit_that_is_asked_for_is_a_problem(snapshot: Make) -> None:
    (problem,) = check(snapshot({"instances/a.yaml": LACKING}), REQUIRING).problems
    assert (problem.line, problem.column, problem.pointer, problem.rule) == (5, 7, "mode", "require-limits")
    assert check(snapshot({"instances/a.yaml": LACKING + b"limits: {max_position: '2'}\n"}), REQUIRING).ok
    assert check(snapshot({"instances/a.yaml": GOOD}), REQUIRING).ok
    assert check(snapshot({"instances/a.yaml": LACKING}), ANY).ok


@pytest.mark.parametrize(("before", "ok"), [("observe", False), ("active", True)])
def test_against_a_base_only_a_rise_without_it_is_refused(before: str, ok: bool) -> None:
    accounts = replace(REQUIRING, declared={"main": DeclaredAccount("main", "k", real_money=True)})
    head = revision(records("a", mode="active"))
    found = check(head, accounts, against=Against(base_of(records("a", mode=before)), accounts))
    assert [problem.rule for problem in found.problems] == ([] if ok else ["require-limits"])
