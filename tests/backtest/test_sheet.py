"""The report: one file, readable as it is, with every assumption at its head."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.backtest.sheet import report
from reconciler.backtest.study import Inquiry

if TYPE_CHECKING:
    from tests.backtest.conftest import Fleet, Studied


def test_it_needs_nothing_else_and_says_what_was_assumed_before_any_figure(
    fleet: Fleet, candles: Path, studied: Studied
) -> None:
    found = studied(fleet(), [candles], Inquiry(holdout=0.2, check_lookahead=True))
    text = report(found)
    assert text == report(found)
    assert not re.search(r"<script|<link|https?://|url\(|@import|src=", text)
    head, _, rest = text.partition("In all")
    digest = found.plan.dataset.digest
    for said in ("Spread", "0.001 of the price", "Slippage", "Fees", "at most 0.1 of a candle", digest):
        assert said in head
    for name in ("Equity", "Drawdown", "Exposure", "Price and trades"):
        assert f"<h3>{name}</h3>" in rest
    assert rest.count("<svg") == 4
    assert "Look-ahead: with the future cut off" in rest
    assert "looked at it so far" in rest
    assert "What the most money that it ever had in the market would have made" in rest
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_what_others_wrote_does_nothing_in_it(fleet: Fleet, candles: Path, studied: Studied) -> None:
    found = studied(fleet(), [candles])
    attack = "<script>alert(1)</script>"
    (one,) = found.instances
    run = replace(one.run, last_error=attack, strategy_type=attack)
    text = report(replace(found, notes=(attack,), instances=(replace(one, run=run),)))
    assert "<script" not in text


def test_a_run_without_a_price_or_a_trade_has_a_report_too(
    fleet: Fleet, candles: Path, studied: Studied, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(candles.read_text(encoding="utf-8").replace("BTC/USD", "ETH/USD"), encoding="utf-8")
    text = report(studied(fleet("pass"), [other]))
    assert "no data of BTC/USD" in text
    assert "<svg" not in text
