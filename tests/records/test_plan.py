"""The plan: what is done about the difference between rows and running instances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from reconciler.records.mode import Mode
from reconciler.records.plan import Action, Load, Phase, Reload, Running, SetMode, Unload, Update, load_key, plan
from reconciler.records.record import Row

MakeRow = Callable[..., Row]


def running(row: Row, phase: Phase = Phase.RUNNING, **changes: Any) -> Running:
    return replace(Running(row.id, phase, row.mode, load_key(row), row), **changes)


def planned(
    desired: Row | None, view: Running | None, *, can_load: bool = True, now_s: float = 0
) -> tuple[Action, ...]:
    rows = {} if desired is None else {desired.id: desired}
    views = {} if view is None else {view.id: view}
    return plan(rows, views, lambda _: can_load, now_s)


def after(actions: tuple[Action, ...], views: dict[str, Running]) -> dict[str, Running]:
    """What a host would have running once it had carried the actions out."""
    views = dict(views)
    for action in actions:
        match action:
            case Load(row=row) | Reload(row=row):
                views[row.id] = running(row)
            case Unload(id=instance_id):
                views.pop(instance_id)
            case SetMode(id=instance_id, mode=mode):
                views[instance_id] = replace(views[instance_id], mode=mode)
            case Update(row=row):
                views[row.id] = replace(views[row.id], row=row)
    return views


def test_what_is_wanted_and_not_running_is_loaded(make_row: MakeRow) -> None:
    row = make_row(mode=Mode.OBSERVE)
    assert planned(row, None) == (Load(row, "wanted and not running"),)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.FAILED])
def test_what_runs_and_is_not_wanted_is_unloaded(make_row: MakeRow, phase: Phase) -> None:
    row = make_row(mode=Mode.OBSERVE)
    off = make_row(mode=Mode.OFF)
    assert [type(a) for a in planned(off, running(row, phase))] == [SetMode, Unload]
    assert [type(a) for a in planned(replace(row, removed_at="now"), running(row, phase))] == [SetMode, Unload]
    assert [type(a) for a in planned(None, running(row, phase))] == [SetMode, Unload]


def test_what_is_in_force_is_compared_too_and_rises_by_a_reload_where_it_may(make_row: MakeRow) -> None:
    row = make_row(mode=Mode.ACTIVE)
    lowered = running(row, mode=Mode.OBSERVE)
    assert planned(row, lowered) == (Reload(row, "mode in force observe → active"),)
    assert planned(row, lowered, can_load=False) == ()
    assert plan({row.id: row}, {row.id: lowered}, lambda _: True, 0, lambda _: False) == ()
    assert planned(row, replace(lowered, phase=Phase.STUCK)) == ()


def test_active_to_off_passes_through_observe_before_it_unloads(make_row: MakeRow) -> None:
    actions = planned(make_row(mode=Mode.OFF), running(make_row(mode=Mode.ACTIVE)))
    assert [getattr(a, "mode", None) for a in actions] == [Mode.OBSERVE, Mode.OFF, None]
    assert isinstance(actions[-1], Unload)


@pytest.mark.parametrize(
    "change",
    [{"config": {"levels": 9}}, {"code": "code-2"}, {"mode": Mode.ACTIVE}],
    ids=["config", "code", "mode"],
)
def test_a_change_of_mode_config_or_code_reloads(make_row: MakeRow, change: dict[str, Any]) -> None:
    old, new = make_row(mode=Mode.OBSERVE), make_row(**{"mode": Mode.OBSERVE, **change})
    (action,) = planned(new, running(old))
    assert isinstance(action, Reload)
    assert action.row is new


def test_a_lowered_mode_closes_the_gate_before_it_reloads(make_row: MakeRow) -> None:
    actions = planned(make_row(mode=Mode.OBSERVE), running(make_row(mode=Mode.ACTIVE)))
    assert [type(a) for a in actions] == [SetMode, Reload]


def test_lowered_modes_come_first_whatever_their_id(make_row: MakeRow) -> None:
    desired = {"a": make_row("a"), "z": make_row("z", mode=Mode.OFF)}
    views = {"z": running(make_row("z", mode=Mode.ACTIVE))}
    assert [type(a) for a in plan(desired, views, lambda _: True, 0)] == [SetMode, SetMode, Load, Unload]


def test_everything_else_is_applied_in_place(make_row: MakeRow) -> None:
    row = make_row()
    described = replace(row, record=replace(row.record, description="new words"), generation=2)
    assert planned(described, running(row)) == (Update(described),)


@pytest.mark.parametrize("phase", [Phase.LOADING, Phase.UNLOADING, Phase.STUCK])
def test_invariant_1_nothing_is_loaded_over_an_instance_on_its_way(make_row: MakeRow, phase: Phase) -> None:
    old, new = make_row(config={"levels": 5}), make_row(config={"levels": 9})
    assert planned(new, running(old, phase)) == ()


@pytest.mark.parametrize("phase", [Phase.LOADING, Phase.UNLOADING, Phase.STUCK])
def test_an_instance_on_its_way_is_lowered_at_once(make_row: MakeRow, phase: Phase) -> None:
    actions = planned(make_row(mode=Mode.OBSERVE), running(make_row(mode=Mode.ACTIVE), phase))
    assert [type(a) for a in actions] == [SetMode]


def test_a_failed_load_is_retried_when_it_is_due_or_when_something_changed(make_row: MakeRow) -> None:
    row = make_row()
    failed = running(row, Phase.FAILED, retry_at_s=10.0)
    assert planned(row, failed, now_s=9) == ()
    assert [type(a) for a in planned(row, failed, now_s=10)] == [Load]
    assert [type(a) for a in planned(make_row(config={"levels": 9}), failed, now_s=9)] == [Load]


def test_code_that_is_not_at_hand_neither_loads_nor_disturbs_what_runs(make_row: MakeRow) -> None:
    old, new = make_row(), make_row(code="code-2")
    assert planned(new, None, can_load=False) == ()
    assert planned(new, running(old), can_load=False) == ()


def test_invariant_5_the_plan_after_an_apply_is_empty(make_row: MakeRow) -> None:
    desired = {
        row.id: row
        for row in (
            make_row("a"),
            make_row("b", mode=Mode.OFF),
            make_row("c", config={"levels": 9}),
            make_row("d", mode=Mode.OBSERVE),
            replace(make_row("e"), removed_at="now"),
        )
    }
    views = {
        view.id: view
        for view in (
            running(make_row("b", mode=Mode.ACTIVE)),
            running(make_row("c")),
            running(make_row("d", mode=Mode.ACTIVE)),
            running(make_row("e")),
            running(make_row("f")),
        )
    }
    actions = plan(desired, views, lambda _: True, 0)
    assert {type(a) for a in actions} == {Load, Unload, Reload, SetMode}
    assert plan(desired, after(actions, views), lambda _: True, 0) == ()


def test_what_runs_is_made_from_a_row_exactly_where_their_keys_are_equal(make_row: MakeRow) -> None:
    row = make_row()
    view = running(row)
    others = (
        row,
        row.lowered(Mode.OFF),
        replace(row, config_digest="other"),
        replace(row, code_digest="other"),
        replace(row, generation=9),
        replace(row, record=replace(row.record, data_markets=("ETH/USD",))),
    )
    assert [view.is_made_from(one) for one in others] == [view.key == load_key(one) for one in others]
    assert [view.is_made_from(one) for one in others] == [True, False, False, False, True, False]


def test_other_data_markets_reload(make_row: MakeRow) -> None:
    row = make_row()
    wider = replace(row, record=replace(row.record, data_markets=("ETH/USD",)))
    assert planned(wider, running(row)) == (Reload(wider, "data markets changed"),)
