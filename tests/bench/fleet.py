"""A fleet in memory to measure a host with: trivial strategies, an exchange that answers nothing. No measurement."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, NoReturn

from reconciler.clock import SystemClock
from reconciler.records.cadence import steps
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row, digest
from reconciler.runtime.host import ThreadHost
from reconciler.runtime.performer import Performer, no_secrets
from reconciler.runtime.protocol import HostOptions, Loaded, LoadSpec, Report, World
from reconciler.strategy.base import Strategy
from reconciler.strategy.definition import Definition

_LONGEST_S = 60.0


class Trivial(Strategy):
    """Ticks at every beat, and does what most strategies do at most beats: next to nothing."""

    TICK_MINUTES = 0.1
    CONFIG_SCHEMA: ClassVar = {"type": "object"}

    def init(self) -> None:
        self.ticks = 0

    def on_tick(self) -> None:
        self.ticks += 1


class NoExchange:
    """Stands for the gateway and the market where neither is asked. No order is ever on its way."""

    def written(self, instance_id: str = "") -> None:
        """None is."""

    def listen(self, instance_id: str) -> None:
        """There is nothing to hear."""

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        def refuse(*_: object, **__: object) -> NoReturn:
            raise AssertionError(f"{name} is not measured here")

        return refuse


def define(cls: type[Strategy]) -> Definition:
    return Definition(
        strategy_type=cls.__name__.lower(),
        path=f"strategies/{cls.__name__.lower()}.py",
        code_digest="v1",
        cls=cls,
        description="",
        tick_minutes=cls.TICK_MINUTES,
        cadence_steps=steps(cls.TICK_MINUTES),
        tick_on_load=cls.TICK_ON_LOAD,
        config_schema=cls.CONFIG_SCHEMA,
    )


def rows(count: int, prefix: str = "i") -> list[Row]:
    """`count` rows as the store would hand them over, each with its own config."""
    return [_row(f"{prefix}-{n}", {"levels": n, "symbol": "BTC/USD", "spread": 0.5}) for n in range(count)]


def _row(instance_id: str, config: dict[str, Any]) -> Row:
    return Row(
        record=InstanceRecord(
            id=instance_id,
            identity=Identity("trivial", "main", "desk-a", "BTC/USD"),
            mode=Mode.OBSERVE,
            config=config,
            effective_config=config,
        ),
        path=f"instances/{instance_id}.yaml",
        generation=1,
        values_digest=digest(config),
        config_digest=digest(config),
        file_digest=digest(instance_id),
        code_digest="v1",
        revision=None,
        committed=False,
        applied_at="2026-01-31T12:00:00.000Z",
    )


class Fleet:
    """A running host, and a count of what it has loaded.

    The host alone, not an engine as `assembled` makes it: what a tick and an instance cost is to be seen by itself.
    """

    def __init__(self, options: HostOptions) -> None:
        self.loaded = 0
        self._awaited = 0
        self._reached = threading.Event()
        exchange: Any = NoExchange()
        perform = partial(Performer, resolve=no_secrets)
        self.host = ThreadHost(World(SystemClock(), exchange, 6.0), exchange, options, self._hear, perform)
        self.host.start()

    def _hear(self, report: Report) -> None:
        if isinstance(report, Loaded):
            self.loaded += 1
        if self.loaded >= self._awaited:
            self._reached.set()

    def load(self, wanted: Sequence[Row], cls: type[Strategy] = Trivial) -> None:
        """Load them all, and wait until they are."""
        definition = define(cls)
        self._reached.clear()
        self._awaited = self.loaded + len(wanted)
        for row in wanted:
            self.host.load(LoadSpec(row, definition))
        if not self._reached.wait(_LONGEST_S):
            raise AssertionError(f"expected {self._awaited} loaded, was {self.loaded}")


@contextmanager
def fleet(options: HostOptions | None = None) -> Iterator[Fleet]:
    """A host, stopped afterwards."""
    running = Fleet(options or HostOptions())
    try:
        yield running
    finally:
        running.host.stop(_LONGEST_S)
