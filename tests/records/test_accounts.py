"""Whether money is real, and what real money asks for: judged in one place each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import reconciler
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.status import TradingReason, not_committed

HOUSE = Path(reconciler.__file__).parent
DECLARED = Accounts(
    {"main": DeclaredAccount("main", "kraken", real_money=True), "try": DeclaredAccount("try", "kraken", False)},
    any_on=None,
)


@pytest.mark.parametrize(
    ("account_id", "money"), [("main", "real"), ("try", "paper"), ("Main", None), ("", None)], ids=repr
)
def test_money_is_real_where_the_settings_say_so_and_unknown_where_they_say_nothing(
    account_id: str, money: str | None
) -> None:
    assert DECLARED.money(account_id) == money
    assert DECLARED.is_real(account_id) is (money == "real")


def test_what_the_paper_exchange_takes_undeclared_is_paper() -> None:
    assert Accounts().money("any") == "paper"
    assert not Accounts().any_is_real
    assert DECLARED.any_is_real


def test_only_real_money_that_is_not_committed_waits() -> None:
    assert not_committed(is_real=False, is_committed=False) is None
    assert not_committed(is_real=True, is_committed=True) is None
    found = not_committed(is_real=True, is_committed=False)
    assert found is not None
    assert found.reason is TradingReason.NOT_COMMITTED


def test_why_it_is_not_committed_is_said_where_it_is_known() -> None:
    found = not_committed(is_real=True, is_committed=False, why="no git here")
    assert found is not None
    assert found.message.endswith("to be committed; no git here")


def test_nothing_else_of_the_engine_decides_either() -> None:
    decides = re.compile(r"account\w*\.real_money|TradingReason\.NOT_COMMITTED")
    rooms = {
        path.relative_to(HOUSE).as_posix()
        for path in HOUSE.rglob("*.py")
        if decides.search(path.read_text(encoding="utf-8"))
    }
    assert rooms == {"records/status.py"}
