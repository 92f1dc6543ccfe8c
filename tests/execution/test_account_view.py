"""The view of an account: what others asked for, and nothing asked for its own sake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from reconciler.execution.comparing import AccountComparison, AccountViews
from reconciler.orders.market import Balance, Position
from reconciler.ports import AccountView


class Told:
    """A market that was asked for one account's positions at beat 100, and its balances at 101."""

    def last_positions(self, account_id: str, client_id: str) -> tuple[int, Sequence[Position]] | None:
        return (100, [Position("BTC/USD", Decimal(2))]) if account_id == "main" else None

    def last_balances(self, account_id: str, client_id: str) -> tuple[int, Sequence[Balance]] | None:
        return (101, [Balance("USD", Decimal(5), Decimal(4))]) if account_id == "main" else None


def views(comparisons: Callable[[], Sequence[AccountComparison]]) -> AccountViews:
    market: Any = Told()
    return AccountViews(market, comparisons, 6.0)


def test_what_is_known_says_of_when_it_is() -> None:
    compared = AccountComparison("main", "2026-01-31T12:00:00.000Z", "the exchange holds 3 BTC/USD")
    assert views(lambda: [AccountComparison("other", "", ""), compared]).view("main", "desk-a") == AccountView(
        [Position("BTC/USD", Decimal(2))],
        "1970-01-01T00:10:00.000Z",
        [Balance("USD", Decimal(5), Decimal(4))],
        "1970-01-01T00:10:06.000Z",
        "2026-01-31T12:00:00.000Z",
        "the exchange holds 3 BTC/USD",
    )


def test_what_nobody_asked_for_is_not_known() -> None:
    assert views(tuple).view("other", "desk-a") == AccountView()
