"""What needs attention, gravest first: the first thing an operator reads. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from reconciler.dashboard.heartbeat import heartbeat_fault
from reconciler.dashboard.render import duration, segment
from reconciler.errors import Problem
from reconciler.ports import EngineStatus
from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.records.status import Condition, Health, InstanceStatus, Sync, TradingReason

PROBLEMS_NAMED = 3
INSTANCES_NAMED = 50
EXPLAINED_ELSEWHERE = (TradingReason.MODE, TradingReason.PAUSED, TradingReason.HALTED, TradingReason.EXEC_DOWN)
"""Closed gates that are no concern of their own: one halt or lost server would else fill the list a thousand times."""


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

    @property
    def word(self) -> str:
        return self.gravity.word


def gravest_first(concerns: Iterable[Concern]) -> list[Concern]:
    """Sorted by gravity, real money before other, then by name."""
    return sorted(concerns, key=lambda one: (one.gravity, not one.real_money, one.subject))


def engine_concerns(engine: EngineStatus, problems: Sequence[Problem], now_s: float) -> Iterator[Concern]:
    """What is wrong with the engine itself and with what it was given."""
    fault = heartbeat_fault(engine, now_s)
    if fault:
        yield _critical("Heartbeat", f"{fault}: nothing ticks")
    if engine.clock_behind_s > 0:
        yield _critical("Clock", f"was set back: nothing ticks for another {duration(engine.clock_behind_s)}")
    if engine.database_error:
        yield _critical("Database", engine.database_error)
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
            yield _critical(f"exec-mcp {server.get('name', '')}", f"{why}; its accounts do not trade")
    if engine.prune_held:
        yield Concern(
            Gravity.WARNING,
            False,
            "PruneHeld",
            f"{len(engine.prune_held)} removed at once, held; still running: {_named(engine.prune_held)}",
            command=f"reconciler prune --confirm {engine.prune_digest}",
        )
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        named = _named([str(problem) for problem in problems], PROBLEMS_NAMED, "\n")
        yield _warning("Files", f"{count}\n{named}", href="/problems")


def orphan_concerns(orphans: Sequence[Mapping[str, Any]], accounts: Accounts) -> Iterator[Concern]:
    """Orders on our accounts that are nobody's here: one concern for each account."""
    counts = Counter(str(one["account_id"]) for one in orphans)
    for account_id, count in counts.items():
        what = "an open order" if count == 1 else f"{count} open orders"
        account = accounts.get(account_id)
        real = account is not None and account.real_money
        text = f"{what} that the ledger does not know"
        yield Concern(Gravity.WARNING, real, f"Account {account_id}", text, href="/orders")


def concern(instance: InstanceStatus, accounts: Accounts) -> Concern | None:
    """What is wrong with an instance, the gravest of it, or None where nobody need look."""
    found = _fault(instance)
    if found is None:
        return None
    gravity, text = found
    account = accounts.get(instance.account_id)
    real = account is not None and account.real_money
    return Concern(gravity, real, instance.id, text, href=f"/instances/{segment(instance.id)}")


def _fault(instance: InstanceStatus) -> tuple[Gravity, str] | None:
    conditions: dict[str, Condition] = {condition.type: condition for condition in instance.conditions}
    if instance.frozen_with_exposure:
        return Gravity.CRITICAL, "frozen with exposure: it has open orders or a position, and may not act on them"
    if instance.health is Health.STUCK:
        return Gravity.CRITICAL, _because("Stuck", conditions.get("Ready"))
    trading = _first_false(conditions, "Trading")
    if instance.mode is Mode.ACTIVE and trading is not None and trading.reason not in EXPLAINED_ELSEWHERE:
        return Gravity.CRITICAL, _because("active, but its gate is closed", trading)
    ready = conditions.get("Ready")
    if instance.health is Health.PAUSED and ready is not None and ready.reason == "Quarantined":
        return Gravity.WARNING, _because("Quarantined", ready)
    if instance.health is Health.DEGRADED:
        return Gravity.WARNING, _because("Degraded", _first_false(conditions, "Loaded", "Ready"))
    if instance.sync in (Sync.INVALID, Sync.REFUSED, Sync.HELD):
        return Gravity.WARNING, _because(str(instance.sync), _first_false(conditions, "Accepted"))
    if instance.health is Health.PAUSED:
        return Gravity.NOTICE, _because("Paused", _first_false(conditions, "Ready", "Trading"))
    if ready is not None and ready.reason == "RenderFailed":
        return Gravity.NOTICE, ready.message
    return None


def _first_false(conditions: Mapping[str, Condition], *types: str) -> Condition | None:
    return next((one for name in types if (one := conditions.get(name)) is not None and not one.status), None)


def _named(names: Sequence[str], most: int = INSTANCES_NAMED, separator: str = ", ") -> str:
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return separator.join([*names[:most], *more])


def _because(what: str, condition: Condition | None) -> str:
    return f"{what}: {condition.message or condition.reason}" if condition is not None else what


def _halt(halt: Mapping[str, Any]) -> Concern:
    scope, name = str(halt.get("scope", "all")), str(halt.get("id") or "")
    what = "all" if scope == "all" else f"{scope} {name}"
    kind = "nothing passes" if halt.get("full") else "no new exposure"
    option = "--all" if scope == "all" else f"--{scope} {name}"
    reason = str(halt.get("reason") or "no reason given")
    return Concern(
        Gravity.CRITICAL,
        False,
        f"Halt of {what}",
        f"{kind}: {reason}",
        command=f"reconciler unhalt {option} --reason …",
    )


def _critical(subject: str, text: str) -> Concern:
    return Concern(Gravity.CRITICAL, False, subject, text)


def _warning(subject: str, text: str, href: str = "") -> Concern:
    return Concern(Gravity.WARNING, False, subject, text, href)
