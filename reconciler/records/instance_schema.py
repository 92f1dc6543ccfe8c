"""The schema of the instance file: the one definition behind validator, editor schema and docs. Pure.

JSON Schema 2020-12. What a schema cannot say (the file's name, other files, the settings, the strategy's
own config) is in `evaluator` and `crosscheck`.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any, Final

from reconciler.documents.document import INHERITED
from reconciler.records.mode import Mode
from reconciler.records.record import InstanceRecord
from reconciler.validation.validator import DIALECT

ID_PATTERN: Final = "^[a-z0-9][a-z0-9-]{0,62}$"
_DECIMAL_PATTERN: Final = r"^(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?$"
_NOTES: Final = {"^x-": {"title": "Note", "description": "Keys that begin with x- are for your own notes."}}
_WRITTEN: Final = {field.name: field.default for field in dataclasses.fields(InstanceRecord)}
"""What a record holds where the file says nothing, by the name of the key."""


@cache
def instance_schema() -> dict[str, Any]:
    """The file as written; of `config` only that it is a mapping. The same object each time: do not change it."""
    return {
        "$schema": DIALECT,
        "title": "Strategy instance",
        "description": "One deployed strategy: which code, on which account and market, in which mode, how configured.",
        "type": "object",
        "required": ["id", "strategy_type", "account", "market", "mode"],
        "anyOf": [{"required": ["config"]}, {"required": ["template"]}],
        "properties": {
            "id": {
                "title": "Id",
                "description": "Names the instance for ever, and is the file's name without .yaml. Immutable.",
                "type": "string",
                "pattern": ID_PATTERN,
                "examples": ["btc-grid-1"],
            },
            "strategy_type": {
                "title": "Strategy",
                "description": "The strategy it runs: `grid` is strategies/grid.py. Immutable.",
                "type": "string",
                "minLength": 1,
                "examples": ["grid"],
            },
            "account": _account(),
            "market": {
                "title": "Market",
                "description": "The symbol it trades, as exec-mcp spells it. Immutable.",
                "type": "string",
                "minLength": 1,
                "maxLength": 64,
                "examples": ["BTC/USD"],
            },
            "mode": {
                "title": "Mode",
                "description": "off: does not run. observe: runs, its orders are simulated. active: trades. "
                "Rising goes one step at a time, falling any distance.",
                "type": "string",
                "enum": [str(mode) for mode in Mode],
                "examples": ["observe"],
            },
            "config": {
                "title": "Config",
                "description": "The strategy's own settings, as its CONFIG_SCHEMA describes them. Required, here or in "
                "the template.",
                "type": "object",
                "examples": [{"levels": 5}],
            },
            "description": {
                "title": "Description",
                "description": "What this deployment is for, in a line.",
                "type": "string",
                "maxLength": 500,
                "default": _WRITTEN["description"],
                "examples": ["Grid on the spot pair"],
            },
            "labels": {
                "title": "Labels",
                "description": "Words to filter and group by.",
                "type": "object",
                "additionalProperties": {"type": "string", "maxLength": 200},
                "examples": [{"team": "majors"}],
            },
            "template": {
                "title": "Template",
                "description": "A file in instances/_templates, without .yaml, whose values this file builds on.",
                "type": "string",
                "minLength": 1,
                "examples": ["grid-majors"],
            },
            "open_orders": {
                "title": "Open orders",
                "description": "What becomes of its open orders when it leaves active, or is removed. Never on reload, "
                "shutdown, pause, halt or quarantine.",
                "type": "string",
                "enum": ["keep", "cancel"],
                "default": _WRITTEN["open_orders"],
                "examples": ["keep"],
            },
            "protect": {
                "title": "Protect",
                "description": "true: deleting the file never unloads the instance.",
                "type": "boolean",
                "default": _WRITTEN["protect"],
                "examples": [True],
            },
            "data_markets": {
                "title": "Data markets",
                "description": "Symbols that it may read besides its market, with context.market_of, on the same "
                "account's server. It never trades them. A change reloads it.",
                "type": "array",
                "items": {"type": "string", "minLength": 1, "maxLength": 64},
                "maxItems": 32,
                "uniqueItems": True,
                "default": [],
                "examples": [["ETH/USD"]],
            },
            "limits": _limits(),
        },
        "patternProperties": _NOTES,
        "additionalProperties": False,
    }


@cache
def record_schema() -> dict[str, Any]:
    """What a file and its template must add up to: the file's schema, but that `config` is there."""
    schema = {keyword: value for keyword, value in instance_schema().items() if keyword != "anyOf"}
    return {**schema, "required": [*schema["required"], "config"]}


@cache
def template_schema() -> dict[str, Any]:
    """A file in `instances/_templates`: some of an instance file's keys, and nothing else of it."""
    properties = instance_schema()["properties"]
    return {
        "$schema": DIALECT,
        "title": "Template",
        "description": "Values that instance files build on: those that name it with the key template.",
        "type": "object",
        "properties": {key: properties[key] for key in INHERITED},
        "patternProperties": _NOTES,
        "additionalProperties": False,
    }


def _account() -> dict[str, Any]:
    return {
        "title": "Account",
        "description": "Where it trades. Immutable.",
        "type": "object",
        "required": ["account_id", "client_id"],
        "properties": {
            "account_id": {
                "title": "Account id",
                "description": "An account declared in the settings, which say how it is reached.",
                "type": "string",
                "minLength": 1,
                "maxLength": 64,
                "examples": ["main"],
            },
            "client_id": {
                "title": "Client id",
                "description": "Whose orders these are, as exec-mcp knows them.",
                "type": "string",
                "minLength": 1,
                "maxLength": 64,
                "examples": ["desk-a"],
            },
        },
        "patternProperties": _NOTES,
        "additionalProperties": False,
        "examples": [{"account_id": "main", "client_id": "desk-a"}],
    }


def _limits() -> dict[str, Any]:
    return {
        "title": "Limits",
        "description": "The risk envelope, enforced in observe and active alike. Money is a quoted decimal.",
        "type": "object",
        "properties": {
            "max_order_notional": _decimal(
                "Largest order", "The most that one order may be worth, in the quote currency.", "500"
            ),
            "max_position": _decimal("Largest position", "The most it may hold, long or short, in units.", "2"),
            "max_open_orders": _count("Open orders", "The most orders it may have open at once.", 10),
            "max_orders_per_minute": _count("Orders a minute", "The most orders it may place in a minute.", 6),
            "max_daily_loss": _decimal(
                "Daily loss", "The most it may lose in a day (UTC), in the quote currency.", "100"
            ),
            "max_price_deviation": _decimal(
                "Price deviation", "How far from the quote a price may be, as a fraction of the quote.", "0.05"
            ),
            "max_quote_age_seconds": {
                "title": "Quote age",
                "description": "How old, or from how far ahead, a quote may be where an order adds exposure; null: "
                "however old. Without it 60 on real money, and no limit on paper.",
                "type": ["integer", "null"],
                "minimum": 1,
                "maximum": 1_000_000,
                "examples": [60],
            },
        },
        "patternProperties": _NOTES,
        "additionalProperties": False,
        "examples": [{"max_order_notional": "500", "max_open_orders": 10}],
    }


def _decimal(title: str, description: str, example: str) -> dict[str, Any]:
    return {
        "title": title,
        "description": description,
        "type": "string",
        "pattern": _DECIMAL_PATTERN,
        "examples": [example],
    }


def _count(title: str, description: str, example: int) -> dict[str, Any]:
    return {
        "title": title,
        "description": description,
        "type": "integer",
        "minimum": 0,
        "maximum": 1_000_000,
        "examples": [example],
    }
