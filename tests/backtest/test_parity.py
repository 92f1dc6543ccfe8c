"""Live and backtest are one engine: the example strategies on the paper exchange, and over its recorded quotes."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.assembly import Driver
from reconciler.backtest.dataset import look_through
from reconciler.backtest.rows import data_files
from reconciler.backtest.simulation import RunPlan, run
from reconciler.backtest.tape import Costs
from reconciler.clock import FakeClock, SimulatedClock, SystemClock, iso
from reconciler.exec_mcp.bridge import LoopBridge
from reconciler.inline import Still, at_mode, inline_engine, paper_exchange
from reconciler.orders.holding import Holding
from reconciler.orders.order import Order, OrderState, Outcome, Side, decimal_text
from reconciler.paper.csv_feed import EXAMPLE
from reconciler.records.cadence import beat_at
from reconciler.records.mode import Mode
from reconciler.runtime.host import ThreadHost
from reconciler.settings.loading import load
from reconciler.sources.worktree import Worktree, WorktreeOptions
from tests import drawing
from tests.proof.floor import HEARTBEAT_S, Floor, trading_floor, wait_until

ROOT = Path(__file__).parents[2]
START_S, HOURS = 1_767_268_800.0, 1
"""2026-01-01, noon."""
LOOKED_BACK_S = 7_200
RECORD = """id: {id}
strategy_type: {type}
account: {{account_id: {id}, client_id: a}}
market: {market}
mode: observe
config: {config}
"""
FLEET = {
    "ladder": ("grid", "BTC/USD", '{quantity: "0.01", levels: 3, spacing: "0.0005", price_step: "0.1"}'),
    "buyer": ("dca", "EUR/USD", '{notional: "100", every_minutes: 1, quantity_step: "0.01"}'),
    "crosser": ("sma_cross", "EUR/USD", '{quantity: "500", fast: 2, slow: 5, timeframe: 1m}'),
    "maker": ("market_maker", "BTC/USD", '{quantity: "0.1", max_inventory: "0.5", half_spread: "0.0004"}'),
}


class Told(NamedTuple):
    """All of an order but its ids."""

    placed: str
    asked: str
    became: str


def told(orders: Sequence[Order]) -> list[Told]:
    found = []
    for order in orders:
        request = order.request
        prices = [request.limit_price, request.stop_price, request.quantity]
        asked = " ".join([request.side, request.type, *(decimal_text(one) for one in prices if one is not None)])
        average = None if order.average_price is None else decimal_text(order.average_price)
        became = f"{order.outcome} {order.state} {decimal_text(order.filled_quantity)} at {average} {order.reason}"
        found.append(Told(order.created_at.isoformat(), asked, became))
    return found


def fleet(root: Path) -> Path:
    (root / "instances").mkdir()
    shutil.copytree(ROOT / "strategies", root / "strategies", ignore=shutil.ignore_patterns("__pycache__"))
    for id, (type, market, config) in FLEET.items():
        text = RECORD.format(id=id, type=type, market=market, config=config)
        (root / "instances" / f"{id}.yaml").write_text(text, encoding="utf-8")
    (root / "reconciler.yaml").write_text("paper: {fills: next}\n", encoding="utf-8")
    return root


def test_an_hour_of_the_example_strategies_is_the_same_on_the_exchange_and_over_its_quotes(tmp_path: Path) -> None:
    root = fleet(tmp_path)
    settings, clock = load(root, {}), SimulatedClock(START_S)
    snapshot = Worktree(root, SystemClock(), WorktreeOptions()).read()
    end_s = START_S + HOURS * 3_600
    with paper_exchange(settings, clock) as exchange:
        prices, lines = exchange._prices, ["time,symbol,bid,ask"]
        for step in range(prices.step_at(START_S - LOOKED_BACK_S), prices.step_at(end_s) + 1):
            for symbol in ("BTC/USD", "EUR/USD"):
                quote = prices.quote(symbol, step)
                lines.append(f"{quote.as_of.isoformat()},{symbol},{quote.bid},{quote.ask}")
        data = root / "quotes.csv"
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with inline_engine(settings, clock, exchange, Still(snapshot), mode=Mode.ACTIVE) as engine:
            assert not engine.problems()
            engine.run(end_s)
            ledger = engine.store.ledger
            live = {id: told(list(reversed(ledger.recent(id, 10_000, shadow=False)))) for id in FLEET}
            books = {id: ledger.holding(id, market, False) for id, (_, market, _) in FLEET.items()}
    dataset = look_through(data_files([data]), START_S)
    assert dataset.problems == ()
    replayed = run(RunPlan(root, snapshot, dataset, {}, Costs(), ""))
    assert {one.id: told(one.orders) for one in replayed.instances} == live
    assert {one.id: one.holding for one in replayed.instances} == books
    assert sum(map(len, live.values())) > 100
    assert all(any("filled" in one.became for one in orders) for id, orders in live.items() if id != "crosser")
    assert Decimal(0) < books["buyer"].quantity


BEATS, ROWS_BEFORE = 600 if drawing.PROFILE == "new" else 300, 150
"""Half an hour, and each night a whole one; and the quarter of one that is looked back at."""
SETTINGS = """
paper:
  fills: next
  prices: quotes.csv
  begin: "{begin}"
  balances: {{USD: "100000", JPY: "9000000", GBP: "100000"}}
"""


class Traded(NamedTuple):
    """What one instance asked for and got, in order, and what it holds."""

    orders: Sequence[tuple[object, ...]]
    holding: Holding


def example_fleet(root: Path) -> Mapping[str, str]:
    """The instances of this repository as they are, but each on an account of its own, and their quotes in one file.

    Their markets by id.
    """
    shutil.copytree(ROOT / "strategies", root / "strategies", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "instances").mkdir()
    markets = {}
    for path in sorted((ROOT / "instances").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert "account_id: main" in text
        own = text.replace("account_id: main", f"account_id: {path.stem}")
        (root / "instances" / path.name).write_text(own, encoding="utf-8")
        (markets[path.stem],) = re.findall("^market: (.*)$", text, re.MULTILINE)
    (root / "quotes.csv").write_text("\n".join(quote_rows()) + "\n", encoding="utf-8")
    begin = iso(START_S - ROWS_BEFORE * HEARTBEAT_S)
    (root / "reconciler.yaml").write_text(SETTINGS.format(begin=begin), encoding="utf-8")
    return markets


def quote_rows() -> Iterator[str]:
    """A row a beat: the euro's as the European Central Bank told them day by day, the bitcoin's by chance.

    With more digits than they need, so that the exchange has no spread to round: it is two hundredths of a percent, in
    whole tenths of the last digit.
    """
    luck, bitcoin = random.Random(16), Decimal(60_000)
    names, *days = [line for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    yield ",".join(["time", "BTC/USD", *names.split(",")[1:4]])
    for number, day in enumerate(days[: ROWS_BEFORE + BEATS + 1], -ROWS_BEFORE):
        bitcoin += luck.randint(-60, 60)
        prices = [bitcoin, *map(Decimal, day.split(",")[1:4])]
        yield ",".join([iso(START_S + number * HEARTBEAT_S), *(f"{price:.8f}" for price in prices)])


def asked_and_got(orders: Sequence[Order]) -> list[tuple[object, ...]]:
    """All of each order but its ids and times."""
    return [
        (
            *(order.request.side, order.request.type, order.request.quantity, order.request.limit_price),
            *(order.request.stop_price, order.request.time_in_force, order.request.reduce_only),
            *(order.outcome, order.state, order.reason, order.rejected_by, order.provenance.beat),
            *(order.filled_quantity, order.average_price, order.fee, order.fee_currency),
            *(order.quote_bid, order.quote_ask),
        )
        for order in orders
    ]


def live_hour(
    root: Path, folder: Path, markets: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, Traded]:
    """On threads and a loop, orders travelling over real MCP, as fast as everybody is done with each beat."""
    settings = load(root, {})
    site = settings.paper.site(settings.heartbeat_seconds, None)
    source = Still(Worktree(root, SystemClock(), WorktreeOptions()).read())
    clock = FakeClock(START_S)
    with trading_floor(folder, site.options, source, active_driver, clock=clock, feed=site.feed) as floor:
        assert floor.engine.controller.converge(20.0)
        beats = LiveBeats(floor, folder / "paper.journal", markets, monkeypatch)
        for _ in range(BEATS):
            beats.give()
        assert (floor.host.ticks().errors, floor.host.ticks().missed) == (0, 0)
        ledger = floor.store.ledger
        return {
            id: Traded(asked_and_got(ledger.recent(id, 10_000, False)[::-1]), ledger.holding(id, market, False))
            for id, market in markets.items()
        }


def active_driver() -> Driver:
    """Threads and a loop, every record taken as active, as a backtest takes it."""
    return Driver(LoopBridge(), ThreadHost, judge=partial(at_mode, Mode.ACTIVE))


class LiveBeats:
    """Gives heartbeats to a floor: orders are asked for first, then whoever is due ticks.

    Asked for before anybody ticks, as in a backtest, not beside the ticks: live, who ticks at each beat may learn of a
    fill one beat later. And asked for only where the exchange wrote anything down by itself, else all answers are as
    they were, and an hour of them takes a minute; and at every fifth beat, lest the exchange take the engine for dead.
    """

    def __init__(self, floor: Floor, journal: Path, ids: Collection[str], monkeypatch: pytest.MonkeyPatch) -> None:
        async def nobody(beat: int) -> None:
            """It was asked before."""

        self._floor, self._journal, self._known = floor, journal, 0
        self._account = min(ids)
        self._ask = floor.engine.gateway.follow_up
        monkeypatch.setattr(floor.engine.gateway, "follow_up", nobody)
        ticks = [facts.ticks for id in ids if (facts := floor.host.facts(id)) is not None]
        self._steps = [round(one.every_s / HEARTBEAT_S) for one in ticks if one.every_s is not None]
        assert len(self._steps) == len(ids)

    def give(self) -> None:
        """The next one; returns once all that came of it is done."""
        floor, bridge = self._floor, self._floor.engine.bridge
        assert isinstance(bridge, LoopBridge)
        floor.clock.advance(HEARTBEAT_S)
        beat = beat_at(floor.clock.time(), HEARTBEAT_S)
        floor.ask("get_balances", self._account)  # which has it look at the next row
        if self._journal.stat().st_size != self._known or beat % 5 == 0:
            floor.run(self._ask(beat))
        assert floor.engine.heartbeat.step()
        floor.dispatched += sum(beat % steps == 0 for steps in self._steps)
        wait_until(lambda: floor.host.ticks().count == floor.dispatched, "all ticks to end")
        wait_until(lambda: not bridge._running, "what the beat set off at the exchange to end")
        self._known = self._journal.stat().st_size  # what was placed and cancelled since has been answered


def test_what_the_example_fleet_does_is_the_same_live_and_as_a_backtest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "fleet"
    root.mkdir()
    markets = example_fleet(root)
    live = live_hour(root, tmp_path, markets, monkeypatch)
    dataset = look_through(data_files([root / "quotes.csv"]), START_S)
    assert dataset.problems == ()
    snapshot = Worktree(root, SystemClock(), WorktreeOptions()).read()
    tested = run(RunPlan(root, snapshot, dataset, {}, Costs(spread=Decimal("0.0002")), ""))
    for one in tested.instances:
        assert asked_and_got(one.orders) == live[one.id].orders, one.id
        assert one.holding == live[one.id].holding, one.id
    assert {one.id for one in tested.instances} == set(live)
    for id, traded in live.items():
        assert len(traded.orders) > BEATS // 120, id
        assert Outcome.ACCEPTED in {outcome for order in traded.orders for outcome in order}, id
    sold = [order for id in ("btc-usd-grid", "eur-gbp-grid", "eur-jpy-cross") for order in live[id].orders]
    assert {order[0] for order in sold} == {Side.BUY, Side.SELL}
    assert {OrderState.FILLED, OrderState.CANCELLED} <= {order[8] for order in sold}
