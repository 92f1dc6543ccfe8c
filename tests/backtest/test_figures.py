"""The figures, against values worked out by hand or by the library."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import Decimal
from statistics import NormalDist

import pytest

from reconciler.backtest.course import MOST_POINTS, Curve, Drawdown, TradeFill, round_trips
from reconciler.backtest.figures import Figures, days_a_year, deflated_sharpe
from reconciler.orders.order import Side


def said(per_day: float | None, days: int = 250, skew: float = 0.0, kurtosis: float = 3.0) -> Figures:
    return Figures(None, None, None, per_day, skew, kurtosis, days)


def test_with_one_trial_it_is_the_probability_that_the_ratio_is_above_zero() -> None:
    found = deflated_sharpe(said(0.1), 1, ())
    assert found == pytest.approx(NormalDist().cdf(0.1 * math.sqrt(249) / math.sqrt(1 + 0.5 * 0.01)))


def test_more_trials_and_fatter_tails_are_worth_less() -> None:
    one, ten, hundred = (deflated_sharpe(said(0.1), trials, (0.0, 0.1)) for trials in (1, 10, 100))
    assert one is not None
    assert ten is not None
    assert hundred is not None
    assert one > ten > hundred
    skewed = deflated_sharpe(said(0.1, skew=-2.0, kurtosis=12.0), 10, (0.0, 0.1))
    assert skewed is not None
    assert skewed < ten or ten < 0.5


def test_the_best_of_a_hundred_that_is_no_better_than_luck_is_an_even_bet() -> None:
    """The published example's formula: what the best of so many draws is expected to be."""
    variance, trials = 0.01, 100
    normal, euler = NormalDist(), 0.5772156649015329
    best = math.sqrt(variance) * (
        (1 - euler) * normal.inv_cdf(1 - 1 / trials) + euler * normal.inv_cdf(1 - 1 / (trials * math.e))
    )
    assert deflated_sharpe(said(best), trials, (-0.1, 0.1)) == pytest.approx(0.5)
    assert deflated_sharpe(said(None), trials, ()) is None


@pytest.mark.parametrize(
    ("trials", "skew", "kurtosis", "published"),
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_it_is_what_the_paper_reckons_in_its_example(
    trials: int, skew: float, kurtosis: float, published: float
) -> None:
    """Bailey and López de Prado (2014), "A numerical example": five years of days, an annual ratio of 2.5, skewness -3,
    kurtosis 10, and annual ratios of the trials that vary by 1/2; and what it would have been with normal returns."""
    apart = math.sqrt(0.5 / 250)
    found = deflated_sharpe(said(2.5 / math.sqrt(250), 1250, skew, kurtosis), trials, (-apart, apart))
    assert found == pytest.approx(published, abs=1e-4)


@pytest.mark.parametrize(
    ("trials", "per_day", "days", "skew", "kurtosis", "variance", "reckoned"),
    [
        (2, 0.05, 250, -0.5, 4.0, 0.001, 0.69939202),
        (10, 0.1, 500, 0.3, 6.0, 0.002, 0.74750756),
        (1000, 0.2, 1000, -1.2, 9.0, 0.004, 0.43583422),
    ],
)
def test_it_is_what_others_reckon_who_work_with_arrays(
    trials: int, per_day: float, days: int, skew: float, kurtosis: float, variance: float, reckoned: float
) -> None:
    """`deflated_sharpe_ratio` of vectorbt (`returns/metrics.py`), which asks scipy for the normal distribution."""
    apart = math.sqrt(variance)
    assert deflated_sharpe(said(per_day, days, skew, kurtosis), trials, (-apart, apart)) == pytest.approx(reckoned)


def test_days_a_year_are_those_that_the_data_have() -> None:
    every = [(day, Decimal(0)) for day in range(366)]
    weekdays = [(day, Decimal(0)) for day in range(1, 366) if day % 7 not in (0, 6)]
    assert days_a_year(every) == pytest.approx(365.25)
    assert days_a_year(weekdays) == pytest.approx(261, abs=1)


def fill(hour: int, side: str, quantity: str, price: str, fee: str = "0", currency: str = "USD") -> TradeFill:
    at = datetime(2026, 1, 5, hour, tzinfo=UTC)
    return TradeFill(at, Side(side), Decimal(quantity), Decimal(price), Decimal(fee), currency, "x")


def test_round_trips_go_from_flat_to_flat_or_turn_around() -> None:
    fills = [
        fill(0, "buy", "1", "100", "1"),
        fill(1, "buy", "1", "110", "1"),
        fill(2, "sell", "3", "120", "3"),
        fill(3, "buy", "1", "115"),
        fill(4, "buy", "2", "200"),
    ]
    first, second = round_trips(fills, "USD")
    assert (first.side, first.quantity, first.entry, first.exit) == (Side.BUY, Decimal(2), Decimal(105), Decimal(120))
    assert first.profit == 30 - 2 - 2
    assert (second.side, second.profit) == (Side.SELL, Decimal(120) - Decimal(115) - Decimal(1))
    in_base = round_trips([fill(0, "buy", "1", "100", "0.01", "BTC"), fill(1, "sell", "1", "100")], "USD")
    assert in_base[0].profit == -1


def test_a_drawdown_is_from_the_highest_of_all_points() -> None:
    drawdown = Drawdown()
    for value in (0, 5, 3, 8, 1, 9, 7):
        drawdown.add(Decimal(value))
    assert drawdown.deepest == 7


@pytest.mark.parametrize("count", [1, 1_999, 2_000, 2_001, 3_999, 4_000, 50_001])
def test_a_curve_keeps_its_ends_and_no_more_points_than_can_be_seen(count: int) -> None:
    curve = Curve()
    for number in range(count):
        curve.add(float(number), Decimal(number), Decimal(0), Decimal(1))
    points = curve.points()
    assert len(points) <= MOST_POINTS
    assert (points[0].time_s, points[-1].time_s) == (0.0, float(count - 1))
    assert [point.time_s for point in points] == sorted(point.time_s for point in points)
    assert len(points) >= min(count, 900)
