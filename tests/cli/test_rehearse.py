"""`reconciler try`: a record on the quotes of now, nothing sent, no engine needed."""

from __future__ import annotations

import json
from pathlib import Path

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
        self.context.log.info(f"in {self.context.instance.mode}")
        self.context.orders.place("buy", "1")
        self.context.orders.place("sell", "1", type="limit", limit_price="1000000")
"""
RECORD = """id: draft
strategy_type: tried
account: {{account_id: main, client_id: a}}
market: {market}
mode: active
config: {config}
limits: {{max_position: "1.5"}}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("strategies", "instances"):
        (tmp_path / folder).mkdir()
    (tmp_path / "strategies" / "tried.py").write_text(STRATEGY, encoding="utf-8")
    (tmp_path / "reconciler.yaml").write_text("heartbeat_seconds: 0.1\n", encoding="utf-8")
    return tmp_path


def tried(root: Path, *words: str, config: str = "{}", market: str = "BTC/USD") -> Result:
    draft = root / "draft.yaml"
    draft.write_text(RECORD.format(config=config, market=market), encoding="utf-8")
    return CliRunner().invoke(main, ["--root", str(root), "try", str(draft), *words])


def test_it_takes_an_id_as_well_as_a_file_and_names_the_nearest(root: Path) -> None:
    (root / "instances").mkdir(exist_ok=True)
    record = RECORD.format(config="{}", market="BTC/USD")
    id = next(line for line in record.splitlines() if line.startswith("id:")).removeprefix("id: ")
    (root / "instances" / f"{id}.yaml").write_text(record, encoding="utf-8")

    def asked(word: str) -> Result:
        return CliRunner().invoke(main, ["--root", str(root), "try", word, "--format", "json"])

    for word in (id, str(root / "instances" / id), str(root / "instances" / f"{id}.yaml")):
        assert json.loads(asked(word).stdout)["ticks"] == 1, word
    wrong = asked(f"{id}s")
    assert (wrong.exit_code, f'did you mean "{id}"?' in wrong.stderr) == (2, True)


def test_it_ticks_at_once_in_observe_and_prints_what_its_limits_let_through(root: Path) -> None:
    result = tried(root, "--ticks", "2", "--format", "json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert (found["ticks"], found["errors"]) == (2, 0)
    assert [line["message"] for line in found["log"] if line["message"].startswith("in ")] == ["in observe"] * 2
    states = [(item["side"], item["state"]) for item in found["items"]]
    assert states == [("buy", "filled"), ("sell", "open"), ("buy", "rejected"), ("sell", "open")]
    assert "max_position" in found["items"][2]["reason"]
    assert not (root / ".reconciler").exists(), "nothing is kept"


def test_a_strategy_that_fails_is_exit_code_1_and_a_record_that_is_wrong_2(root: Path) -> None:
    failing = tried(root, config="{fails: true}")
    assert failing.exit_code == 1
    assert "its strategy failed: ValueError: it fails\n" in failing.stderr, "where stands in a line of its own"
    assert "1 tick, 0 orders; simulated, nothing was sent" in failing.stderr
    wrong = tried(root, config="5")
    assert wrong.exit_code == 2
    assert "draft.yaml:6:9: config: expected" in wrong.stderr
