"""What carries an engine changes no order: threads, a loop and real MCP, or the calling thread alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.orders.order import Order
from reconciler.paper.account import PaperOptions
from reconciler.paper.paper_order import MarketRules, Markets
from tests.proof.floor import Floor, inline_floor, trading_floor
from tests.proof.test_hour import OPTIONS, deployments

BEATS = 80
ENDLESS = replace(OPTIONS, markets=Markets({"EUR/USD": MarketRules(price_step=Decimal("0.00005"))}))
"""As much at each price as anybody asks for: of what is there once, who comes first takes it, whoever that is."""


def traded(
    make: Callable[[Path, PaperOptions], AbstractContextManager[Floor]], folder: Path
) -> dict[str, list[tuple[object, ...]]]:
    """What each instance asked for and got, in order; each has an account of its own, so that none waits for another's
    money."""
    fleet = [replace(one, account=one.id) for one in deployments()]
    with make(folder, ENDLESS) as floor:
        floor.load(fleet)
        for _ in range(BEATS):
            floor.beat()
        ledger = floor.store.ledger
        return {
            f"{one.id}, {'shadow' if shadow else 'real'}": [
                *map(_told, reversed(ledger.recent(one.id, 10_000, shadow))),
                (ledger.holding(one.id, one.market, shadow),),
            ]
            for one in fleet
            for shadow in (False, True)
        }


def _told(order: Order) -> tuple[object, ...]:
    request = order.request
    return (
        *(request.side, request.type, request.quantity, request.limit_price, request.reduce_only),
        *(order.outcome, order.state, order.reason, order.rejected_by, order.provenance.beat, order.provenance.mode),
        *(order.filled_quantity, order.average_price, order.fee, order.fee_currency),
        *(order.quote_bid, order.quote_ask, order.quote_at),
    )


@pytest.mark.timeout(180)
def test_an_order_is_the_same_to_the_digit_whatever_carries_the_engine(tmp_path: Path) -> None:
    found = [traded(make, folder) for make, folder in _floors(tmp_path)]
    assert sum(len(orders) for orders in found[0].values()) > 2 * len(found[0])
    assert found[0] == found[1]


def _floors(tmp_path: Path) -> Iterator[tuple[Callable[[Path, PaperOptions], AbstractContextManager[Floor]], Path]]:
    for make in (trading_floor, inline_floor):
        folder = tmp_path / make.__name__
        folder.mkdir()
        yield make, folder
