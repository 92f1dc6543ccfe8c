"""`reconciler beats forget`: to a running engine, and where none is running."""

from __future__ import annotations

import contextlib
import os

from reconciler.store import Reader
from tests.cli.conftest import FakeEngine, Fleet

FORGET = ("beats", "forget", "--reason", "the clock was ahead")
HEARTBEAT_S = 6.0


def test_it_reaches_the_engine_and_says_what_came_of_it(fleet: Fleet, engine: FakeEngine) -> None:
    result = fleet.run(*FORGET)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "beats go on\n", "")
    assert engine.calls == [("forget_beats", "the clock was ahead")]


def test_where_no_beat_fired_ahead_it_says_so_and_fails(fleet: Fleet, engine: FakeEngine) -> None:
    engine.failed = (("beats", "nothing to forget"),)
    result = fleet.run(*FORGET)
    assert (result.exit_code, result.stderr) == (1, "nothing to forget\n")


def test_without_an_engine_it_is_done_in_the_database_and_recorded(fleet: Fleet) -> None:
    from reconciler.clock import SystemClock

    now = round(SystemClock().time() / HEARTBEAT_S)
    with fleet.store() as store:
        for beat in (now - 1000, now - 999, now + 100_000, now + 100_001):
            store.beats.fired(beat, HEARTBEAT_S)
    result = fleet.run(*FORGET)
    assert result.exit_code == 0
    assert result.stdout.startswith("beats go on from 20")
    with fleet.store() as store:
        assert store.beats.last() == (now - 999, HEARTBEAT_S)
        (kept,) = (run for run in store.beats.runs() if run.forgotten)
        assert (kept.first, kept.last) == (now + 100_000, now + 100_001)
    with contextlib.closing(Reader.open(fleet.database)) as reader:
        ((operation,), _), (events, _) = reader.operations(), reader.events("", "Warning")
    assert (operation["action"], operation["uid"], operation["reason"]) == (
        "beats-forget",
        os.getuid(),
        "the clock was ahead",
    )
    assert [event["reason"] for event in events] == ["BeatsForgotten"]
    assert fleet.run(*FORGET).exit_code == 1
