"""Random lives: what a life may be strung together from, and how often. What must hold is asked after every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reconciler.orders.order import OrderRequest, OrderType, Side
from reconciler.records.accounts import Accounts, Ceilings, Scope, Throttle, Turnover
from reconciler.records.mode import Mode
from tests.execution.standins import ACCOUNTS, Carrier
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


def bounding(wide: bool) -> Accounts:
    """Limits that are reached now and then: of both accounts, of a label over both, and of all of it."""
    more, D = (2 if wide else 1), Decimal
    main = Ceilings(
        max_gross_notional=D(700) * more,
        max_drawdown=D(60) * more,
        max_turnover=Turnover(D(1800) * more, 2),
    )
    real = Ceilings(max_gross_notional=D(600) * more, max_open_orders=2 * more, min_equity=D(1000))
    bound = {"main": (main, None), "real": (real, Throttle(2 * more, 2))}
    return replace(
        ACCOUNTS,
        declared={
            id_: replace(account, currency="USD", ceilings=bound[id_][0], throttle=bound[id_][1])
            for id_, account in ACCOUNTS.declared.items()
        },
        above=(
            Scope("label", "team=x", "USD", Ceilings(max_position={"BTC/USD": D(4) * more}, max_open_orders=3 * more)),
            Scope("all", "", "USD", Ceilings(max_position={"BTC/USD": D(6) * more}, max_daily_loss=D(90) * more)),
        ),
        throttle=Throttle(12 * more, 1),
    )


class BoundLives(Lives):
    """Lives within limits above the instances, which come and go, as prices do."""

    def __init__(self, main_loop: Carrier, empty_database: Path, tally: Counter[str]) -> None:
        super().__init__(main_loop, empty_database, tally)
        for instance in INSTANCES[1:]:
            self.life.relabel(instance, team="x")
        self.life.rebind(bounding(wide=False))

    def quiet(self, beats: int = 1) -> None:
        """Nothing is wrong for so many beats."""
        self.life.wire.faults.clear()
        self.life.connect()
        for _ in range(beats):
            self.life.one_beat()

    @rule(bid=st.sampled_from([60, 80, 90, 99, 99, 110]))
    def move(self, bid: int) -> None:
        """The market moves, and what rests where a limit is reached is gone soon after."""
        self.life.price(bid, bid + 2)
        self.quiet(4)
        self.life.check_withdrawn()

    @rule(seconds=st.sampled_from([61, 121, 7_000, 90_000]))
    def wait(self, seconds: int) -> None:
        self.life.clock.advance(seconds)
        self.quiet()

    @rule(instance=instances, request=requests, way=st.sampled_from(["taken", "taken", "lost", "dropped", "refused"]),
          other=instances, another=requests)  # fmt: skip
    def race(self, instance: Instance, request: OrderRequest, way: str, other: Instance, another: OrderRequest) -> None:
        """Two place at once."""
        self.open_up()
        self.quiet()
        beside = (other, another) if other is not instance else None
        self.life.place(instance, request, way, beside=beside)

    @rule(wide=st.booleans(), instance=instances, request=requests)
    def rebind(self, wide: bool, instance: Instance, request: OrderRequest) -> None:
        """A pass reads other limits, and somebody places an order before it has ended."""
        self.open_up()
        self.quiet()
        meanwhile: Callable[[], object] = lambda: self.life.place(instance, request)  # noqa: E731
        self.life.rebind(bounding(wide), meanwhile)

    @rule(instance=instances, team=st.sampled_from(["x", "x", "y"]))
    def relabel(self, instance: Instance, team: str) -> None:
        self.life.relabel(instance, team=team)

    @rule(amount=st.sampled_from([900, 1_000_000, 1_000_000]))
    def earn(self, amount: int) -> None:
        """What the exchange says the accounts are worth."""
        for account_id in ("main", "real"):
            self.life.exchange.equity[account_id] = Decimal(amount)
        self.quiet()

    @rule(scope=st.sampled_from(["account main", "account real", "all"]))
    def lift(self, scope: str) -> None:
        self.life.lift_drawdown(scope)

    @rule(instance=instances, quantity=st.integers(1, 2), limit=st.sampled_from([None, 90]))
    def insist(self, instance: Instance, quantity: int, limit: int | None) -> None:
        """The same order, again and again."""
        self.open_up()
        self.quiet()
        for _ in range(3):
            self.life.place(instance, request(Side.BUY, quantity, limit))
