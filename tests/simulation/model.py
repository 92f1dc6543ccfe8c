"""What must hold of orders, said a second time: from rows read with SQL, and from what the exchange has seen.

Nothing here asks the parts that are tested.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from reconciler.execution.order_id import prefix
from reconciler.records.mode import Mode
from tests.simulation.exchange import Exchange

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


@dataclass
class Facts:
    """What closes the gates. A closing is a fact once whoever closed has returned, an opening once it is meant."""

    modes: dict[str, Mode] = field(default_factory=lambda: {instance.id: Mode.ACTIVE for instance in INSTANCES})
    committed: bool = True
    paused: set[str] = field(default_factory=set)
    halts: set[HaltKey] = field(default_factory=set)
    declared: set[HaltKey] = field(default_factory=set)

    def halted(self, instance: Instance) -> set[HaltKey]:
        covers = {("all", ""), ("account", instance.account_id), ("instance", instance.id)}
        return {halt for halt in self.halts | self.declared if halt[:2] in covers}


@dataclass
class Judge:
    """Raises AssertionError where a call must not have been made, or ledger and exchange cannot both be right."""

    facts: Facts
    exchange: Exchange
    path: Callable[[], Path]
    tally: Counter[str]
    placing: str | None = None
    left: int = 0
    compared: set[str] = field(default_factory=set)
    written_off: set[str] = field(default_factory=set)
    """Orders that were in doubt, and then taken for never placed."""

    def begin(self, instance_id: str) -> None:
        self.placing, self.left = instance_id, 0

    def end(self) -> None:
        self.placing = None

    def rows(self) -> dict[str, Columns]:
        connection = sqlite3.connect(f"{self.path().as_uri()}?mode=ro", uri=True)
        connection.row_factory = sqlite3.Row
        try:
            return {row["client_order_id"]: dict(row) for row in connection.execute("SELECT * FROM orders ORDER BY id")}
        finally:
            connection.close()

    def place(self, asked: Mapping[str, Any]) -> None:
        """An order leaves, at this moment."""
        id_, rows = asked["client_order_id"], self.rows()
        assert self.placing is not None, f"{id_} was sent though nobody was placing anything"
        instance = OF[self.placing]
        self.left += 1
        assert self.left == 1, f"{self.placing} placed one order, and {self.left} left"
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
        self._require_open_gate(instance, asked, rows)
        self.tally["sent"] += 1

    def _require_open_gate(self, instance: Instance, asked: Mapping[str, Any], rows: Mapping[str, Columns]) -> None:
        facts = self.facts
        assert facts.modes[instance.id] is Mode.ACTIVE, f"an order left in mode {facts.modes[instance.id]}"
        assert instance.id not in facts.paused, "an order left though its instance is paused"
        assert facts.committed or instance.account_id != "real", "real money moved though nothing was committed"
        assert instance.account_id in self.compared, "an order left before its account was compared on this connection"
        own = [
            row
            for row in rows.values()
            if row["instance_id"] == instance.id
            and not row["shadow"]
            and row["client_order_id"] != asked["client_order_id"]
        ]
        doubts = [row["client_order_id"] for row in own if row["outcome"] in ("pending", "unknown")]
        assert not doubts, f"an order left though {doubts} are in doubt"
        halts = facts.halted(instance)
        if halts:
            assert not any(full for _, _, full in halts), f"an order left under a full halt: {halts}"
            assert _reduces(own, asked), f"an order that opens left under {halts}"
            self.tally["reduced under a halt"] += 1

    def cancel(self, asked: Mapping[str, Any]) -> None:
        """A cancel leaves, at this moment."""
        row = self.rows()[asked["client_order_id"]]
        instance = OF[row["instance_id"]]
        assert (asked["account_id"], asked["client_id"]) == (instance.account_id, instance.client_id)
        assert not any(full for _, _, full in self.facts.halted(instance)), "a cancel left under a full halt"
        self.tally["cancels"] += 1

    def check(self) -> None:
        """What holds at every step."""
        rows = self.rows()
        self.written_off |= {id_ for id_, row in rows.items() if row["was_unknown"] and row["outcome"] == "rejected"}
        times = Counter(asked["client_order_id"] for asked in self.exchange.received)
        assert all(number == 1 for number in times.values()), f"sent twice: {times}"
        for id_, placed in self.exchange.orders.items():
            assert id_ in rows, f"{id_} is at the exchange, and the ledger does not know it"
            row = rows[id_]
            assert row["outcome"] != "rejected" or row["was_unknown"], f"{id_} was taken, and is rejected for certain"
            told = Decimal(row["filled_quantity"])
            assert told <= placed.filled, f"{id_}: {told} filled in the ledger, {placed.filled} at the exchange"
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
        for id_ in self.exchange.orders:
            assert rows[id_]["outcome"] == "accepted", f"{id_} was placed, and is {rows[id_]['outcome']} in the ledger"
            self._agrees(id_, rows[id_])

    def turned_up(self) -> set[str]:
        """The orders that the ledger took for never placed, and that it knows better by now."""
        rows = self.rows()
        return {id_ for id_ in self.written_off if rows[id_]["outcome"] == "accepted"}

    def _agrees(self, id_: str, row: Columns) -> None:
        placed = self.exchange.orders[id_]
        ours = (row["state"], Decimal(row["filled_quantity"]))
        theirs = (placed.state.value, placed.filled)
        assert ours == theirs, f"{id_}: the ledger says {ours}, the exchange {theirs}"


def _reduces(own: list[Columns], asked: Mapping[str, Any]) -> bool:
    """Whether, if all that is open fills first, the order can still only bring the position nearer to zero."""
    held, waiting = Decimal(0), Decimal(0)
    for row in own:
        filled = Decimal(row["filled_quantity"])
        held += filled if row["side"] == "buy" else -filled
        if row["is_open"] and row["side"] == asked["side"]:
            waiting += Decimal(row["quantity"]) - filled
    room = held if asked["side"] == "sell" else -held
    return Decimal(asked["quantity"]) + waiting <= room
