"""Answers: built elsewhere, kept while true, bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable

import anyio
import pytest

from reconciler.clock import FakeClock
from reconciler.dashboard.bodies import ENTRY_BYTES, FRESH_S, Answers

pytestmark = pytest.mark.anyio


class Source:
    def __init__(self) -> None:
        self.revision = 1
        self.built: list[str] = []

    def build(self, text: str = "a") -> Callable[[], bytes]:
        def built() -> bytes:
            assert threading.current_thread() is not threading.main_thread()
            self.built.append(text)
            return text.encode()

        return built

    def answers(self, clock: FakeClock, largest_bytes: int = 1_000_000) -> Answers:
        return Answers(lambda: self.revision, clock, largest_bytes)


async def test_an_answer_is_built_once_while_nothing_changes(clock: FakeClock) -> None:
    source = Source()
    answers = source.answers(clock)
    first = await answers.kept("k", source.build())
    clock.advance(FRESH_S * 0.9)
    assert await answers.kept("k", source.build()) is first
    assert source.built == ["a"]


async def test_a_new_revision_builds_anew(clock: FakeClock) -> None:
    source = Source()
    answers = source.answers(clock)
    await answers.kept("k", source.build("old"))
    source.revision = 2
    assert (await answers.kept("k", source.build("new"))).body == b"new"


async def test_a_dead_engine_whose_revision_stands_still_is_not_shown_as_it_was(clock: FakeClock) -> None:
    source = Source()
    answers = source.answers(clock)
    await answers.kept("k", source.build("last beat 1 s ago"))
    clock.advance(FRESH_S)
    assert (await answers.kept("k", source.build("last beat 2 s ago"))).body == b"last beat 2 s ago"


async def test_a_crowd_that_comes_at_once_is_answered_by_as_many_builds_as_there_are_builders(clock: FakeClock) -> None:
    source = Source()
    answers = source.answers(clock)
    async with anyio.create_task_group() as crowd:
        for _ in range(50):
            crowd.start_soon(answers.kept, "k", source.build())
    assert len(source.built) <= 2


async def test_what_was_asked_longest_ago_goes_first_where_space_runs_out(clock: FakeClock) -> None:
    source = Source()
    answers = source.answers(clock, largest_bytes=2 * (ENTRY_BYTES + 1))
    for key in ("a", "b", "a", "c"):
        await answers.kept(key, source.build(key))
    assert source.built == ["a", "b", "c"]
    await answers.kept("a", source.build("a"))
    assert source.built == ["a", "b", "c"]
    await answers.kept("b", source.build("b"))
    assert source.built == ["a", "b", "c", "b"]


async def test_an_answer_larger_than_the_space_is_given_and_not_kept(clock: FakeClock) -> None:
    source = Source()
    answers = source.answers(clock, largest_bytes=10)
    await answers.kept("k", source.build())
    await answers.kept("k", source.build())
    assert source.built == ["a", "a"]


async def test_a_failed_build_is_not_kept(clock: FakeClock) -> None:
    source = Source()
    answers = source.answers(clock)

    def broken() -> bytes:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await answers.kept("k", broken)
    assert (await answers.kept("k", source.build())).body == b"a"


async def test_a_probe_is_answered_while_every_builder_is_busy(clock: FakeClock) -> None:
    source = Source()
    answers = source.answers(clock)
    release = threading.Event()

    def slow() -> bytes:
        release.wait(10)
        return b""

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(answers.fresh, slow)
        await anyio.lowlevel.checkpoint()
        try:
            with anyio.fail_after(5):
                assert (await answers.probe(source.build())).body == b"a"
        finally:
            release.set()


async def test_equal_bodies_have_equal_etags(clock: FakeClock) -> None:
    source = Source()
    answers = source.answers(clock)
    left, right = await answers.fresh(source.build("x")), await answers.fresh(source.build("x"))
    assert left.etag == right.etag
    assert left.etag != (await answers.fresh(source.build("y"))).etag
