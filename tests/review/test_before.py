from __future__ import annotations

from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.crosscheck import EvaluationCache
from reconciler.records.mode import Mode
from reconciler.review.judging import judge
from reconciler.review.plan.comparison import Before, of_base, of_database
from reconciler.strategy.catalogue import Catalogue
from tests.review.revisions import COMMIT, STRATEGY, base_of, record, records, revision


def before(files: dict[str, str], former: dict[str, str] | None = None, now: dict[str, str] | None = None) -> Before:
    return of_base(base_of(files, former), revision(now or {}), Accounts(), Catalogue())


def test_the_modes_of_the_base_are_taken_as_established() -> None:
    found = before({"instances/a.yaml": record("a", "active"), "instances/b.yaml": record("b", "off")})
    assert {id: row.mode for id, row in found.rows.items()} == {"a": Mode.ACTIVE, "b": Mode.OFF}
    assert all(row.committed and row.revision == COMMIT and row.is_live for row in found.rows.values())
    assert found.label == "main (merge base c0ffee00)"
    assert found.revision == COMMIT


def test_each_row_has_the_file_it_came_from() -> None:
    found = before({"instances/desk/a.yaml": record("a"), "instances/b.yaml": record("b", config="{levels: x}")})
    assert {id: one.path for id, one in found.evaluations.items()} == {"a": "instances/desk/a.yaml"}
    assert found.evaluations["a"].place("mode") == ("instances/desk/a.yaml", 5, 7)


def test_files_are_judged_by_the_strategies_templates_and_accounts_of_the_base() -> None:
    files = {
        "strategies/drift.py": STRATEGY.replace('"default": 3', '"default": 8'),
        "instances/_templates/t.yaml": "labels: {team: base}\n",
        "instances/a.yaml": record("a", more="template: t\n"),
    }
    row = before(files).rows["a"]
    assert row.record.effective_config == {"levels": 8}
    assert row.record.labels == {"team": "base"}
    accounts = Accounts({"other": DeclaredAccount("other", "kraken", real_money=True)}, any_on=None)
    found = of_base(base_of(files), revision({}), accounts, Catalogue())
    assert [one.problems[0].rule for one in found.unapplied] == ["unknown-account"]


def test_a_usable_file_counts_more_than_one_that_only_has_its_name() -> None:
    row = before({"instances/a.yaml": record("a", "active"), "instances/desk/a.yaml": "{"}).rows["a"]
    assert (row.path, row.mode) == ("instances/a.yaml", Mode.ACTIVE)


def test_a_record_removed_earlier_is_a_tombstone() -> None:
    found = before(records("a"), former={"instances/old.yaml": record("old")}, now=records("a", "old"))
    assert {id: row.is_live for id, row in found.rows.items()} == {"a": True, "old": False}
    assert found.evaluations.keys() == {"a"}


def test_halts_are_those_the_base_declares() -> None:
    found = before({"instances/_halt.yaml": "- {scope: instance, id: a, reason: why}\n"})
    assert [(halt.scope, halt.id, halt.reason) for halt in found.halts] == [("instance", "a", "why")]
    assert before({}).halts == ()


def test_what_is_the_same_now_is_not_judged_again() -> None:
    head = revision(records("a", "b"))
    base = base_of({**records("a"), "instances/b.yaml": record("b", "off")}, known=head)
    catalogue, cache, accounts = Catalogue(), EvaluationCache(), Accounts()
    found = of_base(base, head, accounts, catalogue, cache)
    now = {one.claimed_id: one for one in judge(head, accounts, catalogue, cache)}
    assert now["a"] is found.evaluations["a"]
    assert now["b"].claimed_mode is Mode.OBSERVE


def test_a_database_is_taken_as_it_is() -> None:
    rows = before(records("a")).rows
    found = of_database(rows, [], Accounts())
    assert (found.label, found.revision, found.rows, found.evaluations) == ("the engine's database", None, rows, {})
