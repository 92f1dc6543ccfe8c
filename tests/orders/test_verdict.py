"""What an operator may say of an order, and what that makes of it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from reconciler.orders.news import Verdict, VerdictWord
from reconciler.orders.order import (
    Order,
    OrderNews,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    Provenance,
    RejectedBy,
    Side,
)
from reconciler.records.mode import Mode

NOW = datetime(2026, 1, 31, tzinfo=UTC)
PRICED = {"average_price": Decimal(100)}


def order(outcome: Outcome = Outcome.UNKNOWN, **more: Any) -> Order:
    origin = Provenance("a", "main", "desk", "BTC/USD", Mode.ACTIVE, 1, "c", "d", None, 7)
    return Order("x", origin, OrderRequest(Side.BUY, OrderType.MARKET, Decimal(2)), outcome, NOW, NOW, **more)


def verdict(word: VerdictWord, **more: Any) -> Verdict:
    return Verdict(word, "looked", "uid 7", **more)


OPEN = order(Outcome.ACCEPTED, state=OrderState.OPEN)
PARTLY = order(Outcome.ACCEPTED, state=OrderState.PARTIALLY_FILLED, filled_quantity=Decimal("0.5"))
CANCELLED = order(
    Outcome.ACCEPTED, state=OrderState.CANCELLED, filled_quantity=Decimal("0.5"), average_price=Decimal(100)
)
ALL_OF_IT = order(
    Outcome.ACCEPTED, state=OrderState.FILLED, filled_quantity=Decimal(2), average_price=Decimal(100), fee=Decimal(0)
)
REFUSED = order(Outcome.REJECTED, rejected_by=RejectedBy.EXCHANGE, reason="no funds")
WRITTEN_OFF = order(Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY, reason="not found")


@pytest.mark.parametrize(
    ("known", "said", "state", "filled"),
    [
        (order(), verdict("accepted"), "open", "0"),
        (order(), verdict("accepted", filled_quantity=Decimal(1), **PRICED), "partially_filled", "1"),
        (order(), verdict("filled", **PRICED), "filled", "2"),
        (order(), verdict("cancelled"), "cancelled", "0"),
        (order(), verdict("cancelled", filled_quantity=Decimal(2), **PRICED), "cancelled", "2"),
        (order(), verdict("expired", filled_quantity=Decimal("0.1"), **PRICED), "expired", "0.1"),
        (order(Outcome.PENDING), verdict("filled", **PRICED), "filled", "2"),
        (OPEN, verdict("filled", **PRICED), "filled", "2"),
        (PARTLY, verdict("cancelled"), "cancelled", "0.5"),
        (WRITTEN_OFF, verdict("filled", **PRICED), "filled", "2"),
    ],
)
def test_an_order_may_be_said_to_be_there_in_any_state(known: Order, said: Verdict, state: str, filled: str) -> None:
    assert said.fault(known, was_unknown=True) == ""
    news = said.news(known)
    assert (news.outcome, news.state, news.filled_quantity) == ("accepted", state, Decimal(filled))
    assert news.reason == "resolved by hand (uid 7): looked"


@pytest.mark.parametrize("outcome", [Outcome.UNKNOWN, Outcome.PENDING])
def test_an_order_in_doubt_may_be_said_never_to_have_been_placed(outcome: Outcome) -> None:
    said = verdict("rejected")
    assert said.fault(order(outcome), was_unknown=True) == ""
    assert said.news(order(outcome)) == OrderNews(
        outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY, reason="resolved by hand (uid 7): looked"
    )


@pytest.mark.parametrize(
    ("known", "said", "fault"),
    [
        (
            order(Outcome.SHADOW),
            verdict("filled"),
            "it is a shadow order: nothing was sent, there is nothing to resolve",
        ),
        (WRITTEN_OFF, verdict("rejected"), "it is rejected already: not found"),
        (
            order(Outcome.ACCEPTED, state=OrderState.EXPIRED),
            verdict("filled", **PRICED),
            "it is expired, and that is final: say expired, with what is filled in all",
        ),
        (CANCELLED, verdict("cancelled"), "it is cancelled, with 0.5 filled, and this adds nothing to it"),
        (
            CANCELLED,
            verdict("cancelled", filled_quantity=Decimal("0.5"), average_price=Decimal(7)),
            "it is cancelled, with 0.5 filled, and this adds nothing to it",
        ),
        (
            CANCELLED,
            verdict("cancelled", filled_quantity=Decimal(1)),
            "price: expected the average of what is filled: position and profit are made of it",
        ),
        (
            CANCELLED,
            verdict("rejected"),
            "it is cancelled, and that is final: say cancelled, with what is filled in all",
        ),
        (REFUSED, verdict("rejected"), "it is rejected already: no funds"),
        (OPEN, verdict("rejected"), "the exchange took it: say cancelled, or expired, with what was filled"),
        (
            order(),
            verdict("rejected", fee=Decimal(1)),
            "a rejected order has no fills: leave quantity, price and fee out, or say cancelled",
        ),
        (
            order(),
            verdict("filled"),
            "price: expected the average of what is filled: position and profit are made of it",
        ),
        (
            order(),
            verdict("filled", filled_quantity=Decimal(1), **PRICED),
            "filled quantity: expected 2, all; else say cancelled or accepted",
        ),
        (order(), verdict("accepted", filled_quantity=Decimal(2), **PRICED), "all of it is filled: say filled"),
        (
            order(),
            verdict("cancelled", filled_quantity=Decimal(3), **PRICED),
            "all of it is filled: say filled",
        ),
        (order(), verdict("cancelled", **PRICED), "filled quantity: expected one, for there is a price or a fee"),
    ],
)
def test_what_cannot_be_is_not_taken(known: Order, said: Verdict, fault: str) -> None:
    assert said.fault(known, was_unknown=True) == fault


def test_of_an_order_that_was_certainly_never_sent_nothing_else_can_be_said() -> None:
    assert verdict("filled", **PRICED).fault(WRITTEN_OFF, was_unknown=False) == (
        "it was never placed, that is certain: not found"
    )


def test_an_order_that_the_exchange_is_recorded_to_have_refused_may_be_there_after_all() -> None:
    said = verdict("filled", **PRICED)
    assert said.fault(REFUSED, was_unknown=False) == ""
    assert (said.news(REFUSED).state, said.news(REFUSED).filled_quantity) == ("filled", Decimal(2))


def test_fills_may_be_added_to_an_order_that_is_over_and_a_price_that_was_never_told() -> None:
    said = verdict("cancelled", filled_quantity=Decimal("0.7"), **PRICED)
    assert said.fault(CANCELLED, was_unknown=False) == ""
    assert (said.news(CANCELLED).state, said.news(CANCELLED).filled_quantity) == ("cancelled", Decimal("0.7"))
    unpriced = order(Outcome.ACCEPTED, state=OrderState.FILLED, filled_quantity=Decimal(2))
    assert verdict("filled", **PRICED).fault(unpriced, was_unknown=False) == ""
    assert verdict("filled", fee=Decimal(1)).fault(CANCELLED, was_unknown=False) != ""
    assert verdict("cancelled", fee=Decimal(1)).fault(CANCELLED, was_unknown=False) == ""


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (CANCELLED, verdict("cancelled", filled_quantity=Decimal("0.4"))),
        (PARTLY, verdict("cancelled", filled_quantity=Decimal(0))),
        (order(), verdict("filled", filled_quantity=Decimal("2.5"), **PRICED)),
        (ALL_OF_IT, verdict("filled", filled_quantity=Decimal("2.1"), **PRICED)),
        (ALL_OF_IT, verdict("cancelled", filled_quantity=Decimal("1.9"))),
    ],
)
def test_what_is_filled_may_be_put_right_both_ways(known: Order, said: Verdict) -> None:
    assert said.fault(known, was_unknown=True) == ""
    news = said.news(known)
    assert (news.state, news.filled_quantity) == (said.word, said.filled_quantity)


def test_a_verdict_reads_as_it_was_said() -> None:
    assert str(verdict("rejected")) == "rejected"
    assert str(verdict("cancelled", filled_quantity=Decimal("0.50"), **PRICED)) == "cancelled, 0.5 filled at 100"
