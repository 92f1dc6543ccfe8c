"""The JSON under `/api/v1/`, built on worker threads, item by item so that no one encoding holds the interpreter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, get_args

from reconciler.clock import Clock, utc
from reconciler.dashboard.query import HIGHEST_LIMIT, Query, QueryRefusal, no_such
from reconciler.dashboard.render import to_json
from reconciler.ports import AccountView, EngineStatus, InstanceFilter, StatusReader, StrategySummary
from reconciler.records.cadence import moment
from reconciler.records.event import EventType
from reconciler.records.record import told_of_removed
from reconciler.records.status import InstanceStatus
from reconciler.store.reader import Reader

Item = Mapping[str, Any]
"""One row, keys as the contract names them, values ready for JSON: money as decimal strings, times ISO 8601."""

EVENT_TYPES: tuple[str, ...] = get_args(EventType)


OWN_ROWS = 20
"""How many of its orders, events and generations an instance comes with; the lists have the rest."""


class Api:
    """Each method is the body of one address."""

    def __init__(self, status: StatusReader, reader: Reader, clock: Clock) -> None:
        self._status = status
        self._reader = reader
        self._clock = clock

    def engine(self, query: Query) -> bytes:
        return to_json(engine_json(self._status.engine()))

    def instances(self, query: Query) -> bytes:
        found, total = self._status.instances(instance_filter(query), query.limit, query.offset)
        changes = self._reader.changes({one.revision for one in found})
        return _items(({**one.to_json(), "change": changes.get(one.revision or "")} for one in found), total)

    def source(self, query: Query) -> bytes:
        return to_json(source_json(self._status.engine(), self._reader))

    def instance(self, query: Query, instance_id: str) -> bytes:
        found = self._status.instance(instance_id)
        if found is None:
            raise no_instance(self._reader, instance_id, "/api/v1/instances")
        return to_json(
            {
                **found.to_json(),
                "change": self._reader.changes((found.revision,)).get(found.revision or ""),
                "origins": dict(self._status.origins(instance_id)),
                "widgets": list(self._status.widgets(instance_id)),
                "logs": list(self._status.logs(instance_id)),
                "holdings": holdings(self._status, self._reader, found),
                "open_orders": list(self._reader.orders(instance_id, is_open=True, limit=HIGHEST_LIMIT)[0]),
                "account_view": account_json(self._status.account(found.account_id, found.client_id)),
                "orders": list(self._reader.orders(instance_id=instance_id, limit=OWN_ROWS)[0]),
                "events": list(self._reader.events(instance_id=instance_id, limit=OWN_ROWS)[0]),
                "history": list(self._reader.history(instance_id, OWN_ROWS, 0)[0]),
            }
        )

    def strategies(self, query: Query) -> bytes:
        found = self._status.strategies()
        page = found[query.offset : query.offset + query.limit]
        return _items((strategy_json(one) for one in page), len(found))

    def strategy(self, query: Query, strategy_type: str) -> bytes:
        found = find_strategy(self._status, strategy_type)
        if found is None:
            raise no_such("strategy", strategy_type, "/api/v1/strategies")
        return to_json(
            {
                **strategy_json(found),
                "config_schema": found.config_schema,
                "instances": list(found.instances),
            }
        )

    def problems(self, query: Query) -> bytes:
        found = self._status.problems()
        return _items((one.to_json() for one in found[query.offset : query.offset + query.limit]), len(found))

    def orders(self, query: Query) -> bytes:
        filters = order_filters(query, utc(self._clock.time()))
        return _items(*self._reader.orders(**filters, limit=query.limit, offset=query.offset))

    def order(self, query: Query, client_order_id: str) -> bytes:
        return to_json(find_order(self._reader, client_order_id))

    def orphans(self, query: Query) -> bytes:
        found = self._status.orphans()
        return _items(found, len(found))

    def limits(self, query: Query) -> bytes:
        found = self._status.limits()
        return _items(found, len(found))

    def events(self, query: Query) -> bytes:
        return _items(*self._reader.events(**dict(query.filters), limit=query.limit, offset=query.offset))


def source_json(engine: EngineStatus, reader: Reader) -> Item:
    """What is followed. Of a work tree: the commit that is checked out, where nothing differs from it."""
    found = reader.source()
    if found is not None and found["kind"] == "git":
        return found
    head = {**(engine.head or {}), "commit": engine.revision, "at": None} if engine.clean and engine.revision else None
    nothing = dict.fromkeys(("branch", "remote", "first", "held", "unreachable_since"))
    return {"kind": engine.source, **nothing, "applied": head, "seen": head, "unreachable": ""}


def instance_filter(query: Query) -> InstanceFilter:
    """The filters of a list of instances, as the status reader takes them."""
    return InstanceFilter(**dict(query.filters))


def is_moment(text: str) -> None:
    """Raises ValueError where it is none, whenever now is."""
    moment(text, utc(0))


def order_filters(query: Query, now: datetime) -> dict[str, Any]:
    """The filters of a list of orders, as the reader takes them."""
    filters: dict[str, Any] = dict(query.filters)
    if "shadow" in filters:
        filters["shadow"] = filters["shadow"] == "true"
    for name in ("since", "until"):
        if name in filters:
            filters[name] = moment(filters[name], now)
    return filters


def find_order(reader: Reader, client_order_id: str) -> Item:
    """The order of that id; 404 where the ledger knows none."""
    found = reader.order(client_order_id)
    if found is None:
        raise no_such("order", client_order_id, "the orders page")
    return found


def no_instance(reader: Reader, instance_id: str, where: str) -> QueryRefusal:
    """404 for an instance that is not there; of one that was, when it went and where its past is."""
    row = reader.row(instance_id)
    if row is None or row.removed_at is None:
        return no_such("instance", instance_id, where)
    told = told_of_removed(row, reader.attempts_of(instance_id))
    return QueryRefusal(404, f"{told}; see: reconciler history {instance_id}")


def find_strategy(status: StatusReader, strategy_type: str) -> StrategySummary | None:
    """The definition of that type, or None where there is none."""
    return next((one for one in status.strategies() if one.strategy_type == strategy_type), None)


def engine_json(engine: EngineStatus) -> dict[str, Any]:
    """`/api/v1/engine`: the engine's own status, names as `EngineStatus` has them."""
    return {one.name: getattr(engine, one.name) for one in fields(engine)}


def holdings(status: StatusReader, reader: Reader, instance: InstanceStatus) -> list[dict[str, Any]]:
    """What an instance holds, really and simulated, valued at the quote that strategies saw last, if any did."""
    return [
        one.to_item(shadow, status.quote(instance.account_id, one.symbol))
        for shadow in (False, True)
        for one in reader.holdings(instance.id, shadow)
    ]


def account_json(view: AccountView) -> dict[str, Any]:
    """What is known of an account; None where nobody asked for it."""
    return {
        "positions": None if view.positions is None else [asdict(one) for one in view.positions],
        "positions_at": view.positions_at,
        "balances": None if view.balances is None else [asdict(one) for one in view.balances],
        "balances_at": view.balances_at,
        "compared_at": view.compared_at,
        "difference": view.difference,
    }


def strategy_json(strategy: StrategySummary) -> dict[str, Any]:
    """An item of `/api/v1/strategies`; a single strategy adds `config_schema` and `instances`."""
    return {
        "strategy_type": strategy.strategy_type,
        "description": strategy.description,
        "path": strategy.path,
        "code_digest": strategy.code_digest,
        "tick_minutes": strategy.tick_minutes,
        "cadence_steps": strategy.cadence_steps,
        "instance_count": len(strategy.instances),
        "problems": [problem.to_json() for problem in strategy.problems],
    }


def _items(items: Iterable[Mapping[str, Any]], total: int) -> bytes:
    return b'{"items":[%b],"total":%d}' % (b",".join(map(to_json, items)), total)
