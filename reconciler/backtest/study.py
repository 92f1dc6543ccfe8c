"""A study: the run that was asked for, and the runs that say what it is worth; all of it as what JSON and report tell.

Beside the run as given: the same with costs doubled, the holdout, and runs whose future is cut off. They are runs of
their own, in processes of their own where there are `jobs`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from multiprocessing.sharedctypes import RawValue
from typing import Any, Final

from reconciler import exact
from reconciler.backtest.dataset import Dataset
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
from reconciler.backtest.simulation import InstanceRun, RunPlan, RunResult, Told, run
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
    stopped = RawValue("b", 0)
    with ExitStack() as held:
        pool = None
        if wanted.jobs > 1:
            pool = held.enter_context(ProcessPoolExecutor(wanted.jobs - 1, initializer=_begin, initargs=(stopped,)))
            held.callback(pool.shutdown, wait=False, cancel_futures=True)
        doubled = _Later(pool, replace(plan, doubled=True))
        cuts = [
            _Later(pool, replace(plan, dataset=replace(seen, to_s=_cut(seen, share))))
            for share in (_CUTS if wanted.check_lookahead else ())
        ]
        later = replace(plan, dataset=replace(whole, from_s=seen.to_s)) if wanted.holdout is not None else None
        unseen = None if later is None else _Later(pool, later)
        result = run(plan, told, should_stop)
        is_whole = not result.was_stopped
        stopped.value = not is_whole
        twice = doubled.result(should_stop) if is_whole else None
        cut_off = [found for one in cuts if (found := one.result(should_stop)) is not None] if is_whole else []
        hidden = unseen.result(should_stop) if unseen is not None and is_whole else None
        stopped.value = should_stop()
    return _studied(plan, wanted, trials, result, twice, cut_off, hidden)


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
    """A run that is under way in another process, or is made when it is asked for."""

    def __init__(self, pool: ProcessPoolExecutor | None, plan: RunPlan) -> None:
        self._plan = plan
        self._future: Future[RunResult] | None = None if pool is None else pool.submit(_run_aside, plan)

    def result(self, should_stop: Callable[[], bool]) -> RunResult | None:
        """None where it was stopped."""
        if should_stop():
            return None
        try:
            found = (
                run(self._plan, bool, should_stop) if self._future is None else self._waited(self._future, should_stop)
            )
        except BrokenProcessPool:
            raise ReconcilerError("--jobs: a process for the runs beside the first has ended by itself") from None
        return None if found is None or found.was_stopped else found

    def _waited(self, future: Future[RunResult], should_stop: Callable[[], bool]) -> RunResult | None:
        while not should_stop():
            with suppress(TimeoutError):
                return future.result(_LOOK_S)
        return None


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
