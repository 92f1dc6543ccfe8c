"""Limits above the instances: on the page, in JSON, among what needs attention, in metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reconciler.dashboard.attention import Gravity, limit_concerns
from reconciler.dashboard.guard import DashboardOptions
from reconciler.records.accounts import Accounts, DeclaredAccount

if TYPE_CHECKING:
    from tests.dashboard.conftest import Connect, FakeStatus

pytestmark = pytest.mark.anyio


def item(**changed: Any) -> dict[str, Any]:
    return {
        "scope": "account main",
        "kind": "account",
        "id": "main",
        "money": "real",
        "limit": "max_gross_notional",
        "currency": "USD",
        "most": "1000",
        "used": "850",
        "left": "150",
        "near": True,
        "full": False,
        "reached": False,
        "why": "",
        "by": [{"instance_id": "a", "used": "800"}, {"instance_id": "b", "used": "50"}],
        **changed,
    }


FAR = item(limit="max_open_orders", currency=None, used="1", near=False, by=[])
FULL = item(limit="max_open_orders", currency=None, most="3", used="3", left="0", full=True, by=[])
REACHED = item(limit="max_daily_loss", reached=True, why="1000 of 1000 USD are used")
BLIND = item(
    scope="all",
    money="paper",
    used=None,
    left=None,
    reached=True,
    why="it cannot be measured: a: no quote",
    by=[{"instance_id": "a", "used": None}],
)


async def test_the_page_and_its_json_show_what_is_used_left_and_by_whom(connect: Connect, status: FakeStatus) -> None:
    status.bounds = [item(), FAR, FULL, REACHED, BLIND]
    async with connect() as client:
        page, json = await client.get("/limits"), await client.get("/api/v1/limits")
    assert json.json() == {"items": status.bounds, "total": 5}
    for said in (
        'Full</span> <span class="words">nothing more is opened; what rests stays',
        "account main",
        "850",
        "1000 USD",
        "150",
        "Near",
        "Reached",
        "not measured",
        "no quote",
        ">a</a> 800",
    ):
        assert said in page.text, said


async def test_where_none_is_set_the_page_says_so(connect: Connect) -> None:
    async with connect() as client:
        page = await client.get("/limits")
    assert "The settings set none." in page.text


@pytest.mark.parametrize(("kind", "declared"), [("http", True), ("paper", False)])
async def test_money_that_only_the_settings_call_paper_is_named(connect: Connect, kind: str, declared: bool) -> None:
    play = DeclaredAccount("play", "kraken", real_money=False)
    accounts = Accounts({"play": play}, None, servers={"kraken": {"transport": {"kind": kind}}})
    async with connect(DashboardOptions(accounts=accounts)) as client:
        text = (await client.get("/limits")).text
    assert ("Only the settings say that the money of play is paper" in text) is declared


async def test_metrics_have_each_scope_and_those_that_use_the_most(connect: Connect, status: FakeStatus) -> None:
    many = [{"instance_id": f"i-{number}", "used": "1"} for number in range(50)]
    status.bounds = [item(by=many), BLIND]
    async with connect() as client:
        text = (await client.get("/metrics")).text
    labels = '{limit="max_gross_notional",money="real",scope="account main"}'
    assert f"reconciler_limit{labels} 1000.0" in text
    assert f"reconciler_limit_used{labels} 850.0" in text
    assert f"reconciler_limit_reached{labels} 0.0" in text
    assert 'reconciler_limit_reached{limit="max_gross_notional",money="paper",scope="all"} 1.0' in text
    assert 'money="paper",scope="all"} nan' not in text.lower()
    assert text.count("reconciler_limit_used_by_instance{") == 20


def test_what_is_near_or_reached_needs_attention_the_reached_of_real_money_first() -> None:
    concerns = list(limit_concerns([item(), FAR, REACHED, BLIND, FULL]))
    assert [(one.gravity, one.real_money) for one in concerns] == [
        (Gravity.WARNING, True),
        (Gravity.CRITICAL, True),
        (Gravity.WARNING, False),
        (Gravity.WARNING, True),
    ]
    assert concerns[3].text == "max_open_orders is full, 3 of 3: nothing more is opened there"
    assert concerns[0].text == "max_gross_notional: 850 of 1000 USD; used by a, b"
    assert "max_daily_loss is reached, and nothing that adds exposure leaves" in concerns[1].text
    assert {one.href for one in concerns} == {"/limits"}
