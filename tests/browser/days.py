"""Days that an engine may have: what the pages are looked at with. No rule of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from reconciler.clock import iso, utc
from reconciler.errors import Problem
from reconciler.orders.holding import Holding
from reconciler.orders.market import Balance, Position, Quote
from reconciler.ports import AccountView
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt
from reconciler.records.status import Health, Obstacle, Sync, Ticks
from tests.browser.conftest import Engine
from tests.dashboard.conftest import (
    A_PROBLEM,
    NOW_S,
    a_change,
    a_condition,
    a_generation,
    a_halt,
    a_strategy,
    an_event,
    an_instance,
    an_order,
)

LONG = "a-very-long-name-that-somebody-chose-for-an-instance-of-a-grid"
WORDS = (
    "It says in many words what it does, and goes on about it for longer than any column is wide on any screen. " * 3
)
DOUBT = "it is not known whether x1 was placed"


CANCELLING = {
    "left": [f"l{n}" + "x" * 30 for n in range(7)],
    "failed": [{"client_order_id": "f1", "message": WORDS}],
    "flattening": [f"closing 0.5 BTC/USD of {LONG}: 3 of 9 slices", "BTC/USD of main: signs differ, nothing is sent"],
}
FOLLOWED = {
    "kind": "git",
    "branch": "main",
    "remote": "https://example.org/" + LONG,
    "applied": {**a_change("a" * 40), "author": LONG, "subject": WORDS, "at": iso(NOW_S - 900)},
    "seen": {**a_change("b" * 40), "at": iso(NOW_S - 60)},
    "held": {**a_change("b" * 40), "at": iso(NOW_S - 60), "why": WORDS},
    "unreachable": "fatal: could not read from remote repository",
    "unreachable_since": iso(NOW_S - 300),
}


def bounds() -> Iterator[Mapping[str, Any]]:
    """Limits above the instances: one within, one near, one full, one reached, one that cannot be measured."""
    by = [{"instance_id": name, "used": "123456.78901234"} for name in (LONG, *"abcdefg")]
    one = {"kind": "account", "id": "main", "money": "real", "currency": "USD", "most": "50000", "by": by, "why": ""}
    most = {
        "scope": f"account {LONG}",
        "limit": "max_gross_notional",
        "near": False,
        "full": False,
        "reached": False,
        **one,
    }
    yield {**most, "used": "1.5", "left": "49998.5"}
    yield {**most, "used": "49000", "left": "1000", "near": True}
    yield {**most, "used": "50000", "left": "0", "near": True, "full": True}
    yield {
        **most,
        "scope": f"label {LONG}={LONG}",
        "used": "50000",
        "left": "0",
        "near": True,
        "reached": True,
        "why": WORDS,
    }
    yield {
        **most,
        "scope": "all",
        "used": None,
        "left": None,
        "near": True,
        "reached": True,
        "why": "it cannot be measured",
        "by": [],
    }


def a_tick(age_s: float = 3, every_s: float = 6, **more: Any) -> Ticks:
    at = iso(NOW_S - age_s)
    return Ticks(1_412, 0, 0, at, 0.012, iso(NOW_S + 3), at, every_s, **more)


def a_calm_day(engine: Engine) -> None:
    engine.status.fleet = [an_instance(f"calm-{n}", ticks=a_tick()) for n in range(3)]


def a_hard_day(engine: Engine) -> None:
    """Everything at once that can be wrong, and the longest names."""
    status, reader = engine.status, engine.reader
    active: dict[str, Any] = {"account_id": "main", "mode": Mode.ACTIVE, "effective_mode": Mode.ACTIVE}
    closed = a_condition("Trading", False, "UnknownOrder", DOUBT)
    opened = a_condition("Trading", True, "Open", "orders may leave")
    stuck = a_condition("Ready", False, "Stuck", "on_tick has outlived its deadline\n  strategies/dca.py:31 in on_tick")
    undrawn = a_condition(
        "Ready", True, "RenderFailed", "it ticks, but what it shows is old: render failed: ValueError"
    )
    well = an_instance().conditions
    ready = (*well[:3], opened)
    status.fleet = [
        an_instance("live-open", **active, conditions=ready, ticks=a_tick(), description="Follows the mean"),
        an_instance(
            "live-doubt",
            **active,
            conditions=(*well[:3], closed),
            obstacles=(Obstacle("UnknownOrder", DOUBT),),
            ticks=replace(a_tick(40), errors=7, errors_last_hour=3),
            drawn_at=iso(NOW_S - 9),
        ),
        an_instance("lowered", **{**active, "effective_mode": Mode.OBSERVE}, ticks=a_tick(), frozen_with_exposure=True),
        an_instance(
            "stuck",
            health=Health.STUCK,
            conditions=(*well[:2], stuck, well[3]),
            ticks=replace(a_tick(90), next_at=None),
        ),
        an_instance("undrawn", conditions=(*well[:2], undrawn, well[3]), drawn_at=iso(NOW_S - 900), ticks=a_tick()),
        an_instance("paused", paused=True, health=Health.PAUSED, ticks=replace(a_tick(700), next_at=None)),
        an_instance("halted", obstacles=(Obstacle("Mode", ""), Obstacle("Halted", "odd fills")), ticks=a_tick()),
        an_instance("invalid", sync=Sync.INVALID, ticks=a_tick(2_000, 3_600)),
        an_instance("off", mode=Mode.OFF, effective_mode=Mode.OFF, health=Health.OFF, ticks=Ticks()),
        an_instance(
            LONG,
            description=WORDS,
            market="1000000MOG/USDT:USDT-261231",
            labels={"team": "majors", LONG: LONG, "x": "y"},
            account_id="an-account-with-a-long-name-of-its-own",
            health=Health.PROGRESSING,
            sync=Sync.OUT_OF_SYNC,
            ticks=Ticks(99_999, 1_234, 5_678, iso(NOW_S - 9), 0.2, iso(NOW_S), None, 60.0, 1_000, 600),
        ),
    ]
    status.found = [
        A_PROBLEM,
        replace(A_PROBLEM, path=f"instances/{LONG}.yaml"),
        Problem(f"instances/{LONG}.yaml", 0, 0, "", WORDS, WORDS, "x"),
    ]
    status.files = [
        Attempt(f"instances/{name}.yaml", None, "", None, Sync.INVALID, WORDS, tuple(status.found), iso(NOW_S))
        for name in ("not-yet", LONG)
    ]
    status.bounds = list(bounds())
    reader.followed = FOLLOWED
    counts: dict[str, int] = {str(one): sum(i.health is one for i in status.fleet) for one in Health}
    status.engine_now = replace(
        status.engine_now,
        clean=False,
        prune_held=("a-1", "a-2", "a-3", "a-4"),
        prune_digest="9f31c2",
        halts=(
            a_halt("account", "main", cancelling=CANCELLING),
            a_halt("instance", "halted"),
            a_halt("instance", "nobody", note="no such instance"),
        ),
        exec_servers=(
            {"name": "kraken", "connected": False, "last_error": "connection refused", "since": iso(NOW_S - 99)},
        ),
        beats_lost=7,
        counts={**counts, "total": len(status.fleet), "problems": 3, "active": 2},
    )
    status.doubted = [{"client_order_id": "x1", "instance_id": "live-doubt", "message": DOUBT, "needs_somebody": False}]
    status.denied = [
        {
            "client_order_id": "x2",
            "instance_id": "live-open",
            "account_id": "main",
            "message": "asked 3 times",
            "seen_at": iso(NOW_S - 60),
        }
    ]
    status.differing = [
        {"account_id": "main", "difference": "the exchange holds 0.01 BTC/USD, the fills make 0", "at": iso(NOW_S)}
    ]
    status.strays = [
        {
            "account_id": "main",
            "client_order_id": "z" * 36,
            "exchange_order_id": "1" * 20,
            "symbol": "BTC/USD",
            "side": "buy",
            "quantity": "0.00000001",
            "state": "open",
            "seen_at": iso(NOW_S - 99),
        }
    ]
    status.account_now = AccountView(
        (Position("BTC/USD", Decimal("0.00042")),),
        iso(NOW_S - 5),
        (Balance("USD", Decimal("1234.56"), Decimal("1000")),),
        iso(NOW_S - 5),
        iso(NOW_S - 5),
        "the exchange holds 0.01 BTC/USD",
    )
    status.quotes = {
        "BTC/USD": Quote("BTC/USD", Decimal("59999.5"), Decimal("60000.5"), Decimal(60_000), utc(NOW_S - 4))
    }
    status.definitions = [
        a_strategy(),
        a_strategy(strategy_type="grid", description=WORDS, problems=(A_PROBLEM,), instances=(LONG, "b")),
    ]
    status.lines = [
        {"at": iso(NOW_S - n), "level": level, "message": WORDS} for n, level in enumerate(("info", "warning", "error"))
    ]
    status.drawn = widgets()
    status.places = {"config.notional": f"instances/{LONG}.yaml:7"}
    unknown = {"outcome": "unknown", "state": None, "filled_quantity": "0", "average_price": None, "fee": None}
    reader.order_rows = [
        an_order(client_order_id="x1", **unknown),
        an_order(client_order_id="x2", state="open", filled_quantity="0.0001"),
        an_order(client_order_id="y" * 36, shadow=True, outcome="shadow", state="partially_filled", instance_id=LONG),
        an_order(outcome="rejected", rejected_by="gateway", reason=WORDS, repeats=240, revision=None),
        an_order(
            client_order_id="f1",
            fills=[
                {
                    "exchange_fill_id": "f" * 30,
                    "quantity": "0.00042",
                    "price": "59999.9",
                    "fee": "0.06",
                    "made_up": False,
                    "at": iso(NOW_S),
                }
            ],
        ),
    ]
    reader.event_rows = [
        an_event(
            id=n, type=("Warning", "Normal")[n % 2], message=WORDS, count=n, instance_id=("", LONG, "stuck")[n % 3]
        )
        for n in range(6)
    ]
    reader.generation_rows = [a_generation(summary=WORDS, committed=False), a_generation(generation=2)]
    reader.books = (
        [Holding("BTC/USD", Decimal("0.00042"), Decimal("25.2"), Decimal("-3.1415926535"))],
        [Holding("BTC/USD", Decimal(1), Decimal(100))],
    )


def widgets() -> list[Mapping[str, Any]]:
    """One of each kind, some of them as wide as they come."""
    points = [[n, (n * 37) % 11] for n in range(40)]
    candles = [[iso(NOW_S + 60 * n), 5, 8, 2, 6 if n % 2 else 4, 9] for n in range(12)]
    head = {"id": "w", "title": "A widget"}
    return [
        {**head, "type": "metric", "value": "1,234,567,890.12345678", "unit": "USD", "tone": "ok", "trend": "up"},
        {**head, "type": "metric", "value": "0", "tone": "danger", "trend": "down"},
        {**head, "type": "badge", "label": "waiting", "tone": "warning"},
        {**head, "type": "progress", "value": 1, "maximum": 3},
        {**head, "type": "table", "columns": [f"column {n}" for n in range(12)], "rows": [["1,234.5678"] * 12] * 3},
        {**head, "type": "table", "columns": ["a"], "rows": [["x" * 200]]},
        {**head, "type": "line", "series": [{"name": f"series {n}", "points": points[n:]} for n in range(3)]},
        {**head, "type": "bar", "bars": [{"label": f"b{n}", "value": n - 2} for n in range(6)]},
        {**head, "type": "candles", "candles": candles},
        {**head, "type": "log", "lines": [WORDS, "short"]},
        {**head, "type": "text", "text": WORDS},
        {**head, "type": "keyvalue", "pairs": [["a key", "a value"], [LONG, WORDS]]},
    ]
