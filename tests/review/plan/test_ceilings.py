"""Limits above the instance in a plan: what becomes looser, whose they are, what a record leaves or lacks."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.records.accounts import Accounts, Ceilings, DeclaredAccount, Requirement, Scope, Throttle, Turnover
from reconciler.review.plan.differences import above_bounds, account_bounds
from reconciler.review.plan.plan_formats import as_text, to_json
from reconciler.review.plan.sentences import difference
from tests.review.plan.conftest import REAL, World, fleet, instance, planned

D = Decimal


def account(**changed: Any) -> DeclaredAccount:
    return DeclaredAccount("main", "kraken", True, **{"currency": "USD", **changed})


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (Ceilings(max_daily_loss=D(100)), Ceilings(max_daily_loss=D(200)), "max_daily_loss: \"100\" → \"200\" WIDER"),
        (Ceilings(max_daily_loss=D(200)), Ceilings(max_daily_loss=D(100)), "\"200\" → \"100\" tighter"),
        (Ceilings(max_daily_loss=D(200)), Ceilings(), "\"200\" → none (no limit) REMOVED"),
        (Ceilings(), Ceilings(max_open_orders=3), "max_open_orders: none (no limit) → 3 added"),
        (Ceilings(min_equity=D(200)), Ceilings(min_equity=D(100)), "min_equity: \"200\" → \"100\" WIDER"),
        (Ceilings(min_equity=D(100)), Ceilings(min_equity=D(200)), "\"100\" → \"200\" tighter"),
        (Ceilings(max_turnover=Turnover(D(100), 5)), Ceilings(max_turnover=Turnover(D(100), 1)), "in 1 min\" WIDER"),
        (Ceilings(max_turnover=Turnover(D(100), 5)), Ceilings(max_turnover=Turnover(D(100), 9)), "in 9 min\" tighter"),
        (Ceilings(max_position={"BTC/USD": D(1)}), Ceilings(max_position={"BTC/USD": D(2)}), "\"1\" → \"2\" WIDER"),
    ],
)  # fmt: skip
def test_a_limit_of_an_account_that_lets_more_through_is_marked(old: Ceilings, new: Ceilings, said: str) -> None:
    (found,) = account_bounds(account(ceilings=old), account(ceilings=new))
    assert said in str(difference(found))
    assert found.pointer.startswith("exec_mcp.kraken.accounts.main.limits.m")


def test_its_throttle_currency_factors_and_markets_are_told_too() -> None:
    old = account(throttle=Throttle(20, 5), count_as={"USDT": {"USD": D("1.02")}})
    new = account(throttle=Throttle(20, 1), currency="EUR", markets={"AAPL": "USD"})
    told = [str(difference(one)) for one in account_bounds(old, new)]
    assert [one.removeprefix("exec_mcp.kraken.accounts.main.") for one in told] == [
        'throttle: "20 in 5 min" → "20 in 1 min" WIDER',
        'currency: "USD" → "EUR"',
        'count_as: {"USDT": {"USD": "1.02"}} → not set',
        'markets: not set → {"AAPL": "USD"}',
    ]
    assert account_bounds(old, old) == ()


TEAM = Scope("label", "team=x", "USD", Ceilings(max_daily_loss=D(400)))


def test_limits_of_labels_of_all_and_what_records_must_have_are_told() -> None:
    before = replace(REAL, above=(TEAM,), requirement=Requirement("real", ("max_position", "max_daily_loss")))
    wider = replace(TEAM, ceilings=Ceilings(max_daily_loss=D(800)))
    now = replace(
        REAL,
        above=(wider, Scope("all", "", "USD", Ceilings(max_open_orders=9))),
        requirement=Requirement("real", ("max_position",)),
        throttle=Throttle(500, 10),
    )
    found = above_bounds(before, now)
    assert [str(difference(one)) for one in found] == [
        'limits["team=x"].max_daily_loss: "400" → "800" WIDER',
        "limits.all.max_open_orders: none (no limit) → 9 added",
        'throttle: none (no limit) → "500 in 10 min" added',
        'require_limits: "real: max_position, max_daily_loss" → "real: max_position" WIDER',
    ]
    files = fleet(instance("a", "active"))
    plan = planned(World(files, accounts=before), World(files, accounts=now, settings=b"new"))
    assert [one["pointer"] for one in to_json(plan)["settings"]["limits"]] == [one.pointer for one in found]
    assert '"400" → "800" WIDER' in as_text(plan)
    assert not plan.is_empty


def warned(old: str, new: str, accounts: Accounts) -> list[str]:
    plan = planned(World(fleet(old), accounts=accounts), World(fleet(new), accounts=accounts))
    return [str(warning) for change in plan.changes for warning in change.warnings]


def test_who_leaves_a_label_is_told_that_its_limits_bind_until_it_is_flat() -> None:
    accounts = replace(REAL, above=(TEAM,))
    inside = instance("a", "active", rest="labels: {team: x}")
    outside = instance("a", "active", rest="labels: {team: y}")
    said = "leaves the limits of label team=x: they bind it until it is flat"
    assert said in warned(inside, outside, accounts)
    assert said not in warned(outside, inside, accounts)


def test_who_lacks_what_is_asked_for_and_is_active_is_told_to_open_nothing() -> None:
    accounts = replace(REAL, requirement=Requirement("real", ("max_position", "max_daily_loss")))
    old = instance("a", "active", rest="limits: {max_position: '1', max_daily_loss: '5'}")
    new = instance("a", "active", rest="limits: {max_daily_loss: '5'}")
    assert "lacks max_position, which require_limits asks for: it opens nothing" in warned(old, new, accounts)


def test_a_rise_without_it_is_refused_by_the_plan_as_by_the_engine() -> None:
    accounts = replace(REAL, requirement=Requirement("real", ("max_position",)))
    before, now = (
        World(fleet(instance("a")), accounts=accounts),
        World(fleet(instance("a", "active")), accounts=accounts),
    )
    plan = planned(before, now)
    assert plan.raises == ()
    (refused,) = plan.refused
    assert [problem.rule for problem in refused.problems] == ["require-limits"]


@pytest.mark.parametrize(("kind", "declared"), [("http", True), ("paper", False)])
def test_what_is_declared_paper_is_said_in_each_plan(kind: str, declared: bool) -> None:
    accounts = replace(REAL, servers={"kraken": {"transport": {"kind": kind}}})
    files = fleet(instance("b", account="play"))
    plan = planned(World(files, accounts=accounts), World(files, accounts=accounts))
    said = "account play is declared paper: its server is not the embedded exchange"
    assert (said in [str(one) for one in plan.basis]) is declared
