"""The report of a backtest, in a browser: by day and by night, on a phone, a desk and paper, without script."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.backtest.sheet import report
from reconciler.backtest.study import Inquiry
from tests.backtest.conftest import candles, fleet, studied  # noqa: F401
from tests.browser.test_looks import CUT, at, violations

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.backtest.conftest import Fleet, Studied


def test_it_can_be_read_by_everybody_wherever(
    browser: Browser,
    axe: str,
    fleet: Fleet,  # noqa: F811
    candles: Path,  # noqa: F811
    studied: Studied,  # noqa: F811
    tmp_path: Path,
) -> None:
    root = fleet("pass", "a-name-that-is-as-long-as-names-of-instances-may-well-be", "b")
    body = (root / "strategies" / "tried.py").read_text(encoding="utf-8")
    turns = """held = self.context.orders.position().quantity
        self.context.orders.place("sell" if held else "buy", held or "1")"""
    (root / "strategies" / "tried.py").write_text(body.replace("pass", turns), encoding="utf-8")
    path = tmp_path / "report.html"
    path.write_text(report(studied(root, [candles], Inquiry(0.2, check_lookahead=True))), encoding="utf-8")
    with browser.new_context(java_script_enabled=True) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        for width, scheme in ((390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")):
            at(page, width, scheme)
            assert page.evaluate(CUT) == []
            if (width, scheme) in ((390, "light"), (1440, "dark")):  # what it finds hangs on one or the other
                assert violations(page, axe) == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1000})  # A4 within its margins
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut on paper"
        assert page.pdf(format="A4").startswith(b"%PDF")
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        assert page.locator("svg[role=img]").count() == 8
        assert page.locator("main h2").first.inner_text() == "What was assumed"
