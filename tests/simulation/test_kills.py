"""Halts that cancel and flatten, under everything that may go wrong: nothing is opened, nothing is sent in doubt.

What must hold of each call is in `model`; at the end of every scene what was to be cancelled is, and what was to be
closed is flat, or the exchange does not hold it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.orders.order import OrderRequest, OrderState, OrderType, Side
from tests.execution.standins import Carrier, Inline, MainLoop
from tests.simulation.life import BEAT_S, Life
from tests.simulation.model import OF, Kill
from tests.simulation.operators import Deed
from tests.simulation.wire import WAYS

A, B, REAL = OF["btc-grid-1"], OF["btc-grid-2"], OF["btc-real"]
Scene = Callable[[Life, Kill], None]
Held = Mapping[str, int]

HELD: tuple[Held, ...] = (
    {A.id: 3, REAL.id: -2},
    {A.id: -3},
    {A.id: 3, B.id: 2},
    {A.id: 3, B.id: -1},
    {A.id: -3, B.id: 1},
    {A.id: 2, B.id: -2},
)
"""On one account, and another: long and short, one beside the other, one against the other."""
FLATTENED = tuple(
    Kill((scope, id_, True), "all", True) for scope, id_ in (("all", ""), ("account", "main"), ("instance", A.id))
)
CANCELLED = tuple(
    Kill((scope, id_, full), cancels, False, declared)  # type: ignore[arg-type]
    for scope, id_, full, cancels, declared in (
        ("all", "", True, "all", False),
        ("account", "main", False, "exposing", True),
        ("instance", A.id, True, "exposing", False),
        ("instance", B.id, False, "all", True),
    )
)
MARKET = ("main", "BTC/USD")
EXTRAS = ("cancel_all", "cancel_all_after")
"""What not all servers have."""


@pytest.fixture(params=[MainLoop, Inline], ids=["threads and loop", "inline"])
def main_loop(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    carrier: Carrier = request.param()
    yield carrier
    carrier.close()


def lay(life: Life, held: Held) -> None:
    """What is held, and of each who holds something an order that adds to it and one that reduces it, both resting."""
    for id_, quantity in held.items():
        side = Side.BUY if quantity > 0 else Side.SELL
        closing = Side.SELL if quantity > 0 else Side.BUY
        life.place(OF[id_], order(side, abs(quantity)))
        life.place(OF[id_], order(side, 1, 100))
        life.place(OF[id_], order(closing, 1, 100))
    assert not life.unknown()


def order(side: Side, quantity: int, limit: int | None = None) -> OrderRequest:
    kind, price = (OrderType.MARKET, None) if limit is None else (OrderType.LIMIT, Decimal(limit))
    return OrderRequest(side, kind, Decimal(quantity), price)


# What may happen from the halt on


def beats(life: Life, number: int = 1, **more: Any) -> None:
    for _ in range(number):
        life.one_beat(**more)
        life.check()


def killed(life: Life, kill: Kill) -> None:
    life.perform(("kill", kill), "")


def at_best(life: Life, kill: Kill) -> None:
    killed(life, kill)
    beats(life, 3)


def filling(part: str) -> Scene:
    """Of each closing order, only a part trades at once; the rest is cancelled in time, and asked anew."""

    def scene(life: Life, kill: Kill) -> None:
        life.exchange.at_once = Decimal(part)
        killed(life, kill)
        beats(life, 7)

    return scene


def going(way: str, part: str = "1", late_s: float = 0.0) -> Scene:
    """The first closing orders, and all others of three beats, go that way."""

    def scene(life: Life, kill: Kill) -> None:
        life.exchange.at_once = Decimal(part)
        killed(life, kill)
        beats(life, 3, way=way, late_s=late_s)
        beats(life, 4)

    return scene


def doubted(whose: str, way: str, late_s: float = 0.0) -> Scene:
    """An order of the strategy's is in doubt when it halts; it is there, or is not, or comes to be seen only late."""

    def scene(life: Life, kill: Kill) -> None:
        life.place(OF[whose], order(Side.BUY, 1, 100), way, late_s)
        killed(life, kill)
        beats(life, 8)

    return scene


def failing(tool: str, times: int) -> Scene:
    def scene(life: Life, kill: Kill) -> None:
        life.wire.faults[tool] = times
        killed(life, kill)
        beats(life, 4)
        life.wire.faults.clear()
        beats(life, 3)

    return scene


def untrue_cancels(times: int) -> Scene:
    """The exchange says that it cancelled, and did not: nothing is closed before somebody has it end there."""

    def scene(life: Life, kill: Kill) -> None:
        life.wire.faults["untrue cancel_order"] = times
        killed(life, kill)
        for _ in range(4):
            life.one_beat()
            assert life.wire.violation is None
        life.wire.faults.clear()
        for placed in life.exchange.visible():
            if placed.is_open and life.judge.row(placed.arguments["client_order_id"])["state"] == "cancelled":
                placed.state = OrderState.CANCELLED
        beats(life, 3)

    return scene


def saying(quantity: str | None) -> Scene:
    """The exchange says that it holds something else than it does."""

    def scene(life: Life, kill: Kill) -> None:
        life.exchange.untrue[MARKET] = None if quantity is None else Decimal(quantity)
        killed(life, kill)
        beats(life, 4)
        life.exchange.untrue.clear()
        beats(life, 3)

    return scene


def by_hand(quantity: str, after: int) -> Scene:
    """Somebody else trades on the account, before it is flattened or while it is."""

    def scene(life: Life, kill: Kill) -> None:
        life.exchange.at_once = Decimal("0.5")
        killed(life, kill)
        beats(life, after)
        life.exchange.by_hand[MARKET] = Decimal(quantity)
        beats(life, 6)

    return scene


def down(life: Life, kill: Kill) -> None:
    life.perform(("lose", None), "")
    killed(life, kill)
    beats(life, 3)
    life.connect()
    beats(life, 3)


def down_after(number: int, deed: str) -> Scene:
    def scene(life: Life, kill: Kill) -> None:
        life.exchange.at_once = Decimal("0.5")
        killed(life, kill)
        beats(life, number)
        life.perform((deed, None), "")
        beats(life, 3)
        life.connect()
        beats(life, 3)

    return scene


def removed(life: Life, kill: Kill) -> None:
    """The files are gone, and nothing runs any more."""
    for instance in (A, B):
        life.operator.remove(instance.id)
    at_best(life, kill)


def removed_on_the_way(life: Life, kill: Kill) -> None:
    life.exchange.at_once = Decimal("0.5")
    killed(life, kill)
    beats(life, 2)
    life.operator.remove(A.id)
    life.restart(kill=True)
    beats(life, 4)


def off_and_paused(life: Life, kill: Kill) -> None:
    life.perform(("lower", life.facts.modes[A.id].OFF), A.id)
    life.perform(("pause", None), B.id)
    at_best(life, kill)


def restarted(life: Life, kill: Kill) -> None:
    life.exchange.at_once = Decimal("0.5")
    killed(life, kill)
    for number in range(5):
        beats(life)
        life.restart(kill=number % 2 == 0)
    beats(life, 2)


def quoteless(life: Life, kill: Kill) -> None:
    life.quoted(None)
    at_best(life, kill)
    life.quoted(0.0)
    beats(life, 3)


def lifted(life: Life, kill: Kill) -> None:
    life.exchange.at_once = Decimal("0.5")
    killed(life, kill)
    beats(life, 2)
    life.operator.lift(*kill.halt[:2])
    sent = len(life.exchange.received)
    beats(life, 4)
    assert len(life.exchange.received) == sent


def between(point: str, deed: Deed, part: str = "1", way: str = "taken") -> Scene:
    """Something happens while a closing order is on its way."""

    def scene(life: Life, kill: Kill) -> None:
        life.exchange.at_once = Decimal(part)
        killed(life, kill)
        done = deed if deed[0] != "lift" else ("lift", kill.halt[:2])
        for number in range(4):  # it is only then that one leaves
            beats(life, way=way, late_s=BEAT_S, interruption=(point, done) if number < 2 else None)
        life.connect()
        beats(life, 3)

    return scene


def beside_a_stranger(life: Life, kill: Kill) -> None:
    """Somebody else's order rests there: no call may reach it."""
    life.exchange.rest("main", "desk-a")
    at_best(life, kill)
    assert life.exchange.orders["stranger-0"].is_open


def filled_before_the_cancel(life: Life, kill: Kill) -> None:
    """What rests fills in part at the very halt: the cancels find it so, and what is held is another."""
    for placed in life.exchange.visible():
        if placed.is_open:
            placed.fill(Decimal("0.5"))
    at_best(life, kill)


POINTS = ("committed", "arrived", "answering")
SCENES: Mapping[str, Scene] = {
    "at its best": at_best,
    **{f"{part} fills at once": filling(part) for part in ("0", "0.5", "0.9")},
    **{f"closing orders are {way}": going(way) for way in WAYS},
    **{f"closing orders fill in part, and are {way}": going(way, "0.5", 4 * BEAT_S) for way in WAYS},
    "an order that is not there is in doubt": doubted(A.id, "lost"),
    "one that rests is": doubted(A.id, "dropped"),
    "one that comes to be seen late": doubted(B.id, "dropped", 4 * BEAT_S),
    "one that comes to be seen once it was given up": doubted(A.id, "dropped", 10 * BEAT_S),
    "its word is gibberish": doubted(B.id, "gibberish"),
    "it was misheard": doubted(A.id, "misheard"),
    **{
        f"{fault} goes wrong {times} times": failing(fault, times)
        for times in (1, 3, 99)
        for fault in (
            *("cancel_order", "refused cancel_order", "dropped cancel_order"),
            *("list_orders", "empty list_orders", "get_positions", "empty get_positions", "get_order", "get_quote"),
        )
    },
    **{f"{times} cancels are said to be done and are not": untrue_cancels(times) for times in (1, 3, 99)},
    **{f"the exchange says that it holds {said}": saying(said) for said in ("0", "1", "-1", "-9", "9", "2.5", None)},
    **{f"somebody trades {much} after {n}": by_hand(much, n) for much in ("-1", "1", "-4", "4") for n in (0, 1, 2)},
    "the server is down": down,
    **{f"it goes down after {n}": down_after(n, "lose") for n in (1, 2)},
    **{f"it flaps after {n}": down_after(n, "flap") for n in (1, 2)},
    "the files are gone": removed,
    "a file goes on the way": removed_on_the_way,
    "off, and paused": off_and_paused,
    "engine after engine": restarted,
    "there is no quote": quoteless,
    "an order of somebody else's rests there": beside_a_stranger,
    **{f"{way} cancel_all": failing(f"{way} cancel_all".strip(), 2) for way in ("", "refused", "dropped", "untrue")},
    "the halt is lifted": lifted,
    "what rests fills at the halt": filled_before_the_cancel,
    **{
        f"{deed[0]} at {point}, {way}": between(point, deed, part, way)
        for point in POINTS
        for deed in (("crash", None), ("lose", None), ("flap", None), ("lift", None), ("halt", ("all", "", True)))
        for part, way in (("1", "taken"), ("0.5", "dropped"))
    },
}


SLOW = [scene for name, scene in SCENES.items() if name.endswith("slow")]


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_flattening_opens_nothing_and_sends_nothing_in_doubt(
    scene: Scene, main_loop: Carrier, empty_database: Path
) -> None:
    first = list(SCENES.values()).index(scene) + isinstance(main_loop, Inline)
    if isinstance(main_loop, Inline) and scene in SLOW:
        pytest.skip("whoever waits on one thread alone waits for ever")
    tally: Counter[str] = Counter()
    for number in range(2):  # each scene on other holdings and scopes, and each of these under some of the scenes
        life = Life(main_loop, empty_database, tally, extras=EXTRAS if (first + number) % 2 else ())
        life.exchange.at_once = Decimal(0)
        lay(life, HELD[(first + 3 * number) % len(HELD)])
        life.exchange.at_once = Decimal(1)
        scene(life, FLATTENED[(first + number) % len(FLATTENED)])
        life.wire.faults.clear()
        life.exchange.untrue.clear()
        life.end()
    assert tally["flat"] or not life.facts.kills or life.exchange.by_hand, "nothing was ever flat"


def test_all_is_cancelled_in_one_call_where_nothing_else_is_in_reach(main_loop: Carrier, empty_database: Path) -> None:
    for strangers, together in ((0, 4), (1, 0)):
        life = Life(main_loop, empty_database, extras=EXTRAS)
        lay(life, {A.id: 3, REAL.id: 1})
        for _ in range(strangers):
            life.exchange.rest("main", "desk-a")
            life.exchange.rest("real", "desk-a")
        at_best(life, CANCELLED[0])
        assert life.tally["cancelled together"] == together
        assert len(life.wire.cancels) == 4 - together
        life.end()


@pytest.mark.parametrize("kill", CANCELLED, ids=str)
@pytest.mark.parametrize("held", HELD, ids=str)
def test_what_a_halt_cancels_it_cancels_until_none_is_open(
    held: Held, kill: Kill, main_loop: Carrier, empty_database: Path
) -> None:
    for name in ("at its best", "one that rests is", "the files are gone", "engine after engine", "the server is down"):
        life = Life(main_loop, empty_database, extras=EXTRAS if kill.cancels == "all" else ())
        lay(life, held)
        SCENES[name](life, kill)
        life.check()
        if not kill.declared:
            life.end()
            continue
        for _ in range(4):
            life.one_beat()
        life.judge.check_killed()
        life.end()
