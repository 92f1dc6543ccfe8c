"""The report of a study: one HTML file that needs nothing else, charts and all, and no script to be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from reconciler.backtest.course import CurvePoint, TradeFill
from reconciler.backtest.rows import shown
from reconciler.backtest.study import StudiedInstance, Study, definitions
from reconciler.orders.order import Side

if TYPE_CHECKING:
    from jinja2 import Template

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 84, 12, 12, 26
_MARKS: Final = 600
"""More trades than that are not told apart on a chart: the largest are shown."""
_ROWS: Final = 200


@dataclass(frozen=True, slots=True)
class AxisTick:
    """A label of an axis, and where it stands."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class TradeMark:
    """A trade on the price."""

    x: float
    y: float
    buys: bool
    told: str


@dataclass(frozen=True, slots=True)
class SheetChart:
    """A curve over time in the units of its own box, `width` by `height`. `area` closes it to its zero."""

    name: str
    told: str
    height: int
    path: str
    area: str
    zero: float | None
    across: tuple[AxisTick, ...]
    up: tuple[AxisTick, ...]
    marks: tuple[TradeMark, ...] = ()
    width: int = _WIDTH


def report(found: Study) -> str:
    """The file's text. The same study gives the same text."""
    return _template().render(
        study=found,
        assumptions=_assumptions(found),
        sections=[_section(one) for one in found.instances],
        totals=found.totals,
        names=_NAMES,
        definitions=definitions(),
        money=_money,
        moment=_moment,
        data=found.plan.dataset,
        begin=_moment(found.plan.dataset.begin_s),
        end=_moment(min(found.plan.dataset.end_s, found.result.until_s)),
    )


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("reconciler.backtest")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return made.get_template("report.html")


_NAMES: Final = {
    "result": "Result",
    "result_costs_doubled": "Result, costs doubled",
    "buy_and_hold": "Buy and hold",
    "max_drawdown": "Deepest drawdown",
    "realised_profit": "Realised profit",
    "fees": "Fees",
    "trades": "Trades",
    "sharpe": "Sharpe ratio",
    "sortino": "Sortino ratio",
    "volatility": "Volatility",
    "deflated_sharpe": "Deflated Sharpe ratio",
}


def _assumptions(found: Study) -> list[tuple[str, str]]:
    said = found.assumptions()
    balances = ", ".join(f"{amount} {name}" for name, amount in said["balances"].items())
    spread = said["spread"] if said["spread"] == "as recorded" else f"{said['spread']} of the price"
    rows = [
        ("Fills", f"{said['fills']}. No order meets a price that was known when it was placed."),
        ("Spread", spread),
        ("Slippage", f"{said['slippage']} of the price, for orders that take"),
        ("Fees", f"{said['maker_fee']} for orders that waited, {said['taker_fee']} for others, in {said['fees_in']}"),
        ("Volume", f"at most {said['max_volume']} of a candle's, where it is told"),
        ("Each account began with", balances),
        ("Selling short", "allowed" if said["shorts"] else "not allowed"),
        ("Mode", "every record taken as active; limits and halts as they are"),
        ("Chance", f"seed {said['seed'] or '(none)'}"),
        ("Trials", f"{_counted(found.trials, 'version')} of these strategies, all that were tried or observed here"),
        ("Data", f"digest {found.plan.dataset.digest}"),
    ]
    if said["holdout"] is not None:
        rows.append(("Held out", f"the last {said['holdout']:g} of the time, shown once for each version"))
    if said["stopped_at"]:
        rows.append(("Stopped", f"at {said['stopped_at']}, before its end"))
    return rows


def _section(one: StudiedInstance) -> dict[str, Any]:
    points, run = one.run.curve, one.run
    profits = [trip.profit for trip in run.trades]
    won = sum(profit > 0 for profit in profits)
    found = one.figures
    return {
        "one": one,
        "run": run,
        "facts": [
            ("result", _money(run.equity, run.currency)),
            ("result_costs_doubled", _money(one.costs_doubled, run.currency)),
            ("buy_and_hold", _money(one.buy_and_hold, run.currency)),
            ("max_drawdown", _money(run.max_drawdown, run.currency)),
            ("realised_profit", _money(run.holding.realised, run.currency)),
            ("fees", _money(run.holding.fees, run.currency)),
            ("trades", f"{len(profits):,}" + (f", {won:,} with a profit" if profits else "")),
            ("sharpe", _number(found.sharpe)),
            ("sortino", _number(found.sortino)),
            ("volatility", "–" if found.volatility is None else f"{found.volatility:.2%}"),
            ("deflated_sharpe", f"{_number(one.deflated)} after {_counted(one.trials, 'trial')}"),
        ],
        "charts": list(_charts(points, run.fills, run.currency)),
        "trades": list(reversed(run.trades))[:_ROWS],
        "trade_count": len(profits),
        "refused": list(run.refused.items())[:10],
    }


def _charts(points: Sequence[CurvePoint], fills: Sequence[TradeFill], currency: str) -> Iterable[SheetChart]:
    if len(points) < 2:
        return
    equity = [(point.time_s, float(point.equity)) for point in points]
    yield _chart("Equity", f"What it made, in {currency}", equity, 240, zero=0.0)
    highest, fallen = 0.0, []
    for time_s, value in equity:
        highest = max(highest, value)
        fallen.append((time_s, value - highest))
    yield _chart("Drawdown", f"Below its highest so far, in {currency}", fallen, 140, zero=0.0)
    exposure = [(point.time_s, float(point.exposure)) for point in points]
    yield _chart("Exposure", f"What it had in the market, in {currency}", exposure, 140, zero=0.0)
    prices = [(point.time_s, float(point.price)) for point in points]
    yield _chart("Price and trades", "Its market; up where it bought, down where it sold", prices, 260, fills=fills)


def _chart(
    name: str,
    told: str,
    points: Sequence[tuple[float, float]],
    height: int,
    *,
    zero: float | None = None,
    fills: Sequence[TradeFill] = (),
) -> SheetChart:
    values = [value for _, value in points] + ([] if zero is None else [zero])
    low, high = min(values), max(values)
    if low == high:
        low, high = low - abs(low or 1.0) * 0.01, high + abs(high or 1.0) * 0.01
    begin, end = points[0][0], points[-1][0]
    wide, tall = _WIDTH - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def x(time_s: float) -> float:
        return round(_LEFT + (time_s - begin) / max(end - begin, 1e-9) * wide, 1)

    def y(value: float) -> float:
        return round(_TOP + (high - value) / (high - low) * tall, 1)

    path = "M" + "L".join(f"{x(time_s):g} {y(value):g}" for time_s, value in points)
    base = None if zero is None else y(zero)
    area = "" if base is None else f"{path}L{x(end):g} {base:g}L{x(begin):g} {base:g}Z"
    return SheetChart(
        name, told, height, path, area, base, _across(begin, end, x), _up(low, high, y), tuple(_marks(fills, x, y))
    )


def _marks(fills: Sequence[TradeFill], x: Callable[[float], float], y: Callable[[float], float]) -> Iterable[TradeMark]:
    shown_ones = sorted(fills, key=lambda fill: -fill.quantity)[:_MARKS]
    for fill in sorted(shown_ones, key=lambda fill: fill.at):
        at_s = fill.at.timestamp()
        told = f"{fill.side} {fill.quantity} at {fill.price}, {shown(at_s)}"
        yield TradeMark(x(at_s), y(float(fill.price)), fill.side is Side.BUY, told)


def _up(low: float, high: float, y: Callable[[float], float]) -> tuple[AxisTick, ...]:
    """Some four round numbers within."""
    rough = (high - low) / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(magnitude * times for times in (1, 2, 2.5, 5, 10) if magnitude * times >= rough)
    places = max(0, -math.floor(math.log10(step)) + (1 if step / magnitude == 2.5 else 0))
    numbers = range(math.ceil(low / step), math.floor(high / step) + 1)
    return tuple(AxisTick(y(number * step), f"{number * step:,.{places}f}") for number in numbers)


_SPANS: Final = (60, 300, 900, 3_600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000)


def _across(begin: float, end: float, x: Callable[[float], float]) -> tuple[AxisTick, ...]:
    """Some six moments within."""
    rough = (end - begin) / 6
    step = next((float(span) for span in _SPANS if span >= rough), 0.0)
    if not step:
        step = math.ceil(rough / (365.25 * 86_400 / 12)) * 365.25 * 86_400 / 12
    length = 16 if step < 86_400 else 10
    ticks, at = [], math.ceil(begin / step) * step
    while at <= end:
        ticks.append(AxisTick(x(at), shown(at)[:length].replace("T", " ")))
        at += step
    return tuple(ticks)


def _money(amount: Decimal | str | None, currency: str) -> str:
    return "–" if amount is None else f"{Decimal(amount):,.2f} {currency}"


def _number(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _moment(time_s: float) -> str:
    return shown(time_s).replace("T", " ").removesuffix("Z").removesuffix(":00") + " UTC"
