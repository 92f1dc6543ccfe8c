"""Orders under everything that may come between: invariants 2, 3 and 9, in random lives of an engine.

A rule is something that happens: a tick places an order, an operator halts, a connection is lost, the process is
killed. Some happen *within* the placing of an order, at the seams where the gateway lets others in. What the model
knows is in `model`; the exchange outlives every engine.

By default the same lives are led every time. `SIMULATION_EXAMPLES=2000 pytest tests/simulation` leads so many new ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from reconciler.clock import FakeClock, iso
from reconciler.errors import (
    CapabilityUnavailable,
    ExecError,
    ExecRejected,
    ExecUnavailable,
    ExecUnknown,
    StoreError,
)
from reconciler.execution import dispatch
from reconciler.execution.handover import Handover
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.order import OrderRequest, OrderState, OrderType, Side
from reconciler.records.record import Identity, InstanceRecord, Row, RowChange
from reconciler.records.verdict import Verdict, VerdictWord
from tests.execution.standins import MainLoop
from tests.simulation.engine import Crashed, Engine
from tests.simulation.exchange import PRICE, Exchange, Placed
from tests.simulation.model import HALTS, INSTANCES, OF, Facts, HaltKey, Instance, Judge

BEAT_S = 6.0
QUIET_BEATS = 14
"""Three answers over thirty seconds, then one more comparison, which are a minute apart."""
LATE_S = st.sampled_from([0.0, 0.0, BEAT_S, 4 * BEAT_S, 10 * BEAT_S])
"""How long the exchange keeps an order that it took to itself."""
WAYS = (
    *("taken", "taken", "taken", "refused", "refused in its answer", "lost", "lost", "dropped", "dropped", "slow"),
    *("gibberish", "over at once", "not delivered", "stalled", "broken", "unwritten"),
)
"""What becomes of an order that leaves."""
POINTS = ("quote", "committed", "handing over", "arrived", "answering")
"""Where, on its way, others may step in."""
EXAMPLES = int(os.environ.get("SIMULATION_EXAMPLES", "0"))

Deed = tuple[str, Any]
closings: st.SearchStrategy[Deed] = st.one_of(
    st.tuples(st.just("halt"), st.sampled_from(HALTS)),
    st.tuples(st.just("declare"), st.sampled_from(HALTS)),
    st.tuples(st.just("lower"), st.sampled_from([Mode.OBSERVE, Mode.OFF])),
    st.just(("pause", None)),
)
DISASTERS: tuple[Deed, ...] = (("crash", None), ("lose", None), ("flap", None))
deeds: st.SearchStrategy[Deed] = st.one_of(closings, closings, st.sampled_from(DISASTERS))
instances = st.sampled_from(INSTANCES)
requests = st.builds(
    lambda side, quantity, limit, reduce_only: OrderRequest(
        side,
        OrderType.MARKET if limit is None else OrderType.LIMIT,
        Decimal(quantity),
        None if limit is None else Decimal(limit),
        reduce_only=reduce_only,
    ),
    st.sampled_from(list(Side)),
    st.integers(1, 3),
    st.sampled_from([None, 90, 110]),
    st.sampled_from([False, False, False, True]),
)


def row(instance: Instance, mode: Mode, committed: bool) -> Row:
    identity = Identity("grid", instance.account_id, instance.client_id, instance.symbol)
    record = InstanceRecord(
        id=instance.id,
        identity=identity,
        mode=mode,
        config={},
        effective_config={},
        open_orders=instance.open_orders,  # type: ignore[arg-type]
    )
    path = f"instances/{instance.id}.yaml"
    return Row(record, path, 1, "v", "c", "f", "d", None, committed, "2026-01-31T00:00:00.000Z")


class Lives(RuleBasedStateMachine):
    """One exchange, and one engine after the other on one database."""

    def __init__(self, main_loop: MainLoop, empty_database: Path, tally: Counter[str]) -> None:
        super().__init__()
        self.main_loop = main_loop
        self.tally = tally
        self.folder = Path(tempfile.mkdtemp(dir=empty_database.parent))
        self.clock = FakeClock()
        self.beat = 0
        self.salt = random.Random(0)
        self.exchange = Exchange(self.clock)
        self.facts = Facts()
        self.judge = Judge(self.facts, self.exchange, lambda: self.path, tally)
        self.judge_halted: set[tuple[str, str]] = set()
        self.faults: Counter[str] = Counter()
        """Calls of a tool that will go wrong."""
        self.way, self.late_s = "taken", 0.0
        self.interruption: tuple[str, Deed] | None = None
        self.afterwards: list[Callable[[], object]] = []
        self.violation: AssertionError | None = None
        self.path = self.folder / "0" / "reconciler.db"
        self.path.parent.mkdir()
        shutil.copyfile(empty_database, self.path)
        self.engine = self.started()
        self.engine.store.desired.apply([RowChange(self.row(id_), "created", "a test") for id_ in OF])
        self.engine.connected()

    # What happens

    @rule(instance=instances, request=requests)
    def tick(self, instance: Instance, request: OrderRequest) -> None:
        """A strategy places an order, and nothing is wrong."""
        self.connect()
        self.place(instance, request, "taken", 0.0, None)

    @rule(instance=instances, request=requests, way=st.sampled_from(WAYS), late_s=LATE_S)
    def unlucky_tick(self, instance: Instance, request: OrderRequest, way: str, late_s: float) -> None:
        """A strategy places an order, and the exchange or the way there is not at its best."""
        self.place(instance, request, way, late_s, None)

    @rule(
        instance=instances,
        request=requests,
        way=st.sampled_from(WAYS),
        late_s=LATE_S,
        point=st.sampled_from(POINTS),
        deed=deeds,
    )
    def interrupted_tick(
        self, instance: Instance, request: OrderRequest, way: str, late_s: float, point: str, deed: Deed
    ) -> None:
        """A strategy places an order, and something happens while it is on its way."""
        self.place(instance, request, way, late_s, (point, deed))

    def place(
        self, instance: Instance, request: OrderRequest, way: str, late_s: float, interruption: tuple[str, Deed] | None
    ) -> None:
        if interruption is not None and interruption[0] == "handing over" and interruption[1][0] == "crash":
            interruption = ("arrived", interruption[1])  # the loop's thread dies; there is nobody to see it earlier
        self.way, self.late_s, self.interruption = way, late_s, interruption
        gate = self.engine.gates[instance.id]
        self.engine.placing = gate
        self.judge.begin(instance.id)
        try:
            with self.little_patience(way == "stalled"):
                order = self.engine.gateway.place(gate, request, self.beat)
            self.tally[f"outcome {order.outcome}"] += 1
        except Crashed:
            self.restart(kill=True)
        except (StoreError, OSError):
            self.tally["raised"] += 1
        finally:
            self.judge.end()
            self.engine.placing = None
            self.engine.is_committed = False
            self.engine.link.patient()
            self.engine.ledger.refuses_next = False
            self.interruption = None
            self.returned()
        self.engine.settle()

    @rule(data=st.data(), way=st.sampled_from(["", "", "cancel_order", "dropped cancel_order"]))
    @precondition(lambda self: self.exchange.orders)
    def cancel(self, data: st.DataObject, way: str) -> None:
        """A strategy cancels an order of its own."""
        id_ = data.draw(st.sampled_from(list(self.exchange.orders)))
        if way:
            self.faults[way] = 1
        gate = self.engine.gates[self.judge.rows()[id_]["instance_id"]]
        with contextlib.suppress(ExecError, CapabilityUnavailable):
            self.engine.gateway.cancel(gate, id_)
        self.faults.clear()
        self.engine.settle()

    @rule(
        number=st.sampled_from([1, 1, 2, 6]),
        fault=st.sampled_from(["", "", "", "get_order", "list_orders", "get_positions"]),
    )
    def beats(self, number: int, fault: str) -> None:
        if fault:
            self.faults[fault] = 2
        for _ in range(number):
            self.one_beat()
        self.faults.clear()

    @rule(deed=closings, instance=instances)
    def close(self, deed: Deed, instance: Instance) -> None:
        self.perform(deed, instance.id)
        self.returned()

    @rule(data=st.data())
    @precondition(lambda self: self.facts.halts or self.facts.declared)
    def unhalt(self, data: st.DataObject) -> None:
        """A halt is lifted; with every other one of its scope and id."""
        self.lift(*data.draw(st.sampled_from(sorted(self.facts.halts | self.facts.declared)))[:2])

    @rule(instance=instances, mode=st.sampled_from([Mode.OBSERVE, Mode.ACTIVE, Mode.ACTIVE]), committed=st.booleans())
    def reload(self, instance: Instance, mode: Mode, committed: bool) -> None:
        """A new record is in force."""
        self.load(instance.id, mode, committed)

    @rule()
    def open_up(self) -> None:
        """Everything may trade again."""
        while self.facts.halts or self.facts.declared:
            self.lift(*min(self.facts.halts | self.facts.declared)[:2])
        for instance in INSTANCES:
            self.load(instance.id, Mode.ACTIVE, committed=True)
        self.connect()

    @rule(compared=st.booleans())
    def lose_connection(self, compared: bool) -> None:
        self.perform(("flap" if compared else "lose", None), "")

    @rule()
    @precondition(lambda self: not self.engine.link.status.connected)
    def reconnect(self) -> None:
        self.connect()

    @rule(kill=st.booleans())
    def restart(self, kill: bool) -> None:
        """A new engine on the same database. What was paused is not paused any more."""
        left, self.path = self.engine, self.folder / str(len(list(self.folder.iterdir()))) / "reconciler.db"
        self.path.parent.mkdir()
        if kill:
            left.crash(self.path)
            self.tally["killed"] += 1
        else:
            left.stop()
            self.path = left.path
        self.facts.paused.clear()
        self.engine = self.started()
        found = {row["outcome"] for row in self.judge.rows().values()}
        assert "pending" not in found, "after a start nobody waits for an answer any more"
        self.declare()
        self.connect()

    @rule(data=st.data(), what=st.sampled_from(["fill", "fill", "part", "expire"]))
    @precondition(lambda self: any(order.is_open for order in self.exchange.visible()))
    def trade(self, data: st.DataObject, what: str) -> None:
        """The market moves: something becomes of an order at the exchange."""
        order: Placed = data.draw(st.sampled_from([o for o in self.exchange.visible() if o.is_open]))
        rest = order.quantity - order.filled
        if what == "expire":
            order.state = OrderState.EXPIRED
        else:
            order.fill(rest if what == "fill" else min(rest, Decimal("0.5")))

    @rule(data=st.data())
    @precondition(lambda self: self.unknown())
    def resolve(self, data: st.DataObject) -> None:
        """An operator looks at the exchange and says what there is: which may be less than there will be."""
        id_ = data.draw(st.sampled_from(self.unknown()))
        there = next((o for o in self.exchange.visible() if o.arguments["client_order_id"] == id_), None)
        if there is None:
            verdict = Verdict("rejected", "not there", "uid 1000")
        else:
            filled = {} if not there.filled else {"filled_quantity": there.filled, "average_price": PRICE}
            word: VerdictWord = "accepted" if there.is_open else there.state.value  # type: ignore[assignment]
            verdict = Verdict(word, "seen", "uid 1000", **filled)  # type: ignore[arg-type]
        assert self.engine.gateway.resolve(id_, verdict) == ""
        self.tally["resolved"] += 1

    # What must hold

    @invariant()
    def ledger_and_exchange_can_both_be_right(self) -> None:
        if self.violation is not None:
            raise self.violation
        self.judge.check()
        for id_ in self.unknown():
            instance_id = self.judge.rows()[id_]["instance_id"]
            assert self.engine.gateway.blocked(instance_id, OF[instance_id].account_id) is not None
        for id_ in self.judge.turned_up():
            self.tally["turned up"] += 1
            instance_id = self.judge.rows()[id_]["instance_id"]
            halted = [halt for halt in self.engine.store.halts.active() if halt.by == "engine"]
            # Halted by the engine, until somebody lifted it.
            if (known := (id_, instance_id)) not in self.judge_halted:
                assert instance_id in {halt.id for halt in halted}, f"{id_} turned up, and {instance_id} trades on"
                self.judge_halted.add(known)
                self.facts.halts.add(("instance", instance_id, False))

    def teardown(self) -> None:
        try:
            self.quiet()
        finally:
            self.engine.stop()
            shutil.rmtree(self.folder)

    def quiet(self) -> None:
        """Nothing goes wrong any more: everything comes to be known."""
        if self.violation is not None:
            return
        self.facts.declared.clear()
        self.connect()
        for _ in range(QUIET_BEATS):
            self.one_beat()
        self.ledger_and_exchange_can_both_be_right()
        self.judge.check_settled()
        assert not self.engine.gateway.orphans()
        differing = [c for c in self.engine.gateway.comparisons() if c.difference]
        assert not differing, f"positions do not add up: {differing}"

    # How it happens

    def hook(self, point: str) -> None:
        if self.interruption is None or self.interruption[0] != point:
            return
        (_, deed), self.interruption = self.interruption, None
        self.tally[f"{deed[0]} at {point}"] += 1
        if deed[0] == "crash":
            self.engine.is_dead = True
            raise Crashed
        self.perform(deed, self.judge.placing or INSTANCES[0].id)

    async def carried(self, engine: Engine, tool: str, arguments: Mapping[str, Any], handover: Handover) -> Any:
        """One call, from the engine to the exchange and back."""
        if tool == "place_order":
            return await self.carried_order(engine, arguments, handover)
        if self.judge.placing is not None and tool == "get_quote":
            self.hook("quote")
        assert handover.claim()
        if self.faults[tool] > 0:
            self.faults[tool] -= 1
            raise ExecUnknown(f"{tool}: no answer")
        if tool == "cancel_order":
            self.judged(self.judge.cancel, arguments)
        answer = self.exchange.answer(tool, arguments)
        if tool == "list_orders":
            self.judge.compared.add(arguments["account_id"])
        if tool == "cancel_order" and self.faults["dropped cancel_order"]:
            raise ExecUnknown("cancelled, and the answer is lost")
        return answer

    async def carried_order(self, engine: Engine, arguments: Mapping[str, Any], handover: Handover) -> dict[str, Any]:
        way = self.way
        if way == "stalled":
            while not handover.abandon():  # the loop is busy for longer than the worker waits
                await asyncio.sleep(0)
        if not handover.claim():
            raise ExecUnavailable("given up")
        if way == "not delivered":
            handover.not_delivered = "connection refused"
            raise ExecUnavailable("connection refused")
        self.judged(self.judge.place, arguments)
        self.exchange.received.append(dict(arguments))
        answer: dict[str, Any] = {"status": "rejected", "reason": "no money"}
        if way not in ("refused", "refused in its answer", "lost"):
            is_told = way in ("taken", "over at once", "unwritten")
            answer = self.exchange.take(arguments, 0.0 if is_told else self.late_s).told()
        self.hook("arrived")
        if way == "slow":
            engine.link.impatient()
        engine.ledger.refuses_next = way == "unwritten"
        handover.finish()
        if way == "slow":
            await asyncio.Event().wait()  # whoever waits gives up at once: from here on the two threads would race
        self.lock_is_let_go(engine)
        self.hook("answering")
        match way:
            case "refused":
                raise ExecRejected("no money")
            case "lost" | "dropped":
                raise ExecUnknown("the connection was lost")
            case "gibberish":
                return {"status": "perhaps"}
            case "broken":
                raise OSError("what nobody foresaw")
            case "over at once":
                placed = self.exchange.orders[arguments["client_order_id"]]
                if placed.is_open:
                    placed.fill(Decimal("0.5"))
                    placed.state = OrderState.EXPIRED
                    return {"status": "expired"}
                return placed.told()
        return answer

    def judged(self, verdict: Callable[[Mapping[str, Any]], None], arguments: Mapping[str, Any]) -> None:
        """What is wrong with a call is raised at the end of the step: on the loop the engine would survive it."""
        try:
            verdict(arguments)
        except AssertionError as error:
            self.violation = self.violation or error

    def lock_is_let_go(self, engine: Engine) -> None:
        """Once handed over, whoever closes the gate waits no longer: from here on what is closed is closed."""
        gate = engine.placing
        assert gate is not None
        assert gate.lock.acquire(timeout=10), "the gate's lock is held past the handing over"
        gate.lock.release()
        self.returned()

    def perform(self, deed: Deed, instance_id: str) -> None:
        kind, about = deed
        engine = self.engine
        match kind:
            case "halt":
                scope, id_, full = about
                engine.store.halts.add(scope, id_, full, "a test", "uid 1000")
                self.closed(lambda: self.facts.halts.add(about))
            case "declare":
                self.declare(about)
                self.closed(lambda: self.facts.declared.add(about))
            case "pause":
                engine.gates[instance_id].operator_pause = "a test"
                self.closed(lambda: self.facts.paused.add(instance_id))
            case "lower":
                before = engine.gates[instance_id].mode
                engine.gates[instance_id].lower(about)
                lowered = engine.gates[instance_id].mode
                if before is not lowered:
                    wanted = self.row(instance_id, lowered)
                    engine.store.desired.apply([RowChange(wanted, "changed", "a test")])
                self.closed(lambda: self.facts.modes.__setitem__(instance_id, lowered))
            case "lose":
                engine.link.lose()
                self.judge.compared.clear()
            case "flap":
                engine.link.lose()
                engine.link.restore()
                self.judge.compared.clear()

    def closed(self, fact: Callable[[], object]) -> None:
        """It is a fact when whoever closed returns: where an order is being handed over, only after that."""
        placing = self.engine.placing
        self.afterwards.append(fact)
        if placing is None or placing.lock.acquire(blocking=False):
            if placing is not None:
                placing.lock.release()
            self.returned()

    def returned(self) -> None:
        """Whoever waited for the gate's lock goes on."""
        while self.afterwards:
            self.afterwards.pop(0)()

    def load(self, instance_id: str, mode: Mode, committed: bool) -> None:
        self.facts.modes[instance_id] = mode
        self.facts.committed = committed
        self.facts.paused.discard(instance_id)
        self.engine.store.desired.apply([RowChange(self.row(id_), "changed", "a test") for id_ in OF])
        for id_, gate in self.engine.gates.items():
            gate.open(self.row(id_), Mode.ACTIVE)
        self.engine.gates[instance_id].operator_pause = None

    def lift(self, scope: str, id_: str) -> None:
        for halts in (self.facts.halts, self.facts.declared):
            halts -= {halt for halt in halts if halt[:2] == (scope, id_)}
        self.engine.store.halts.lift(scope, id_, "uid 1000", "over")  # type: ignore[arg-type]
        self.declare()

    def declare(self, *more: HaltKey) -> None:
        """The halts of a file are put in force."""
        halts = sorted({*self.facts.declared, *more})
        now = iso(self.clock.time())
        declared = tuple(Halt(scope, id_, full, "a test", "a file", now) for scope, id_, full in halts)  # type: ignore[arg-type]
        self.engine.store.halts.declare(declared)

    def started(self) -> Engine:
        self.judge.compared.clear()
        rows = {id_: self.row(id_) for id_ in OF}
        return Engine(self.path, self, rows, self.main_loop, self.clock, self.salt)

    def connect(self) -> None:
        self.engine.link.restore()
        self.engine.connected()

    def one_beat(self) -> None:
        self.clock.advance(BEAT_S)
        self.beat += 1
        self.engine.follow_up(self.beat)

    def unknown(self) -> list[str]:
        return [id_ for id_, row in self.judge.rows().items() if row["outcome"] == "unknown"]

    def row(self, instance_id: str, mode: Mode | None = None) -> Row:
        return row(OF[instance_id], mode or self.facts.modes[instance_id], self.facts.committed)

    @contextlib.contextmanager
    def little_patience(self, wanted: bool) -> Any:
        before = dispatch._HANDOVER_S
        dispatch._HANDOVER_S = 0.01 if wanted else before
        try:
            yield
        finally:
            dispatch._HANDOVER_S = before


DEEDS: tuple[Deed, ...] = (
    *DISASTERS,
    *((kind, halt) for kind in ("halt", "declare") for halt in (("instance", "btc-real", False), ("all", "", True))),
    ("lower", Mode.OBSERVE),
    ("lower", Mode.OFF),
    ("pause", None),
)


@pytest.mark.parametrize("deed", DEEDS, ids=str)
@pytest.mark.parametrize("point", POINTS)
def test_what_comes_between_is_heeded_until_the_order_is_handed_over_and_loses_none_after(
    point: str, deed: Deed, main_loop: MainLoop, empty_database: Path
) -> None:
    for way in ("taken", "dropped", "lost"):
        life = Lives(main_loop, empty_database, Counter())
        real, buy = OF["btc-real"], OrderRequest(Side.BUY, OrderType.LIMIT, Decimal(1), Decimal(90))
        life.place(real, buy, way, BEAT_S, (point, deed))
        assert life.tally[f"{deed[0]} at {point}"] or (point, deed[0]) == ("handing over", "crash")
        life.ledger_and_exchange_can_both_be_right()
        life.place(real, buy, "taken", 0.0, None)
        life.ledger_and_exchange_can_both_be_right()
        life.teardown()


@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_whatever_happens_no_order_leaves_that_must_not_and_none_is_sent_twice_or_lost(
    main_loop: MainLoop, empty_database: Path
) -> None:
    tally: Counter[str] = Counter()
    run_state_machine_as_test(
        lambda: Lives(main_loop, empty_database, tally),  # type: ignore[arg-type]  # any that makes one will do
        settings=settings(
            max_examples=EXAMPLES or 70,
            stateful_step_count=50 if EXAMPLES else 30,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    rare = {"sent": 100, "killed": 20, "turned up": 5, "resolved": 5, "outcome unknown": 20, "outcome accepted": 60}
    assert {what: number for what, number in rare.items() if tally[what] < number} == {}, "hardly anything was tried"
