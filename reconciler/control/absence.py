"""Absence: which ids are missing, since when, which went lately, and which held removal was confirmed. No I/O."""

from __future__ import annotations

from collections.abc import Container

from reconciler.records.removal import Removal, removal_digest

SETTLING_S = 1.0
"""A file must be missing from two whole reads at least this far apart."""
QUIET_S = 1.5
"""And for so long no other may have gone: whoever deletes slowly, over a network or by hand, has not ended yet."""
ACTIVE_S = 10.0
"""What is active is looked for so long: who uploads often deletes first, and a returning id starts from off."""
RECENT_S = 600.0
"""So long what went counts with what goes."""


class Absence:
    """Remembers between snapshots; `confirm` may come from any thread."""

    def __init__(self) -> None:
        self._missing_since_s: dict[str, float] = {}
        self._grew_at_s = float("-inf")
        self._removed_at_s: dict[str, float] = {}
        self._holds = False
        self.confirmed = ""
        """The digest of the held removal that may happen; empty where none may."""

    def confirm(self, removal_digest: str) -> None:
        """Let the held removal that `removal_digest` stands for happen, and no other."""
        self.confirmed = removal_digest

    def settled(self, now_s: float, active: Container[str] = ()) -> frozenset[str]:
        """The ids that were missing from a whole snapshot long enough ago; none while others still go."""
        if now_s < self._grew_at_s + QUIET_S:
            return frozenset()
        return frozenset(
            i
            for i, since_s in self._missing_since_s.items()
            if since_s <= now_s - (ACTIVE_S if i in active else SETTLING_S)
        )

    def recent(self, now_s: float) -> frozenset[str]:
        """The ids that went within the last ten minutes, those that somebody confirmed left out.

        While a removal is held because of them they do not grow old: it passes once somebody has looked, not by time.
        """
        return frozenset(i for i, at_s in self._removed_at_s.items() if self._holds or at_s > now_s - RECENT_S)

    def note(self, removal: Removal, confirmed: str, now_s: float) -> None:
        """Take what became of the missing ids of a whole snapshot, judged with `confirmed`.

        A confirmation is good for the moment: where the set it stands for is no longer what is held, it lapses.
        """
        missing = (*removal.waiting, *removal.held, *removal.protected)
        if not self._missing_since_s.keys() >= set(missing):
            self._grew_at_s = now_s
        self._missing_since_s = {i: self._missing_since_s.get(i, now_s) for i in missing}
        recent = self.recent(now_s)
        self._holds = bool(removal.held)
        self._removed_at_s = {i: at_s for i, at_s in self._removed_at_s.items() if i in recent}
        if removal.remove and removal_digest(removal.remove) != confirmed:
            self._removed_at_s |= dict.fromkeys(removal.remove, now_s)
        if self.confirmed == confirmed and removal.held_digest != confirmed:
            self.confirmed = ""
