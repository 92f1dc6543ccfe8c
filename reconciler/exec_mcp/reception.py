"""Reception: what a server sends, unpacked and counted while it is read, until it is a message, or cannot be one.

Servers are foreign: an answer may go on for ever, unpack to a thousand times its size, or be nested so deeply that
whoever reads it falls over. Past its bounds it is not taken in. Instead of it the SDK is given an error of our own, so
that it is the one call that fails, in one way, and neither the connection nor its log. Imports the SDK: import lazily.
"""

from __future__ import annotations

import contextlib
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import httpx2
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, JSONRPCError, JSONRPCMessage, JSONRPCResponse, jsonrpc_message_adapter
from mcp_types.methods import validate_server_result
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter

from reconciler.exec_mcp.http_pool import LATIN
from reconciler.exec_mcp.reply import Reply

_MIB_BYTES: Final = 1024 * 1024
MOST_BYTES: Final = 4 * _MIB_BYTES
"""One answer, one event of a stream, one line: unpacked."""
UNREADABLE: Final = -32_098
"""The code of the JSON-RPC error that stands for an answer that was not taken in."""
_PIECE_BYTES: Final = 65_536
_OF_PACKING: Final = ("content-encoding", "content-length")
_ANYTHING: Final = TypeAdapter[Any](Any)
_OF_A_RESULT: Final = frozenset({"jsonrpc", "id", "result"})
_LATER: Final = "resultType"
"""What a result has had since the newest version, and means nothing before."""
_PLAIN_RESULT: Final = frozenset({"content", "structuredContent", "isError", _LATER, "_meta"})
_OF_A_TEXT: Final = frozenset({"type", "text"})
_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_ID: Final = rb'"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?[0-9]{1,18})'
_ID_FIRST: Final = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?' + _ID)
_ID_LAST: Final = re.compile(_ID + rb'\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$')
_ENDS_BYTES: Final = 256
"""An answer's id stands within so many bytes of its beginning, or of its end."""


class Unread(Exception):
    """What came cannot be read; why, in words that are the same every time."""


def message(sent: bytes) -> JSONRPCMessage:
    """The message that `sent` is. Raises Unread, whatever is wrong with it."""
    try:
        return jsonrpc_message_adapter.validate_json(sent, by_name=False)
    except (ValueError, RecursionError, MemoryError):
        raise Unread("answered what is no message, or is nested too deeply to be read") from None


def reply_to(id_: int, body: bytes, version: str) -> Reply | None:
    """What the JSON that a tool's call with that id was answered with says; None where it is not about that call.

    Raises MCPError where it is an error, or cannot be read, ValidationError where it is no tool result of that version
    of the protocol.
    """
    is_modern = version in MODERN_PROTOCOL_VERSIONS
    if (reply := _plain(id_, body, is_modern=is_modern)) is not None:
        return reply
    try:
        read = message(body)
    except Unread as unread:
        raise MCPError(UNREADABLE, str(unread)) from None
    if isinstance(read, JSONRPCError) and read.id == id_:
        raise MCPError(read.error.code, read.error.message, read.error.data)
    if not isinstance(read, JSONRPCResponse) or read.id != id_:
        return None
    result = read.result if is_modern else {name: value for name, value in read.result.items() if name != _LATER}
    with contextlib.suppress(KeyError):  # a version of which nothing is known but that it is one
        validate_server_result("tools/call", version, result)
    return replied(CallToolResult.model_validate(result, by_name=False))


def replied(result: CallToolResult) -> Reply:
    texts = "\n".join(block.text for block in result.content if block.type == "text")
    return Reply(bool(result.is_error), result.structured_content, texts)


def _plain(id_: int, body: bytes, *, is_modern: bool) -> Reply | None:
    """The same of a result that is like most: texts, and an object. None where the SDK has to say what it is."""
    try:
        answer = _ANYTHING.validate_json(body)
    except ValueError:
        return None
    if not isinstance(answer, dict) or answer.keys() != _OF_A_RESULT or answer["jsonrpc"] != "2.0":
        return None
    result = answer["result"]
    if type(answer["id"]) is not int or answer["id"] != id_ or not isinstance(result, dict):
        return None
    content, structured, failed = result.get("content"), result.get("structuredContent"), result.get("isError", False)
    if not (result.keys() <= _PLAIN_RESULT and isinstance(content, list) and isinstance(failed, bool)):
        return None
    if not isinstance(result.get("_meta", {}), dict):
        return None
    is_whole = result.get(_LATER) == "complete" if is_modern else _LATER not in result
    if not is_whole or not (isinstance(structured, dict) or "structuredContent" not in result):
        return None
    texts: list[str] = []
    for block in content:
        text = block.get("text") if isinstance(block, dict) and block.keys() == _OF_A_TEXT else None
        if not isinstance(text, str) or block["type"] != "text":
            return None
        texts.append(text)
    return Reply(failed, structured, "\n".join(texts))


def error(id_: Any, why: str) -> bytes:
    """The JSON-RPC error that the call of that id is answered with instead."""
    return json.dumps({"jsonrpc": "2.0", "id": id_, "error": {"code": UNREADABLE, "message": why}}).encode()


def id_of(head: bytes, tail: bytes) -> Any:
    """The id of the call that what could not be read answers, by how it begins and ends; None where that is unclear."""
    found = _ID_FIRST.match(head[:_ENDS_BYTES]) or _ID_LAST.search(tail[-_ENDS_BYTES:])
    return json.loads(found[1]) if found else None


class Lines:
    """Lines out of pieces: each as it is, or, where it is too long, as its two ends."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._size = 0

    def fed(self, piece: bytes) -> Iterator[tuple[bytes, bool]]:
        """The lines that end in `piece`; True where it is all of one."""
        *ended, rest = piece.split(b"\n")
        for part in ended:
            self._add(part)
            yield bytes(self._line), self._size <= MOST_BYTES
            self._line, self._size = bytearray(), 0
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        self._line += part
        if self._size > MOST_BYTES:
            self._line = self._line[:_ENDS_BYTES] + self._line[_ENDS_BYTES:][-_ENDS_BYTES:]


async def received(request: httpx2.Request, response: httpx2.Response, id_: Any) -> httpx2.Response:
    """The answer to the message with that id, None where it has none, such as the SDK can read.

    A body is there on return, a stream comes event by event. Raises httpx2.TransportError where its reading fails, and
    where what cannot be read answers nobody.
    """
    kept = [
        (k, v) for k, v in response.headers.multi_items() if k.lower() not in ("content-encoding", "content-length")
    ]
    pieces = _unpacked(response)
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        stream: Any = _Stream(_events(pieces, id_), response)
        return httpx2.Response(
            response.status_code, headers=kept, stream=stream, request=request, extensions=response.extensions
        )
    is_answer = id_ is not None and response.status_code < 400
    try:
        body = await _body(pieces)
        if is_answer and response.headers.get("content-type", "").startswith("application/json"):
            message(body)
    except Unread as unread:
        if not is_answer:
            raise httpx2.RemoteProtocolError(f"the server {unread}") from None
        body = error(id_, str(unread))
        kept = [("content-type", "application/json")]
    finally:
        await response.aclose()
    read = httpx2.Response(response.status_code, headers=kept, content=body, request=request)
    read.headers.encoding = LATIN
    return read


async def _body(pieces: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for piece in pieces:
        body += piece
        _require_room(len(body))
    return bytes(body)


async def _events(pieces: AsyncIterator[bytes], id_: Any) -> AsyncIterator[bytes]:
    """Whole events, those that can be read."""
    waiting, looked_at = bytearray(), 0
    try:
        async for piece in pieces:
            waiting += piece
            while (end := _EVENT_END.search(waiting, looked_at)) is not None:
                event = bytes(waiting[: end.end()])
                del waiting[: end.end()]
                looked_at = 0
                _require_room(len(event))
                _require_message(event)
                yield event
            _require_room(len(waiting))
            looked_at = max(0, len(waiting) - 3)
        yield bytes(waiting)
    except Unread as unread:
        if id_ is None:
            raise httpx2.RemoteProtocolError(f"the server {unread}") from None
        yield b"event: message\ndata: " + error(id_, str(unread)) + b"\n\n"


def _require_message(event: bytes) -> None:
    fields = [line.partition(b":") for line in event.splitlines()]
    data = b"\n".join(value.removeprefix(b" ") for name, _, value in fields if name == b"data")
    if data and all(value.strip() == b"message" for name, _, value in fields if name == b"event"):
        message(data)


def _require_room(size_bytes: int) -> None:
    if size_bytes > MOST_BYTES:
        raise Unread(f"answered more than {MOST_BYTES // _MIB_BYTES} MiB")


async def _unpacked(response: httpx2.Response) -> AsyncIterator[bytes]:
    """What comes, unpacked a piece at a time. Nothing packed is asked for; some send it all the same."""
    if response.is_stream_consumed:  # by whoever stands before the network in a test
        yield response.content
        return
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    unpack = _unpacker(packing)
    async for packed in response.stream:  # type: ignore[union-attr]  # of an async client it is an async stream
        try:
            for piece in unpack(packed):
                yield piece
        except zlib.error:
            raise Unread(f"answered what is no {packing}, though it says so") from None


def _unpacker(packing: str) -> Callable[[bytes], Iterator[bytes]]:
    if packing in ("identity", ""):
        return lambda packed: iter((packed,))
    if packing not in ("gzip", "x-gzip", "deflate"):

        def unknown(_: bytes) -> Iterator[bytes]:
            raise Unread(f"answered packed as {packing[:20]}, which nobody asked for")

        return unknown
    unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def unpack(packed: bytes) -> Iterator[bytes]:
        while packed:
            yield unpacking.decompress(packed, _PIECE_BYTES)
            packed = unpacking.unconsumed_tail

    return unpack


class _Stream(httpx2.AsyncByteStream):
    """The events of a response."""

    def __init__(self, events: AsyncIterator[bytes], response: httpx2.Response) -> None:
        self._events = events
        self._response = response

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._events

    async def aclose(self) -> None:
        await self._response.aclose()
