"""The clerk: one thread for what blocks, on behalf of tasks of the main loop, which must not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Clerk:
    """Does one thing after the other. `close` it once nobody asks any more; what is asked then is a RuntimeError."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self.is_closed = False

    async def do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        self.is_closed = True
        self._thread.shutdown(wait=True)
