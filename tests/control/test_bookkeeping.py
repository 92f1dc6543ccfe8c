"""What operators did is written down in one way, by a running engine and by the command line without one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from reconciler.clock import FakeClock
from reconciler.control.chronicle import Bookkeeping, named
from reconciler.records.cadence import BeatRun
from reconciler.records.halt import Halt
from reconciler.store.store import Store

UID = 4_000_000_000
"""Nobody's: it has no name."""
WHO = f"uid {UID}"


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.in_memory(FakeClock()) as made:
        yield made


def lines(store: Store) -> list[tuple[object, ...]]:
    """Every operation and event that is written, operations first."""
    reads = store.ledger._reads
    operations = reads.query("SELECT uid, action, scope, reason FROM operations ORDER BY id")
    events = reads.query("SELECT instance_id, type, reason, message FROM events ORDER BY id")
    return [tuple(line.values()) for line in (*operations, *events)]


MAIN = Halt("account", "main", True, "margin call", WHO, "2026-01-31T12:00:00.000Z")
DECLARED = Halt("account", "main", False, "margin call", "desk/instances/_halt.yml", "2026-01-31T12:00:00.000Z")


def test_who_has_no_name_is_told_by_the_uid() -> None:
    assert named(UID) == WHO


def test_a_lifted_halt_is_told_by_its_strongest(store: Store) -> None:
    for halt in (Halt("account", "main", False, "first", WHO, ""), MAIN):
        store.halts.add(halt.scope, halt.id, halt.full, halt.reason, halt.by)
    assert Bookkeeping(store).unhalt("account", "main", "restored", UID, ()) == ""
    assert lines(store)[2:] == [
        (UID, "unhalt", "account main, halted in full", "restored"),
        (None, "Warning", "Unhalted", f"account main, halted in full: restored ({WHO})"),
    ]


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ((DECLARED,), "it comes from desk/instances/_halt.yml: change that file"),
        ((MAIN,), "there is none"),
        ((Halt("all", "", False, "fire", "instances/_halt.yaml", ""),), "there is none"),
    ],
    ids=["declared", "an operator's, lifted meanwhile", "another scope's"],
)
def test_where_there_is_none_to_lift_it_says_why_and_writes_nothing(
    declared: tuple[Halt, ...], why: str, store: Store
) -> None:
    fault = Bookkeeping(store).unhalt("account", "main", "restored", UID, declared)
    assert fault == f"no halt of account main to lift: {why}"
    assert lines(store) == []


def test_what_is_halted_of_an_instance_is_an_event_of_that_instance(store: Store) -> None:
    Bookkeeping(store).halted(Halt("instance", "a", True, "loops", "", ""), UID)
    assert lines(store) == [("a", "Warning", "Halted", f"instance a, in full: loops ({WHO})")]


def test_an_order_by_hand_is_recorded_before_it_is_told(store: Store) -> None:
    Bookkeeping(store).placing("main", "buy 1 BTC/USD", "hedge", UID)
    assert lines(store) == [
        (UID, "place", "account main", "buy 1 BTC/USD: hedge"),
        (None, "Warning", "PlacedByHand", f"account main: buy 1 BTC/USD: hedge ({WHO})"),
    ]


def test_a_prune_may_be_confirmed_without_a_word(store: Store) -> None:
    Bookkeeping(store).prune_confirmed(("a", "b"), "d1", "", UID)
    assert lines(store) == [(UID, "prune", "a, b", "d1"), (None, "Normal", "PruneConfirmed", f"a, b ({WHO})")]


def test_what_is_returned_of_forgotten_beats_is_what_is_written(store: Store) -> None:
    run = BeatRun(10, 12, 6.0)
    told = Bookkeeping(store).beats_forgotten([run], 60.0, "the clock was wrong", UID)
    assert lines(store)[0] == (UID, "beats-forget", told, "the clock was wrong")
    assert lines(store)[1] == (None, "Warning", "BeatsForgotten", f"{told}: the clock was wrong ({WHO})")
