"""What must hold of orders, said a second time: from rows read with SQL, and from what the exchange has seen.

Nothing here asks the parts that are tested.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple

from reconciler.orders.order import Order, decimal_text, prefix
from reconciler.records.mode import Mode
from tests.simulation.bounds import Book, Bounds, Whose
from tests.simulation.exchange import Exchange, Placed
from tests.simulation.table import Act, act_of, leaves

Columns = dict[str, Any]
HaltKey = tuple[str, str, bool]
"""Scope, id, and whether it is full."""


@dataclass(frozen=True)
class Instance:
    id: str
    account_id: str
    client_id: str
    symbol: str = "BTC/USD"
    open_orders: str = "keep"

    @property
    def whose(self) -> Whose:
        return Whose(self.id, self.account_id, self.symbol)


INSTANCES = (
    Instance("btc-grid-1", "main", "desk-a"),
    Instance("btc-grid-2", "main", "desk-b", open_orders="cancel"),
    Instance("btc-real", "real", "desk-a"),
)
OF = {instance.id: instance for instance in INSTANCES}
HALTS: tuple[HaltKey, ...] = tuple(
    (scope, id_, full)
    for scope, id_ in (("all", ""), ("account", "main"), ("instance", "btc-grid-1"), ("instance", "btc-real"))
    for full in (False, True)
)


class Kill(NamedTuple):
    """A halt that cancels; with `flattens`, what is held is closed, too."""

    halt: HaltKey
    cancels: Literal["exposing", "all"] = "exposing"
    flattens: bool = False
    declared: bool = False

    def covers(self, instance: Instance) -> bool:
        return self.halt[:2] in {("all", ""), ("account", instance.account_id), ("instance", instance.id)}

    def covered(self) -> frozenset[str]:
        return frozenset(instance.id for instance in INSTANCES if self.covers(instance))


COLLAR = Decimal("0.03")
"""Of everything that is flattened."""


@dataclass
class Facts:
    """What closes the gates. A closing is a fact once whoever closed has returned, an opening once it is meant."""

    modes: dict[str, Mode] = field(default_factory=lambda: {instance.id: Mode.ACTIVE for instance in INSTANCES})
    committed: bool = True
    paused: set[str] = field(default_factory=set)
    halts: set[HaltKey] = field(default_factory=set)
    declared: set[HaltKey] = field(default_factory=set)
    kills: set[Kill] = field(default_factory=set)
    """Those of the halts that cancel."""
    removed: set[str] = field(default_factory=set)
    """Instances whose files are gone, and that nobody has loaded."""

    def halted(self, instance: Instance) -> set[HaltKey]:
        covers = {("all", ""), ("account", instance.account_id), ("instance", instance.id)}
        return {halt for halt in self.halts | self.declared if halt[:2] in covers}

    def told(self, instance: Instance) -> list[str]:
        """What is the case of an instance, in the words of the table."""
        mode, halts = self.modes[instance.id], self.halted(instance)
        told = [] if mode is Mode.ACTIVE else [mode.value]
        if instance.id in self.paused:
            told.append("paused")
        if halts:
            told.append("halted in full" if any(full for _, _, full in halts) else "halted")
        return told


@dataclass
class InARow:
    """Equal refusals of one kind of request, one after the other."""

    reason: str
    position: Decimal
    connections: int
    smallest: Decimal
    number: int
    last_s: float

    @property
    def pause_s(self) -> float:
        return 0.0 if self.number < 5 else min(10.0 * 2 ** (self.number - 5), 600.0)


@dataclass
class Judge:
    """Raises AssertionError where a call must not have been made, or ledger and exchange cannot both be right."""

    facts: Facts
    exchange: Exchange
    path: Callable[[], Path]
    tally: Counter[str]
    bounds: Bounds
    placings: list[str] = field(default_factory=list)
    """Who is placing: an order may leave while another is on its way."""
    cancelling: str | None = None
    """The order that a strategy cancels just now; every other cancel is a record's wish."""
    left: Counter[str] = field(default_factory=Counter)
    """How many orders left, of who is placing."""
    opened: tuple[Path, sqlite3.Connection] | None = None
    seen: tuple[int, dict[str, Columns]] | None = None
    """What that connection read last, and the version of the database that it read."""
    reading: threading.Lock = field(default_factory=threading.Lock)
    compared: set[str] = field(default_factory=set)
    seen_strangers: set[str] = field(default_factory=set)
    """Others' orders that this engine was told of when it compared; and those of before this beat."""
    known_strangers: set[str] = field(default_factory=set)
    written_off: set[str] = field(default_factory=set)
    """Orders that were in doubt, and then taken for never placed."""
    misheard: set[str] = field(default_factory=set)
    """Orders that the exchange took, and was said to have refused."""
    resolved: set[str] = field(default_factory=set)
    """Orders of which an operator said what became of them."""
    lost: set[str] = field(default_factory=set)
    """Orders of rows that are gone: an older ledger was put back."""
    settled: set[str] = field(default_factory=set)
    """Accounts of which an operator said whose is what they hold."""
    refusals: dict[tuple[str, str, str], InARow] = field(default_factory=dict)
    """By instance, side and type, as this engine saw them."""
    hushed_s: dict[str, float] = field(default_factory=dict)
    """Until when an account was asked to be let alone."""
    connections: int = 0
    heard: dict[str, Columns] = field(default_factory=dict)
    """The rows as the engine has heard of them in this beat: what is committed together it hears one by one."""
    killable: set[str] = field(default_factory=set)
    """Orders that a halt was to cancel at a moment of this beat."""
    hearing: threading.RLock = field(default_factory=threading.RLock)
    absences_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """When this engine was told that there is no such order."""

    def started(self) -> None:
        """Another engine: it knows nothing of what was asked before."""
        self.compared.clear()
        self.seen_strangers.clear()
        self.known_strangers.clear()
        self.absences_s.clear()
        self.refusals.clear()
        self.hushed_s.clear()
        self.bounds.started()

    def beat_begins(self) -> None:
        with self.hearing:
            self.heard = self.rows()
            self.killable.clear()
            self.bounds.beat_begins()
            self._moment()

    def beat_ends(self) -> None:
        with self.hearing:
            self.bounds.beat_ends()
            self.killable.clear()

    def told(self, tool: str, asked: Mapping[str, Any]) -> None:
        """The exchange answered."""
        with self.hearing:
            self.bounds.told(tool, asked)
            self._moment()

    def booked(self, order: Order, hear: Callable[[], None]) -> None:
        """The engine hears, by `hear`, how an order stands that was just committed."""
        with self.hearing:
            if self.bounds.moments:
                id_ = order.client_order_id
                known, filled = self.heard.get(id_) or self.row(id_), decimal_text(order.filled_quantity)
                now = {"outcome": order.outcome.value, "is_open": order.is_open, "filled_quantity": filled}
                self.heard[id_] = {**known, **now}
                self._moment()
            hear()

    def _moment(self) -> None:
        """It may decide from here on what is to be cancelled."""
        if not self.bounds.moments:
            return
        self.bounds.moment(self._book_heard)
        for kill in self.facts.kills:
            self.killable |= self._killed(kill, self._book_heard)

    def _book_heard(self, instance_id: str) -> Book:
        rows = [row for row in self.heard.values() if row["instance_id"] == instance_id]
        own = [row for row in rows if not row["shadow"] and row["outcome"] != "rejected"]
        return Book(_held(own) + self.moved(instance_id), own)

    @property
    def placing(self) -> str | None:
        return self.placings[-1] if self.placings else None

    def begin(self, instance_id: str) -> None:
        self.placings.append(instance_id)
        self.left[instance_id] = 0

    def end(self) -> None:
        self.placings.pop()

    def rows(self) -> dict[str, Columns]:
        """The ledger as it is committed, read by nobody's code but SQLite's. Not to be changed."""
        with self.reading:
            connection = self._connected()
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            if self.seen is None or self.seen[0] != version:  # somebody has committed since
                found = map(dict, connection.execute("SELECT * FROM orders ORDER BY id"))
                self.seen = (version, {row["client_order_id"]: row for row in found})
            return self.seen[1]

    def row(self, client_order_id: str) -> Columns:
        return self.rows()[client_order_id]

    def _own(self, instance_id: str) -> list[Columns]:
        """The real orders of an instance that count, or may, at the exchange."""
        own = (row for row in self.rows().values() if row["instance_id"] == instance_id)
        return [row for row in own if not row["shadow"] and row["outcome"] != "rejected"]

    def _connected(self) -> sqlite3.Connection:
        """One connection to each database: opening one takes longer than reading."""
        if self.opened is None or self.opened[0] != self.path():
            self.close()
            connection = sqlite3.connect(f"{self.path().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            self.opened = (self.path(), connection)
        return self.opened[1]

    def close(self) -> None:
        if self.opened is not None:
            self.opened[1].close()
            self.opened = self.seen = None

    def place(self, asked: Mapping[str, Any]) -> None:
        """An order leaves, at this moment."""
        id_, rows = asked["client_order_id"], self.rows()
        if id_ in rows and rows[id_]["provenance"] == "operator":
            self._close(rows, asked)
            return
        assert self.placing is not None, f"{id_} was sent though nobody was placing anything"
        instance = OF[self.placing]
        self.left[instance.id] += 1
        assert self.left[instance.id] == 1, f"{instance.id} placed one order, and {self.left[instance.id]} left"
        assert all(other["client_order_id"] != id_ for other in self.exchange.received), f"{id_} was sent twice"
        assert id_ in rows, f"{id_} left before it was in the ledger"
        row = rows[id_]
        assert (row["outcome"], row["instance_id"], row["shadow"]) == ("pending", instance.id, 0)
        assert id_.startswith(prefix(instance.id))
        assert len(id_) <= 18
        sent = (asked["account_id"], asked["client_id"], asked["symbol"])
        assert sent == (instance.account_id, instance.client_id, instance.symbol), f"{instance.id} sent as {sent}"
        assert sent == (row["account_id"], row["client_id"], row["symbol"])
        assert (asked["side"], asked["quantity"]) == (row["side"], row["quantity"])
        self._require_open_gate(instance, asked)
        own = [other for other in self._own(instance.id) if other["client_order_id"] != id_]
        act = _act(own, self.position(instance.id), asked["side"], Decimal(asked["quantity"]))
        self.bounds.leaves(instance.whose, row, act)
        self.tally["sent"] += 1

    def _close(self, rows: Mapping[str, Columns], asked: Mapping[str, Any]) -> None:
        """What leaves closes something: of what is to be flattened, nothing more, and nothing is in its way."""
        id_, row = asked["client_order_id"], rows[asked["client_order_id"]]
        instance = OF[row["instance_id"]]
        assert all(other["client_order_id"] != id_ for other in self.exchange.received), f"{id_} was sent twice"
        assert (row["outcome"], row["shadow"]) == ("pending", 0)
        assert id_.startswith(prefix(instance.id))
        sent = (asked["account_id"], asked["client_id"], asked["symbol"])
        assert sent == (instance.account_id, instance.client_id, instance.symbol), f"{instance.id} sent as {sent}"
        assert sent == (row["account_id"], row["client_id"], row["symbol"])
        assert (asked["side"], asked["quantity"]) == (row["side"], row["quantity"])
        assert instance.account_id in self.compared, "it closed something before its account was compared"
        kills = [kill for kill in self.facts.kills if kill.flattens and kill.covers(instance)]
        assert kills, f"{id_} closes something, and nothing is to be flattened"
        flaws = [self._flaw(kill, instance, rows, asked) for kill in kills]
        assert "" in flaws, f"{asked['side']} {asked['quantity']} closes something, though {flaws[0]}"
        self.tally["closed"] += 1

    def _flaw(self, kill: Kill, instance: Instance, rows: Mapping[str, Columns], asked: Mapping[str, Any]) -> str:
        """Why it must not have left for that halt's sake."""
        scope, market = kill.covered(), (instance.account_id, instance.symbol)
        for id_, row in rows.items():
            if id_ == asked["client_order_id"] or not row["is_open"] or row["shadow"]:
                continue
            if row["instance_id"] in scope and row["outcome"] != "accepted":
                return f"{id_} is {row['outcome']}"
            if row["instance_id"] in scope and row["provenance"] != "operator":
                return f"{id_} is open"
            if row["provenance"] == "operator" and (row["account_id"], row["symbol"]) == market:
                return f"{id_} is under way"
        for placed in self.exchange.visible():
            id_ = placed.arguments["client_order_id"]
            if not placed.is_open or id_ not in rows or rows[id_]["instance_id"] not in scope:
                continue
            if rows[id_]["account_id"] != instance.account_id:
                continue  # what another account lists adds nothing to this one
            if rows[id_]["provenance"] != "operator" or (rows[id_]["account_id"], rows[id_]["symbol"]) == market:
                return f"{id_} is open at the exchange"
        own = [one for one in INSTANCES if one.id in scope and (one.account_id, one.symbol) == market]
        net = sum((self.position(one.id) for one in own), start=Decimal(0))
        said = self.exchange.says_held(instance.account_id).get(instance.symbol, Decimal(0))
        sign = 1 if asked["side"] == "sell" else -1
        most = min(sign * net, sign * said)
        if Decimal(asked["quantity"]) > most:
            return f"the books hold {net}, the exchange says {said}"
        worst = self.exchange.bid * (1 - COLLAR) if sign > 0 else self.exchange.ask * (1 + COLLAR)
        if asked["type"] != "limit" or sign * (Decimal(asked["limit_price"]) - worst) < 0:
            return f"it may trade beyond {worst}"
        return ""

    def refused(self, asked: Mapping[str, Any], reason: str, connections: int) -> None:
        """The exchange refused an order."""
        if self.placing is None:
            return  # what closes something is held back by nothing
        key, quantity = (self.placing, asked["side"], asked["type"]), Decimal(asked["quantity"])
        position, known = self.position(self.placing), self.refusals.get(key)
        is_equal = known is not None and (known.reason, known.position) == (reason, position)
        if known is None or not is_equal or known.connections != connections or quantity < known.smallest:
            known = self.refusals[key] = InARow(reason, position, connections, quantity, 0, 0.0)
        known.number += 1
        known.last_s = self.exchange.clock.monotonic()

    def taken(self, asked: Mapping[str, Any]) -> None:
        """The exchange took an order, or may have: whatever was refused before it is no row any more."""
        if self.placing is None:
            return
        self.refusals.pop((self.placing, asked["side"], asked["type"]), None)

    def _require_no_brake(self, instance: Instance, asked: Mapping[str, Any], act: Act) -> None:
        known, now_s = self.refusals.get((instance.id, asked["side"], asked["type"])), self.exchange.clock.monotonic()
        if act is not Act.REDUCES:
            assert now_s >= self.hushed_s.get(instance.account_id, 0.0), "an order left, and its account was to wait"
        if known is None or known.connections != self.connections or known.position != self.position(instance.id):
            return
        pause_s = min(known.pause_s, 30.0) if act is Act.REDUCES else known.pause_s
        if Decimal(asked["quantity"]) >= known.smallest:
            assert now_s >= known.last_s + pause_s, f"an order left, and {known.number} were refused in a row"

    def _require_open_gate(self, instance: Instance, asked: Mapping[str, Any]) -> None:
        facts = self.facts
        assert facts.modes[instance.id] is Mode.ACTIVE, f"an order left in mode {facts.modes[instance.id]}"
        assert instance.id not in facts.paused, "an order left though its instance is paused"
        assert facts.committed or instance.account_id != "real", "real money moved though nothing was committed"
        assert instance.account_id in self.compared, "an order left before its account was compared on this connection"
        own = [row for row in self._own(instance.id) if row["client_order_id"] != asked["client_order_id"]]
        if self.is_behind(instance):
            self._require_reduction(instance, own, asked)
        doubts = [row["client_order_id"] for row in own if row["outcome"] in ("pending", "unknown")]
        assert not doubts, f"an order left though {doubts} are in doubt"
        act = _act(own, self.position(instance.id), asked["side"], Decimal(asked["quantity"]))
        self._require_no_brake(instance, asked, act)
        ago_s = self.exchange.quoted_ago_s
        assert ago_s is not None or asked["type"] != "market", "an order at market left, and there is no quote"
        if instance.account_id == "real" and (ago_s is None or abs(ago_s) > 60):
            assert act is Act.REDUCES, f"an order that {act} left on a quote of {ago_s} s ago"
        halts = facts.halted(instance)
        if halts:
            assert not any(full for _, _, full in halts), f"an order left under a full halt: {halts}"
            assert act is Act.REDUCES, f"an order that {act} left under {halts}"

    def is_behind(self, instance: Instance) -> bool:
        """Whether what the ledger lost moves real money: something that is open, or a position."""
        if instance.account_id != "real" or instance.account_id in self.settled:
            return False
        lost = [self.exchange.orders[id_] for id_ in self.lost if id_ in self.exchange.orders]
        lost = [order for order in lost if order.arguments["account_id"] == instance.account_id]
        return any(order.is_open for order in lost) or bool(sum(map(_signed, lost)))

    def held_there(self, instance: Instance) -> Decimal:
        """What the exchange holds of the instance's market, whoever bought it."""
        return self.exchange.held(instance.account_id).get(instance.symbol, Decimal(0))

    def _require_reduction(self, instance: Instance, own: Sequence[Columns], asked: Mapping[str, Any]) -> None:
        quantity, there = Decimal(asked["quantity"]), self.held_there(instance)
        act = _act(own, self.position(instance.id), asked["side"], quantity)
        assert act is Act.REDUCES, f"an order that {act} left while the ledger is behind"
        room = there if asked["side"] == "sell" else -there
        assert quantity <= room, f"{asked['side']} {quantity} left while the exchange holds {there}, and is behind"

    def events(self, reason: str) -> list[str]:
        """The messages of those events."""
        with self.reading:
            found = self._connected().execute("SELECT message FROM events WHERE reason = ?", [reason])
            return [row["message"] for row in found]

    def cancel(self, asked: Mapping[str, Any]) -> None:
        """A cancel leaves, at this moment."""
        id_ = asked["client_order_id"]
        instance = OF[self.row(id_)["instance_id"]]
        assert (asked["account_id"], asked["client_id"]) == (instance.account_id, instance.client_id)
        covering = [kill for kill in self.facts.kills if kill.covers(instance)]
        is_killed = id_ in self.killable or any(id_ in self._killed(kill) for kill in covering)
        # A look-up may have been faster: that is no harm. Asked last, for it may end between the two.
        is_over = bool(covering) and not self.row(id_)["is_open"]
        if self.cancelling != id_ and (is_killed or is_over):
            self.tally["killed by a halt"] += 1
            return
        told = self.facts.told(instance)
        assert self.cancelling != id_ or leaves(Act.CANCELS, told), f"a cancel left: {told}"
        if self.cancelling != id_ and self._is_reached(id_):
            self.tally["cancelled where a limit is reached"] += 1
        elif self.cancelling != id_:
            assert leaves(Act.CANCELS, told), f"a cancel left: {told}"
            assert instance.open_orders == "cancel", f"{id_} was cancelled, and nobody asked for it"
            assert self.facts.modes[instance.id] is not Mode.ACTIVE, f"{id_} was withdrawn from an active instance"
            self.tally["withdrawn"] += 1

    def _killed(self, kill: Kill, books: Callable[[str], Book] | None = None) -> set[str]:
        """The open orders that a halt may have cancelled: all, or those of a side that can do more than reduce."""
        found: set[str] = set()
        for instance_id in kill.covered():
            book = (books or self.book)(instance_id)
            for side in ("buy", "sell"):
                of_side = book.open(side)
                room = book.held if side == "sell" else -book.held
                if kill.cancels == "all" or _waiting(of_side) > max(room, Decimal(0)):
                    found |= {row["client_order_id"] for row in of_side}
        return found

    def check_killed(self) -> None:
        """What holds of the halts that cancel once everything was quiet for long enough, and nothing goes wrong."""
        for kill in self.facts.kills:
            assert not (left := self._killed(kill)), f"{left} should have been cancelled: {kill}"
            if not kill.flattens:
                continue
            for account_id, symbol in {(OF[id_].account_id, OF[id_].symbol) for id_ in kill.covered()}:
                own = [
                    OF[id_] for id_ in kill.covered() if (OF[id_].account_id, OF[id_].symbol) == (account_id, symbol)
                ]
                books = {one.id: held for one in own if (held := self.position(one.id))}
                net = sum(books.values(), start=Decimal(0))
                there = self.exchange.held(account_id).get(symbol, Decimal(0))
                assert not books or net * there < 0 or (net and not there), (
                    f"not flat: {books}, {there} at the exchange"
                )
                self.tally["flat"] += not books

    def _is_reached(self, id_: str) -> bool:
        """Whether a limit above it is reached, and it would add: now, or at a moment of this beat."""
        return id_ in self.bounds.cancellable or id_ in {row["client_order_id"] for row in self.bounds.unwanted()}

    def book(self, instance_id: str) -> Book:
        return Book(self.position(instance_id), self._own(instance_id))

    def cancel_all(self, asked: Mapping[str, Any]) -> None:
        """A call leaves that cancels whatever is open there: all of it is ours, and to be cancelled."""
        killed = [self._killed(kill) for kill in self.facts.kills]
        for placed in self.exchange.open_of(**asked):
            id_ = placed.arguments["client_order_id"]
            assert any(id_ in ids for ids in killed), f"{id_} was in reach of a cancel_all, and is to stay"
            self.tally["cancelled together"] += 1

    def arm(self, asked: Mapping[str, Any]) -> None:
        """A dead man's switch is set: nobody else's orders may be in its reach."""
        reached = self.exchange.open_of(account_id=asked["account_id"])
        strange = {placed.arguments["client_order_id"] for placed in reached} & self.known_strangers
        assert not asked["seconds"] or not strange, f"armed over {strange}"
        self.tally["armed" if asked["seconds"] else "disarmed"] += 1

    def check_armed(self) -> None:
        """After a beat at which everything could be asked: what rests on an account is not left alone for long."""
        for account_id in {instance.account_id for instance in INSTANCES}:
            placed = self.exchange.open_of(account_id=account_id)
            ids = {one.arguments["client_order_id"] for one in placed}
            known = {id_ for id_, row in self.rows().items() if row["is_open"] and not row["shadow"]}
            at_s = self.exchange.fires_at_s.get(account_id)
            if ids & known and not ids & self.exchange.strangers:
                assert at_s is not None, f"{ids} rest on {account_id}, and no switch is armed"
                assert at_s >= self.exchange.clock.time() + 30, f"{ids} rest on {account_id}, and nobody armed it anew"
            elif not known:
                assert at_s is None, f"nothing is open on {account_id}, and its switch is armed"

    def held_back(self) -> int:
        """How many orders should be withdrawn, were there no full halt."""
        full = [i for i in INSTANCES if i.open_orders == "cancel" and "halted in full" in self.facts.told(i)]
        out = {instance.id for instance in full if self.facts.modes[instance.id] is not Mode.ACTIVE}
        return sum(row["is_open"] and not row["shadow"] and row["instance_id"] in out for row in self.rows().values())

    def act(self, instance: Instance, side: str, quantity: Decimal) -> Act:
        """What an order would do, as the ledger stands."""
        return _act(self._own(instance.id), self.position(instance.id), side, quantity)

    def position(self, instance_id: str) -> Decimal:
        """What its book holds: what was filled, and what was moved between books."""
        return _held(self._own(instance_id)) + self.moved(instance_id)

    def moved(self, instance_id: str) -> Decimal:
        with self.reading:
            query = "SELECT quantity, quantity_before FROM corrections WHERE instance_id = ?"
            found = self._connected().execute(query, [instance_id]).fetchall()
        return sum((Decimal(row["quantity"]) - Decimal(row["quantity_before"]) for row in found), start=Decimal(0))

    def check(self) -> None:
        """What holds at every step."""
        rows = self.rows()
        gone = {id_ for id_, row in rows.items() if row["was_unknown"] and row["outcome"] == "rejected"}
        for id_ in gone - self.written_off - self.resolved:
            told_s = self.absences_s[id_]
            assert rows[id_]["rejected_by"] == "exchange" or (len(told_s) >= 3 and told_s[-1] - told_s[0] >= 30), (
                f"{id_} was given up after it was not found at {told_s}"
            )
            self.tally["given up"] += 1
        self.written_off |= gone
        times = Counter(asked["client_order_id"] for asked in self.exchange.received)
        assert all(number == 1 for number in times.values()), f"sent twice: {times}"
        for id_, placed in self.exchange.orders.items():
            if id_ in self.lost or id_ in self.exchange.strangers:
                continue
            assert id_ in rows, f"{id_} is at the exchange, and the ledger does not know it"
            row = rows[id_]
            is_certain = row["outcome"] == "rejected" and not row["was_unknown"]
            assert not is_certain or id_ in self.misheard, f"{id_} was taken, and is rejected for certain"
            told = Decimal(row["filled_quantity"])
            assert told <= placed.filled, f"{id_}: {told} filled in the ledger, {placed.filled} at the exchange"
            is_believable = told <= placed.quantity * Decimal("1.02") or id_ in self.resolved
            assert is_believable, f"{id_}: {told} filled of {placed.quantity}, which nobody looked at, and it is booked"
        for id_, row in rows.items():
            if row["outcome"] == "accepted":
                assert id_ in self.exchange.orders, f"{id_} is accepted in the ledger, but nothing is at the exchange"
                if row["state"] in ("filled", "cancelled", "expired"):
                    self._agrees(id_, row)

    def check_settled(self) -> None:
        """What holds once everything was quiet for long enough."""
        rows = self.rows()
        undecided = [id_ for id_, row in rows.items() if row["outcome"] in ("pending", "unknown")]
        assert not undecided, f"still in doubt: {undecided}"
        for id_, placed in self.exchange.orders.items():
            if id_ in self.lost or id_ in self.exchange.strangers:
                continue
            if id_ in self.misheard and placed.is_over_unfilled and rows[id_]["rejected_by"] == "exchange":
                continue  # many exchanges list what they refused as cancelled: nothing was traded
            assert rows[id_]["outcome"] == "accepted", f"{id_} was placed, and is {rows[id_]['outcome']} in the ledger"
            self._agrees(id_, rows[id_])

    def turned_up(self) -> set[str]:
        """The orders that the ledger took for never placed, and that it knows better by now."""
        rows = self.rows()
        known = (self.written_off | self.misheard) - self.lost
        return {id_ for id_ in known if rows[id_]["outcome"] == "accepted"}

    def _agrees(self, id_: str, row: Columns) -> None:
        placed = self.exchange.orders[id_]
        ours = (row["state"], Decimal(row["filled_quantity"]))
        theirs = (placed.state.value, placed.filled)
        assert ours == theirs, f"{id_}: the ledger says {ours}, the exchange {theirs}"


def _signed(placed: Placed) -> Decimal:
    return placed.filled if placed.arguments["side"] == "buy" else -placed.filled


def _held(own: Iterable[Columns]) -> Decimal:
    return sum((Decimal(row["filled_quantity"]) * (1 if row["side"] == "buy" else -1) for row in own), start=Decimal(0))


def _waiting(resting: Iterable[Mapping[str, Any]]) -> Decimal:
    """What is not filled of them."""
    return sum((Decimal(row["quantity"]) - Decimal(row["filled_quantity"]) for row in resting), start=Decimal(0))


def _act(own: Sequence[Columns], held: Decimal, side: str, quantity: Decimal) -> Act:
    resting = [row for row in own if row["is_open"] and row["side"] == side]
    return act_of(held if side == "sell" else -held, _waiting(resting), quantity)
