"""A plan for machines, as `schemas/plan.schema.json` describes it. Pure.

Values stay what they are: decimal strings are strings, and nothing is shortened. Secrets are left out.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.review.plan import sentences as wording
from reconciler.review.plan.differences import ABSENT, Difference, Hidden
from reconciler.review.plan.model import Change, FleetPlan, HaltChange, Point, Refused, RunsOn
from reconciler.review.plan.outlook import Stake
from reconciler.visible import storable

VERSION: Final = 1
"""Rises when what is there changes its meaning; new keys may come without."""


def render(plan: FleetPlan) -> str:
    return storable(json.dumps(to_json(plan), indent=2, ensure_ascii=False))


def to_json(plan: FleetPlan) -> dict[str, Any]:
    return {
        "version": VERSION,
        "summary": wording.count_line(plan),
        "before": _point(plan.before),
        "after": _point(plan.after),
        "basis": [str(said) for said in plan.basis],
        "raises": list(plan.raises),
        "active_changes": list(plan.active_changes),
        "changes": [_change(change) for change in plan.changes],
        "refused": [_refused(found) for found in plan.refused],
        "held": {
            "protected": [_standing(one) for one in plan.held.protected],
            "too_many": [_standing(one) for one in plan.held.too_many],
            "waiting": [_standing(one) for one in plan.held.waiting],
            "digest": plan.held.digest or None,
        },
        "code": [
            {
                "strategy_type": found.strategy_type,
                "before": found.old,
                "after": found.new,
                "reloads": [_standing(one) for one in found.reloads],
                "keeps": [_standing(one) for one in found.keeps],
                "link": found.link,
            }
            for found in plan.code
        ],
        "halts": [_halt(found) for found in plan.halts],
        "commits": [{**found.change.to_json(), "lacking": found.lacking or None} for found in plan.commits],
        "settings": {
            "changed": plan.settings.changed,
            "limits": [_difference(found) for found in plan.settings.limits],
            "accounts": [
                {
                    "account_id": found.account_id,
                    "kind": found.kind,
                    "details": [str(detail) for detail in found.details],
                    "instances": list(found.instances),
                }
                for found in plan.settings.accounts
            ],
        },
    }


def _point(point: Point) -> dict[str, Any]:
    return {"label": point.label, "revision": point.revision}


def _change(change: Change) -> dict[str, Any]:
    identity = change.row.record.identity
    code = change.code
    return {
        "id": change.id,
        "section": str(change.section),
        "effect": change.effect,
        "strategy_type": identity.strategy_type,
        "account": {"account_id": identity.account_id, "client_id": identity.client_id, "money": change.money},
        "server": change.server,
        "market": identity.market,
        "mode": {"before": _mode(change.mode_before), "after": _mode(change.mode_after), "place": change.mode_place},
        "path": {"before": _path(change.before), "after": _path(change.after)},
        "committed": change.row.committed,
        "limits": _limits(change.row),
        "reasons": [str(reason) for reason in change.reasons],
        "evidence": [str(evidence) for evidence in change.evidence],
        "warnings": [str(warning) for warning in change.warnings],
        "differences": [_difference(found) for found in change.differences],
        "code": None if code is None else {"before": code[0], "after": code[1]},
        "config": [{"pointer": one.pointer, **_side(one.value, one.origin)} for one in change.config],
        "account_sum": None if change.account is None else str(change.account),
        "stake": None if change.stake is None else _stake(change.stake),
    }


def _stake(stake: Stake) -> dict[str, Any]:
    def money(value: Decimal | None) -> str | None:
        return None if value is None else f"{value:f}"

    return {
        "position": money(stake.position),
        "position_worth": money(stake.worth(stake.position)),
        "open_orders": stake.open_orders,
        "open_worth": money(stake.worth(stake.open_quantity)),
        "largest_order": money(stake.largest),
        "largest_worth": money(stake.worth(stake.largest)),
        "currency": stake.currency,
        "price": money(stake.price),
        "price_at": stake.price_at or None,
        "account_worth": {currency: money(amount) for currency, amount in stake.account.items()},
        "account_unpriced": list(stake.unpriced),
    }


def _limits(row: Row) -> dict[str, Any]:
    written = row.record.values.get("limits", {})
    return {key: value for key, value in written.items() if not key.startswith("x-")}


def _mode(mode: Mode | None) -> str | None:
    return None if mode is None else str(mode)


def _path(row: Row | None) -> str | None:
    return None if row is None else row.path


def _difference(found: Difference) -> dict[str, Any]:
    sides = (("before", found.old, found.old_origin), ("after", found.new, found.new_origin))
    written = {name: _side(value, origin) for name, value, origin in sides if value is not ABSENT}
    return {"pointer": found.pointer, **written, "limit": found.limit}


def _side(value: Any, origin: str) -> dict[str, Any]:
    if isinstance(value, Hidden):
        return {"hidden": True, "origin": origin}
    return {"value": _shown(value), "origin": origin}


def _shown(value: Any) -> Any:
    """The value, null for what is hidden inside of it."""
    if isinstance(value, dict):
        return {key: _shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner) for inner in value]
    return None if isinstance(value, Hidden) else value


def _refused(found: Refused) -> dict[str, Any]:
    return {
        "path": found.path,
        "id": found.id,
        "kind": found.kind,
        "message": found.message,
        "problems": [problem.to_json() for problem in found.problems],
        "runs_on": None if found.runs_on is None else _standing(found.runs_on),
    }


def _standing(found: RunsOn) -> dict[str, Any]:
    return {"id": found.id, "mode": str(found.mode), "account_id": found.account_id, "money": found.money}


def _halt(found: HaltChange) -> dict[str, Any]:
    halt = found.halt
    return {"kind": found.kind, "scope": halt.scope, "id": halt.id or None, "full": halt.full, "reason": halt.reason}
