"""A change: what a merge would do with one instance, and the section of the plan it belongs to. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from reconciler.records.mode import Mode
from reconciler.records.pointer import parse
from reconciler.records.record import Row
from reconciler.review.plan.difference import Difference
from reconciler.review.plan.outlook import Setting, Stake
from reconciler.review.plan.phrase import Phrase


class Section(StrEnum):
    """Where a change stands; each instance that changes stands in exactly one, the gravest that is true of it."""

    START = "start"
    """It starts to trade: raised to active, its money turns real, its halt is lifted, it is committed at last."""
    ACTIVE = "active"
    """It is active and stays so; something else about it changes."""
    STOP = "stop"
    """It was active and trades no more: lowered, removed, halted."""
    RELOAD = "reload"
    LOAD = "load"
    UNLOAD = "unload"
    IN_PLACE = "in-place"
    """Applied to what runs without a reload: description, labels, limits, open_orders, protect."""
    OFF = "off"
    """Its row changes, but nothing of it runs before or after."""
    MOVED = "moved"
    """Its file has another path, and that is all."""


Effect = Literal["load", "unload", "reload", "in-place", "none"]
"""What the engine does with the running instance. `none`: the gate, the row or the settings change, not what runs."""

Money = Literal["real", "paper", "unknown"]
"""Whose money an account holds; unknown where the settings do not declare it."""


@dataclass(frozen=True, slots=True)
class Change:
    """One instance that changes.

    `before` and `after` are its rows, None where there is none or was removed. `reasons` say what brings the change
    about; `evidence` what speaks for it; `warnings` what a reviewer must not overlook. `mode_place` is `path:line`
    of the mode that is asked for. `server` reaches its account; `config` is all that it would run with, where it is new
    or runs with something else; `account` says what bounds all that is active on its account; `stake` what it holds
    now, None where nobody was asked.
    """

    section: Section
    effect: Effect
    before: Row | None
    after: Row | None
    money: Money
    reasons: tuple[Phrase, ...] = ()
    evidence: tuple[Phrase, ...] = ()
    warnings: tuple[Phrase, ...] = ()
    differences: tuple[Difference, ...] = ()
    mode_place: str = ""
    server: str = ""
    config: tuple[Setting, ...] = ()
    account: Phrase | None = None
    stake: Stake | None = None

    @property
    def row(self) -> Row:
        """The row that says who it is: as it will be, or as it was where it goes."""
        row = self.after or self.before
        assert row is not None
        return row

    @property
    def id(self) -> str:
        return self.row.id

    @property
    def real_money(self) -> bool:
        return self.money == "real"

    @property
    def mode_before(self) -> Mode | None:
        """The mode in force, None where it was not there."""
        return None if self.before is None else self.before.mode

    @property
    def mode_after(self) -> Mode | None:
        return None if self.after is None else self.after.mode

    @property
    def code(self) -> tuple[str, str] | None:
        """Old and new digest (git blob id) of its strategy, None where the code stays or there is no before."""
        if self.before is None or self.after is None or self.before.code_digest == self.after.code_digest:
            return None
        return self.before.code_digest, self.after.code_digest

    @property
    def parts(self) -> tuple[str, ...]:
        """The top keys below which something differs: `config`, `limits`."""
        return tuple(dict.fromkeys(str(parse(difference.pointer)[0]) for difference in self.differences))

    @property
    def rises(self) -> bool:
        """True where its mode rises to active."""
        return self.mode_after is Mode.ACTIVE and self.mode_before is not Mode.ACTIVE

    @property
    def touches_active(self) -> bool:
        """True where it was active before and does not start anew; a mere move touches nothing."""
        return self.mode_before is Mode.ACTIVE and self.section not in (Section.START, Section.MOVED)
