"""Answers: bodies built on worker threads, kept while they are true. The event loop only looks them up."""

from __future__ import annotations

import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

import anyio.to_thread
from anyio import CapacityLimiter

from reconciler.clock import Clock

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


Build = Callable[[], bytes | Page]


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

    async def kept(self, key: Hashable, build: Build) -> Answer:
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

    async def fresh(self, build: Build) -> Answer:
        """An answer built now, for what `revision()` does not tell the age of."""
        return await anyio.to_thread.run_sync(_answer, build, limiter=self._reader)

    async def probe(self, build: Build) -> Answer:
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


def _answer(build: Build) -> Answer:
    built = build()
    if isinstance(built, Page):
        # Packing lets go of the interpreter, and leaves the event loop a tenth of the bytes to send.
        packed = gzip.compress(built.body, compresslevel=FASTEST, mtime=0)
        return Answer(built.body, f'W/"{_digest(built.lasting)}"', built.headers, packed)
    return Answer(built, f'"{_digest(built)}"')


def _digest(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=12).hexdigest()
