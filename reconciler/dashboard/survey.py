"""The survey: what the whole fleet adds up to, and which of it needs attention. Worker threads only."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.clock import Clock, iso
from reconciler.dashboard.attention import Concern, concern, gravest_first
from reconciler.ports import FleetSummary, StatusReader
from reconciler.records.accounts import Accounts

MOST_CONCERNS = 50
LARGEST_SHARE = 0.1
LONGEST_WAIT_S = 0.02
OLDEST_S = 5.0
"""No survey is told that began longer ago: whoever comes upon an older one waits for the next."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts over the fleet, and its worst concerns, gravest first, of `concern_count` in all.

    `as_of` is when it was begun, ISO 8601: nothing in it is older.
    """

    fleet: FleetSummary
    concerns: tuple[Concern, ...]
    concern_count: int
    as_of: str


class Surveyor:
    """Takes a survey where the last one is out of date, on about `LARGEST_SHARE` of the time. Thread-safe.

    Where very many are in trouble a survey is work. Then those who come often do not wait for one: they get the last
    and have the next one taken meanwhile. As long as surveys take less than `LONGEST_WAIT_S`, they are of the present
    revision; none is ever older than `OLDEST_S`, for what is calm in an old one may be so no longer.
    """

    def __init__(self, status: StatusReader, accounts: Accounts, clock: Clock) -> None:
        self._status = status
        self._accounts = accounts
        self._clock = clock
        self._lock = threading.Lock()
        self._last: tuple[Survey, float] | None = None  # in one, and when it was begun, by the monotonic clock
        self._revision = -1
        self._took_s = 0.0
        self._due_s = 0.0

    def survey(self) -> Survey:
        """The latest survey, taken now where it is due; one that another thread takes is waited for at need only."""
        last = self._recent()
        if not self._lock.acquire(blocking=last is None):
            assert last is not None
            return last
        last = self._recent()  # while this thread waited, another may have taken it
        if last is None:
            return self._take()
        is_due = self._revision != self._status.revision() and self._clock.monotonic() >= self._due_s
        if is_due and self._took_s > LONGEST_WAIT_S:
            threading.Thread(target=self._take, name="survey", daemon=True).start()
            return last
        if is_due:
            return self._take()
        self._lock.release()
        return last

    def _recent(self) -> Survey | None:
        """The last one, None where there is none that may still be told."""
        if self._last is None:
            return None
        last, began_s = self._last
        return last if self._clock.monotonic() - began_s <= OLDEST_S else None

    def _take(self) -> Survey:
        """A survey, taken while holding the lock, which it gives back."""
        try:
            revision, began_s, as_of = self._status.revision(), self._clock.monotonic(), iso(self._clock.time())
            changed = {str(one.get("name")) for one in self._status.engine().exec_servers if one.get("changed")}
            doubts: dict[str, list[Mapping[str, Any]]] = {}
            for doubt in self._status.doubts():
                doubts.setdefault(str(doubt["instance_id"]), []).append(doubt)
            troubled = (
                concern(one, self._accounts, changed, doubts.get(one.id, ())) for one in self._status.troubled()
            )
            found = gravest_first(filter(None, troubled))
            taken = Survey(self._status.summary(), tuple(found[:MOST_CONCERNS]), len(found), as_of)
            ended_s = self._clock.monotonic()
            self._last = (taken, began_s)
            self._revision = revision
            self._took_s = ended_s - began_s
            self._due_s = ended_s + min(self._took_s / LARGEST_SHARE, OLDEST_S / 2)
            return taken
        finally:
            self._lock.release()
