"""No order leaves on what was true before: lowering, pausing and unloading against an order under way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from reconciler.records.mode import Mode
from reconciler.runtime.gate_state import Gate
from reconciler.strategy.base import Strategy

if TYPE_CHECKING:
    from tests.runtime.conftest import Stage

CLOSINGS: dict[str, Callable[[Stage], None]] = {
    "lowered": lambda stage: stage.host.set_mode("one", Mode.OBSERVE),
    "paused": lambda stage: stage.host.pause("one", "operator", "stop"),
    "unloaded": lambda stage: stage.host.unload("one", "removed"),
}


class Places(Strategy):
    def on_tick(self) -> None:
        self.context.orders.place("buy", "1")


@pytest.mark.parametrize("closing", CLOSINGS)
def test_invariant_2_no_order_leaves_once_the_gate_is_closed(stage: Stage, closing: str) -> None:
    """The order is before its last look when the gate is closed, and must not pass it."""
    committing, go_on = threading.Event(), stage.gate()

    def commit() -> None:
        committing.set()
        go_on.wait(60)

    stage.gateway.before_last_look = commit
    stage.load(Places, stage.row(mode=Mode.ACTIVE))
    stage.beat()
    assert committing.wait(60)
    CLOSINGS[closing](stage)
    go_on.set()
    stage.until(lambda: stage.gateway.placed)
    assert stage.gateway.sent == []


@pytest.mark.parametrize("closing", CLOSINGS)
def test_invariant_2_closing_waits_for_an_order_that_is_just_being_handed_over(stage: Stage, closing: str) -> None:
    """Past its last look an order leaves; then closing returns only afterwards, never before."""
    handing, go_on = threading.Event(), stage.gate()

    def hand_over() -> None:
        handing.set()
        go_on.wait(60)

    stage.gateway.while_handing_over = hand_over
    stage.load(Places, stage.row(mode=Mode.ACTIVE))
    stage.beat()
    assert handing.wait(60)
    sent_when_closed: list[int] = []

    def close() -> None:
        CLOSINGS[closing](stage)
        sent_when_closed.append(len(stage.gateway.sent))

    closer = threading.Thread(target=close, daemon=True)
    closer.start()
    stage.until(lambda: stage.facts().mode is not Mode.ACTIVE or stage.facts().pause)
    assert sent_when_closed == [], "the order has not left yet, so closing must still wait"
    go_on.set()
    closer.join(60)
    assert sent_when_closed == [1]


def test_an_order_carries_where_it_came_from_and_the_mode_in_force(stage: Stage) -> None:
    stage.load(Places, stage.row(mode=Mode.ACTIVE, generation=4, revision="abc"))
    stage.tick()
    stage.host.set_mode("one", Mode.OBSERVE)
    stage.tick()
    active, shadow = (order.provenance for order in stage.gateway.placed)
    assert (active.instance_id, active.account_id, active.client_id) == ("one", "main", "desk-a")
    assert (active.symbol, active.generation, active.revision) == ("BTC/USD", 4, "abc")
    assert (active.mode, shadow.mode) == (Mode.ACTIVE, Mode.OBSERVE)
    assert (active.beat, shadow.beat) == (1_000, 1_001)


def test_a_gate_lives_across_reloads_of_its_id(stage: Stage) -> None:
    stage.load(Places)
    slot = stage.host._roster.slot("one")
    assert slot is not None
    gate = slot.gate
    stage.load_again(Places, stage.row(config={"levels": 7}))
    assert stage.host._roster.slot("one") is slot
    assert slot.gate is gate
    assert gate.row.record.config == {"levels": 7}


def test_a_gate_opens_no_higher_than_its_ceiling_and_lowering_never_raises(stage: Stage) -> None:
    gate = Gate(stage.row(mode=Mode.ACTIVE))
    modes = [gate.mode]
    gate.open(stage.row(mode=Mode.ACTIVE), Mode.OBSERVE)
    modes.append(gate.mode)
    gate.lower(Mode.ACTIVE)
    modes.append(gate.mode)
    gate.open(stage.row(mode=Mode.OBSERVE), Mode.ACTIVE)
    modes.append(gate.mode)
    assert modes == [Mode.OFF, Mode.OBSERVE, Mode.OBSERVE, Mode.OBSERVE]


def test_the_operators_pause_outranks_the_engines(stage: Stage) -> None:
    gate = Gate(stage.row())
    gate.engine_pause = "five failures"
    assert gate.paused
    assert gate.pause == ("engine", "five failures")
    gate.operator_pause = "mine"
    assert gate.pause == ("operator", "mine")
