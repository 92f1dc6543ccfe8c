"""Same data, same seed, same bytes, whatever process, place, zone, locale and number of processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.backtest.conftest import Fleet

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
