"""What a snapshot may change in the table, and what it may not."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from reconciler.errors import Problem
from reconciler.records.admission import Admission, Arrival, admit
from reconciler.records.evaluation import Evaluation
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Row
from reconciler.records.status import Sync

AT = "2026-01-02T00:00:00.000Z"
ARRIVAL = Arrival(at=AT, revision="c0ffee")
BROKEN = (Problem("instances/a.yaml", 3, 5, "config", "expected an object"),)

Make = Callable[..., Any]


def rows_of(*rows: Row) -> dict[str, Row]:
    return {row.id: row for row in rows}


def table_after(rows: dict[str, Row], admission: Admission) -> dict[str, Row]:
    return {**rows, **{change.row.id: change.row for change in admission.changes}}


def attempts_after(admission: Admission) -> dict[str, Attempt]:
    return {attempt.path: attempt for attempt in admission.attempts}


def only(admission: Admission) -> Row:
    assert len(admission.changes) == 1
    return admission.changes[0].row


def sync_of(admission: Admission) -> Sync:
    assert len(admission.attempts) == 1
    return admission.attempts[0].sync


def test_a_new_file_becomes_a_row_of_generation_one(make_file: Make) -> None:
    row = only(admit([make_file(mode=Mode.OBSERVE)], {}, {}, ARRIVAL))
    assert (row.generation, row.mode, row.revision, row.committed) == (1, Mode.OBSERVE, "c0ffee", True)


def test_an_uncommitted_file_has_no_revision(make_file: Make) -> None:
    assert only(admit([make_file(committed=False)], {}, {}, ARRIVAL)).revision is None


def test_a_new_file_that_starts_active_is_refused_and_leaves_no_row(make_file: Make) -> None:
    admission = admit([make_file(mode=Mode.ACTIVE)], {}, {}, ARRIVAL)
    assert admission.changes == ()
    assert sync_of(admission) is Sync.REFUSED
    assert admission.attempts[0].problems[0].rule == "mode-step"


def test_adoption_takes_an_active_mode_as_established_for_new_rows_only(make_file: Make, make_row: Make) -> None:
    adopting = replace(ARRIVAL, adopt=True)
    assert only(admit([make_file(mode=Mode.ACTIVE)], {}, {}, adopting)).mode is Mode.ACTIVE
    known = rows_of(make_row(mode=Mode.OFF))
    assert admit([make_file(mode=Mode.ACTIVE)], known, {}, adopting).changes == ()


@pytest.mark.parametrize(
    ("now", "wanted", "allowed"),
    [
        (Mode.OFF, Mode.OBSERVE, True),
        (Mode.OBSERVE, Mode.ACTIVE, True),
        (Mode.OFF, Mode.ACTIVE, False),
        (Mode.ACTIVE, Mode.OBSERVE, True),
        (Mode.ACTIVE, Mode.OFF, True),
        (Mode.OBSERVE, Mode.OFF, True),
    ],
)
def test_modes_rise_one_step_at_a_time_and_fall_any_distance(
    make_file: Make, make_row: Make, now: Mode, wanted: Mode, allowed: bool
) -> None:
    rows = rows_of(make_row(mode=now))
    after = table_after(rows, admit([make_file(mode=wanted)], rows, {}, ARRIVAL))
    assert after["a"].mode is (wanted if allowed else now)


def test_a_refused_file_changes_nothing_of_its_row(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row(mode=Mode.OFF, config={"levels": 5}))
    admission = admit([make_file(mode=Mode.ACTIVE, config={"levels": 9})], rows, {}, ARRIVAL)
    assert admission.changes == ()
    assert sync_of(admission) is Sync.REFUSED


def test_generation_rises_when_values_change_and_only_then(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row(config={"levels": 5}))
    assert only(admit([make_file(config={"levels": 7})], rows, {}, ARRIVAL)).generation == 2
    assert only(admit([make_file(config={"levels": 5}, code="code-2")], rows, {}, ARRIVAL)).generation == 1
    moved = make_file(config={"levels": 5}, path="instances/majors/a.yaml")
    assert only(admit([moved], rows, {}, ARRIVAL)).generation == 1


def test_a_change_says_what_changed(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row(config={"levels": 5}))
    admission = admit([make_file(config={"levels": 7})], rows, {}, ARRIVAL)
    assert admission.changes[0].kind == "changed"
    assert admission.changes[0].summary == "config.levels: 5 → 7"


def test_moving_a_file_is_nothing_but_a_new_path(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row())
    admission = admit([make_file(path="instances/majors/a.yaml")], rows, {}, ARRIVAL)
    assert admission.changes[0].kind == "moved"
    assert only(admission).path == "instances/majors/a.yaml"
    assert admission.removal.waiting == ()


def test_an_invalid_file_lowers_the_mode_but_changes_nothing_else(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row(mode=Mode.ACTIVE, config={"levels": 5}))
    admission = admit([make_file(mode=Mode.OBSERVE, config={"levels": "x"}, problems=BROKEN)], rows, {}, ARRIVAL)
    row = only(admission)
    assert row.mode is Mode.OBSERVE
    assert replace(row, mode_override=None, applied_at=rows["a"].applied_at) == rows["a"]
    assert sync_of(admission) is Sync.INVALID


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ACTIVE])
def test_invariant_4_an_invalid_file_never_raises_or_changes_what_runs(
    make_file: Make, make_row: Make, mode: Mode
) -> None:
    rows = rows_of(make_row(mode=Mode.OBSERVE))
    assert admit([make_file(mode=mode, problems=BROKEN)], rows, {}, ARRIVAL).changes == ()


def test_two_files_claiming_one_id_lower_nothing(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row(mode=Mode.ACTIVE))
    files = [make_file(mode=Mode.OFF, problems=BROKEN, path=f"instances/{n}/a.yaml") for n in (1, 2)]
    assert admit(files, rows, {}, ARRIVAL).changes == ()


def test_a_mode_lowered_by_an_invalid_file_rises_again_step_by_step(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row(mode=Mode.ACTIVE).lowered(Mode.OFF))
    assert admit([make_file(mode=Mode.ACTIVE)], rows, {}, ARRIVAL).changes == ()
    assert only(admit([make_file(mode=Mode.OBSERVE)], rows, {}, ARRIVAL)).mode is Mode.OBSERVE


def test_a_changed_identity_is_refused_naming_old_and_new(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row(market="EUR/USD"))
    admission = admit([make_file(market="EUR/JPY")], rows, {}, ARRIVAL)
    problem = admission.attempts[0].problems[0]
    assert admission.changes == ()
    assert "EUR/USD" in problem.message
    assert "EUR/JPY" in problem.message
    assert problem.rule == "identity-changed"


def test_a_changed_identity_still_lowers_the_mode(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row(mode=Mode.ACTIVE, market="EUR/USD"))
    row = only(admit([make_file(mode=Mode.OFF, market="EUR/JPY")], rows, {}, ARRIVAL))
    assert row.mode is Mode.OFF
    assert row.record.identity.market == "EUR/USD"


def test_a_removed_id_that_returns_starts_from_off(make_file: Make, make_row: Make) -> None:
    tombstone = replace(make_row(mode=Mode.ACTIVE, generation=3), removed_at=AT)
    assert admit([make_file(mode=Mode.ACTIVE)], rows_of(tombstone), {}, ARRIVAL).changes == ()
    row = only(admit([make_file(mode=Mode.OBSERVE)], rows_of(tombstone), {}, ARRIVAL))
    assert (row.is_live, row.mode, row.generation) == (True, Mode.OBSERVE, 4)


def test_a_removed_id_may_not_return_as_somebody_else(make_file: Make, make_row: Make) -> None:
    tombstone = replace(make_row(market="EUR/USD"), removed_at=AT)
    assert sync_of(admit([make_file(market="EUR/JPY")], rows_of(tombstone), {}, ARRIVAL)) is Sync.REFUSED


def test_a_snapshot_that_is_not_whole_may_only_lower(make_file: Make, make_row: Make) -> None:
    half = replace(ARRIVAL, whole=False, not_whole="a rebase is under way")
    rows = rows_of(make_row(mode=Mode.ACTIVE, config={"levels": 5}))
    lowered = only(admit([make_file(mode=Mode.OBSERVE, config={"levels": 7})], rows, {}, half))
    assert (lowered.mode, lowered.record.config, lowered.generation) == (Mode.OBSERVE, {"levels": 5}, 1)
    admission = admit([make_file(mode=Mode.ACTIVE, config={"levels": 7})], rows, {}, half)
    assert admission.changes == ()
    assert admission.attempts[0].message == "not applied yet: a rebase is under way"
    assert admit([make_file(id="b")], {}, {}, half).changes == ()


def test_a_missing_file_is_looked_for_twice_before_it_counts(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row("a"), make_row("b"))
    files = [make_file("b")]
    first = admit(files, rows, {}, ARRIVAL)
    assert (first.changes, first.removal.waiting) == ((), ("a",))
    second = admit(files, rows, {}, replace(ARRIVAL, settled=frozenset({"a"})))
    assert only(second).removed_at == AT
    assert second.changes[0].kind == "removed"


def test_a_missing_file_in_a_half_read_snapshot_counts_for_nothing(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row("a"), make_row("b"))
    half = Arrival(AT, "c0ffee", whole=False, settled=frozenset({"a"}))
    assert admit([make_file("b")], rows, {}, half).changes == ()


def test_an_unreadable_file_is_not_missing(make_file: Make, make_row: Make) -> None:
    unreadable = replace(make_file("a", problems=BROKEN), claimed_id=None, claimed_mode=None)
    rows = rows_of(make_row("a"), make_row("b"))
    arrival = replace(ARRIVAL, settled=frozenset({"a"}))
    assert admit([unreadable, make_file("b")], rows, {}, arrival).changes == ()


def test_a_protected_record_outlives_its_file(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row("a", protect=True), make_row("b"))
    admission = admit([make_file("b")], rows, {}, replace(ARRIVAL, settled=frozenset({"a"})))
    assert admission.changes == ()
    assert admission.removal.protected == ("a",)


def test_removing_many_at_once_is_held_until_exactly_that_set_is_confirmed(make_file: Make, make_row: Make) -> None:
    ids = [f"i{n:02}" for n in range(10)]
    rows = rows_of(*(make_row(i) for i in ids))
    files = [make_file(i) for i in ids[4:]]
    arrival = replace(ARRIVAL, settled=frozenset(ids[:4]))
    held = admit(files, rows, {}, arrival).removal
    assert held.held == tuple(ids[:4])
    confirmed = replace(arrival, confirmed_removal=held.held_digest)
    assert admit(files, rows, {}, confirmed).removal.remove == tuple(ids[:4])
    one_more = replace(confirmed, settled=frozenset(ids[:5]))
    assert admit(files[1:], rows, {}, one_more).removal.held == tuple(ids[:5])


def test_removing_the_only_record_is_held(make_row: Make) -> None:
    admission = admit([], rows_of(make_row("a")), {}, replace(ARRIVAL, settled=frozenset({"a"})))
    assert admission.removal.held == ("a",)


def test_other_changes_apply_while_removals_are_held(make_file: Make, make_row: Make) -> None:
    rows = rows_of(*(make_row(f"i{n}") for n in range(6)))
    admission = admit([make_file("i5", config={"levels": 9})], rows, {}, ARRIVAL)
    assert only(admission).id == "i5"
    assert len(admission.removal.held) == 5


def test_invariant_5_admitting_twice_changes_nothing(make_file: Make, make_row: Make) -> None:
    rows = rows_of(make_row("a"), make_row("b", mode=Mode.ACTIVE), make_row("c"))
    files = [
        make_file("a", config={"x": 1}),
        make_file("b", mode=Mode.OFF, problems=BROKEN),
        make_file("d", mode=Mode.ACTIVE),
        make_file("e"),
    ]
    arrival = replace(ARRIVAL, settled=frozenset({"c"}))
    first = admit(files, rows, {}, arrival)
    second = admit(files, table_after(rows, first), attempts_after(first), arrival)
    assert (second.changes, second.attempts) == ((), ())


def test_invariant_6_the_order_of_files_does_not_matter(make_file: Make, make_row: Make) -> None:
    rows = rows_of(*(make_row(f"i{n}", mode=Mode.ACTIVE) for n in range(20)))
    files: list[Evaluation] = [make_file(f"i{n}", mode=Mode.OBSERVE, config={"n": n}) for n in range(2, 22)]
    expected = table_after(rows, admit(files, rows, {}, ARRIVAL))
    shuffle = random.Random(7)
    for _ in range(10):
        mixed: Sequence[Evaluation] = shuffle.sample(files, len(files))
        items = shuffle.sample(list(rows.items()), len(rows))
        assert table_after(rows, admit(mixed, dict(items), {}, ARRIVAL)) == expected


def test_the_attempt_of_a_removed_file_is_forgotten(make_file: Make) -> None:
    first = admit([make_file("a", problems=BROKEN)], {}, {}, ARRIVAL)
    second = admit([], {}, attempts_after(first), ARRIVAL)
    assert second.forgotten_paths == ("instances/a.yaml",)


UPON = {"template_path": "instances/_templates/grid.yaml", "template_digest": "new"}


def test_a_row_keeps_which_template_it_came_from(make_file: Make) -> None:
    row = only(admit([replace(make_file(), **UPON)], {}, {}, ARRIVAL))
    assert (row.template_path, row.template_digest) == ("instances/_templates/grid.yaml", "new")


def test_a_template_rewritten_without_a_change_of_values_raises_no_generation(make_file: Make, make_row: Make) -> None:
    row = replace(make_row(), template_path=UPON["template_path"], template_digest="old")
    admission = admit([replace(make_file(), **UPON)], rows_of(row), {}, ARRIVAL)
    assert (only(admission).generation, only(admission).template_digest) == (1, "new")
    assert admission.changes[0].kind == "revision"
    assert admission.changes[0].summary == "instances/_templates/grid.yaml rewritten without a change of values"
    again = admit([replace(make_file(), **UPON)], table_after({}, admission), attempts_after(admission), ARRIVAL)
    assert again.changes == ()


@pytest.mark.parametrize(
    ("file_digest", "template_path", "summary"),
    [
        ("", "instances/_templates/grid.yaml", "through instances/_templates/grid.yaml"),
        ("other", "instances/_templates/grid.yaml", "instances/_templates/grid.yaml changed as well"),
        ("other", "instances/_templates/old.yaml", "template: instances/_templates/old.yaml → {path}"),
    ],
)
def test_the_history_says_when_a_change_came_through_the_template(
    make_file: Make, make_row: Make, file_digest: str, template_path: str, summary: str
) -> None:
    file = replace(make_file(config={"levels": 7}), **UPON)
    row = replace(
        make_row(config={"levels": 5}),
        template_path=template_path,
        template_digest="old",
        file_digest=file_digest or file.file_digest,
    )
    admission = admit([file], rows_of(row), {}, ARRIVAL)
    expected = summary.format(path=UPON["template_path"])
    assert admission.changes[0].summary == f"config.levels: 5 → 7; {expected}"
    assert (admission.changes[0].kind, only(admission).generation) == ("changed", 2)


def test_without_the_limits_that_are_asked_for_nothing_rises_to_active_and_what_is_active_stays(
    make_file: Make,
) -> None:
    file = replace(make_file(mode=Mode.ACTIVE), lacking=("max_position",))
    observing = only(admit([make_file(mode=Mode.OBSERVE)], {}, {}, ARRIVAL))
    admission = admit([file], rows_of(observing), {}, ARRIVAL)
    assert (admission.changes, sync_of(admission)) == ((), Sync.REFUSED)
    (problem,) = admission.attempts[0].problems
    assert (problem.pointer, problem.rule) == ("mode", "require-limits")
    assert "max_position" in problem.message

    active = only(admit([replace(file, lacking=())], rows_of(observing), {}, ARRIVAL))
    changed = replace(make_file(mode=Mode.ACTIVE, config={"levels": 2}), lacking=("max_position",))
    assert only(admit([changed], rows_of(active), {}, ARRIVAL)).mode is Mode.ACTIVE
