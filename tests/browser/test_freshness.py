"""How old a page is: told by the browser's own clock, whatever the reader does and whatever the engine does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page

from reconciler.dashboard.guard import DashboardOptions
from tests.browser.conftest import PATIENCE_MS
from tests.dashboard.conftest import ACCOUNTS, an_instance

if TYPE_CHECKING:
    from tests.browser.conftest import Engine, Open

BEAT_MS = 6_000
CONTACT = "document.documentElement.dataset.contact"


def focus(page: Page) -> None:
    page.locator("input[name=q]").fill("half-ty")


def select(page: Page) -> None:
    page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")


def scroll(page: Page) -> None:
    page.evaluate("scrollTo(0, document.body.scrollHeight)")


def nothing(page: Page) -> None:
    """Only looks."""


DOING = [nothing, focus, select, scroll]


def is_in_view(page: Page, what: str) -> bool:
    box = page.locator(what).bounding_box()
    size = page.viewport_size
    return box is not None and size is not None and 0 <= box["y"] <= box["y"] + box["height"] <= size["height"]


def wait_for(page: Page, condition: str) -> None:
    """Until it is true. Playwright's own way of it needs what our Content-Security-Policy forbids."""
    for _ in range(PATIENCE_MS // 25):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"never true: {condition}; the page says {page.locator('body').inner_text()[:400]}")


@pytest.mark.parametrize("doing", DOING, ids=lambda one: one.__name__)
@pytest.mark.parametrize("fate", ["die", "freeze"])
def test_an_engine_that_is_gone_is_told_within_two_beats(
    engine: Engine, open_page: Open, doing: object, fate: str
) -> None:
    engine.status.fleet = [an_instance(f"i-{number:03}") for number in range(60)]
    page = open_page(engine.url)
    wait_for(page, f"{CONTACT} === 'live'")
    doing(page)  # type: ignore[operator]
    getattr(engine, fate)()
    page.clock.run_for(2 * BEAT_MS + 1_000)
    wait_for(page, f"{CONTACT} === 'none'")
    assert page.title().startswith("STALE · Fleet")
    assert page.locator("#contact").inner_text() == "STALE"
    assert page.locator("#stale").inner_text().startswith("The engine ")
    assert page.locator("#beat").inner_text() == "Not known"
    assert is_in_view(page, "#stale")
    before = page.locator("#age").inner_text()
    page.clock.run_for(3_000)
    assert page.locator("#age").inner_text() != before


def test_grey_comes_before_red_and_both_go_when_the_engine_is_back(engine: Engine, open_page: Open) -> None:
    page = open_page(engine.url)
    wait_for(page, f"{CONTACT} === 'live'")
    page.evaluate(
        """() => {
            const root = document.documentElement;
            window.seen = [];
            new MutationObserver(() => window.seen.push(root.dataset.contact)).observe(root, {attributes: true});
        }"""
    )
    engine.die()
    for _ in range(14):
        page.clock.run_for(1_000)
    wait_for(page, f"{CONTACT} === 'none'")
    assert page.evaluate("window.seen") == ["late", "none"]
    engine.start()
    page.clock.run_for(BEAT_MS)
    wait_for(page, f"{CONTACT} === 'live'")
    assert page.title() == "Fleet · reconciler"
    assert page.locator("#stale").is_hidden()


def test_what_is_named_twice_is_shown_twice(engine: Engine, open_page: Open) -> None:
    """Two rows of one subject, each of which says something else after the refresh."""
    engine.status.differing = [{"account_id": "main", "difference": f"old {one}", "at": ""} for one in ("x", "y")]
    page = open_page(engine.url)
    wait_for(page, f"{CONTACT} === 'live'")
    engine.status.differing = [{"account_id": "main", "difference": f"new {one}", "at": ""} for one in ("x", "y")]
    engine.status.revision_now += 1
    engine.clock.advance(7)
    page.clock.run_for(BEAT_MS + 1_000)
    page.locator("text=new x").wait_for()
    assert page.locator(".attention li").count() == 2
    assert page.locator("text=new y").count() == 1


def test_every_question_ends(engine: Engine, open_page: Open) -> None:
    """One that is never answered is given up, and the next one asked, in real time: no clock of a test reaches that."""
    engine.status.engine_now = replace(engine.status.engine_now, heartbeat_s=1.0)
    page = open_page(engine.url)
    engine.freeze()
    page.clock.run_for(2_000)
    wait_for(page, f"{CONTACT} === 'none'")
    wait_for(page, "document.getElementById('stale').textContent.startsWith('The engine does not answer.')")
    engine.thaw()
    page.clock.run_for(2_000)
    wait_for(page, f"{CONTACT} === 'live'")


def test_who_is_signed_out_is_told_so_and_led_to_signing_in(engine: Engine, open_page: Open) -> None:
    secret = "a token of thirty-two characters."
    engine.die()
    again = type(engine)(options=DashboardOptions(token=secret, accounts=ACCOUNTS))
    again.start()
    try:
        page = open_page(again.url, extra_http_headers={"authorization": f"Bearer {secret}"})
        wait_for(page, f"{CONTACT} === 'live'")
        page.context.set_extra_http_headers({})
        page.set_extra_http_headers({})
        page.clock.run_for(BEAT_MS + 1_000)
        wait_for(page, f"{CONTACT} === 'none'")
        assert page.title().startswith("STALE · ")
        assert page.locator("#stale").inner_text().startswith("Signed out. What you see is as of")
        assert page.locator("#stale a").get_attribute("href") == "/login"
    finally:
        again.die()


def test_an_instance_that_went_is_told_to_be_gone(engine: Engine, open_page: Open) -> None:
    page = open_page(f"{engine.url}/instances/btc-dca")
    engine.status.fleet = []
    page.clock.run_for(BEAT_MS + 1_000)
    wait_for(page, f"{CONTACT} === 'none'")
    assert "not there any more" in page.locator("#stale").inner_text()


def test_what_is_new_comes_though_somebody_types_and_what_is_typed_stays(engine: Engine, open_page: Open) -> None:
    page = open_page(engine.url)
    page.locator("select[name=mode]").select_option("active")
    focus(page)
    engine.status.fleet = [an_instance("a-new"), *engine.status.fleet]
    engine.clock.advance(7)
    page.clock.run_for(BEAT_MS + 1_000)
    page.locator("text=a-new").wait_for()
    assert page.evaluate("document.activeElement.name") == "q"
    assert page.locator("input[name=q]").input_value() == "half-ty"
    assert page.locator("select[name=mode]").input_value() == "active"


def test_focus_details_and_scroll_stay_where_they_are(engine: Engine, open_page: Open) -> None:
    engine.status.lines = [{"at": "2026-01-01T00:00:00Z", "level": "info", "message": f"line {n}"} for n in range(200)]
    page = open_page(f"{engine.url}/instances/btc-dca")
    page.evaluate("document.querySelector('ol.log').scrollTop = 120")
    page.locator("a[href='/strategies/dca']").last.focus()
    page.evaluate("document.activeElement.mine = true")
    engine.status.fleet = [replace(engine.status.fleet[0], description="something else")]
    engine.clock.advance(7)
    page.clock.run_for(BEAT_MS + 1_000)
    page.locator("text=something else").wait_for()
    assert page.evaluate("document.activeElement.mine")
    assert page.evaluate("document.querySelector('ol.log').scrollTop") == 120


def test_selected_text_holds_what_is_new_back_and_says_so_until_it_is_let_go(engine: Engine, open_page: Open) -> None:
    page = open_page(engine.url)
    wait_for(page, f"{CONTACT} === 'live'")
    select(page)
    engine.status.fleet = [an_instance("a-new")]
    engine.clock.advance(14)
    page.clock.run_for(BEAT_MS + 1_000)
    wait_for(page, "!document.getElementById('held').hidden")
    assert page.locator("text=a-new").count() == 0
    wait_for(page, f"{CONTACT} === 'live'")
    page.evaluate("getSelection().removeAllRanges()")
    page.clock.run_for(1_000)
    page.locator("text=a-new").wait_for()
    assert page.locator("#held").is_hidden()


def test_a_page_on_which_nothing_changed_costs_a_304_and_is_as_of_now(engine: Engine, open_page: Open) -> None:
    page = open_page(f"{engine.url}/instances/btc-dca")
    for second in ("06", "12", "18"):
        engine.clock.advance(6)
        page.clock.run_for(BEAT_MS)
        wait_for(page, f"document.getElementById('asof').textContent.endsWith('00:00:{second}')")
    assert [status for path, status in engine.answered if path == "/instances/btc-dca"][-2:] == [304, 304]


def test_times_are_told_in_the_readers_zone_with_utc_at_hand(engine: Engine, open_page: Open) -> None:
    page = open_page(engine.url, timezone_id="Asia/Kolkata")
    wait_for(page, "document.getElementById('asof').textContent === '05:30:00'")
    assert page.locator("#asof").get_attribute("title") == (
        "2026-01-01 05:30:00 Asia/Calcutta · 2026-01-01 00:00:00 UTC"
    )
    assert page.locator("#zone").inner_text() == "Asia/Calcutta time, UTC on hover"


def test_a_tab_in_the_background_cries_no_wolf_when_it_is_woken_and_tells_of_one_that_is_there(
    engine: Engine, open_page: Open
) -> None:
    """Browsers wake such tabs once a minute, or later; and the browser's clock is months from the engine's here."""
    page = open_page(engine.url)
    wait_for(page, f"{CONTACT} === 'live'")
    page.evaluate("Object.defineProperty(document, 'hidden', { get: () => true })")
    said = page.evaluate_handle(
        "() => { const said = []; new MutationObserver(() => said.push(document.title))"
        ".observe(document.querySelector('title'), { childList: true }); return said }"
    )
    for minutes in (5, 10):
        engine.clock.advance(300)
        page.clock.fast_forward(300_000)
        wait_for(page, f"document.getElementById('asof').textContent.endsWith('00:{minutes:02}:00')")
    assert page.evaluate(CONTACT) == "live"
    assert said.json_value() == []
    engine.die()
    page.clock.fast_forward(60_000)
    wait_for(page, "document.title.startsWith('STALE')")
