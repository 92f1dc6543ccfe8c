"""An hour of beats on real prices: what is written in the ledger is what happened at the exchange, to the cent.

Instances of three strategies share two accounts and two markets. Every sum here is exact: no rounding, no
tolerance.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from decimal import Context, Decimal, Inexact, localcontext
from pathlib import Path
from typing import Any

import pytest

from reconciler.orders.order import OrderState, Outcome, Side
from reconciler.paper.account import PaperOptions
from reconciler.paper.paper_order import MarketRules, Markets
from reconciler.records.mode import Mode
from tests.proof.floor import Deployment, Floor, definition, inline_floor

STRATEGIES = Path(__file__).parents[2] / "strategies"
BEATS = 600
ACCOUNTS = ("main", "spare")
STARTING = Decimal(100_000)

OPTIONS = PaperOptions(
    maker_fee=Decimal("0.0007"),
    taker_fee=Decimal("0.0013"),
    markets=Markets({"EUR/USD": MarketRules(depth=Decimal("150.5"), price_step=Decimal("0.00005"))}),
)
"""With fees of two kinds, and one market on which larger orders fill bit by bit."""


def deployments() -> Sequence[Deployment]:
    dca, grid, sma = (definition(STRATEGIES / f"{name}.py") for name in ("dca", "grid", "sma_cross"))
    averaging = {"notional": "99.99", "every_minutes": 2, "quantity_step": "0.01"}
    ladder = {"quantity": "333.33", "levels": 2, "spacing": "0.004", "price_step": "0.00005"}
    yen = {"quantity": "77.7", "levels": 1, "spacing": "0.006", "price_step": "0.01"}
    crossing = {"quantity": "123.45", "fast": 2, "slow": 5}
    return [
        Deployment("dca-main", dca, averaging, "EUR/USD"),
        Deployment("dca-spare", dca, averaging, "EUR/JPY", "spare"),
        Deployment("dca-watching", dca, averaging, "EUR/USD", mode=Mode.OBSERVE),
        Deployment("grid-main", grid, ladder, "EUR/USD"),
        Deployment("grid-yen", grid, yen, "EUR/JPY"),
        Deployment("grid-spare", grid, {**ladder, "levels": 1}, "EUR/USD", "spare"),
        Deployment("cross-main", sma, crossing, "EUR/USD"),
        Deployment("cross-spare", sma, {**crossing, "fast": 3, "slow": 8}, "EUR/USD", "spare"),
    ]


class Books:
    """The ledger's side of an account: orders, executions, and what each instance holds."""

    def __init__(self, floor: Floor, fleet: Sequence[Deployment], account: str) -> None:
        ledger = floor.store.ledger
        traders = [own for own in fleet if own.account == account and own.mode is Mode.ACTIVE]
        self.markets = {trader.market for trader in traders}
        self.holdings = {trader.id: ledger.holding(trader.id, trader.market, False) for trader in traders}
        self.orders = [order for trader in traders for order in ledger.recent(trader.id, 100_000, False)]
        self.fills = [(order, fill) for order in self.orders for fill in ledger.fills(order.client_order_id)]


class Statement:
    """The exchange's side of an account."""

    def __init__(self, floor: Floor, account: str, markets: set[str]) -> None:
        self.orders: list[dict[str, Any]] = floor.ask("list_orders", account, status="all")["orders"]
        told = floor.ask("get_balances", account)["balances"]
        self.balances = {item["asset"]: Decimal(item["total"]) for item in told}
        told = floor.ask("get_positions", account)["positions"]
        self.positions = {item["symbol"]: Decimal(item["quantity"]) for item in told}
        quotes = {market: floor.ask("get_quote", account, symbol=market) for market in markets}
        self.last = {market: Decimal(quote["last"]) for market, quote in quotes.items()}


@pytest.mark.timeout(180)
def test_after_an_hour_of_beats_ledger_fills_and_balances_add_up_to_the_cent(tmp_path: Path) -> None:
    fleet = deployments()
    with inline_floor(tmp_path, OPTIONS) as floor:
        floor.load(fleet)
        for _ in range(BEATS):
            floor.beat()
        assert floor.host.ticks().errors == 0
        assert floor.store.ledger.unresolved() == []
        books = {account: Books(floor, fleet, account) for account in ACCOUNTS}
        statements = {account: Statement(floor, account, books[account].markets) for account in ACCOUNTS}
    # A sum that would have to be rounded is an error here.
    with localcontext(Context(prec=60, traps=[Inexact])):
        check_that_they_traded([*books.values()])
        for account in ACCOUNTS:
            check_fills(books[account], statements[account])
            check_balances(books[account], statements[account])
            check_positions(books[account], statements[account])
            check_profit(books[account], statements[account])


def check_that_they_traded(books: Sequence[Books]) -> None:
    """Nothing adds up more easily than nothing."""
    for book in books:
        for id in book.holdings:
            sides = {order.side for order, _ in book.fills if order.instance_id == id}
            assert sides == ({Side.BUY} if id.startswith("dca") else {Side.BUY, Side.SELL}), id
    often = Counter(order.client_order_id for book in books for order, _ in book.fills)
    assert max(often.values()) > 1, "no order was filled bit by bit"
    assert any(order.state is OrderState.CANCELLED for book in books for order in book.orders)


def check_fills(books: Books, statement: Statement) -> None:
    """Every order and every execution is on both sides, and says the same there."""
    taken = [order for order in books.orders if order.outcome is not Outcome.REJECTED]
    assert sorted((o.client_order_id, str(o.state), o.filled_quantity) for o in taken) == sorted(
        (o["client_order_id"], o["status"], Decimal(o["filled_quantity"])) for o in statement.orders
    )
    assert sorted(
        (order.client_order_id, fill.exchange_fill_id, fill.quantity, fill.price, fill.fee)
        for order, fill in books.fills
    ) == sorted(
        (order["client_order_id"], f["fill_id"], Decimal(f["quantity"]), Decimal(f["price"]), Decimal(f["fee"]))
        for order in statement.orders
        for f in order["fills"]
    )


def check_balances(books: Books, statement: Statement) -> None:
    """What there was, and what fills moved, fees taken off, is what there is."""
    expected = dict.fromkeys(statement.balances, STARTING)
    for order, fill in books.fills:
        assert fill.price is not None
        assert fill.fee is not None
        base, quote = order.provenance.symbol.split("/")
        bought = fill.quantity if order.side is Side.BUY else -fill.quantity
        expected[base] += bought
        expected[quote] -= bought * fill.price + fill.fee
    assert statement.balances == expected


def check_positions(books: Books, statement: Statement) -> None:
    """What the instances hold of a market, together, is what the account holds."""
    held: Counter[str] = Counter()
    together: dict[str, Decimal] = defaultdict(Decimal)
    for holding in books.holdings.values():
        held[holding.symbol] += 1
        together[holding.symbol] += holding.quantity
    assert max(held.values()) > 1, "no market was shared"
    assert statement.positions == {symbol: quantity for symbol, quantity in together.items() if quantity}


def check_profit(books: Books, statement: Statement) -> None:
    """Realised and unrealised profit of a market's instances are what the account's equity gained in its currency."""
    for market in books.markets:
        profit = held = Decimal(0)
        last = statement.last[market]
        for holding in books.holdings.values():
            if holding.symbol == market:
                unrealised = holding.unrealised(last, last)
                assert unrealised is not None
                profit += holding.realised + unrealised
                held += holding.quantity
        assert profit == statement.balances[market.partition("/")[2]] - STARTING + held * last
