"""What an account holds, against what the instances' fills make."""

from __future__ import annotations

from decimal import Decimal

from reconciler.execution.tally import difference, whole

ONE, TWO = Decimal(1), Decimal(2)


def test_the_same_answer_to_every_client_is_the_accounts() -> None:
    assert whole([{"BTC/USD": ONE}, {"BTC/USD": ONE}], {"BTC/USD": ONE}) == {"BTC/USD": ONE}
    assert whole([{"BTC/USD": ONE}, {"BTC/USD": ONE}], {"BTC/USD": Decimal(7)}) == {"BTC/USD": ONE}


def test_unless_it_is_the_clients_and_their_sum_is_what_the_ledger_knows() -> None:
    assert whole([{"BTC/USD": ONE}, {"BTC/USD": ONE}], {"BTC/USD": TWO}) == {"BTC/USD": TWO}


def test_answers_that_differ_are_the_clients() -> None:
    told = [{"BTC/USD": ONE}, {"BTC/USD": TWO, "ETH/USD": ONE}]
    assert whole(told, {"BTC/USD": ONE}) == {"BTC/USD": Decimal(3), "ETH/USD": ONE}
    assert whole([{"BTC/USD": ONE}, {"BTC/USD": -ONE}], {}) == {}


def test_a_difference_names_every_symbol_that_differs_either_way() -> None:
    assert difference({"BTC/USD": ONE}, {"BTC/USD": Decimal("1.00")}) == ""
    assert difference({"BTC/USD": ONE, "ETH/USD": TWO}, {"BTC/USD": TWO, "XRP/USD": -ONE, "ETH/USD": TWO}) == (
        "the exchange holds 1 BTC/USD, the instances' fills make 2; "
        "the exchange holds 0 XRP/USD, the instances' fills make -1"
    )
