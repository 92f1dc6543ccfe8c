"""A change: what a merge would do with one instance, and the section of the plan it belongs to. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

from reconciler.documents.wording import parse_pointer, spell
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.records.snapshot import MergedChange
from reconciler.records.status import not_committed
from reconciler.review.plan.differences import Difference, Hidden, Phrase, plain_differences
from reconciler.review.plan.outlook import Setting, Stake


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
        return tuple(dict.fromkeys(str(parse_pointer(difference.pointer)[0]) for difference in self.differences))

    @property
    def rises(self) -> bool:
        """True where its mode rises to active."""
        return self.mode_after is Mode.ACTIVE and self.mode_before is not Mode.ACTIVE

    @property
    def touches_active(self) -> bool:
        """True where it was active before and does not start anew; a mere move touches nothing."""
        return self.mode_before is Mode.ACTIVE and self.section not in (Section.START, Section.MOVED)


@dataclass(frozen=True, slots=True)
class Point:
    """One of the two states compared: what people call it, and its commit where there is one."""

    label: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class RunsOn:
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
    runs_on: RunsOn | None = None


@dataclass(frozen=True, slots=True)
class HeldRemoval:
    """Instances whose files are gone but which run on: protected; too many at once, until `digest` is confirmed; or
    waiting, because a folder could not be read."""

    protected: tuple[RunsOn, ...] = ()
    too_many: tuple[RunsOn, ...] = ()
    waiting: tuple[RunsOn, ...] = ()
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
    reloads: tuple[RunsOn, ...] = ()
    keeps: tuple[RunsOn, ...] = ()
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
    """What became of reconciler.yaml; `limits` above the instances take effect at once, all else at a restart."""

    changed: bool = False
    accounts: tuple[AccountChange, ...] = ()
    limits: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class ProposedCommit:
    """One commit that would be merged. `change.signed_by` is proven, by signers that the base and the newest commit
    both allow; where the base requires signatures, `lacking` says why this one would be held."""

    change: MergedChange
    lacking: str = ""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """All of it. `changes` stand by section, real money first, then by id. `basis` says what the comparison
    rests on; `commits`, the oldest first, are what would be merged, where that is known."""

    before: Point
    after: Point
    changes: tuple[Change, ...] = ()
    refused: tuple[Refused, ...] = ()
    held: HeldRemoval = field(default_factory=HeldRemoval)
    code: tuple[CodeChange, ...] = ()
    halts: tuple[HaltChange, ...] = ()
    settings: SettingsChange = field(default_factory=SettingsChange)
    basis: tuple[Phrase, ...] = ()
    commits: tuple[ProposedCommit, ...] = ()

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
            or self.settings.limits
        )


_MAY_HOLD_SECRETS: Final = ("headers", "env")
_URL_SECRETS: Final = re.compile(r"(?<=//)[^/@]*(?=@)|(?<=[?#]).*")


@dataclass(frozen=True, slots=True)
class Way:
    """The server of an account, and how it is reached and spoken to."""

    account: DeclaredAccount | None = None
    server: Mapping[str, Any] = field(default_factory=dict)


NOWHERE: Final = Way()


def way_of(account_id: str, accounts: Accounts) -> Way:
    """The way there; NOWHERE where the settings do not know the account."""
    account = accounts.get(account_id)
    return NOWHERE if account is None else Way(account, accounts.servers.get(account.server, {}))


def way_differences(old: Way, new: Way) -> tuple[Difference, ...]:
    """Every key of it that differs, as it stands in the settings; money and the server's name are not among them."""
    if old.account is None or new.account is None or old.server is new.server:
        return ()
    server = ("exec_mcp", new.account.server)
    found = [
        Difference(spell((*server, *path)), was, now)
        for path, was, now in plain_differences(_guarded(old.server), _guarded(new.server))
    ]
    return tuple(found)


def _guarded(server: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with everything hidden that may be a secret."""
    transport = dict(server.get("transport", {}))
    for key in _MAY_HOLD_SECRETS:
        if key in transport:
            transport[key] = {
                name: Hidden(value) if isinstance(value, str) else value for name, value in transport[key].items()
            }
    url = transport.get("url")
    if isinstance(url, str) and _URL_SECRETS.search(url):
        transport["url"] = _URL_SECRETS.sub("…", url)
        transport["url_credentials"] = Hidden("\n".join(_URL_SECRETS.findall(url)))
    return {**server, **({"transport": transport} if transport else {})}


@dataclass(frozen=True, slots=True)
class State:
    """What holds for it: its row, its money and the server that reaches it, the halts that cover it, the way its
    orders go."""

    row: Row
    money: Money
    server: str
    halts: tuple[Halt, ...]
    way: Way = NOWHERE

    @property
    def is_active(self) -> bool:
        return self.row.mode is Mode.ACTIVE

    @property
    def is_halted_in_full(self) -> bool:
        return any(halt.full for halt in self.halts)

    @property
    def awaits_commit(self) -> bool:
        """True where it is active on real money, but not wholly committed: its gate is closed."""
        uncommitted = not_committed(is_real=self.money == "real", is_committed=self.row.committed)
        return self.is_active and uncommitted is not None


def state_of(row: Row | None, accounts: Accounts, halts: Iterable[Halt]) -> State | None:
    if row is None or not row.is_live:
        return None
    account_id = row.record.identity.account_id
    account = accounts.get(account_id)
    server = "" if account is None else account.server
    forbidding = tuple(halt for halt in halts if halt.forbids(account_id, row.id))
    return State(row, money_of(row, accounts), server, forbidding, way_of(account_id, accounts))


def money_of(row: Row, accounts: Accounts) -> Money:
    return accounts.money(row.record.identity.account_id) or "unknown"


def goes_elsewhere(old: State, new: State) -> bool:
    """True where its orders go to other money, through another server, or on another way."""
    return (old.money, old.server) != (new.money, new.server) or bool(way_differences(old.way, new.way))
