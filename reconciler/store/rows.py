"""Desired state as columns, and back: instances, generations, attempts. What comes out equals what went in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reconciler.errors import Problem, StoreError
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Identity, InstanceRecord, Limits, Row, RowChange
from reconciler.records.status import Sync
from reconciler.records.text import storable
from reconciler.store.text import decimal_or_none, decimal_text_or_none, json_text

Columns = dict[str, Any]


def instance_columns(row: Row) -> Columns:
    record = row.record
    identity = record.identity
    return {
        "id": record.id,
        "strategy_type": identity.strategy_type,
        "account_id": identity.account_id,
        "client_id": identity.client_id,
        "market": identity.market,
        "mode": record.mode.value,
        "mode_override": None if row.mode_override is None else row.mode_override.value,
        "config": json_text(record.config),
        "effective_config": json_text(record.effective_config),
        "description": record.description,
        "labels": json_text(record.labels),
        "template": record.template,
        "open_orders": record.open_orders,
        "protect": int(record.protect),
        "limits": _limits_text(record.limits),
        "values": json_text(record.values),
        "path": row.path,
        "generation": row.generation,
        "values_digest": row.values_digest,
        "config_digest": row.config_digest,
        "file_digest": row.file_digest,
        "code_digest": row.code_digest,
        "revision": row.revision,
        "committed": int(row.committed),
        "applied_at": row.applied_at,
        "removed_at": row.removed_at,
        "template_path": row.template_path,
        "template_digest": row.template_digest,
    }


def row_from(columns: Mapping[str, Any]) -> Row:
    """Raises StoreError, naming the row, where a hand left there what no engine writes."""
    try:
        return _row_from(columns)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise StoreError(
            f"instances: row {columns['id']!r} cannot be read ({error}): "
            "undo the edit that was made to it by hand, or restore a backup"
        ) from error


def _row_from(columns: Mapping[str, Any]) -> Row:
    override = columns["mode_override"]
    return Row(
        record=InstanceRecord(
            id=columns["id"],
            identity=Identity(
                strategy_type=columns["strategy_type"],
                account_id=columns["account_id"],
                client_id=columns["client_id"],
                market=columns["market"],
            ),
            mode=Mode(columns["mode"]),
            config=json.loads(columns["config"]),
            effective_config=json.loads(columns["effective_config"]),
            description=columns["description"],
            labels=json.loads(columns["labels"]),
            template=columns["template"],
            open_orders=columns["open_orders"],
            protect=bool(columns["protect"]),
            limits=_limits_from(columns["limits"]),
            values=json.loads(columns["values"]),
        ),
        path=columns["path"],
        generation=columns["generation"],
        values_digest=columns["values_digest"],
        config_digest=columns["config_digest"],
        file_digest=columns["file_digest"],
        code_digest=columns["code_digest"],
        revision=columns["revision"],
        committed=bool(columns["committed"]),
        applied_at=columns["applied_at"],
        mode_override=None if override is None else Mode(override),
        removed_at=columns["removed_at"],
        template_path=columns["template_path"],
        template_digest=columns["template_digest"],
    )


def generation_columns(change: RowChange, instance: Columns) -> Columns:
    """The history entry of `change`; `instance` are the columns of its row, which it shares text with."""
    row = change.row
    return {
        "instance_id": row.id,
        "generation": row.generation,
        "kind": change.kind,
        "summary": storable(change.summary),
        "at": row.applied_at,
        "revision": row.revision,
        "committed": instance["committed"],
        "mode": row.mode.value,
        "code_digest": row.code_digest,
        "values": instance["values"],
    }


def attempt_columns(attempt: Attempt) -> Columns:
    return {
        "path": attempt.path,
        "instance_id": attempt.id,
        "file_digest": attempt.file_digest,
        "revision": attempt.revision,
        "sync": attempt.sync.value,
        "message": storable(attempt.message),
        "problems": storable(json_text([problem.to_json() for problem in attempt.problems])),
        "at": attempt.at,
    }


def attempt_from(columns: Mapping[str, Any]) -> Attempt:
    return Attempt(
        path=columns["path"],
        id=columns["instance_id"],
        file_digest=columns["file_digest"],
        revision=columns["revision"],
        sync=Sync(columns["sync"]),
        message=columns["message"],
        problems=tuple(Problem(**problem) for problem in json.loads(columns["problems"])),
        at=columns["at"],
    )


_NO_LIMITS = Limits()


def _limits_text(limits: Limits) -> str:
    if limits == _NO_LIMITS:
        return "{}"
    written = {
        "max_order_notional": decimal_text_or_none(limits.max_order_notional),
        "max_position": decimal_text_or_none(limits.max_position),
        "max_open_orders": limits.max_open_orders,
        "max_orders_per_minute": limits.max_orders_per_minute,
        "max_daily_loss": decimal_text_or_none(limits.max_daily_loss),
        "max_price_deviation": decimal_text_or_none(limits.max_price_deviation),
        "max_quote_age_seconds": limits.max_quote_age_seconds,
    }
    said = {name: value for name, value in written.items() if value is not None}
    return json_text({**said, "max_quote_age_seconds": None} if limits.takes_any_quote else said)


def _limits_from(text: str) -> Limits:
    if text == "{}":
        return _NO_LIMITS
    written = json.loads(text)
    return Limits(
        max_order_notional=decimal_or_none(written.get("max_order_notional")),
        max_position=decimal_or_none(written.get("max_position")),
        max_open_orders=written.get("max_open_orders"),
        max_orders_per_minute=written.get("max_orders_per_minute"),
        max_daily_loss=decimal_or_none(written.get("max_daily_loss")),
        max_price_deviation=decimal_or_none(written.get("max_price_deviation")),
        max_quote_age_seconds=written.get("max_quote_age_seconds"),
        takes_any_quote=written.get("max_quote_age_seconds", 0) is None,
    )
