"""What every page looks like, at every width, in both colour schemes, on paper: nothing cut, nobody kept out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page

from reconciler.dashboard.guard import DashboardOptions
from tests.browser.conftest import Engine
from tests.browser.days import a_calm_day, a_hard_day

if TYPE_CHECKING:
    from tests.browser.conftest import Open

WIDTHS = (320, 390, 820, 1101, 1280, 1920)
ACCESSIBLE = ((320, "light"), (820, "dark"), (1280, "light"))
"""Cards, cards beside each other, tables: whatever else is between them is laid out as one of them."""
PAGES = (
    "/",
    "/?limit=none",
    "/instances/live-doubt",
    "/instances/undrawn",
    "/instances/gone",
    "/strategies",
    "/strategies/grid",
    "/problems",
    "/orders",
    "/orders/x1",
    "/events",
    "/limits",
    "/source",
    "/nothing",
)
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# What scrolls, and can be scrolled by keyboard, is not cut.
CUT = """() => [...document.querySelectorAll('body *')].filter((one) => {
    const box = one.getBoundingClientRect(), style = getComputedStyle(one);
    if (box.width === 0 || one.closest('.skip, .hidden, thead, .symbols, svg, input, [tabindex="0"]')) return false;
    const isClipped = style.overflowX !== 'visible' && style.textOverflow !== 'ellipsis' && one.clientWidth > 0;
    return box.right > innerWidth + 1 || (isClipped && one.scrollWidth > one.clientWidth + 1);
}).map((one) => `${one.tagName}.${one.className} ${one.textContent.slice(0, 40)}`)"""
AXE = """async (tags) => {
    const found = await axe.run(document, {runOnly: tags, resultTypes: ['violations']});
    const told = (node) => node.target.join(' ') + ': ' + node.failureSummary;
    return found.violations.map((one) => [one.id, one.nodes.slice(0, 3).map(told).join(' | ')]);
}"""


@pytest.fixture(scope="module")
def hard_day() -> Iterator[Engine]:
    engine = Engine()
    a_hard_day(engine)
    engine.start()
    yield engine
    engine.die()


def at(page: Page, width: int, scheme: str = "light") -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]


def violations(page: Page, axe: str) -> Any:
    if not page.evaluate("'axe' in window"):
        page.evaluate(axe)
    return page.evaluate(AXE, TAGS)


@pytest.mark.parametrize("path", PAGES)
def test_nothing_is_cut_and_nobody_is_kept_out(hard_day: Engine, open_page: Open, axe: str, path: str) -> None:
    page = open_page(hard_day.url + path)
    cut = {}
    for width in WIDTHS:
        at(page, width)
        cut[width] = page.evaluate(CUT)
    assert {width: found for width, found in cut.items() if found} == {}
    kept_out = {}
    for width, scheme in ACCESSIBLE:
        at(page, width, scheme)
        kept_out[width, scheme] = violations(page, axe)
    assert {state: found for state, found in kept_out.items() if found} == {}


def test_a_dead_engine_a_calm_one_and_a_door_keep_nobody_out_either(engine: Engine, open_page: Open, axe: str) -> None:
    a_calm_day(engine)
    page = open_page(engine.url)
    at(page, 390, "dark")
    assert violations(page, axe) == []
    door = Engine(options=DashboardOptions(token="x" * 32))
    door.start()
    try:
        entrance = open_page(f"{door.url}/login")
        at(entrance, 320)
        assert violations(entrance, axe) == []
    finally:
        door.die()
    engine.die()
    page.clock.run_for(13_000)
    assert page.title().startswith("STALE")
    for width, scheme in ((390, "light"), (1280, "dark")):
        at(page, width, scheme)
        assert violations(page, axe) == []
        assert page.evaluate(CUT) == []


def test_active_on_real_money_stands_out_without_colours_and_on_paper(hard_day: Engine, open_page: Open) -> None:
    page = open_page(hard_day.url, color_scheme="dark")
    look = """(one) => { const style = getComputedStyle(one); return [style.outlineStyle, style.borderTopStyle,
        one.querySelector('svg').getBoundingClientRect().width > 0, one.textContent] }"""
    for media in ({"forced_colors": "active"}, {"forced_colors": "none", "media": "print"}):
        page.emulate_media(**media)  # type: ignore[arg-type]
        told = page.locator("tr.live .pill.live").first.evaluate(look)
        assert told == ["solid", "solid", True, "active on real money"], media
        edge = page.locator("tr.live > th").first.evaluate("(one) => getComputedStyle(one).borderLeftWidth")
        assert edge == "4px", media


def test_paper_is_light_and_nothing_is_lost_on_it(hard_day: Engine, open_page: Open) -> None:
    page = open_page(f"{hard_day.url}/strategies/grid", color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    page.set_viewport_size({"width": 718, "height": 1000})  # A4, at the usual margins
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (ink, paper) == ("rgb(22, 25, 29)", "rgb(255, 255, 255)")
    assert page.evaluate(CUT) == []
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#schema pre").is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#schema").get_attribute("open") is None


def test_a_page_reads_without_a_script(hard_day: Engine, open_page: Open) -> None:
    page = open_page(hard_day.url, java_script_enabled=False)
    text = page.locator("body").inner_text()
    assert "as of 2026-01-01 00:00:00Z" in text
    assert "3 s ago" in text
    assert "Live" not in text.split("Fleet")[0]
