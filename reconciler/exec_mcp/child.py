"""A server that is a child of ours, spoken to over its standard input and output, a JSON-RPC message a line.

Its own transport and not the SDK's, which takes a line in of whatever length, and lets the standard error of a server
run into ours. Imports the SDK: import this lazily.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage

from reconciler.exec_mcp.reception import Lines, Unread, error, id_of, message

_PIECE_BYTES: Final = 65_536
_LONGEST_BYTES: Final = 4_096
"""What is kept of a line of standard error."""
_GRACE_STEPS: Final = 200
_STEP_S: Final = 0.01
"""A server has two seconds to end by itself once its input is closed, and two more once it is told to."""

Received = MemoryObjectSendStream[SessionMessage | Exception]
Sent = MemoryObjectReceiveStream[SessionMessage]


@asynccontextmanager
async def child(
    command: Sequence[str], environment: Mapping[str, str], heard: Callable[[str], None]
) -> AsyncIterator[tuple[Any, Any]]:
    """The streams to and from a new process, which is gone at the end. `heard` gets the lines of its standard error.

    Its environment is what is safe to inherit, and `environment`. Raises OSError where it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**get_default_environment(), **environment},
        start_new_session=True,  # so that what it starts itself can be ended with it
    )
    received, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, sent = anyio.create_memory_object_stream[SessionMessage](0)
    tasks = (
        asyncio.create_task(_read(process, received)),
        asyncio.create_task(_write(process, sent, received)),
        asyncio.create_task(_listen(process, heard)),
    )
    try:
        yield read, write
    finally:
        with anyio.CancelScope(shield=True):  # whoever is cancelled here leaves no process behind
            if tasks[0].done() and await _has_ended(process):
                heard(f"(it has ended by itself, with exit code {process.returncode})")
            read.close()
            write.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_STEPS * _STEP_S):
                    await asyncio.wait({tasks[1]})  # what was taken for sending is written
            await _end(process)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            received.close()
            sent.close()


async def _read(process: asyncio.subprocess.Process, received: Received) -> None:
    assert process.stdout is not None
    lines, is_heard = Lines(), True
    async with received:
        while piece := await process.stdout.read(_PIECE_BYTES):
            for line, is_whole in lines.fed(piece):
                if not is_heard or not line.strip():
                    continue
                try:
                    await received.send(_message(line, is_whole=is_whole))
                except Unread:
                    continue  # no answer to anything: what programs print where they should not
                except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                    is_heard = False  # nobody listens any more; a server that cannot write cannot end


def _message(line: bytes, *, is_whole: bool) -> SessionMessage:
    """The message of a line, or the error that stands for it. Raises Unread where it answers nobody."""
    try:
        if not is_whole:
            raise Unread("answered a line that is too long to be read")
        return SessionMessage(message(line))
    except Unread as unread:
        if (id_ := id_of(line, line)) is None:
            raise
        return SessionMessage(message(error(id_, str(unread))))


async def _write(process: asyncio.subprocess.Process, sent: Sent, received: Received) -> None:
    """One message after the other: the next is written once the pipe has taken the one before, all of it."""
    assert process.stdin is not None
    process.stdin.transport.set_write_buffer_limits(0)
    try:
        async with sent:
            async for item in sent:
                line = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(line.encode() + b"\n")
                await process.stdin.drain()
    except OSError:
        received.close()  # nobody would answer any more


async def _listen(process: asyncio.subprocess.Process, heard: Callable[[str], None]) -> None:
    assert process.stderr is not None
    line = b""
    while piece := await process.stderr.read(_PIECE_BYTES):
        *ended, rest = (line + piece).split(b"\n")
        for one in ended:
            heard(one[:_LONGEST_BYTES].decode(errors="replace"))
        line = rest[:_LONGEST_BYTES]
    heard(line.decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input; then tell it, and all that it started, to end; then end it."""
    assert process.stdin is not None
    process.stdin.close()
    for told in (None, signal.SIGTERM, signal.SIGKILL):
        if told is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, told)
        if await _has_ended(process):
            break
    with contextlib.suppress(PermissionError):
        process._transport.close()  # type: ignore[attr-defined]  # a pipe may be held by what it started


async def _has_ended(process: asyncio.subprocess.Process) -> bool:
    """Whether it ends within its grace. Not `wait`, which also waits for whoever else holds its pipes."""
    for _ in range(_GRACE_STEPS):
        if process.returncode is not None:
            return True
        await asyncio.sleep(_STEP_S)
    return False
