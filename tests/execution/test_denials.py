"""Orders that their exchange took and now denies, and everything that closes a gate: told for as long as it is so."""

from __future__ import annotations

from reconciler.errors import ExecUnknown
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.orders.news import Verdict
from reconciler.orders.order import Order
from tests.execution.standins import Desk, StandInGate

NOT_FOUND = OrderNotFound("order not found: that one")


def denied_order(desk: Desk) -> Order:
    """An order that the exchange took, and has denied often enough since."""
    order = desk.buy(StandInGate(), limit="90")
    desk.server.fails("get_order", NOT_FOUND)
    beats(desk, 10)
    return order


def beats(desk: Desk, number: int) -> None:
    for _ in range(number):
        desk.clock.advance(6)
        desk.follow_up()


def test_an_order_that_its_exchange_denies_is_told_until_an_operator_says_what_became_of_it(desk: Desk) -> None:
    assert desk.gateway.denials() == ()
    order = denied_order(desk)
    (denial,) = desk.gateway.denials()
    assert (denial.instance_id, denial.account_id, denial.client_order_id) == (
        "btc-grid-1",
        "main",
        order.client_order_id,
    )
    assert denial.message.startswith("the exchange does not know it: asked 6 times in 30 s")
    assert desk.gateway.resolve(order.client_order_id, Verdict("cancelled", "not there", "uid 0")) == ""
    assert desk.gateway.denials() == ()


def test_an_order_that_its_exchange_knows_again_is_denied_no_more(desk: Desk) -> None:
    denied_order(desk)
    desk.server.answers("get_order", {"status": "open"})
    beats(desk, 1)
    assert desk.gateway.denials() == ()


def test_everything_that_closes_the_gate_is_told_the_strongest_halt_first(desk: Desk) -> None:
    desk.server.fails("place_order", ExecUnknown("no answer within 5 s"))
    order = desk.buy(StandInGate())
    desk.store.halts.add("account", "main", full=False, reason="margin call", by="uid 0")
    desk.store.halts.add("instance", "btc-grid-1", full=True, reason="orders loop", by="uid 0")
    found = desk.gateway.obstacles("btc-grid-1", "main")
    assert list(found) == [
        ("Halted", "instance btc-grid-1 is halted in full: orders loop"),
        ("Halted", "account main is halted: margin call"),
        ("UnknownOrder", f"it is not known whether {order.client_order_id} was placed"),
    ]
    assert desk.gateway.blocked("btc-grid-1", "main") == found[0]
    assert desk.buy(StandInGate()).reason == "Halted: instance btc-grid-1 is halted in full: orders loop"
    assert desk.gateway.obstacles("another", "elsewhere")[0][0] == "ExecDown"
