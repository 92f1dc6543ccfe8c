"""`reconciler backtest`: exit codes, what is told first, and which records it takes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from reconciler.cli import main

STRATEGY = """
from reconciler.strategy import Strategy

class Tried(Strategy):
    TICK_MINUTES = 60.0
    CONFIG_SCHEMA = {"type": "object"}

    def on_tick(self):
        if "fails" in self.config:
            raise ValueError("it fails")
        while "hangs" in self.config:
            pass
        if not self.context.orders.recent():
            self.context.orders.place("buy", "1")
"""
RECORD = """id: {id}
strategy_type: tried
account: {{account_id: main, client_id: a}}
market: BTC/USD
mode: "off"
config: {config}
"""
ROWS = "time,symbol,open,high,low,close,volume\n" + "".join(
    f"2026-01-05T{hour:02}:00:00Z,BTC/USD,{100 + hour},{101 + hour},{99 + hour},{100 + hour},50\n" for hour in range(20)
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("strategies", "instances"):
        (tmp_path / folder).mkdir()
    (tmp_path / "strategies" / "tried.py").write_text(STRATEGY, encoding="utf-8")
    for id, config in (("one", "{}"), ("two", "{}"), ("bad", "{fails: true}")):
        (tmp_path / "instances" / f"{id}.yaml").write_text(RECORD.format(id=id, config=config), encoding="utf-8")
    (tmp_path / "data.csv").write_text(ROWS, encoding="utf-8")
    return tmp_path


def asked(root: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--root", str(root), "backtest", *words, "--data", str(root / "data.csv")])


def test_one_record_or_some_are_chosen_by_id_or_by_file_and_a_report_is_written(root: Path) -> None:
    draft = root / "draft.yaml"
    draft.write_text(RECORD.format(id="draft", config="{}"), encoding="utf-8")
    words = ["one", str(draft), "--spread", "0.001", "--format", "json", "--report", str(root / "r.html")]
    result = asked(root, *words)
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    assert [item["id"] for item in found["items"]] == ["draft", "one"]
    assert all(item["fills"] == 1 for item in found["items"])
    assert "BTC/USD: 20 candles, 1h apart, 2026-01-05T00:00:00Z to 2026-01-05T19:00:00Z" in result.stderr
    assert "<h1>Backtest</h1>" in (root / "r.html").read_text(encoding="utf-8")
    assert (root / ".reconciler" / "trials.db").exists()


def test_a_table_sums_up_what_is_of_one_currency(root: Path) -> None:
    result = asked(root, "one", "two", "--spread", "0", "--balance", "USD=500")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["INSTANCE", "one", "two", "all"]


def test_a_strategy_that_failed_is_exit_code_1(root: Path) -> None:
    result = asked(root, "--spread", "0")
    assert result.exit_code == 1
    assert "bad: its strategy failed 5 times; the last: ValueError: it fails" in result.stderr


def test_a_hook_that_never_ends_ends_the_backtest_with_exit_code_1_and_its_name(root: Path) -> None:
    (root / "reconciler.yaml").write_text("runtime: {tick_deadline_seconds: 0.2}\n", encoding="utf-8")
    (root / "instances" / "hung.yaml").write_text(RECORD.format(id="hung", config="{hangs: true}"), encoding="utf-8")
    result = asked(root, "hung", "--spread", "0", "--format", "json")
    assert result.exit_code == 1, result.stderr
    named = "hung: on_tick did not end within 0.2 s, at strategies/tried.py:"
    assert named in result.stderr
    told = json.loads(result.stdout)["assumptions"]
    assert any(note.startswith(named) for note in told["notes"])
    assert told["stopped_at"] == "2026-01-05T01:00:00Z"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["one"], "--spread: expected one, for these data have no bid and ask"),
        (["onee", "--spread", "0"], 'onee: expected the id of an instance, or a file.yaml; did you mean "one"?'),
        (["missing.yaml", "--spread", "0"], "missing.yaml: expected a record to read, was refused"),
        (["one", "--spread", "0", "--from", "2026-02-01"], "--from: expected a time before the end of the data"),
        (["one", "--spread", "0", "--to", "2025-02-01"], "expected rows of BTC/USD of data before --to, found none"),
    ],
)
def test_what_cannot_run_is_exit_code_2_and_says_why(root: Path, words: list[str], told: str) -> None:
    result = asked(root, *words)
    assert result.exit_code == 2
    assert told in result.stderr


def test_a_share_is_traded_where_the_settings_say_what_it_is_priced_in(root: Path) -> None:
    (root / "data.csv").write_text(ROWS.replace("BTC/USD", "AAPL"), encoding="utf-8")
    (root / "instances" / "share.yaml").write_text(
        RECORD.format(id="share", config="{}").replace("BTC/USD", "AAPL"), encoding="utf-8"
    )
    result = asked(root, "share", "--spread", "0")
    assert result.exit_code == 2
    assert "share.yaml: market: expected to know what prices of AAPL are in, was told nowhere" in result.stderr
    assert "(name it in the settings, at account main: `markets: {AAPL: USD}`)" in result.stderr
    settings = "exec_mcp: {p: {transport: {kind: paper}, accounts: {main: {money: paper, markets: {AAPL: USD}}}}}\n"
    (root / "reconciler.yaml").write_text(settings, encoding="utf-8")
    result = asked(root, "share", "--spread", "0", "--format", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    (item,) = found["items"]
    assert (item["currency"], item["position"]["symbol"], item["position"]["quantity"]) == ("USD", "AAPL", "1")
    # Bought at the open of the second hour, 101, and worth the last close, 119; a fee of a thousandth.
    assert item["result"] == "17.899"
    assert list(found["totals"]) == ["USD"]


def test_what_there_are_no_data_of_is_told_before_it_runs(root: Path) -> None:
    (root / "instances" / "other.yaml").write_text(
        RECORD.format(id="other", config="{}").replace("BTC/USD", "ETH/USD"), encoding="utf-8"
    )
    result = asked(root, "one", "other", "--spread", "0")
    assert "ETH/USD: there are no data of it: nobody is told a price" in result.stderr


def test_bad_rows_are_told_with_their_lines_before_anything_runs(root: Path) -> None:
    (root / "data.csv").write_text(ROWS + "2026-01-05T20:00:00Z,BTC/USD,1,0,1,1,1\n", encoding="utf-8")
    result = asked(root, "one", "--spread", "0")
    assert result.exit_code == 2
    assert "data.csv:22:4: high: expected a positive number in plain digits, was '0'" in result.stderr
    assert not (root / ".reconciler" / "trials.db").exists()


SLOW = """
import pathlib, time
from reconciler.strategy import Strategy

class Slow(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object"}

    def on_tick(self):
        pathlib.Path(self.config["path"]).touch()
        time.sleep(0.05)
"""


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_ctrl_c_tells_what_there_is_with_exit_code_2(root: Path, jobs: str) -> None:
    (root / "strategies" / "slow.py").write_text(SLOW, encoding="utf-8")
    record = RECORD.format(id="slow", config=f"{{path: '{root / 'ticks'}'}}").replace("tried", "slow")
    (root / "instances" / "slow.yaml").write_text(record, encoding="utf-8")
    words = ["backtest", "slow", "--data", str(root / "data.csv"), "--spread", "0", "--format", "json"]
    words += ["--jobs", jobs, "--check-lookahead", "--holdout", "0.2", "--report", str(root / "r.html")]
    with subprocess.Popen(
        [sys.executable, "-m", "reconciler", "--root", str(root), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        while not (root / "ticks").exists():
            assert process.poll() is None, process.communicate()
        os.killpg(process.pid, signal.SIGINT)
        told, said = process.communicate(timeout=120)
    assert process.returncode == 2, said
    assert "stopping: what there is by now is told" in said
    assert "Traceback" not in said
    found = json.loads(told)
    assert found["assumptions"]["stopped_at"] < "2026-01-05T16:00:00Z"
    assert any(note.startswith("it was stopped at") for note in found["assumptions"]["notes"])
    (item,) = found["items"]
    assert item["result_costs_doubled"] is item["lookahead"] is item["holdout"] is None
    assert "it was stopped at" in (root / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", [["--balance", "500"], ["--spread", "1.5"], ["--max-volume", "-1"]])
def test_an_option_that_makes_no_sense_is_refused(root: Path, word: list[str]) -> None:
    assert asked(root, "one", *word).exit_code == 2


def test_a_file_that_is_not_there_is_named_and_what_was_asked_for_is_told(root: Path) -> None:
    missing = CliRunner().invoke(main, ["--root", str(root), "backtest", "one", "--data", "gone.csv"])
    assert missing.exit_code == 2
    assert "gone.csv: expected a file of recorded prices to read, was: No such file or directory" in missing.stderr
    words = ["one", "--spread", "0.001", "--holdout", "0.25", "--check-lookahead"]
    first, again = asked(root, *words), asked(root, *words)
    assert "one: 2 orders are the same with the future cut off" in first.stderr
    assert "one: held out from 2026-01-05T15:00:00Z: 2.77 USD; looks at it so far: 1" in first.stderr
    assert "one: held out from 2026-01-05T15:00:00Z: this version was shown it before; looks so far: 1" in again.stderr
    short = asked(root, *words[:3], "--check-lookahead", "--from", "2026-01-05T19:00:00Z")
    assert "one: it asked for no order before the data were cut off: whether it looks ahead" in short.stderr
    failed = asked(root, "bad", "--spread", "0.001")
    assert "the last: ValueError: it fails; strategies/tried.py:" in failed.stderr
