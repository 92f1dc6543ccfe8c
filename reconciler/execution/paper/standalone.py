"""The paper exchange alone: served until SIGTERM or SIGINT, over HTTP on loopback or over stdio. No engine."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.clock import Clock
from reconciler.execution.paper.faults import FaultRule, Faults
from reconciler.execution.paper.options import FeedOptions, PaperOptions
from reconciler.execution.paper.server import open_exchange, serve_paper


@dataclass(frozen=True, slots=True)
class StandaloneOptions:
    """How it is served: `port` 0 takes a free one; with `fault_tools`, clients may set faults."""

    step_s: float
    options: PaperOptions = field(default_factory=PaperOptions)
    feed: FeedOptions = field(default_factory=FeedOptions)
    journal: Path | None = None
    port: int = 0
    faults: tuple[FaultRule, ...] = ()
    fault_tools: bool = False


async def serve_http(wanted: StandaloneOptions, clock: Clock, ready: Callable[[str], None]) -> None:
    """Serve until told to stop; `ready` is told the URL. Raises OSError, ValueError as `serve_paper` does."""
    stopping = _stopping()
    async with serve_paper(
        clock,
        step_s=wanted.step_s,
        options=wanted.options,
        journal=wanted.journal,
        port=wanted.port,
        feed=wanted.feed,
        faults=Faults(clock, wanted.faults, wanted.feed.seed),
        fault_tools=wanted.fault_tools,
    ) as url:
        ready(url)
        await stopping.wait()


async def serve_stdio(wanted: StandaloneOptions, clock: Clock, ready: Callable[[], None]) -> None:
    """Serve whoever started this process, until its input ends or it is told to stop. Raises OSError, ValueError."""
    from reconciler.execution.paper.tools import mcp_server

    stopping = _stopping()
    faults = Faults(clock, wanted.faults, wanted.feed.seed)
    with open_exchange(
        clock, step_s=wanted.step_s, options=wanted.options, journal=wanted.journal, feed=wanted.feed
    ) as exchange:
        server = mcp_server(exchange, faults, fault_tools=wanted.fault_tools)
        async with faults.ending():
            ready()
            served = asyncio.create_task(server.run_stdio_async(), name="paper exchange")
            told = asyncio.create_task(stopping.wait(), name="stop")
            await asyncio.wait((served, told), return_when=asyncio.FIRST_COMPLETED)
            if served.done():
                told.cancel()
                served.result()
                return
    # A thread of the SDK is waiting for input that may never come, and Python would wait for that thread. All
    # that happened is with the operating system already.
    sys.stdout.flush()
    os._exit(0)


def _stopping() -> asyncio.Event:
    """Set when the process is told to stop."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping
