"""Halts that no engine answered, or no database took: on the disk, in force within a beat, stored later."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.clock import FakeClock, iso
from reconciler.errors import StoreError
from reconciler.records.halt import REASON_LIMIT, Halt
from reconciler.store import Reader, Store
from reconciler.store.halt_requests import RESERVE_BYTES, HaltRequests
from reconciler.store.halts import HaltNotStored

HALT = Halt("all", "", False, "prices are wrong", "uid 1000", "2026-01-31T12:00:00.000Z")
OTHER = Halt("instance", "a", True, "loops", "uid 0", "2026-01-31T12:00:01.000Z")


class NoWaiting(FakeClock):
    """Time passes while somebody waits, and nobody waits in truth."""

    def wait(self, event: object, timeout_s: float | None = None) -> bool:
        self.advance(timeout_s or 0.0)
        return False


@pytest.fixture
def requests(path: Path, clock: FakeClock) -> HaltRequests:
    return HaltRequests(path.parent, clock)


@pytest.fixture
def file(path: Path) -> Path:
    return path.with_name("halt-requests")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    hog = sqlite3.connect(path, isolation_level=None)
    hog.execute("BEGIN IMMEDIATE")
    yield
    hog.execute("ROLLBACK")
    hog.close()


def stored(path: Path) -> list[tuple[str, str, str]]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT scope, reason, halted_by FROM halts WHERE lifted_at IS NULL").fetchall()
    connection.close()
    return found


def test_a_request_is_a_json_line_that_only_its_owner_may_read(requests: HaltRequests, file: Path) -> None:
    requests.append(HALT)
    requests.append(OTHER)
    assert [json.loads(line) for line in file.read_text().splitlines()] == [HALT.to_json(), OTHER.to_json()]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert requests.read() == (HALT, OTHER)


def test_what_is_asked_for_is_in_force_and_stored_and_told_at_the_start(
    path: Path, clock: FakeClock, requests: HaltRequests, file: Path
) -> None:
    requests.append(HALT)
    with Store.open(path, clock) as store:
        assert store.halts.active() == (HALT,)
        store.flush()
        assert store.halts.unstored() == ()
        store.halts.store_pending()
        assert file.read_bytes() == b""
    assert stored(path) == [("all", "prices are wrong", "uid 1000")]
    reader = Reader.open(path)
    ((event,), _), ((operation,), _) = reader.events(type="Warning"), reader.operations()
    reader.close()
    assert (event["reason"], event["message"]) == (
        "Halted",
        "everything: prices are wrong (uid 1000, through halt-requests)",
    )
    assert (operation["action"], operation["uid"], operation["scope"]) == ("halt", 1000, "everything")


def test_what_is_asked_for_while_the_engine_runs_is_taken_once(
    store: Store, requests: HaltRequests, file: Path
) -> None:
    assert store.take_halt_requests() == ()
    requests.append(OTHER)
    assert store.take_halt_requests() == (OTHER,)
    assert store.take_halt_requests() == ()
    store.flush()
    store.halts.store_pending()
    assert (store.halts.active(), file.read_bytes()) == ((OTHER,), b"")
    requests.append(OTHER)
    assert store.take_halt_requests() == ()
    store.halts.store_pending()
    assert file.read_bytes() == b"", "the same again is done already"


def test_a_halt_that_the_database_does_not_take_is_kept_on_the_disk_and_stored_later(
    store: Store, path: Path, file: Path, clock: FakeClock
) -> None:
    with locked(path):
        with pytest.raises(HaltNotStored, match="kept in halt-requests") as refused:
            store.halts.add("all", "", False, "fire", "uid 7")
        assert refused.value.kept
        (halt,) = store.halts.active()
        assert store.halts.unstored() == (halt,)
        assert json.loads(file.read_text()) == halt.to_json()
        with pytest.raises(StoreError):
            store.flush()
        store.halts.store_pending()
    while store.halts.unstored():
        store.halts.store_pending()
        store.flush()
    store.halts.store_pending()
    assert (stored(path), file.read_bytes()) == ([("all", "fire", "uid 7")], b"")


def test_a_halt_that_the_database_did_not_take_outlives_a_kill(store: Store, path: Path, clock: FakeClock) -> None:
    with locked(path), pytest.raises(HaltNotStored):
        store.halts.add("account", "main", True, "fire", "uid 7")
    copied = path.parent.with_name("copied")
    copied.mkdir()
    (copied / "halt-requests").write_bytes(path.with_name("halt-requests").read_bytes())
    with Store.open(copied / path.name, clock) as successor:
        assert [(halt.scope, halt.id, halt.full) for halt in successor.halts.active()] == [("account", "main", True)]


def test_a_halt_that_was_lifted_does_not_come_back(store: Store, path: Path, clock: FakeClock) -> None:
    with locked(path), pytest.raises(HaltNotStored):
        store.halts.add("all", "", False, "fire", "uid 7")
    assert len(store.halts.lift("all", "", "uid 7", "out")) == 1
    assert store.halts.active() == store.halts.unstored() == ()
    store.halts.store_pending()
    store.close()
    with Store.open(path, clock) as successor:
        assert successor.halts.active() == ()


def test_a_request_that_nobody_took_is_lifted_as_well(store: Store, requests: HaltRequests, file: Path) -> None:
    requests.append(HALT)
    requests.append(OTHER)
    assert store.halts.lift("all", "", "uid 7", "out") == (HALT,)
    assert store.halts.active() == (OTHER,)
    assert requests.read() == (OTHER,)


def test_a_halt_while_the_same_one_is_lifted_stays(store: Store, path: Path) -> None:
    store.halts.add("all", "", False, "fire", "uid 7")
    with locked(path), pytest.raises(StoreError):
        store.halts.lift("all", "", "uid 7", "out")
    assert len(store.halts.active()) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"nonsense",
        b"[1]",
        json.dumps({**HALT.to_json(), "at": "long ago"}).encode(),
        b'{"scope": "all"}',
        b'{"scope": "moon", "id": "x", "full": false, "reason": "r"}',
        b"\xff",
    ],
)
def test_a_line_that_cannot_be_understood_halts_everything_in_full(
    store: Store, requests: HaltRequests, file: Path, line: bytes
) -> None:
    requests.append(OTHER)
    with file.open("ab") as writing:
        writing.write(line)  # and killed before its end
    requests.append(HALT)
    taken = store.take_halt_requests()
    assert taken[0] == OTHER
    assert taken[2] == HALT
    assert (taken[1].scope, taken[1].full, "cannot be understood" in taken[1].reason) == ("all", True, True)
    store.flush()
    store.halts.store_pending()
    assert file.read_bytes() == b""


def test_a_file_that_is_too_long_to_be_read_halts_everything_and_is_left_alone(
    store: Store, requests: HaltRequests, file: Path
) -> None:
    file.write_bytes((json.dumps(HALT.to_json()) + "\n").encode() * 10_000)
    size_bytes = file.stat().st_size
    assert {(halt.scope, halt.full) for halt in store.take_halt_requests()} == {("all", False), ("all", True)}
    store.flush()
    store.halts.store_pending()
    assert file.stat().st_size == size_bytes


def test_what_a_later_version_says_besides_is_left_out(requests: HaltRequests, file: Path) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps({**HALT.to_json(), "colour": "red"}) + "\n")
    assert requests.read() == (HALT,)


def test_a_lock_that_is_not_let_go_keeps_no_halt_from_the_disk(path: Path, file: Path) -> None:
    requests = HaltRequests(path.parent, NoWaiting())
    requests.append(HALT)
    hog = os.open(path.with_name("halt-requests.lock"), os.O_RDWR)
    fcntl.flock(hog, fcntl.LOCK_EX)
    requests.append(OTHER)
    os.close(hog)
    assert requests.read() == (HALT, OTHER)


def test_room_is_kept_for_a_halt(requests: HaltRequests, path: Path) -> None:
    path.parent.mkdir()
    requests.keep_reserve()
    reserve = path.with_name("halt-requests.reserve").stat()
    assert (reserve.st_size, stat.S_IMODE(reserve.st_mode)) == (RESERVE_BYTES, 0o600)
    assert reserve.st_blocks * 512 >= RESERVE_BYTES


def test_where_it_cannot_be_written_that_is_said(requests: HaltRequests, file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.raises(StoreError, match="halt-requests"):
        requests.append(HALT)


def test_a_reason_has_a_length(store: Store, clock: FakeClock) -> None:
    halt = store.halts.add("all", "", False, "x" * 100_000, "engine")
    assert (len(halt.reason), halt.at) == (REASON_LIMIT, iso(clock.time()))
