"""The plan of a fleet: all that a merge would change, hold and refuse, in the order a reviewer needs it. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from reconciler.errors import Problem
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.review.plan.change import Change, Money, Section
from reconciler.review.plan.phrase import Phrase


@dataclass(frozen=True, slots=True)
class Point:
    """One of the two states compared: what people call it, and its commit where there is one."""

    label: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """An instance that runs on as it is applied, and in which mode."""

    id: str
    mode: Mode
    account_id: str
    money: Money


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that is not applied, and why. `runs_on` is what goes on regardless, None where nothing does.

    `refused`: sound, but what it asks for is not allowed. `waiting`: a folder could not be read, `message` says which.
    """

    path: str
    id: str | None
    kind: Literal["refused", "invalid", "waiting"]
    message: str
    problems: tuple[Problem, ...]
    runs_on: Standing | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """Instances whose files are gone but which run on: protected; too many at once, until `digest` is confirmed; or
    waiting, because a folder could not be read."""

    protected: tuple[Standing, ...] = ()
    too_many: tuple[Standing, ...] = ()
    waiting: tuple[Standing, ...] = ()
    digest: str = ""

    def __bool__(self) -> bool:
        return bool(self.protected or self.too_many or self.waiting)


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A strategy whose code changed, by git blob id. `reloads` are the instances it reloads, active ones first.

    `keeps` are those that go on with the old code, because their files are not valid with the new one. `link` is where
    the difference is to be seen: an address, or a command.
    """

    strategy_type: str
    old: str
    new: str
    reloads: tuple[Standing, ...] = ()
    keeps: tuple[Standing, ...] = ()
    link: str = ""


@dataclass(frozen=True, slots=True)
class HaltChange:
    """A halt that `instances/_halt.yaml` declares anew, lifts, or words otherwise; `was` is the one it changes."""

    kind: Literal["declared", "lifted", "changed"]
    halt: Halt
    was: Halt | None = None


@dataclass(frozen=True, slots=True)
class AccountChange:
    """An account of the settings that is added, removed or changed, and the live instances on it."""

    account_id: str
    kind: Literal["added", "removed", "changed"]
    details: tuple[Phrase, ...]
    instances: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """What became of reconciler.yaml; it takes effect when the engine restarts."""

    changed: bool = False
    accounts: tuple[AccountChange, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """All of it. `changes` stand by section, real money first, then by id. `basis` says what the comparison
    rests on."""

    before: Point
    after: Point
    changes: tuple[Change, ...] = ()
    refused: tuple[Refused, ...] = ()
    held: Held = field(default_factory=Held)
    code: tuple[CodeChange, ...] = ()
    halts: tuple[HaltChange, ...] = ()
    settings: SettingsChange = field(default_factory=SettingsChange)
    basis: tuple[Phrase, ...] = ()

    def of(self, section: Section) -> tuple[Change, ...]:
        return tuple(change for change in self.changes if change.section is section)

    @property
    def counts(self) -> Counter[Section]:
        return Counter(change.section for change in self.changes)

    @property
    def raises(self) -> tuple[str, ...]:
        """The ids that start to trade, or to trade real money, for whatever reason."""
        return tuple(sorted(change.id for change in self.of(Section.START)))

    @property
    def active_changes(self) -> tuple[str, ...]:
        """The ids of active instances that change in any other way, a mere move excepted."""
        return tuple(sorted(change.id for change in self.changes if change.touches_active))

    @property
    def is_empty(self) -> bool:
        """True where a merge would do nothing, and nobody needs to be told anything. In doubt, False."""
        return not (
            self.changes
            or self.refused
            or self.held
            or self.code
            or self.halts
            or self.settings.changed
            or self.settings.accounts
        )
