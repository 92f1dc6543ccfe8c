"""Reading what servers answer."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from reconciler.exec_mcp import answers
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.market_data import quote_of
from reconciler.orders.market import InstrumentRules, Position
from reconciler.orders.order import OrderState

QUOTE = {"bid": "1", "ask": "2", "as_of": "2026-01-31T12:00:00Z"}


def test_an_order_that_only_has_a_status_is_read() -> None:
    report = answers.order({"status": "open"})
    assert report == answers.OrderReport(None, OrderState.OPEN, Decimal(0), None, None, tells_filled=False)


def test_a_json_number_is_read_as_the_decimal_it_was_written_as() -> None:
    assert answers.order({"status": "filled", "average_price": 0.1, "filled_quantity": 3}).average_price == Decimal(
        "0.1"
    )


def test_a_rejection_has_a_reason() -> None:
    assert answers.order({"status": "rejected"}).refusal == "rejected without a reason"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "order status: expected one of open, partially_filled, filled, cancelled, expired, rejected, was None"),
        ({"status": "open", "filled_quantity": True}, "filled_quantity: expected a decimal string, was True"),
        ({"status": "open", "filled_quantity": "1,5"}, "filled_quantity: expected a decimal string, was '1,5'"),
        ({"status": "open", "fee": "NaN"}, "fee: expected a finite number, was 'NaN'"),
        ({"status": "open", "fills": {}}, "fills: expected a list of objects, was {}"),
        ({"status": "open", "fills": [{}]}, "fill_id: expected text, was None"),
    ],
)
def test_an_order_that_does_not_say_what_it_must_is_unreadable(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(answers.Unreadable) as raised:
        answers.order(wrong)
    assert str(raised.value) == message


@pytest.mark.parametrize("change", [{"bid": "3"}, {"bid": "0"}, {"ask": None}, {"as_of": "noon"}, {"as_of": None}])
def test_a_quote_that_cannot_be_is_unreadable(change: dict[str, Any]) -> None:
    with pytest.raises(answers.Unreadable):
        answers.quote({**QUOTE, **change}, "BTC/USD")


def test_a_quote_without_a_last_price_has_the_middle() -> None:
    assert answers.quote(QUOTE, "BTC/USD").last == Decimal("1.5")


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00", "2026-01-31T12:00:00Z", "2026-01-31T14:00:00+02:00"])
def test_every_time_is_read_as_utc(text: str) -> None:
    assert answers.quote({**QUOTE, "as_of": text}, "X/Y").as_of == datetime(2026, 1, 31, 12, tzinfo=UTC)


CANDLE = {"open": "10", "high": "12", "low": "9", "close": "11", "volume": "3"}


def at(*minutes: str, **more: str) -> list[dict[str, str]]:
    return [{**CANDLE, "opened_at": f"2026-01-31T{minute}Z", **more} for minute in minutes]


def test_a_candle_told_twice_is_one() -> None:
    told = at("12:01:00", "12:00:00", "12:01:00")
    assert [c.opened_at.minute for c in answers.candles({"candles": told}, "1m")] == [0, 1]


@pytest.mark.parametrize(
    ("timeframe", "other"),
    [("1m", "12:00:00"), ("1m", "12:00:30"), ("5m", "12:04:59"), ("1h", "12:59:00"), ("4h", "14:59:59")],
)
def test_two_candles_of_one_step_that_differ_are_unreadable(timeframe: str, other: str) -> None:
    with pytest.raises(Unreadable, match=f"one for each {timeframe}, was two that differ: .* closed at 11, .* at 10"):
        answers.candles({"candles": [*at("12:00:00"), *at(other, close="10")]}, timeframe)


@pytest.mark.parametrize(("timeframe", "days"), [("4h", (7, 8)), ("1d", (7, 8))])
def test_a_clock_put_back_or_on_makes_no_two_candles_of_one_step(timeframe: str, days: tuple[int, int]) -> None:
    hours = {"1d": ("05:00:00", "04:00:00"), "4h": ("21:00:00", "00:00:00")}[timeframe]
    told = [{**CANDLE, "opened_at": f"2026-03-0{day}T{hour}Z"} for day, hour in zip(days, hours, strict=True)]
    assert len(answers.candles({"candles": told}, timeframe)) == 2


@pytest.mark.parametrize(
    "nonsense",
    [
        {"high": "8.9"}, {"low": "12.1", "high": "12", "open": "12", "close": "12"}, {"open": "0"}, {"low": "0"},
        {"close": "-1", "low": "-1"}, {"close": "12.1"}, {"open": "8"}, {"volume": "-1"},
    ],
)  # fmt: skip
def test_a_candle_that_no_market_can_have_is_unreadable(nonsense: dict[str, str]) -> None:
    with pytest.raises(Unreadable, match=r"opened 2026-01-31T12:00:00: expected 0 < low ≤ open and close ≤ high"):
        answers.candles({"candles": [*at("11:59:00"), *at("12:00:00", **nonsense)]}, "1m")


def test_what_is_not_told_of_a_market_is_unknown() -> None:
    told = {"price_step": "0.10", "quantity_step": "0", "min_quantity": "", "min_notional": None, "more": "x"}
    assert answers.rules(told) == InstrumentRules(price_step=Decimal("0.1"))
    with pytest.raises(Unreadable, match="min_notional: expected more than zero, was -1"):
        answers.rules({"min_notional": "-1"})


def test_a_last_price_of_zero_is_not_told_and_one_below_it_is_nonsense() -> None:
    told = {"bid": "99", "ask": "101", "as_of": "2026-01-31T12:00:00Z"}
    assert answers.quote({**told, "last": "0"}, "BTC/USD").last == Decimal(100)
    with pytest.raises(Unreadable, match="expected a last price above zero, was -1"):
        answers.quote({**told, "last": "-1"}, "BTC/USD")


def test_candles_come_oldest_first_whatever_order_they_were_sent_in() -> None:
    candle = {"open": "1", "high": "2", "low": "1", "close": "2"}
    sent = [{**candle, "opened_at": f"2026-01-0{day}T00:00:00Z"} for day in (3, 1, 2)]
    assert [c.opened_at.day for c in answers.candles({"candles": sent})] == [1, 2, 3]


def test_an_end_that_does_not_say_what_was_filled_before_hides_it() -> None:
    assert answers.order({"status": "cancelled"}).hides_fills
    assert answers.order({"status": "expired"}).hides_fills
    assert not answers.order({"status": "cancelled", "filled_quantity": "0"}).hides_fills
    assert not answers.order({"status": "cancelled", "fills": []}).hides_fills
    assert not answers.order({"status": "filled"}).hides_fills
    assert not answers.order({"status": "open"}).hides_fills


def test_a_list_is_read_as_it_is_and_what_is_not_told_is_empty() -> None:
    (one,) = answers.listed({"orders": [{"order_id": 7, "status": "resting", "quantity": "1"}]})
    assert (one.client_order_id, one.order_id, one.status, one.quantity, one.symbol) == ("", "7", "resting", "1", "")
    with pytest.raises(answers.Unreadable, match="orders: expected a list of objects"):
        answers.listed({"orders": "none"})


def test_a_fee_that_is_not_told_is_not_known() -> None:
    fill = {"fill_id": "a", "quantity": "1", "price": "100", "at": QUOTE["as_of"]}
    report = answers.order(
        {"status": "open", "filled_quantity": "1", "fills": [fill, {**fill, "fill_id": "b", "fee": "1"}]}
    )
    assert report.fills is not None
    assert [one.fee for one in report.fills] == [None, Decimal(1)]
    assert report.fee is None


def test_an_orders_fee_that_is_told_of_every_execution_instead_is_their_sum() -> None:
    fill = {"fill_id": "a", "quantity": "1", "price": "100", "fee": "0.1", "at": QUOTE["as_of"]}
    told = {"status": "open", "filled_quantity": "2", "fills": [fill, {**fill, "fee": "0.2"}]}
    assert answers.order(told).fee == Decimal("0.3")
    assert answers.order({**told, "fee": "0.5"}).fee == Decimal("0.5")
    assert answers.order({**told, "fills": []}).fee is None


@pytest.mark.parametrize(
    "number",
    ["1E+41", "1E-41", "1E+30000000", "9" * 101, pytest.param(10**5000, id="huge"), "1_000", "٣", "--1", "1e", ""],
)
def test_a_number_of_too_many_digits_or_in_no_plain_writing_is_unreadable(number: Any) -> None:
    with pytest.raises(answers.Unreadable, match=r"^filled_quantity: expected .{1,140}$"):
        answers.order({"status": "filled", "filled_quantity": number})


@pytest.mark.parametrize(
    "number", ["1E+39", "1E-40", "0.000000000000000001", " 7 ", "+1", ".5", "5.", 1e-07, 12345678901]
)
def test_a_number_that_some_server_may_honestly_write_is_read(number: Any) -> None:
    assert answers.order({"status": "filled", "filled_quantity": number}).filled_quantity > 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"filled_quantity": "-0.1"}, "filled_quantity: expected zero or more, was -0.1"),
        ({"average_price": "-5"}, "average_price: expected more than zero, was -5"),
        ({"status": "open", "average_price": "-5"}, "average_price: expected more than zero, was -5"),
        ({"fills": [{"fill_id": "a", "quantity": "0"}]}, "fill quantity: expected more than zero, was 0"),
        ({"fills": [{"fill_id": "a", "quantity": "1", "price": "-1"}]}, "fill price: expected more than zero, was -1"),
    ],
)
def test_what_no_order_can_be_is_unreadable(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(answers.Unreadable) as raised:
        answers.order({"status": "filled", **wrong})
    assert str(raised.value) == message


@pytest.mark.parametrize(("status", "filled"), [("open", "0"), ("filled", "1"), ("cancelled", "0.5")])
def test_a_price_of_zero_is_not_told(status: str, filled: str) -> None:
    told = {"status": status, "filled_quantity": filled, "average_price": "0.00"}
    fill = {"fill_id": "a", "quantity": "1", "price": 0, "at": QUOTE["as_of"]}
    report = answers.order({**told, "fills": [fill]})
    assert (report.average_price, report.fills[0].price if report.fills else 1) == (None, None)


def test_a_price_or_a_fee_that_is_an_empty_text_is_not_told() -> None:
    report = answers.order({"status": "filled", "filled_quantity": "1", "average_price": "", "fee": " "})
    assert (report.filled_quantity, report.average_price, report.fee) == (Decimal(1), None, None)


def test_an_execution_that_is_told_twice_is_one() -> None:
    fill = {"fill_id": "f1", "quantity": "0.5", "price": "100", "fee": "0.05", "at": "2026-01-31T12:00:00Z"}
    report = answers.order({"status": "cancelled", "fills": [fill, fill]})
    assert report.fills is not None
    assert [one.quantity for one in report.fills] == [Decimal("0.5")]
    assert report.fee == Decimal("0.05")
    differing = {"status": "cancelled", "fills": [fill, {**fill, "quantity": "0.4"}]}
    with pytest.raises(Unreadable, match="expected an id for each"):
        answers.order(differing)
    assert answers.order({**differing, "filled_quantity": "0.9"}).filled_quantity == Decimal("0.9")


def test_a_quote_of_another_market_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="quote of BTC/USD: expected that market, was ETH/USD"):
        quote_of("BTC/USD", {**QUOTE, "symbol": "ETH/USD"})
    for spelled in ("BTC/USD", "BTCUSD", "XBT-USD", "1182", None):
        assert quote_of("BTC/USD", {**QUOTE, "symbol": spelled}).symbol == "BTC/USD"


def test_a_fee_is_told_with_its_currency_and_one_without_has_none() -> None:
    told = {"status": "filled", "filled_quantity": "1"}
    report = answers.order({**told, "fee": "0.001", "fee_currency": " BTC "})
    assert (report.fee, report.fee_currency) == (Decimal("0.001"), "BTC")
    assert answers.order({**told, "fee": "0.001", "fee_currency": ""}).fee_currency is None
    assert answers.order({**told, "fee_currency": "BTC"}).fee_currency is None, "there is no fee to be in it"


def test_fees_of_executions_in_several_currencies_are_not_added_up() -> None:
    fills = [
        {"fill_id": name, "quantity": "1", "price": "9", "at": QUOTE["as_of"], "fee": fee, "fee_currency": currency}
        for name, fee, currency in (("a", "1", "BNB"), ("b", "2", "USD"), ("c", "4", "BNB"))
    ]
    report = answers.order({"status": "filled", "fills": fills})
    assert (report.fee, report.fee_currency) == (Decimal(5), "BNB")
    assert [fill.fee_currency for fill in report.fills or ()] == ["BNB", "USD", "BNB"]


def row(quantity: str, price: str | None = "100", **more: str) -> dict[str, Any]:
    return {"symbol": "X/USD", "quantity": quantity, "average_price": price, **more}


@pytest.mark.parametrize(
    ("rows", "quantity", "average"),
    [
        ([row("1"), row("-1")], "0", None),
        ([row("3", "100"), row("1", "200")], "4", "125"),
        ([row("3"), row("1", None)], "4", None),
        ([row("-3", "100", side="short"), row("-1", "100")], "-4", "100"),
        ([row("2", side="long"), row("-1", side="short")], "1", None),
    ],
)
def test_rows_of_one_symbol_are_added_up_by_their_sign(
    rows: list[dict[str, Any]], quantity: str, average: str | None
) -> None:
    (position,) = answers.positions({"positions": rows})
    assert position == Position("X/USD", Decimal(quantity), None if average is None else Decimal(average))


@pytest.mark.parametrize("name", ["side", "positionSide", "posSide", "holdSide", "direction"])
def test_a_short_row_whose_quantity_has_no_sign_is_said_to_be_unsupported(name: str) -> None:
    with pytest.raises(Unreadable, match=f"unsupported: a row of X/USD tells its side, {name} 'SHORT', and no sign"):
        answers.positions({"positions": [row("2", **{name: "LONG"}), row("1", **{name: "SHORT"})]})


def test_what_is_filled_in_part_is_neither_just_open_nor_refused() -> None:
    told = {"filled_quantity": "0.4", "reason": "too late"}
    assert answers.order({"status": "open", **told}).state is OrderState.PARTIALLY_FILLED
    report = answers.order({"status": "rejected", **told})
    assert (report.state, report.refusal, report.filled_quantity) == (OrderState.CANCELLED, "", Decimal("0.4"))


def test_a_quantity_that_is_null_is_not_told() -> None:
    report = answers.order({"status": "cancelled", "filled_quantity": None})
    assert (report.filled_quantity, report.hides_fills) == (Decimal(0), True)


@pytest.mark.parametrize(("status", "is_over"), [("Canceled", True), ("filled", True), ("open", False), ("", False)])
def test_a_listed_order_that_is_over_is_told_from_an_open_one(status: str, is_over: bool) -> None:
    (one,) = answers.listed({"orders": [{"order_id": 7, "status": status}]})
    assert one.is_over is is_over
