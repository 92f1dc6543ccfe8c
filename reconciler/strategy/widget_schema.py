"""What a widget may be: the one definition, as JSON Schema 2020-12. The check and the committed file come from it.

`schemas/widgets.schema.json` is `widgets_schema()` written out. What a schema cannot say (unique ids, rows as
wide as their columns, points counted over all series, bytes in all) `widgets.check_widgets` adds.
"""

from __future__ import annotations

from typing import Any

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
