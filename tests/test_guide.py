"""The author's guide: every example of it is executed, files as files and the rest as lines of a hook."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

import reconciler.strategy
from reconciler.strategy import Strategy
from reconciler.strategy.testing import FakeContext, load_strategy, run

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8").partition("<!-- reference")[0]
BLOCKS = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
FILE = re.compile(r"# ((?:strategies/|tests/|)[a-z_]+\.py)\n")
FILES = {match[1]: block for block in BLOCKS if (match := FILE.match(block))}
WAY = GUIDE.partition("## From the idea to the market\n")[2].partition("\n## ")[0]
"""The whole way: what is typed, in its order, a record, and what a backtest prints."""
LINES = "\n".join(block for block in BLOCKS if not FILE.match(block))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True, check=False)


def test_the_guide_has_files_and_lines() -> None:
    assert set(FILES) == {
        *("strategies/breakout.py", "tests/test_breakout.py", "tests/test_stop.py"),
        *("debug.py", "minutes.py"),
    }
    assert len(BLOCKS) > len(FILES) + 8


def test_its_strategy_passes_its_tests(folder: Path) -> None:
    done = python(folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_one_tick_can_be_debugged_as_it_says(folder: Path) -> None:
    done = python(folder, "debug.py")
    assert done.returncode == 0, done.stderr
    assert "for a price above the high" not in done.stdout
    line = re.search(r"b strategies/breakout\.py:([0-9]+)", GUIDE)
    assert line is not None
    text = (folder / "strategies" / "breakout.py").read_text(encoding="utf-8").splitlines()[int(line[1]) - 1]
    assert text.strip().startswith("candles = self.context.market.candles("), "a line at which a tick begins"


def test_the_whole_way_from_the_idea_to_the_market_can_be_typed(folder: Path) -> None:
    (record,) = re.findall(r"```yaml\n# (instances/\S+)\n(.*?)```", WAY, re.DOTALL)
    (folder / record[0]).parent.mkdir()
    (folder / record[0]).write_text(record[1], encoding="utf-8")
    typed(folder, "git init -q -b main")
    tried, tested, observed, raised = (typed(folder, lines) for lines in re.findall(r"```sh\n(.*?)```", WAY, re.DOTALL))
    assert "1 file, all valid" in tried.stderr
    (printed,) = re.findall(r"```text\n(.*?)```", WAY, re.DOTALL)
    assert [line.rstrip() for line in tested.stdout.splitlines()] == printed.splitlines()
    assert "orders are the same with the future cut off" in tested.stderr
    assert "<h1>Backtest</h1>" in (folder / "breakout.html").read_text(encoding="utf-8")
    assert "mode off → observe" in observed.stdout
    assert "STARTS TO TRADE" in raised.stdout
    assert re.search("^mode: +active", raised.stdout, re.MULTILINE)


def typed(folder: Path, lines: str) -> subprocess.CompletedProcess[str]:
    """What somebody who has just installed the engine gets to see."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "RECONCILER_"))}
    (folder / ".gitconfig").write_text("[user]\n\tname = Ann\n\temail = ann@desk.example\n", encoding="utf-8")
    environ = {**kept, "HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"}
    environ |= {"GIT_CONFIG_NOSYSTEM": "1", "RECONCILER_DASHBOARD_PORT": "0", "COLUMNS": "100"}
    done = subprocess.run(("bash", "-euc", lines), cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{lines}{done.stdout}{done.stderr}"
    return done


class Lines(Strategy):
    """Runs the guide's lines one after the other, as one hook."""

    TICK_MINUTES = 1.0
    CONFIG_SCHEMA: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {"levels": {"type": "integer", "default": 5}},
    }

    def on_tick(self) -> None:
        names = {name: getattr(reconciler.strategy, name) for name in reconciler.strategy.__all__}
        self.said = {
            **names,
            "self": self,
            "candles_chart": reconciler.strategy.candles,
            "Decimal": __import__("decimal").Decimal,
        }
        exec(compile(LINES, "docs/strategies.md", "exec"), self.said)

    def render(self) -> list[dict[str, Any]]:
        return [*self.said["widgets"], self.said["shown"]]


def test_its_lines_run_in_a_hook_and_its_widgets_are_right() -> None:
    context = FakeContext(market="BTC/USD", mode="active")
    context.market.set_quote("100", "100.5")
    for timeframe in ("1m", "5m"):
        context.market.set_closes(timeframe, [str(99 + step % 3) for step in range(50)])
    instance = run(Lines, {}, context)
    instance.tick()
    assert [order.type for order in context.orders.all()] == ["limit", "market"]
    assert len(instance.widgets) == 11
    assert 0 < instance.strategy.said["rsi"] < 100
    assert 0 < instance.strategy.said["strength"] < 100


def test_every_widget_and_every_part_of_the_context_is_in_the_guide() -> None:
    for name in reconciler.strategy.__all__:
        assert re.search(rf"\b{name}\b", (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")), name
    assert load_strategy is not None
