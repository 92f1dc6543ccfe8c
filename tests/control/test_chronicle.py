"""The chronicle: singly what happens to a few, in one event what happens to many at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.control.chronicle import MANY, Chronicle
from reconciler.errors import Problem
from reconciler.records.admission import Removal
from reconciler.records.followed import Followed
from reconciler.records.mode import Mode
from reconciler.records.plan import Load
from reconciler.records.record import Attempt, Identity, InstanceRecord, Row, RowChange
from reconciler.records.status import Sync
from reconciler.runtime.protocol import Loaded, LoadFailed, Unloaded


class Book:
    """An event log that remembers what it was told."""

    def __init__(self) -> None:
        self.events: list[tuple[str | None, str, str]] = []

    def record(self, instance_id: str | None, type: str, reason: str, message: str) -> None:
        self.events.append((instance_id, reason, message))


def row(instance_id: str) -> Row:
    record = InstanceRecord(instance_id, Identity("grid", "main", "desk", "EUR/USD"), Mode.OBSERVE, {}, {})
    return Row(record, f"instances/{instance_id}.yaml", 1, "v", "c", "f", "d", None, False, "2026-01-31T12:00:00.000Z")


FEW = [row(f"i-{number:03}") for number in range(MANY)]
TOO_MANY = [*FEW, row("last")]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def chronicle(book: Book) -> Chronicle:
    return Chronicle(book)


def created(rows: list[Row]) -> list[RowChange]:
    return [RowChange(row, "created", "created in mode observe") for row in rows]


def test_what_happens_to_a_few_is_told_of_each(chronicle: Chronicle, book: Book) -> None:
    chronicle.admitted(created(FEW), (), Removal(), Removal())
    chronicle.acting([Load(row, "wanted and not running") for row in FEW])
    for one in FEW:
        chronicle.reported(Loaded(one.id, 1))
    assert book.events == [
        *((one.id, "Created", "created in mode observe") for one in FEW),
        *((one.id, "Loaded", "generation 1 is loaded") for one in FEW),
    ]


def test_many_changes_of_a_kind_are_one_event_and_the_others_their_own(chronicle: Chronicle, book: Book) -> None:
    changes = [*created(TOO_MANY), RowChange(row("other"), "lowered", "mode: active → observe")]
    chronicle.admitted(changes, (), Removal(), Removal())
    (some, *_), lowered = book.events
    assert some is None
    assert book.events[0][1:] == ("Created", f"101 instances: {', '.join(r.id for r in FEW[:10])} and 91 more")
    assert lowered == ("other", "Lowered", "mode: active → observe")


def test_many_loads_are_told_when_they_begin_and_when_the_last_has_arrived(chronicle: Chronicle, book: Book) -> None:
    chronicle.acting([Load(row, "wanted and not running") for row in TOO_MANY])
    chronicle.reported(LoadFailed("last", "ValueError: no candles", 1, 1.0))
    chronicle.reported(Unloaded(FEW[0].id))
    for one in FEW[1:]:
        assert (None, "Loaded", "99 instances are loaded") not in book.events
        chronicle.reported(Loaded(one.id, 1))
    assert [reason for _, reason, _ in book.events] == ["Loading", "LoadFailed", "Unloaded", "Loaded"]
    assert book.events[-1] == (None, "Loaded", "99 instances are loaded")


def test_after_many_have_loaded_each_is_told_singly_again(chronicle: Chronicle, book: Book) -> None:
    chronicle.acting([Load(row, "wanted and not running") for row in TOO_MANY])
    for one in TOO_MANY:
        chronicle.reported(Loaded(one.id, 1))
    chronicle.reported(Loaded("last", 2))
    assert book.events[-1] == ("last", "Loaded", "generation 2 is loaded")


def test_problems_of_files_are_in_the_log_too_and_do_not_flood_it(
    chronicle: Chronicle, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    problems = (Problem("instances/a.yaml", 7, 3, "config.levels", "expected an integer, was text"),) * 2
    attempts = [Attempt("instances/a.yaml", "a", "d", None, Sync.INVALID, "", problems, "")] * (MANY + 2)
    chronicle.admitted((), attempts, Removal(), Removal())
    assert len(book.events) == MANY + 2
    told = [(record.getMessage(), getattr(record, "why", None)) for record in caplog.records]
    why = "instances/a.yaml:7:3: config.levels: expected an integer, was text (and 1 more)"
    assert told == [("a file was not applied", why)] * MANY + [("more files were not applied", None)]


def test_what_keeps_changes_from_being_applied_is_in_the_log_too(
    chronicle: Chronicle, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed("git", branch="main", applied="a" * 40)
    held = replace(followed, held="b" * 40, held_why="it is not signed")
    chronicle.followed(followed, held)
    chronicle.followed(held, held)
    chronicle.reached("origin: git fetch failed")
    chronicle.blocked("a rebase is under way")
    chronicle.admitted((), (), Removal(held=("a", "b"), held_digest="9f31c2"), Removal())
    told = [(record.getMessage(), getattr(record, "why", "")) for record in caplog.records]
    assert [message for message, _ in told] == [
        "the branch is not followed",
        "the remote does not answer",
        "what changed is not applied",
        "removals are held",
    ]
    assert (
        "commit bbbbbbbbbbbb is held: it is not signed; to take it all the same: reconciler source accept" in told[0][1]
    )
    assert "reconciler prune --confirm 9f31c2" in told[3][1]
    assert len(book.events) == len(told)
