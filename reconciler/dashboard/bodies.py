"""Bodies of answers: built on worker threads, kept while they are true. The event loop only looks them up."""

from __future__ import annotations

import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial

import anyio.to_thread
from anyio import CapacityLimiter
from starlette.requests import Request
from starlette.responses import Response

from reconciler.clock import Clock
from reconciler.dashboard.query import Filters, QueryRefusal, error_response, parse, typed
from reconciler.dashboard.render import HTML

FRESH_S = 1.0
FASTEST = 1
ENTRY_BYTES = 1_024
"""What an entry takes besides its body, roughly: key, query, numbers."""
LARGEST_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """A body, where what it says of the moment it was built at stands in headers, too.

    `lasting` is what of the body counts: two pages whose lasting parts are equal differ in nothing but ages.
    """

    body: bytes
    lasting: bytes
    headers: Mapping[str, str]


Make = Callable[[], bytes | Page]


@dataclass(frozen=True, slots=True)
class Answer:
    """A body that is ready to send; `etag` names its content, so that it holds across restarts."""

    body: bytes
    etag: str
    headers: Mapping[str, str] = field(default_factory=dict)
    packed: bytes = b""
    """The body as gzip, where it is a page: packed once for all who ask."""


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    revision: int
    made_at_s: float

    @property
    def size_bytes(self) -> int:
        return len(self.answer.body) + len(self.answer.packed) + ENTRY_BYTES


class Answers:
    """Belongs to the event loop; what it calls runs elsewhere.

    A kept answer is good while `revision()` stands and it is younger than `FRESH_S`: pages tell ages (of the
    last beat, above all), and those grow while a dead engine's revision does not. One is built at a time, and
    beside it one that is read from the database, so that a crowd cannot take the interpreter from the heartbeat
    and the event loop.
    """

    def __init__(self, revision: Callable[[], int], clock: Clock, largest_bytes: int = LARGEST_BYTES) -> None:
        self._revision = revision
        self._clock = clock
        self._largest_bytes = largest_bytes
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._size_bytes = 0
        self._builder = CapacityLimiter(1)
        self._reader = CapacityLimiter(1)
        self._prober = CapacityLimiter(1)

    async def kept(self, key: Hashable, build: Make) -> Answer:
        """The answer to `key`, built where there is none that is still true."""
        found = self._find(key)
        if found is not None:
            return found
        async with self._builder:
            found = self._find(key)  # while this request waited, another may have built it
            if found is None:
                revision, made_at_s = self._revision(), self._clock.monotonic()
                found = await anyio.to_thread.run_sync(_answer, build)
                self._keep(key, _Kept(found, revision, made_at_s))
            return found

    async def fresh(self, build: Make) -> Answer:
        """An answer built now, for what `revision()` does not tell the age of."""
        return await anyio.to_thread.run_sync(_answer, build, limiter=self._reader)

    async def probe(self, build: Make) -> Answer:
        """As `fresh`, on a thread that pages cannot occupy: a busy dashboard is not a dead engine."""
        return await anyio.to_thread.run_sync(_answer, build, limiter=self._prober)

    def _find(self, key: Hashable) -> Answer | None:
        kept = self._kept.get(key)
        if kept is None or kept.revision != self._revision():
            return None
        if self._clock.monotonic() - kept.made_at_s >= FRESH_S:
            return None
        self._kept.move_to_end(key)
        return kept.answer

    def _keep(self, key: Hashable, kept: _Kept) -> None:
        before = self._kept.pop(key, None)
        if before is not None:
            self._size_bytes -= before.size_bytes
        self._kept[key] = kept
        self._size_bytes += kept.size_bytes
        while self._size_bytes > self._largest_bytes:
            _, oldest = self._kept.popitem(last=False)
            self._size_bytes -= oldest.size_bytes


def _answer(build: Make) -> Answer:
    built = build()
    if isinstance(built, Page):
        # Packing lets go of the interpreter, and leaves the event loop a tenth of the bytes to send.
        packed = gzip.compress(built.body, compresslevel=FASTEST, mtime=0)
        return Answer(built.body, f'W/"{_digest(built.lasting)}"', built.headers, packed)
    return Answer(built, f'"{_digest(built)}"')


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=12).hexdigest()


UNKEPT = {"cache-control": "no-store"}

Build = Callable[..., bytes | Page]
"""Takes the `Query` and the path's parameters by name; runs on a worker thread; may raise `Refusal`."""


@dataclass(frozen=True, slots=True)
class View:
    """One address, whole in itself: its route serves as well within another application.

    `kept` is for what the status tells; what the database tells is built anew each time.
    """

    answers: Answers
    build: Build
    media_type: str
    filters: Filters
    paged: bool
    kept: bool

    async def respond(self, request: Request) -> Response:
        path, pairs = request.scope["path"], request.query_params.multi_items()
        try:
            query = parse(pairs, self.filters, paged=self.paged)
        except QueryRefusal as refusal:
            if self.media_type != HTML or not self.filters:
                return error_response(path, refusal)
            again = typed(pairs, self.filters, refusal.message)
            answer = await self.answers.fresh(partial(self.build, again, **request.path_params))
            return Response(answer.body, refusal.status, {**answer.headers, **UNKEPT}, self.media_type)
        try:
            build = partial(self.build, query, **request.path_params)
            answer = await (self.answers.kept((path, query), build) if self.kept else self.answers.fresh(build))
        except QueryRefusal as refusal:
            return error_response(path, refusal)
        return conditional(request, answer, self.media_type)


def conditional(request: Request, answer: Answer, media_type: str) -> Response:
    """The body, or 304 where the asker already has it.

    A page tells ages: no browser keeps it, and only who knows that they grow (our own script) asks by its etag.
    """
    keeping = UNKEPT if media_type == HTML else {"cache-control": "no-cache"}
    headers = {"etag": answer.etag, **answer.headers, **keeping}
    had = (one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(","))
    if answer.etag.removeprefix("W/") in had:
        return Response(status_code=304, headers=headers)
    if answer.packed:
        headers["vary"] = "accept-encoding"
        if takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(answer.packed, headers={**headers, "content-encoding": "gzip"}, media_type=media_type)
    return Response(answer.body, headers=headers, media_type=media_type)


def takes_gzip(accepted: str) -> bool:
    """True where an Accept-Encoding header names gzip, and does not forbid it."""
    for one in accepted.split(","):
        name, _, weight = one.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
