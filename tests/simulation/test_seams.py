"""What comes between: everything that closes or breaks, at every seam on the way of one order. Invariants 2 and 9."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.orders.order import OrderRequest, OrderType, Side
from reconciler.records.mode import Mode
from tests.execution.standins import MainLoop
from tests.simulation.life import BEAT_S, Life
from tests.simulation.model import OF
from tests.simulation.operators import Deed
from tests.simulation.wire import POINTS

DEEDS: tuple[Deed, ...] = (
    *(("crash", None), ("lose", None), ("flap", None), ("pause", None)),
    *((kind, halt) for kind in ("halt", "declare") for halt in (("instance", "btc-real", False), ("all", "", True))),
    *(("lower", mode) for mode in (Mode.OBSERVE, Mode.OFF)),
)


@pytest.mark.parametrize("deed", DEEDS, ids=str)
@pytest.mark.parametrize("point", POINTS)
def test_what_comes_between_is_heeded_until_the_order_is_handed_over_and_loses_none_after(
    point: str, deed: Deed, main_loop: MainLoop, empty_database: Path
) -> None:
    for way in ("taken", "dropped", "lost"):
        life = Life(main_loop, empty_database)
        real, buy = OF["btc-real"], OrderRequest(Side.BUY, OrderType.LIMIT, Decimal(1), Decimal(90))
        life.place(real, buy, way, BEAT_S, (point, deed))
        assert life.tally[f"{deed[0]} at {point}"] or (point, deed[0]) == ("handing over", "crash")
        life.check()
        life.place(real, buy)
        life.end()


@pytest.mark.parametrize("deed", [("halt", ("all", "", True)), ("declare", ("account", "main", True))], ids=str)
@pytest.mark.parametrize("whose", ["the strategy's", "the record's"])
def test_whoever_halts_in_full_waits_for_a_cancel_that_is_being_handed_over(
    whose: str, deed: Deed, main_loop: MainLoop, empty_database: Path
) -> None:
    life, instance = Life(main_loop, empty_database), OF["btc-grid-2"]
    resting = life.place(instance, OrderRequest(Side.BUY, OrderType.LIMIT, Decimal(1), Decimal(90)))
    assert resting is not None
    life.wire.interruption = ("cancelling", deed)
    if whose == "the strategy's":
        life.cancel(instance, resting.client_order_id)
    else:
        life.perform(("lower", Mode.OBSERVE), instance.id)
        life.one_beat()
    assert life.wire.cancels == [resting.client_order_id]
    assert life.facts.told(instance)[-1] == "halted in full"
    life.end()


@pytest.mark.parametrize("whose", ["btc-grid-1", "btc-real"])
@pytest.mark.parametrize("way", ["misheard", "dropped"])
def test_what_an_order_changed_that_nobody_has_looked_up_yet_is_no_agreed_difference(
    way: str, whose: str, main_loop: MainLoop, empty_database: Path
) -> None:
    """Two looks see the same before it is booked; after it was, and a kill, that is no lost row."""
    life, instance = Life(main_loop, empty_database), OF[whose]
    life.place(instance, OrderRequest(Side.BUY, OrderType.MARKET, Decimal(1)))
    life.wire.faults["get_order"] = 99
    life.place(instance, OrderRequest(Side.SELL, OrderType.MARKET, Decimal(1)), way)
    for _ in range(3):
        life.perform(("flap", None), instance.id)
        life.connect()
    life.wire.faults.clear()
    for _ in range(2):
        life.one_beat()
    life.restart(kill=True)
    life.end()


@pytest.mark.parametrize("how", ["it sleeps", "the next one sleeps", "it is killed, and nobody starts another"])
@pytest.mark.parametrize("whose", ["btc-grid-1", "btc-real"])
def test_a_refusal_that_was_none_is_looked_up_after_days_in_which_nobody_could(
    whose: str, how: str, main_loop: MainLoop, empty_database: Path
) -> None:
    life = Life(main_loop, empty_database)
    life.place(OF[whose], OrderRequest(Side.BUY, OrderType.MARKET, Decimal(1)), "misheard")
    life.engine.store.beats.fired(int(life.clock.time() // BEAT_S), BEAT_S)
    if how == "the next one sleeps":
        life.restart(kill=True)
    life.clock.advance(3 * 86_400)
    if how.startswith("it is killed"):
        life.restart(kill=True)
    life.end()


def test_what_a_person_wrongly_took_for_never_placed_is_found_after_days_in_which_nobody_could_ask(
    main_loop: MainLoop, empty_database: Path
) -> None:
    life, instance = Life(main_loop, empty_database), OF["btc-grid-1"]
    order = life.place(instance, OrderRequest(Side.BUY, OrderType.MARKET, Decimal(1)), "dropped", 4 * BEAT_S)
    assert order is not None
    life.perform(("lose", None), instance.id)
    life.resolve(order.client_order_id)
    life.clock.advance(3 * 86_400)
    life.end()
