"""One exchange, and one engine after the other on one database: everything that can happen to them, step by step.

Nothing here is random; who strings the steps together says what to place, when, and what comes between.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from reconciler.clock import FakeClock
from reconciler.errors import CapabilityUnavailable, ExecError, StoreError
from reconciler.orders.news import Shares, Verdict, VerdictWord
from reconciler.orders.order import Order, OrderRequest
from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.store import back_up, halts
from tests.execution.standins import ACCOUNTS, Carrier
from tests.simulation.bounds import Bounds
from tests.simulation.engine import Crashed, Engine
from tests.simulation.exchange import PRICE, Exchange
from tests.simulation.model import INSTANCES, OF, Facts, HaltKey, Instance, Judge
from tests.simulation.operators import Deed, Operator
from tests.simulation.table import Act
from tests.simulation.wire import Wire

BEAT_S = 6.0
_MOMENT_S = 0.05
FLAT_BEATS = 12
"""What is flattened while everything comes to be known takes so many more: each try may wait for the one before."""
QUIET_BEATS = 14
"""Three answers over thirty seconds, then one more comparison, which are a minute apart."""


class Life:
    """Its engine is connected and all may trade. `tally` counts what was reached, in words."""

    def __init__(
        self,
        main_loop: Carrier,
        empty_database: Path,
        tally: Counter[str] | None = None,
        accounts: Accounts = ACCOUNTS,
        extras: Sequence[str] = (),
    ) -> None:
        self.main_loop = main_loop
        self.tally: Counter[str] = Counter() if tally is None else tally
        self.folder = Path(tempfile.mkdtemp(dir=empty_database.parent))
        self.clock = FakeClock()
        self.beat = 0
        self.exchange = Exchange(self.clock)
        self.facts = Facts()
        whose = [instance.whose for instance in INSTANCES]
        self.bounds = Bounds(self.clock, self.exchange, whose, lambda id_: self.judge.book(id_), [accounts])
        self.judge = Judge(self.facts, self.exchange, lambda: self.path, self.tally, self.bounds)
        self.wire = Wire(self, self.exchange, self.judge, self.tally, extras=extras)
        self.waiting: list[threading.Thread] = []
        """Who closed something while an order was being written."""
        self.told_of: set[str] = set()
        """Orders that turned up, whose instances were seen halted for it."""
        self.operator = Operator(self.facts, self.clock, self.bounds)
        self.path: Path = self.folder / "0" / "reconciler.db"
        self.path.parent.mkdir()
        shutil.copyfile(empty_database, self.path)
        self.engine = self._started()
        self.operator.apply_rows()
        self.engine.connected()

    # What somebody does

    def place(
        self,
        instance: Instance,
        request: OrderRequest,
        way: str = "taken",
        late_s: float = 0.0,
        interruption: tuple[str, Deed] | None = None,
        beside: tuple[Instance, OrderRequest] | None = None,
    ) -> Order | None:
        """A strategy places an order. None where the engine dies of it, or the ledger does.

        With `beside` another one places one of its own before the first has its answer.
        """
        if interruption is not None and interruption[0] == "handing over" and interruption[1][0] == "crash":
            interruption = ("arrived", interruption[1])  # the loop's thread dies; there is nobody to see it earlier
        if way == "slow" and self.main_loop.ident is None:
            way = "dropped"  # where all is done at once, nobody waits
        self.wire.way, self.wire.late_s, self.wire.interruption = way, late_s, interruption
        self.wire.beside = None if beside is None else lambda: self._place_beside(*beside)
        gate = self.engine.gates[instance.id]
        self.bounds.look()
        self.judge.begin(instance.id)
        act, told = self.judge.act(instance, request.side, request.quantity), self.facts.told(instance)
        order = None
        try:
            order = self.engine.gateway.place(gate, request, self.beat)
        except Crashed:
            self.restart(kill=True)
        except (StoreError, OSError):
            assert way in ("unwritten", "broken"), "an order that nothing happened to"
            self.tally["raised"] += 1
        finally:
            self.judge.end()
            self._calmed()
        for closer in self.waiting:
            closer.join(10)
            assert not closer.is_alive(), "whoever closes something waits for what was written long ago"
        self.waiting.clear()
        self.engine.settle()
        if order is not None:
            why = f" by {order.rejected_by}, {order.reason.split(':')[0]}" if order.rejected_by else ""
            self.tally[f"{order.outcome}{why}"] += 1
            if "halted" in told:
                self.tally[f"{act} while halted, {'left' if self.judge.left[instance.id] else 'kept in'}"] += 1
            self._look_at_refusal(instance, order, act, is_certain=interruption is None and beside is None)
        return order

    def _calmed(self) -> None:
        """What was to go wrong has gone wrong, or will not."""
        self.engine.is_committed = False
        self.engine.link.patient()
        self.engine.ledger.refuses_next = False
        self.wire.interruption, self.wire.way, self.wire.late_s = None, "taken", 0.0
        self.wire.beside = None
        self.operator.returned()

    def _place_beside(self, instance: Instance, request: OrderRequest) -> None:
        """The same of another, while one is on its way; on a thread of nobody's."""
        way, self.wire.way = self.wire.way, "taken"
        self.judge.begin(instance.id)
        try:
            order = self.engine.gateway.place(self.engine.gates[instance.id], request, self.beat)
            self.tally[f"beside another, {order.outcome}"] += 1
        finally:
            self.judge.end()
            self.wire.way = way
            self.engine.is_committed = False

    def _look_at_refusal(self, instance: Instance, order: Order, act: Act, *, is_certain: bool) -> None:
        """What was refused for a limit above its instance must have been."""
        if not order.reason.startswith(("Limit: account", "Limit: label", "Limit: all", "Limit: throttle")):
            return
        if self.facts.modes[instance.id] is not Mode.ACTIVE:
            return
        if not is_certain and act is not Act.REDUCES and not order.reason.startswith("Limit: throttle"):
            return
        try:
            named = self.bounds.refused(instance.whose, self.judge.row(order.client_order_id), act)
        except AssertionError as error:
            self.wire.violation = self.wire.violation or error
            return
        self.tally[f"refused by {named}"] += 1
        self.facts.halts |= {("instance", id_, False) for id_ in self.bounds.struck}

    def quoted(self, ago_s: float | None) -> None:
        """From the next beat on, which is now, the exchange's quotes are so old; or there are none."""
        self.exchange.quoted_ago_s = ago_s
        self.beat += 1

    def price(self, bid: int, ask: int) -> None:
        """The market moves; from the next beat on, which is now, that is what is quoted."""
        self.exchange.bid, self.exchange.ask = Decimal(bid), Decimal(ask)
        self.quoted(0.0)

    def rebind(self, accounts: Accounts, meanwhile: Callable[[], object] = bool) -> None:
        """Other limits are read; `meanwhile` happens before the pass that reads them has ended."""
        self.bounds.accounts.append(accounts)
        self.engine.gateway.bound_by(accounts)
        meanwhile()
        self.engine.gateway.scope_limits.bound()
        self.bounds.accounts[:] = [accounts]

    def relabel(self, instance: Instance, **labels: str) -> None:
        """The record says other labels."""
        self.bounds.look()
        self.bounds.labelled(instance.id, labels)
        self.operator.apply_rows()

    def lift_drawdown(self, scope: str) -> None:
        """A person has looked."""
        if self.engine.gateway.lift(scope) == "":
            self.bounds.lifted(scope)

    def hushed(self, account_id: str, wait_s: float) -> None:
        """The exchange says that there were too many requests, and asks to wait."""
        self.judge.hushed_s[account_id] = self.exchange.clock.monotonic() + wait_s
        self.engine.link.limits.hit(account_id, "HTTP 429", wait_s)

    def cancel(self, instance: Instance, client_order_id: str) -> bool:
        """A strategy cancels an order; whether the cancel left. Raises KeyError where the order is not its own."""
        before = len(self.wire.cancels)
        gate = self.engine.gates[instance.id]
        self.judge.cancelling = client_order_id
        try:
            with contextlib.suppress(ExecError, CapabilityUnavailable):
                self.engine.gateway.cancel(gate, client_order_id)
        finally:
            self.judge.cancelling = None
            self.operator.returned()
        self.engine.settle()
        return len(self.wire.cancels) > before

    def copied(self) -> Path:
        """A copy of the ledger as it is now."""
        copy = self.folder / f"copy-{len(list(self.folder.iterdir()))}.db"
        back_up(self.path, copy)
        return copy

    def put_back(self, copy: Path) -> None:
        """The engine stops, and the next one starts on an older ledger. Time passes meanwhile."""
        known = self.judge.rows()
        self.engine.stop()
        self.clock.advance(BEAT_S)
        self.path = self.folder / str(len(list(self.folder.iterdir()))) / "reconciler.db"
        self.path.parent.mkdir()
        shutil.copyfile(copy, self.path)
        self.judge.lost |= known.keys() - self.judge.rows().keys()
        self.engine = self._started()
        self.connect()

    def settle(self, account_id: str, shares: Shares) -> None:
        """An operator says whose is what the account holds."""
        assert self.engine.gateway.settle(account_id, shares) == ""
        self.judge.settled.add(account_id)

    def resolve(self, client_order_id: str) -> None:
        """An operator looks at the exchange and says what there is: which may be less than there will be."""
        there = self.exchange.seen(client_order_id)
        if there is None:
            verdict = Verdict("rejected", "not there", "uid 1000")
        else:
            filled = {} if not there.filled else {"filled_quantity": there.filled, "average_price": PRICE}
            word: VerdictWord = "accepted" if there.is_open else there.state.value  # type: ignore[assignment]
            verdict = Verdict(word, "seen", "uid 1000", **filled)  # type: ignore[arg-type]
        assert self.engine.gateway.resolve(client_order_id, verdict) == ""
        self.judge.resolved.add(client_order_id)
        self.tally[f"resolved as {verdict.word}"] += 1

    def perform(self, deed: Deed, instance_id: str) -> None:
        """Something closes, or goes wrong. Raises Crashed where it is the end of the engine."""
        engine = self.engine
        match deed[0]:
            case "crash":
                engine.is_dead = True
                raise Crashed
            case "lose":
                engine.link.lose()
                self.judge.compared.clear()
            case "flap":
                engine.link.lose()
                engine.link.restore()
                self.judge.compared.clear()

            case "lift":
                self.operator.lift(*deed[1])
            case "pause and wait" | "lower and wait" | "halt and wait":
                self._close_and_wait((deed[0].split()[0], deed[1]), instance_id)
            case "halt beside a stuck one":
                self._halt_beside_a_stuck_one(deed[1])
            case "halt while stuck":
                self._halt_while_stuck(deed[1])
            case _:
                self.operator.perform(deed, instance_id)

    def _close_and_wait(self, deed: Deed, instance_id: str) -> None:
        """Somebody else closes something, and waits for what is being written as whoever closes something does."""
        engine, returned = self.engine, threading.Event()

        def close() -> None:
            self.operator.perform(deed, instance_id)
            engine.gateway.written(instance_id)
            returned.set()

        closer = threading.Thread(target=close)
        closer.start()
        if returned.wait(_MOMENT_S):
            violation = AssertionError(f"who would {deed[0]} had returned, and an order was still being written")
            self.wire.violation = self.wire.violation or violation
        else:
            other = threading.Thread(target=engine.bridge.claims.writing)
            other.start()
            other.join(_MOMENT_S * 4)
            if other.is_alive():
                violation = AssertionError(f"who would {deed[0]} waits, and holds what others need")
                self.wire.violation = self.wire.violation or violation
        self.waiting.append(closer)

    def _halt_while_stuck(self, halt: HaltKey) -> None:
        """Somebody halts while the database takes nothing; which is told, and is no reason not to halt."""
        free = threading.Event()
        self.engine.store._writer.submit(lambda db: free.wait(10))
        before, halts.STORED_WITHIN_S = halts.STORED_WITHIN_S, _MOMENT_S
        try:
            with contextlib.suppress(halts.HaltNotStored):
                self.operator.perform(("halt", halt), "")
            self.facts.halts.add(halt)
            assert self.engine.store.halts.unstored()
            self.engine.store.halts.active()  # asked of it while the database is stuck, whenever it comes free
        finally:
            halts.STORED_WITHIN_S = before
            free.set()

    def _halt_beside_a_stuck_one(self, halt: HaltKey) -> None:
        """Somebody's halt waits for a database that takes nothing; another's comes beside it."""
        free, waits = threading.Event(), threading.Event()
        store = self.engine.store

        def stuck(db: object) -> None:
            waits.set()
            free.wait(10)

        store._writer.submit(stuck)
        waits.wait(10)
        first = threading.Thread(target=lambda: store.halts.begin("instance", "another", False, "a test", "uid 1000"))
        first.start()
        first.join(_MOMENT_S)
        second = threading.Thread(target=lambda: store.halts.enforce(*halt, "a test", "uid 1000"))  # type: ignore[arg-type]
        second.start()
        second.join(_MOMENT_S * 4)
        if second.is_alive():
            violation = AssertionError("a halt had to wait for another's that waits for the disk")
            self.wire.violation = self.wire.violation or violation
        self.facts.halts.add(halt)
        free.set()
        first.join(10)
        second.join(10)

    # What happens by itself

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
        self.judge.check()
        for row in self.judge.rows().values():
            self.tally[f"{row['outcome']} at a start"] += 1
        self.facts.paused.clear()
        self.engine = self._started()
        found = {row["outcome"] for row in self.judge.rows().values()}
        assert "pending" not in found, "after a start nobody waits for an answer any more"
        self.operator.declare()
        self.connect()

    def connect(self) -> None:
        self.engine.link.restore()
        self.engine.connected()

    def one_beat(self, way: str = "taken", late_s: float = 0.0, interruption: tuple[str, Deed] | None = None) -> None:
        """`way` is that of the orders that close something at that beat, and `interruption` comes between."""
        self.clock.advance(BEAT_S)
        self.tally["fired"] += len(self.exchange.fire())
        self.judge.known_strangers = set(self.judge.seen_strangers)
        self.beat += 1
        self.tally["withdrawal held back"] += self.judge.held_back() and self.engine.link.status.connected
        self.wire.way, self.wire.late_s = way, late_s
        self.wire.interruption = interruption or self.wire.interruption
        self.judge.beat_begins()
        before = self._filled()
        try:
            self.engine.follow_up(self.beat)
        except Crashed:
            self.restart(kill=True)
        finally:
            self._calmed()
        if self._filled() == before:
            self.engine.store.flush()  # what is to be remembered is on its way to the disk
            self.bounds.measured()
        self.judge.beat_ends()

    def _filled(self) -> dict[str, str]:
        return {id_: row["filled_quantity"] for id_, row in self.judge.rows().items()}

    def unknown(self) -> list[str]:
        return [id_ for id_, row in self.judge.rows().items() if row["outcome"] == "unknown"]

    # What must hold

    def check_withdrawn(self) -> None:
        """Nothing that adds rests where a limit is reached, once it was known for some beats and nothing went wrong."""
        open_ones = {
            order.arguments["client_order_id"] for order in self.exchange.visible() if order.is_open
        } - self.judge.lost
        rows = self.judge.rows()
        for row in self.bounds.unwanted():
            id_ = row["client_order_id"]
            if id_ in open_ones and id_ in self.bounds.resting and rows[id_]["outcome"] == "accepted":
                raise AssertionError(f"{id_} rests though a limit is reached")

    def check(self) -> None:
        if self.wire.violation is not None:
            raise self.wire.violation
        self.judge.check()
        rows = self.judge.rows()
        for instance_id in {row["instance_id"] for row in rows.values() if row["outcome"] == "unknown"}:
            assert self.engine.gateway.blocked(instance_id, OF[instance_id].account_id) is not None
        for id_ in self.judge.turned_up() - self.told_of:
            self.tally["turned up"] += 1
            instance_id = self.judge.rows()[id_]["instance_id"]
            halted = [halt.id for halt in self.engine.store.halts.active() if halt.by == "engine"]
            assert instance_id in halted, f"{id_} turned up, and {instance_id} trades on"
            self.told_of.add(id_)
            self.facts.halts.add(("instance", instance_id, False))

    def end(self) -> None:
        """The last step: nothing goes wrong any more, and everything comes to be known."""
        try:
            self.check()
            self.facts.declared.clear()
            self.facts.kills -= {kill for kill in self.facts.kills if kill.declared}
            self.operator.declare()
            self.exchange.at_once = Decimal(1)
            self.connect()
            while len(self.exchange.visible()) < len(self.exchange.orders):
                self.one_beat()  # of what is still hidden, the comparison to come would not hear
            for _ in range(QUIET_BEATS + FLAT_BEATS * bool(self.facts.kills)):
                self.one_beat()
            self.check()
            self.judge.check_settled()
            self.judge.check_killed()
            if "cancel_all_after" in self.wire.extras:
                self.judge.check_armed()
            if self.judge.lost or self.exchange.by_hand:
                return  # what the ledger lost it never learns, and whose is what others traded neither
            assert not self.engine.gateway.orphans() or self.exchange.strangers
            differing = [c for c in self.engine.gateway.comparisons() if c.difference]
            assert not differing, f"positions do not add up: {differing}"
            assert not self.judge.events("LedgerBehind"), "a ledger that lost nothing was taken for one that did"
        finally:
            self.engine.stop()
            self.judge.close()
            shutil.rmtree(self.folder)

    def _started(self) -> Engine:
        self.judge.started()
        rows = {id_: self.operator.row(id_) for id_ in OF if id_ not in self.facts.removed}
        engine = Engine(self.path, self.wire, rows, self.main_loop, self.clock, self.bounds.accounts[-1])
        self.operator.engine = engine
        return engine
