"""The survey: a pass over the whole fleet, for what only a whole pass can tell. Worker threads only."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.clock import Clock
from reconciler.dashboard.attention import Concern, concern, gravest_first
from reconciler.ports import InstanceFilter, StatusReader
from reconciler.records.accounts import Accounts
from reconciler.records.status import InstanceStatus

EVERYTHING = 1_000_000_000
MOST_CONCERNS = 50
LARGEST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts over the fleet and its worst concerns, gravest first, of `concern_count` in all.

    `ticks`, `errors` and `missed` only ever rise, as counters must, though instances come and go.
    """

    total: int
    by_mode: Mapping[str, int]
    by_sync: Mapping[str, int]
    by_health: Mapping[str, int]
    real_money_active: int
    ticks: int
    errors: int
    missed: int
    concerns: tuple[Concern, ...]
    concern_count: int


class Surveyor:
    """Takes a survey where the last one is out of date, on at most `LARGEST_SHARE` of the time. Thread-safe.

    Large fleets change all the time, and a survey of one is work: what a page shows of it may then be some
    seconds old. In a small fleet it is always of the present revision.
    """

    def __init__(self, status: StatusReader, accounts: Accounts, clock: Clock) -> None:
        self._status = status
        self._accounts = accounts
        self._clock = clock
        self._lock = threading.Lock()
        self._last: Survey | None = None
        self._revision = -1
        self._due_s = 0.0
        self._counted: dict[str, tuple[int, int, int]] = {}
        self._sums = [0, 0, 0]

    def survey(self) -> Survey:
        """The latest survey, taken now where it is due; nobody waits for one that another thread is taking."""
        last = self._last
        if not self._lock.acquire(blocking=last is None):
            assert last is not None
            return last
        try:
            revision, started_s = self._status.revision(), self._clock.monotonic()
            if self._last is None or (revision != self._revision and started_s >= self._due_s):
                instances, _ = self._status.instances(InstanceFilter(), EVERYTHING, 0)
                self._last = self._taken(instances)
                self._revision = revision
                ended_s = self._clock.monotonic()
                self._due_s = ended_s + (ended_s - started_s) / LARGEST_SHARE
            return self._last
        finally:
            self._lock.release()

    def _taken(self, instances: Sequence[InstanceStatus]) -> Survey:
        self._count_ticks(instances)
        concerns = gravest_first(filter(None, (concern(one, self._accounts) for one in instances)))
        ticks, errors, missed = self._sums
        return Survey(
            total=len(instances),
            by_mode=Counter(str(one.effective_mode) for one in instances),
            by_sync=Counter(str(one.sync) for one in instances),
            by_health=Counter(str(one.health) for one in instances),
            real_money_active=sum(_trades_real_money(one, self._accounts) for one in instances),
            ticks=ticks,
            errors=errors,
            missed=missed,
            concerns=tuple(concerns[:MOST_CONCERNS]),
            concern_count=len(concerns),
        )

    def _count_ticks(self, instances: Sequence[InstanceStatus]) -> None:
        counted = {one.id: (one.ticks.count, one.ticks.errors, one.ticks.missed) for one in instances}
        for instance_id, now in counted.items():
            before = self._counted.get(instance_id, (0, 0, 0))
            for index, (old, new) in enumerate(zip(before, now, strict=True)):
                self._sums[index] += new - old if new >= old else new
        self._counted = counted


def _trades_real_money(instance: InstanceStatus, accounts: Accounts) -> bool:
    account = accounts.get(instance.account_id)
    return instance.effective_mode == "active" and account is not None and account.real_money
