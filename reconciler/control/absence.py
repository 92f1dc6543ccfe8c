"""Absence: since when ids have been missing, and which held removal an operator has confirmed. No I/O."""

from __future__ import annotations

from reconciler.records.removal import Removal

SETTLING_S = 1.0
"""A file must be missing from two whole reads at least this far apart."""


class Absence:
    """Remembers between snapshots; `confirm` may come from any thread."""

    def __init__(self) -> None:
        self._missing_since_s: dict[str, float] = {}
        self.confirmed = ""
        """The digest of the held removal that may happen; empty where none may."""

    def confirm(self, removal_digest: str) -> None:
        """Let the held removal that `removal_digest` stands for happen, and no other."""
        self.confirmed = removal_digest

    def settled(self, now_s: float) -> frozenset[str]:
        """The ids that were missing from a whole snapshot long enough ago."""
        return frozenset(i for i, since_s in self._missing_since_s.items() if since_s <= now_s - SETTLING_S)

    def note(self, removal: Removal, confirmed: str, now_s: float) -> None:
        """Take what became of the missing ids of a whole snapshot, judged with `confirmed`.

        A confirmation is good for the moment: where the set it stands for is no longer what is held, it lapses.
        """
        missing = (*removal.waiting, *removal.held, *removal.protected)
        self._missing_since_s = {i: self._missing_since_s.get(i, now_s) for i in missing}
        if self.confirmed == confirmed and removal.held_digest != confirmed:
            self.confirmed = ""
