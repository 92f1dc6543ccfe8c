"""How the fleet looks where no engine runs: what is applied, told from rows and attempts alone. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from reconciler.records.accounts import Accounts
from reconciler.records.record import Attempt, Row
from reconciler.records.status import InstanceStatus, Obstacle, Sync, TradingReason

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
        row.status(
            sync=Sync.OUT_OF_SYNC if (attempt := attempts.get(row.path)) is None else attempt.sync,
            real_money=accounts.is_real(row.record.identity.account_id),
            obstacles=(NOTHING_RUNS, *map(_doubted, doubts.get(id_, ()))),
            frozen_with_exposure=id_ in exposed,
        )
        for id_, row in sorted(rows.items())
        if row.is_live
    )


def _doubted(client_order_id: str) -> Obstacle:
    return Obstacle(TradingReason.UNKNOWN_ORDER, f"it is not known whether {client_order_id} was placed")
