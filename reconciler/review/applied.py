"""How the fleet looks where no engine runs: what is applied, told from rows and attempts alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Row
from reconciler.records.status import Health, InstanceStatus, Obstacle, Sync, Ticks, TradingReason

ANY = Accounts()
NONE: Mapping[str, Sequence[str]] = MappingProxyType({})
NOTHING_RUNS = Obstacle(TradingReason.MODE, "no engine is running")


def applied_statuses(
    rows: Mapping[str, Row],
    attempts: Mapping[str, Attempt],
    exposed: Collection[str] = (),
    doubts: Mapping[str, Sequence[str]] = NONE,
    accounts: Accounts = ANY,
) -> tuple[InstanceStatus, ...]:
    """A status for every live row, by id. Nothing runs, so nothing is in force: mode off, health Off.

    `exposed` are the ids of those with open orders or a position, which nobody acts on; `doubts` the orders, by
    instance, of which nobody knows whether they were placed.
    """
    return tuple(
        replace(
            _status(rows[id_], attempts.get(rows[id_].path)),
            frozen_with_exposure=id_ in exposed,
            obstacles=(NOTHING_RUNS, *map(_doubted, doubts.get(id_, ()))),
            real_money=accounts.is_real(rows[id_].record.identity.account_id),
        )
        for id_ in sorted(rows)
        if rows[id_].is_live
    )


def _doubted(client_order_id: str) -> Obstacle:
    return Obstacle(TradingReason.UNKNOWN_ORDER, f"it is not known whether {client_order_id} was placed")


def _status(row: Row, attempt: Attempt | None) -> InstanceStatus:
    record = row.record
    return InstanceStatus(
        id=row.id,
        strategy_type=record.strategy_type,
        account_id=record.identity.account_id,
        client_id=record.identity.client_id,
        market=record.identity.market,
        mode=row.mode,
        effective_mode=Mode.OFF,
        paused=False,
        sync=Sync.OUT_OF_SYNC if attempt is None else attempt.sync,
        health=Health.OFF,
        generation=row.generation,
        observed_generation=0,
        revision=row.revision,
        committed=row.committed,
        path=row.path,
        template_path=row.template_path,
        config=record.config,
        effective_config=record.effective_config,
        labels=record.labels,
        description=record.description,
        conditions=(),
        ticks=Ticks(),
    )
