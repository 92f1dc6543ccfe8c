"""How the fleet looks where no engine runs: what is applied, told from rows and attempts alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Row
from reconciler.records.status import Health, InstanceStatus, Sync, Ticks


def applied_statuses(rows: Mapping[str, Row], attempts: Mapping[str, Attempt]) -> tuple[InstanceStatus, ...]:
    """A status for every live row, by id. Nothing runs, so nothing is in force: mode off, health Off."""
    return tuple(_status(rows[id_], attempts.get(rows[id_].path)) for id_ in sorted(rows) if rows[id_].is_live)


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
