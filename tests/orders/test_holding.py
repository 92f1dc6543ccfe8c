"""What fills add up to: by example, and as properties over any sequence of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.orders.holding import Holding
from reconciler.orders.market import Position
from reconciler.orders.news import Correction
from reconciler.orders.order import Fill, Side
from tests.hostile import hostile_context

BUY, SELL = Side.BUY, Side.SELL
MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
EXACT = Context(prec=200)

Told = tuple[Side, str, str | None]


def fill(quantity: str | Decimal, price: str | Decimal | None, fee: str | Decimal | None = None) -> Fill:
    exact = [None if value is None else Decimal(value) for value in (price, fee)]
    return Fill("", "", Decimal(quantity), exact[0], exact[1], NOON)


def held(*told: Told, on: date = MONDAY) -> Holding:
    return reduce(lambda h, t: h.filled(t[0], fill(t[1], t[2]), on), told, Holding("X"))


@pytest.mark.parametrize(
    ("told", "quantity", "average", "realised"),
    [
        ([], "0", None, "0"),
        ([(BUY, "1", "100")], "1", "100", "0"),
        ([(BUY, "1", "100"), (BUY, "3", "200")], "4", "175", "0"),
        ([(BUY, "4", "175"), (SELL, "3", "900")], "1", "175", "2175"),
        ([(BUY, "1", "100"), (SELL, "1", "120")], "0", None, "20"),
        ([(BUY, "1", "100"), (SELL, "3", "120")], "-2", "120", "20"),
        ([(SELL, "2", "100"), (SELL, "2", "110"), (BUY, "1", "90")], "-3", "105", "15"),
        ([(SELL, "2", "100"), (BUY, "5", "90")], "3", "90", "20"),
        ([(BUY, "1", "100"), (SELL, "1", "120"), (BUY, "2", "50")], "2", "50", "20"),
        ([(BUY, "0.1", "0.1"), (BUY, "0.2", "0.1")], "0.3", "0.1", "0"),
        ([(BUY, "3", "100"), (SELL, "1", "90"), (SELL, "1", "80")], "1", "100", "-30"),
        # a price that was not told
        ([(BUY, "1", "100"), (BUY, "1", None)], "2", None, "0"),
        ([(BUY, "1", None), (BUY, "1", "100")], "2", None, "0"),
        ([(BUY, "1", "100"), (SELL, "0.5", None)], "0.5", "100", "0"),
        ([(BUY, "1", None), (SELL, "1", "7"), (BUY, "1", "7"), (SELL, "1", "8")], "0", None, "1"),
        ([(BUY, "1", None), (SELL, "3", "7")], "-2", "7", "0"),
    ],
)
def test_the_average_cost_method_by_example(
    told: list[Told], quantity: str, average: str | None, realised: str
) -> None:
    holding = held(*told)
    assert holding.position == Position("X", Decimal(quantity), None if average is None else Decimal(average))
    assert holding.realised == Decimal(realised)


@pytest.mark.parametrize(
    ("told", "is_measured"),
    [
        ([(BUY, "1", None)], True),
        ([(BUY, "1", None), (SELL, "1", "7")], False),
        ([(BUY, "1", "7"), (SELL, "1", None)], False),
        ([(BUY, "1", "7"), (SELL, "1", "7")], True),
    ],
)
def test_it_says_when_something_was_closed_whose_profit_nobody_can_tell(told: list[Told], is_measured: bool) -> None:
    assert held(*told).unmeasured_on == (None if is_measured else MONDAY)


def test_every_fee_counts_at_once_whether_it_opens_or_closes() -> None:
    holding = Holding("X").filled(BUY, fill("1", "100", "0.25"), MONDAY).filled(SELL, fill("1", "110", "0.3"), MONDAY)
    assert (holding.realised, holding.fees) == (Decimal("9.45"), Decimal("0.55"))
    assert Holding("X").filled(BUY, fill("1", "100", "-0.1"), MONDAY).realised == Decimal("0.1"), "a rebate"


def test_a_day_begins_with_what_was_realised_before_it() -> None:
    holding = held((BUY, "3", "100"), (SELL, "1", "150"))
    assert [holding.realised_on(MONDAY), holding.realised_on(TUESDAY)] == [Decimal(50), Decimal(0)]
    later = holding.filled(SELL, fill("1", "90"), TUESDAY)
    assert [later.realised, later.realised_on(TUESDAY)] == [Decimal(40), Decimal(-10)]
    set_back = later.filled(SELL, fill("1", "80"), MONDAY)
    assert set_back.realised_on(TUESDAY) == -30, "what a clock that was set back calls yesterday is still today"


@pytest.mark.parametrize(
    ("told", "bid", "ask", "loss"),
    [
        ([], None, None, "0"),
        ([(BUY, "2", "100")], "95", "96", "10"),
        ([(BUY, "2", "100")], "105", "106", "0"),
        ([(SELL, "2", "100")], "104", "105", "10"),
        ([(BUY, "2", "100")], None, None, None),
        ([(BUY, "2", None)], "95", "96", None),
        ([(BUY, "2", "100"), (SELL, "1", "90")], "100", "101", "10"),
        ([(BUY, "2", "100"), (SELL, "1", "90")], "150", "151", "10"),
        ([(BUY, "2", "100"), (SELL, "1", "90")], "95", "96", "15"),
        ([(BUY, "2", "100"), (SELL, "1", "130")], "90", "91", "-20"),
        ([(BUY, "1", None), (SELL, "1", "90")], "95", "96", None),
    ],
)
def test_the_loss_of_the_day_counts_what_is_lost_on_what_is_held_and_not_what_is_gained(
    told: list[Told], bid: str | None, ask: str | None, loss: str | None
) -> None:
    prices = [None if price is None else Decimal(price) for price in (bid, ask)]
    assert held(*told).loss_on(MONDAY, *prices) == (None if loss is None else Decimal(loss))


def test_the_next_day_begins_without_the_losses_that_were_realised_and_with_those_that_were_not() -> None:
    holding = held((BUY, "2", "100"), (SELL, "1", "90"))
    assert holding.loss_on(TUESDAY, Decimal(95), Decimal(96)) == 5
    assert held((BUY, "1", None), (SELL, "1", "90")).loss_on(TUESDAY, None, None) == 0


amounts = st.decimals(min_value="0.00000001", max_value=10**15, places=8)
fees = st.none() | st.decimals(min_value=-1000, max_value=1000, places=8)
sequences = st.lists(st.tuples(st.sampled_from([BUY, SELL]), st.builds(fill, amounts, amounts, fees)), max_size=30)
Fills = list[tuple[Side, Fill]]


def after(told: Fills) -> Holding:
    return reduce(lambda h, t: h.filled(*t, on=MONDAY), told, Holding("X"))


def signed(side: Side, quantity: Decimal) -> Decimal:
    return quantity if side is BUY else -quantity


@given(told=sequences)
def test_the_quantity_is_the_exact_signed_sum(told: Fills) -> None:
    units = sum(int(one.quantity * 10**8) * (1 if side is BUY else -1) for side, one in told)
    assert after(told).quantity * 10**8 == units


@given(told=sequences)
def test_the_average_lies_between_the_prices_paid(told: Fills) -> None:
    position = after(told).position
    if position.average_price is None:
        assert position.quantity == 0
    else:
        prices = [one.price for _, one in told if one.price is not None]
        assert min(prices) <= position.average_price <= max(prices)


def cash_flow(told: Fills) -> Decimal:
    """What was taken in less what was paid out, fees included."""
    total = Decimal(0)
    for side, one in told:
        assert one.price is not None
        total = EXACT.subtract(total, EXACT.multiply(signed(side, one.quantity), one.price))
        total = EXACT.subtract(total, one.fee or Decimal(0))
    return total


def profit(holding: Holding, price: Decimal) -> Decimal:
    unrealised = holding.unrealised(price, price)
    assert unrealised is not None
    return EXACT.add(holding.realised, unrealised)


@given(told=sequences, price=amounts)
def test_realised_and_unrealised_are_the_cash_flow_and_the_value_at_any_price(told: Fills, price: Decimal) -> None:
    holding = after(told)
    assert profit(holding, price) == EXACT.fma(holding.quantity, price, cash_flow(told))


@given(told=sequences, price=amounts, owners=st.lists(st.integers(0, 2), min_size=30, max_size=30))
def test_what_instances_are_attributed_adds_up_to_what_their_account_did(
    told: Fills, price: Decimal, owners: list[int]
) -> None:
    own = [after([one for one, owner in zip(told, owners, strict=False) if owner == number]) for number in range(3)]
    whole = after(told)
    assert reduce(EXACT.add, (holding.quantity for holding in own)) == whole.quantity
    assert reduce(EXACT.add, (holding.fees for holding in own)) == whole.fees
    assert reduce(EXACT.add, (profit(holding, price) for holding in own)) == profit(whole, price)


@given(told=sequences, split=st.integers(0, 30))
def test_a_day_realises_what_its_own_fills_realised(told: Fills, split: int) -> None:
    yesterday = after(told[:split])
    today = reduce(lambda h, t: h.filled(*t, on=TUESDAY), told[split:], yesterday)
    assert today.realised_on(TUESDAY) == EXACT.subtract(today.realised, yesterday.realised)


@pytest.mark.parametrize("raises", [True, False])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(Side),
            st.decimals("0.000000000001", 10**12, places=18),
            st.none() | st.decimals("0.01", 10**6, places=10),
        ),
        max_size=8,
    )
)
def test_fills_add_up_to_the_same_whatever_the_threads_decimal_context(
    raises: bool, told: list[tuple[Side, Decimal, Decimal | None]]
) -> None:
    def added_up() -> Holding:
        holding = Holding("X")
        for side, quantity, price in told:
            holding = holding.filled(side, fill(quantity, price, "0.1"), MONDAY)
        return holding

    expected = added_up()
    with hostile_context(raises=raises):
        found = added_up()
        loss, average = found.loss_on(MONDAY, Decimal(99), Decimal(101)), found.average_price
    assert found == expected
    assert (loss, average) == (expected.loss_on(MONDAY, Decimal(99), Decimal(101)), expected.average_price)


def test_a_quantity_of_more_digits_than_any_context_has_is_closed_whole() -> None:
    many = "12345678901.123456789012345678"
    assert held((BUY, many, "0.00001"), (SELL, many, "0.00001")).quantity == 0


def charged(side: Side, quantity: str, price: str | None, fee: str, currency: str | None) -> tuple[Side, Fill]:
    return side, replace(fill(quantity, price, fee), fee_currency=currency)


def btc(*told: tuple[Side, Fill], on: date = MONDAY) -> Holding:
    return reduce(lambda h, t: h.filled(t[0], t[1], on), told, Holding("BTC/USD"))


def test_a_fee_in_what_is_bought_lowers_the_position_and_is_worth_what_it_was_bought_for() -> None:
    bought = btc(charged(BUY, "1", "100", "0.001", "BTC"))
    assert bought.position == Position("BTC/USD", Decimal("0.999"), Decimal(100))
    assert (bought.realised, bought.fees, bought.other_fees) == (Decimal("-0.1"), Decimal("0.1"), ())
    out = bought.filled(SELL, replace(fill("0.999", "110", "0.1"), fee_currency="USD"), MONDAY)
    assert (out.quantity, out.realised) == (Decimal(0), Decimal("109.89") - Decimal("0.1") - Decimal(100))


@pytest.mark.parametrize("told_later", [False, True])
def test_a_fee_in_the_base_currency_comes_out_the_same_when_its_price_is_not_told_at_first(told_later: bool) -> None:
    price = None if told_later else "100"
    held = btc(charged(BUY, "1", price, "0.001", "XBT"))
    assert held.quantity == Decimal("0.999")
    assert (held.cost is None) is told_later, "what nobody knows is not made up"
    assert (held.unmeasured_on == MONDAY) is told_later


def test_a_fee_in_a_third_currency_changes_neither_position_nor_profit_and_is_kept_apart() -> None:
    held = btc(
        charged(BUY, "1", "100", "0.5", "BNB"),
        charged(SELL, "0.5", "100", "0.25", "bnb"),
        charged(SELL, "0.25", "100", "3", "OKB"),
        charged(BUY, "1", "100", "-3", "OKB"),
    )
    assert (held.realised, held.fees, held.other_fees) == (Decimal(0), Decimal(0), (("BNB", Decimal("0.75")),))
    assert held.quantity == Decimal("1.25")


def right(quantity: str, price: str, fee: str | None = None, currency: str | None = None) -> Correction:
    return Correction(
        Decimal(quantity), Decimal(price), "seen", "uid 1", None if fee is None else Decimal(fee), currency
    )


@pytest.mark.parametrize(
    ("correction", "quantity", "average", "realised"),
    [
        (right("0.999", "100.1"), "0.999", "100.1", "0"),
        (right("0.999", "100", "0.001", "BTC"), "0.999", "100", "-0.1"),
        (right("3", "90"), "3", "90", "0"),
        (right("-1", "90"), "-1", "90", "0"),
        (right("1", "100", "2", "USD"), "1", "100", "-2"),
        (right("1", "100", "2"), "1", "100", "-2"),
        (right("1", "100", "2", "BNB"), "1", "100", "0"),
        (right("0", "60"), "0", None, "-40"),  # liquidated
        (right("0", "0"), "0", None, "-100"),  # written off
    ],
)
def test_a_person_puts_a_book_right_in_both_directions(
    correction: Correction, quantity: str, average: str | None, realised: str
) -> None:
    made = btc((BUY, fill("1", "100"))).set_right(correction, MONDAY)
    assert made.position == Position("BTC/USD", Decimal(quantity), None if average is None else Decimal(average))
    assert made.realised == Decimal(realised)


def test_a_correction_tells_the_cost_that_nobody_knew() -> None:
    made = btc((BUY, fill("1", None))).set_right(right("1", "70"), MONDAY)
    assert (made.average_price, made.unmeasured_on) == (Decimal(70), None)
    assert made.loss_on(MONDAY, Decimal(60), Decimal(61)) == 10


quotes = st.decimals("0.01", "300", places=2)


@given(
    st.sampled_from(["2", "0.5", "0", "-1"]), st.decimals("1", "300", places=1), quotes, st.lists(quotes, max_size=2)
)
def test_no_correction_lowers_the_loss_of_the_day_at_any_price(
    quantity: str, price: Decimal, quote: Decimal, later: list[Decimal]
) -> None:
    before = btc((BUY, fill("2", "100")), (SELL, fill("1", "80")))
    after = before.set_right(right(quantity, str(price)), MONDAY)
    was, told = before.loss_on(MONDAY, quote, quote), after.loss_on(MONDAY, quote, quote)
    assert was is not None
    assert told is not None
    assert told >= was
    # Another correction, back to what it was, gives nothing back either; and what is lost later comes on top.
    again = after.set_right(right("1", "100"), MONDAY)
    for fee in later:
        again = again.filled(BUY, fill("0", None, fee), MONDAY)
    told = again.loss_on(MONDAY, quote, quote)
    assert told is not None
    assert told >= was + sum(later)
    if quantity == "0" and price < 100:
        assert after.loss_on(TUESDAY, quote, quote) == 0, "it is of that day alone"


def test_what_is_traded_no_more_can_be_written_off_without_a_quote() -> None:
    made = btc((BUY, fill("1", "100"))).set_right(right("0", "0"), MONDAY)
    assert made.loss_on(MONDAY, None, None) == 100
    assert made.filled(BUY, fill("1", "10"), TUESDAY).loss_on(TUESDAY, Decimal(10), Decimal(10)) == 0
