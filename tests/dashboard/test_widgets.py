"""Pictures of widgets: all that the strategy side makes can be drawn, and nothing else breaks a page."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from reconciler.dashboard.charts import picture
from reconciler.dashboard.render import render
from reconciler.orders.market import Candle
from reconciler.strategy import widgets
from reconciler.strategy.widgets import WIDGETS

AT = datetime(2026, 1, 1, tzinfo=UTC)
CANDLE = Candle(AT, Decimal(1), Decimal(3), Decimal(0), Decimal(2), Decimal(9))
MADE = (
    widgets.metric("a", "A", Decimal("0.120"), unit="%", trend="up", tone="ok"),
    widgets.badge("b", "B", "rising", "danger"),
    widgets.progress("c", "C", 3, 5),
    widgets.table("d", "D", ["x"], [["1"]]),
    widgets.line("e", "E", {"fast": [(AT, 1), (AT, 2)], "slow": []}),
    widgets.bar("f", "F", {"Mon": 3, "Tue": -1}),
    widgets.candles("g", "G", [CANDLE]),
    widgets.log("h", "H", ["one"]),
    widgets.text("i", "I", "words"),
    widgets.keyvalue("j", "J", {"k": "v"}),
)


def drawn(widget: object) -> str:
    from jinja2 import Environment

    from reconciler.dashboard import render as module

    environment: Environment = module._ENVIRONMENT
    template = environment.from_string('{% import "widget.html" as widget %}{{ widget.draw(one) }}')
    return template.render(one=picture(widget))


def test_every_type_there_is_is_made_here() -> None:
    assert [widget["type"] for widget in MADE] == list(WIDGETS)


@pytest.mark.parametrize("widget", MADE, ids=lambda widget: str(widget["type"]))
def test_every_type_can_be_drawn(widget: widgets.Widget) -> None:
    (checked,) = widgets.check_widgets([widget])
    assert picture(checked).kind == widget["type"]
    html = drawn(checked)
    assert f'<figure class="widget {widget["type"]}">' in html
    assert f"<figcaption>{widget['title']}</figcaption>" in html


def test_a_metric_keeps_the_text_it_was_given() -> None:
    assert '<p class="figure ok">0.12 <span class="unit">%</span>' in drawn(MADE[0])


@pytest.mark.parametrize(
    ("widget", "note"),
    [
        ({"type": "hologram", "title": "T"}, "expected one of the types metric, badge"),
        ({"title": "T"}, "was ''"),
        ("text", "expected an object, was str"),
        (None, "expected an object, was NoneType"),
        ({"type": "metric", "id": "m", "title": "T"}, "expected a metric with value"),
        ({"type": "line", "id": "l", "title": "T", "series": 5}, "this line cannot be drawn"),
        ({"type": "line", "id": "l", "title": "T", "series": [{"name": "n", "points": [["x", 1]]}]}, "cannot be drawn"),
        ({"type": "bar", "id": "b", "title": "T", "bars": [{"label": "x"}]}, "this bar cannot be drawn"),
        ({"type": "candles", "id": "c", "title": "T", "candles": [[1]]}, "this candles cannot be drawn"),
        (
            {"type": "bar", "id": "b", "title": "T", "bars": [{"label": "x", "value": v} for v in (1.7e308, -1.7e308)]},
            "expected values that fit on one axis",
        ),
    ],
)
def test_what_cannot_be_drawn_is_a_note(widget: object, note: str) -> None:
    assert picture(widget).kind == "note"
    assert note in picture(widget).note
    assert '<p class="note">' in drawn(widget)


@pytest.mark.parametrize(
    "widget", [widgets.line("e", "E", {}), widgets.bar("f", "F", {}), widgets.candles("g", "G", [])]
)
def test_a_chart_without_values_says_so(widget: widgets.Widget) -> None:
    assert picture(widget).chart is None
    assert "Nothing to draw yet." in drawn(widget)


def test_a_template_that_uses_what_nobody_gave_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        render("error.html")
