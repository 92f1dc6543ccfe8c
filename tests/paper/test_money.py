"""The money adds up to the last digit, whatever is done in whatever order, kills and restarts among it."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconciler.clock import FakeClock
from reconciler.orders.filling import Liquidity
from reconciler.orders.order import OrderRequest, OrderState, OrderType, Side, TimeInForce
from reconciler.paper.account import PaperOptions
from reconciler.paper.csv_feed import CsvFeed
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.feed import Prices
from reconciler.paper.mcp_server import Journal
from reconciler.paper.paper_order import MarketRules, Markets, OrderRefused, PaperOrder, Ticket, read_ticket
from tests.drawing import drawn

ROWS = ("100.00,10.00,0.10", "102.00,9.50,0.11", "95.00,11.00,0.10", "98.00,10.20,0.09", "97.50,7.00,0.12")
SYMBOLS = ("BTC/USD", "ETH/USD", "ETH/BTC")
ACCOUNTS = ("main", "other")
STARTING = {"USD": Decimal(1_000), "BTC": Decimal("0.5"), "ETH": Decimal(3)}


class Wish(NamedTuple):
    """An order to be placed; its prices are parts of the present one."""

    account: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal | None
    limit: Decimal
    stop: Decimal
    time_in_force: TimeInForce
    reduces: bool


WISHES = st.builds(
    Wish,
    account=st.sampled_from([ACCOUNTS[0], *ACCOUNTS]),
    symbol=st.sampled_from(SYMBOLS),
    side=st.sampled_from(Side),
    type=st.sampled_from(OrderType),
    quantity=st.sampled_from([None, None, *(Decimal(text) for text in ("0.0001", "0.0307", "0.5", "1.9999"))]),
    limit=st.decimals("0.94", "1.06", places=3),
    stop=st.decimals("0.98", "1.02", places=3),
    time_in_force=st.sampled_from([TimeInForce.GTC] * 5 + list(TimeInForce)),
    reduces=st.sampled_from([False] * 7 + [True]),
)


class Trading(RuleBasedStateMachine):
    """Two accounts, three markets that share currencies, and everything that may happen to them."""

    @initialize(
        depth=st.none() | st.decimals("0.01", "3", places=2),
        fees=st.tuples(*[st.sampled_from([Decimal(0), Decimal("0.00137"), Decimal("0.1")])] * 2),
        shorts=st.booleans(),
        fees_in=st.sampled_from(["quote", "received"]),
    )
    def open(
        self,
        depth: Decimal | None,
        fees: tuple[Decimal, Decimal],
        shorts: bool,
        fees_in: Literal["quote", "received"],
    ) -> None:
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "paper.journal"
        self.clock = FakeClock(0)
        markets = Markets({"*": MarketRules(depth=depth)})
        self.options = PaperOptions(*fees, fees_in, starting=STARTING, shorts=shorts, markets=markets)
        rows = [f"date,{','.join(SYMBOLS)}", *(f"{n},{row}" for n, row in enumerate(ROWS))]
        self.prices = Prices([CsvFeed(rows, 60)], 60)
        self.tickets = 0
        self._start()

    def _start(self) -> None:
        self.journal = Journal(self.path)
        self.exchange = PaperExchange(self.prices, self.clock, self.options, self.journal.record)
        self.exchange.restore(self.journal.changes())

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.folder.cleanup()

    @rule(wishes=st.lists(WISHES, min_size=1, max_size=12))
    def place(self, wishes: list[Wish]) -> None:
        for wish in wishes:
            ticket = self._ticket(wish)
            before = self._state()
            try:
                placed = self.exchange.place_order(ticket)
            except OrderRefused:
                assert self._state() == before
            else:
                assert self.exchange.place_order(ticket) == placed

    def _ticket(self, wish: Wish) -> Ticket:
        self.tickets += 1
        now = self.exchange.get_quote(wish.symbol).last
        limit = now * wish.limit if wish.type in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None
        stop = now * wish.stop if wish.type in (OrderType.STOP, OrderType.STOP_LIMIT) else None
        request = OrderRequest(
            wish.side,
            wish.type,
            self._quantity(wish, limit or stop or now),
            limit,
            stop,
            wish.time_in_force,
            wish.reduces,
        )
        return Ticket(wish.account, "a", f"o{self.tickets}", wish.symbol, request)

    def _quantity(self, wish: Wish, price: Decimal) -> Decimal:
        """What is wished for; for None, all that the account can pay."""
        base, quote = wish.symbol.split("/")
        available = {b.asset: b.available for b in self.exchange.get_balances(wish.account)}
        paid = available[quote] / price / (1 + max(self.options.maker_fee, self.options.taker_fee))
        most = paid if wish.side is Side.BUY else available[base]
        return wish.quantity or max(Decimal("0.0001"), most.quantize(Decimal("0.00000001"), ROUND_FLOOR))

    @rule(pick=st.integers(0, 50))
    def cancel(self, pick: int) -> None:
        if orders := self._orders():
            order = orders[pick % len(orders)]
            ticket = order.ticket
            self.exchange.cancel_order(ticket.account_id, "a", ticket.client_order_id, ticket.symbol)

    @rule(seconds=st.sampled_from([1, 30, 60, 61, 300, 90_000]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def kill_and_restart(self) -> None:
        before = self._state()
        self.journal.close()
        self._start()
        assert self._state() == before

    @rule(cut=st.integers(1, 400))
    @precondition(lambda self: self.path.stat().st_size > 0)
    def lose_the_last_bytes(self, cut: int) -> None:
        """As if it had been killed earlier, or the machine had lost power."""
        self.journal.close()
        with self.path.open("r+b") as file:
            file.truncate(max(0, self.path.stat().st_size - cut))
        self._start()

    def _orders(self) -> list[PaperOrder]:
        return [order for account in ACCOUNTS for order in self.exchange.list_orders(account, "a", "all")]

    def _state(self) -> list[object]:
        return [(self.exchange.get_balances(account), self.exchange.get_positions(account)) for account in ACCOUNTS] + [
            self._orders()
        ]

    @invariant()
    def balances_are_what_fills_and_fees_made_of_them(self) -> None:
        for account in ACCOUNTS:
            expected = defaultdict(Decimal, STARTING)
            for order in self.exchange.list_orders(account, "a", "all"):
                sign = 1 if order.request.side is Side.BUY else -1
                for fill in order.fills:
                    expected[order.ticket.base] += sign * fill.quantity
                    expected[order.ticket.quote] -= sign * fill.quantity * fill.price
                    expected[fill.fee_currency or ""] -= fill.fee
            totals = {balance.asset: balance.total for balance in self.exchange.get_balances(account)}
            assert totals == expected

    @invariant()
    def positions_are_the_sum_of_fills_less_the_fees_in_what_was_bought(self) -> None:
        for account in ACCOUNTS:
            expected: dict[str, Decimal] = defaultdict(Decimal)
            for order in self.exchange.list_orders(account, "a", "all"):
                expected[order.ticket.symbol] += order.filled_quantity * (1 if order.request.side is Side.BUY else -1)
                expected[order.ticket.symbol] -= order.fee if order.fee_currency == order.ticket.base else 0
            held = {position.symbol: position.quantity for position in self.exchange.get_positions(account)}
            assert held == {symbol: quantity for symbol, quantity in expected.items() if quantity}

    @invariant()
    def nothing_is_spent_that_is_not_there(self) -> None:
        for account in ACCOUNTS:
            for balance in self.exchange.get_balances(account):
                assert balance.available <= balance.total, "less than nothing is set aside"
                if not self.options.shorts:
                    assert balance.available >= 0

    @invariant()
    def no_order_fills_more_than_it_asks_for_or_at_a_worse_price(self) -> None:
        for order in self._orders():
            request = order.request
            assert order.filled_quantity <= request.quantity
            assert (order.state is OrderState.FILLED) == (order.filled_quantity == request.quantity)
            worst: Callable[[Decimal, Decimal], Decimal] = max if request.side is Side.BUY else min
            for fill in order.fills:
                assert fill.quantity > 0
                assert order.created_at <= fill.at <= order.updated_at
                rate = self.options.fee_rate(fill.liquidity)
                in_base = self.options.fees_in == "received" and request.side is Side.BUY
                assert fill.fee_currency == (order.ticket.base if in_base else order.ticket.quote)
                worth = fill.quantity if in_base else fill.quantity * fill.price
                assert 0 <= worth * rate - fill.fee < Decimal("0.00000001")
                if request.limit_price is not None:
                    assert worst(fill.price, request.limit_price) == request.limit_price
            if request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
                assert all(fill.liquidity is Liquidity.TAKER for fill in order.fills)
            if request.time_in_force is TimeInForce.FOK:
                assert order.filled_quantity in (0, request.quantity)

    @invariant()
    def no_step_gives_more_than_its_book(self) -> None:
        depth = self.options.markets.of("BTC/USD").depth
        if depth is None:
            return
        taken: dict[tuple[str, Side, int], Decimal] = defaultdict(Decimal)
        for order in self._orders():
            for fill in order.fills:
                step = self.prices.step_at(fill.at.timestamp())
                taken[order.ticket.symbol, order.request.side, step] += fill.quantity
        assert all(quantity <= depth * 10 for quantity in taken.values())


TestTrading = Trading.TestCase
TestTrading.settings = settings(max_examples=drawn(60), stateful_step_count=30, deadline=None)


def test_two_thousand_small_executions_add_up_to_the_cent() -> None:
    clock = FakeClock(0)
    prices = Prices([CsvFeed(["date,BTC/USD", *(f"{n},{1 + n / 7:.5f}" for n in range(50))], 60)], 60)
    exchange = PaperExchange(prices, clock, PaperOptions(markets=Markets({"*": MarketRules(depth=Decimal("0.003"))})))
    for number in range(700):
        with contextlib.suppress(OrderRefused):
            exchange.place_order(
                read_ticket("main", "a", f"o{number}", "BTC/USD", "buy", "limit", "0.0071", f"{1 + number % 8}.5")
            )
        clock.advance(60)
    orders = exchange.list_orders("main", "a", "all")
    fills = [fill for order in orders for fill in order.fills]
    spent = sum((fill.quantity * fill.price + fill.fee for fill in fills), Decimal(0))
    balances = {balance.asset: balance.total for balance in exchange.get_balances("main")}
    assert len(fills) > 700
    assert balances["USD"] == 100_000 - spent
    assert balances["BTC"] == sum(order.filled_quantity for order in orders)
