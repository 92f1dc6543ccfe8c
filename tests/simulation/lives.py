"""Random lives: what a life may be strung together from, and how often. What must hold is asked after every step."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reconciler.orders.order import OrderRequest, OrderType, Side
from reconciler.records.mode import Mode
from tests.execution.standins import Carrier
from tests.simulation.exchange import Placed
from tests.simulation.life import BEAT_S, Life
from tests.simulation.model import HALTS, INSTANCES, Instance
from tests.simulation.operators import Deed
from tests.simulation.table import Act, leaves
from tests.simulation.wire import POINTS, WAYS

DISASTERS: tuple[Deed, ...] = (("crash", None), ("lose", None), ("flap", None))
UNANSWERED = ("get_order", "list_orders", "get_positions")
BAD_CANCELS = ("cancel_order", "refused cancel_order", "dropped cancel_order")

CLOSINGS: tuple[Deed, ...] = (
    *(("halt", halt) for halt in HALTS),
    *(("declare", halt) for halt in HALTS),
    *(("lower", mode) for mode in (Mode.OBSERVE, Mode.OFF) for _ in HALTS),
    *(("pause", None) for _ in HALTS),
)
INTERRUPTIONS = tuple((point, deed) for point in POINTS for deed in (*CLOSINGS, *(d for d in DISASTERS for _ in HALTS)))

late = st.sampled_from([0.0, 0.0, BEAT_S, 4 * BEAT_S, 10 * BEAT_S])
ways = st.sampled_from([*WAYS, "taken", "taken", "lost", "dropped"])
closings = st.sampled_from(CLOSINGS)
perhaps_closings = st.sampled_from([*CLOSINGS, *(None for _ in CLOSINGS)])
perhaps_anything = st.sampled_from(
    [*CLOSINGS, *(("flap", None) for _ in HALTS), *(("lose", None) for _ in HALTS), None]
)
bad_cancels = st.sampled_from(["", "", "", *BAD_CANCELS])
parts = st.sampled_from(["0.5", "1", "1", "1.5"])
instances = st.sampled_from(INSTANCES)


def request(side: Side, quantity: int | Decimal, limit: int | None, reduce_only: bool = False) -> OrderRequest:
    kind, price = (OrderType.MARKET, None) if limit is None else (OrderType.LIMIT, Decimal(limit))
    return OrderRequest(side, kind, Decimal(quantity), price, reduce_only=reduce_only)


limits = st.sampled_from([None, 90, 110])
requests = st.builds(
    request, st.sampled_from(list(Side)), st.integers(1, 3), limits, st.sampled_from([False, False, False, True])
)


class Lives(RuleBasedStateMachine):
    def __init__(self, main_loop: Carrier, empty_database: Path, tally: Counter[str]) -> None:
        super().__init__()
        self.life = Life(main_loop, empty_database, tally)
        self.tally = tally

    @rule(instance=instances, request=requests, clear=st.sampled_from([True, True, False]))
    def tick(self, instance: Instance, request: OrderRequest, clear: bool) -> None:
        """A strategy places an order, and nothing is wrong; or nothing new."""
        if clear:
            self.open_up()
        self.life.connect()
        self.life.place(instance, request)

    @rule(instance=instances, request=requests, way=ways, late_s=late)
    def unlucky_tick(self, instance: Instance, request: OrderRequest, way: str, late_s: float) -> None:
        """A strategy places an order, and the exchange or the way there is not at its best."""
        self.life.place(instance, request, way, late_s)

    @rule(instance=instances, request=requests, ago_s=st.sampled_from([3600.0, None]))
    def quoteless_tick(self, instance: Instance, request: OrderRequest, ago_s: float | None) -> None:
        """A strategy places an order, and the exchange has an old quote, or none."""
        self.open_up()
        self.life.connect()
        self.life.quoted(ago_s)
        self.life.place(instance, request)
        self.life.quoted(0.0)

    @rule(
        instance=instances,
        request=requests,
        way=ways,
        late_s=late,
        between=st.sampled_from(INTERRUPTIONS),
        clear=st.booleans(),
    )
    def interrupted_tick(
        self, instance: Instance, request: OrderRequest, way: str, late_s: float, between: tuple[str, Deed], clear: bool
    ) -> None:
        """A strategy places an order, and something happens while it is on its way."""
        if clear:
            self.open_up()
            self.life.connect()
        self.life.place(instance, request, way, late_s, between)

    @rule(instance=instances, part=parts, limit=limits, closing=perhaps_closings)
    def get_out(self, instance: Instance, part: str, limit: int | None, closing: Deed | None) -> None:
        """A strategy closes what it holds, or half of it, or more than there is; often after something closed."""
        if not self.life.judge.position(instance.id):
            self.tick(instance, request(Side.BUY, 2, None), clear=True)
        if closing is not None:
            self.close(closing, instance)
        if held := self.life.judge.position(instance.id):
            side = Side.SELL if held > 0 else Side.BUY
            self.life.place(instance, request(side, abs(held) * Decimal(part), limit))

    @rule(
        instance=instances, fault=bad_cancels, closing=perhaps_anything, is_over=st.sampled_from([False] * 4 + [True])
    )
    def cancel(self, instance: Instance, fault: str, closing: Deed | None, is_over: bool) -> None:
        """A strategy cancels an order of its own, most likely one that is open; often after something closed."""
        if not (own := self.own(instance, is_over)):
            self.tick(instance, request(Side.BUY, 1, None if is_over else 90), clear=True)
        if not (own := own or self.own(instance, is_over)):
            return
        if closing is not None:
            self.close(closing, instance)
        told = self.told(instance)
        self.life.wire.faults.update([fault])
        left = self.life.cancel(instance, own[-1])
        self.life.wire.faults.clear()
        assert left == (not is_over and leaves(Act.CANCELS, told)), f"cancel of {own[-1]}: {told}, left: {left}"
        for fact in ["over"] if is_over else told or ["nothing"]:
            self.tally[f"cancelled while {fact}"] += 1

    def own(self, instance: Instance, is_over: bool) -> list[str]:
        """Its orders that the ledger takes for open, or for over."""
        rows = [row for row in self.life.judge.rows().values() if row["instance_id"] == instance.id]
        return [row["client_order_id"] for row in rows if not row["shadow"] and bool(row["is_open"]) != is_over]

    def told(self, instance: Instance) -> list[str]:
        """What is the case, in the words of the table."""
        told, rows = self.life.facts.told(instance), self.life.judge.rows()
        if not self.life.engine.link.status.connected:
            told.append("disconnected")
        elif instance.account_id not in self.life.judge.compared:
            told.append("comparing")
        if any(rows[id_]["instance_id"] == instance.id for id_ in self.life.unknown()):
            told.append("in doubt")
        return told

    @rule(number=st.sampled_from([1, 1, 2, 6]), fault=st.sampled_from(["", "", "", *UNANSWERED]))
    def beats(self, number: int, fault: str) -> None:
        if fault:
            self.life.wire.faults[fault] = 2
        for _ in range(number):
            self.life.one_beat()
        self.life.wire.faults.clear()

    @rule(deed=closings, instance=instances)
    def close(self, deed: Deed, instance: Instance) -> None:
        self.life.perform(deed, instance.id)

    @rule(instance=instances, mode=st.sampled_from([Mode.OBSERVE, Mode.ACTIVE, Mode.ACTIVE]), committed=st.booleans())
    def reload(self, instance: Instance, mode: Mode, committed: bool) -> None:
        """A new record is in force."""
        self.life.operator.load(instance.id, mode, committed)

    @rule(data=st.data())
    @precondition(lambda self: self.life.facts.halts or self.life.facts.declared)
    def unhalt(self, data: st.DataObject) -> None:
        """A halt is lifted; with every other one of its scope and id."""
        facts = self.life.facts
        self.life.operator.lift(*data.draw(st.sampled_from(sorted(facts.halts | facts.declared)))[:2])
        self.tally["unhalted"] += 1

    @rule(deed=st.sampled_from([("lose", None), ("flap", None), None]))
    def connection(self, deed: Deed | None) -> None:
        """It is lost, lost and there again, or made."""
        if deed is None:
            self.life.connect()
        else:
            self.life.perform(deed, "")

    def open_up(self) -> None:
        """Everything may trade again."""
        self.life.operator.lift_all()
        for instance in INSTANCES:
            self.life.operator.load(instance.id, Mode.ACTIVE)

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        self.life.restart(kill)

    @rule(data=st.data(), what=st.sampled_from(["fill", "fill", "part", "expire"]))
    @precondition(lambda self: self.resting())
    def trade(self, data: st.DataObject, what: str) -> None:
        """The market moves: something becomes of an order at the exchange."""
        order: Placed = data.draw(st.sampled_from(self.resting()))
        rest = order.quantity - order.filled
        if what == "expire":
            order.expire()
        else:
            order.fill(rest if what == "fill" else min(rest, Decimal("0.5")))
        self.tally[f"became {order.state}"] += 1

    def resting(self) -> list[Placed]:
        return [order for order in self.life.exchange.visible() if order.is_open]

    @rule(data=st.data())
    @precondition(lambda self: self.life.unknown())
    def resolve(self, data: st.DataObject) -> None:
        self.life.resolve(data.draw(st.sampled_from(self.life.unknown())))

    @invariant()
    def ledger_and_exchange_can_both_be_right(self) -> None:
        self.life.check()

    def teardown(self) -> None:
        self.life.end()
