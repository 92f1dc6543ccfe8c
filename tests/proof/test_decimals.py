"""Money is decimal from end to end: no binary float touches it on its way, and not one digit changes."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from reconciler.exec_mcp.http_pool import HttpPool, Parcel
from reconciler.orders.order import decimal_text
from reconciler.paper.account import PaperOptions
from tests.proof.floor import Deployment, definition, trading_floor

PACKAGE = Path(__file__).parents[2] / "reconciler"
MONEY = ("documents", "validation", "execution", "exec_mcp", "paper", "store", "records", "orders", "strategy")
"""The folders through which money passes."""

CONVERSIONS = {
    "exec_mcp/reply.py": "times that a server tells as numbers",
    "exec_mcp/request.py": "a server's own JSON wants a number; refused where it is not exactly the amount",
    "paper/faults.py": "probabilities and seconds",
    "paper/csv_feed.py": "times of the rows of a file of prices",
    "exec_mcp/refusals.py": "seconds for which a server wants to be left alone",
    "documents/scalars.py": "numbers of YAML that are no money: money is quoted there",
    "strategy/definition.py": "minutes from tick to tick",
    "strategy/widgets.py": "points of a chart",
}
"""Where a float is made, and why that is no money."""


def _modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in MONEY:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def test_floats_are_made_only_where_it_is_known_that_they_are_no_money() -> None:
    makers = {
        name
        for name, tree in _modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "float"
    }
    assert makers == CONVERSIONS.keys()


def test_no_decimal_is_made_of_a_float() -> None:
    """`Decimal(0.1)` is not a tenth; nor is `Decimal.from_float` ever needed."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in _modules()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "from_float")
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "Decimal"
            and any(isinstance(given, ast.Constant) and isinstance(given.value, float) for given in node.args)
        )
    ]
    assert found == []


def test_nothing_named_like_money_is_a_float() -> None:
    words = ("price", "quantity", "fee", "amount", "notional", "balance", "cost", "realised", "bid", "ask", "cash")
    found = []
    for name, tree in _modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.arg):
                called, annotation = node.arg, node.annotation
            elif isinstance(node, ast.AnnAssign):
                called, annotation = ast.unparse(node.target), node.annotation
            elif isinstance(node, ast.FunctionDef):
                called, annotation = node.name, node.returns
            else:
                continue
            is_float = annotation is not None and "float" in ast.unparse(annotation)
            if is_float and set(called.strip("_").split("_")) & set(words):
                found.append(f"{name}:{node.lineno} {called}")
    assert found == []


STRATEGY = """\
from reconciler.strategy import Strategy


class Precise(Strategy):
    \"\"\"Places what its config says, once.\"\"\"

    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object"}

    def on_tick(self):
        if not self.context.orders.recent():
            for quantity, price in self.config["orders"]:
                self.context.orders.place("buy", quantity, type="limit", limit_price=price)
"""

AMOUNTS = (
    ("0.1", "2"),
    ("0.2", "1.9"),
    ("0.00000001", "1.7"),
    ("0.000000000001", "1.999999999999"),
    ("123456789.012345678", "1.500000000001"),
    ("9007199254.740993", "1.5"),  # the digits of 2 ** 53 + 1: the first whole number that a float cannot hold
    ("999999999999.999999999999", "1.75"),
    ("0.3", "0.100000000001"),
)
"""Quantity and limit, up to the finest that the exchange takes. All but the last are filled at the market's price."""


def test_amounts_travel_from_the_strategy_to_the_balance_without_losing_a_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    send = HttpPool.post

    async def watched(transport: Any, parcel: Parcel, *args: Any) -> bytes | httpx2.Response:
        message = json.loads(parcel.body)
        if message["params"]["name"] == "place_order":
            sent.append(message["params"]["arguments"])
        return await send(transport, parcel, *args)

    monkeypatch.setattr(HttpPool, "post", watched)
    (tmp_path / "precise.py").write_text(STRATEGY)
    starting = Decimal("1e18")
    options = PaperOptions(starting={"USD": starting, "EUR": Decimal("0.000000000000000001")})
    with trading_floor(tmp_path, options) as floor:
        config = {"orders": [list(pair) for pair in AMOUNTS]}
        floor.load([Deployment("precise", definition(tmp_path / "precise.py"), config, "EUR/USD")])
        floor.beat()
        ask = floor.ask("get_quote", "main", symbol="EUR/USD")["ask"]
        listed = floor.ask("list_orders", "main", status="all")["orders"]
        balances = {b["asset"]: b["total"] for b in floor.ask("get_balances", "main")["balances"]}
        (position,) = floor.ask("get_positions", "main")["positions"]
        assert floor.reader is not None
        items, _ = floor.reader.orders(instance_id="precise")
        items.reverse()
        fills = [fill for item in items for fill in floor.store.ledger.fills(item["client_order_id"])]
        holding = floor.store.ledger.holding("precise", "EUR/USD", False)
    assert [item["reason"] for item in items] == [""] * len(AMOUNTS)
    journal = [json.loads(line) for line in (tmp_path / "paper.journal").read_text().splitlines()]
    stations = {"wire": sent, "exchange": listed, "journal": journal, "ledger": items}
    for station, orders in stations.items():
        assert [(order["quantity"], order["limit_price"]) for order in orders] == [*AMOUNTS], station
    filled = [quantity for quantity, limit in AMOUNTS if Decimal(limit) > 1]
    assert [decimal_text(fill.quantity) for fill in fills] == filled
    assert {decimal_text(fill.price or Decimal(0)) for fill in fills} == {ask}
    fees = [fill["fee"] for order in listed for fill in order["fills"]]
    assert [decimal_text(fill.fee or Decimal(0)) for fill in fills] == fees
    # By whole numbers alone, without the decimal module: what all of it adds up to.
    held = sum(_scaled(quantity) for quantity in filled)
    paid = held * _scaled(ask) + sum(map(_scaled, fees)) * 10**PLACES
    assert _scaled(balances["EUR"]) == held + 10 ** (PLACES - 18)
    assert _scaled(balances["USD"]) * 10**PLACES == _scaled("1" + "0" * 18) * 10**PLACES - paid
    assert _scaled(position["quantity"]) == _scaled(decimal_text(holding.quantity)) == held


PLACES = 30


def _scaled(text: str) -> int:
    """The decimal text as a whole number of its thirtieth places."""
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(PLACES, "0"))
