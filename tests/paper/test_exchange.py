"""The paper exchange: what fills, when, at what price, and where the money goes."""

from __future__ import annotations

import contextlib
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.clock import FakeClock, utc
from reconciler.orders.market import Quote
from reconciler.orders.order import OrderState, Side
from reconciler.paper.account import PaperOptions
from reconciler.paper.csv_feed import EXAMPLE, CsvFeed
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.feed import Prices, SyntheticFeed
from reconciler.paper.paper_order import OrderRefused, PaperOrder
from tests.drawing import drawn
from tests.paper.conftest import PRICES
from tests.paper.orders import get, held, limit, place


def test_a_market_order_fills_at_once_at_the_ask_and_is_paid_for_with_its_fee(exchange: PaperExchange) -> None:
    order = place(exchange)

    assert (order.state, order.average_price, order.fee) == (OrderState.FILLED, Decimal("100.010"), Decimal("0.20002"))
    assert held(exchange)["USD"] == (Decimal("99799.77998"), Decimal("99799.77998"))
    assert held(exchange)["BTC"] == (Decimal(2), Decimal(2))
    assert [(p.quantity, p.average_price) for p in exchange.get_positions("main")] == [(Decimal(2), Decimal("100.01"))]


def test_a_fee_is_rounded_down_to_eight_decimals(exchange: PaperExchange) -> None:
    assert place(exchange, quantity="0.00000019").fee == Decimal("0.00000001")  # 0.0000000190019
    assert place(exchange, "o2", quantity="0.00000014").fee == Decimal("0.00000001")  # 0.0000000140014


def test_a_limit_order_that_rests_fills_at_its_limit_at_the_step_that_crosses_it(
    exchange: PaperExchange, clock: FakeClock
) -> None:
    limit(exchange, "96")
    clock.advance(90)
    assert exchange.get_order("main", "a", "o1").state is OrderState.OPEN
    clock.advance(10_000)  # far past the step that crossed: nothing in between is missed
    order = exchange.get_order("main", "a", "o1")

    assert (order.state, order.average_price) == (OrderState.FILLED, Decimal(96))
    assert order.fills[0].at == utc(120)


def test_a_limit_order_that_crosses_at_once_fills_at_the_better_price(exchange: PaperExchange) -> None:
    assert limit(exchange, "150").average_price == Decimal("100.01")


def test_an_open_order_sets_aside_what_it_would_take(exchange: PaperExchange) -> None:
    limit(exchange, "90")
    assert held(exchange)["USD"] == (Decimal(100_000), Decimal("99819.82"))  # 180 and a fee of 0.18
    place(exchange, "o2")
    limit(exchange, "110", "o3", side="sell", quantity="0.5")
    assert held(exchange)["BTC"] == (Decimal(2), Decimal("1.5"))

    exchange.cancel_order("main", "a", "o3", "BTC/USD")
    assert held(exchange)["BTC"] == (Decimal(2), Decimal(2))


@pytest.mark.parametrize("time_in_force", ["ioc", "fok"])
def test_an_order_that_will_not_wait_fills_at_once_or_not_at_all(exchange: PaperExchange, time_in_force: str) -> None:
    assert limit(exchange, "90", time_in_force=time_in_force).state is OrderState.CANCELLED
    assert limit(exchange, "101", "o2", time_in_force=time_in_force).state is OrderState.FILLED


def test_an_order_for_the_day_ends_with_it(exchange: PaperExchange, clock: FakeClock) -> None:
    limit(exchange, "90", time_in_force="day")
    clock.advance(86_399)
    assert exchange.get_order("main", "a", "o1").state is OrderState.OPEN
    clock.advance(60)
    order = exchange.get_order("main", "a", "o1")
    assert (order.state, order.updated_at) == (OrderState.EXPIRED, utc(86_400))


def test_the_same_order_again_is_the_same_order(exchange: PaperExchange) -> None:
    first = place(exchange)
    assert place(exchange) == first
    assert place(exchange, quantity="2.0") == first
    assert held(exchange)["BTC"] == (Decimal(2), Decimal(2))
    with pytest.raises(OrderRefused, match="o1 was used for another order: side, quantity"):
        place(exchange, side="sell", quantity="1")


def test_accounts_are_apart_and_clients_of_one_account_share_its_money_not_its_orders(exchange: PaperExchange) -> None:
    place(exchange)
    place(exchange, account_id="other")
    limit(exchange, "90", "o2", client_id="b")

    assert held(exchange, "other")["BTC"] == (Decimal(2), Decimal(2))
    assert [o.ticket.client_order_id for o in exchange.list_orders("main", "a", "all")] == ["o1"]
    assert [o.ticket.client_order_id for o in exchange.list_orders("main", "b", "open", "BTC/USD")] == ["o2"]
    assert exchange.list_orders("main", "b", "open", "ETH/USD") == []
    with pytest.raises(OrderRefused, match="order not found: o2"):
        exchange.get_order("main", "a", "o2")
    with pytest.raises(OrderRefused, match="order not found: o1"):
        exchange.cancel_order("main", "b", "o1", "BTC/USD")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"symbol": "btc-usd"}, "unknown symbol 'btc-usd': expected BASE/QUOTE, such as BTC/USD"),
        ({"quantity": "0"}, "quantity: expected more than zero, was 0"),
        ({"quantity": "-1"}, "quantity: expected more than zero, was -1"),
        ({"quantity": "NaN"}, "quantity: expected a decimal number, was 'NaN'"),
        ({"quantity": "lots"}, "quantity: expected a decimal number, was 'lots'"),
        ({"quantity": "1E-13"}, "quantity: expected at most 12 digits before and 12 after the point, was 1E-13"),
        ({"quantity": "1E+12"}, "quantity: expected at most 12 digits before and 12 after the point, was 1E+12"),
        ({"quantity": "1_0"}, "quantity: expected a decimal number, was '1_0'"),
        ({"quantity": "١"}, "quantity: expected a decimal number, was '١'"),
        ({"quantity": " 1"}, "quantity: expected a decimal number, was ' 1'"),
        ({"quantity": "1" * 100_000 + "x"}, f"quantity: expected a decimal number, was '{'1' * 60}'…"),
        (
            {"quantity": "1" * 100_000},
            f"quantity: expected at most 12 digits before and 12 after the point, was {'1' * 60}",
        ),
        ({"symbol": "X" * 100_000}, f"unknown symbol '{'X' * 60}'…: expected BASE/QUOTE, such as BTC/USD"),
        ({"symbol": "USD/USD"}, "unknown symbol 'USD/USD': expected two currencies, such as BTC/USD, was one"),
        ({"side": "b" * 100_000}, f"side: expected one of buy, sell, was '{'b' * 60}'…"),
        ({"client_order_id": "  "}, "client_order_id: expected printable text without spaces around it, was '  '"),
        ({"client_order_id": "a\n"}, "client_order_id: expected printable text without spaces around it, was 'a\\n'"),
        ({"client_id": "x" * 129}, "client_id: expected at most 128 characters, was 129"),
        ({"account_id": "\x00"}, "account_id: expected printable text without spaces around it, was '\\x00'"),
        ({"side": "hold"}, "side: expected one of buy, sell, was 'hold'"),
        ({"type": "iceberg"}, "type: expected one of market, limit, stop, stop_limit, was 'iceberg'"),
        ({"type": "stop"}, "stop_price: a stop order needs one"),
        ({"type": "limit"}, "limit_price: a limit order needs one"),
        ({"limit_price": "1"}, "limit_price: a market order takes none"),
        ({"quantity": "1000"}, "insufficient balance: needs 100110.01 USD, available 100000"),
        ({"side": "sell"}, "insufficient balance: needs 2 BTC, available 0"),
        ({"reduce_only": True}, "reduce_only: expected at most the 0 that would close the position, was buy 2"),
        ({"client_order_id": ""}, "client_order_id: expected a text of your own, was empty"),
        ({"client_order_id": "x" * 129}, "client_order_id: expected at most 128 characters, was 129"),
        (
            {"quantity": "0." + "1" * 13},
            f"quantity: expected at most 12 digits before and 12 after the point, was 0.{'1' * 13}",
        ),
        (
            {"side": "hold", "quantity": "-1", "limit_price": "1"},
            "side: expected one of buy, sell, was 'hold'; quantity: expected more than zero, was -1; "
            "limit_price: a market order takes none",
        ),
        (
            {"type": "iceberg", "limit_price": "1", "quantity": "x"},
            "type: expected one of market, limit, stop, stop_limit, was 'iceberg'; "
            "quantity: expected a decimal number, was 'x'",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason_and_changes_nothing(
    exchange: PaperExchange, changed: dict[str, Any], reason: str
) -> None:
    before = held(exchange)
    with pytest.raises(OrderRefused) as refused:
        place(exchange, **changed)
    assert str(refused.value) == reason
    assert held(exchange) == before
    assert exchange.list_orders("main", "a", "all") == []


def test_a_position_keeps_the_cost_of_what_remains(exchange: PaperExchange, clock: FakeClock) -> None:
    place(exchange, "o1", quantity="1")
    clock.advance(60)
    place(exchange, "o2", quantity="1")
    place(exchange, "o3", side="sell", quantity="1.5")
    position = exchange.get_positions("main")[0]
    assert (position.quantity, position.average_price) == (Decimal("0.5"), Decimal("101.01"))
    place(exchange, "o4", side="sell", quantity="0.5")
    assert exchange.get_positions("main") == []


def test_the_exchange_takes_up_where_it_stopped_and_fills_what_was_crossed_meanwhile(
    prices: Prices, clock: FakeClock
) -> None:
    recorded: list[PaperOrder] = []
    before = PaperExchange(prices, clock, record=lambda order, _: recorded.append(order))
    place(before, "o1")
    limit(before, "96", "o2")
    clock.advance(600)
    after = PaperExchange(prices, clock)
    after.restore(recorded)

    assert after.get_order("main", "a", "o2") == before.get_order("main", "a", "o2")
    assert after.get_order("main", "a", "o2").fills[0].at == utc(120)
    assert held(after) == held(before)
    assert after.get_positions("main") == before.get_positions("main")
    assert place(after, "o3").order_id == "paper-3"


class WalkingExchange(PaperExchange):
    """The reference: looks at every single step."""

    def _next_move(self, symbol: str, first: int, last: int) -> int | None:
        return first if first <= last else None


class Counted(Prices):
    """Counts how often a price is looked up."""

    looks = 0

    def quote(self, symbol: str, step: int) -> Quote:
        self.looks += 1
        return super().quote(symbol, step)

    def reach(self, symbol: str, first: int, last: int) -> tuple[Quote, Quote]:
        self.looks += 1
        return super().reach(symbol, first, last)


def real_prices(step_s: float) -> Counted:
    return Counted([CsvFeed.read(EXAMPLE, step_s), SyntheticFeed("paper", step_s)], step_s)


@pytest.mark.parametrize(("step_s", "seed"), [(0.2, 0), (6.0, 2), (7.5, 4)])
def test_a_long_stop_fills_what_looking_at_every_step_would_have_filled(step_s: float, seed: int) -> None:
    luck, clock = random.Random(seed), FakeClock(1_790_000_123.4)
    quick, walking = (kind(real_prices(step_s), clock) for kind in (PaperExchange, WalkingExchange))
    for number in range(24):
        symbol = luck.choice(["EUR/USD", "BTC/USD", "ETH/USD"])
        middle = quick.get_quote(symbol).last
        price = (middle * Decimal(luck.uniform(0.985, 1.015))).quantize(middle)
        kind = {"side": luck.choice(["buy", "sell"]), "time_in_force": luck.choice(["gtc", "gtc", "day"])}
        for exchange in (quick, walking):
            with contextlib.suppress(OrderRefused):  # nothing to sell
                limit(exchange, str(price), f"o{number}", symbol=symbol, quantity="0.01", **kind)
        clock.advance(luck.choice([0, step_s, 3_000 * step_s, 40_000 if step_s > 1 else 900]))

    orders = quick.list_orders("main", "a", "all")
    assert orders == walking.list_orders("main", "a", "all")
    assert len({order.state for order in orders}) > 1
    assert held(quick) == held(walking)


@pytest.mark.parametrize("symbol", ["EUR/USD", "BTC/USD"])
@pytest.mark.parametrize("step_s", [0.2, 6.0])
def test_a_week_without_a_look_costs_a_few_looks_not_one_a_step(symbol: str, step_s: float) -> None:
    clock, prices = FakeClock(1_790_000_000), real_prices(step_s)
    exchange = PaperExchange(prices, clock)
    middle = prices.quote(symbol, prices.step_at(clock.time())).last
    for number, share in enumerate(("0.2", "0.995", "0.9")):
        limit(exchange, str((middle * Decimal(share)).quantize(middle)), f"o{number}", symbol=symbol, quantity="0.01")
    clock.advance(7 * 86_400)
    prices.looks = 0
    states = [order.state for order in exchange.list_orders("main", "a", "all")]

    assert states[:2] == [OrderState.OPEN, OrderState.FILLED]
    assert prices.looks < 1_000


def test_prices_below_the_last_look_are_not_looked_at_twice(exchange: PaperExchange, clock: FakeClock) -> None:
    clock.advance(180)  # the price is 98 now, and was 95
    limit(exchange, "96")
    assert exchange.get_order("main", "a", "o1").state is OrderState.OPEN


ORDERS = st.lists(
    st.tuples(
        st.sampled_from(list(Side)),
        st.decimals("0.000001", "30", places=6),
        st.none() | st.decimals("90", "105", places=4),
        st.integers(0, 200),
    ),
    max_size=25,
)


@settings(max_examples=drawn(60), deadline=None)
@given(ORDERS)
def test_the_money_adds_up_to_the_last_digit(orders: list[tuple[Side, Decimal, Decimal | None, int]]) -> None:
    clock = FakeClock(0)
    exchange = PaperExchange(Prices([CsvFeed(PRICES.splitlines(), 60)], 60), clock)
    for number, (side, quantity, price, wait_s) in enumerate(orders):
        clock.advance(wait_s)
        kind = {"type": "limit", "limit_price": str(price)} if price is not None else {}
        with contextlib.suppress(OrderRefused):  # for lack of funds: then nothing moves
            place(exchange, f"o{number}", side=side.value, quantity=str(quantity), **kind)

    fills = [(o, f) for o in exchange.list_orders("main", "a", "all") for f in o.fills]
    signed = [(1 if o.request.side is Side.BUY else -1, f) for o, f in fills]
    balances = held(exchange)
    assert balances["USD"][0] == Decimal(100_000) - sum(s * f.quantity * f.price + f.fee for s, f in signed)
    bought = sum((s * f.quantity for s, f in signed), Decimal(0))
    assert balances.get("BTC", (Decimal(0), Decimal(0)))[0] == bought
    assert sum((p.quantity for p in exchange.get_positions("main")), Decimal(0)) == bought
    assert all(0 <= available <= total for total, available in balances.values())


def test_a_limit_order_that_waits_is_not_filled_by_a_price_that_only_reaches_it(
    exchange: PaperExchange, clock: FakeClock
) -> None:
    """The ask falls from 100.01 to 95.009 at step 2."""
    limit(exchange, "95.009", "reached", quantity="1")
    limit(exchange, "95.0091", "through", quantity="1")
    clock.advance(120)
    assert exchange.get_quote("BTC/USD").ask == Decimal("95.009")
    assert get(exchange, "reached").state is OrderState.OPEN
    assert [(fill.price, fill.quantity) for fill in get(exchange, "through").fills] == [
        (Decimal("95.0091"), Decimal(1))
    ]
    limit(exchange, "95.009", "crossing", quantity="1")
    assert get(exchange, "crossing").state is OrderState.FILLED


def test_where_orders_meet_the_next_price_a_restart_forgets_none_that_waits_for_it(clock: FakeClock) -> None:
    prices, options = Prices([CsvFeed(PRICES.splitlines(), 60)], 60), PaperOptions(fills="next")
    recorded: list[PaperOrder] = []
    before = PaperExchange(prices, clock, options, record=lambda order, _: recorded.append(order))
    seen = before.get_quote("BTC/USD")
    assert place(before, "o1").state is OrderState.OPEN
    assert held(before)["USD"][0] == 100_000, "nothing was paid yet"
    assert held(before)["USD"][1] < 100_000, "but it is set aside"
    after = PaperExchange(prices, clock, options)
    after.restore(recorded)
    clock.advance(60)
    (fill,) = after.get_order("main", "a", "o1").fills
    assert fill.price == after.get_quote("BTC/USD").ask != seen.ask
    assert before.get_order("main", "a", "o1").fills == (fill,)


def test_what_cannot_be_paid_at_the_next_price_is_cancelled() -> None:
    clock, lines = FakeClock(0), ["date,BTC/USD", "1,100", "2,200", "3,200"]
    exchange = PaperExchange(
        Prices([CsvFeed(lines, 60)], 60), clock, PaperOptions(fills="next", starting={"USD": Decimal(150)})
    )
    place(exchange, "o1", quantity="1")
    clock.advance(60)
    order = exchange.get_order("main", "a", "o1")
    assert order.state is OrderState.CANCELLED
    assert order.reason.startswith("insufficient balance: needs ")


def test_all_that_a_client_has_open_is_cancelled_in_one_call(exchange: PaperExchange) -> None:
    limit(exchange, "90")
    place(exchange, "o2", type="limit", limit_price="80", client_id="b")
    assert [order.ticket.client_order_id for order in exchange.cancel_all("main", "a", "ETH/USD")] == []
    assert [order.ticket.client_order_id for order in exchange.cancel_all("main", "a")] == ["o1"]
    assert exchange.get_order("main", "a", "o1").state is OrderState.CANCELLED
    assert exchange.get_order("main", "b", "o2").state is OrderState.OPEN


def test_what_nobody_renews_is_cancelled_when_its_time_has_come_and_what_filled_before_has_filled(
    exchange: PaperExchange, clock: FakeClock
) -> None:
    limit(exchange, "96")  # fills at 120 s
    place(exchange, "o2", type="limit", limit_price="1")
    exchange.cancel_all_after("main", 100)
    clock.advance(90)
    exchange.cancel_all_after("main", 100)
    clock.advance(99)
    assert exchange.get_order("main", "a", "o2").state is OrderState.OPEN
    clock.advance(1_000)
    ended = exchange.get_order("main", "a", "o2")
    assert (ended.state, ended.updated_at) == (OrderState.CANCELLED, utc(190))
    assert exchange.get_order("main", "a", "o1").state is OrderState.FILLED


def test_a_switch_that_is_disarmed_never_fires(exchange: PaperExchange, clock: FakeClock) -> None:
    place(exchange, "o2", type="limit", limit_price="1")
    exchange.cancel_all_after("main", 10)
    exchange.cancel_all_after("main", 0)
    clock.advance(1_000)
    assert exchange.get_order("main", "a", "o2").state is OrderState.OPEN
    with pytest.raises(OrderRefused, match="seconds: expected 0 to 86400, was -1"):
        exchange.cancel_all_after("main", -1)
