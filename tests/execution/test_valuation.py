"""What accounts are worth: as the exchange tells it, else by balances that count; and what is asked for each beat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.clock import utc
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.options import ready
from reconciler.exec_mcp.reply import Reply, answered
from reconciler.exec_mcp.written import read
from reconciler.execution.valuation import equity_of
from reconciler.orders.market import Balance, Equity
from reconciler.orders.order import Outcome
from reconciler.records.accounts import Ceilings, DeclaredAccount
from tests.execution.standins import ACCOUNTS, Desk, StandInGate, events

D = Decimal
FACTORS = {"USDT": {"USD": D("0.98")}}


def balance(asset: str, total: str) -> Balance:
    return Balance(asset, D(total), D(0))


@pytest.mark.parametrize(
    ("equity", "balances", "worth"),
    [
        (Equity(D(900), "USD"), [balance("USD", "5")], D(900)),
        (Equity(D(900)), [], D(900)),
        (Equity(D(900), "USDT"), [], D(882)),
        (Equity(D(900), "EUR"), [balance("USD", "5000")], None),
        (None, [balance("USD", "500"), balance("BTC", "9")], D(500)),
        (None, [balance("ZUSD", "500"), balance("USDT", "100")], D(598)),
        (None, [balance("EUR", "500")], None),
        (None, [], None),
    ],
)
def test_equity_is_what_the_exchange_tells_else_the_balances_that_count(
    equity: Equity | None, balances: list[Balance], worth: Decimal | None
) -> None:
    account = DeclaredAccount("main", "kraken", True, currency="USD", count_as=FACTORS)
    assert equity_of(account, equity, balances) == worth


@pytest.mark.parametrize(
    ("answer", "equity"),
    [
        ({"equity": {"amount": "1500.5", "currency": "USD"}}, Equity(D("1500.5"), "USD")),
        ({"equity": {"amount": 1500}}, Equity(D(1500))),
        ({"equity": {"amount": "much"}}, None),
        ({"equity": "1500"}, None),
        ({}, None),
    ],
)
def test_an_equity_that_makes_no_sense_is_none_and_keeps_no_balance_back(
    answer: Mapping[str, Any], equity: Equity | None
) -> None:
    assert answers.equity({"balances": [], **answer}) == equity


def test_a_mapping_leads_to_it_within_the_items() -> None:
    words = read(ready("alpaca")).tools["get_balances"]
    assert words is not None
    told = {"data": {"currency": "USD", "cash": "100", "equity": "1234.5", "non_marginable_buying_power": "50"}}
    found = answered("get_balances", words, {}, Reply(structured=told, text="", failed=False), utc(0))
    assert answers.equity(found) == Equity(D("1234.5"), "USD")
    assert answers.balances(found) == (Balance("USD", D(100), D(50)),)


def bounded(desk: Desk, ceilings: Ceilings) -> None:
    main = replace(ACCOUNTS.declared["main"], currency="USD", ceilings=ceilings)
    desk.gateway.bound_by(replace(ACCOUNTS, declared={**ACCOUNTS.declared, "main": main}))


def test_what_the_exchange_says_the_account_is_worth_decides_whatever_our_ledger_makes_of_it(desk: Desk) -> None:
    bounded(desk, Ceilings(min_equity=D(1000)))
    gate = StandInGate()
    assert "min_equity: it cannot be measured" in desk.buy(gate, limit="100").reason
    desk.server.answers("get_balances", {"balances": [{"asset": "USD", "total": "5000"}]})
    desk.follow_up(beat=8)
    assert desk.buy(gate, limit="100").outcome is Outcome.ACCEPTED
    told = {"balances": [{"asset": "USD", "total": "5000"}], "equity": {"amount": "999", "currency": "USD"}}
    desk.server.answers("get_balances", told)
    desk.follow_up(beat=9)
    assert "min_equity: equity is 999 USD, below 1000" in desk.buy(gate, limit="100").reason
    assert ("LimitReached", "account main, paper money: min_equity: equity is 999 USD, below 1000") in events(desk)


def test_what_is_held_is_quoted_once_a_beat_whether_its_instance_runs_or_not(desk: Desk) -> None:
    filled = {"status": "filled", "filled_quantity": "1", "average_price": "100", "order_id": "x"}
    desk.server.answers("place_order", filled)
    desk.buy(StandInGate(symbol="ETH/USD"), limit="100")
    bounded(desk, Ceilings(max_gross_notional=D(1000)))
    before = len(desk.server.asked("get_quote"))
    for beat in (8, 9, 10):
        desk.follow_up(beat)
    assert [one["symbol"] for one in desk.server.asked("get_quote")[before:]] == ["ETH/USD"] * 3


def test_without_a_limit_nothing_is_asked(desk: Desk) -> None:
    filled = {"status": "filled", "filled_quantity": "1", "average_price": "100", "order_id": "x"}
    desk.server.answers("place_order", filled)
    desk.buy(StandInGate(), limit="100")
    before = len(desk.server.asked("get_quote"))
    desk.follow_up(8)
    assert len(desk.server.asked("get_quote")) == before
