"""Nothing crosses a host that cannot be sent: its two sides do in two processes what they do in one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import pytest

from reconciler.clock import SystemClock
from reconciler.orders.order import Order
from reconciler.records.mode import Mode
from reconciler.runtime.gate_state import Door
from reconciler.runtime.host import InlineHost, Perform
from reconciler.runtime.performer import Performer, no_secrets
from reconciler.runtime.protocol import HostOptions, LoadSpec, Performing, Report, RuntimeFacts, World
from reconciler.strategy.definition import Definition
from reconciler.strategy.module_loading import load
from tests.runtime.conftest import BEAT, FakeGateway, FakeMarket, row
from tests.runtime.other_side import FarPerformer

SOURCE = """
import os
from reconciler.strategy import Strategy, metric

class Probe(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object"}

    def init(self):
        self.heard, self.ticks, self.drawn = [], 0, 0.0
        self.context.log.info(f"in {os.getpid()}")

    def on_order(self, order):
        self.heard.append(order.client_order_id)

    def on_tick(self):
        self.ticks += 1
        self.drawn = self.context.random.random()
        orders, market = self.context.orders, self.context.market
        if self.ticks == 1:
            self.placed = orders.place("buy", "0.5", type="limit", limit_price=market.quote().bid)
            self.seen = [self.placed.state, orders.open(), orders.recent(5), orders.position().quantity]
            self.cancelled = orders.cancel(self.placed.client_order_id).client_order_id
        elif self.ticks == 3:
            raise ValueError(f"heard {self.heard}")
        self.context.log.warning(f"{self.context.instance.mode} {self.seen} {self.cancelled}")

    def render(self):
        return [metric("ticks", "Ticks", self.ticks), metric("drawn", "Drawn", self.drawn)]

    def on_unload(self):
        raise RuntimeError("not in a good mood")
"""


class Seen(NamedTuple):
    """What of a life is to be seen from the host's side. `facts` are those after each beat."""

    reports: list[Report]
    placed: list[Order]
    facts: list[RuntimeFacts]
    where: str


def life(perform: Perform) -> Seen:
    """One instance is loaded, ticks four times, fails once, and is unloaded."""
    gateway = FakeGateway()
    reports: list[Report] = []
    facts: list[RuntimeFacts] = []
    options = HostOptions(render_interval_s=0.0)
    host = InlineHost(World(SystemClock(), FakeMarket(), 6.0), gateway, options, reports.append, perform)
    definition = load("probe", SOURCE.encode(), "strategies/probe.py", "5e17")
    assert isinstance(definition, Definition)
    host.load(LoadSpec(row("one", mode=Mode.ACTIVE), definition))
    for beat in range(BEAT, BEAT + 4):
        host.beat(beat)
        if beat == BEAT:
            gateway.news["one"].add(replace(gateway.placed[0], filled_quantity=Decimal("0.5")))
        found = host.facts("one")
        assert found is not None
        facts.append(found)
    host.unload("one", "it is over")
    where = facts[-1].logs[-1].message
    return Seen(reports, gateway.placed, [plain(one) for one in facts], where)


def plain(facts: RuntimeFacts) -> RuntimeFacts:
    """But for when it was, and in which process."""
    ticks = replace(facts.ticks, last_at=None, last_duration_s=None, next_at=None, last_good_at=None)
    logs = tuple(line._replace(at_s=0.0) for line in facts.logs if not line.message.startswith("in "))
    return replace(facts, ticks=ticks, logs=logs, loaded_at=None, last_error_at=None, drawn_at=None)


@pytest.fixture
def made() -> Iterator[list[FarPerformer]]:
    found: list[FarPerformer] = []
    yield found
    for one in found:
        one.close()


def asked_of(kind: type[Any]) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def test_a_host_whose_strategies_run_in_another_process_is_like_any_other(made: list[FarPerformer]) -> None:
    def far(world: World, options: HostOptions, doors: Any) -> FarPerformer:
        made.append(FarPerformer(world, options, doors))
        return made[-1]

    here, there = life(partial(Performer, resolve=no_secrets)), life(far)
    assert here.where == f"in {os.getpid()}"
    assert there.where != here.where
    assert there[:3] == here[:3]
    assert [type(report).__name__ for report in there.reports] == ["Loaded", "HookFailed", "Recovered", "Unloaded"]
    assert len(there.placed) == 1
    (performer,) = made
    performer.put_back(is_attentive=False)
    assert performer.said == asked_of(Performing) | asked_of(Door), "what was not said was not tried either"
