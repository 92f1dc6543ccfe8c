"""Charts: where things land."""

from __future__ import annotations

import pytest

from reconciler.dashboard.charts import BOTTOM, LEFT, RIGHT, TOP, bar_chart, candle_chart, line_chart


def test_a_line_spans_the_plot_from_corner_to_corner() -> None:
    chart = line_chart([{"name": "a", "points": [[0, 10], [5, 15], [10, 20]]}])
    assert chart is not None
    (stroke,) = chart.strokes
    middle = f"{(LEFT + RIGHT) / 2},{(TOP + BOTTOM) / 2}"
    assert stroke.points == f"{LEFT},{BOTTOM} {middle} {RIGHT},{TOP}"
    assert (stroke.last_x, stroke.last_y) == (RIGHT, TOP)
    assert chart.summary == "a: 3 points, last 20"


def test_lines_share_both_axes() -> None:
    chart = line_chart([{"name": "a", "points": [[0, 0], [1, 1]]}, {"name": "b", "points": [[3, 4]]}])
    assert chart is not None
    assert [stroke.style for stroke in chart.strokes] == [0, 1]
    assert (chart.strokes[1].last_x, chart.strokes[1].last_y) == (RIGHT, TOP)


def test_times_are_spaced_by_time_whatever_their_offset() -> None:
    times = ["2026-01-01", "2026-01-01T14:00:00+02:00", "2026-01-02T00:00:00.000Z"]
    chart = line_chart([{"name": "a", "points": [[time, 1.0] for time in times]}])
    assert chart is not None
    xs = [float(point.split(",")[0]) for point in chart.strokes[0].points.split()]
    assert xs == [LEFT, (LEFT + RIGHT) / 2, RIGHT]
    assert [label.text for label in chart.labels[-2:]] == ["2026-01-01", "2026-01-02 00:00:00Z"]


def test_a_flat_line_lies_in_the_middle() -> None:
    chart = line_chart([{"name": "a", "points": [[0, 7], [1, 7]]}])
    assert chart is not None
    assert chart.strokes[0].last_y == (TOP + BOTTOM) / 2
    assert chart.labels[0].text == "7"


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0, 100, ["0", "25", "50", "75", "100"]),
        (-1.4, 3, ["0", "2"]),
        (57_674, 60_774, ["58000", "59000", "60000"]),
        (0.1, 0.3, ["0.1", "0.15", "0.2", "0.25", "0.3"]),
    ],
)
def test_the_grid_has_round_values(low: float, high: float, texts: list[str]) -> None:
    chart = line_chart([{"name": "a", "points": [[0, low], [1, high]]}])
    assert chart is not None
    assert [label.text for label in chart.labels[:-2]] == texts


def test_bars_stand_on_zero() -> None:
    chart = bar_chart([{"label": "up", "value": 3}, {"label": "down", "value": -1}])
    assert chart is not None
    up, down = chart.bars
    assert (up.sign, down.sign) == ("up", "down")
    assert up.y == TOP
    assert up.y + up.height == pytest.approx(down.y)
    assert down.y + down.height == pytest.approx(BOTTOM)
    assert up.title == "up: 3"


def test_a_candle_has_its_body_within_its_wick() -> None:
    chart = candle_chart([["2026-01-01T00:00:00Z", 2, 4, 0, 3, 9], ["2026-01-01T01:00:00Z", 3, 3, 1, 1, 9]])
    assert chart is not None
    rising, falling = chart.sticks
    assert (rising.body.sign, falling.body.sign) == ("up", "down")
    assert (rising.high, rising.low) == (TOP, BOTTOM)
    assert rising.high < rising.body.y < rising.body.y + rising.body.height < rising.low
    assert rising.body.title == "2026-01-01 00:00:00Z: open 2, high 4, low 0, close 3"


def test_a_doji_can_still_be_seen() -> None:
    chart = candle_chart([["2026-01-01T00:00:00Z", 1, 1, 1, 1, 0]])
    assert chart is not None
    assert chart.sticks[0].body.height > 0
