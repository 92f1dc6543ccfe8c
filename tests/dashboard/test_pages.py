"""The pages: what they show, and that they show it as text."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.clock import FakeClock, iso, utc
from reconciler.errors import Problem
from reconciler.orders.holding import Holding
from reconciler.orders.market import Balance, Position, Quote
from reconciler.ports import AccountView
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt
from reconciler.records.status import Condition, Health, Obstacle, Sync
from tests.dashboard.conftest import NOW_S, REVISION, a_change, a_condition, a_halt

if TYPE_CHECKING:
    from tests.dashboard.conftest import Connect, FakeReader, FakeStatus

pytestmark = pytest.mark.anyio

PAGES = (
    "/",
    "/instances/btc-dca",
    "/strategies",
    "/strategies/dca",
    "/problems",
    "/orders",
    "/orders/k3j9x2a7b0001",
    "/events",
)
ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}"


class Reading(HTMLParser):
    """What a browser would make of a page: its text, and what must not be in it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.faults: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.faults += [f"<{tag} {name}>" for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and given.get("src") != "/static/refresh.js"):
            self.faults.append(f"<{tag}>")
        if tag == "img" or str(given.get("href", "")).lower().startswith("javascript"):
            self.faults.append(f"<{tag}>")
        if "id" in given:
            self.ids.append(str(given["id"]))
        if tag not in ("meta", "link", "input", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


async def read(connect: Connect, path: str, expected: int = 200) -> Reading:
    async with connect() as client:
        answer = await client.get(path)
    assert answer.status_code == expected, answer.text
    reading = Reading(answer.text)
    assert reading.faults == []
    assert reading.open == []
    assert len(reading.ids) == len(set(reading.ids))
    return reading


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_well_formed_and_names_itself(connect: Connect, path: str) -> None:
    reading = await read(connect, path)
    assert "main" in reading.ids
    assert "Beating" in reading.text


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(
    ("revision", "clean", "words"),
    [
        ("4f2c9d1e8b7a", True, "Committed 4f2c9d1e8b"),
        ("4f2c9d1e8b7a", False, "Not committed 4f2c9d1e8b and changes on disk"),
        (None, False, "Not committed no commit yet"),
    ],
)
async def test_every_page_says_whether_what_runs_is_committed(
    connect: Connect, status: FakeStatus, path: str, revision: str | None, clean: bool, words: str
) -> None:
    status.engine_now = replace(status.engine_now, revision=revision, clean=clean)
    assert words in (await read(connect, path)).text


@pytest.mark.parametrize("path", PAGES)
async def test_whatever_people_write_is_shown_as_text(
    connect: Connect, status: FakeStatus, reader: FakeReader, path: str
) -> None:
    poison(status, reader)
    status.fleet[0] = replace(status.fleet[0], id="btc-dca")
    status.definitions[0] = replace(status.definitions[0], strategy_type="dca")
    reading = await read(connect, path)
    assert "<script>alert(1)</script>" in reading.text
    assert "49" not in re.findall(r"\w+", reading.text.replace(ATTACK, ""))


@pytest.mark.parametrize("name", ["instances", "strategies"])
async def test_an_id_in_the_path_is_shown_as_text(
    connect: Connect, status: FakeStatus, reader: FakeReader, name: str
) -> None:
    poison(status, reader)
    path = f"/{name}/%22%27%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E"
    reading = await read(connect, path.replace("%2F", "%20"), expected=404)
    assert "<script>alert(1)" in reading.text


@pytest.mark.parametrize(
    "path", ["/?q=", "/?label=", "/?strategy_type=", "/orders?instance_id=", "/events?instance_id="]
)
async def test_a_filter_is_shown_as_text(connect: Connect, path: str) -> None:
    async with connect() as client:
        answer = await client.get(path + "%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert answer.status_code == 200
    assert "&#34;&gt;&lt;script&gt;" in answer.text
    assert Reading(answer.text).faults == []


@pytest.mark.parametrize("path", ["/?mode=", "/?limit=", "/orders?outcome=", "/?"])
async def test_a_refused_query_is_shown_as_text(connect: Connect, path: str) -> None:
    reading = await read(connect, path + "%22%3E%3Cscript%3Ealert(1)%3C/script%3E", expected=400)
    assert "<script>alert(1)" in reading.text


def poison(status: FakeStatus, reader: FakeReader) -> None:
    """Puts the attack wherever somebody else decides what a string says."""
    problem = Problem(ATTACK, 1, 2, ATTACK, ATTACK, ATTACK)
    status.fleet = [
        replace(
            status.fleet[0],
            strategy_type=ATTACK,
            account_id=ATTACK,
            client_id=ATTACK,
            market=ATTACK,
            health=Health.DEGRADED,
            revision=ATTACK,
            config={ATTACK: ATTACK},
            effective_config={ATTACK: ATTACK, "d": {ATTACK: [ATTACK]}},
            labels={ATTACK: ATTACK},
            description=ATTACK,
            path=ATTACK,
            conditions=(Condition("Ready", False, ATTACK, ATTACK, ATTACK),),
        )
    ]
    status.engine_now = replace(
        status.engine_now,
        version=ATTACK,
        source=ATTACK,
        revision=ATTACK,
        source_error=ATTACK,
        database_error=ATTACK,
        prune_held=(ATTACK,),
        prune_digest=ATTACK,
        halts=(a_halt("account", ATTACK, reason=ATTACK, by=ATTACK, at=ATTACK, note=ATTACK),),
        exec_servers=({"name": ATTACK, "connected": False, "since": ATTACK, "tools": [], "last_error": ATTACK},),
    )
    status.found = [problem]
    schema: dict[str, Any] = {"properties": {ATTACK: {"type": ATTACK, "default": ATTACK, "description": ATTACK}}}
    status.definitions = [
        replace(
            status.definitions[0],
            strategy_type=ATTACK,
            description=ATTACK,
            path=ATTACK,
            code_digest=ATTACK,
            config_schema=schema,
            instances=(ATTACK,),
            problems=(problem,),
        )
    ]
    head = {"id": "x", "title": ATTACK}
    status.drawn = [
        {**head, "type": "metric", "value": ATTACK, "unit": ATTACK, "tone": ATTACK, "trend": ATTACK},
        {**head, "type": "badge", "label": ATTACK, "tone": ATTACK},
        {**head, "type": "progress", "value": 1, "maximum": 2},
        {**head, "type": "table", "columns": [ATTACK], "rows": [[ATTACK]]},
        {**head, "type": "line", "series": [{"name": ATTACK, "points": [[0, 1], [1, 2]]}]},
        {**head, "type": "bar", "bars": [{"label": ATTACK, "value": 1}]},
        {**head, "type": "candles", "candles": [["2026-01-01T00:00:00Z", 1, 2, 0, 1, 5]]},
        {**head, "type": "log", "lines": [ATTACK]},
        {**head, "type": "text", "text": ATTACK},
        {**head, "type": "keyvalue", "pairs": [[ATTACK, ATTACK]]},
        {**head, "type": ATTACK},
    ]
    status.lines = [{"at": ATTACK, "level": ATTACK, "message": ATTACK}]
    numbers = ("generation", "beat", "count", "id", "committed", "values", "repeats", "fills")
    for rows in (reader.order_rows, reader.event_rows, reader.generation_rows):
        rows[0] = {key: value if key in numbers else ATTACK for key, value in rows[0].items()}
    fill = ("exchange_fill_id", "quantity", "price", "fee", "fee_currency", "at", "made_up")
    reader.order_rows[0] |= {
        "client_order_id": "k3j9x2a7b0001",
        "fills": [dict.fromkeys(fill, ATTACK)],
        "shadow": False,
    }
    stray = ("account_id", "client_order_id", "exchange_order_id", "symbol", "side", "quantity", "state", "seen_at")
    status.strays = [dict.fromkeys(stray, ATTACK)]
    status.account_now = AccountView((Position(ATTACK, Decimal(1)),), ATTACK, (), ATTACK, ATTACK, ATTACK)
    reader.books = ([Holding(ATTACK)], [Holding(ATTACK)])
    signed = {"signed_by": dict.fromkeys(("principal", "fingerprint", "kind"), ATTACK)}
    reader.generation_rows[0]["change"] = dict.fromkeys(a_change(""), ATTACK) | signed
    reader.generation_rows[0]["values"] = {
        "limits": {ATTACK: ATTACK},
        "template": ATTACK,
        "open_orders": ATTACK,
        "data_markets": [ATTACK],
    }


async def test_a_calm_fleet_says_that_nothing_needs_attention(connect: Connect) -> None:
    assert "Needs attention Nothing." in (await read(connect, "/")).text


async def test_the_fleet_page_says_first_what_needs_attention(connect: Connect, status: FakeStatus) -> None:
    status.engine_now = replace(
        status.engine_now,
        prune_held=("a-1", "a-2", "a-3", "a-4"),
        prune_digest="9f31c2",
        halts=(a_halt("account", "main"),),
        exec_servers=({"name": "kraken", "connected": False, "last_error": "connection refused"},),
    )
    text = (await read(connect, "/")).text
    assert "Critical Halt of account main no new exposure: odd fills (by uid 7) since 2025-12-31 23:59:00Z ," in text
    assert "23:59:00Z , 60 s ago reconciler unhalt --account main" in text
    assert "Critical exec-mcp kraken connection refused; its accounts do not trade" in text
    assert "still running: a-1, a-2, a-3, a-4 reconciler prune --confirm 9f31c2" in text
    assert text.index("Critical Halt") < text.index("Warning PruneHeld") < text.index("btc-dca")


async def test_the_fleet_table_tells_file_and_force_apart_and_marks_real_money(
    connect: Connect, status: FakeStatus
) -> None:
    status.fleet = [replace(status.fleet[0], account_id="main", mode=Mode.ACTIVE, effective_mode=Mode.OBSERVE)]
    text = (await read(connect, "/")).text
    assert "BTC/USD main / desk-a real money active in force: observe closed" in text


async def test_active_on_real_money_is_one_thing_in_row_title_and_count(connect: Connect, status: FakeStatus) -> None:
    live = replace(status.fleet[0], account_id="main", mode=Mode.ACTIVE, effective_mode=Mode.ACTIVE)
    lowered = replace(live, id="lowered", effective_mode=Mode.OBSERVE)
    falling = replace(live, id="falling", mode=Mode.OBSERVE)
    paper = replace(live, id="paper", account_id="sandbox")
    status.fleet = [live, lowered, falling, paper]
    icon = '<svg class="icon" aria-hidden="true"><use href="#live"/></svg>'
    told = f'<span class="pill live">{icon}active on real money</span>'
    async with connect() as client:
        fleet = (await client.get("/")).text
        address = re.search(r'<a href="([^"]*)"><b>2</b> <span class="pill live">', fleet)
        assert address is not None
        exactly = (await client.get(address[1].replace("&amp;", "&").partition("#")[0])).text
        titles = {one.id: (await client.get(f"/instances/{one.id}")).text for one in status.fleet}
    assert (len(re.findall('<tr[^>]* class="live">', fleet)), fleet.count(told)) == (2, 2 + 1)
    assert re.findall(r'<th scope="row"><a href="/instances/([^"]*)"', exactly) == ["btc-dca", "falling"]
    heads = {name: re.search(r"<h1>.*?</h1>", page, re.DOTALL)[0] for name, page in titles.items()}  # type: ignore[index]
    assert {name: told in head for name, head in heads.items()} == {
        "btc-dca": True,
        "lowered": False,
        "falling": True,
        "paper": False,
    }
    assert "<title>btc-dca · active on real money ·" in titles["btc-dca"]
    assert "in the file:" in heads["falling"]
    assert "in force:" in heads["lowered"]
    assert '<span class="pill active">active</span>' in heads["paper"]


async def test_paper_money_is_not_marked_as_real(connect: Connect) -> None:
    assert "dca BTC/USD sandbox / desk-a observe closed Synced" in (await read(connect, "/")).text


async def test_lists_link_to_their_neighbours_and_keep_the_filters(connect: Connect, status: FakeStatus) -> None:
    status.fleet = status.fleet * 250
    async with connect() as client:
        middle = (await client.get("/?q=btc&offset=100")).text
        last = (await client.get("/?q=btc&offset=200")).text
        beyond = (await client.get("/?q=btc&offset=900")).text
    assert '<a href="/?q=btc#instances-title" rel="prev">' in middle
    assert '<a href="/?q=btc&amp;offset=200#instances-title" rel="next">' in middle
    assert "101–200 of 250 instances" in middle
    assert 'rel="next"' not in last
    assert "201–250 of 250 instances" in last
    assert "0 of 250 instances" in beyond
    assert 'rel="prev"' in beyond


def a_broken_file(name: str, *more: Problem, sync: Sync = Sync.INVALID) -> Attempt:
    first = Problem(f"instances/{name}.yaml", 3, 9, "config.levels", 'expected an integer, was "<five>"', "write 5")
    return Attempt(first.path, None, "f", None, sync, "", (first, *more), "")


async def test_a_file_that_is_no_instance_yet_has_a_row_that_says_why_and_no_mode(
    connect: Connect, status: FakeStatus
) -> None:
    status.files = [a_broken_file("foo", Problem("instances/foo.yaml", 5, 1, "", "unknown key"))]
    async with connect() as client:
        page = Reading((await client.get("/")).text)
        json_items = (await client.get("/api/v1/instances")).json()["items"]
    told = 'instances/foo.yaml:3:9 : config.levels: expected an integer, was "<five>" (write 5) and 1 more'
    assert f"foo instances/foo.yaml Invalid Not an instance yet: {told}" in page.text
    assert "1 file is not an instance yet, and stands first." in page.text
    assert [item["id"] for item in json_items] == ["btc-dca"]


@pytest.mark.parametrize(
    ("query", "is_told"),
    [
        ("", True),
        ("?sync=Invalid", True),
        ("?sync=Refused", False),
        ("?q=FOO", True),
        ("?q=other", False),
        ("?mode=observe", False),
        ("?sync=Invalid&money=real", False),
        ("?offset=100", False),
    ],
)
async def test_files_that_are_no_instance_are_narrowed_by_what_is_known_of_them(
    connect: Connect, status: FakeStatus, query: str, is_told: bool
) -> None:
    status.files = [a_broken_file("foo")]
    async with connect() as client:
        page = (await client.get(f"/{query}")).text
    assert ("instances/foo.yaml" in page) is is_told


async def test_of_many_files_that_are_no_instance_the_first_are_shown_and_all_are_counted(
    connect: Connect, status: FakeStatus
) -> None:
    status.fleet = []
    status.files = [a_broken_file(f"f{n}") for n in range(25)]
    async with connect() as client:
        page = Reading((await client.get("/")).text)
    assert "instances/f19.yaml" in page.text
    assert "instances/f20.yaml" not in page.text
    assert "and 5 more files that are not an instance yet: all problems" in page.text
    assert "25 files are not an instance yet" in page.text
    assert "No instances yet" not in page.text


async def test_an_empty_fleet_says_how_to_begin(connect: Connect, status: FakeStatus) -> None:
    status.fleet = []
    assert "No instances yet." in (await read(connect, "/")).text
    assert "No instance matches. Show all." in (await read(connect, "/?q=nothing")).text


async def test_the_chosen_filter_stays_chosen(connect: Connect) -> None:
    async with connect() as client:
        html = (await client.get("/?health=Healthy&q=btc")).text
    assert "<option selected>Healthy</option>" in html
    assert 'name="q" value="btc"' in html


async def test_an_instance_page_shows_its_config_with_the_defaults_marked(connect: Connect) -> None:
    text = (await read(connect, "/instances/btc-dca")).text
    assert "notional 25 25" in text
    assert "ceiling default null" in text
    assert "max order notional 500" in text


async def test_an_instance_page_shows_a_generation_that_does_not_run_yet(connect: Connect, status: FakeStatus) -> None:
    status.fleet = [replace(status.fleet[0], generation=4, committed=False)]
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Generation 4 running: 3" in text
    assert "Commit 4f2c9d1e8b not committed" in text


async def test_an_instance_page_says_where_each_value_was_written(
    connect: Connect, status: FakeStatus, reader: FakeReader
) -> None:
    template = "instances/_templates/majors.yaml"
    status.fleet = [replace(status.fleet[0], template_path=template)]
    status.places = {"config.notional": "instances/btc-dca.yaml:7", "limits.max_open_orders": f"{template}:3"}
    reader.generation_rows[0]["values"] = {"limits": {"max_open_orders": 10}, "data_markets": ["ETH/USD", "SOL/USD"]}
    text = (await read(connect, "/instances/btc-dca")).text
    assert "notional 25 25 instances/btc-dca.yaml:7" in text
    assert f"max open orders 10 {template}:3" in text
    assert f"Template {template}" in text
    assert "reads, too ETH/USD, SOL/USD" in text


async def test_an_instance_page_says_why_with_reasons(connect: Connect, status: FakeStatus) -> None:
    refused = Condition("Accepted", False, "Refused", "expected a step of one mode at a time", "2026-01-01T00:00:00Z")
    status.fleet = [replace(status.fleet[0], sync=Sync.REFUSED, conditions=(refused,), frozen_with_exposure=True)]
    status.found = [Problem("instances/btc-dca.yaml", 7, 7, "mode", "expected a step", "merge observe first")]
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Accepted False Refused expected a step of one mode at a time" in text
    assert "Frozen with exposure." in text
    assert "instances/btc-dca.yaml:7:7 mode expected a step Hint: merge observe first" in text
    assert "stays in force until it is mended" in text


async def test_an_instance_page_says_which_halts_are_in_force_on_it(connect: Connect, status: FakeStatus) -> None:
    def halt(scope: str, id: str, full: bool = False) -> dict[str, object]:
        declared = {"by": "instances/_halt.yaml", "declared": True} if scope == "all" else {}
        return a_halt(scope, id, full=full, reason=f"because of {id or scope}", **declared)

    halts = (halt("all", "", full=True), halt("account", "sandbox"), halt("account", "main"), halt("instance", "other"))
    status.engine_now = replace(status.engine_now, halts=(*halts, halt("instance", "btc-dca")))
    text = (await read(connect, "/instances/btc-dca")).text
    assert (
        "Halted with everything. Nothing passes: because of all By instances/_halt.yaml, since 23:59:00Z . "
        "To lift it, change that file."
    ) in text.replace("2025-12-31 ", "")
    assert "Halted with account sandbox. No new exposure: because of sandbox By uid 7, since" in text
    assert "To lift it: reconciler unhalt --account sandbox --reason …" in text
    assert "Halted. No new exposure: because of btc-dca" in text
    assert "because of main" not in text
    assert "because of other" not in text


async def test_a_shadow_order_is_marked_as_simulated_and_never_as_real_money(
    connect: Connect, reader: FakeReader
) -> None:
    reader.order_rows = [{**reader.order_rows[0], "outcome": "shadow", "shadow": True}]
    for path in ("/orders", "/instances/btc-dca"):
        text = (await read(connect, path)).text
        assert "SIMULATED shadow filled" in text
        assert "real money main / desk-a" not in text


async def test_what_observe_was_refused_is_marked_as_simulated_too(connect: Connect, reader: FakeReader) -> None:
    refused = {"outcome": "rejected", "rejected_by": "gateway", "reason": "too large", "shadow": True}
    reader.order_rows = [{**reader.order_rows[0], **refused}]
    for path in ("/orders", "/instances/btc-dca"):
        reading = await read(connect, path)
        assert "SIMULATED rejected by gateway" in reading.text.partition("Asked for")[2]


async def test_a_rejection_says_by_whom(connect: Connect, reader: FakeReader) -> None:
    reader.order_rows = [{**reader.order_rows[0], "outcome": "rejected", "rejected_by": "exchange"}]
    text = (await read(connect, "/orders")).text.partition("Asked for")[2]
    assert "rejected by exchange" in text
    assert "SIMULATED" not in text


async def test_an_order_says_where_it_came_from(connect: Connect) -> None:
    text = (await read(connect, "/orders")).text
    assert "2025-12-31 23:59:00Z k3j9x2a7b0001 btc-dca real money main / desk-a buy limit" in text
    assert "buy limit BTC/USD 0.00042 at 60000.10 0.00042 at 59999.90, fee 0.065 accepted filled" in text
    assert "active 4f2c9d1e8b beat 294537590" in text


async def test_where_an_order_came_from_is_never_hidden_or_cut(connect: Connect) -> None:
    """At no width, and without hovering: whatever stands in that cell is shown, and wraps."""
    async with connect() as client:
        page, sheet = (await client.get("/orders")).text, (await client.get("/static/dashboard.css")).text
    cell = re.search(r'<td class="from".*?</td>', page, re.DOTALL)
    assert cell is not None
    classes = {one for names in re.findall(r'class="([^"]*)"', cell[0]) for one in names.split()}
    assert {"from", "beat"} <= classes
    rules = re.findall(r"([^{}]+)\{([^{}]*)\}", re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL))
    hiding = ("display: none", "text-overflow", "overflow: hidden", "clip-path")
    assert [
        (selector.strip(), words)
        for selector, words in rules
        if any(one in words for one in hiding)
        and any(classes & set(re.findall(r"\.([\w-]+)", part)[-1:]) for part in selector.split(","))
    ] == []


async def test_an_order_from_no_commit_says_so(connect: Connect, reader: FakeReader) -> None:
    reader.order_rows[0]["revision"] = None
    assert "active not committed beat 294537590" in (await read(connect, "/orders")).text


async def test_a_refusal_that_repeats_says_how_often(connect: Connect, reader: FakeReader) -> None:
    refused = {"outcome": "rejected", "rejected_by": "gateway", "reason": "Limit: too large", "repeats": 240}
    reader.order_rows[0] |= refused
    assert "rejected by gateway filled ×240 Limit: too large" in (await read(connect, "/orders")).text


async def test_every_order_leads_to_its_whole_provenance(connect: Connect, reader: FakeReader) -> None:
    fill = {
        "exchange_fill_id": "f-1",
        "quantity": "0.00042",
        "price": "59999.90",
        "fee": "0.065",
        "fee_currency": "USD",
        "made_up": False,
    }
    reader.order_rows[0]["fills"] = [{**fill, "at": "2025-12-31T23:59:01.000000Z"}]
    reader.order_rows[0]["quote_at"] = "2025-12-31T23:58:57.000000Z"
    async with connect() as client:
        assert 'href="/orders/k3j9x2a7b0001"' in (await client.get("/orders")).text
    text = (await read(connect, "/orders/k3j9x2a7b0001")).text
    assert "Instance btc-dca Account main / desk-a real money Mode in force active" in text
    assert "Commit 4f2c9d1e8b7a60513f2c9d1e8b7a60513f2c9d1e Generation 3 since" in text
    assert "counted from 1970 Config c0ffee Code 0123456789abcdef" in text
    assert "Quote it saw 59999.5 bid, 60000.5 ask, as of 2025-12-31 23:58:57" in text
    assert "0.00042 59999.90 0.065 USD f-1" in text
    assert f"git log -1 --stat {REVISION} -- instances/btc-dca.yaml strategies/dca.py" in text
    assert "a pull request that it names holds the review" in text
    assert f"git log -1 --first-parent -m --stat {REVISION} -- instances/btc-dca.yaml strategies/dca.py" in text
    assert "SIMULATED" not in text


async def test_an_order_of_uncommitted_files_says_so_and_what_to_look_at(connect: Connect, reader: FakeReader) -> None:
    reader.order_rows[0]["revision"] = None
    text = (await read(connect, "/orders/k3j9x2a7b0001")).text
    assert "Commit not committed" in text
    assert "It ran files that were not committed, so no commit says who wrote or reviewed them" in text
    assert "git diff HEAD -- instances/btc-dca.yaml strategies/dca.py" in text


async def test_whose_money_an_order_was_about_is_what_it_was_when_it_was_placed(
    connect: Connect, reader: FakeReader
) -> None:
    """The account is on real money today: that does not make an earlier order one of real money."""
    reader.order_rows[0]["money"] = "paper"
    for page in ("/orders", "/orders/k3j9x2a7b0001"):
        assert "real money" not in (await read(connect, page)).text


async def test_an_order_that_nobody_knows_is_not_found(connect: Connect) -> None:
    assert "there is no order 'nope'; the orders page lists" in (await read(connect, "/orders/nope", 404)).text


async def test_a_simulated_order_says_so_on_its_own_page(connect: Connect, reader: FakeReader) -> None:
    reader.order_rows[0] |= {"shadow": True, "outcome": "shadow", "mode": "observe"}
    text = (await read(connect, "/orders/k3j9x2a7b0001")).text
    assert "Order k3j9x2a7b0001 SIMULATED" in text
    assert "Never sent" in text
    assert "real money" not in text


async def test_orphans_stand_out_on_the_orders_page_and_are_told_on_the_fleet_page(
    connect: Connect, status: FakeStatus
) -> None:
    assert "nobody's" not in (await read(connect, "/orders")).text
    stray = {
        "account_id": "main",
        "client_order_id": "",
        "exchange_order_id": "X-9",
        "symbol": "BTC/USD",
        "side": "sell",
        "quantity": "2",
        "state": "open",
        "seen_at": "2025-12-31T23:00:00.000Z",
    }
    status.strays = [stray]
    text = (await read(connect, "/orders")).text
    assert "main real money sell BTC/USD 2 open 2025-12-31 23:00:00Z – X-9" in text
    assert (
        "Warning Account main real money an open order that the ledger does not know" in (await read(connect, "/")).text
    )


async def test_the_orders_page_is_narrowed_by_time_and_keeps_what_was_asked(connect: Connect) -> None:
    async with connect() as client:
        shown = (await client.get("/orders?since=2m&until=2026-01-01")).text
        empty = (await client.get("/orders?until=2025-12-31")).text
    assert "k3j9x2a7b0001" in shown
    assert 'name="since" value="2m"' in shown
    assert 'name="until" value="2026-01-01"' in shown
    assert "No order matches." in empty


async def test_an_instance_page_shows_what_it_holds_and_marks_what_is_simulated(
    connect: Connect, reader: FakeReader
) -> None:
    assert "Flat: none of its orders was ever filled." in (await read(connect, "/instances/btc-dca")).text
    real = Holding("BTC/USD", Decimal(3), Decimal(100), Decimal("-1.5"), Decimal("0.25"))
    reader.books = ([real], [Holding("BTC/USD", Decimal("-0.5"), Decimal("-50"))])
    text = (await read(connect, "/instances/btc-dca")).text
    assert "BTC/USD 3 33.3333333333 -1.5 USD – 0.25 its own fills BTC/USD -0.5 100 0 USD – 0 SIMULATED" in text


async def test_an_instance_page_shows_its_open_orders_apart(connect: Connect, reader: FakeReader) -> None:
    assert "Open orders" not in (await read(connect, "/instances/btc-dca")).text
    reader.order_rows[0] |= {"state": "open"}
    assert "Open orders Order Asked for" in (await read(connect, "/instances/btc-dca")).text


async def test_an_instance_page_shows_the_account_as_far_as_anybody_asked(connect: Connect, status: FakeStatus) -> None:
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Its positions and balances are not known: no strategy asked" in text
    status.account_now = AccountView(
        (Position("BTC/USD", Decimal("2.50"), Decimal(60000)),),
        "2025-12-31T23:59:54.000Z",
        (Balance("USD", Decimal("1000.10"), Decimal(900)),),
        "2025-12-31T23:59:48.000Z",
        "2025-12-31T23:59:00.000Z",
    )
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Compared with the ledger 60 s ago : it adds up." in text
    assert "BTC/USD 2.5 at 60000 As of 2025-12-31 23:59:54Z" in text
    assert "USD 1000.1 900 available As of 2025-12-31 23:59:48Z" in text
    status.account_now = replace(status.account_now, difference="the exchange holds 3 BTC/USD")
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Does not add up. the exchange holds 3 BTC/USD Compared at 2025-12-31 23:59:00Z ." in text
    status.account_now = AccountView(compared_at="2025-12-31T23:59:00.000Z", difference="the exchange holds 3 BTC/USD")
    text = (await read(connect, "/instances/btc-dca")).text
    assert "not known" not in text
    assert "No strategy asked for its positions and balances since the start; what differs is above." in text


async def test_settings_that_changed_since_the_start_are_told(connect: Connect, status: FakeStatus) -> None:
    status.engine_now = replace(status.engine_now, settings_note="reconciler.yaml has changed: restart")
    assert "Notice Settings reconciler.yaml has changed: restart" in (await read(connect, "/")).text


async def test_the_problems_page_gives_the_place_the_hint_and_the_comfort(connect: Connect, status: FakeStatus) -> None:
    status.found = [Problem("instances/eth-grid.yaml", 14, 11, "config.levels", "expected an integer", "write 5")]
    text = (await read(connect, "/problems")).text
    assert "instances/eth-grid.yaml:14:11 config.levels expected an integer Hint: write 5" in text
    assert "its instance keeps running as it was applied before" in text


async def test_a_problem_of_a_whole_file_has_no_line(connect: Connect, status: FakeStatus) -> None:
    status.found = [Problem("instances/a.yaml", 0, 0, "", "cannot be read")]
    assert "instances/a.yaml cannot be read" in (await read(connect, "/problems")).text


async def test_a_late_heartbeat_is_said_on_every_page(connect: Connect, status: FakeStatus) -> None:
    status.engine_now = replace(status.engine_now, heartbeat_age_s=300.0, no_beat="disk full")
    for path in PAGES:
        assert "Late no beat for 5 min, expected one every 6 s: disk full" in (await read(connect, path)).text


async def test_the_age_of_the_beat_is_told_anew_though_nothing_else_changed(
    connect: Connect, status: FakeStatus, clock: FakeClock
) -> None:
    async with connect() as client:
        assert "1 s ago" in (await client.get("/")).text
        status.engine_now = replace(status.engine_now, heartbeat_age_s=400.0, no_beat="disk full")
        clock.advance(1)
        assert "no beat for 6 min" in (await client.get("/")).text


async def test_a_page_reloads_itself_without_a_script(connect: Connect) -> None:
    async with connect() as client:
        html = (await client.get("/")).text
    assert '<noscript><meta http-equiv="refresh" content="15"></noscript>' in html
    assert 'data-refresh="6"' in html


async def test_a_description_is_its_first_line_in_the_list_and_its_paragraphs_on_the_page(
    connect: Connect, status: FakeStatus
) -> None:
    status.definitions = [replace(status.definitions[0], description="Buys a little.\n\nNever\ntwice.")]
    assert "Never" not in (await read(connect, "/strategies")).text
    async with connect() as client:
        page = (await client.get("/strategies/dca")).text
    assert '<p class="lead">Buys a little.</p>' in page
    assert '<p class="lead">Never\ntwice.</p>' in page


async def test_looking_for_instances_leads_to_them_past_what_needs_attention(
    connect: Connect, status: FakeStatus
) -> None:
    status.fleet = [replace(status.fleet[0], id=f"i-{number:03}") for number in range(150)]
    async with connect() as client:
        page = (await client.get("/?mode=observe")).text
    for link in ('action="/#instances-title"', "offset=100#instances-title", 'href="/?health=Stuck#instances-title"'):
        assert link in page, link
    assert 'id="instances-title"' in page


async def test_a_strategy_page_describes_every_field(connect: Connect) -> None:
    text = (await read(connect, "/strategies/dca")).text
    assert "notional string yes – Spent each time" in text
    assert "1 min 10 beats" in text


DENIAL = {
    "client_order_id": "k3j9x2a7b0001",
    "instance_id": "btc-dca",
    "account_id": "main",
    "message": "the exchange does not know it: asked 6 times in 30 s",
    "seen_at": "2025-12-31T23:59:00.000Z",
}


async def test_money_that_does_not_add_up_is_never_nothing(connect: Connect, status: FakeStatus) -> None:
    status.denied = [DENIAL]
    status.differing = [{"account_id": "main", "difference": "the exchange holds 3 BTC/USD", "at": ""}]
    text = (await read(connect, "/")).text
    assert "Needs attention Nothing." not in text
    assert "Critical btc-dca real money its exchange denies the order k3j9x2a7b0001 , which it took" in text
    assert "reconciler orders resolve k3j9x2a7b0001 --as … --reason …" in text
    assert "Critical Account main real money does not add up: the exchange holds 3 BTC/USD" in text


async def test_an_order_that_its_exchange_denies_says_so_on_its_page(
    connect: Connect, status: FakeStatus, reader: FakeReader
) -> None:
    assert "denies" not in (await read(connect, "/orders/k3j9x2a7b0001")).text
    status.denied = [DENIAL]
    text = (await read(connect, "/orders/k3j9x2a7b0001")).text
    assert "The exchange denies it. It took this order, and says now that it knows none" in text
    assert "asked 6 times in 30 s, since 2025-12-31 23:59:00Z" in text
    assert "reconciler orders resolve k3j9x2a7b0001 --as … --reason …" in text
    assert "The exchange denies an order that it took" in (await read(connect, "/instances/btc-dca")).text


async def test_a_gate_that_is_open_while_not_all_is_well_is_no_green_true(connect: Connect, status: FakeStatus) -> None:
    caveat = a_condition("Trading", True, "OrderMissing", "orders may leave, but …")
    status.fleet = [replace(status.fleet[0], conditions=(caveat,))]
    async with connect() as client:
        page = (await client.get("/instances/btc-dca")).text
    assert '<span class="pill warn">True</span>' in page
    assert '<span class="pill ok">True</span>' not in page


async def test_a_fill_that_an_operator_told_is_not_the_exchanges_word(connect: Connect, reader: FakeReader) -> None:
    fill = {
        "exchange_fill_id": "to-1",
        "quantity": "1",
        "price": "2",
        "fee": None,
        "fee_currency": None,
        "made_up": True,
        "at": "",
    }
    reader.order_rows[0]["fills"] = [fill]
    assert "the exchange told only totals" in (await read(connect, "/orders/k3j9x2a7b0001")).text
    reader.order_rows[0]["reason"] = "resolved by hand (uid 7): trade 4711"
    text = (await read(connect, "/orders/k3j9x2a7b0001")).text
    assert "as an operator told" in text
    assert "the exchange told only totals" not in text


async def test_what_is_held_is_valued_at_the_quote_at_hand(
    connect: Connect, status: FakeStatus, reader: FakeReader
) -> None:
    reader.books = ([Holding("BTC/USD", Decimal(2), Decimal(100))], [])
    status.quotes = {"BTC/USD": Quote("BTC/USD", Decimal(60), Decimal(61), Decimal(60), utc(NOW_S - 5))}
    assert (
        "BTC/USD 2 50 0 USD 20 USD quote of 5 s ago 0 its own fills" in (await read(connect, "/instances/btc-dca")).text
    )


DOUBT = {"client_order_id": "x1", "instance_id": "btc-dca", "message": "it is not known whether x1 was placed"}
RESOLVE = "reconciler orders resolve {} --as … --reason …"


async def test_an_order_in_doubt_says_what_is_not_known_wherever_it_would_stand(
    connect: Connect, status: FakeStatus, reader: FakeReader
) -> None:
    status.doubted = [{**DOUBT, "needs_somebody": False}]
    unknown = {"client_order_id": "x1", "outcome": "unknown", "state": None, "filled_quantity": "0", "quantity": "0.01"}
    reader.order_rows = [{**reader.order_rows[0], **unknown, "average_price": None, "fee": None}]
    status.fleet = [replace(status.fleet[0], obstacles=(Obstacle("UnknownOrder", DOUBT["message"]),))]
    fleet = (await read(connect, "/")).text
    assert "an order is in doubt: it is not known whether x1 was placed; its position is not known" in fleet
    assert RESOLVE.format("x1") in fleet
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Position not known: one order in doubt." in text
    assert "Flat" not in text
    assert text.count(RESOLVE.format("x1")) == 1
    order = (await read(connect, "/orders/x1")).text
    assert "Order x1 real money in doubt buy" in order
    assert "Filled Not known , of 0.01" in order
    assert "Fills Not known while it is in doubt" in order
    assert RESOLVE.format("x1") in order
    assert "buy limit BTC/USD 0.01 at 60000.10 not known unknown" in (await read(connect, "/orders")).text
    async with connect() as client:
        for path in ("/", "/instances/btc-dca"):
            assert '<a href="/orders/x1"><code>x1</code></a>' in (await client.get(path)).text
        head = re.search("<h1>.*?</h1>", (await client.get("/instances/btc-dca")).text, re.DOTALL)
    assert head is not None
    assert "order in doubt" in head[0]
    assert "pill ok" not in head[0]


async def test_what_is_booked_so_far_is_no_position_and_no_profit_while_orders_are_in_doubt(
    connect: Connect, status: FakeStatus, reader: FakeReader
) -> None:
    status.doubted = [{**DOUBT, "client_order_id": one, "needs_somebody": True} for one in ("x1", "x2")]
    reader.books = ([Holding("BTC/USD", Decimal(2), Decimal(100))], [Holding("BTC/USD", Decimal(1), Decimal(50))])
    status.quotes = {"BTC/USD": Quote("BTC/USD", Decimal(60), Decimal(61), Decimal(60), utc(NOW_S))}
    status.account_now = AccountView(compared_at="2025-12-31T23:59:00.000Z")
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Position not known: 2 orders in doubt. What follows is what is booked so far, without that." in text
    assert "BTC/USD 2 50 0 USD not known 0 booked so far BTC/USD 1 50 0 USD 10 USD" in text
    assert "it adds up" not in text


async def test_a_ledger_that_lost_rows_knows_no_position(connect: Connect, status: FakeStatus) -> None:
    status.fleet = [replace(status.fleet[0], obstacles=(Obstacle("LedgerBehind", "because"),))]
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Position not known: the ledger has lost rows." in text
    assert "Flat" not in text


async def test_an_account_that_does_not_add_up_makes_nobody_flat(connect: Connect, status: FakeStatus) -> None:
    status.account_now = AccountView(difference="the exchange holds 1 BTC/USD, the fills make 0")
    text = (await read(connect, "/instances/btc-dca")).text
    assert "By its own fills it is flat, but its account does not add up: see below." in text
    assert "Flat:" not in text


async def test_an_order_that_is_known_is_not_in_doubt(connect: Connect, reader: FakeReader) -> None:
    for path in ("/", "/instances/btc-dca", "/orders", "/orders/k3j9x2a7b0001"):
        text = (await read(connect, path)).text
        assert "ot known" not in text.replace("Its positions and balances are not known: no strategy asked", "")
        assert "resolve" not in text
    assert "Flat: none of its orders was ever filled." in (await read(connect, "/instances/btc-dca")).text


async def test_nothing_is_said_to_be_well_before_it_was_looked_at(connect: Connect, status: FakeStatus) -> None:
    assert "Nothing. The engine beats" in (await read(connect, "/")).text
    assert "None. Every file is valid." in (await read(connect, "/problems")).text
    engine = status.engine_now
    status.engine_now = replace(engine, heartbeat_age_s=None)
    assert "Not known yet: the engine has just started, and no beat has fired." in (await read(connect, "/")).text
    status.engine_now = replace(engine, observed=False)
    assert (
        "Not known yet: the engine has just started, and the files have not been read"
        in (await read(connect, "/")).text
    )
    assert "Not known yet" in (await read(connect, "/problems")).text
    status.engine_now = replace(engine, source_error="instances/ is gone", source_notes=("not told committed",))
    text = (await read(connect, "/problems")).text
    assert "Not known: the files cannot be read. instances/ is gone not told committed" in text
    status.engine_now = replace(engine, source_notes=("a rebase is under way",))
    text = (await read(connect, "/problems")).text
    assert "None is known, but not all of the files can be vouched for: a rebase is under way" in text
    for path in ("/", "/problems"):
        text = (await read(connect, path)).text
        assert "Nothing." not in text
        assert "None. Every" not in text


async def test_a_tick_is_told_by_its_age_beside_its_cadence(connect: Connect, status: FakeStatus) -> None:
    assert "6 s ago every 60 s 0 0" in (await read(connect, "/")).text
    assert (
        "Last good 6 s ago , every 60 s , took 0.004 s Next in 54 s" in (await read(connect, "/instances/btc-dca")).text
    )
    late = replace(status.fleet[0].ticks, last_good_at=iso(NOW_S - 73), errors=141, errors_last_hour=3, missed=2)
    status.fleet = [replace(status.fleet[0], ticks=late)]
    async with connect() as client:
        for path in ("/", "/instances/btc-dca"):
            page = (await client.get(path)).text
            assert re.search(r'<time data-age data-late="72.0" class="late"[^>]*>73 s ago</time>', page)
            assert '<b class="bad">3</b> <span class="quiet">of 141</span>' in page
            assert '0 <span class="quiet">of 2</span>' in page
    assert "Last tried 6 s ago" in (await read(connect, "/instances/btc-dca")).text
    never = replace(late, last_good_at=None)
    status.fleet = [replace(status.fleet[0], ticks=never)]
    assert "never every 60 s" in (await read(connect, "/")).text


async def test_what_hangs_promises_nothing_and_says_where(connect: Connect, status: FakeStatus) -> None:
    ready = a_condition("Ready", False, "Stuck", "on_tick has outlived its deadline\n  strategies/dca.py:31 in on_tick")
    ticks = replace(status.fleet[0].ticks, next_at=None)
    status.fleet = [replace(status.fleet[0], health=Health.STUCK, conditions=(ready,), ticks=ticks)]
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Stuck since 10 min ago : no tick can come until that ends. on_tick has outlived" in text
    assert "strategies/dca.py:31 in on_tick" in text
    assert "Next none while it hangs" in text


async def test_what_could_not_be_drawn_again_says_that_it_is_old(connect: Connect, status: FakeStatus) -> None:
    status.drawn = [{"id": "a", "type": "text", "title": "T", "text": "eight"}]
    status.fleet = [replace(status.fleet[0], drawn_at=iso(NOW_S - 300))]
    assert "Drawn by the strategy 5 min ago ." in (await read(connect, "/instances/btc-dca")).text
    ready = a_condition("Ready", True, "RenderFailed", "it ticks, but …")
    status.fleet = [replace(status.fleet[0], conditions=(ready,))]
    async with connect() as client:
        page = (await client.get("/instances/btc-dca")).text
    assert "This is old. It was drawn 5 min ago ; it could not be drawn since." in Reading(page).text
    assert '<span class="pill warn">True</span>' in page


async def test_the_gate_of_what_observes_is_closed_and_no_warning(connect: Connect, status: FakeStatus) -> None:
    async with connect() as client:
        assert '<td data-label="Gate"><span class="quiet">closed</span></td>' in (await client.get("/")).text
        assert '<span class="pill off">False</span>' in (await client.get("/instances/btc-dca")).text
        obstacles = (Obstacle("Mode", ""), Obstacle("Halted", ""), Obstacle("ExecDown", ""))
        status.fleet = [replace(status.fleet[0], mode=Mode.ACTIVE, effective_mode=Mode.ACTIVE, obstacles=obstacles)]
        status.revision_now += 1
        page = (await client.get("/")).text
    assert '<span class="pill bad">closed</span><span class="second">halted</span>' in page
    assert '<span class="second">exec-mcp down</span>' in page


async def test_labels_lead_to_whatever_has_them(connect: Connect, status: FakeStatus) -> None:
    status.fleet = [replace(status.fleet[0], labels={"team": "a b&c"})]
    async with connect() as client:
        for path in ("/", "/instances/btc-dca"):
            page = (await client.get(path)).text
            assert '<a class="label" href="/?label=team%3Da%20b%26c#instances-title">team=a b&amp;c</a>' in page


async def test_what_is_hidden_of_very_many_is_one_click_away(connect: Connect, status: FakeStatus) -> None:
    one = status.fleet[0]
    status.fleet = [replace(one, id=f"p-{n:03}", health=Health.PAUSED) for n in range(60)]
    status.fleet += [replace(one, id=f"v-{n}", sync=Sync.INVALID) for n in range(2)]
    async with connect() as client:
        page = (await client.get("/")).text
    assert "and 12 more instances:" in page
    assert '<a href="/?health=Paused#instances-title">60 Paused</a>' in page
    assert '<a href="/?sync=Invalid#instances-title">2 Invalid</a>' in page
    assert ">0 Degraded<" not in page


async def test_one_is_not_all_ones(connect: Connect, status: FakeStatus) -> None:
    text = (await read(connect, "/instances/btc-dca")).text
    assert "Its one order in the list" in text
    assert "All 1 " not in text
    status.definitions = [replace(status.definitions[0], cadence_steps=1)]
    text = (await read(connect, "/strategies/dca")).text
    assert "Its one instance in the fleet" in text
    assert "1 min 1 beat " in text
    status.engine_now = replace(status.engine_now, beats_lost=1)
    text = (await read(connect, "/")).text
    assert "1 beat lost" in text
    assert "1 instance 0" in text


@pytest.mark.parametrize(
    ("path", "typed", "said"),
    [
        ("/orders?since=yesterday&instance_id=btc-dca", 'name="since" value="yesterday"', "since: expected"),
        ("/orders?outcome=reject", "<option selected>reject</option>", "did you mean rejected?"),
        ("/events?type=warning", "<option selected>warning</option>", "did you mean Warning?"),
        ("/?mode=on&q=btc", 'name="q" value="btc"', "mode: expected one of"),
        ("/orders?limit=0&instance_id=btc-dca", 'name="instance_id" value="btc-dca"', "limit: expected"),
    ],
)
async def test_a_filter_that_makes_no_sense_keeps_the_form_and_what_was_typed(
    connect: Connect, path: str, typed: str, said: str
) -> None:
    async with connect() as client:
        answer = await client.get(path)
    assert answer.status_code == 400
    assert typed in answer.text
    assert said in answer.text.replace("&#39;", "'")
    assert "<form" in answer.text
    assert "matches" not in answer.text
