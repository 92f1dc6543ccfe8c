"""What needs attention, gravest first: the first thing an operator reads; and the survey of it.

What concerns are is pure; the surveyor keeps the last survey for as long as it may.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from reconciler.clock import Clock, from_iso, iso
from reconciler.dashboard.render import duration, segment
from reconciler.documents.wording import some
from reconciler.errors import Problem
from reconciler.ports import EngineStatus, FleetSummary, StatusReader
from reconciler.records.accounts import LACKING, Accounts
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.status import Condition, Health, InstanceStatus, Sync, TradingReason


def heartbeat_age_s(engine: EngineStatus, now_s: float) -> float:
    """Seconds since the last beat, or since the start where none has fired yet."""
    if engine.heartbeat_age_s is not None:
        return engine.heartbeat_age_s
    return max(0.0, now_s - from_iso(engine.started_at))


def heartbeat_fault(engine: EngineStatus, now_s: float) -> str:
    """Since when no beat has fired, and why; empty where one has within three heartbeats."""
    if not engine.no_beat:
        return ""
    age_s = heartbeat_age_s(engine, now_s)
    return f"no beat for {duration(age_s)}, expected one every {engine.heartbeat_s:g} s: {engine.no_beat}"


PROBLEMS_NAMED = 3
INSTANCES_NAMED = 50
DENIALS_NAMED = 3
EXPLAINED_ELSEWHERE = (
    TradingReason.MODE,
    TradingReason.PAUSED,
    TradingReason.HALTED,
    TradingReason.EXEC_DOWN,
    TradingReason.LEDGER_DOWN,
    TradingReason.LEDGER_BEHIND,
    TradingReason.LIMIT,
)
"""Closed gates that are no concern of their own: one halt or lost server would else fill the list a thousand times."""


TOLD_OF_ALL = ("NoBeat", "ExecDown")
"""Reasons for which whole fleets are not ready: one concern, about the engine or the server, says so."""


class Gravity(IntEnum):
    """How soon somebody should look; the lower, the sooner."""

    CRITICAL = 0
    WARNING = 1
    NOTICE = 2

    @property
    def word(self) -> str:
        return self.name.capitalize()


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that needs attention: about what, what is wrong, where to read on, what to type."""

    gravity: Gravity
    real_money: bool
    subject: str
    text: str
    href: str = ""
    command: str = ""
    since: str = ""
    """Since when it is so, ISO 8601; empty where nobody noted it."""
    orders: tuple[str, ...] = ()
    """The client_order_ids of what it is about, as far as they are named."""

    @property
    def word(self) -> str:
        return self.gravity.word


def gravest_first(concerns: Iterable[Concern]) -> list[Concern]:
    """Sorted by gravity, real money before other, then by name."""
    return sorted(concerns, key=lambda one: (one.gravity, not one.real_money, one.subject))


def engine_concerns(
    engine: EngineStatus, problems: Sequence[Problem], now_s: float, active_on: Collection[str] | None = None
) -> Iterator[Concern]:
    """What is wrong with the engine itself and with what it was given.

    `active_on` are the servers on whose accounts an instance is active: with one that is down, less is at stake where
    none is. None where nobody says.
    """
    fault = heartbeat_fault(engine, now_s)
    if fault:
        command = "reconciler beats forget --reason …" if engine.clock_behind_s > 0 else ""
        yield Concern(Gravity.CRITICAL, False, "Heartbeat", f"nothing ticks: {fault}", command=command)
    elif engine.clock_behind_s > 0:
        yield _critical("Clock", f"was set back: nothing ticks for another {duration(engine.clock_behind_s)}")
    if engine.database_error:
        yield _critical("Database", engine.database_error)
    if engine.descriptors_note:
        yield _critical("Descriptors", f"{engine.descriptors_note}: something does not close its files; restart soon")
    for halt in engine.halts:
        yield _halt(halt)
    if engine.source_error:
        yield _warning("Source", f"{engine.source_error}; the fleet runs on as last applied")
    for note in engine.source_notes:
        yield Concern(Gravity.NOTICE, False, "Source", note)
    if engine.settings_note:
        yield Concern(Gravity.NOTICE, False, "Settings", engine.settings_note)
    for server in engine.exec_servers:
        if not server.get("connected", True):
            why = server.get("last_error") or "not connected"
            is_idle = active_on is not None and server.get("name") not in active_on
            at_stake = "no instance is active on its accounts" if is_idle else "its accounts do not trade"
            yield Concern(
                Gravity.WARNING if is_idle else Gravity.CRITICAL,
                False,
                f"exec-mcp {server.get('name', '')}",
                f"{why}; {at_stake}",
                since=str(server.get("since") or ""),
            )
        elif server.get("changed"):
            text = f"its tools changed while the engine ran, and no order leaves through it: {server['changed']}"
            command = f"reconciler exec accept {server['name']} --reason …"
            yield Concern(Gravity.CRITICAL, False, f"exec-mcp {server['name']}", text, command=command)
    if engine.prune_held:
        yield Concern(
            Gravity.WARNING,
            False,
            "PruneHeld",
            f"{len(engine.prune_held)} removed at once, held; "
            f"still running: {some(engine.prune_held, INSTANCES_NAMED)}",
            command=f"reconciler prune --confirm {engine.prune_digest}",
        )
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        named = some([str(problem) for problem in problems], PROBLEMS_NAMED, "\n")
        yield _warning("Files", f"{count}\n{named}", href="/problems")


def orphan_concerns(orphans: Sequence[Mapping[str, Any]], accounts: Accounts) -> Iterator[Concern]:
    """Orders on our accounts that are nobody's here: one concern for each account."""
    counts = Counter(str(one["account_id"]) for one in orphans)
    for account_id, count in counts.items():
        what = "an open order" if count == 1 else f"{count} open orders"
        text = f"{what} that the ledger does not know"
        yield Concern(Gravity.WARNING, accounts.is_real(account_id), f"Account {account_id}", text, href="/orders")


def denial_concerns(denials: Iterable[Mapping[str, Any]], accounts: Accounts) -> Iterator[Concern]:
    """Orders of ours that their exchange took and now denies: nobody but somebody who looks can say what is true.

    One concern for each instance.
    """
    by_instance: dict[str, list[Mapping[str, Any]]] = {}
    for one in denials:
        by_instance.setdefault(str(one["instance_id"]), []).append(one)
    for instance_id, own in by_instance.items():
        ids = [str(one["client_order_id"]) for one in own]
        text = f"its exchange denies the order {ids[0]}, which it took: {own[0]['message']}; say what became of it"
        href = f"/orders/{segment(ids[0])}"
        if len(ids) > 1:
            named = some(ids, DENIALS_NAMED)
            text = f"its exchange denies {len(ids)} orders, which it took: {named}; say of each what became of it"
            href = f"/instances/{segment(instance_id)}"
        yield Concern(
            Gravity.CRITICAL,
            accounts.is_real(own[0]["account_id"]),
            instance_id,
            text,
            href=href,
            command=f"reconciler orders resolve {ids[0]} --as … --reason …",
            since=min(str(one.get("seen_at", "")) for one in own),
            orders=tuple(ids[:DENIALS_NAMED]),
        )


def difference_concerns(differences: Iterable[Mapping[str, Any]], accounts: Accounts) -> Iterator[Concern]:
    """Accounts that hold something else than the instances' own fills make, or whose ledger lost rows."""
    for one in differences:
        account_id = str(one["account_id"])
        real = accounts.is_real(account_id)
        if behind := one.get("behind"):
            text = f"its ledger is behind, so it opens nothing: {behind}\nLook at the exchange, then say what is whose:"
            command = f"reconciler exec settle {account_id} --assign ID=QTY@PRICE --outside SYMBOL=QTY --reason …"
            yield Concern(Gravity.CRITICAL, real, f"Account {account_id}", text, command=command)
            continue
        text = (
            f"does not add up: {one['difference']}\n"
            "Find out who else traded there, or which fill is missing. Nothing is stopped by it; to stop it:"
        )
        yield Concern(
            Gravity.CRITICAL if real else Gravity.WARNING,
            real,
            f"Account {account_id}",
            text,
            command=f"reconciler halt --account {account_id} --reason …",
        )


def limit_concerns(limits: Iterable[Mapping[str, Any]]) -> Iterator[Concern]:
    """Limits above the instances of which 80 % is used, or more, and those that are reached or cannot be measured."""
    for one in limits:
        if not one["near"]:
            continue
        unit = f" {one['currency']}" if one["currency"] else ""
        used = "not measured" if one["used"] is None else f"{one['used']} of {one['most']}{unit}"
        who = some([str(user["instance_id"]) for user in one["by"]], PROBLEMS_NAMED) if one["by"] else ""
        by = f"; used by {who}" if who else ""
        if one["reached"]:
            text = f"{one['limit']} is reached, and nothing that adds exposure leaves: {one['why'] or used}{by}"
        elif one["full"]:
            text = f"{one['limit']} is full, {used}: nothing more is opened there{by}"
        else:
            text = f"{one['limit']}: {used}{by}"
        gravity = Gravity.WARNING if not one["reached"] or one["money"] != "real" else Gravity.CRITICAL
        subject = f"Limits of {one['scope']}, {one['money']} money"
        yield Concern(gravity, one["money"] == "real", subject, text, href="/limits")


def concern(
    instance: InstanceStatus,
    accounts: Accounts,
    changed: Collection[str] = (),
    doubts: Sequence[Mapping[str, Any]] = (),
) -> Concern | None:
    """What is wrong with an instance, all of it, as grave as the gravest; None where nobody need look.

    `changed` are the servers whose tools changed: one concern says that, not every instance on them. `doubts` are its
    own orders in doubt: what is to be typed is about the first of them.
    """
    account = accounts.get(instance.account_id)
    is_told = account is not None and account.server in changed
    found = sorted(_faults(instance, is_told, doubts), key=lambda fault: fault[0])
    if not found:
        return None
    text = "\n".join(text for _, text in found)
    real = accounts.is_real(instance.account_id)
    ids = tuple(str(one["client_order_id"]) for one in doubts)
    return Concern(
        found[0][0],
        real,
        instance.id,
        text,
        href=f"/instances/{segment(instance.id)}",
        command=f"reconciler orders resolve {ids[0]} --as … --reason …" if ids else "",
        since=min((one.last_transition_at for one in instance.conditions if _is_told(one)), default=""),
        orders=ids[:DENIALS_NAMED],
    )


def _is_told(condition: Condition) -> bool:
    """True for a condition that has something to say: since then it has been so."""
    return not condition.status and condition.reason != TradingReason.MODE


def _faults(
    instance: InstanceStatus, tools_told: bool, doubts: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Gravity, str]]:
    conditions: dict[str, Condition] = {condition.type: condition for condition in instance.conditions}
    ready = conditions.get("Ready")
    if instance.frozen_with_exposure:
        yield Gravity.CRITICAL, "frozen with exposure: it has open orders or a position, and may not act on them"
    if instance.health is Health.STUCK:
        yield Gravity.CRITICAL, _because("Stuck", ready)
    explained = {*EXPLAINED_ELSEWHERE, TradingReason.CAPABILITY_MISSING} if tools_told else EXPLAINED_ELSEWHERE
    if len(doubts) > 1:
        yield Gravity.CRITICAL, f"{len(doubts)} orders are in doubt; its position is not known"
    elif doubts:
        yield Gravity.CRITICAL, f"an order is in doubt: {doubts[0]['message']}; its position is not known"
    for reason, message in instance.obstacles:
        if reason == TradingReason.UNKNOWN_ORDER:
            if not doubts:
                yield Gravity.CRITICAL, f"an order is in doubt: {message}"
        elif instance.mode is Mode.ACTIVE and (reason not in explained or message.startswith(LACKING)):
            yield Gravity.CRITICAL, f"active, but its gate is closed: {message}"
    if instance.health is Health.PAUSED:
        if ready is not None and ready.reason == "Quarantined":
            yield Gravity.WARNING, _because("Quarantined", ready)
        else:
            yield Gravity.NOTICE, _because("Paused", _first_false(conditions, "Ready", "Trading"))
    elif instance.health is Health.DEGRADED and not (ready is not None and ready.reason in TOLD_OF_ALL):
        because = _first_false(conditions, "Loaded", "Ready") or conditions.get("Trading")
        yield Gravity.WARNING, _because("Degraded", because)
    if instance.sync in (Sync.INVALID, Sync.REFUSED, Sync.HELD):
        yield Gravity.WARNING, _because(str(instance.sync), _first_false(conditions, "Accepted"))
    if ready is not None and ready.reason == "TicksMissed":
        yield Gravity.WARNING, ready.message
    if ready is not None and ready.reason == "RenderFailed":
        yield Gravity.NOTICE, ready.message


def _first_false(conditions: Mapping[str, Condition], *types: str) -> Condition | None:
    return next((one for name in types if (one := conditions.get(name)) is not None and not one.status), None)


def _because(what: str, condition: Condition | None) -> str:
    return f"{what}: {condition.message or condition.reason}" if condition is not None else what


def _halt(item: Mapping[str, Any]) -> Concern:
    halt = Halt.from_json(item)
    text = f"{halt.kind}: {halt.reason} (by {halt.by})"
    command = ""
    if halt.is_declared:
        text += "; to lift it, change that file"
    else:
        option = f"--{halt.scope} {halt.id}".rstrip()
        command = f"reconciler unhalt {option} --reason …"
    if cancelling := item.get("cancelling"):
        text += f"\n{_still_open(cancelling)}"
    if not item.get("stored", True):
        text += "\nin force, but the database has not taken it yet: it is tried again each beat"
    if item["note"]:
        text += f"\n{item['note']}: it halts nothing, and what was meant trades on"
    return Concern(Gravity.CRITICAL, False, f"Halt of {halt.target}", text, command=command, since=halt.at)


def _still_open(cancelling: Mapping[str, Any]) -> str:
    """How far the cancels of a halt are."""
    left, failed = cancelling["left"], cancelling["failed"]
    told = [f"still to be cancelled: {some(left, 5)}" if left else "nothing that it cancels is open any more"]
    told += [
        f"not cancelled yet, tried again each beat: {one['client_order_id']}: {one['message']}" for one in failed[:3]
    ]
    return "\n".join([*told, *cancelling["flattening"][:20]])


def _critical(subject: str, text: str) -> Concern:
    return Concern(Gravity.CRITICAL, False, subject, text)


def _warning(subject: str, text: str, href: str = "") -> Concern:
    return Concern(Gravity.WARNING, False, subject, text, href)


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
