"""Charts as geometry: numbers in, coordinates of an SVG out. Pure; colours and strokes are the style sheet's.

Coordinates are in the units of a `WIDTH` × `HEIGHT` view box, y downwards, rounded to a tenth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.clock import from_iso, iso
from reconciler.dashboard.render import moment
from reconciler.strategy.widgets import WIDGETS

WIDTH, HEIGHT = 640.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 78.0, 632.0, 10.0, 196.0
GRID_LINES = 4
SERIES_STYLES = 6
ROUNDING = 1e-9
"""0.3 / 0.05 falls short of 6 by less than this."""


@dataclass(frozen=True, slots=True)
class Label:
    """Text at a place; `anchor` as SVG has it: start, middle, end."""

    x: float
    y: float
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Stroke:
    """One series: `points` as a polyline takes them, and its last point. `style` numbers its look from 0."""

    name: str
    style: int
    points: str
    last_x: float
    last_y: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar from zero to its value, `sign` up or down; `title` says it in words."""

    x: float
    y: float
    width: float
    height: float
    sign: str
    title: str


@dataclass(frozen=True, slots=True)
class Stick:
    """A candle: its wick from high to low, its body from open to close."""

    wick_x: float
    high: float
    low: float
    body: Bar


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws. `summary` says the same in words, for those who do not see it."""

    summary: str
    labels: tuple[Label, ...]
    strokes: tuple[Stroke, ...] = ()
    bars: tuple[Bar, ...] = ()
    sticks: tuple[Stick, ...] = ()
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = RIGHT


class Scale:
    """Maps values from `low` to `high` onto `start` to `end`. A single value lies in the middle."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = min(values), max(values)
        span = self.high - self.low
        if not math.isfinite(span):
            raise ValueError("expected values that fit on one axis")
        self._span = span
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / self._span if self._span else 0.5
        return round(self._start + share * (self._end - self._start), 1)


def line_chart(series: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Lines over a shared x, which is a time or a number. None where there is no point to draw."""
    drawn = [(str(one["name"]), [(_x(x), float(y), x) for x, y in one["points"]]) for one in series]
    points = [point for _, own in drawn for point in own]
    if not points:
        return None
    across = Scale([x for x, _, _ in points], LEFT, RIGHT)
    up = Scale([y for _, y, _ in points], BOTTOM, TOP)
    strokes = tuple(
        Stroke(
            name=name,
            style=index % SERIES_STYLES,
            points=" ".join(f"{across(x)},{up(y)}" for x, y, _ in own),
            last_x=across(own[-1][0]),
            last_y=up(own[-1][1]),
        )
        for index, (name, own) in enumerate(drawn)
        if own
    )
    first, last = min(points)[2], max(points)[2]
    summary = "; ".join(f"{name}: {len(own)} points, last {own[-1][1]:g}" for name, own in drawn if own)
    return Chart(summary, (*_grid(up), *_ends(_x_text(first), _x_text(last))), strokes=strokes)


def bar_chart(bars: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Bars from zero, side by side. None where there is none."""
    values = [(str(one["label"]), float(one["value"])) for one in bars]
    if not values:
        return None
    up = Scale([0.0, *(value for _, value in values)], BOTTOM, TOP)
    slot = (RIGHT - LEFT) / len(values)
    drawn = tuple(
        _bar(LEFT + slot * (index + 0.5), slot * 0.7, up(0.0), up(value), f"{name}: {value:g}")
        for index, (name, value) in enumerate(values)
    )
    step = math.ceil(len(values) / 8)
    names = tuple(
        Label(round(LEFT + slot * (index + 0.5), 1), BOTTOM + 16, _cut(name), "middle")
        for index, (name, _) in enumerate(values)
        if index % step == 0
    )
    summary = "; ".join(f"{name}: {value:g}" for name, value in values[:20])
    return Chart(summary, (*_grid(up), *names), bars=drawn)


def candle_chart(candles: Sequence[Sequence[Any]]) -> Chart | None:
    """Candles of `[opened_at, open, high, low, close, volume]`, oldest first. None where there is none."""
    if not candles:
        return None
    rows = [(_x_text(one[0]), [float(price) for price in one[1:5]]) for one in candles]
    up = Scale([price for _, prices in rows for price in prices], BOTTOM, TOP)
    slot = (RIGHT - LEFT) / len(rows)
    sticks = []
    for index, (at, (opened, high, low, closed)) in enumerate(rows):
        middle = LEFT + slot * (index + 0.5)
        title = f"{at}: open {opened:g}, high {high:g}, low {low:g}, close {closed:g}"
        body = _bar(middle, slot * 0.6, up(opened), up(closed), title)
        sticks.append(Stick(round(middle, 1), up(high), up(low), body))
    first, last = rows[0][0], rows[-1][0]
    summary = f"{len(rows)} candles from {first} to {last}, last close {rows[-1][1][3]:g}"
    return Chart(summary, (*_grid(up), *_ends(first, last)), sticks=tuple(sticks))


def _bar(middle: float, width: float, start_y: float, end_y: float, title: str) -> Bar:
    top, bottom = sorted((start_y, end_y))
    return Bar(
        x=round(middle - width / 2, 1),
        y=top,
        width=round(max(width, 0.5), 1),
        height=round(max(bottom - top, 0.8), 1),
        sign="up" if end_y <= start_y else "down",
        title=title,
    )


def _grid(up: Scale) -> tuple[Label, ...]:
    return tuple(Label(LEFT - 6, up(value), f"{value:.10g}", "end") for value in _round_values(up.low, up.high))


def _round_values(low: float, high: float) -> list[float]:
    """Values between `low` and `high` that read well: multiples of 1, 2, 2.5 or 5 times a power of ten."""
    if low == high:
        return [low]
    raw = (high - low) / GRID_LINES
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(size * magnitude for size in (1, 2, 2.5, 5, 10) if size * magnitude >= raw)
    first, last = math.ceil(low / step - ROUNDING), math.floor(high / step + ROUNDING)
    return [index * step for index in range(first, last + 1)]


def _ends(first: str, last: str) -> tuple[Label, ...]:
    if first == last:
        return (Label(RIGHT, BOTTOM + 16, last, "end"),)
    return Label(LEFT, BOTTOM + 16, first, "start"), Label(RIGHT, BOTTOM + 16, last, "end")


def _cut(name: str) -> str:
    return name if len(name) <= 12 else f"{name[:11]}…"


def _x(value: str | float) -> float:
    if not isinstance(value, str):
        return float(value)
    return from_iso(value if "T" in value else f"{value}T00:00:00Z")


def _x_text(value: str | float) -> str:
    if not isinstance(value, str):
        return f"{value:g}"
    return moment(iso(_x(value))) if "T" in value else value


@dataclass(frozen=True, slots=True)
class Picture:
    """One widget. `kind` is its type, or `note` where it cannot be drawn; then `note` says why."""

    kind: str
    title: str
    data: Mapping[str, Any]
    chart: Chart | None = None
    note: str = ""


def picture(widget: object) -> Picture:
    """The picture of a widget: the boundary that strategies' output passes on its way to a page.

    Widgets are checked when they are rendered, so a note means that the two sides disagree on a shape.
    """
    if not isinstance(widget, Mapping):
        return _note("Widget", f"expected an object, was {type(widget).__name__}")
    title = str(widget.get("title") or widget.get("id") or "Widget")
    kind = str(widget.get("type", ""))
    if kind not in WIDGETS:
        return _note(title, f"expected one of the types {', '.join(WIDGETS)}, was {kind!r}")
    try:
        missing = [name for name in WIDGETS[kind]["required"] if name not in widget]
        if missing:
            return _note(title, f"expected a {kind} with {', '.join(missing)}")
        return Picture(kind, title, widget, chart=_chart(kind, widget))
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        return _note(title, f"this {kind} cannot be drawn: {error}")


def _chart(kind: str, widget: Mapping[str, Any]) -> Chart | None:
    match kind:
        case "line":
            return line_chart(widget["series"])
        case "bar":
            return bar_chart(widget["bars"])
        case "candles":
            return candle_chart(widget["candles"])
        case _:
            return None


def _note(title: str, note: str) -> Picture:
    return Picture("note", title, {}, note=note)
