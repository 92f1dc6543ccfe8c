"""The instance record: one validated YAML file as a frozen value, and the row that says what is applied. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from reconciler.errors import Problem
from reconciler.records.mode import Mode
from reconciler.records.status import Condition, Health, InstanceStatus, Obstacle, Sync, Ticks

REAL_MONEY_QUOTE_AGE_S: Final = 60
"""How old a quote may be for an order on real money, where the record does not say."""

Values = Mapping[str, Any]
"""Plain values as written: str, int, float, bool, None, list, dict. Never changed in place."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What may never change about an instance."""

    strategy_type: str
    account_id: str
    client_id: str
    market: str


@dataclass(frozen=True, slots=True)
class Limits:
    """The risk envelope; None means no limit. Money and quantities exact, `max_price_deviation` a fraction.

    `takes_any_quote` where the record says `max_quote_age_seconds: null`. Saying nothing, real money has one.
    """

    max_order_notional: Decimal | None = None
    max_position: Decimal | None = None
    max_open_orders: int | None = None
    max_orders_per_minute: int | None = None
    max_daily_loss: Decimal | None = None
    max_price_deviation: Decimal | None = None
    max_quote_age_seconds: int | None = None
    takes_any_quote: bool = False

    def quote_age_s(self, *, real_money: bool) -> int | None:
        """How old a quote may be, or from how far ahead; None where that is no matter."""
        if self.max_quote_age_seconds is not None or self.takes_any_quote:
            return self.max_quote_age_seconds
        return REAL_MONEY_QUOTE_AGE_S if real_money else None


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """A configured, uniquely identified deployment of a strategy definition.

    `config` is what was written; `effective_config` has the schema's defaults filled in. Neither holds a
    secret: where CONFIG_SCHEMA says `writeOnly`, both hold the reference (`{env: NAME}`).
    `values` is the whole file as written, upon what its template holds: what `show` and history print.
    `data_markets` are symbols that it may read besides its own market, and never trades.
    """

    id: str
    identity: Identity
    mode: Mode
    config: Values
    effective_config: Values
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None
    open_orders: Literal["keep", "cancel"] = "keep"
    protect: bool = False
    data_markets: tuple[str, ...] = ()
    limits: Limits = Limits()
    values: Values = field(default_factory=dict)

    @property
    def strategy_type(self) -> str:
        return self.identity.strategy_type


@dataclass(frozen=True, slots=True)
class Row:
    """What is applied for one id: the row of the `instances` table.

    `generation` rises whenever the parsed values change, and only then. `values_digest` is the digest of
    those values, `config_digest` of the effective config, `file_digest` the git blob id of the file,
    `template_digest` that of its template (both template fields are empty where it has none),
    `code_digest` that of the strategy's source which the record was validated against. `mode_override` is
    the lower mode that a file which was otherwise invalid asked for; None where the record's own holds.
    `removed_at` (ISO 8601) marks a tombstone: id and identity are kept, nothing runs.
    """

    record: InstanceRecord
    path: str
    generation: int
    values_digest: str
    config_digest: str
    file_digest: str
    code_digest: str
    revision: str | None
    committed: bool
    applied_at: str
    mode_override: Mode | None = None
    removed_at: str | None = None
    template_path: str = ""
    template_digest: str = ""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def mode(self) -> Mode:
        """The mode in the table: the record's, or the lower one an invalid file asked for."""
        return self.record.mode if self.mode_override is None else self.mode_override

    @property
    def is_live(self) -> bool:
        return self.removed_at is None

    def lowered(self, mode: Mode) -> Row:
        """The same row in a lower mode, everything else as applied."""
        return replace(self, mode_override=mode)

    def status(
        self,
        *,
        sync: Sync,
        real_money: bool,
        obstacles: tuple[Obstacle, ...],
        frozen_with_exposure: bool,
        effective_mode: Mode = Mode.OFF,
        paused: bool = False,
        health: Health = Health.OFF,
        observed_generation: int = 0,
        conditions: tuple[Condition, ...] = (),
        ticks: Ticks | None = None,
        drawn_at: str | None = None,
    ) -> InstanceStatus:
        """How its instance is doing: what the row says, and beside it what the caller knows.

        What may be left out is what is so where nothing runs.
        """
        record, identity = self.record, self.record.identity
        return InstanceStatus(
            id=self.id,
            strategy_type=identity.strategy_type,
            account_id=identity.account_id,
            client_id=identity.client_id,
            market=identity.market,
            mode=self.mode,
            effective_mode=effective_mode,
            paused=paused,
            sync=sync,
            health=health,
            generation=self.generation,
            observed_generation=observed_generation,
            revision=self.revision,
            committed=self.committed,
            path=self.path,
            template_path=self.template_path,
            config=record.config,
            effective_config=record.effective_config,
            labels=record.labels,
            description=record.description,
            conditions=conditions,
            ticks=Ticks() if ticks is None else ticks,
            frozen_with_exposure=frozen_with_exposure,
            real_money=real_money,
            obstacles=obstacles,
            drawn_at=drawn_at,
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """What was last attempted with one file, whatever is applied: the other of the two facts on a record.

    `id` is the one the file claims, None where it could not be read. `message` sums up why `sync` is not
    Synced; `problems` is all of it.
    """

    path: str
    id: str | None
    file_digest: str
    revision: str | None
    sync: Sync
    message: str
    problems: tuple[Problem, ...]
    at: str

    @property
    def stem(self) -> str:
        """The file's name without `.yaml`: the id that it has to claim."""
        return PurePosixPath(self.path).stem

    @property
    def why(self) -> str:
        """Its first problem, and how many more there are; empty where there is none."""
        if not self.problems:
            return ""
        more = f" (and {len(self.problems) - 1:,} more)" if len(self.problems) > 1 else ""
        return f"{self.problems[0]}{more}"


def told_of_removed(row: Row, attempts: Iterable[Attempt]) -> str:
    """What became of a removed instance; `attempts` are those with files that claim its id.

    Where such a file is back and not in force: why, and how to mend it.
    """
    told = f"{row.id} was removed at {row.removed_at}"
    for attempt in attempts:
        if attempt.problems:
            first = attempt.problems[0]
            told += f"; its file is back, and {str(attempt.sync).lower()}: {attempt.why}"
            told += f"; to mend it: {first.hint}" if first.hint else ""
    return told


def without_instance(rows: Iterable[Row], attempts: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The files that have a problem and stand for no instance, by path: new ones, and those of removed instances."""
    applied = {row.path for row in rows if row.is_live}
    return tuple(sorted((one for one in attempts if one.problems and one.path not in applied), key=attrgetter("path")))


ChangeKind = Literal["created", "changed", "lowered", "code", "moved", "revision", "removed", "restored", "drift"]


@dataclass(frozen=True, slots=True)
class RowChange:
    """One change of the desired state: the row as it is from now on, and a line saying what changed.

    `summary` names each changed value, old → new (`config.levels: 5 → 7; mode: observe → active`).
    """

    row: Row
    kind: ChangeKind
    summary: str


def digest(values: Any) -> str:
    """A stable 16-hex-digit digest of plain values, whatever the order of their keys."""
    return hashlib.sha256(_canonical(values).encode()).hexdigest()[:16]


_canonical = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
).encode
