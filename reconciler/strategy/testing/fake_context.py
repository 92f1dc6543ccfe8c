"""The fake context, which opens onto what a test set up; and a strategy run by hand in it, the way the engine does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import Any, Generic, TypeAlias, TypeVar

from reconciler.clock import FakeClock, from_iso, utc
from reconciler.documents.wording import spell
from reconciler.errors import Problem
from reconciler.orders.order import Order
from reconciler.records.cadence import beat_at
from reconciler.records.mode import Mode
from reconciler.strategy.base import Strategy, chance, frozen, not_a_data_market
from reconciler.strategy.definition import Definition
from reconciler.strategy.module_loading import load
from reconciler.strategy.testing.fake_exchange import FakeAccount, FakeInstance, FakeMarket, FakeOrders, FakeTools
from reconciler.strategy.widgets import Widget, check_widgets
from reconciler.validation.config_schema import defaults, with_integers
from reconciler.validation.secrets import secret_places
from reconciler.validation.validator import compile_config_schema


class FakeLog:
    """Implements `strategy.base.Log`. `lines` are (level, message), oldest first."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def info(self, message: str) -> None:
        self.lines.append(("info", message))

    def warning(self, message: str) -> None:
        self.lines.append(("warning", message))

    def error(self, message: str) -> None:
        self.lines.append(("error", message))


class FakeContext:
    """Implements `strategy.base.Context`. Time stands still until `advance`."""

    def __init__(
        self,
        *,
        market: str = "BTC/USD",
        mode: str = "observe",
        now: str = "2026-01-05T12:00:00Z",
        id: str = "under-test",
        strategy_type: str = "under_test",
        account_id: str = "main",
        client_id: str = "desk-a",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.clock = FakeClock(from_iso(now))
        self._instance = FakeInstance(
            id, strategy_type, account_id, client_id, market, mode, MappingProxyType(dict(labels or {}))
        )
        tools = FakeTools()
        self._tools = tools
        self.withdraw = tools.withdraw
        self.market = FakeMarket(market, self.clock, tools)
        self._data_markets: dict[str, FakeMarket] = {}
        self._drawn_for: tuple[int, int] | None = None
        self._random = Random()
        self.account = FakeAccount(tools)
        self.orders = FakeOrders(lambda: self._instance, self.market, self.clock)
        self.log = FakeLog()

    @property
    def instance(self) -> FakeInstance:
        """Replace it to change the mode: whatever ends the shadow book then ends it."""
        return self._instance

    @instance.setter
    def instance(self, instance: FakeInstance) -> None:
        changed = instance.mode != self._instance.mode
        self._instance = instance
        if changed:
            self.orders.mode_changed()

    def add_data_market(self, symbol: str) -> FakeMarket:
        """The record's `data_markets` name this one, too: what `market_of` gives from now on."""
        return self._data_markets.setdefault(symbol, FakeMarket(symbol, self.clock, self._tools))

    def market_of(self, symbol: str) -> FakeMarket:
        if symbol == self._instance.market:
            return self.market
        if symbol not in self._data_markets:
            raise ValueError(not_a_data_market(symbol, self._instance.market, tuple(self._data_markets)))
        return self._data_markets[symbol]

    @property
    def random(self) -> Random:
        """As the engine's, of generation 1 and the beat that it is now."""
        drawn_for = (beat_at(self.clock.time(), HEARTBEAT_S), self.orders.tick)
        if drawn_for != self._drawn_for:
            self._random, self._drawn_for = chance("", self._instance.id, 1, drawn_for[0]), drawn_for
        return self._random

    def now(self) -> datetime:
        return utc(self.clock.time())

    def advance(self, *, minutes: float = 0, seconds: float = 0) -> None:
        """Carry time forward. Quotes and candles stay as they were set."""
        self.clock.advance(minutes * 60 + seconds)

    def fill(self, order: Order, *, price: str | Decimal | None = None, quantity: str | Decimal | None = None) -> Order:
        """Fill an open order, wholly or by `quantity`, at `price` or else its limit or the quote."""
        return self.orders.fill(order, price, quantity)

    def match(self) -> tuple[Order, ...]:
        """Let the quote set now do what it would to the open orders, as the paper exchange does; those it moved."""
        return self.orders.match()


HEARTBEAT_S = 6.0
"""The engine's, where the settings do not say otherwise."""

Price: TypeAlias = str | Decimal

S = TypeVar("S", bound=Strategy)


def load_strategy(path: str | Path) -> type[Strategy]:
    """The strategy class in the file at `path`, loaded and checked as the engine does.

    Raises AssertionError with every problem and its line where the engine would refuse it.
    """
    file = Path(path)
    data = file.read_bytes()
    loaded = load(file.stem, data, file.as_posix(), hashlib.sha1(data, usedforsecurity=False).hexdigest())
    if not isinstance(loaded, Definition):
        raise AssertionError(_told(loaded))
    return loaded.cls


class StrategyRun(Generic[S]):
    """One instance under test. `strategy` is the object itself, `widgets` what it rendered after its last tick."""

    def __init__(self, cls: type[S], config: Mapping[str, Any], context: FakeContext) -> None:
        self.context = context
        self.widgets: Sequence[Widget] = ()
        self._cls = cls
        self._config = config
        self.strategy = self._made()

    def tick(self) -> Sequence[Widget]:
        """Tell `on_order` what changed, run `on_tick`, which alone may place, then `render`, and check the widgets."""
        self._tell()
        with self.context.orders.placing():
            self.strategy.on_tick()
        self.widgets = check_widgets(self.strategy.render())
        return self.widgets

    def follow(self, path: Iterable[Price | tuple[Price, Price]], *, minutes: float = 1.0) -> Sequence[Order]:
        """Let the market go along `path`, a price or (bid, ask) every `minutes`, and tick at each.

        At each price open orders meet it first, by the rule of the paper exchange (see `FakeOrders.match`), then it
        ticks. Candles stay as they were set. Returns the orders that the market moved, each as it was then.
        """
        moved: list[Order] = []
        for price in path:
            bid, ask = price if isinstance(price, tuple) else (price, price)
            self.context.advance(minutes=minutes)
            self.context.market.set_quote(bid, ask)
            moved += self.context.orders.match()
            self.tick()
        return tuple(moved)

    def widget(self, id: str) -> Widget:
        """The widget of that id, as last rendered. KeyError where there is none."""
        return {widget["id"]: widget for widget in self.widgets}[id]

    def reload(self, config: Mapping[str, Any] | None = None, *, mode: str | None = None) -> None:
        """What an edit or a restart does: a new object, nothing remembered but the book. No tick by itself."""
        wanted = self._config if config is None else config
        _effective(wanted, self._cls.CONFIG_SCHEMA)
        self.strategy.on_unload()
        self._config = wanted
        if mode is not None:
            self.context.instance = replace(self.context.instance, mode=mode)
        self.strategy = self._made()

    def unload(self) -> None:
        self.strategy.on_unload()

    def _tell(self) -> None:
        while (order := self._news.take()) is not None:
            if (order.provenance.mode is Mode.ACTIVE) is (self.context.instance.mode == Mode.ACTIVE):
                self.strategy.on_order(order)

    def _made(self) -> S:
        self._news = self.context.orders.listen()
        strategy = self._cls()
        strategy.context = self.context
        strategy.config = frozen(_effective(self._config, self._cls.CONFIG_SCHEMA))
        strategy.init()
        return strategy


def run(cls: type[S], config: Mapping[str, Any] | None = None, context: FakeContext | None = None) -> StrategyRun[S]:
    """Load an instance of `cls`: check `config` against its schema, fill in defaults, call `init`.

    Raises ValueError naming everything the schema does not allow.
    """
    return StrategyRun(cls, config or {}, context or FakeContext())


def _effective(config: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """`config` with defaults. Where a file must refer to a secret, a test writes the secret itself."""
    secrets = {path for path, _ in secret_places(config, schema)}
    wrong = [v for v in compile_config_schema(schema).violations(config) if v.path not in secrets]
    if wrong:
        raise ValueError("\n".join(f"{spell(('config', *v.path))}: {v.message}" for v in wrong))
    effective: Mapping[str, Any] = with_integers(defaults(config, schema), schema)
    return effective


def _told(problems: tuple[Problem, ...]) -> str:
    return "\n".join(f"{problem} ({problem.hint})" if problem.hint else str(problem) for problem in problems)
