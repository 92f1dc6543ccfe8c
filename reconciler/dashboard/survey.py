"""The survey: what the whole fleet adds up to, and which of it needs attention. Worker threads only."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from reconciler.clock import Clock
from reconciler.dashboard.attention import Concern, concern, gravest_first
from reconciler.ports import FleetSummary, StatusReader
from reconciler.records.accounts import Accounts

MOST_CONCERNS = 50
LARGEST_SHARE = 0.1
LONGEST_WAIT_S = 0.02


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts over the fleet, and its worst concerns, gravest first, of `concern_count` in all."""

    fleet: FleetSummary
    concerns: tuple[Concern, ...]
    concern_count: int


class Surveyor:
    """Takes a survey where the last one is out of date, on at most `LARGEST_SHARE` of the time. Thread-safe.

    Where very many are in trouble a survey is work. Then nobody waits for one, and what a page shows of it may be
    some seconds old; as long as surveys take less than `LONGEST_WAIT_S`, they are of the present revision.
    """

    def __init__(self, status: StatusReader, accounts: Accounts, clock: Clock) -> None:
        self._status = status
        self._accounts = accounts
        self._clock = clock
        self._lock = threading.Lock()
        self._last: Survey | None = None
        self._revision = -1
        self._took_s = 0.0
        self._due_s = 0.0

    def survey(self) -> Survey:
        """The latest survey, taken now where it is due; nobody waits for one that another thread is taking."""
        last = self._last
        if not self._lock.acquire(blocking=last is None):
            assert last is not None
            return last
        is_due = self._revision != self._status.revision() and self._clock.monotonic() >= self._due_s
        if last is not None and is_due and self._took_s > LONGEST_WAIT_S:
            threading.Thread(target=self._take, name="survey", daemon=True).start()
            return last
        if last is None or is_due:
            return self._take()
        self._lock.release()
        return last

    def _take(self) -> Survey:
        """A survey, taken while holding the lock, which it gives back."""
        try:
            revision, started_s = self._status.revision(), self._clock.monotonic()
            changed = {str(one.get("name")) for one in self._status.engine().exec_servers if one.get("changed")}
            troubled = (concern(one, self._accounts, changed) for one in self._status.troubled())
            found = gravest_first(filter(None, troubled))
            self._last = Survey(self._status.summary(), tuple(found[:MOST_CONCERNS]), len(found))
            self._revision = revision
            ended_s = self._clock.monotonic()
            self._took_s = ended_s - started_s
            self._due_s = ended_s + self._took_s / LARGEST_SHARE
            return self._last
        finally:
            self._lock.release()
