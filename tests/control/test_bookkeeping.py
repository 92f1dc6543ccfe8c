"""What operators did is written down in one way, by a running engine and by the command line without one."""

from __future__ import annotations

import pytest

from reconciler.control.bookkeeping import Bookkeeping, named
from reconciler.records.cadence import BeatRun
from reconciler.records.halt import Halt, HaltScope

UID = 4_000_000_000
"""Nobody's: it has no name."""
WHO = f"uid {UID}"


class Paper:
    """Halts, operations and events in one: each line that is written."""

    def __init__(self, *halts: Halt) -> None:
        self.halts = halts
        self.lines: list[tuple[object, ...]] = []
        self.operations = Operations(self)

    def lift(self, scope: HaltScope, id: str, by: str, reason: str) -> tuple[Halt, ...]:
        return tuple(halt for halt in self.halts if (halt.scope, halt.id) == (scope, id))

    def record(self, instance_id: str | None, type: str, reason: str, message: str) -> None:
        self.lines.append((instance_id, type, str(reason), message))


class Operations:
    def __init__(self, paper: Paper) -> None:
        self._paper = paper

    def record(self, uid: int, action: str, scope: str, reason: str) -> None:
        self._paper.lines.append((uid, action, scope, reason))


def books(paper: Paper) -> Bookkeeping:
    return Bookkeeping(paper, paper.operations, paper)


MAIN = Halt("account", "main", True, "margin call", WHO, "2026-01-31T12:00:00.000Z")
DECLARED = Halt("account", "main", False, "margin call", "desk/instances/_halt.yml", "2026-01-31T12:00:00.000Z")


def test_who_has_no_name_is_told_by_the_uid() -> None:
    assert named(UID) == WHO


def test_a_lifted_halt_is_told_by_its_strongest() -> None:
    paper = Paper(Halt("account", "main", False, "first", WHO, ""), MAIN)
    assert books(paper).unhalt("account", "main", "restored", UID, ()) == ""
    assert paper.lines == [
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
def test_where_there_is_none_to_lift_it_says_why_and_writes_nothing(declared: tuple[Halt, ...], why: str) -> None:
    paper = Paper()
    fault = books(paper).unhalt("account", "main", "restored", UID, declared)
    assert fault == f"no halt of account main to lift: {why}"
    assert paper.lines == []


def test_what_is_halted_of_an_instance_is_an_event_of_that_instance() -> None:
    paper = Paper()
    books(paper).halted("instance", "a", True, "loops", UID)
    assert paper.lines == [("a", "Warning", "Halted", f"instance a, in full: loops ({WHO})")]


def test_an_order_by_hand_is_recorded_before_it_is_told() -> None:
    paper = Paper()
    books(paper).placing("main", "buy 1 BTC/USD", "hedge", UID)
    assert paper.lines == [
        (UID, "place", "account main", "buy 1 BTC/USD: hedge"),
        (None, "Warning", "PlacedByHand", f"account main: buy 1 BTC/USD: hedge ({WHO})"),
    ]


def test_a_prune_may_be_confirmed_without_a_word() -> None:
    paper = Paper()
    books(paper).prune_confirmed(("a", "b"), "d1", "", UID)
    assert paper.lines == [(UID, "prune", "a, b", "d1"), (None, "Normal", "PruneConfirmed", f"a, b ({WHO})")]


def test_what_is_returned_of_forgotten_beats_is_what_is_written() -> None:
    paper = Paper()
    run = BeatRun(10, 12, 6.0)
    told = books(paper).beats_forgotten([run], 60.0, "the clock was wrong", UID)
    assert paper.lines[0] == (UID, "beats-forget", told, "the clock was wrong")
    assert paper.lines[1] == (None, "Warning", "BeatsForgotten", f"{told}: the clock was wrong ({WHO})")
