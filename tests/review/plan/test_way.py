from __future__ import annotations

from typing import Any

import pytest

from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.review.plan.model import Change, Section
from reconciler.review.plan.plan_formats import as_markdown, to_json
from reconciler.review.plan.sentences import difference
from tests.review.plan.conftest import World, fleet, instance, planned


def accounts(limit: int | None = 6, **server: Any) -> Accounts:
    """Account main through kraken, which is as `server` says."""
    server.setdefault("transport", {"kind": "http", "url": "https://kraken.example/mcp"})
    return Accounts({"main": DeclaredAccount("main", "kraken", True, limit)}, any_on=None, servers={"kraken": server})


def changed(old: Accounts, new: Accounts, mode: str = "active") -> Change | None:
    files = fleet(instance("a", mode), instance("b"))
    plan = planned(World(files, accounts=old), World(files, accounts=new))
    assert plan.active_changes == (("a",) if plan.changes else ())
    return plan.changes[0] if plan.changes else None


def told(change: Change | None, *, at_once: bool = False) -> list[str]:
    assert change is not None
    assert (change.id, change.section) == ("a", Section.ACTIVE)
    waits = "takes effect when the engine restarts" in [str(warning) for warning in change.warnings]
    assert waits is not at_once
    return [str(difference(one)) for one in change.differences]


def http(url: str = "https://kraken.example/mcp", **rest: Any) -> dict[str, Any]:
    return {"kind": "http", "url": url, **rest}


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (
            {"transport": http("https://evil.example/mcp")},
            'exec_mcp.kraken.transport.url: "https://kraken.example/mcp" → "https://evil.example/mcp"',
        ),
        (
            {"tools": {"place_order": {"enums": {"side": {"buy": "sell"}}}}},
            'exec_mcp.kraken.tools.place_order.enums.side.buy: not set → "sell"',
        ),
        ({"bind": {"client_id": None}}, "exec_mcp.kraken.bind.client_id: not set → null"),
        ({"timeout_s": 60}, "exec_mcp.kraken.timeout_s: not set → 60"),
        (
            {"transport": http(headers={"Authorization": {"env": "OTHER"}})},
            'exec_mcp.kraken.transport.headers.Authorization.env: not set → "OTHER"',
        ),
    ],
)
def test_what_redirects_or_inverts_orders_is_a_change_while_active(server: dict[str, Any], said: str) -> None:
    assert told(changed(accounts(), accounts(**server))) == [said]


def test_a_wider_limit_of_the_account_is_marked() -> None:
    assert told(changed(accounts(6), accounts(6000)), at_once=True) == [
        "exec_mcp.kraken.accounts.main.max_orders_per_minute: 6 → 6000 WIDER"
    ]
    assert told(changed(accounts(6), accounts(None)), at_once=True)[0].endswith("6 → none (no limit) REMOVED")
    assert told(changed(accounts(6), accounts(5)), at_once=True)[0].endswith("6 → 5 tighter")


def test_true_is_not_one_on_the_way_either() -> None:
    old, new = (accounts(tools={"place_order": {"const": {"reduce": value}}}) for value in (True, 1))
    assert told(changed(old, new)) == ["exec_mcp.kraken.tools.place_order.const.reduce: true → 1"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (http(headers={"X-Desk": "first-word"}), http(headers={"X-Desk": "second-word"})),
        (http("https://me:first-word@kraken.example"), http("https://me:second-word@kraken.example")),
        (http("https://kraken.example?key=first-word"), http("https://kraken.example?key=second-word")),
        (
            {"kind": "stdio", "command": ["serve"], "env": {"A": "first-word"}},
            {"kind": "stdio", "command": ["serve"], "env": {"A": "second-word"}},
        ),
    ],
)
def test_what_may_be_a_secret_differs_and_is_not_shown(old: dict[str, Any], new: dict[str, Any]) -> None:
    files = fleet(instance("a", "active"))
    plan = planned(
        World(files, accounts=accounts(transport=old)), World(files, accounts=accounts(transport=new), settings=b"new")
    )
    assert plan.active_changes == ("a",)
    assert "not shown" in as_markdown(plan)
    for written in (as_markdown(plan), str(to_json(plan))):
        assert "-word" not in written


def test_of_what_does_not_trade_the_settings_tell_alone() -> None:
    assert changed(accounts(6), accounts(6000), mode="observe") is None
    files = fleet(instance("a"))
    plan = planned(World(files, accounts=accounts()), World(files, accounts=accounts(timeout_s=9)))
    (account,) = plan.settings.accounts
    assert [str(detail) for detail in account.details] == ["exec_mcp.kraken.timeout_s: not set → 9"]
    assert account.instances == ("a",)


def test_the_same_way_is_no_change() -> None:
    assert changed(accounts(), accounts()) is None
