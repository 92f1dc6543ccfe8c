"""A study: the run that was asked for, and the runs that say what it is worth; all of it as what JSON and report tell.

Beside the run as given: the same with costs doubled, the holdout, and runs whose future is cut off. They are runs of
their own, in processes of their own where there are `jobs`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from heapq import merge
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from reconciler import exact
from reconciler.backtest.course import Drawdown
from reconciler.backtest.dataset import Dataset, most_telling
from reconciler.backtest.figures import (
    DEFINITIONS,
    INSTALL,
    Figures,
    buy_and_hold,
    cents,
    deflated_sharpe,
    figures,
    has_library,
    ratio,
)
from reconciler.backtest.rows import shown
from reconciler.backtest.simulation import InstanceRun, RunPlan, RunResult, Told, independent, run
from reconciler.errors import ReconcilerError
from reconciler.exact import ZERO
from reconciler.orders.order import Order, decimal_text
from reconciler.store.trials import Trials, version_of

_CUTS: Final = (0.35, 0.7)
_LOOK_S: Final = 0.2
"""Between two looks whether Ctrl-C was pressed while others run."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What a study is to find out beside the run. `holdout` is the last part of the time, as a fraction."""

    holdout: float | None = None
    check_lookahead: bool = False
    jobs: int = 1


@dataclass(frozen=True, slots=True)
class Holdout:
    """The part of the data that the run did not see: shown once for each version of a strategy, looks are counted."""

    from_s: float
    to_s: float
    looks: int
    shown: InstanceRun | None
    figures: Figures | None

    def to_json(self) -> dict[str, Any]:
        one, found = self.shown, self.figures
        return {
            "from": shown(self.from_s),
            "to": shown(self.to_s),
            "looks": self.looks,
            "result": None if one is None else cents(one.equity),
            "max_drawdown": None if one is None else cents(one.max_drawdown),
            "sharpe": None if found is None else ratio(found.sharpe),
        }


@dataclass(frozen=True, slots=True)
class Lookahead:
    """What came of cutting the future off: whether every order before each cut was the same."""

    ok: bool
    compared: int
    difference: str

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "orders": self.compared, "difference": self.difference}


@dataclass(frozen=True, slots=True)
class StudiedInstance:
    """One instance, with all that was found out of it."""

    run: InstanceRun
    figures: Figures
    buy_and_hold: Decimal | None
    costs_doubled: Decimal | None
    trials: int
    deflated: float | None
    lookahead: Lookahead | None
    holdout: Holdout | None

    def to_json(self) -> dict[str, Any]:
        one = self.run
        price = one.holding.average_price
        return {
            "id": one.id,
            "orders": len(one.orders),
            "fills": len(one.fills),
            "position": {
                "symbol": one.symbol,
                "quantity": decimal_text(one.holding.quantity),
                "average_price": cents(price),
            },
            "realised_profit": cents(one.holding.realised),
            "fees": cents(one.holding.fees),
            "result": cents(one.equity),
            "max_drawdown": cents(one.max_drawdown),
            "trades": len(one.trades),
            "buy_and_hold": cents(self.buy_and_hold),
            "result_costs_doubled": cents(self.costs_doubled),
            "sharpe": ratio(self.figures.sharpe),
            "deflated_sharpe": ratio(self.deflated),
            "lookahead": None if self.lookahead is None else self.lookahead.to_json(),
            "holdout": None if self.holdout is None else self.holdout.to_json(),
            "equity": [[shown(point.time_s), cents(point.equity)] for point in one.curve],
            "currency": one.currency,
            "errors": one.errors,
            "last_error": one.last_error,
        }


@dataclass(frozen=True, slots=True)
class Study:
    """All of it. `notes` is what to know before believing any of it."""

    plan: RunPlan
    result: RunResult
    instances: tuple[StudiedInstance, ...]
    trials: int
    wanted: Inquiry
    notes: tuple[str, ...]
    totals: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    @property
    def failed(self) -> tuple[InstanceRun, ...]:
        """Those whose strategy raised, never loaded, or was stopped for it."""
        return tuple(one.run for one in self.instances if one.run.errors or one.run.last_error or one.run.ended)

    def assumptions(self) -> dict[str, Any]:
        costs, options = self.plan.costs, self.result.options
        return {
            "mode": "active",
            "fills": "with the next price; limits once traded through, at their limit; the worse end of a candle first",
            "balances": {name: decimal_text(amount) for name, amount in sorted(options.starting.items())},
            "spread": decimal_text(costs.spread) if self.plan.dataset.needs_spread else "as recorded",
            "slippage": decimal_text(costs.slippage),
            "max_volume": decimal_text(costs.max_volume),
            "maker_fee": decimal_text(options.maker_fee),
            "taker_fee": decimal_text(options.taker_fee),
            "fees_in": options.fees_in,
            "shorts": options.shorts,
            "seed": self.plan.seed,
            "holdout": self.wanted.holdout,
            "stopped_at": shown(self.result.until_s) if self.result.was_stopped else None,
            "notes": list(self.notes),
        }

    def to_json(self) -> dict[str, Any]:
        return {
            "data": self.plan.dataset.to_json(),
            "assumptions": self.assumptions(),
            "trials": self.trials,
            "items": [one.to_json() for one in self.instances],
            "totals": self.totals,
        }


def study(
    plan: RunPlan, wanted: Inquiry, trials: Trials, told: Told = bool, should_stop: Callable[[], bool] = bool
) -> Study:
    """Run all of it. Raises NotRunnable, StoreError, ReconcilerError."""
    whole = plan.dataset
    seen = whole if wanted.holdout is None else replace(whole, to_s=_cut(whole, 1 - wanted.holdout))
    plan = replace(plan, dataset=seen)
    cuts = _CUTS if wanted.check_lookahead else ()
    beside = [replace(plan, doubled=True)]
    beside += [replace(plan, dataset=replace(seen, to_s=_cut(seen, share))) for share in cuts]
    if wanted.holdout is not None:
        beside.append(replace(plan, dataset=replace(whole, from_s=seen.to_s)))
    stopped = RawValue("b", 0)
    with ExitStack() as held:
        pool = None
        if wanted.jobs > 1:
            pool = held.enter_context(ProcessPoolExecutor(wanted.jobs - 1, initializer=_begin, initargs=(stopped,)))
            held.callback(pool.shutdown, wait=False, cancel_futures=True)
        parts = _parts(plan, wanted.jobs // (1 + len(beside)))
        folder = Path(held.enter_context(TemporaryDirectory(prefix="backtest-"))) if len(parts) > 1 else None
        mine, *others = _split(plan, parts, folder)
        shares = [_Later(pool, [one]) for one in others]
        later = [_Later(pool, _split(one, parts, folder)) for one in beside]
        results = [run(mine, told, should_stop)]
        stopped.value = results[0].was_stopped
        results += [found for one in shares for found in one.results(should_stop, stopped)]
        result = _together(results, [mine, *others])
        is_whole = not result.was_stopped
        stopped.value = not is_whole
        twice, *more = [one.result(should_stop, stopped) if is_whole else None for one in later]
        cut_off = [found for found in more[: len(cuts)] if found is not None]
        hidden = more[-1] if wanted.holdout is not None else None
        stopped.value = should_stop()
    return _studied(plan, wanted, trials, result, twice, cut_off, hidden)


def _parts(plan: RunPlan, most: int) -> list[set[str]]:
    """The paths of records in so many parts at most, about as many in each, that have nothing to do with each other."""
    parts: list[set[str]] = [set()]
    if most > 1 and len(plan.snapshot.instances) > 1:
        parts = [set() for _ in range(most)]
        for group in sorted(independent(plan), key=lambda paths: (-len(paths), paths)):
            min(parts, key=len).update(group)
    return [part for part in parts if part] or [set()]


def _split(plan: RunPlan, parts: Sequence[set[str]], folder: Path | None) -> list[RunPlan]:
    """The run in these parts; each writes a file into `folder`, where it has to be put together again."""
    if folder is None:
        return [plan]
    taken, files = len(list(folder.iterdir())), plan.snapshot.instances
    found = []
    for number, part in enumerate(parts):
        changes = folder / f"{taken + number}"
        changes.touch()
        snapshot = replace(plan.snapshot, instances=tuple(file for file in files if file.path in part))
        found.append(replace(plan, snapshot=snapshot, changes=changes))
    return found


def _together(results: Sequence[RunResult], plans: Sequence[RunPlan]) -> RunResult:
    """The parts of a run as the one that it would have been; what they summed up to is followed change by change."""
    if len(results) == 1:
        return results[0]
    instances = sorted((one for result in results for one in result.instances), key=lambda one: one.id)
    currencies = {one.id: one.currency for one in instances}
    sums: dict[str, Decimal] = {}
    drawdowns: dict[str, Drawdown] = {}
    for _, id, changed in merge(*(_changes(plan) for plan in plans)):
        currency = currencies[id]
        sums[currency] = exact.add(sums.get(currency, ZERO), changed)
        drawdowns.setdefault(currency, Drawdown()).add(sums[currency])
    peeked = sorted({name for result in results for name in result.peeked})
    return replace(
        results[0],
        instances=tuple(instances),
        beats=sum(result.beats for result in results),
        until_s=min(result.until_s for result in results),
        was_stopped=any(result.was_stopped for result in results),
        drawdowns={currency: drawdown.deepest for currency, drawdown in sorted(drawdowns.items())},
        peeked=tuple(peeked),
        reached=most_telling(name for result in results for name in result.reached if name not in peeked),
        hung=next((result.hung for result in results if result.hung), ""),
    )


def _changes(plan: RunPlan) -> Iterator[tuple[int, str, Decimal]]:
    """The number of the price, the instance, and by how much its equity changed there; in the order of a whole run."""
    assert plan.changes is not None
    with plan.changes.open(encoding="utf-8") as lines:
        for line in lines:
            number, id, changed = line.split()
            yield int(number), id, Decimal(changed)


_stopped: Any = None
"""In a process of the pool: a number that is not 0 once nobody waits for what it does."""


def _begin(stopped: Any) -> None:
    """In a process of the pool: Ctrl-C is for the first one, which says when to stop."""
    global _stopped
    _stopped = stopped
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _run_aside(plan: RunPlan) -> RunResult:
    return run(plan, bool, lambda: bool(_stopped.value))


class _Later:
    """A run, whole or in parts, that is under way in other processes, or is made when it is asked for."""

    def __init__(self, pool: ProcessPoolExecutor | None, plans: Sequence[RunPlan]) -> None:
        self._plans = plans
        self._futures = [] if pool is None else [pool.submit(_run_aside, plan) for plan in plans]

    def result(self, should_stop: Callable[[], bool], stopped: Any) -> RunResult | None:
        """None where it was stopped."""
        if should_stop():
            return None
        found = _together(self.results(should_stop, stopped), self._plans)
        return None if found.was_stopped else found

    def results(self, should_stop: Callable[[], bool], stopped: Any) -> list[RunResult]:
        """Those of the parts; as far as they came where it was stopped."""
        if not self._futures:
            return [run(plan, bool, should_stop) for plan in self._plans]
        try:
            return [self._waited(future, should_stop, stopped) for future in self._futures]
        except BrokenProcessPool:
            raise ReconcilerError("--jobs: a process for the runs beside the first has ended by itself") from None

    def _waited(self, future: Future[RunResult], should_stop: Callable[[], bool], stopped: Any) -> RunResult:
        while True:
            if should_stop():
                stopped.value = 1  # it ends at its next beat
            with suppress(TimeoutError):
                return future.result(_LOOK_S)


def _cut(dataset: Dataset, share: float) -> float:
    return dataset.begin_s + (dataset.end_s - dataset.begin_s) * share


def _studied(
    plan: RunPlan,
    wanted: Inquiry,
    trials: Trials,
    result: RunResult,
    twice: RunResult | None,
    cut_off: Sequence[RunResult],
    unseen: RunResult | None,
) -> Study:
    digest = plan.dataset.digest
    counts: dict[str, int] = {}
    found: list[StudiedInstance] = []
    doubled = {} if twice is None else {one.id: one for one in twice.instances}
    later = {} if unseen is None else {one.id: one for one in unseen.instances}
    for one in result.instances:
        version, said = version_of(one.code_digest, one.config), figures(one)
        tried = trials.note(one.strategy_type, version, digest, None if result.was_stopped else said.per_day)
        counts[one.strategy_type] = tried.count
        hidden = None if unseen is None else later.get(one.id)
        found.append(
            StudiedInstance(
                run=one,
                figures=said,
                buy_and_hold=buy_and_hold(one, result),
                costs_doubled=doubled[one.id].equity if one.id in doubled else None,
                trials=tried.count,
                deflated=deflated_sharpe(said, tried.count, tried.sharpes),
                lookahead=_compared(one, result, cut_off) if wanted.check_lookahead and cut_off else None,
                holdout=None if hidden is None else _held_out(hidden, unseen, trials, version, digest),
            )
        )
    return Study(
        plan, result, tuple(found), sum(counts.values()), wanted, tuple(_notes(plan, result)), _totals(found, result)
    )


def _held_out(hidden: InstanceRun, unseen: RunResult | None, trials: Trials, version: str, digest: str) -> Holdout:
    assert unseen is not None
    is_first, looks = trials.look(hidden.strategy_type, version, digest)
    begin_s = hidden.curve[0].time_s if hidden.curve else unseen.until_s
    said = figures(hidden) if is_first else None
    return Holdout(begin_s, unseen.until_s, looks, hidden if is_first else None, said)


def _compared(one: InstanceRun, result: RunResult, cut_off: Sequence[RunResult]) -> Lookahead:
    """Orders as they were with all of the data, and with the future cut off."""
    count = 0
    if result.peeked:
        return Lookahead(False, 0, f"a strategy opened the data by itself: {', '.join(result.peeked)}")
    for cut in cut_off:
        (other,) = [found for found in cut.instances if found.id == one.id]
        mine = [_asked(order) for order in one.orders if order.created_at.timestamp() < cut.until_s]
        theirs = [_asked(order) for order in other.orders if order.created_at.timestamp() < cut.until_s]
        for index in range(max(len(mine), len(theirs))):
            with_future = mine[index] if index < len(mine) else "no order"
            without = theirs[index] if index < len(theirs) else "no order"
            if with_future != without:
                at = f"cut at {shown(cut.until_s)}: with what came later {with_future}, without it {without}"
                return Lookahead(False, count, at)
            count += 1
    return Lookahead(True, count, "")


def _asked(order: Order) -> str:
    request = order.request
    prices = [decimal_text(price) for price in (request.limit_price, request.stop_price) if price is not None]
    asked = " ".join([request.side, decimal_text(request.quantity), request.type, *prices])
    return f"{shown(order.created_at.timestamp())} {asked}"


def _totals(found: Sequence[StudiedInstance], result: RunResult) -> dict[str, dict[str, str | None]]:
    totals: dict[str, dict[str, str | None]] = {}
    for currency in sorted({one.run.currency for one in found}):
        own = [one for one in found if one.run.currency == currency]
        doubled = [one.costs_doubled for one in own if one.costs_doubled is not None]
        held = [one.buy_and_hold for one in own if one.buy_and_hold is not None]
        totals[currency] = {
            "realised_profit": cents(exact.total(one.run.holding.realised for one in own)),
            "fees": cents(exact.total(one.run.holding.fees for one in own)),
            "result": cents(exact.total(one.run.equity for one in own)),
            "max_drawdown": cents(result.drawdowns.get(currency, ZERO)),
            "buy_and_hold": cents(exact.total(held)) if held else None,
            "result_costs_doubled": cents(exact.total(doubled)) if len(doubled) == len(own) else None,
        }
    return totals


def _notes(plan: RunPlan, result: RunResult) -> list[str]:
    notes = list(plan.dataset.notes)
    for one in result.instances:
        if one.symbol not in plan.dataset.symbols:
            known = ", ".join(sorted(plan.dataset.symbols))
            notes.append(f"{one.id}: no data of {one.symbol}, there are those of {known}: it saw no price")
        if one.ended:
            notes.append(f"{one.id}: {one.ended}: {one.last_error.splitlines()[0] if one.last_error else ''}")
        elif one.last_error:
            notes.append(f"{one.id}: {one.errors:,} failed ticks, the last: {one.last_error.splitlines()[0]}")
    if result.reached:
        notes.append(
            "strategies opened what no backtest can judge, as it may tell of what came later: "
            + ", ".join(result.reached)
        )
    if result.hung:
        notes.append(f"{result.hung}: so it was ended")
    if result.was_stopped:
        notes.append(f"it was stopped at {shown(result.until_s)}: what is told is told until then")
    if not has_library():
        notes.append(f"ratios of returns are not told: {INSTALL}")
    return notes


def definitions() -> Mapping[str, str]:
    """What each figure means."""
    return DEFINITIONS
