"""The roll, called again and again over a fleet that changes: it says what one says that sees the fleet anew."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.control.fleet import Fleet
from reconciler.control.roll import Roll
from reconciler.records.followed import Followed
from reconciler.records.mode import Mode
from reconciler.records.plan import Phase, Running, load_key
from reconciler.records.record import Row
from reconciler.records.status import Health
from tests.bench.fleet import rows

ROWS = {row.id: row for row in rows(12)}
CHANGES = ("pause", "fail", "raise", "stop", "reload", "remove", "return", "expose", "lower", "follow")


def a_view(row: Row, **changed: object) -> Running:
    return replace(Running(row.id, Phase.RUNNING, row.mode, load_key(row), row), **changed)  # type: ignore[arg-type]


def a_roll() -> Roll:
    return Roll(can_load=lambda _: True, server_of=lambda _: "paper", importing=lambda _: None)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(CHANGES), st.sampled_from(sorted(ROWS)))))
def test_it_says_what_a_roll_says_that_sees_the_fleet_anew(changes: list[tuple[str, str]]) -> None:
    roll, fleet = a_roll(), Fleet(rows=ROWS)
    views = {row.id: a_view(row) for row in ROWS.values()}
    exposed: frozenset[str] = frozenset()
    roll.call(1, fleet, views, exposed)
    for change, id_ in changes:
        views, row = dict(views), fleet.rows[id_]
        match change:
            case "pause":
                views[id_] = a_view(row, paused=True)
            case "fail":
                views[id_] = a_view(row, failing=True)
            case "raise":
                views[id_] = a_view(row, mode=Mode.ACTIVE)
            case "stop":
                views.pop(id_, None)
            case "reload":  # it stands last then, among as many as before
                views.pop(id_, None)
                views[id_] = a_view(row)
            case "remove":
                fleet = replace(fleet, rows={**fleet.rows, id_: replace(row, removed_at="2026-01-31T12:00:00Z")})
            case "return":
                fleet = replace(fleet, rows={**fleet.rows, id_: ROWS[id_]})
            case "expose":
                exposed = exposed ^ {id_}
            case "lower":  # in force alone: the row says nothing of it
                lowered = {**fleet.lowered, id_: Mode.OFF}
                if id_ in fleet.lowered:
                    del lowered[id_]
                fleet = replace(fleet, lowered=lowered)
            case "follow":
                fleet = replace(fleet, followed=None if fleet.followed else Followed("git"))
        assert roll.call(1, fleet, views, exposed) == a_roll().call(1, fleet, views, exposed)


def test_nothing_new_is_nothing_to_do() -> None:
    roll, fleet = a_roll(), Fleet(rows=ROWS)
    views = {row.id: a_view(row) for row in ROWS.values()}
    first = roll.call(1, fleet, views, frozenset())
    assert roll.call(1, fleet, dict(views), frozenset()) is first


def test_who_waits_for_code_is_judged_again_and_who_is_on_its_way_is_not() -> None:
    judged: list[str] = []

    def can_load(row: Row) -> bool:
        judged.append(row.id)
        return len(judged) > len(ROWS)

    roll, fleet = Roll(can_load, server_of=lambda _: "paper", importing=lambda _: None), Fleet(rows=ROWS)
    on_its_way = {id_: a_view(ROWS[id_], phase=Phase.LOADING) for id_ in sorted(ROWS)[:5]}
    first = roll.call(1, fleet, on_its_way, frozenset())
    assert first.by_health == {Health.PROGRESSING: 5, Health.DEGRADED: len(ROWS) - 5}
    judged[len(ROWS) :] = []
    second = roll.call(2, fleet, dict(on_its_way), frozenset())
    assert sorted(judged[len(ROWS) :]) == sorted(ROWS)[5:]
    assert second.by_health == {Health.PROGRESSING: len(ROWS)}
