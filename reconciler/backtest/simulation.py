"""One run: the whole engine, by its inline driver, over recorded prices, on a paper exchange that fills with the next.

What trades is what trades live: gateway, limits, ledger, hosts. Here is only what moves its clock and watches.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

from reconciler import exact
from reconciler.backtest.course import Course, CurvePoint, Drawdown, TradeFill, round_trips
from reconciler.backtest.dataset import Dataset, Ear
from reconciler.backtest.rows import BadData
from reconciler.backtest.tape import Costs, Tape, TapeMoment
from reconciler.clock import SimulatedClock, SystemClock
from reconciler.errors import Problem
from reconciler.exact import ZERO
from reconciler.inline import InlineEngine, Sentry, Still, inline_engine
from reconciler.orders.holding import Holding
from reconciler.orders.market import market_currency
from reconciler.orders.order import Order, Outcome, RejectedBy
from reconciler.paper.account import PaperOptions
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.paper_order import SYMBOL
from reconciler.records.cadence import beat_at, beat_time
from reconciler.records.mode import Mode
from reconciler.records.record import Values
from reconciler.records.snapshot import Snapshot
from reconciler.settings.loading import load

_ONE: Final = Decimal(1)
_TWO: Final = Decimal(2)
_TOLD_AFTER: Final = 50
"""Beats between two words of how far it is."""
_FORGOTTEN_AFTER: Final = 50
_HEARD: Final = 1_000
"""So many prices are kept until a beat is over, at most."""
_SETTLED_BEATS: Final = 3
"""So many beats after something happened at the exchange it is in the books."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What one run is to do. `balances` begin each account, by currency; the settings' where empty."""

    root: Path
    snapshot: Snapshot
    dataset: Dataset
    balances: Mapping[str, Decimal]
    costs: Costs
    seed: str
    doubled: bool = False
    changes: Path | None = None
    """Where each change of an instance's equity is written to, for who adds up several runs."""

    @property
    def paid(self) -> Costs:
        """What trading costs in this run."""
        if not self.doubled:
            return self.costs
        twice = (exact.multiply(self.costs.spread, _TWO), exact.multiply(self.costs.slippage, _TWO))
        return replace(self.costs, spread=twice[0], slippage=twice[1], widening=_TWO)


@dataclass(frozen=True, slots=True)
class InstanceRun:
    """What became of one instance. `ended` says why it stopped ticking before the end, empty where it did not."""

    id: str
    strategy_type: str
    account_id: str
    symbol: str
    currency: str
    code_digest: str
    config: Values
    orders: tuple[Order, ...]
    fills: tuple[TradeFill, ...]
    holding: Holding
    equity: Decimal
    max_drawdown: Decimal
    at_work: Decimal
    days: tuple[tuple[int, Decimal], ...]
    curve: tuple[CurvePoint, ...]
    capital: Decimal
    first_ask: Decimal | None
    last_bid: Decimal | None
    ticks: int
    errors: int
    last_error: str
    ended: str = ""

    @property
    def rejected(self) -> int:
        return sum(order.outcome is Outcome.REJECTED for order in self.orders)

    @property
    def refused(self) -> Mapping[str, int]:
        """Why orders were refused, and how often each."""
        found: dict[str, int] = defaultdict(int)
        for order in self.orders:
            if order.outcome is Outcome.REJECTED:
                by = "the engine" if order.rejected_by is RejectedBy.GATEWAY else "the exchange"
                found[f"{by}: {order.reason}"] += 1
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    @property
    def trades(self) -> Sequence[Any]:
        return round_trips(self.fills, self.currency)


@dataclass(frozen=True, slots=True)
class RunResult:
    """All of one run. `until_s` is how far it came; `drawdowns` are of the summed equity, by currency."""

    instances: tuple[InstanceRun, ...]
    beats: int
    until_s: float
    was_stopped: bool
    drawdowns: Mapping[str, Decimal]
    options: PaperOptions
    peeked: tuple[str, ...] = ()
    """Files of data that strategies opened by themselves, and copies of them."""
    reached: tuple[str, ...] = ()
    """Whatever else they opened, which may tell of the future."""
    hung: str = ""
    """The hook that did not end, and the run with it."""


class NotRunnable(BadData):
    """What is to run has problems: they say where and what."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(f"{one} ({one.hint})" if one.hint else str(one) for one in problems))
        self.problems = tuple(problems)


Told = Callable[[float], object]
"""Told from time to time what part of the run is done, 0 to 1."""


def run(plan: RunPlan, told: Told = bool, should_stop: Callable[[], bool] = bool) -> RunResult:
    """Run it to its end, or until `should_stop`. Raises NotRunnable, ReconcilerError."""
    with _loaded(plan) as one, nullcontext() if plan.changes is None else plan.changes.open("w") as changes:
        watch = _Watch(one.engine, one.tape, one.named, changes)
        if unknown := watch.unpriced():
            raise NotRunnable(unknown)
        span = plan.dataset.begin_s, plan.dataset.end_s
        is_over = partial(_is_over, one.sentry, should_stop)
        was_stopped = _drive(one.engine, one.clock, one.tape, one.exchange, watch, span, told, is_over)
        result = watch.result(one.clock.time(), was_stopped, one.options)
        return replace(result, hung=one.sentry.hung, peeked=one.ear.peeked(), reached=one.ear.reached())


def independent(plan: RunPlan) -> tuple[tuple[str, ...], ...]:
    """The paths of records in groups: none shares with another group an account, a limit above the instances, or the
    volume of a market. Each group trades as it would among all. Raises as `run`."""
    groups: list[tuple[set[str], list[str]]] = []
    with _loaded(plan) as one:
        accounts, markets = one.engine.parts.settings.accounts, one.options.markets
        rows = sorted(one.engine.store.desired.rows().items())
        for row in (row for _, row in rows if row.is_live):
            identity, series = row.record.identity, plan.dataset.of(row.record.identity.market)
            ties = {f"account {identity.account_id}", *(["throttle"] if accounts.throttle else [])}
            ties |= {str(one) for one in accounts.above if one.covers(identity.account_id, row.record.labels)}
            has_volume = series is not None and series.kind == "candles" and series.missing_volume < series.rows
            if has_volume or markets.of(identity.market).depth is not None:
                ties.add(f"market {identity.market}")
            paths = [row.path]
            for tied in [group for group in groups if group[0] & ties]:
                groups.remove(tied)
                ties, paths = ties | tied[0], [*tied[1], *paths]
            groups.append((ties, paths))
    return tuple(tuple(sorted(paths)) for _, paths in groups)


class _Loaded(NamedTuple):
    """An engine whose fleet is loaded, at the beginning, and what moves and watches it."""

    engine: InlineEngine
    clock: SimulatedClock
    tape: Tape
    exchange: PaperExchange
    options: PaperOptions
    named: Mapping[str, str]
    sentry: Sentry
    ear: Ear


@contextmanager
def _loaded(plan: RunPlan) -> Iterator[_Loaded]:
    """Raises NotRunnable, ReconcilerError."""
    dataset = plan.dataset
    settings = load(plan.root, os.environ)
    clock = SimulatedClock(dataset.begin_s)
    tape = Tape(dataset.rows(), {one.symbol: one.step_s for one in dataset.series if one.kind == "candles"}, plan.paid)
    tape.step_at(dataset.begin_s)
    accounts = settings.accounts.declared.values()
    named = {symbol: currency for account in accounts for symbol, currency in account.markets.items()}
    currencies = {symbol: market_currency(symbol, named) for symbol in sorted(dataset.symbols)}
    options = _options(plan, settings.paper.site(settings.heartbeat_seconds, None).options, currencies)
    exchange = PaperExchange(tape, clock, options)
    sentry = Sentry(settings.host_options(), SystemClock())
    source, ear = Still(plan.snapshot), Ear(dataset.files)
    with (
        ear.listening(),
        inline_engine(settings, clock, exchange, source, seed=plan.seed, mode=Mode.ACTIVE, sentry=sentry) as engine,
    ):
        if problems := engine.problems():
            raise NotRunnable(problems)
        yield _Loaded(engine, clock, tape, exchange, options, named, sentry, ear)


def _is_over(sentry: Sentry, should_stop: Callable[[], bool]) -> bool:
    return bool(sentry.hung) or should_stop()


def _options(plan: RunPlan, usual: PaperOptions, currencies: Mapping[str, str]) -> PaperOptions:
    times = _TWO if plan.doubled else _ONE
    return replace(
        usual,
        maker_fee=exact.multiply(usual.maker_fee, times),
        taker_fee=exact.multiply(usual.taker_fee, times),
        starting=dict(plan.balances) or usual.starting,
        default_starting=ZERO if plan.balances else usual.default_starting,
        fills="next",
        priced_in={symbol: name for symbol, name in currencies.items() if name and not SYMBOL.fullmatch(symbol)},
    )


def _drive(
    engine: InlineEngine,
    clock: SimulatedClock,
    tape: Tape,
    exchange: PaperExchange,
    watch: _Watch,
    span: tuple[float, float],
    told: Told,
    should_stop: Callable[[], bool],
) -> bool:
    """Beat after beat to the end; True where it was stopped before."""
    heartbeat_s = engine.parts.settings.heartbeat_seconds
    begin_s, end_s = span
    was_stopped, number = False, 0
    while (beat := _next_beat(engine, clock, tape, heartbeat_s)) is not None:
        at_s = beat_time(beat, heartbeat_s)
        if at_s > end_s:
            break
        clock.move_to(at_s)
        engine.beat()  # which has the exchange look, too
        watch.after_beat(exchange.changes)
        number += 1
        if number % _FORGOTTEN_AFTER == 0:
            tape.forget(exchange.look())
        if number % _TOLD_AFTER == 0:
            told((at_s - begin_s) / max(end_s - begin_s, 1.0))
        if should_stop():
            was_stopped = True
            break
    if not was_stopped:
        clock.move_to(max(end_s, clock.time()))
        exchange.look()
    told(1.0)
    return was_stopped


def _next_beat(engine: InlineEngine, clock: SimulatedClock, tape: Tape, heartbeat_s: float) -> int | None:
    """The next beat at which anything happens: who is due, or a price that an order or a limit waits for."""
    now, is_busy = beat_at(clock.time(), heartbeat_s), engine.gateway.is_busy()
    if engine.parts.controller.is_retrying or (is_busy and engine.gateway.is_watching(prices_stand=True)):
        return now + 1
    due = engine.host.next_due(now)
    if not is_busy:
        return due
    price_s = tape.next_s()
    if price_s is None:
        return due
    told = max(now + 1, math.ceil(price_s / heartbeat_s))
    return told if due is None else min(due, told)


@dataclass(slots=True)
class _Seen:
    """The first and the last price of a symbol within the run."""

    first_ask: Decimal
    last_bid: Decimal


class _Watch:
    """Measures all instances at every price, and sums them up by currency."""

    def __init__(
        self, engine: InlineEngine, tape: Tape, named: Mapping[str, str], changes: TextIO | None = None
    ) -> None:
        self._engine = engine
        self._written = changes
        self._marked = 0
        self._rows = {id: row for id, row in engine.store.desired.rows().items() if row.is_live}
        self._courses = {
            id: Course(id, symbol, Holding(symbol), market_currency(symbol, named))
            for id, row in sorted(self._rows.items())
            for symbol in [row.record.identity.market]
        }
        self._by_symbol: dict[str, list[Course]] = defaultdict(list)
        for course in self._courses.values():
            self._by_symbol[course.symbol].append(course)
        self._seen: dict[str, _Seen] = {}
        self._heard: list[tuple[str, TapeMoment]] = []
        self._sums: dict[str, Decimal] = defaultdict(lambda: ZERO)
        self._drawdowns: dict[str, Drawdown] = defaultdict(Drawdown)
        self._changes, self._unsettled = 0, 0
        tape.heard = self.heard

    def unpriced(self) -> list[Problem]:
        """The instances of whose market nobody says what its prices are in."""
        found = []
        for id, course in self._courses.items():
            if not course.currency:
                account = self._rows[id].record.identity.account_id
                told = f"expected to know what prices of {course.symbol} are in, was told nowhere"
                mend = f"name it in the settings, at account {account}: `markets: {{{course.symbol}: USD}}`"
                found.append(Problem(self._rows[id].path, 0, 0, "market", told, mend, "currency"))
        return found

    def heard(self, symbol: str, moment: TapeMoment) -> None:
        """Keep it until the beat is over: what was filled by then is in the books, and a stop within a candle comes
        before its close."""
        self._heard.append((symbol, moment))
        if len(self._heard) >= _HEARD:
            self._measure()  # nobody was due for long, and nothing waits

    def _measure(self) -> None:
        for symbol, moment in self._heard:
            self._mark(symbol, moment)
        self._heard.clear()

    def _mark(self, symbol: str, moment: TapeMoment) -> None:
        self._marked += 1
        seen = self._seen.get(symbol)
        if seen is None:
            self._seen[symbol] = _Seen(moment.ask, moment.bid)
        else:
            seen.last_bid = moment.bid
        for course in self._by_symbol.get(symbol, ()):
            changed = course.mark(moment.time_s, moment.bid, moment.ask)
            if changed:
                currency = course.currency
                self._sums[currency] = exact.add(self._sums[currency], changed)
                self._drawdowns[currency].add(self._sums[currency])
                if self._written is not None:
                    self._written.write(f"{self._marked} {course.id} {changed}\n")

    def after_beat(self, changes: int) -> None:
        """Take up what was filled; `changes` is how often anything has happened at the exchange."""
        if changes != self._changes:
            self._changes, self._unsettled = changes, _SETTLED_BEATS
        if self._unsettled:
            self._unsettled -= 1
            self._take_up()
        self._measure()

    def _take_up(self) -> None:
        ledger = self._engine.store.ledger
        for id, course in self._courses.items():
            holding = ledger.holding(id, course.symbol, False)
            if holding is not course.holding:
                course.hold(holding)

    def result(self, until_s: float, was_stopped: bool, options: PaperOptions) -> RunResult:
        self._take_up()
        self._measure()
        instances = tuple(self._instance(id, options) for id in self._courses)
        drawdowns = {currency: drawdown.deepest for currency, drawdown in sorted(self._drawdowns.items())}
        return RunResult(instances, self._engine.beats, until_s, was_stopped, drawdowns, options)

    def _instance(self, id: str, options: PaperOptions) -> InstanceRun:
        course, row, ledger = self._courses[id], self._rows[id], self._engine.store.ledger
        orders, filled = tuple(reversed(ledger.recent(id, 10**9, False))), ledger.all_fills(id)
        fills = [
            TradeFill(
                fill.at, order.side, fill.quantity, fill.price or ZERO, fill.fee or ZERO,
                fill.fee_currency or course.currency, order.client_order_id,
            )
            for order in orders
            for fill in filled.get(order.client_order_id, ())
        ]  # fmt: skip
        seen = self._seen.get(course.symbol)
        if seen is not None and course.curve.points():
            point = course.curve.points()[-1]
            course.mark(point.time_s, seen.last_bid, seen.last_bid)
        facts = self._engine.host.facts(id)
        identity = row.record.identity
        quarantined = facts is not None and facts.pause is not None and facts.pause.by == "engine"
        return InstanceRun(
            id=id,
            strategy_type=identity.strategy_type,
            account_id=identity.account_id,
            symbol=course.symbol,
            currency=course.currency,
            code_digest=row.code_digest,
            config=row.record.config,
            orders=orders,
            fills=tuple(sorted(fills, key=lambda fill: fill.at)),
            holding=course.holding,
            equity=course.equity,
            max_drawdown=course.drawdown.deepest,
            at_work=course.at_work,
            days=course.days,
            curve=course.curve.points(),
            capital=options.starting.get(course.currency, options.default_starting),
            first_ask=None if seen is None else seen.first_ask,
            last_bid=None if seen is None else seen.last_bid,
            ticks=0 if facts is None else facts.ticks.count,
            errors=0 if facts is None else facts.ticks.errors,
            last_error="" if facts is None else facts.last_error,
            ended="paused after five failed ticks in a row" if quarantined else "",
        )
