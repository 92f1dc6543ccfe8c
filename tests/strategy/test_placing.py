from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from reconciler.orders.order import OrderRequest, OrderType, Side, TimeInForce
from reconciler.strategy.base import order_request


def test_arguments_become_exact_values() -> None:
    assert order_request("buy", "0.10", "limit", limit_price=Decimal("99.5"), time_in_force="ioc") == OrderRequest(
        Side.BUY, OrderType.LIMIT, Decimal("0.10"), Decimal("99.5"), None, TimeInForce.IOC
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"quantity": 0.1}, TypeError, "quantity: expected str or Decimal, was float"),
        ({"quantity": "0"}, ValueError, "quantity: expected more than 0, was 0"),
        ({"quantity": "-1"}, ValueError, "quantity: expected more than 0, was -1"),
        ({"quantity": "NaN"}, ValueError, "quantity: expected a finite number"),
        ({"side": "bye"}, ValueError, "side: expected one of buy, sell, was 'bye'; did you mean \"buy\""),
        ({"type": "limit"}, ValueError, "limit_price: expected a price, as a limit order needs one, was missing"),
        ({"limit_price": "5"}, ValueError, "limit_price: expected none, as a market order has no use for it"),
        ({"type": "limit", "limit_price": 1.5}, TypeError, "limit_price: expected str or Decimal, was float"),
        ({"type": "stop"}, ValueError, "stop_price: expected a price, as a stop order needs one"),
        ({"reduce_only": 1}, TypeError, "reduce_only: expected a bool, was int"),
    ],
)
def test_what_is_not_an_order_is_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        order_request(**{"side": "buy", "quantity": "1", **arguments})
    assert message in str(caught.value)
