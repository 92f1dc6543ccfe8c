"""Widgets: the functions an author renders with, and the check of what was rendered.

A widget is plain JSON-ready data, never HTML. Text places (a metric's value, a table's cells) take str, int,
float, Decimal, bool, datetime or None and hold text; chart places take numbers and hold finite floats. The
functions only convert; `check_widgets` judges.

What a widget may be has one definition, in JSON Schema 2020-12: the check and the committed file,
`schemas/widgets.schema.json`, come from it. What a schema cannot say (unique ids, rows as wide as their columns, points
counted over all series, bytes in all) `check_widgets` adds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reconciler.orders.market import Candle
from reconciler.orders.order import decimal_text

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

__all__ = [
    "badge",
    "bar",
    "candles",
    "check_widgets",
    "keyvalue",
    "line",
    "log",
    "metric",
    "progress",
    "table",
    "text",
    "widgets_schema",
]

__all__ = [
    "badge",
    "bar",
    "candles",
    "check_widgets",
    "keyvalue",
    "line",
    "log",
    "metric",
    "progress",
    "table",
    "text",
    "widgets_schema",
]

MAX_WIDGETS = 20
MAX_BYTES = 256 * 1024
MAX_ROWS = 500
MAX_POINTS = 2_000
MAX_SERIES = 20
MAX_COLUMNS = 20

TONES = ("neutral", "info", "ok", "warning", "danger")
TRENDS = ("up", "flat", "down")

_LARGEST = 1.7976931348623157e308
_TEXT = {"type": "string"}
_NAME = {"type": "string", "minLength": 1, "maxLength": 200}
_NUMBER = {"type": "number", "minimum": -_LARGEST, "maximum": _LARGEST}
_TIME = {
    "type": "string",
    "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2}))?$",
    "description": "ISO 8601: a day, or a moment with its offset",
}
_TONE = {"enum": list(TONES)}
Widget: TypeAlias = dict[str, Any]
Cell: TypeAlias = str | int | float | Decimal | bool | datetime | None
Number: TypeAlias = int | float | Decimal
X: TypeAlias = int | float | Decimal | str | datetime
Tone: TypeAlias = Literal["neutral", "info", "ok", "warning", "danger"]
Trend: TypeAlias = Literal["up", "flat", "down"]


def _list(items: dict[str, Any], most: int, least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least, "maxItems": most}


def _tuple(*items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "prefixItems": list(items), "minItems": len(items), "maxItems": len(items)}


def _object(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }


def _widget(kind: str, description: str, own: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    head = {
        "type": {"const": kind},
        "id": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"},
        "title": _NAME,
    }
    return {"description": description, **_object({**head, **own}, optional)}


def _series(x: dict[str, Any]) -> dict[str, Any]:
    return _list(_object({"name": _NAME, "points": _list(_tuple(x, _NUMBER), MAX_POINTS)}), MAX_SERIES)


WIDGETS: dict[str, dict[str, Any]] = {
    "metric": _widget(
        "metric",
        "One figure, large.",
        {"value": _TEXT},
        {"unit": _TEXT, "trend": {"enum": list(TRENDS)}, "tone": _TONE},
    ),
    "badge": _widget("badge", "One word with a colour.", {"label": _NAME, "tone": _TONE}),
    "progress": _widget(
        "progress", "How far `value` is on the way from 0 to `maximum`.", {"value": _NUMBER, "maximum": _NUMBER}
    ),
    "table": _widget(
        "table",
        "Rows of text, each as wide as `columns`.",
        {"columns": _list(_NAME, MAX_COLUMNS, 1), "rows": _list(_list(_TEXT, MAX_COLUMNS), MAX_ROWS)},
    ),
    "line": _widget(
        "line",
        "Series of [x, y] points; x is a time everywhere or a number everywhere.",
        {"series": {"anyOf": [_series(_TIME), _series(_NUMBER)]}},
    ),
    "bar": _widget(
        "bar", "Labelled amounts side by side.", {"bars": _list(_object({"label": _NAME, "value": _NUMBER}), MAX_ROWS)}
    ),
    "candles": _widget(
        "candles",
        "[opened_at, open, high, low, close, volume], oldest first.",
        {"candles": _list(_tuple(_TIME, *[_NUMBER] * 5), MAX_POINTS)},
    ),
    "log": _widget("log", "Lines of text, the newest last.", {"lines": _list(_TEXT, MAX_ROWS)}),
    "text": _widget("text", "A paragraph. Plain text, never HTML.", {"text": _TEXT}),
    "keyvalue": _widget("keyvalue", "Names and what they stand for.", {"pairs": _list(_tuple(_NAME, _TEXT), MAX_ROWS)}),
}


def widgets_schema() -> dict[str, Any]:
    """The schema of what `render` returns: a list of widgets."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Widgets",
        "description": (
            f"What a strategy's render() returns. Beyond this schema: ids are unique, a table's rows are as wide as "
            f"its columns, a line has at most {MAX_POINTS:,} points over all its series, and everything together is at "
            f"most {MAX_BYTES:,} bytes of JSON."
        ),
        "type": "array",
        "maxItems": MAX_WIDGETS,
        "items": {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in WIDGETS]},
        "$defs": WIDGETS,
    }


def metric(
    id: str, title: str, value: Cell, *, unit: str = "", trend: Trend | None = None, tone: Tone | None = None
) -> Widget:
    """One figure, large: `metric("spread", "Spread", "0.12", unit="%", trend="up")`."""
    widget = {"type": "metric", "id": id, "title": title, "value": _text(value)}
    if unit:
        widget["unit"] = unit
    if trend:
        widget["trend"] = trend
    if tone:
        widget["tone"] = tone
    return widget


def badge(id: str, title: str, label: str, tone: Tone = "neutral") -> Widget:
    """One word with a colour: `badge("trend", "Trend", "rising", "ok")`."""
    return {"type": "badge", "id": id, "title": title, "label": label, "tone": tone}


def progress(id: str, title: str, value: Number, maximum: Number = 1) -> Widget:
    """How far `value` is on the way from 0 to `maximum`."""
    return {
        "type": "progress",
        "id": id,
        "title": title,
        "value": _number(value, "value"),
        "maximum": _number(maximum, "maximum"),
    }


def table(id: str, title: str, columns: Sequence[str], rows: Iterable[Iterable[Cell]]) -> Widget:
    """Rows of cells, each as wide as `columns`."""
    names = _many("table", "columns", columns, 'a list of names, such as ["when", "what"]')
    wanted = "a list of rows, such as [[when, what], …]"
    cells = [
        [_text(cell) for cell in _many("table", "rows", row, wanted)] for row in _many("table", "rows", rows, wanted)
    ]
    return {"type": "table", "id": id, "title": title, "columns": list(names), "rows": cells}


def line(id: str, title: str, series: Mapping[str, Iterable[tuple[X, Number]]]) -> Widget:
    """Lines over a shared axis: `line("ma", "Averages", {"fast": [(candle.opened_at, average), …], "slow": …})`.

    x is a time (aware datetime or ISO 8601 text) everywhere, or a number everywhere.
    """
    wanted = 'a mapping of series, such as {"close": [(x, y), …]}'
    drawn = [
        {
            "name": name,
            "points": [_point(name, point) for point in _many("line", f"series {name!r}", points, "(x, y) points")],
        }
        for name, points in _named("line", "series", series, wanted)
    ]
    return {"type": "line", "id": id, "title": title, "series": drawn}


def bar(id: str, title: str, bars: Mapping[str, Number]) -> Widget:
    """Labelled amounts side by side: `bar("flow", "Flow", {"Mon": 3, "Tue": -1})`."""
    wanted = 'a mapping of amounts, such as {"Mon": 3}'
    drawn = [{"label": label, "value": _number(value, label)} for label, value in _named("bar", "bars", bars, wanted)]
    return {"type": "bar", "id": id, "title": title, "bars": drawn}


def candles(id: str, title: str, candles: Iterable[Candle]) -> Widget:
    """A candle chart of what `context.market.candles` returned."""
    drawn = [_candle(one) for one in _many("candles", "candles", candles, "what context.market.candles returned")]
    return {"type": "candles", "id": id, "title": title, "candles": drawn}


def log(id: str, title: str, lines: Iterable[str]) -> Widget:
    """Lines of text, the newest last. `context.log` is shown without this."""
    return {"type": "log", "id": id, "title": title, "lines": list(_many("log", "lines", lines, "a list of texts"))}


def text(id: str, title: str, text: str) -> Widget:
    """A paragraph of plain text."""
    return {"type": "text", "id": id, "title": title, "text": text}


def keyvalue(id: str, title: str, pairs: Mapping[str, Cell]) -> Widget:
    """Names and what they stand for: `keyvalue("plan", "Plan", {"next buy": when, "notional": notional})`."""
    wanted = 'a mapping of names to what they stand for, such as {"next buy": when}'
    drawn = [[name, _text(value)] for name, value in _named("keyvalue", "pairs", pairs, wanted)]
    return {"type": "keyvalue", "id": id, "title": title, "pairs": drawn}


Hide: TypeAlias = Callable[[str], str]
"""Takes what must not be told out of a text."""


def check_widgets(rendered: object, hide: Hide = str) -> tuple[Widget, ...]:
    """What `render` returned, as a copy in plain JSON types that shares nothing with the strategy.

    Of the values that messages quote, `hide` sees the whole before they are cut: a part of a secret is not recognised.

    Raises ValueError naming the widget and what is wrong with it: an unknown type, a wrong shape, a
    repeated id, a number that is not finite, more than the limits above allow.
    """
    if not isinstance(rendered, (list, tuple)):
        raise ValueError(f"render: expected a list of widgets, was {type(rendered).__name__}")
    if len(rendered) > MAX_WIDGETS:
        raise ValueError(f"render: expected at most {MAX_WIDGETS} widgets, was {len(rendered)}")
    try:
        encoded = _encode(rendered)
    except (ValueError, TypeError, RecursionError):
        raise ValueError(_unencodable(rendered, hide)) from None
    if len(encoded) > MAX_BYTES:
        raise ValueError(f"render: expected at most {MAX_BYTES:,} bytes of JSON, was {len(encoded):,}")
    checked: list[Widget] = json.loads(encoded)
    seen: set[str] = set()
    for index, widget in enumerate(checked):
        wrong = _wrong(widget, hide)
        if wrong:
            raise ValueError(f"{_name(widget, index, hide)}: {wrong}")
        if widget["id"] in seen:
            raise ValueError(f"{_name(widget, index, hide)}: expected a unique id, was the second {widget['id']!r}")
        seen.add(widget["id"])
    return tuple(checked)


def _wrong(widget: object, hide: Hide) -> str:
    """The first thing wrong with one widget, empty where nothing is."""
    kind = widget.get("type") if isinstance(widget, dict) else None
    if not isinstance(widget, dict) or not isinstance(kind, str):
        return f"expected a widget (an object with a type), was {_short(widget, hide)}"
    validator = _validators().get(kind)
    if validator is None:
        return f"expected one of the types {', '.join(WIDGETS)}, was {kind!r}"
    if not validator.is_valid(widget):
        error = next(iter(validator.iter_errors(widget)))
        where = ".".join(map(str, error.instance_path))
        return f"{hide(where)}: {_message(error, hide)}" if where else _message(error, hide)
    if kind == "table":
        width = len(widget["columns"])
        for number, row in enumerate(widget["rows"]):
            if len(row) != width:
                return f"rows.{number}: expected {width} cells, one for each column, was {len(row)}"
    if kind == "line":
        points = sum(len(series["points"]) for series in widget["series"])
        if points > MAX_POINTS:
            return f"series: expected at most {MAX_POINTS:,} points in all, was {points:,}"
    return ""


@cache
def _validators() -> dict[str, Draft202012Validator]:
    from jsonschema_rs import Draft202012Validator

    return {name: Draft202012Validator(schema) for name, schema in WIDGETS.items()}


def _message(error: Any, hide: Hide) -> str:
    if error.schema_path[-1:] == ["anyOf"]:
        return "expected named series of [x, y] points, x a time everywhere or a number everywhere"
    text = hide(str(error.message))
    return text if len(text) <= 200 else f"{text[:90]} … {text[-90:]}"


def _encode(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _unencodable(rendered: Sequence[object], hide: Hide) -> str:
    for index, widget in enumerate(rendered):
        try:
            _encode(widget)
        except UnicodeEncodeError:
            return f"{_name(widget, index, hide)}: expected valid Unicode text, was half a surrogate pair"
        except ValueError as error:
            return f"{_name(widget, index, hide)}: expected finite numbers and no cycles ({error})"
        except TypeError as error:
            return f"{_name(widget, index, hide)}: expected plain JSON values ({error})"
        except RecursionError:
            return f"{_name(widget, index, hide)}: expected a flat widget, was nested too deeply"
    return "render: expected widgets that stand alone, was a list that holds itself"


def _name(widget: object, index: int, hide: Hide) -> str:
    known = widget.get("id") if isinstance(widget, dict) else None
    return f"widget {index + 1} ({hide(known)[:63]!r})" if isinstance(known, str) else f"widget {index + 1}"


def _short(value: object, hide: Hide = str) -> str:
    text = hide(repr(value))
    return text if len(text) <= 60 else f"{text[:57]}…"


def _text(value: Cell) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "–"
        case Decimal():
            return decimal_text(value) if value.is_finite() else str(value)
        case datetime():
            return _moment(value)
        case _:
            return str(value)


def _named(widget: str, name: str, value: Mapping[str, Any], wanted: str) -> Iterable[tuple[str, Any]]:
    """What stands under each name. TypeError where it is no mapping."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{widget}: {name}: expected {wanted}, was {type(value).__name__}")
    return value.items()


def _many(widget: str, name: str, value: Iterable[Any], wanted: str) -> Iterable[Any]:
    """`value` itself. TypeError where it is no list of things; a text, which is one of letters, is none either."""
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise TypeError(f"{widget}: {name}: expected {wanted}, was {type(value).__name__}")
    return value


def _point(series: str, point: Any) -> list[str | float]:
    wanted = f"line: series {series!r}: expected (x, y) points, was {_short(point)}"
    if isinstance(point, (str, bytes, Mapping)):
        raise TypeError(wanted)
    try:
        x, y = point
    except (TypeError, ValueError):
        raise TypeError(wanted) from None
    return [_x(x), _number(y, series)]


def _candle(candle: Any) -> list[str | float]:
    try:
        opened_at, parts = candle.opened_at, (candle.open, candle.high, candle.low, candle.close, candle.volume)
    except AttributeError:
        wanted = "what context.market.candles returned"
        raise TypeError(f"candles: candles: expected {wanted}, was a list of {type(candle).__name__}") from None
    return [_x(opened_at), *(_number(part, "candle") for part in parts)]


def _number(value: Number, name: str) -> float:
    if isinstance(value, (str, bytes)) or not hasattr(value, "__float__"):
        raise TypeError(f"{name}: expected a number, was {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, was {value}")
    return number


def _x(value: X) -> str | float:
    match value:
        case str():
            return value
        case datetime():
            return _moment(value)
        case _:
            return _number(value, "x")


def _moment(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError(f"expected a time with its offset (context.now() has one), was {value.isoformat()}")
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
