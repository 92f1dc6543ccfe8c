"""The pages: what each template is given. Built on worker threads."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from operator import attrgetter
from typing import Any, NamedTuple

from reconciler.clock import Clock, iso, utc
from reconciler.dashboard.api import (
    EVENT_TYPES,
    OWN_ROWS,
    Item,
    find_order,
    find_strategy,
    holdings,
    instance_filter,
    no_instance,
    order_filters,
    source_json,
)
from reconciler.dashboard.attention import (
    Concern,
    Surveyor,
    denial_concerns,
    difference_concerns,
    engine_concerns,
    heartbeat_fault,
    limit_concerns,
    orphan_concerns,
)
from reconciler.dashboard.bodies import Page
from reconciler.dashboard.charts import picture
from reconciler.dashboard.query import MONEYS, Query, no_such
from reconciler.dashboard.render import lasting, render, written
from reconciler.documents.wording import Path, spell
from reconciler.orders.order import OrderState, Outcome
from reconciler.ports import FleetSummary, StatusReader
from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Row
from reconciler.records.snapshot import TEMPLATES_FOLDER
from reconciler.records.status import Health, InstanceStatus, Sync, TradingReason
from reconciler.store.reader import Reader


@dataclass(frozen=True, slots=True)
class ConfigLine:
    """`pointer` as problems spell it, below `config` (`levels.step`).

    `as_written` is empty where the schema's default applies. `origin` is the file and line it was written at
    (`instances/a.yaml:7`, or its template's), empty where nobody knows.
    """

    pointer: str
    as_written: str
    effective: str
    is_default: bool
    origin: str = ""


def config_lines(
    config: Mapping[str, Any], effective: Mapping[str, Any], origins: Mapping[str, str]
) -> list[ConfigLine]:
    """Every value in force, maps opened up, in the order of the effective config. `origins` by whole pointers."""
    return list(_lines(config, effective, origins, ()))


_ABSENT = object()


def _lines(
    config: Mapping[str, Any], effective: Mapping[str, Any], origins: Mapping[str, str], above: Path
) -> Iterator[ConfigLine]:
    for key, value in effective.items():
        path = (*above, key)
        own = config.get(key, _ABSENT)
        if isinstance(value, Mapping) and value:
            yield from _lines(own if isinstance(own, Mapping) else {}, value, origins, path)
        elif own is _ABSENT:
            yield ConfigLine(spell(path), "", written(value), is_default=True)
        else:
            origin = origins.get(spell(("config", *path)), "")
            yield ConfigLine(spell(path), written(own), written(value), is_default=False, origin=origin)


class Trace(NamedTuple):
    """A question, and the command that answers it where the fleet's files are."""

    question: str
    command: str


def traces(order: Mapping[str, Any], values: Mapping[str, Any], row: Row | None) -> tuple[Trace, ...]:
    """What to type about the record, its template and its strategy.

    An order's revision is the commit that was checked out, which may have changed anything: of what stood in it, this
    tells the change that counted, and the step of the main line that brought it (the merge, where it was merged; the
    change itself, where it was squashed or pushed). An order that came from no commit has files that may be committed
    by now, or changed again: all that git can tell is how they stand today. `values` is the record as its file had
    it; `row` knows the file's place.
    """
    paths = shlex.join(_paths(order, values, row))
    if not order["revision"]:
        return (
            Trace("What is not committed of them now", f"git status --short -- {paths}"),
            Trace("What differs from the last commit now", f"git diff HEAD -- {paths}"),
            Trace("What was committed of them last", f"git log -1 --stat -- {paths}"),
        )
    revision = shlex.quote(order["revision"])
    return (
        Trace("Who wrote it, and in which change", f"git log -1 --stat {revision} -- {paths}"),
        Trace(
            "Who merged it; a pull request that it names holds the review",
            f"git log -1 --first-parent -m --stat {revision} -- {paths}",
        ),
    )


def _paths(order: Mapping[str, Any], values: Mapping[str, Any], row: Row | None) -> list[str]:
    instance_id, template = order["instance_id"], values.get("template")
    paths = [row.path if row is not None else f"instances/{instance_id}.yaml"]
    if row is not None and row.template_path:
        paths.append(row.template_path)
    elif template:
        paths.append(f"instances/{TEMPLATES_FOLDER}/{template}.yaml")
    if strategy_type := values.get("strategy_type") or (row.record.strategy_type if row is not None else ""):
        paths.append(f"strategies/{strategy_type}.py")
    return paths


FEWEST_REFRESH_S = 1
NO_INSTANCES: Sequence[InstanceStatus] = ()
NO_ROWS: Sequence[Item] = ()
NO_FILES: Sequence[Attempt] = ()
STRATEGY_INSTANCES_SHOWN = 100
FILES_SHOWN = 20
"""Of the files that are no instance yet, on the fleet's first page; the page of problems has them all."""
WORDS = {
    "modes": tuple(Mode),
    "moneys": MONEYS,
    "healths": tuple(Health),
    "syncs": tuple(Sync),
    "outcomes": tuple(Outcome),
    "states": tuple(OrderState),
    "books": ("true", "false"),
    "event_types": EVENT_TYPES,
}


@dataclass(frozen=True, slots=True)
class Paging:
    """Which part of a list is shown, and the addresses of its neighbours; empty where there is none."""

    first: int
    last: int
    total: int
    previous: str
    next: str

    @classmethod
    def of(cls, path: str, query: Query, shown: int, total: int) -> Paging:
        has_next = query.offset + shown < total and shown > 0
        return cls(
            first=query.offset + 1 if shown else 0,
            last=query.offset + shown,
            total=total,
            previous=query.at(query.offset - query.limit).to_url(path) if query.offset else "",
            next=query.at(query.offset + query.limit).to_url(path) if has_next else "",
        )


class Pages:
    """Each method is the body of one page."""

    def __init__(
        self, status: StatusReader, reader: Reader, surveyor: Surveyor, accounts: Accounts, clock: Clock
    ) -> None:
        self._status = status
        self._reader = reader
        self._surveyor = surveyor
        self._accounts = accounts
        self._clock = clock

    def fleet(self, query: Query) -> Page:
        items, total, files = NO_INSTANCES, 0, NO_FILES
        if not query.fault:
            wanted = instance_filter(query)
            items, total = self._status.instances(wanted, query.limit, query.offset)
            files = [] if query.offset else [one for one in self._status.without_instance() if wanted.matches_file(one)]
        survey = self._surveyor.survey()
        return self._page(
            "fleet.html",
            items=items,
            files=files[:FILES_SHOWN],
            files_hidden=max(0, len(files) - FILES_SHOWN),
            query=query,
            paging=Paging.of("/", query, len(items), total),
            concerns=sorted((*self._engine_concerns(survey.fleet), *survey.concerns), key=attrgetter("gravity")),
            concerns_hidden=survey.concern_count - len(survey.concerns),
            survey=survey,
        )

    def instance(self, query: Query, instance_id: str) -> Page:
        found = self._status.instance(instance_id)
        if found is None:
            raise no_instance(self._reader, instance_id, "the fleet page")
        orders, order_count = self._reader.orders(instance_id=instance_id, limit=OWN_ROWS)
        open_orders, open_count = self._reader.orders(instance_id, is_open=True, limit=OWN_ROWS)
        events, event_count = self._reader.events(instance_id=instance_id, limit=OWN_ROWS)
        history, generation_count = self._reader.history(instance_id, OWN_ROWS, 0)
        origins = self._status.origins(instance_id)
        doubts = [one for one in self._status.doubts() if one["instance_id"] == instance_id]
        denials = [one for one in self._status.denials() if one["instance_id"] == instance_id]
        return self._page(
            "instance.html",
            one=found,
            change=self._reader.changes((found.revision,)).get(found.revision or ""),
            config=config_lines(found.config, found.effective_config, origins),
            origins=origins,
            file=history[0].get("values", {}) if history else {},
            problems=self._status.problems(instance_id),
            pictures=[picture(widget) for widget in self._status.widgets(instance_id)],
            logs=self._status.logs(instance_id),
            holdings=holdings(self._status, self._reader, found),
            doubts=doubts,
            denials=denials,
            uncertain=_uncertain(found, len(doubts), len(denials)),
            account=self._status.account(found.account_id, found.client_id),
            open_orders=open_orders,
            open_count=open_count,
            orders=orders,
            order_count=order_count,
            events=events,
            event_count=event_count,
            history=history,
            generation_count=generation_count,
        )

    def strategies(self, query: Query) -> Page:
        found = self._status.strategies()
        items = found[query.offset : query.offset + query.limit]
        return self._page(
            "strategies.html", items=items, paging=Paging.of("/strategies", query, len(items), len(found))
        )

    def strategy(self, query: Query, strategy_type: str) -> Page:
        found = find_strategy(self._status, strategy_type)
        if found is None:
            raise no_such("strategy", strategy_type, "the strategies page")
        return self._page("strategy.html", one=found, shown=found.instances[:STRATEGY_INSTANCES_SHOWN])

    def problems(self, query: Query) -> Page:
        found = self._status.problems()
        items = found[query.offset : query.offset + query.limit]
        return self._page("problems.html", items=items, paging=Paging.of("/problems", query, len(items), len(found)))

    def orders(self, query: Query) -> Page:
        items, total = NO_ROWS, 0
        if not query.fault:
            filters = order_filters(query, utc(self._clock.time()))
            items, total = self._reader.orders(**filters, limit=query.limit, offset=query.offset)
        return self._page(
            "orders.html",
            items=items,
            query=query,
            paging=Paging.of("/orders", query, len(items), total),
            orphans=self._status.orphans(),
        )

    def order(self, query: Query, client_order_id: str) -> Page:
        found = find_order(self._reader, client_order_id)
        origin = self._reader.generation(found["instance_id"], found["generation"])
        values = {} if origin is None else origin["values"]
        doubt = next((one for one in self._status.doubts() if one["client_order_id"] == client_order_id), None)
        return self._page(
            "order.html",
            order=found,
            doubt=doubt,
            in_doubt=doubt is not None or (found["outcome"] == Outcome.UNKNOWN and not found["shadow"]),
            origin=origin,
            change=self._reader.changes((found["revision"],)).get(found["revision"] or ""),
            traces=traces(found, values, self._reader.row(found["instance_id"])),
            denial=next((one for one in self._status.denials() if one["client_order_id"] == client_order_id), None),
        )

    def limits(self, query: Query) -> Page:
        declared = sorted(id_ for id_ in self._accounts.declared if self._accounts.is_declared_paper(id_))
        return self._page("limits.html", items=self._status.limits(), declared_paper=declared)

    def source(self, query: Query) -> Page:
        return self._page("source.html", source=source_json(self._status.engine(), self._reader))

    def events(self, query: Query) -> Page:
        items, total = NO_ROWS, 0
        if not query.fault:
            items, total = self._reader.events(**dict(query.filters), limit=query.limit, offset=query.offset)
        paging = Paging.of("/events", query, len(items), total)
        return self._page("events.html", items=items, query=query, paging=paging)

    def _engine_concerns(self, fleet: FleetSummary) -> list[Concern]:
        engine, problems, orphans = self._status.engine(), self._status.problems(), self._status.orphans()
        accounts = None if fleet.active_accounts is None else map(self._accounts.get, fleet.active_accounts)
        active_on = None if accounts is None else {one.server for one in accounts if one is not None}
        return [
            *engine_concerns(engine, problems, self._clock.time(), active_on),
            *denial_concerns(self._status.denials(), self._accounts),
            *difference_concerns(self._status.differences(), self._accounts),
            *limit_concerns(self._status.limits()),
            *orphan_concerns(orphans, self._accounts),
        ]

    def _page(self, template: str, **values: object) -> Page:
        engine, now_s = self._status.engine(), self._clock.time()
        now = iso(now_s)
        beat_at = None if engine.heartbeat_age_s is None else iso(now_s - engine.heartbeat_age_s)
        body = render(
            template,
            engine=engine,
            heartbeat_fault=heartbeat_fault(engine, now_s),
            beat_at=beat_at,
            now=now,
            refresh_s=max(FEWEST_REFRESH_S, ceil(engine.heartbeat_s)),
            is_real_money=self._is_real_money,
            is_declared_paper=self._accounts.is_declared_paper,
            **WORDS,
            **values,
        )
        headers = {"reconciler-as-of": now, **({"reconciler-beat-at": beat_at} if beat_at else {})}
        return Page(body, lasting(body), headers)

    def _is_real_money(self, account_id: str, then: str | None = None) -> bool:
        """True where the account's money is real; `then`, where it is known, is what it was at the time in question."""
        if then is not None:
            return then == "real"
        return self._accounts.is_real(account_id)


def _uncertain(instance: InstanceStatus, doubts: int, denials: int) -> str:
    """Why what it holds is not known; empty where its own fills tell."""
    reasons = {one.reason for one in instance.obstacles}
    doubts = doubts or int(TradingReason.UNKNOWN_ORDER in reasons)
    told = [
        f"{'one order' if count == 1 else f'{count} orders'} {what}"
        for count, what in ((doubts, "in doubt"), (denials, "denied by the exchange"))
        if count
    ]
    if TradingReason.LEDGER_BEHIND in reasons:
        told.append("the ledger has lost rows")
    return " and ".join(told)
