from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.errors import Problem
from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.records.plan import Load, Reload, SetMode, Unload
from reconciler.records.record import digest
from reconciler.records.snapshot import SourceFile
from reconciler.review.plan.comparison import compare, compare_revisions, comparison_problems, of_base
from reconciler.strategy.catalogue import Catalogue
from tests.review.revisions import STRATEGY, Files, against, base_after, base_of, compared, record, records, revision

FLEET = records("a", "b", "c", "d", "e", "f")


def problems(before: Files, now: Files, former: Files | None = None) -> list[Problem]:
    return list(comparison_problems(compared(before, now, former)))


def problem(before: Files, now: Files, former: Files | None = None) -> Problem:
    (found,) = problems(before, now, former)
    return found


@pytest.mark.parametrize(
    "now",
    [
        {},
        {"instances/g.yaml": record("g", "off")},
        {"instances/g.yaml": record("g", "observe")},
        {"instances/a.yaml": record("a", "active")},
        {"instances/a.yaml": record("a", "off")},
        {"instances/a.yaml": record("a", config="{levels: 9}")},
        {"instances/a.yaml": record("a", "off", config="{levels: x}")},
    ],
)
def test_what_the_engine_would_do_is_no_problem(now: Files) -> None:
    assert problems(FLEET, {**FLEET, **now}) == []


def test_a_step_of_mode_too_far_is_refused_at_the_mode() -> None:
    found = problem(records("a", mode="off"), records("a", mode="active"))
    assert str(found) == ("instances/a.yaml:5:7: mode: expected a step of one mode at a time, was off → active")
    assert (found.rule, found.hint.partition(",")[0]) == ("mode-step", "merge `mode: observe` first")


def test_a_new_record_may_not_start_active() -> None:
    found = problem(FLEET, {**FLEET, **records("g", mode="active")})
    assert str(found) == (
        "instances/g.yaml:5:7: mode: expected a step of one mode at a time, was off → active; a new id starts from off"
    )
    assert found.rule == "mode-step"


def test_a_changed_identity_names_old_and_new() -> None:
    found = problem(FLEET, {**FLEET, "instances/a.yaml": record("a", market="ETH/USD")})
    assert str(found) == "instances/a.yaml:4:9: market: immutable: a is 'BTC/USD', the file says 'ETH/USD'"
    assert found.hint == "put 'BTC/USD' back, or give the changed deployment a new id in a file of its own"
    assert found.rule == "identity-changed"


def test_a_returning_id_keeps_its_identity_and_starts_from_off() -> None:
    former = {"instances/old.yaml": record("old", "active", market="ETH/USD")}
    found = problem(FLEET, {**FLEET, "instances/desk/old.yaml": record("old")}, former)
    assert str(found) == (
        "instances/desk/old.yaml:4:9: market: immutable: old was, until it was removed, 'ETH/USD', "
        "the file says 'BTC/USD'"
    )
    again = {**FLEET, "instances/old.yaml": record("old", "active", market="ETH/USD")}
    found = problem(FLEET, again, former)
    assert (found.line, found.column, found.rule) == (5, 7, "mode-step")
    assert found.message.endswith("; a returning id starts from off")
    assert problems(FLEET, {**FLEET, "instances/old.yaml": record("old", market="ETH/USD")}, former) == []


def test_a_moved_file_is_nothing() -> None:
    before = {**FLEET, "instances/g.yaml": record("g", "active", more="protect: true\n")}
    now = {**FLEET, "instances/desk/g.yml": record("g", "active", more="protect: true\n")}
    assert problems(before, now) == []
    assert compared(before, now).admission.removal.remove == ()


def test_a_protected_record_may_not_be_removed() -> None:
    before = {**FLEET, "instances/g.yaml": record("g", more="protect: true\n")}
    found = problem(before, FLEET)
    assert str(found) == (
        "instances/g.yaml: expected the file of a record under `protect`, was removed: the instance would run on"
    )
    assert found.hint == (
        "put the file back; to remove it, merge `protect: false` first, and remove it in a second change"
    )
    assert found.rule == "protected-removal"


def test_a_few_may_be_removed_at_once() -> None:
    found = compared(FLEET, records("a", "b", "c"))
    assert comparison_problems(found) == ()
    assert found.admission.removal.remove == ("d", "e", "f")
    assert not found.after["d"].is_live


def test_many_removed_at_once_are_one_problem_that_names_them_and_tells_how_to_confirm() -> None:
    found = problem(FLEET, records("a", "b"))
    assert str(found) == (
        "instances: expected at most 3 of 6 records to be removed at once, were 4, "
        "which the engine would hold: c, d, e, f"
    )
    confirmed = digest(["c", "d", "e", "f"])[:12]
    assert found.hint == (
        f"merge the removals in smaller steps, or confirm after the merge with `reconciler prune --confirm {confirmed}`"
    )
    assert found.rule == "mass-removal"


@pytest.mark.parametrize(("live", "removed", "most"), [(1, 1, 0), (3, 3, 2), (15, 4, 3), (20, 5, 4), (100, 21, 20)])
def test_how_many_may_be_removed_at_once_is_told(live: int, removed: int, most: int) -> None:
    ids = [f"i{number}" for number in range(live)]
    found = problem(records(*ids), records(*ids[removed:]))
    assert found.message.startswith(f"expected at most {most} of {live} records to be removed at once, were {removed},")
    assert problems(records(*ids), records(*ids[removed - most :])) == [] or most == 0


def test_of_very_many_removed_not_all_are_named() -> None:
    ids = [f"i{number:02}" for number in range(30)]
    assert problem(records(*ids), {}).message.endswith("i18, i19 and 10 more")


def test_the_removal_of_others_is_told_beside_the_protected() -> None:
    before = {**FLEET, "instances/g.yaml": record("g", more="protect: true\n")}
    assert [p.rule for p in problems(before, {})] == ["mass-removal", "protected-removal"]


def test_an_invalid_file_is_no_problem_beyond_its_own() -> None:
    lowered = compared(FLEET, {**FLEET, "instances/a.yaml": record("a", "off", config="{levels: x}")})
    assert comparison_problems(lowered) == ()
    assert lowered.after["a"].mode is Mode.OFF
    assert problems(FLEET, {**FLEET, "instances/a.yaml": "{"}) == []


def test_mending_a_file_that_was_broken_at_the_base_is_no_new_record() -> None:
    sound = {**FLEET, "instances/g.yaml": record("g", "active")}
    base = base_after(sound, {"instances/g.yaml": record("g", "active", config="{levels: x}")})
    assert comparison_problems(against(base, revision(sound))) == ()
    other = revision({**FLEET, "instances/g.yaml": record("g", "active", market="ETH/USD")})
    assert [found.rule for found in comparison_problems(against(base, other))] == ["identity-changed"]


def test_what_was_never_valid_is_new_once_it_is() -> None:
    broken = {**FLEET, "instances/g.yaml": record("g", "active", config="{levels: x}")}
    assert problems(broken, {**FLEET, "instances/g.yaml": record("g", "observe")}) == []
    assert problem(broken, {**FLEET, "instances/g.yaml": record("g", "active")}).rule == "mode-step"


def test_a_file_that_stays_as_it_was_refused_is_no_fault_of_the_change() -> None:
    base = base_after(FLEET, records("g", mode="active"))
    assert comparison_problems(against(base, revision({**FLEET, **records("g", mode="active")}))) == ()
    code = {**FLEET, **records("g", mode="active"), "strategies/drift.py": STRATEGY + "# other\n"}
    assert comparison_problems(against(base, revision(code))) == ()
    touched = {**FLEET, "instances/g.yaml": record("g", "active", more="description: still\n")}
    assert [found.rule for found in comparison_problems(against(base, revision(touched)))] == ["mode-step"]


def test_putting_an_identity_back_is_allowed() -> None:
    base = base_after(FLEET, {"instances/a.yaml": record("a", market="ETH/USD")})
    assert comparison_problems(against(base, revision(FLEET))) == ()


def test_actions_lead_an_engine_from_the_base_to_the_files_now() -> None:
    before = {**FLEET, **records("idle", mode="off")}
    now = {
        **records("a", "b", "c", "e"),
        "instances/a.yaml": record("a", config="{levels: 9}"),
        "instances/b.yaml": record("b", "off"),
        **records("idle", "g"),
        **records("f", mode="active"),
    }
    actions = compared(before, now).actions
    assert [type(action) for action in actions] == [SetMode, SetMode, Reload, Unload, Unload, Reload, Load, Load]
    assert {a.row.id for a in actions if isinstance(a, Load)} == {"idle", "g"}
    assert {a.id for a in actions if isinstance(a, Unload)} == {"b", "d"}


def test_nothing_changed_is_nothing_to_do() -> None:
    found = compared(FLEET, FLEET)
    assert (found.actions, found.admission.changes, comparison_problems(found)) == ((), (), ())
    assert found.after == found.before.rows


def test_new_code_reloads_what_runs_on_it() -> None:
    found = compared(FLEET, {**FLEET, "strategies/drift.py": STRATEGY + "# other\n"})
    assert len(found.actions) == len(FLEET)
    assert all(isinstance(a, Reload) and a.reason == "strategy code changed" for a in found.actions)


def test_a_changed_template_changes_every_record_that_uses_it() -> None:
    uses = {f"instances/{id}.yaml": record(id, config="{}", more="template: t\n") for id in "ab"}
    before = {**FLEET, **uses, "instances/_templates/t.yaml": "config: {levels: 4}\n"}
    found = compared(before, {**before, "instances/_templates/t.yaml": "config: {levels: 5}\n"})
    assert [(type(a), a.row.id) for a in found.actions if isinstance(a, Reload)] == [(Reload, "a"), (Reload, "b")]
    assert found.before.rows["a"].record.config == {"levels": 4}
    assert found.after["a"].record.config == {"levels": 5}


def test_git_being_at_work_does_not_keep_files_from_being_compared() -> None:
    head = replace(revision(records("a", mode="active")), whole=False, not_whole="a merge is under way")
    found = compare_revisions(base_of({}), Accounts(), head, Accounts(), Catalogue())
    assert [p.rule for p in comparison_problems(found)] == ["mode-step"]
    found = compare_revisions(base_of(FLEET), Accounts(), head, Accounts(), Catalogue())
    assert [p.rule for p in comparison_problems(found)] == ["mass-removal"]


def test_what_lies_in_a_folder_that_cannot_be_read_is_not_removed() -> None:
    shut = SourceFile("instances/desk", None, "", False, "could not be read: Permission denied")
    head = revision({})
    head = replace(head, instances=(shut,))
    found = compare_revisions(base_of(FLEET), Accounts(), head, Accounts(), Catalogue())
    assert comparison_problems(found) == ()
    assert found.after == found.before.rows


def test_halts_and_accounts_are_those_of_now() -> None:
    head = revision({"instances/_halt.yaml": "- {scope: all, reason: why}\n"})
    accounts = Accounts()
    before = of_base(base_of({}), head, Accounts(), Catalogue())
    found = compare(before, head, (), accounts)
    assert [halt.scope for halt in found.halts] == ["all"]
    assert found.accounts is accounts
    assert before.halts == ()
