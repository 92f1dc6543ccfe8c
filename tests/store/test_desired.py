"""Desired state: what comes out equals what went in, history of every change, and drift by other hands."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.clock import FakeClock
from reconciler.errors import Problem, StoreError
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Identity, InstanceRecord, Limits, Row, RowChange
from reconciler.records.status import Sync
from reconciler.store import Reader, Store
from tests.drawing import drawn

MakeRow = Callable[..., Row]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
values = st.dictionaries(texts, plain, max_size=4)
amounts = st.decimals(min_value="0.00000001", max_value=10**12, places=8)
modes = st.sampled_from(list(Mode))
limits = st.builds(
    Limits,
    max_order_notional=st.none() | amounts,
    max_position=st.none() | amounts,
    max_open_orders=st.none() | st.integers(0, 1000),
    max_orders_per_minute=st.none() | st.integers(0, 1000),
    max_daily_loss=st.none() | amounts,
    max_price_deviation=st.none() | amounts,
    max_quote_age_seconds=st.integers(1, 1000),
) | st.sampled_from([Limits(), Limits(takes_any_quote=True)])
records = st.builds(
    InstanceRecord,
    id=st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True),
    identity=st.builds(Identity, texts, texts, texts, texts),
    mode=modes,
    config=values,
    effective_config=values,
    description=texts,
    labels=st.dictionaries(texts, texts, max_size=3),
    template=st.none() | texts,
    open_orders=st.sampled_from(["keep", "cancel"]),
    protect=st.booleans(),
    limits=limits,
    values=values,
)
rows = st.builds(
    Row,
    record=records,
    path=texts,
    generation=st.integers(1, 2**40),
    values_digest=texts,
    config_digest=texts,
    file_digest=texts,
    code_digest=texts,
    revision=st.none() | texts,
    committed=st.booleans(),
    applied_at=texts,
    mode_override=st.none() | modes,
    removed_at=st.none() | texts,
    template_path=texts,
    template_digest=texts,
)
problems = st.builds(Problem, texts, st.integers(0, 999), st.integers(0, 999), texts, texts, texts, texts)
attempts = st.builds(
    Attempt,
    path=texts,
    id=st.none() | texts,
    file_digest=texts,
    revision=st.none() | texts,
    sync=st.sampled_from(list(Sync)),
    message=texts,
    problems=st.lists(problems, max_size=3).map(tuple),
    at=texts,
)


@pytest.fixture(scope="module")
def lasting_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all examples of a property."""
    with Store.open(tmp_path_factory.mktemp("desired") / "reconciler.db", FakeClock()) as opened:
        yield opened


@settings(max_examples=drawn(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written=st.lists(rows, max_size=4, unique_by=lambda row: row.id))
def test_a_row_comes_back_exactly_as_it_was_written(lasting_store: Store, written: list[Row]) -> None:
    lasting_store.desired.apply([RowChange(row, "changed", "") for row in written])
    known = lasting_store.desired.rows()
    for row in written:
        assert known[row.id] == row
        assert repr(known[row.id].record.values) == repr(row.record.values), "1 and 1.0 and True stay apart, too"


@settings(max_examples=drawn(50), deadline=None)
@given(written=st.lists(attempts, max_size=4, unique_by=lambda attempt: attempt.path))
def test_an_attempt_comes_back_exactly_as_it_was_written(lasting_store: Store, written: list[Attempt]) -> None:
    lasting_store.desired.apply([], written, [])
    known = lasting_store.desired.attempts()
    assert [known[attempt.path] for attempt in written] == written


def test_a_changed_row_replaces_the_one_of_its_id_and_leaves_the_others(store: Store, make_row: MakeRow) -> None:
    first, second = make_row("a"), make_row("b")
    store.desired.apply([RowChange(first, "created", ""), RowChange(second, "created", "")])
    lowered = replace(second, generation=2, mode_override=Mode.OFF, removed_at="2026-02-01T00:00:00.000Z")
    store.desired.apply([RowChange(lowered, "removed", "")])
    assert store.desired.rows() == {"a": first, "b": lowered}


def test_every_change_is_an_entry_in_the_history(store: Store, reader: Reader, make_row: MakeRow) -> None:
    row = make_row("a")
    later = replace(row, generation=2, revision="abc", committed=True, applied_at="2026-02-01T00:00:00.000Z")
    store.desired.apply([RowChange(row, "created", "created in observe")])
    store.desired.apply([RowChange(later.lowered(Mode.OFF), "lowered", "mode: observe → off")])
    entries, total = reader.history("a")
    assert total == 2
    assert entries[0] == {
        "id": 2,
        "instance_id": "a",
        "generation": 2,
        "kind": "lowered",
        "summary": "mode: observe → off",
        "at": "2026-02-01T00:00:00.000Z",
        "revision": "abc",
        "committed": True,
        "mode": "off",
        "code_digest": "d1",
        "values": {"id": "a", "config": {"levels": 5}},
        "change": None,
    }
    assert [entry["kind"] for entry in entries] == ["lowered", "created"]


def test_attempts_are_replaced_by_path_and_forgotten_by_path(store: Store) -> None:
    def attempt(path: str, message: str) -> Attempt:
        return Attempt(path, "a", "f", None, Sync.INVALID, message, (Problem(path, 1, 2, "config", "no"),), "")

    store.desired.apply([], [attempt("x.yaml", "old"), attempt("y.yaml", "gone"), attempt("z.yaml", "kept")])
    store.desired.apply([], [attempt("x.yaml", "new")], ["y.yaml", "never-seen.yaml"])
    assert store.desired.attempts() == {
        "x.yaml": attempt("x.yaml", "new"),
        "z.yaml": attempt("z.yaml", "kept"),
    }


def test_an_apply_that_fails_changes_nothing_at_all(store: Store, reader: Reader, make_row: MakeRow) -> None:
    good, bad = make_row("a"), make_row("b", generation=2**70)
    with pytest.raises(OverflowError):
        store.desired.apply([RowChange(good, "created", ""), RowChange(bad, "created", "")])
    assert store.desired.rows() == {}
    assert reader.history("a") == ([], 0)


def test_a_value_that_json_cannot_hold_is_refused_before_anything_is_written(store: Store, make_row: MakeRow) -> None:
    row = make_row("a")
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.desired.apply(
            [RowChange(replace(row, record=replace(row.record, config={"x": float("nan")})), "created", "")]
        )
    assert store.desired.rows() == {}


def test_more_rows_than_fit_one_statement_are_still_one_transaction(store: Store, make_row: MakeRow) -> None:
    written = {f"i{number:04}": make_row(f"i{number:04}") for number in range(1000)}
    store.desired.apply([RowChange(row, "created", "") for row in written.values()])
    assert store.desired.rows() == written


def test_money_in_limits_is_kept_as_text(store: Store, path: Path, make_row: MakeRow) -> None:
    row = make_row("a")
    limited = replace(row, record=replace(row.record, limits=Limits(max_position=Decimal("0.10"), max_open_orders=3)))
    store.desired.apply([RowChange(limited, "created", "")])
    assert by_hand(path, "SELECT limits FROM instances") == [('{"max_position":"0.1","max_open_orders":3}',)]


def by_hand(path: Path, sql: str) -> list[Any]:
    """What someone does with the `sqlite3` command while the engine runs."""
    connection = sqlite3.connect(path)
    with connection:
        found = connection.execute(sql).fetchall()
    connection.close()
    return found


def test_a_row_changed_by_hand_is_noticed_once(store: Store, path: Path, make_row: MakeRow) -> None:
    store.desired.apply([RowChange(make_row("a"), "created", "")])
    assert not store.desired.changed_by_others()
    by_hand(path, "UPDATE instances SET mode = 'active'")
    assert store.desired.changed_by_others()
    assert not store.desired.changed_by_others()
    assert store.desired.rows()["a"].record.mode is Mode.ACTIVE


def test_a_hand_that_only_looks_is_no_change(store: Store, path: Path) -> None:
    by_hand(path, "SELECT * FROM instances")
    assert not store.desired.changed_by_others()


def test_our_own_writes_and_checkpoints_are_no_change(store: Store, reader: Reader, make_row: MakeRow) -> None:
    for generation in range(30):
        rows = [make_row(f"i{number}", generation=generation) for number in range(100)]
        store.desired.apply([RowChange(row, "changed", "x" * 500) for row in rows])
        store.events.record(None, "Normal", "Applied", str(generation))
        store.beats.fired(generation, 6.0)
        reader.rows()
        assert not store.desired.changed_by_others()


@pytest.mark.parametrize("column", ["config", "effective_config", "labels", "limits", "values"])
@pytest.mark.parametrize("text", ["'{'", "'[1]'", "''", "NULL"])
def test_a_hand_cannot_leave_what_is_no_json_object(
    store: Store, path: Path, make_row: MakeRow, column: str, text: str
) -> None:
    store.desired.apply([RowChange(make_row("a"), "created", "")])
    with pytest.raises(sqlite3.Error, match=r"constraint failed|malformed JSON"):
        by_hand(path, f'UPDATE instances SET "{column}" = {text}')


def test_a_row_that_cannot_be_read_is_named(store: Store, path: Path, make_row: MakeRow) -> None:
    store.desired.apply([RowChange(make_row("a"), "created", "")])
    by_hand(path, """UPDATE instances SET limits = '{"max_position": "much"}'""")
    with pytest.raises(StoreError, match="instances: row 'a' cannot be read"):
        store.desired.rows()
