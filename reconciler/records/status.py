"""How an instance is doing: conditions, sync, health, counts. Frozen values and the rules between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from reconciler.records.mode import Mode


class Sync(StrEnum):
    """How what the file says relates to what is applied and runs."""

    SYNCED = "Synced"
    OUT_OF_SYNC = "OutOfSync"
    INVALID = "Invalid"
    REFUSED = "Refused"
    HELD = "Held"


class Health(StrEnum):
    """The first that is true, in this order."""

    STUCK = "Stuck"
    PAUSED = "Paused"
    DEGRADED = "Degraded"
    PROGRESSING = "Progressing"
    HEALTHY = "Healthy"
    OFF = "Off"


class TradingReason(StrEnum):
    """Why the gate is closed, as the condition `Trading` says it."""

    MODE = "Mode"
    PAUSED = "Paused"
    HALTED = "Halted"
    UNKNOWN_ORDER = "UnknownOrder"
    EXEC_DOWN = "ExecDown"
    CAPABILITY_MISSING = "CapabilityMissing"
    NOT_COMMITTED = "NotCommitted"
    LEDGER_DOWN = "LedgerDown"
    LEDGER_BEHIND = "LedgerBehind"
    RATE_LIMITED = "RateLimited"
    LIMIT = "Limit"
    """Of what is above the instance: a scope's limit was reached, or one that the settings ask for is missing."""


class TradingCaveat(StrEnum):
    """What the condition `Trading` says of a gate that is open, where not all is well."""

    ORDER_MISSING = "OrderMissing"
    POSITIONS_DIFFER = "PositionsDiffer"
    REFUSED_AGAIN = "RefusedAgain"
    RATE_LIMITED = "RateLimited"
    """Of data alone: orders may leave, but their server is asked for none."""


class Obstacle(NamedTuple):
    """One of the things that close an instance's gate: a `TradingReason`, and what it is in this case."""

    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


_NEEDS_COMMIT = "real money needs the file, its template and its strategy's code to be committed"


def not_committed(*, is_real: bool, is_committed: bool, why: str = "") -> Obstacle | None:
    """What keeps an instance from trading real money before what it runs is committed; None where nothing does.

    `why` is the reason, where that is another than a commit that is missing. The one place that judges it: the gate
    refuses by it, and status, page and plan say it.
    """
    if not is_real or is_committed:
        return None
    return Obstacle(TradingReason.NOT_COMMITTED, f"{_NEEDS_COMMIT}; {why}" if why else _NEEDS_COMMIT)


ConditionType = Literal["Accepted", "Loaded", "Ready", "Trading"]


@dataclass(frozen=True, slots=True)
class Condition:
    """One fact about an instance, and since when."""

    type: ConditionType
    status: bool
    reason: str
    message: str
    last_transition_at: str

    def to_json(self) -> dict[str, str]:
        return {
            "type": self.type,
            "status": "True" if self.status else "False",
            "reason": self.reason,
            "message": self.message,
            "last_transition_at": self.last_transition_at,
        }


@dataclass(frozen=True, slots=True)
class Ticks:
    """Counts since the instance's id was first loaded in this process; times ISO 8601, durations in seconds.

    `last_at` is when one was last tried, `last_good_at` when one last went well. `every_s` is the cadence. `next_at` is
    None where none will come: it must not tick, or hangs.
    """

    count: int = 0
    errors: int = 0
    missed: int = 0
    last_at: str | None = None
    last_duration_s: float | None = None
    next_at: str | None = None
    last_good_at: str | None = None
    every_s: float | None = None
    errors_last_hour: int = 0
    missed_last_hour: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "errors": self.errors,
            "missed": self.missed,
            "last_at": self.last_at,
            "last_duration_s": self.last_duration_s,
            "next_at": self.next_at,
            "last_good_at": self.last_good_at,
            "every_s": self.every_s,
            "errors_last_hour": self.errors_last_hour,
            "missed_last_hour": self.missed_last_hour,
        }


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One item of `/api/v1/instances`: the record, what is in force, and how it is doing."""

    id: str
    strategy_type: str
    account_id: str
    client_id: str
    market: str
    mode: Mode
    effective_mode: Mode
    paused: bool
    sync: Sync
    health: Health
    generation: int
    observed_generation: int
    revision: str | None
    committed: bool
    path: str
    config: Mapping[str, Any]
    effective_config: Mapping[str, Any]
    labels: Mapping[str, str]
    description: str
    conditions: tuple[Condition, ...]
    ticks: Ticks
    frozen_with_exposure: bool = False
    template_path: str = ""
    real_money: bool = False
    obstacles: tuple[Obstacle, ...] = ()
    """Everything that closes its gate, the first being what the condition `Trading` names."""
    drawn_at: str | None = None
    """When what it shows was drawn, None where it shows nothing."""

    def to_json(self) -> dict[str, Any]:
        """The JSON item, names as the contract fixes them."""
        return {
            "id": self.id,
            "strategy_type": self.strategy_type,
            "account": {"account_id": self.account_id, "client_id": self.client_id},
            "market": self.market,
            "mode": str(self.mode),
            "effective_mode": str(self.effective_mode),
            "paused": self.paused,
            "sync": str(self.sync),
            "health": str(self.health),
            "generation": self.generation,
            "observed_generation": self.observed_generation,
            "revision": self.revision,
            "committed": self.committed,
            "path": self.path,
            "template_path": self.template_path,
            "config": dict(self.config),
            "effective_config": dict(self.effective_config),
            "labels": dict(self.labels),
            "description": self.description,
            "conditions": [c.to_json() for c in self.conditions],
            "ticks": self.ticks.to_json(),
            "frozen_with_exposure": self.frozen_with_exposure,
            "real_money": self.real_money,
            "obstacles": [{"reason": str(reason), "message": message} for reason, message in self.obstacles],
            "drawn_at": self.drawn_at,
        }
