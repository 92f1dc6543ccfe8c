"""The book of one step."""

from __future__ import annotations

from decimal import Decimal

from reconciler.clock import utc
from reconciler.orders.market import Quote
from reconciler.orders.order import Side
from reconciler.paper.matching import LEVELS, Depleted, Level, levels, swept, total, within

QUOTE = Quote("BTC/USD", Decimal(99), Decimal(101), Decimal(100), utc(0))


def told(book: list[Level]) -> list[tuple[int, int]]:
    return [(int(level.price), int(level.quantity)) for level in book]


def test_worse_prices_lie_a_spread_apart_on_either_side() -> None:
    assert told(levels(QUOTE, Side.BUY, Decimal(5), Decimal(0)))[:3] == [(101, 5), (103, 5), (105, 5)]
    sells = told(levels(QUOTE, Side.SELL, Decimal(5), Decimal(0)))
    assert (sells[:2], len(sells)) == ([(99, 5), (97, 5)], LEVELS)


def test_what_was_taken_is_gone_from_the_best_prices_first() -> None:
    assert told(levels(QUOTE, Side.BUY, Decimal(5), Decimal(7)))[:2] == [(103, 3), (105, 5)]
    assert levels(QUOTE, Side.BUY, Decimal(5), Decimal(50)) == []


def test_no_price_is_ever_below_zero() -> None:
    wide = Quote("BTC/USD", Decimal(3), Decimal(5), Decimal(4), utc(0))
    assert told(levels(wide, Side.SELL, Decimal(1), Decimal(0))) == [(3, 1), (1, 1)]


def test_without_a_depth_any_quantity_trades_at_the_best_price() -> None:
    book = levels(QUOTE, Side.SELL, None, Decimal(10**9))
    assert swept(book, Decimal(10**11)) == [Level(Decimal(99), Decimal(10**11))]


def test_an_order_takes_what_its_limit_lets_it() -> None:
    book = within(levels(QUOTE, Side.BUY, Decimal(5), Decimal(0)), Decimal(104), Side.BUY)
    assert total(book) == 10
    assert told(swept(book, Decimal(7))) == [(101, 5), (103, 2)]
    assert told(swept(book, Decimal(70))) == [(101, 5), (103, 5)]


def test_what_is_taken_counts_for_its_step_alone() -> None:
    depleted = Depleted()
    depleted.take("BTC/USD", Side.BUY, 7, Decimal(1))
    depleted.take("BTC/USD", Side.BUY, 7, Decimal(2))
    assert [depleted.taken("BTC/USD", side, step) for side in Side for step in (7, 8)] == [3, 0, 0, 0]
    assert depleted.taken("ETH/USD", Side.BUY, 7) == 0
