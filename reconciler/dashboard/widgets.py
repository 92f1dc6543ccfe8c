"""Widgets as pictures: what a strategy rendered, ready for a template. Whatever it is, a page comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.dashboard.charts import Chart, bar_chart, candle_chart, line_chart
from reconciler.strategy.widget_schema import WIDGETS


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
