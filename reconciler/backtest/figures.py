"""The figures of a run, each with its definition: what the report prints beside the number.

Ratios of returns are reckoned by empyrical (`empyrical-reloaded`, the extra `backtest`): of the kept libraries it is
the lightest, numpy, pandas and scipy; ffn brings matplotlib and scikit-learn, skfolio a solver. Without it they are
None, and everything that is money is there all the same. What a Sharpe ratio is worth after many trials is reckoned
here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from statistics import NormalDist, pvariance
from typing import Any, Final

from reconciler import exact
from reconciler.backtest.simulation import InstanceRun, RunResult
from reconciler.orders.order import decimal_text

INSTALL: Final = "pip install 'strategy-reconciler[backtest]'"
DEFINITIONS: Final[Mapping[str, str]] = {
    "result": "What was made: realised profit less fees, and what is held at the last price it could be closed at.",
    "realised_profit": "The profit of what was closed, by average cost, less all fees.",
    "fees": "All fees paid, in the quote currency.",
    "max_drawdown": "The furthest that equity fell from its highest, of every price that was told, not of the chart's.",
    "trades": "Times that it went from flat to a position and back to flat, or turned around.",
    "buy_and_hold": "What the most money that it ever had in the market would have made, spent at the first ask, fee "
    "included, and held to the last bid.",
    "result_costs_doubled": "The same run with twice the fees, spread and slippage: orders may differ, too.",
    "sharpe": "Mean of daily returns over their deviation, times the square root of the days a year that data have. A "
    " daily return is the day's change of equity over the starting balance in that currency; no interest.",
    "sortino": "As Sharpe, over the deviation of losses alone.",
    "volatility": "The deviation of daily returns, times the square root of the days a year.",
    "deflated_sharpe": "The probability that the Sharpe ratio is above what the best of so many trials has by luck, "
    "with the skew and the tails of its returns (Bailey and López de Prado, 2014). Below 0.95 is no evidence.",
}
_YEAR_DAYS: Final = 365.25
_EULER: Final = 0.5772156649015329
_LEAST: Final = 10
"""Fewer daily returns say nothing of a deviation."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one instance. Ratios are None where they cannot be told."""

    sharpe: float | None
    sortino: float | None
    volatility: float | None
    per_day: float | None
    """The Sharpe ratio of a day, which trials are compared by."""
    skew: float
    kurtosis: float
    days: int


def figures(instance: InstanceRun) -> Figures:
    """What its days say. Imports numpy and pandas: slow, and only where they are installed."""
    returns = _returns(instance)
    nothing = Figures(None, None, None, None, 0.0, 3.0, len(returns))
    if len(returns) < _LEAST or not any(returns):
        return nothing
    mean = math.fsum(returns) / len(returns)
    deviation = math.sqrt(math.fsum((one - mean) ** 2 for one in returns) / (len(returns) - 1))
    if not deviation:
        return nothing
    skew = math.fsum(((one - mean) / deviation) ** 3 for one in returns) / len(returns)
    kurtosis = math.fsum(((one - mean) / deviation) ** 4 for one in returns) / len(returns)
    a_year = days_a_year(instance.days)
    library = _library()
    if library is None:
        return Figures(None, None, None, mean / deviation, skew, kurtosis, len(returns))
    empyrical, numpy = library
    series = numpy.array(returns)
    return Figures(
        _finite(empyrical.sharpe_ratio(series, annualization=a_year)),
        _finite(empyrical.sortino_ratio(series, annualization=a_year)),
        _finite(empyrical.annual_volatility(series, annualization=a_year)),
        mean / deviation,
        skew,
        kurtosis,
        len(returns),
    )


def days_a_year(days: Sequence[tuple[int, Decimal]]) -> float:
    """How many days a year the data have: 365 where they trade on each, some 250 where not at weekends."""
    span = days[-1][0] - days[0][0] if days else 0
    return min(_YEAR_DAYS, (len(days) - 1) / span * _YEAR_DAYS) if span else _YEAR_DAYS


def deflated_sharpe(found: Figures, trials: int, tried: Sequence[float]) -> float | None:
    """The probability that its Sharpe ratio is not the luck of the best of `trials`; None where it has none.

    `tried` are the Sharpe ratios, of a day, of those trials that are known: their variance says how far luck goes.
    Where there are none, it is what the ratio of pure noise varies by over so many days.
    """
    if found.per_day is None:
        return None
    variance = pvariance(tried) if len(tried) > 1 else 0.0
    variance = variance or 1.0 / max(found.days - 1, 1)
    best = 0.0
    if trials > 1:
        normal = NormalDist()
        highest = normal.inv_cdf(1 - 1 / trials)
        further = normal.inv_cdf(1 - 1 / (trials * math.e))
        best = math.sqrt(variance) * ((1 - _EULER) * highest + _EULER * further)
    spread = 1 - found.skew * found.per_day + (found.kurtosis - 1) / 4 * found.per_day**2
    if spread <= 0:
        return None
    return NormalDist().cdf((found.per_day - best) * math.sqrt(found.days - 1) / math.sqrt(spread))


def buy_and_hold(instance: InstanceRun, result: RunResult) -> Decimal | None:
    """See `DEFINITIONS`; None where it never held anything, or no price was told."""
    ask, bid = instance.first_ask, instance.last_bid
    if ask is None or bid is None or not instance.at_work:
        return None
    price = exact.multiply(ask, exact.add(Decimal(1), result.options.taker_fee))
    worth = exact.multiply(exact.quotient(instance.at_work, price), bid)
    return exact.subtract(worth, instance.at_work)


def cents(amount: Decimal | None) -> str | None:
    """Money to eight decimals, as plain digits."""
    if amount is None:
        return None
    return decimal_text(exact.rounded(amount, Decimal("0.00000001"), ROUND_HALF_EVEN))


def ratio(number: float | None) -> float | None:
    """To six decimals: beyond that they are noise."""
    return None if number is None else round(number, 6)


def has_library() -> bool:
    """True where ratios can be told."""
    return _library() is not None


def _library() -> tuple[Any, Any] | None:
    try:
        import empyrical
        import numpy
    except ImportError:
        return None
    return empyrical, numpy


def _returns(instance: InstanceRun) -> list[float]:
    capital = float(instance.capital)
    if not capital:
        return []
    equities = [float(equity) for _, equity in instance.days]
    return [(after - before) / capital for before, after in pairwise(equities)]


def _finite(number: Any) -> float | None:
    found = float(number)
    return found if math.isfinite(found) else None
