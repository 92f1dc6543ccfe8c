"""The morning of 1 August 2012: a flag is used anew, one host of eight still runs the code that it meant before.

That code buys, and never hears that it has enough; alarms come and nobody reads them. Here one instance of eight is of
code that was left behind. Nobody halts it: the throttle does, as real money has it where the settings say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from reconciler.clock import iso
from reconciler.orders.order import OrderRequest, OrderType, Outcome, Provenance, Side
from reconciler.records.accounts import REAL_MONEY_THROTTLE
from tests.execution.standins import ACCOUNTS, Desk, StandInGate, events

PAGE = Path(__file__).parents[2] / "docs" / "limits.md"
MINUTES, HEARTBEAT_S, AT_ONCE = 45, 6, 4
NEW, OLD = "a11c0de", "decafbad0ddc0de"


@dataclass
class Host(StandInGate):
    """One of eight, each with its market; `code` is what it runs."""

    code: str = NEW

    def provenance(self, beat: int) -> Provenance:
        return replace(super().provenance(beat), code_digest=self.code)


def test_it_stops_at_the_throttle_and_the_code_is_named(desk: Desk) -> None:
    declared = {"real": replace(ACCOUNTS.declared["real"], throttle=REAL_MONEY_THROTTLE)}
    desk.gateway.bound_by(replace(ACCOUNTS, declared=declared))
    desk.server.answers(
        "place_order", {"status": "filled", "filled_quantity": "100", "average_price": "101", "order_id": "x"}
    )
    hosts = [Host(f"host-{number}", "real", symbol=f"STOCK{number}/USD") for number in range(1, 8)]
    behind = Host("host-8", "real", symbol="STOCK8/USD", code=OLD)
    parent = OrderRequest(Side.BUY, OrderType.MARKET, Decimal(100))
    children = asked = left = 0
    stopped_s = None
    for beat in range(MINUTES * 60 // HEARTBEAT_S):
        now = iso(desk.clock.time())
        desk.server.answers("get_quote", {"bid": "99", "ask": "101", "as_of": now})
        for host in hosts if beat % 20 == 0 else ():  # what was meant: a child order every two minutes
            children += desk.gateway.place(host, parent, beat).outcome is Outcome.ACCEPTED
        for _ in range(AT_ONCE):
            asked += 1
            order = desk.gateway.place(behind, parent, beat)
            left += order.outcome is Outcome.ACCEPTED
            if order.outcome is Outcome.REJECTED and stopped_s is None:
                stopped_s = beat * HEARTBEAT_S
        desk.clock.advance(HEARTBEAT_S)

    assert children == 7 * 23, "those of the new code trade on"
    assert (asked, left, stopped_s) == (1_800, REAL_MONEY_THROTTLE.same_orders, 90)
    (halt,) = desk.store.halts.active()
    assert (halt.scope, halt.id) == ("instance", "host-8")
    assert OLD[:12] in halt.reason
    first, last = halt.reason.partition("the first is ")[2].split(", the last ")
    ledger = [desk.store.ledger.get(one) for one in (first, last.partition(";")[0])]
    assert [one is not None and one.provenance.code_digest for one in ledger] == [OLD, OLD]
    assert any(reason == "Halted" and OLD[:12] in message for reason, message in events(desk))
    far = f"It stopped after {left} orders, {stopped_s} seconds in, of {asked:,} that it asked for"
    assert far in " ".join(PAGE.read_text(encoding="utf-8").split())
