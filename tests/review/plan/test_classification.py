"""What a change is taken for, and that nothing is told twice or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.review.plan.model import FleetPlan, Section
from tests.review.plan.conftest import QUIET, World, compared, fleet, instance, only_change, planned


def between(old: str, new: str) -> FleetPlan:
    return planned(World(fleet(*QUIET, old)), World(fleet(*QUIET, new)))


def said(phrases: object) -> list[str]:
    assert isinstance(phrases, tuple)
    return [str(phrase) for phrase in phrases]


@pytest.mark.parametrize(
    ("old", "new", "section", "effect", "reason"),
    [
        (instance("a"), instance("a", "active"), "start", "reload", "mode observe → active (instances/a.yaml:5)"),
        (instance("a", "active"), instance("a", "active", "levels: 6"), "active", "reload", "config changed"),
        (
            instance("a", "active"),
            instance("a", "active", rest="labels: {b: c}"),
            "active",
            "in-place",
            "labels changed",
        ),
        (instance("a", "active"), instance("a"), "stop", "reload", "mode active → observe (instances/a.yaml:5)"),
        (instance("a", "active"), instance("a", "off"), "stop", "unload", "mode active → off (instances/a.yaml:5)"),
        (instance("a"), instance("a", config="levels: 6"), "reload", "reload", "config changed"),
        (instance("a", "off"), instance("a"), "load", "load", "mode off → observe (instances/a.yaml:5)"),
        (instance("a"), instance("a", "off"), "unload", "unload", "mode observe → off (instances/a.yaml:5)"),
        (instance("a"), instance("a", rest="protect: true"), "in-place", "in-place", "protect changed"),
        (instance("a", "off"), instance("a", "off", "levels: 6"), "off", "none", "config changed"),
    ],
)
def test_a_change_stands_in_the_gravest_section_that_is_true_of_it(
    old: str, new: str, section: str, effect: str, reason: str
) -> None:
    change = only_change(between(old, new))
    assert (change.section, change.effect, said(change.reasons)) == (section, effect, [reason])


def test_a_new_file_and_a_removed_one() -> None:
    plan = planned(
        World(fleet(*QUIET, instance("gone"))), World(fleet(*QUIET, instance("new"), instance("new-off", "off")))
    )
    assert [(c.id, c.section, c.effect, *said(c.reasons)) for c in plan.changes] == [
        ("new", Section.LOAD, "load", "a new file, mode observe"),
        ("gone", Section.UNLOAD, "unload", "its file was removed, mode was observe"),
        ("new-off", Section.OFF, "none", "a new file, mode off"),
    ]


def test_what_is_removed_while_active_stops_trading() -> None:
    plan = planned(World(fleet(*QUIET, instance("a", "active"))), World(fleet(*QUIET)))
    assert only_change(plan).section is Section.STOP
    assert plan.active_changes == ("a",)


def test_an_id_that_comes_back_says_so() -> None:
    before = World(fleet(*QUIET))
    row = World(fleet(instance("a"))).before().rows["a"]
    plan = planned(before, World(fleet(*QUIET, instance("a"))), {"a": replace(row, removed_at="2026-01-31T12:00:00Z")})
    change = only_change(plan)
    assert (change.section, change.before) == (Section.LOAD, None)
    assert said(change.reasons) == ["its id comes back after a removal, mode observe"]


def test_code_that_changes_reloads_and_touches_what_is_active() -> None:
    files = fleet(instance("a", "active"), instance("b"), instance("c", "off"))
    plan = planned(World(files), World(files, code={"grid": "b" * 40}))
    assert [(c.id, c.section, c.code is not None) for c in plan.changes] == [
        ("a", Section.ACTIVE, True),
        ("b", Section.RELOAD, True),
        ("c", Section.OFF, True),
    ]
    assert said(plan.changes[0].reasons) == ["the code of grid changed"]
    assert plan.active_changes == ("a",)


def test_a_template_that_changes_names_itself_where_its_values_change() -> None:
    records = [instance(name, config="pace: slow", rest="template: t") for name in ("a", "b", "c")]
    before = World(fleet(*records), {"t": "config:\n  levels: 4\n"})
    plan = planned(before, replace(before, templates={"t": "config:\n  levels: 6\n"}))
    assert [change.section for change in plan.changes] == [Section.RELOAD] * 3
    for change in plan.changes:
        assert said(change.reasons) == ["config changed through instances/_templates/t.yaml"]
        (found,) = change.differences
        assert (found.old, found.new, found.new_origin) == (4, 6, "instances/_templates/t.yaml:2")


def test_money_that_turns_real_starts_to_trade_real_money_without_a_step_of_mode() -> None:
    files = fleet(instance("a", "active", account="play"), instance("b", account="play"))
    real = Accounts({"play": DeclaredAccount("play", "kraken", True)}, any_on=None)
    change = only_change(planned(World(files), World(files, accounts=real)))
    assert (change.id, change.section, change.money, change.effect) == ("a", Section.START, "real", "none")
    assert said(change.reasons) == ["the money of account play turns from paper to real"]
    assert said(change.warnings) == ["takes effect when the engine restarts"]
    assert not change.rises
    back = only_change(planned(World(files, accounts=real), World(files)))
    assert (back.section, said(back.reasons)) == (
        Section.ACTIVE,
        ["the money of account play turns from real to paper"],
    )


def test_an_account_that_is_reached_otherwise_is_a_change_of_what_is_active() -> None:
    files = fleet(instance("a", "active"))
    moved = Accounts({"main": DeclaredAccount("main", "other", True)}, any_on=None)
    change = only_change(planned(World(files), World(files, accounts=moved)))
    assert change.section is Section.ACTIVE
    assert said(change.reasons) == ["account main is reached through other, was kraken"]


HALT = "- {scope: account, id: main, reason: wild}\n"


def test_a_halt_that_is_lifted_lets_active_instances_start_again() -> None:
    files = fleet(instance("a", "active"), instance("b"), instance("c", "active", account="play"))
    change = only_change(planned(World(files, halts=HALT), World(files)))
    assert (change.id, change.section, said(change.reasons)) == ("a", Section.START, ["its halt is lifted"])


def test_a_halt_that_is_narrowed_starts_those_it_no_longer_covers() -> None:
    files = fleet(instance("a", "active"), instance("b", "active"))
    narrowed = "- {scope: instance, id: a, reason: wild}\n"
    change = only_change(planned(World(files, halts=HALT), World(files, halts=narrowed)))
    assert (change.id, change.section) == ("b", Section.START)


def test_a_halt_that_is_no_longer_in_full_lets_something_through_and_the_reverse_closes_it() -> None:
    files = fleet(instance("a", "active"))
    full = HALT.replace("reason", "full: true, reason")
    loosened = only_change(planned(World(files, halts=full), World(files, halts=HALT)))
    assert loosened.section is Section.START
    assert said(loosened.reasons) == ["its halt is narrowed: cancels and reductions pass again"]
    tightened = only_change(planned(World(files, halts=HALT), World(files, halts=full)))
    assert tightened.section is Section.ACTIVE


def test_a_new_halt_stops_what_is_active() -> None:
    files = fleet(instance("a", "active"), instance("b"))
    change = only_change(planned(World(files), World(files, halts=HALT)))
    assert (change.id, change.section, said(change.reasons)) == ("a", Section.STOP, ["halted"])
    assert said(change.warnings) == ["halted by instances/_halt.yaml, until that is lifted: wild"]


def test_what_rises_under_a_halt_is_still_told_first_and_that_it_is_halted() -> None:
    plan = planned(World(fleet(instance("a"))), World(fleet(instance("a", "active")), halts=HALT))
    change = only_change(plan)
    assert change.section is Section.START
    assert "halted by instances/_halt.yaml, until that is lifted: wild" in said(change.warnings)


def test_a_halt_file_that_cannot_be_understood_stops_everything() -> None:
    files = fleet(instance("a", "active"))
    assert only_change(planned(World(files), World(files, halts="- nonsense"))).section is Section.STOP


def test_what_was_observed_is_evidence_and_what_was_not_is_a_warning() -> None:
    same = only_change(between(instance("a"), instance("a", "active")))
    assert said(same.evidence) == ["config and code stay those it observes with, code aaaaaaaaaaaa"]
    assert not same.warnings
    other = only_change(between(instance("a"), instance("a", "active", "levels: 6")))
    assert not other.evidence
    assert said(other.warnings) == ["not what was observed: config changes in the same step"]


def test_on_real_money_what_is_not_committed_is_warned_of() -> None:
    raised = fleet(instance("a", "active"))
    change = only_change(planned(World(fleet(instance("a"))), World(raised, committed=False)))
    assert change.section is Section.START
    assert any(warning.startswith("not committed: on real money") for warning in said(change.warnings))


def test_what_is_committed_at_last_starts_to_trade() -> None:
    files = fleet(instance("a", "active"))
    change = only_change(planned(World(files, committed=False), World(files)))
    assert change.section is Section.START
    assert said(change.reasons) == ["committed at last: until now its gate was closed"]


def test_an_edit_that_is_not_committed_closes_the_gate_of_what_trades_real_money() -> None:
    files = fleet(instance("a", "active"), instance("b", "active", account="play"))
    change = only_change(planned(World(files), World(files, committed=False)))
    assert (change.id, change.section) == ("a", Section.ACTIVE)


def test_a_lowering_by_an_otherwise_invalid_file_stops_trading() -> None:
    plan = between(instance("a", "active"), instance("a", "observe", "levels: five"))
    change = only_change(plan)
    assert change.section is Section.STOP
    assert "its file is invalid otherwise: only the mode is lowered" in said(change.reasons)
    assert [found.path for found in plan.refused] == ["instances/a.yaml"]


def test_a_move_is_nothing_but_a_move() -> None:
    text = instance("a", "active")
    plan = planned(World({"a": text}), World({"desk/a": text}))
    change = only_change(plan)
    assert change.section is Section.MOVED
    assert plan.active_changes == ()


def test_a_comment_is_nothing() -> None:
    assert between(instance("a", "active"), instance("a", "active", rest="# why")).is_empty


def test_real_money_comes_first() -> None:
    old = fleet(instance("a", account="play"), instance("b"), instance("c"))
    new = fleet(instance("a", "active", account="play"), instance("b", "active"), instance("c", config="levels: 1"))
    plan = planned(World(old), World(new))
    assert [(c.id, c.section) for c in plan.changes] == [
        ("b", Section.START),
        ("a", Section.START),
        ("c", Section.RELOAD),
    ]
    assert plan.raises == ("a", "b")


MODES = st.sampled_from(["off", "observe", "active"])
FILES = st.fixed_dictionaries(
    {},
    optional={
        name: st.builds(
            instance,
            st.just(name),
            MODES,
            st.sampled_from(["levels: 5", "levels: 6", "levels: five", "pace: fast"]),
            st.sampled_from(["", "protect: true", "labels: {a: b}", 'limits: {max_position: "2"}']),
            account=st.sampled_from(["main", "play"]),
        )
        for name in "abcdef"
    },
)
WORLDS = st.builds(
    World,
    FILES,
    code=st.sampled_from([{"grid": "a" * 40}, {"grid": "b" * 40}]),
    halts=st.sampled_from(["", HALT, "[]"]),
    committed=st.booleans(),
)


@given(before=WORLDS, now=WORLDS)
def test_every_row_that_changes_is_told_exactly_once(before: World, now: World) -> None:
    plan = planned(before, now)
    told = [change.id for change in plan.changes]
    assert len(told) == len(set(told))
    for change in plan.changes:
        assert change.reasons or change.section is Section.MOVED
        if change.before is None or change.after is None:
            continue
        if change.mode_before != change.mode_after:
            assert change.section not in (Section.OFF, Section.MOVED, Section.IN_PLACE)
    old, new = before.before().rows, compared(before, now).after
    for id_, row in new.items():
        was = old.get(id_)
        if was is None or (was.record, was.mode, was.code_digest, was.is_live) != (
            row.record,
            row.mode,
            row.code_digest,
            row.is_live,
        ):
            assert id_ in told
    assert {change.id for change in plan.changes if change.rises} <= set(plan.raises)
    assert set(plan.raises) == {change.id for change in plan.of(Section.START)}
    assert set(plan.raises).isdisjoint(plan.active_changes)
    for change in plan.of(Section.START):
        assert change.mode_after == "active"
        assert change.rises or old[change.id].mode == "active"


def test_a_halt_file_that_cannot_be_read_does_not_repeat_why_at_each_instance() -> None:
    change = only_change(planned(World(fleet(instance("a"))), World(fleet(instance("a", "active")), halts="- {")))
    (told,) = (str(warning) for warning in change.warnings)
    assert told == "halted in full: instances/_halt.yaml cannot be understood"


@given(world=WORLDS)
def test_what_is_applied_already_gives_an_empty_plan(world: World) -> None:
    valid = replace(world, files={k: text for k, text in world.files.items() if "five" not in text})
    assert planned(valid, valid).is_empty
