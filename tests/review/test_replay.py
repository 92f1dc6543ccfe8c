from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.records.status import Sync
from reconciler.records.walk import Step
from reconciler.review.plan.comparison import Before, of_base
from reconciler.sources.compared import Base
from reconciler.sources.history import Told
from reconciler.strategy.catalogue import Catalogue
from tests.review.revisions import COMMIT, STRATEGY, base_after, base_of, record, records, revision

PATH = "instances/a.yaml"
WIDE = 'limits: {max_order_notional: "90000"}\n'
NARROW = 'limits: {max_order_notional: "100"}\n'
OTHERS = records("u", "v", "w", "x", "y", "z")
Commit = Mapping[str, str | None]


def before(*commits: Commit, now: Mapping[str, str] | None = None) -> Before:
    """What an engine has applied that followed these commits; `now` lacks the record `a` unless it says so."""
    return of_base(base_after(*commits), revision(now or OTHERS), Accounts(), Catalogue())


def applied(*commits: Commit, now: Mapping[str, str] | None = None) -> Row:
    return before(*commits, now=now).rows["a"]


def test_of_a_file_merged_though_invalid_the_version_before_counts() -> None:
    found = before(
        {PATH: record("a", more=NARROW)},
        {PATH: record("a", "active", more=WIDE + "unknown: 1\n")},
        {"instances/b.yaml": "{"},
    )
    row = found.rows["a"]
    assert (row.mode, str(row.record.limits.max_order_notional)) == (Mode.OBSERVE, "100")
    assert [(one.path, one.sync) for one in found.unapplied] == [
        (PATH, Sync.INVALID),
        ("instances/b.yaml", Sync.INVALID),
    ]
    assert "a" not in found.evaluations


def test_a_step_that_was_refused_was_never_made() -> None:
    off, active = {PATH: record("a", "off")}, {PATH: record("a", "active")}
    assert applied(off, active).mode is Mode.OFF
    assert [one.sync for one in before(off, active).unapplied] == [Sync.REFUSED]
    assert applied(off, {PATH: record("a")}, active).mode is Mode.ACTIVE


def test_a_new_record_that_was_refused_is_not_there() -> None:
    assert "a" not in before(OTHERS, {PATH: record("a", "active")}).rows


def test_the_first_records_of_all_are_taken_as_established() -> None:
    assert applied({"strategies/drift.py": STRATEGY, PATH: record("a", "active")}).mode is Mode.ACTIVE


def test_an_invalid_file_has_lowered_the_mode() -> None:
    assert applied({PATH: record("a", "active")}, {PATH: record("a", "off", more="unknown: 1\n")}).mode is Mode.OFF


def test_a_changed_identity_was_never_applied() -> None:
    first = {PATH: record("a", market="BTC/USD")}
    assert applied(first, {PATH: record("a", market="ETH/USD")}).record.identity.market == "BTC/USD"


def test_a_removed_record_is_a_tombstone_and_starts_from_off_again() -> None:
    start, gone = {**OTHERS, PATH: record("a", "active")}, {PATH: None}
    now = {**OTHERS, PATH: record("a", "observe")}
    assert not applied(start, gone, now=now).is_live
    assert applied(start, gone, {PATH: record("a", "observe")}).mode is Mode.OBSERVE
    assert not applied(start, gone, {PATH: record("a", "active")}).is_live
    assert "a" not in before(start, gone).rows, "nobody asks for what is in neither"


def test_a_removal_that_is_held_leaves_the_record_as_it_was() -> None:
    base = base_after({**OTHERS, PATH: record("a", "active")}, {PATH: None})
    first, second = base.history.steps("a")
    held = replace(base, history=Told((first, replace(second, removed=frozenset()))))
    back = revision({**OTHERS, PATH: record("a", "active")})
    assert of_base(held, back, Accounts(), Catalogue()).rows["a"].mode is Mode.ACTIVE


def test_a_protected_record_stays_without_its_file() -> None:
    text = record("a", "active", more="protect: true\n")
    row = applied({**OTHERS, PATH: text}, {PATH: None}, now={**OTHERS, PATH: text})
    assert (row.is_live, row.mode) == (True, Mode.ACTIVE)


def test_a_file_that_moves_is_the_same_record() -> None:
    start = {**OTHERS, PATH: record("a", "active")}
    moved = Step(COMMIT, {"a": tuple(f for f in revision({"instances/desk/a.yml": record("a", "active")}).instances)})
    base = base_after(start)
    there = revision({**OTHERS, "instances/desk/a.yml": record("a", "active")})
    base = replace(base, snapshot=there, history=Told((*base.history.steps("a"), moved)))
    row = of_base(base, revision(OTHERS), Accounts(), Catalogue()).rows["a"]
    assert (row.mode, row.path, row.is_live) == (Mode.ACTIVE, "instances/desk/a.yml", True)


def test_of_two_files_that_claim_one_id_neither_was_applied() -> None:
    rival = {"instances/desk/a.yaml": record("a", "active")}
    base = base_after({PATH: record("a")}, rival)
    first, second = base.history.steps("a")
    both = replace(second, files={"a": base.snapshot.instances})
    row = of_base(replace(base, history=Told((first, both))), revision(OTHERS), Accounts(), Catalogue()).rows["a"]
    assert (row.path, row.mode) == (PATH, Mode.OBSERVE)


NARROWER = STRATEGY.replace('"levels"', '"steps"').replace('"object",', '"object", "additionalProperties": False,')


@pytest.mark.parametrize("then", [STRATEGY, "import nothing_that_is_installed\n" + STRATEGY])
def test_a_version_counts_that_was_valid_with_the_code_of_its_time(then: str) -> None:
    """Where that code cannot be loaded now, nobody knows better than that it was valid."""
    found = before(
        {"strategies/drift.py": then, PATH: record("a", "off", config="{levels: 1}")},
        {PATH: record("a", "observe", config="{levels: 1}")},
        {PATH: record("a", "active", config="{levels: 2}")},
        {"strategies/drift.py": NARROWER},
    )
    assert [one.sync for one in found.unapplied] == [Sync.INVALID]
    assert (found.rows["a"].mode, found.rows["a"].record.config) == (Mode.ACTIVE, {"levels": 2})


def test_a_version_that_was_invalid_with_the_code_of_its_time_does_not_count() -> None:
    found = before(
        {PATH: record("a", config="{levels: 1}")},
        {PATH: record("a", "active", config="{levels: x}")},
        {"strategies/drift.py": STRATEGY + "# other\n"},
    )
    assert found.rows["a"].mode is Mode.OBSERVE


def test_a_version_has_the_values_of_the_template_of_its_time() -> None:
    template = "instances/_templates/t.yaml"
    found = before(
        {template: "limits: {max_open_orders: 1}\n", PATH: record("a", more="template: t\n")},
        {template: "limits: {max_open_orders: 9}\n", PATH: record("a", "active", more="template: t\nunknown: 1\n")},
    )
    assert found.rows["a"].record.limits.max_open_orders == 1


def test_a_file_that_the_history_does_not_explain_counts_as_it_is() -> None:
    base = replace(base_of({PATH: record("a", "active")}), history=Told())
    assert of_base(base, revision(OTHERS), Accounts(), Catalogue()).rows["a"].mode is Mode.ACTIVE


def test_history_is_asked_only_for_what_is_in_doubt() -> None:
    asked: list[str] = []

    class Past:
        def steps(self, names: object) -> tuple[Step, ...]:
            asked.extend(sorted(names))  # type: ignore[call-overload]
            return ()

    files = {**OTHERS, PATH: record("a"), "instances/bad.yaml": "{"}
    base = Base("main", COMMIT, revision(files), Past())
    of_base(
        base,
        revision({**files, PATH: record("a", "off"), "instances/new.yaml": record("new")}),
        Accounts(),
        Catalogue(),
    )
    assert asked == ["a", "bad", "new"]
