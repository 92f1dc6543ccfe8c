"""The roll: the whole fleet, each instance judged. It is called for every page, so what did not change is kept."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import compress
from operator import is_, is_not
from typing import NamedTuple

from reconciler.control.diagnosis import CALM, Case, FleetConditions, health, sync
from reconciler.control.fleet import Fleet
from reconciler.records.mode import Mode
from reconciler.records.plan import Running
from reconciler.records.record import Attempt, Row
from reconciler.records.status import Health, Sync
from reconciler.strategy.importing import Importing

_FEW = 8
"""Less than one in so many: those are looked up one by one rather than looked for in all."""


class Entry(NamedTuple):
    """One instance, what it is judged by, and the judgement. It holds on to no fleet that is past.

    `is_suspect` where it may need attention: anything but well, exposed, or active, for its gate may be closed.
    """

    row: Row
    attempt: Attempt | None
    effective_mode: Mode
    sync: Sync
    health: Health
    is_shown: bool
    is_suspect: bool


@dataclass(frozen=True, slots=True)
class Called:
    """The fleet at one moment: every instance that is shown, in the order of their ids, and counts of them."""

    entries: tuple[Entry, ...] = ()
    suspects: tuple[Entry, ...] = ()
    by_mode: Mapping[Mode, int] = field(default_factory=dict)
    by_sync: Mapping[Sync, int] = field(default_factory=dict)
    by_health: Mapping[Health, int] = field(default_factory=dict)


class Roll:
    """Thread-safe. What it is given is replaced and never changed: the same object means the same judgement.

    `can_load` says whether the code of a row is at hand, `server_of` which exec-mcp server reaches its account,
    `importing` why the newest code of its strategy is not at hand.
    """

    def __init__(
        self,
        can_load: Callable[[Row], bool],
        server_of: Callable[[Row], str],
        importing: Callable[[Row], Importing | None],
    ) -> None:
        self._can_load = can_load
        self._server_of = server_of
        self._importing = importing
        self._lock = threading.Lock()
        self._version = -1
        self._fleet = Fleet()
        self._views: Mapping[str, Running] = {}
        self._exposed: frozenset[str] = frozenset()
        self._around = CALM
        self._entries: dict[str, Entry] = {}
        self._hidden = 0
        self._suspects: set[str] = set()
        self._by_mode: Counter[Mode] = Counter()
        self._by_sync: Counter[Sync] = Counter()
        self._by_health: Counter[Health] = Counter()
        self._last = Called()

    def call(
        self,
        version: int,
        fleet: Fleet,
        views: Mapping[str, Running],
        exposed: frozenset[str],
        around: FleetConditions = CALM,
    ) -> Called:
        """Everybody as they are now. Costs nothing where nothing changed, and little where little did.

        `version` rises where code may have come or gone, which the others do not tell. `around`: what all depends on.
        """
        with self._lock:
            changed = self._differing(views, exposed)
            if not around.is_like(self._around):
                changed.update(fleet.rows)
            self._around = around
            if version != self._version or fleet is not self._fleet:
                changed |= self._outdated(fleet, views)
            self._version, self._fleet, self._views, self._exposed = version, fleet, views, exposed
            if changed:
                self._judge(changed)
                self._last = self._called()
            return self._last

    def _differing(self, views: Mapping[str, Running], exposed: frozenset[str]) -> set[str]:
        """Who runs, or is exposed, otherwise than before."""
        changed = set(exposed ^ self._exposed)
        if views is not self._views:
            changed.update(_replaced(self._views, views))
        return changed

    def _outdated(self, fleet: Fleet, views: Mapping[str, Running]) -> set[str]:
        """Whose entries are not of what this fleet holds; and who waits for code, which may be there by now. Who is on
        its way waits for none: a fleet that starts is not judged anew at each look."""
        before = self._fleet
        if fleet.removal != before.removal or (fleet.followed is None) is not (before.followed is None):
            return set(fleet.rows)
        return (fleet.lowered.keys() ^ before.lowered.keys()) | {
            instance_id
            for instance_id, row in fleet.rows.items()
            if (entry := self._entries.get(instance_id)) is None
            or entry.row is not row
            or entry.attempt is not fleet.attempts.get(row.path)
            or (entry.health in (Health.DEGRADED, Health.PROGRESSING) and instance_id not in views)
        }

    def _judge(self, changed: set[str]) -> None:
        fleet, known = self._fleet, self._entries
        arrived = changed - known.keys()
        for instance_id in changed:
            self._count(known.get(instance_id), -1)
            row = fleet.rows.get(instance_id)
            if row is None:  # exposed, or still running, and of no row: nothing can be shown of it
                known.pop(instance_id, None)
                continue
            view = self._views.get(instance_id)
            is_exposed, server, importing = instance_id in self._exposed, self._server_of(row), self._importing(row)
            case = Case(row, fleet, view, self._can_load(row), is_exposed, self._around, server, importing)
            known[instance_id] = _judged(case)
            self._count(known[instance_id], 1)
        if arrived:
            self._entries = dict(sorted(known.items()))

    def _count(self, entry: Entry | None, number: int) -> None:
        """Take an entry into the counts, or out of them."""
        if entry is None:
            return
        if not entry.is_shown:
            self._hidden += number
            return
        self._by_mode[entry.effective_mode] += number
        self._by_sync[entry.sync] += number
        self._by_health[entry.health] += number
        if entry.is_suspect:
            (self._suspects.add if number > 0 else self._suspects.discard)(entry.row.id)

    def _called(self) -> Called:
        """No bytecode runs for each instance, where all are shown and few are suspect: it is so of most fleets."""
        known = self._entries
        shown = tuple([one for one in known.values() if one.is_shown] if self._hidden else known.values())
        if len(self._suspects) * _FEW > len(shown):
            suspects = [one for one in shown if one.is_suspect]
        else:
            suspects = [known[instance_id] for instance_id in sorted(self._suspects)]
        return Called(shown, tuple(suspects), +self._by_mode, +self._by_sync, +self._by_health)


def _replaced(before: Mapping[str, Running], now: Mapping[str, Running]) -> Iterable[str]:
    """Whose view is another object, has come or has gone. Mostly the same ids stand in the same order: then no
    bytecode runs for each of them."""
    if len(before) == len(now) and all(map(is_, before, now)):
        return compress(now, map(is_not, before.values(), now.values()))
    return [*[id_ for id_, view in now.items() if before.get(id_) is not view], *(before.keys() - now.keys())]


def _judged(case: Case) -> Entry:
    found_sync, found_health = sync(case), health(case)
    return Entry(
        case.row,
        case.fleet.attempt_of(case.row),
        case.effective_mode,
        found_sync,
        found_health,
        case.is_shown,
        case.is_exposed
        or Mode.ACTIVE in (case.row.mode, case.effective_mode)
        or (found_health in (Health.STUCK, Health.PAUSED, Health.DEGRADED) and not _is_told_of_all(case))
        or found_sync in (Sync.INVALID, Sync.REFUSED, Sync.HELD),
    )


def _is_told_of_all(case: Case) -> bool:
    """True where it is as well as it can be around here: one sentence about the engine or a server says that of all."""
    return case.around is not CALM and health(replace(case, around=CALM)) in (Health.HEALTHY, Health.PROGRESSING)
