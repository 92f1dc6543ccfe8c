"""The JSON, to the letter of its contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.clock import iso, utc
from reconciler.errors import Problem
from reconciler.orders.holding import Holding
from reconciler.orders.market import Position, Quote
from reconciler.ports import AccountView
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt
from reconciler.records.status import Health, Sync
from tests.dashboard.conftest import REVISION, a_change

if TYPE_CHECKING:
    from tests.dashboard.conftest import Connect, FakeReader, FakeStatus

pytestmark = pytest.mark.anyio

CONTRACT_INSTANCE = """
    id strategy_type account market mode effective_mode paused sync health generation observed_generation
    revision path config effective_config labels conditions ticks
"""
CONTRACT_TICKS = (
    "count errors missed last_at last_duration_s next_at last_good_at every_s errors_last_hour missed_last_hour"
)
CONTRACT_CONDITION = "type status reason message last_transition_at"
CONTRACT_ORDER = """
    instance_id client_order_id outcome state side type quantity limit_price symbol account_id client_id mode
    generation beat revision reason filled_quantity average_price fee fee_currency exchange_order_id created_at
    updated_at
"""
MORE_OF_AN_ORDER = """
    rejected_by shadow repeats stop_price time_in_force reduce_only quote_bid quote_ask quote_at config_digest
    code_digest was_unknown money fills
"""
CONTRACT_PROBLEM = "path line column pointer message hint"


async def get(connect: Connect, path: str) -> Any:
    async with connect() as client:
        answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refusal(connect: Connect, path: str) -> str:
    async with connect() as client:
        answer = await client.get(path)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_query"
    message: str = answer.json()["error"]["message"]
    return message


async def test_instances_have_the_contracts_names(connect: Connect, status: FakeStatus) -> None:
    listed = await get(connect, "/api/v1/instances")
    assert list(listed) == ["items", "total"]
    (item,) = listed["items"]
    assert [name for name in CONTRACT_INSTANCE.split() if name not in item] == []
    assert list(item["ticks"]) == CONTRACT_TICKS.split()
    assert [list(condition) for condition in item["conditions"]] == [CONTRACT_CONDITION.split()] * 4
    assert item == json.loads(json.dumps(status.fleet[0].to_json())) | {"change": None}
    assert item["account"] == {"account_id": "sandbox", "client_id": "desk-a"}
    assert item["config"] == {"notional": "25"}
    assert item["effective_config"] == {"notional": "25", "ceiling": None}


async def test_an_instance_comes_with_what_its_page_shows(connect: Connect, status: FakeStatus) -> None:
    status.drawn = [{"type": "metric", "id": "m", "title": "M", "value": "1"}]
    status.lines = [{"at": "2026-01-01T00:00:00.000Z", "level": "info", "message": "hi"}]
    item = await get(connect, "/api/v1/instances/btc-dca")
    assert set(CONTRACT_INSTANCE.split()) <= set(item)
    assert item["widgets"] == status.drawn
    assert item["logs"] == status.lines
    assert item["orders"][0]["client_order_id"] == "k3j9x2a7b0001"
    assert item["events"][0]["reason"] == "Loaded"
    assert item["history"][0]["generation"] == 3


async def test_an_instance_that_is_not_there_says_where_to_look(connect: Connect) -> None:
    async with connect() as client:
        answer = await client.get("/api/v1/instances/nobody")
    assert answer.status_code == 404
    assert answer.json() == {
        "error": {
            "code": "not_found",
            "message": "there is no instance 'nobody'; /api/v1/instances lists those there are",
        }
    }


async def test_an_instance_that_was_removed_says_when_and_where_its_history_is(
    connect: Connect, reader: FakeReader
) -> None:
    from tests.dashboard.conftest import a_tombstone

    reader.tombstones["gone"] = a_tombstone("gone", "2025-12-31T12:00:00.000Z")
    async with connect() as client:
        for path in ("/api/v1/instances/gone", "/instances/gone"):
            answer = await client.get(path)
            assert answer.status_code == 404
            assert "was removed at 2025-12-31T12:00:00.000Z; see: reconciler history gone" in answer.text


async def test_a_removed_instance_whose_file_is_back_tells_why_it_is_refused(
    connect: Connect, reader: FakeReader
) -> None:
    from tests.dashboard.conftest import a_tombstone

    reader.tombstones["gone"] = a_tombstone("gone", "2025-12-31T12:00:00.000Z")
    problem = Problem("instances/gone.yaml", 5, 7, "mode", "off → active", "merge observe first", "mode-step")
    reader.tried["gone"] = [
        Attempt("instances/gone.yaml", "gone", "f11e", None, Sync.REFUSED, "off → active", (problem,), "")
    ]
    async with connect() as client:
        for path in ("/api/v1/instances/gone", "/instances/gone"):
            told = (await client.get(path)).text
            assert "its file is back, and refused: instances/gone.yaml:5:7: mode: off → active" in told
            assert "merge observe first" in told


async def test_orders_are_the_readers_own_items(connect: Connect, reader: FakeReader) -> None:
    listed = await get(connect, "/api/v1/orders")
    assert listed == {"items": reader.order_rows, "total": 1}
    assert list(listed["items"][0]) == [*CONTRACT_ORDER.split(), *MORE_OF_AN_ORDER.split()]
    assert listed["items"][0]["quantity"] == "0.00042"


async def test_events_are_the_readers_own_items(connect: Connect, reader: FakeReader) -> None:
    assert await get(connect, "/api/v1/events") == {"items": reader.event_rows, "total": 1}


async def test_problems_have_the_contracts_names(connect: Connect, status: FakeStatus) -> None:
    from reconciler.errors import Problem

    status.found = [Problem("instances/a.yaml", 14, 11, "config.levels", "expected an integer", "write 5", "r")]
    listed = await get(connect, "/api/v1/problems")
    assert listed["total"] == 1
    (item,) = listed["items"]
    assert [item[name] for name in CONTRACT_PROBLEM.split()] == [
        "instances/a.yaml",
        14,
        11,
        "config.levels",
        "expected an integer",
        "write 5",
    ]


async def test_a_list_of_strategies_counts_instances_and_one_names_them(connect: Connect) -> None:
    listed = await get(connect, "/api/v1/strategies")
    assert listed["total"] == 1
    assert listed["items"][0]["instance_count"] == 1
    assert "config_schema" not in listed["items"][0]
    one = await get(connect, "/api/v1/strategies/dca")
    assert one["instances"] == ["btc-dca"]
    assert one["config_schema"]["required"] == ["notional"]
    assert one["cadence_steps"] == 10


async def test_the_engine_tells_everything_it_knows_of_itself(connect: Connect, status: FakeStatus) -> None:
    from dataclasses import fields

    from reconciler.ports import EngineStatus

    item = await get(connect, "/api/v1/engine")
    assert list(item) == [field.name for field in fields(EngineStatus)]
    assert item["exec_servers"] == [dict(status.engine_now.exec_servers[0])]


async def test_pages_of_a_list_meet_without_gap_or_overlap(connect: Connect, status: FakeStatus) -> None:
    from dataclasses import replace

    status.fleet = [replace(status.fleet[0], id=f"i-{number:03}") for number in range(25)]
    async with connect() as client:
        pages = [(await client.get(f"/api/v1/instances?limit=10&offset={offset}")).json() for offset in (0, 10, 20, 30)]
    assert [len(page["items"]) for page in pages] == [10, 10, 5, 0]
    assert [page["total"] for page in pages] == [25] * 4
    assert [item["id"] for page in pages for item in page["items"]] == [f"i-{number:03}" for number in range(25)]


async def test_a_list_is_a_hundred_long_and_at_most_a_thousand(connect: Connect, status: FakeStatus) -> None:
    status.fleet = status.fleet * 1_200
    assert len((await get(connect, "/api/v1/instances"))["items"]) == 100
    assert len((await get(connect, "/api/v1/instances?limit=1000"))["items"]) == 1_000
    expected = "limit: expected a whole number from 1 to 1000, was '1001'"
    assert await refusal(connect, "/api/v1/instances?limit=1001") == expected


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("", ["a", "b"]),
        ("?q=ETH", ["b"]),
        ("?label=team=majors", ["a"]),
        ("?label=team", ["a", "b"]),
        ("?mode=active", ["b"]),
        ("?health=Stuck", ["b"]),
        ("?sync=Invalid", ["b"]),
        ("?strategy_type=grid", ["b"]),
        ("?mode=active&q=a", []),
    ],
)
async def test_instances_are_filtered(connect: Connect, status: FakeStatus, query: str, ids: list[str]) -> None:
    from dataclasses import replace

    first = replace(status.fleet[0], id="a", description="")
    second = replace(
        first,
        id="b",
        market="ETH/BTC",
        labels={"team": "alts"},
        mode=Mode.ACTIVE,
        health=Health.STUCK,
        sync=Sync.INVALID,
        strategy_type="grid",
    )
    status.fleet = [first, second]
    listed = await get(connect, f"/api/v1/instances{query}")
    assert ([item["id"] for item in listed["items"]], listed["total"]) == (ids, len(ids))


async def test_orders_and_events_are_filtered(connect: Connect, reader: FakeReader) -> None:
    other = {"instance_id": "other", "outcome": "shadow", "state": "open", "shadow": True}
    other |= {"created_at": "2026-01-01T00:00:00.000Z"}
    reader.order_rows += [{**reader.order_rows[0], **other}]
    reader.event_rows += [{**reader.event_rows[0], "instance_id": "other", "type": "Warning"}]
    for path in (
        "/api/v1/orders?instance_id=other",
        "/api/v1/orders?outcome=shadow",
        "/api/v1/orders?state=open",
        "/api/v1/orders?shadow=true",
        "/api/v1/orders?since=2026-01-01",
        "/api/v1/orders?since=30s",
        "/api/v1/events?instance_id=other",
        "/api/v1/events?type=Warning",
    ):
        listed = await get(connect, path)
        assert [item["instance_id"] for item in listed["items"]] == ["other"], path
    for path in ("/api/v1/orders?shadow=false", "/api/v1/orders?until=2026-01-01"):
        real = await get(connect, path)
        assert [item["instance_id"] for item in real["items"]] == ["btc-dca"], path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("instances?helth=Stuck", "did you mean health?"),
        ("instances?health=stuck", "did you mean Stuck?"),
        ("instances?mode=on", "mode: expected one of off, observe, active, was 'on'"),
        ("orders?outcome=filled", "outcome: expected one of shadow, pending, accepted, rejected, unknown"),
        ("orders?state=done", "state: expected one of open, partially_filled, filled, cancelled, expired"),
        ("orders?shadow=yes", "shadow: expected one of true, false, was 'yes'"),
        ("orders?since=yesterday", "since: expected a day, a time or how long ago (2026-01-31, "),
        ("events?type=Error", "type: expected one of Normal, Warning"),
        ("problems?q=x", "unknown parameter 'q': expected one of limit, offset"),
        ("engine?limit=1", "unknown parameter 'limit': expected none"),
        ("instances/btc-dca?limit=1", "unknown parameter 'limit': expected none"),
    ],
)
async def test_what_is_not_understood_is_refused_by_name(connect: Connect, path: str, message: str) -> None:
    assert message in await refusal(connect, f"/api/v1/{path}")


async def test_an_order_and_the_orphans_have_addresses_of_their_own(
    connect: Connect, status: FakeStatus, reader: FakeReader
) -> None:
    assert await get(connect, "/api/v1/orders/k3j9x2a7b0001") == reader.order_rows[0]
    assert await get(connect, "/api/v1/orders/orphans") == {"items": [], "total": 0}
    status.strays = [{"account_id": "main", "symbol": "BTC/USD"}]
    assert await get(connect, "/api/v1/orders/orphans") == {"items": status.strays, "total": 1}


async def test_an_instance_comes_with_what_it_and_its_account_hold(
    connect: Connect, status: FakeStatus, reader: FakeReader
) -> None:
    reader.order_rows.append({**reader.order_rows[0], "client_order_id": "resting", "state": "open"})
    reader.books = ([Holding("BTC/USD", Decimal("2.0"), Decimal("100"))], [Holding("BTC/USD", realised=Decimal("-3"))])
    status.account_now = AccountView((Position("BTC/USD", Decimal("5")),), "2026-01-01T00:00:00.000Z")
    status.quotes = {"BTC/USD": Quote("BTC/USD", Decimal(60), Decimal(61), Decimal(60), utc(0))}
    item = await get(connect, "/api/v1/instances/btc-dca")
    flat: dict[str, Any] = {
        "symbol": "BTC/USD",
        "quantity": "0",
        "average_price": None,
        "realised": "0",
        "fees": "0",
        "other_fees": {},
    }
    flat |= {"unrealised": "0", "currency": "USD", "quoted_at": "1970-01-01T00:00:00+00:00"}
    assert item["holdings"] == [
        {**flat, "shadow": False, "quantity": "2", "average_price": "50", "unrealised": "20"},
        {**flat, "shadow": True, "realised": "-3"},
    ]
    assert [order["client_order_id"] for order in item["open_orders"]] == ["resting"]
    assert item["account_view"] == {
        "positions": [{"symbol": "BTC/USD", "quantity": "5", "average_price": None}],
        "positions_at": "2026-01-01T00:00:00.000Z",
        "balances": None,
        "balances_at": None,
        "compared_at": None,
        "difference": "",
    }


async def test_orders_are_never_answered_from_a_copy(connect: Connect, reader: FakeReader) -> None:
    async with connect() as client:
        before = (await client.get("/api/v1/orders")).json()
        reader.order_rows = []
        after = (await client.get("/api/v1/orders")).json()
    assert (before["total"], after["total"]) == (1, 0)


async def test_exact_and_read_only_values_are_plain_json(connect: Connect, status: FakeStatus) -> None:
    from dataclasses import replace
    from types import MappingProxyType

    config: Mapping[str, Any] = MappingProxyType({"step": Decimal("0.10"), "deep": MappingProxyType({"x": (1, 2)})})
    status.fleet = [replace(status.fleet[0], effective_config=config)]
    item = await get(connect, "/api/v1/instances/btc-dca")
    assert item["effective_config"] == {"step": "0.1", "deep": {"x": [1, 2]}}


async def test_money_is_passed_on_as_the_string_it_is(connect: Connect, reader: FakeReader) -> None:
    reader.order_rows[0]["fee"] = "0.00000000000000000001"
    async with connect() as client:
        raw = (await client.get("/api/v1/orders")).text
    assert '"fee":"0.00000000000000000001"' in raw


async def test_times_are_utc_iso_8601(connect: Connect) -> None:
    item = await get(connect, "/api/v1/instances/btc-dca")
    assert item["ticks"]["last_at"] == iso(1_767_225_594.0) == "2025-12-31T23:59:54.000Z"


FOLLOWED = {
    "kind": "git",
    "branch": "main",
    "remote": "origin",
    "first": REVISION,
    "applied": {"commit": REVISION, "at": "2026-01-31T12:00:00.000Z"},
    "seen": {"commit": "c0ffee", "at": "2026-01-31T12:00:00.000Z"},
    "held": {"commit": "c0ffee", "at": "2026-01-31T12:00:00.000Z", "why": "it is <not> signed"},
    "unreachable_since": "2026-01-31T12:00:00.000Z",
    "unreachable": "origin: it does not answer",
}


async def test_what_is_followed_is_told_as_it_is_kept(connect: Connect, reader: FakeReader) -> None:
    reader.followed = FOLLOWED
    assert await get(connect, "/api/v1/source") == FOLLOWED
    async with connect() as client:
        page = (await client.get("/source")).text
    assert "it is &lt;not&gt; signed" in page
    assert "reconciler source accept c0ffee" in page
    assert "origin: it does not answer" in page


async def test_of_a_clean_work_tree_the_commit_that_is_checked_out_is_told(
    connect: Connect, status: FakeStatus
) -> None:
    status.engine_now = replace(status.engine_now, head=a_change(REVISION), revision=REVISION, clean=True)
    found = await get(connect, "/api/v1/source")
    assert (found["kind"], found["applied"]["commit"], found["applied"]["author"]) == ("worktree", REVISION, "Ada")
    async with connect() as client:
        page = (await client.get("/")).text
    assert "Widen the ladder (#7)" in page
    status.engine_now = replace(status.engine_now, clean=False)
    assert (await get(connect, "/api/v1/source"))["applied"] is None


async def test_items_carry_the_change_that_they_came_from(connect: Connect, reader: FakeReader) -> None:
    reader.known_commits = frozenset({REVISION})
    (item,) = (await get(connect, "/api/v1/instances"))["items"]
    assert item["change"] == a_change(REVISION)
    assert (await get(connect, f"/api/v1/instances/{item['id']}"))["change"] == a_change(REVISION)
