"""Reading what servers answer."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from reconciler.execution import answers
from reconciler.records.order import OrderState

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
