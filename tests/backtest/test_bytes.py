"""Same data, same seed, same bytes, whatever process, place, zone, locale and number of processes."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.backtest import study
from reconciler.backtest.dataset import look_through
from reconciler.backtest.rows import data_files
from reconciler.backtest.sheet import report
from reconciler.backtest.simulation import NotRunnable, RunPlan, RunResult, independent
from reconciler.backtest.tape import Costs
from reconciler.clock import SystemClock
from reconciler.sources.worktree import Worktree, WorktreeOptions

if TYPE_CHECKING:
    from tests.backtest.conftest import Fleet, Studied

ROOT = Path(__file__).parents[2]
BODY = """
held = self.context.orders.position().quantity
luck = self.context.random.random()
if luck < 0.4: self.context.orders.place("sell" if held else "buy", held or "1")
if luck > 0.9: self.context.orders.place("buy", "1000000")
if luck > 0.96: raise ValueError({"now": luck})
"""
"""By chance it buys and sells, is refused, and fails: all that a report tells of."""


def test_another_process_at_another_place_in_another_zone_writes_the_same_bytes(
    fleet: Fleet, candles: Path, tmp_path: Path
) -> None:
    root = fleet(BODY, "c", "a", "b")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    one = written(root, candles, tmp_path, "1", PYTHONHASHSEED="0", TZ="UTC", LC_ALL="C", COLUMNS="40")
    other = written(
        root, candles, elsewhere, "3", PYTHONHASHSEED="1", TZ="Pacific/Chatham", LC_ALL="tr_TR.UTF-8", COLUMNS="200"
    )
    assert one[0] == other[0], "JSON"
    assert one[1] == other[1], "the report"
    told = json.loads(one[0])
    assert [item["id"] for item in told["items"]] == ["a", "b", "c"]
    assert all(item["fills"] > 10 and item["errors"] for item in told["items"])
    assert all(item["lookahead"]["ok"] for item in told["items"])


MARKETS = ("BTC/USD", "ETH/USD", "ETH/EUR")
SHARED = """
limits:
  - {label: team=a, currency: USD, max_drawdown: "40"}
"""


@pytest.fixture
def quotes(tmp_path: Path) -> Path:
    """Five days of quotes of three markets, by chance that is always the same."""
    luck, prices, lines = random.Random(11), dict.fromkeys(MARKETS, 100.0), ["time,symbol,bid,ask"]
    for half_hour in range(240):
        day, minutes = divmod(half_hour * 30, 1440)
        for market in MARKETS:
            price = prices[market] = max(50.0, prices[market] + luck.uniform(-1, 1))
            at = f"2026-01-{day + 1:02}T{minutes // 60:02}:{minutes % 60:02}:00Z"
            lines.append(f"{at},{market},{price:.2f},{price + 0.05:.2f}")
    path = tmp_path / "quotes.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def wide(fleet: Fleet, settings: str = "", body: str = BODY) -> Path:
    """Six instances: two on one account, two that share a label, all in three markets."""
    root = fleet(body, *"abcdef")
    for id, account, market, label in zip("abcdef", "pqqrst", MARKETS * 2, "--ab-b", strict=True):
        path = root / "instances" / f"{id}.yaml"
        text = path.read_text(encoding="utf-8").replace("account_id: main", f"account_id: {account}")
        text = text.replace("BTC/USD", market) + ("" if label == "-" else f"labels: {{team: {label}}}\n")
        path.write_text(text, encoding="utf-8")
    (root / "reconciler.yaml").write_text(settings, encoding="utf-8")
    return root


def plan_of(root: Path, data: Path) -> RunPlan:
    snapshot = Worktree(root, SystemClock(), WorktreeOptions()).read()
    return RunPlan(root, snapshot, look_through(data_files([data])), {}, Costs(spread=Decimal("0.001")), "7")


def grouped(root: Path, data: Path) -> list[str]:
    return sorted("".join(Path(path).stem for path in paths) for paths in independent(plan_of(root, data)))


def test_what_shares_an_account_a_limit_or_the_volume_of_a_market_stays_together(
    fleet: Fleet, quotes: Path, candles: Path
) -> None:
    assert grouped(wide(fleet), quotes) == ["a", "bc", "d", "e", "f"]
    both = SHARED.replace("team=a", "team=b")
    assert grouped(wide(fleet, both), quotes) == ["a", "bc", "df", "e"]
    everything = SHARED.replace("label: team=a", "all: true")
    assert grouped(wide(fleet, everything), quotes) == ["abcdef"]
    assert grouped(wide(fleet), candles) == ["ad", "bc", "e", "f"], "two take of the candles of BTC/USD"
    assert grouped(wide(fleet, "paper: {markets: {'*': {depth: '5'}}}\n"), quotes) == ["ad", "bcef"]


@pytest.mark.parametrize("settings", ["", SHARED.replace("team=a", "team=b")], ids=["no limits", "a limit over two"])
def test_a_fleet_that_is_split_over_processes_writes_the_same_bytes(
    fleet: Fleet, quotes: Path, studied: Studied, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    root, found = wide(fleet, settings), []
    split: list[int] = []
    together = study._together

    def counted(results: Sequence[RunResult], plans: Sequence[RunPlan]) -> RunResult:
        split.append(len(plans))
        return together(results, plans)

    monkeypatch.setattr(study, "_together", counted)
    for jobs in (1, 4, 7):
        (root / ".reconciler" / "trials.db").unlink(missing_ok=True)
        told = studied(root, [quotes], study.Inquiry(jobs=jobs), seed="7", currencies=("USD", "EUR"))
        found.append((json.dumps(told.to_json()), report(told)))
    assert found[0] == found[1] == found[2]
    assert split == [1, 1, 2, 2, 3, 3], "the run, and the one with costs doubled"
    items = json.loads(found[0][0])["items"]
    assert [item["id"] for item in items] == list("abcdef")
    assert sum(item["fills"] > 3 for item in items) >= 4, "a limit over two keeps one of them from opening anything"
    assert {name: total["max_drawdown"] != "0" for name, total in json.loads(found[0][0])["totals"].items()} == {
        "EUR": True,
        "USD": True,
    }


def test_a_fleet_that_is_split_is_stopped_as_a_whole_and_names_every_problem(
    fleet: Fleet, quotes: Path, studied: Studied
) -> None:
    root = wide(fleet)
    stopped = studied(root, [quotes], study.Inquiry(jobs=4), should_stop=lambda: True)
    assert stopped.result.was_stopped
    assert [one.run.id for one in stopped.instances] == list("abcdef")
    for id in "ae":
        path = root / "instances" / f"{id}.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("config: {}", "config: 5"), encoding="utf-8")
    with pytest.raises(NotRunnable, match=r"(?s)a\.yaml.*e\.yaml"):
        studied(root, [quotes], study.Inquiry(jobs=4))


def written(root: Path, data: Path, folder: Path, jobs: str, **environment: str) -> tuple[bytes, bytes]:
    """JSON and report of a backtest that runs in a process of its own, in `folder`."""
    words = ["--data", os.path.relpath(data, folder), "--to", "2026-01-07", "--spread", "0.001", "--seed", "7"]
    words += ["--jobs", jobs, "--check-lookahead", "--format", "json", "--report", "report.html"]
    done = subprocess.run(
        [sys.executable, "-m", "reconciler", "--root", str(root), "backtest", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr.decode()
    return done.stdout, (folder / "report.html").read_bytes()
