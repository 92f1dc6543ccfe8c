"""Everything that may keep something in, in every combination: what leaves is what the table says. Invariant 2.

Judged from the wire and from rows read with SQL. The exchange refuses whatever gets there, so that nothing that leaves
changes what comes after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from pathlib import Path

import pytest

from reconciler.orders.news import Shares
from reconciler.orders.order import OrderRequest, OrderType, Outcome, Side
from reconciler.records.mode import Mode
from tests.execution.standins import Carrier, Inline, MainLoop
from tests.simulation.life import Life
from tests.simulation.model import OF, HaltKey, Instance
from tests.simulation.table import ORDERS, RULES, Act, act_of, leaves

OURS, NEIGHBOUR = OF["btc-grid-1"], OF["btc-grid-2"]
HELD, RESTING = Decimal(3), Decimal(1)
QUANTITIES = {Act.OPENS: 1, Act.REDUCES: 2, Act.MAY_TURN: 3, Act.TURNS: 4}

MODES = ("active", "observe", "off")
DOUBTS = (
    *(("none", Side.SELL), ("none", Side.BUY), ("a neighbour's", Side.SELL)),
    *(("in doubt", Side.BUY), ("found pending", Side.SELL), ("found unknown", Side.BUY)),
)
"""Whose order nobody knows the outcome of, and on which side its instance closes what it holds."""
CONNECTIONS = ("there", "disconnected", "comparing", "not comparable")
ELSEWHERE: tuple[HaltKey, ...] = (("account", "real", True), ("instance", "btc-grid-2", True))
HALTS: tuple[tuple[HaltKey, ...], ...] = (
    (),
    ELSEWHERE,
    *(((scope, id_, full),) for scope, id_ in (("instance", OURS.id), ("account", "main"), ("all", ""))
      for full in (False, True)),
    (("instance", OURS.id, False), ("all", "", True)),
)  # fmt: skip

BEHIND = {**QUANTITIES, Act.REDUCES: 1}
"""The same while the ledger is behind: a reduction, with what rests, is no more than the exchange holds, mostly."""


@pytest.fixture(params=[MainLoop, Inline], ids=["threads and loop", "inline"])
def main_loop(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    """The table holds whatever carries the engine."""
    carrier: Carrier = request.param()
    yield carrier
    carrier.close()


@dataclass
class Scene:
    """An instance that holds 3 (or owes 3) with 1 resting to close it, and a neighbour on its account."""

    life: Life
    side: Side
    """Of what closes what it holds."""
    resting: str = ""
    neighbours: str = ""

    @property
    def opening(self) -> Side:
        return Side.BUY if self.side is Side.SELL else Side.SELL

    def lay(self) -> None:
        self._placed(OURS, self.opening, HELD, None)
        self.resting = self._placed(OURS, self.side, RESTING, 100)
        self.neighbours = self._placed(NEIGHBOUR, self.side, RESTING, 100)
        assert self.life.tally["accepted"] == 3

    def _placed(self, instance: Instance, side: Side, quantity: Decimal, limit: int | None) -> str:
        order = self.life.place(instance, _request(side, quantity, limit))
        assert order is not None
        return order.client_order_id

    def doubt(self, doubt: str) -> None:
        """An order whose outcome nobody learns, for no time passes."""
        instance = NEIGHBOUR if doubt == "a neighbour's" else OURS
        request = _request(self.opening, Decimal(1), 100)
        if doubt == "none":
            return
        if doubt == "found pending":
            self.life.place(instance, request, "lost", 0.0, ("arrived", ("crash", None)))
        else:
            self.life.place(instance, request, "lost")
        if doubt == "found unknown":
            self.life.restart(kill=True)
        assert len(self.life.unknown()) == 1
        assert not doubt.startswith("found") or self.life.tally[f"{doubt.removeprefix('found ')} at a start"] == 1

    def connection(self, connection: str) -> None:
        """Lost; or made anew, and nobody has compared yet; or could."""
        if connection == "disconnected":
            self.life.perform(("lose", None), OURS.id)
        if connection in ("comparing", "not comparable"):
            self.life.perform(("flap", None), OURS.id)
        if connection == "not comparable":
            self.life.wire.faults["list_orders"] = 1
            self.life.engine.connected()
            assert self.life.tally["fault list_orders"] == 1

    def close(self, halts: Iterable[HaltKey], paused: bool, by: str) -> None:
        for halt in halts:
            self.life.perform((by, halt), OURS.id)
        if paused:
            self.life.perform(("pause", None), OURS.id)

    def open(self) -> None:
        self.life.operator.lift_all()
        self.life.operator.resume(OURS.id)

    def facts(self, doubt: str, connection: str) -> list[str]:
        """What is the case, in the words of the table."""
        told = self.life.facts.told(OURS)
        if doubt not in ("none", "a neighbour's"):
            told.append("in doubt")
        if connection != "there":
            told.append("disconnected" if connection == "disconnected" else "comparing")
        return told

    def differing(self, act: Act, facts: list[str]) -> Iterator[str]:
        """Do it, and tell what was not as the table says."""
        counts_as = act
        if "observe" in facts and act is Act.MAY_TURN:
            counts_as = Act.REDUCES  # what rests at the exchange is no part of the shadow book
        expected = leaves(counts_as, facts)
        words = {rule.word for fact in facts if counts_as in (rule := RULES[fact]).keeps_in}
        left = self._order(act, words) if act in ORDERS else self._cancel(act)
        if isinstance(left, str):
            yield left
        elif left != expected:
            yield f"{act} {'left' if left else 'was kept in'}"

    def _cancel(self, act: Act) -> bool | str:
        self.life.wire.faults["refused cancel_order"] = 1
        if act is Act.CANCELS:
            return self.life.cancel(OURS, self.resting)
        try:
            return self.life.cancel(OURS, self.neighbours) or f"{act}, and nobody minded"
        except KeyError:
            return False

    def _order(self, act: Act, words: set[str]) -> bool | str:
        """Whether it left; or what is wrong with its row. `words` say why it may be kept in, "" that it is observed."""
        received = self.life.exchange.received
        before = len(received)
        side = self.opening if act is Act.OPENS else self.side
        wire = self.life.wire
        wire.refusal = "no money" if wire.refusal == "closed" else "closed"  # what is refused otherwise is no row
        order = self.life.place(OURS, _request(side, Decimal(QUANTITIES[act]), 100), "refused")
        assert order is not None
        row = self.life.judge.row(order.client_order_id)
        told = (row["outcome"], row["rejected_by"], row["reason"].split(":")[0])
        if len(received) > before:
            is_it = received[-1]["client_order_id"] == order.client_order_id
            return (is_it and told[:2] == ("rejected", "exchange")) or f"{act} left, and its row says {told}"
        if row["outcome"] == "shadow":
            self.life.cancel(OURS, order.client_order_id)  # what it leaves in its book would rest beside the next one
            return words != {""} and f"{act} became a shadow order"
        return told not in {("rejected", "gateway", word) for word in words if word} and f"{act} became {told}"


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize(("doubt", "side"), DOUBTS)
@pytest.mark.parametrize("mode", MODES)
def test_what_leaves_is_what_the_table_says(
    mode: str, doubt: str, connection: str, side: Side, main_loop: Carrier, empty_database: Path
) -> None:
    scene = Scene(Life(main_loop, empty_database), side)
    scene.lay()
    scene.doubt(doubt)
    if mode != "active":
        scene.life.perform(("lower", Mode(mode)), OURS.id)
    scene.connection(connection)
    by = "halt" if side is Side.SELL else "declare"  # whoever holds is halted by an operator, who owes by the file
    wrong: list[tuple[object, ...]] = []
    for halts, paused in product(HALTS, (False, True)):
        scene.close(halts, paused, by)
        facts = scene.facts(doubt, connection)
        for act in Act:
            wrong += [(facts, halts, what) for what in scene.differing(act, facts)]
        scene.open()
    assert wrong == []
    scene.life.end()


@pytest.mark.parametrize("ago_s", [0.0, 60.0, 61.0, -61.0, None])
@pytest.mark.parametrize("limit", [100, None])
@pytest.mark.parametrize("instance", [OURS, OF["btc-real"]], ids=lambda instance: instance.account_id)
def test_what_leaves_on_which_quote_is_what_the_table_says(
    instance: Instance, limit: int | None, ago_s: float | None, main_loop: Carrier, empty_database: Path
) -> None:
    life = Life(main_loop, empty_database)
    life.place(instance, _request(Side.BUY, HELD, None))
    life.place(instance, _request(Side.SELL, RESTING, 100))
    facts = [] if limit is not None or ago_s is not None else ["at market, and no quote"]
    if instance.account_id == "real" and (ago_s is None or abs(ago_s) > 60):
        facts.append(f"real money, and {'no quote' if ago_s is None else 'a quote of another time'}")
    for act, quantity in QUANTITIES.items():
        life.exchange.quoted_ago_s = ago_s
        life.beat += 1
        before = len(life.exchange.received)
        side = Side.BUY if act is Act.OPENS else Side.SELL
        order = life.place(instance, _request(side, Decimal(quantity), limit), "refused")
        assert order is not None
        assert (len(life.exchange.received) > before) is leaves(act, facts), act
        words = {RULES[fact].word for fact in facts if act in RULES[fact].keeps_in}
        assert not words or order.reason.split(":")[0] in words
    life.end()


@pytest.mark.parametrize("instance", [OURS, OF["btc-real"]], ids=lambda instance: instance.account_id)
def test_what_leaves_while_an_account_is_asked_to_wait_is_what_the_table_says(
    instance: Instance, main_loop: Carrier, empty_database: Path
) -> None:
    life = Life(main_loop, empty_database)
    life.place(instance, _request(Side.BUY, HELD, None))
    life.place(instance, _request(Side.SELL, RESTING, 100))
    life.hushed(instance.account_id, 60.0)
    for act, quantity in QUANTITIES.items():
        before = len(life.exchange.received)
        side = Side.BUY if act is Act.OPENS else Side.SELL
        order = life.place(instance, _request(side, Decimal(quantity), 100), "refused")
        assert order is not None
        assert (len(life.exchange.received) > before) is leaves(act, ["asked to wait"]), act
        assert leaves(act, ["asked to wait"]) or order.reason.startswith(RULES["asked to wait"].word)
    life.end()


@pytest.mark.parametrize("act", [Act.OPENS, Act.REDUCES], ids=str)
def test_what_is_refused_again_and_again_is_held_back_as_the_table_says(
    act: Act, main_loop: Carrier, empty_database: Path
) -> None:
    life = Life(main_loop, empty_database)
    life.place(OURS, _request(Side.BUY, HELD, None))
    side, quantity = (Side.BUY if act is Act.OPENS else Side.SELL), Decimal(QUANTITIES[act])
    for number in range(8):
        before = len(life.exchange.received)
        order = life.place(OURS, _request(side, quantity, 100), "refused")
        assert order is not None
        facts = ["refused again and again"] if number >= 5 else []
        assert (len(life.exchange.received) > before) is leaves(act, facts)
        assert not facts or order.reason.startswith(RULES[facts[0]].word)
    life.end()


def test_the_acts_are_what_they_are_called() -> None:
    for act, quantity in QUANTITIES.items():
        room = -HELD if act is Act.OPENS else HELD
        assert act_of(room, RESTING, Decimal(quantity)) is act


def _request(side: Side, quantity: Decimal, limit: int | None) -> OrderRequest:
    kind, price = (OrderType.MARKET, None) if limit is None else (OrderType.LIMIT, Decimal(limit))
    return OrderRequest(side, kind, quantity, price)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(
    ("lost", "held", "facts"),
    [
        ((2, None), "5", ["behind"]),
        ((-1, None), "2", ["behind"]),
        ((-2, None), "1", ["behind, and the exchange holds less"]),
        ((-4, None), "-1", ["behind, and the exchange holds less"]),
        ((1, 90), "3", ["behind"]),
    ],
    ids=["more is held", "as much as is reduced", "less", "on the other side", "an order rests"],
)
def test_what_leaves_while_the_ledger_is_behind_is_what_the_table_says(
    side: Side, lost: tuple[int, int | None], held: str, facts: list[str], main_loop: Carrier, empty_database: Path
) -> None:
    """What was placed last is in no ledger any more: an older one was put back."""
    life, real = Life(main_loop, empty_database), OF["btc-real"]
    closing, sign = (Side.SELL, 1) if side is Side.BUY else (Side.BUY, -1)
    life.place(real, _request(side, HELD, None))
    rests = life.place(real, _request(closing, RESTING, 100))
    assert rests is not None
    life.one_beat()
    copy = life.copied()
    quantity, limit = lost
    life.place(real, _request(side if quantity > 0 else closing, Decimal(abs(quantity)), limit))
    life.put_back(copy)
    assert life.judge.held_there(real) == sign * Decimal(held)
    kept_in_at_first = life.place(real, _request(side, Decimal(1), 90), "refused")
    for _ in range(2):
        life.one_beat()
    assert kept_in_at_first is not None
    assert kept_in_at_first.reason.partition(":")[0] in ("ExecDown", "LedgerBehind")
    life.engine.store.flush()  # events are written when there is time
    told = life.judge.events("LedgerBehind")
    assert len(told) == 1
    for act, much in BEHIND.items():
        order = life.place(real, _request(side if act is Act.OPENS else closing, Decimal(much), 100), "refused")
        assert order is not None
        left = order.rejected_by == "exchange"
        assert left == leaves(act, facts), f"{act}: {order.reason}"
        assert left or order.reason.startswith("LedgerBehind: ")
    life.wire.faults["refused cancel_order"] = 1
    assert life.cancel(real, rests.client_order_id)
    life.check()
    booked = sign * HELD
    outside = Decimal(held) * sign - booked
    life.settle("real", Shares("seen", "uid 1000", outside={"BTC/USD": outside}))
    order = life.place(real, _request(side, Decimal(1), 90))
    assert order is not None
    assert order.outcome is Outcome.ACCEPTED
    life.check()
    life.end()
