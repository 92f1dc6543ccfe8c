"""The example fleet: valid, and worth looking at within half a minute."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.clock import from_iso
from reconciler.paper.csv_feed import EXAMPLE, CsvFeed
from reconciler.paper.feed import Prices, SyntheticFeed
from reconciler.records.accounts import Accounts
from reconciler.records.cadence import beat_at, beat_time, is_due
from reconciler.records.evaluator import evaluate
from reconciler.records.record import InstanceRecord
from reconciler.records.snapshot import SourceFile
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.testing import FakeContext, run

ROOT = Path(__file__).parents[2]
EXAMPLES = [ROOT / "instances" / f"{n}.yaml" for n in ("btc-usd-grid", "eur-gbp-grid", "eur-jpy-cross", "eur-usd-dca")]
"""The fleet as it is shipped. A fleet of one's own has no use for this file."""
MODELINE = "# yaml-language-server: $schema=../schemas/instance.schema.json"
HEARTBEAT_S = 6.0


def read(path: Path) -> SourceFile:
    data = path.read_bytes()
    digest = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return SourceFile(path.relative_to(ROOT).as_posix(), data, digest, committed=True)


@pytest.fixture(scope="module")
def catalogue() -> Iterator[Catalogue]:
    one = Catalogue()
    one.refresh(tuple(read(path) for path in sorted((ROOT / "strategies").glob("*.py"))))
    yield one
    one.refresh(())
    one.keep(())


@pytest.fixture(scope="module")
def prices() -> Prices:
    return Prices([CsvFeed.read(EXAMPLE, HEARTBEAT_S), SyntheticFeed("paper", HEARTBEAT_S)], HEARTBEAT_S)


def record(catalogue: Catalogue, path: Path) -> InstanceRecord:
    evaluation = evaluate(read(path), catalogue.facts, Accounts(), catalogue.types(), {})
    assert evaluation.problems == ()
    assert evaluation.record is not None
    return evaluation.record


def test_three_observe_one_is_off_and_none_begins_as_active(catalogue: Catalogue) -> None:
    modes = sorted(str(record(catalogue, path).mode) for path in EXAMPLES)
    assert modes == ["observe", "observe", "observe", "off"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_tells_the_editor_its_schema(path: Path) -> None:
    assert path.read_text(encoding="utf-8").splitlines()[0] == MODELINE


@pytest.mark.parametrize("start", ["2026-01-05T12:00:01Z", "2026-07-31T23:59:40Z", "2027-03-01T05:06:07Z"])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_shows_life_within_half_a_minute(
    catalogue: Catalogue, prices: Prices, path: Path, start: str
) -> None:
    instance = record(catalogue, path)
    facts = catalogue.facts(instance.strategy_type)
    assert facts is not None
    definition = catalogue.definition(instance.strategy_type, facts.code_digest)
    assert definition is not None
    symbol = instance.identity.market
    context = FakeContext(market=symbol, now=start)
    running = run(definition.cls, instance.config, context)
    first = beat_at(from_iso(start), HEARTBEAT_S) + 1
    due = [beat for beat in range(first, first + 5) if is_due(beat, definition.cadence_steps)]
    for beat in due:
        context.clock.set_wall(beat_time(beat, HEARTBEAT_S))
        quote = prices.quote(symbol, prices.step_at(context.clock.time()))
        context.market.set_quote(quote.bid, quote.ask)
        context.market.set_candles("1m", prices.candles(symbol, "1m", 100, context.clock.time()))
        running.tick()
    assert len(running.widgets) >= 4
    if instance.strategy_type != "sma_cross":
        orders = context.orders.all()
        assert orders
        most = instance.limits.max_order_notional
        assert most is not None
        assert all(order.quantity * (order.limit_price or quote.ask) <= most for order in orders)
