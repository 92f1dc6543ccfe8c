"""Crossing from worker threads to the main loop."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.errors import ExecUnknown
from tests.execution.standins import MainLoop


async def forever() -> None:
    await asyncio.Event().wait()


def test_a_result_and_an_error_come_back_as_they_are(main_loop: MainLoop) -> None:
    async def add() -> int:
        return 2

    async def fail() -> int:
        raise KeyError("x")

    bridge = main_loop.bridge()
    assert bridge.call(add, 5) == 2
    with pytest.raises(KeyError):
        bridge.call(fail, 5)


def test_a_wait_that_is_too_long_ends_and_cancels_the_work(main_loop: MainLoop) -> None:
    cancelled: list[bool] = []

    async def work() -> None:
        try:
            await forever()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(ExecUnknown, match=r"no answer within 0\.05 s"):
        main_loop.bridge().call(work, 0.05)
    main_loop.run(asyncio.sleep(0))
    assert cancelled == [True]


def test_the_main_loop_cannot_wait_for_itself(main_loop: MainLoop) -> None:
    bridge = main_loop.bridge()

    async def wrong() -> None:
        bridge.call(forever, 1)

    with pytest.raises(RuntimeError, match="the main loop cannot wait for itself"):
        main_loop.run(wrong())
