"""Selling what is not held: what it sets aside, and how it is bought back."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.clock import FakeClock
from reconciler.paper.account import PaperOptions
from reconciler.paper.csv_feed import CsvFeed
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.feed import Prices
from reconciler.paper.paper_order import OrderRefused, PaperOrder
from tests.paper.orders import held, limit, place

STARTING = {"USD": Decimal(1000), "BTC": Decimal(1)}


@pytest.fixture
def shorting(prices: Prices, clock: FakeClock) -> PaperExchange:
    """Bid 99.99, ask 100.01, no fees."""
    return PaperExchange(prices, clock, PaperOptions(Decimal(0), Decimal(0), shorts=True, starting=STARTING))


def test_short_sales_are_refused_unless_they_are_allowed(prices: Prices, clock: FakeClock) -> None:
    exchange = PaperExchange(prices, clock, PaperOptions(starting=STARTING))
    with pytest.raises(OrderRefused, match="insufficient balance: needs 2 BTC, available 1"):
        place(exchange, side="sell", quantity="2")


def test_what_is_sold_short_is_owed_and_sets_aside_its_proceeds_and_as_much_again(shorting: PaperExchange) -> None:
    place(shorting, side="sell", quantity="3")  # one is held, two are not
    assert held(shorting)["BTC"][0] == -2
    assert held(shorting)["USD"] == (Decimal("1299.97"), Decimal("1299.97") - 4 * Decimal("99.99"))
    assert [position.quantity for position in shorting.get_positions("main")] == [-3]


def test_a_short_sale_needs_as_much_money_as_it_is_worth(shorting: PaperExchange) -> None:
    place(shorting, "o1", side="sell", quantity="1")  # of what is held: now there are 1,099.99 USD
    with pytest.raises(OrderRefused, match=r"needs 1199\.88 USD, available 1099\.99"):
        place(shorting, "o2", side="sell", quantity="12")
    place(shorting, "o3", side="sell", quantity="11")
    assert held(shorting)["USD"][1] == Decimal("0.10")


def test_an_open_short_sale_sets_aside_what_it_is_worth(shorting: PaperExchange) -> None:
    limit(shorting, "200", side="sell", quantity="3")
    assert held(shorting)["BTC"] == (Decimal(1), Decimal(0))
    assert held(shorting)["USD"] == (Decimal(1000), Decimal(600))
    limit(shorting, "200", "o2", side="sell", quantity="3")
    assert held(shorting)["USD"] == (Decimal(1000), Decimal(0))


def test_buying_back_frees_what_was_set_aside_in_proportion(shorting: PaperExchange) -> None:
    place(shorting, "o1", side="sell", quantity="5")
    place(shorting, "o2", quantity="1")
    total, available = held(shorting)["USD"]
    assert total == 1000 + 5 * Decimal("99.99") - Decimal("100.01")
    assert total - available == 2 * 3 * Decimal("99.99")
    place(shorting, "o3", quantity="3")
    assert held(shorting)["USD"] == (1000 + 5 * Decimal("99.99") - 4 * Decimal("100.01"),) * 2


def test_buying_back_is_possible_at_any_price_and_needs_no_money_set_aside(clock: FakeClock) -> None:
    prices = Prices([CsvFeed("date,BTC/USD\n1,100\n2,1000\n3,1000\n".splitlines(), 60)], 60)
    shorting = PaperExchange(prices, clock, PaperOptions(Decimal(0), Decimal(0), shorts=True, starting=STARTING))
    place(shorting, "o1", side="sell", quantity="9")
    clock.advance(60)
    free = held(shorting)["USD"][1]
    limit(shorting, "900", "o2", quantity="8")
    assert held(shorting)["USD"][1] == free
    place(shorting, "o3", quantity="7")
    assert held(shorting)["USD"][1] < 0
    with pytest.raises(OrderRefused, match="insufficient balance"):
        place(shorting, "o4", quantity="2")  # one to give back, and one to keep


def test_a_restart_owes_the_same(prices: Prices, clock: FakeClock) -> None:
    recorded: list[PaperOrder] = []
    options = PaperOptions(shorts=True, starting=STARTING)
    before = PaperExchange(prices, clock, options, lambda order, _: recorded.append(order))
    for number, (side, quantity) in enumerate((("sell", "4"), ("buy", "1.3"), ("sell", "2"), ("buy", "0.7"))):
        limit(before, "96", f"l{number}", quantity="0.1")
        place(before, f"o{number}", side=side, quantity=quantity)
        clock.advance(60)
    after = PaperExchange(prices, clock, options)
    after.restore(recorded)
    assert held(after) == held(before)
    assert after.get_positions("main") == before.get_positions("main")


@pytest.fixture
def pairs(clock: FakeClock) -> PaperExchange:
    """Two pairs against a currency that nobody is given to begin with."""
    lines = ["date,BTC/XAU,XAU/USD", "1,10,1000", "2,10,1000"]
    return PaperExchange(Prices([CsvFeed(lines, 60)], 60), clock)


def test_who_first_buys_with_a_currency_begins_with_some_of_it_if_the_order_is_taken(pairs: PaperExchange) -> None:
    for quantity in ("1000000", "-1"):
        with pytest.raises(OrderRefused):
            place(pairs, symbol="BTC/XAU", quantity=quantity)
        assert "XAU" not in held(pairs)
    with pytest.raises(OrderRefused):
        place(pairs, symbol="XAU/USD", side="sell", quantity="1")
    place(pairs, symbol="BTC/XAU", quantity="1")
    assert held(pairs)["XAU"][0] == Decimal("99989.8899")


def test_who_sells_for_a_currency_begins_with_none_of_it(pairs: PaperExchange) -> None:
    with pytest.raises(OrderRefused, match="insufficient balance: needs 1 BTC, available 0"):
        place(pairs, "o1", symbol="BTC/XAU", side="sell", quantity="1")
    place(pairs, "o2", symbol="XAU/USD", quantity="2")
    assert held(pairs)["XAU"][0] == 2
    with pytest.raises(OrderRefused, match="insufficient balance"):
        place(pairs, "o3", symbol="BTC/XAU", quantity="1")
