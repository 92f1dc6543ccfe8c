"""A backtest is the engine at simulated time: what it answers, what it counts, and what it catches."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.backtest.simulation import NotRunnable
from reconciler.backtest.study import Inquiry
from reconciler.backtest.tape import Costs
from reconciler.orders.order import OrderState, Outcome, RejectedBy

if TYPE_CHECKING:
    from tests.backtest.conftest import Fleet, Studied


def test_its_json_has_the_shape_that_scripts_rely_on(fleet: Fleet, candles: Path, studied: Studied) -> None:
    found = studied(fleet(), [candles]).to_json()
    assert set(found) == {"data", "assumptions", "trials", "items", "totals"}
    assert set(found["data"]) == {"digest", "from", "to", "gaps"}
    assert (found["data"]["from"], found["data"]["to"]) == ("2026-01-01T00:00:00Z", "2026-01-21T00:00:00Z")
    (item,) = found["items"]
    contract = (
        "id orders fills position realised_profit fees result max_drawdown trades buy_and_hold result_costs_doubled "
        "sharpe deflated_sharpe lookahead holdout equity"
    )
    assert list(item)[: len(contract.split())] == contract.split()
    assert item["lookahead"] is None
    assert item["holdout"] is None
    assert item["orders"] >= item["fills"] > 50
    assert Decimal(item["fees"]) > 0
    assert Decimal(item["result_costs_doubled"]) < Decimal(item["result"])
    assert 2 < len(item["equity"]) <= 2_000
    assert item["equity"][0][0] == "2026-01-01T00:00:00Z"
    assert set(found["totals"]) == {"USD"}
    json.dumps(found, allow_nan=False)


def test_same_data_and_seed_give_the_same_bytes_and_another_seed_others(
    fleet: Fleet, candles: Path, studied: Studied
) -> None:
    root = fleet(TURNS_AND_MORE, "b", "a")
    first, second = (json.dumps(studied(root, [candles], seed="1").to_json()) for _ in range(2))
    assert first == second
    assert json.dumps(studied(root, [candles], seed="2").to_json()) != first
    assert first == json.dumps(studied(root, [candles], Inquiry(jobs=2), seed="1").to_json())


def test_however_many_processes_there_are_the_bytes_are_the_same(
    fleet: Fleet, candles: Path, studied: Studied, tmp_path: Path
) -> None:
    root, found = fleet(TURNS_AND_MORE, "b", "a"), []
    for jobs in (1, 2, 4):
        (tmp_path / ".reconciler" / "trials.db").unlink(missing_ok=True)
        found.append(json.dumps(studied(root, [candles], Inquiry(0.25, True, jobs)).to_json()))
    assert found[0] == found[1] == found[2]


TURNS_AND_MORE = """
held = self.context.orders.position().quantity
if self.context.random.random() < 0.2:
    self.context.orders.place("sell" if held else "buy", held or "1")
"""


def test_a_decision_is_filled_with_the_next_price_and_every_limit_binds(
    fleet: Fleet, candles: Path, studied: Studied
) -> None:
    body = """
if self.ticks == 3: self.seen = self.context.market.candles("1h", 1)[0]
if self.ticks == 3: self.context.orders.place("buy", "1")
if self.ticks == 5: self.context.orders.place("buy", "4")
"""
    root = fleet(body, rest='limits: {max_order_notional: "200"}\n')
    run = studied(root, [candles], costs=Costs()).instances[0].run
    bought, refused = run.orders
    rows = candles.read_text(encoding="utf-8").splitlines()[1:]
    placed = bought.created_at
    (opened,) = [row.split(",") for row in rows if row.startswith(f"{placed:%Y-%m-%dT%H}:00:00Z")]
    assert bought.state is OrderState.FILLED
    assert bought.average_price == Decimal(opened[2]), "the open of the candle that began when it was placed"
    assert (refused.outcome, refused.rejected_by) == (Outcome.REJECTED, RejectedBy.GATEWAY)
    assert "max_order_notional" in refused.reason


def test_who_cannot_see_the_future_places_the_same_orders_without_it(
    fleet: Fleet, candles: Path, studied: Studied
) -> None:
    (one,) = studied(fleet(), [candles], Inquiry(check_lookahead=True)).instances
    assert one.lookahead is not None
    assert one.lookahead.ok
    assert one.lookahead.compared > 50


HONEST = {
    "crossing averages": """
closes = [candle.close for candle in self.context.market.candles("1h", 20)]
held = self.context.orders.position().quantity
if len(closes) == 20 and (sum(closes[-5:]) / 5 > sum(closes) / 20) != bool(held):
    self.context.orders.place("sell" if held else "buy", held or "1")
""",
    "a ladder of limits": """
if not self.context.orders.open():
    bid = self.context.market.quote().bid
    for level in range(1, 4):
        self.context.orders.place("buy", "1", type="limit", limit_price=f"{bid * (1000 - level) / 1000:.2f}")
held = self.context.orders.position().quantity
if held > 3:
    self.context.orders.place("sell", held)
""",
    "a stop below what was bought": """
held = self.context.orders.position()
if not held.quantity and not self.context.orders.open():
    self.context.orders.place("buy", "2")
elif held.quantity and not self.context.orders.open():
    stop = held.average_price * 995 / 1000
    self.context.orders.place("sell", held.quantity, type="stop", stop_price=f"{stop:.2f}")
""",
    "chance that can be repeated": TURNS_AND_MORE,
    "coarser candles, and the clock of the day": """
days = self.context.market.candles("1d", 3)
four = self.context.market.candles("4h", 2)
held = self.context.orders.position().quantity
if days and four and self.context.now().hour % 6 == 0:
    wants = four[-1].close > days[-1].close
    if wants != bool(held):
        self.context.orders.place("sell" if held else "buy", held or "1")
""",
}
READS = "; import pathlib; pathlib.Path('{link}').read_text()"
PEEKING = {
    "the data": "import pathlib; pathlib.Path('{data}').read_text()",
    "the data by another name": "import os; os.path.exists('{link}') or os.symlink('{data}', '{link}')" + READS,
    "the data by a hard link": "import os; os.path.exists('{link}') or os.link('{data}', '{link}')" + READS,
    "a copy of the data": "import shutil; shutil.copy('{data}', '{link}')" + READS,
    "what it left behind when it ran before": """
import sys
seen = sys.__dict__.setdefault("left_{key}", {{}})
hour, price = self.context.now(), self.context.market.quote().bid
later = seen.get(hour.replace(day=hour.day + 1) if hour.day < 18 else hour)
seen[hour] = price
if later is not None and later > price:
    self.context.orders.place("buy", "1")
""",
}


@pytest.mark.parametrize("body", HONEST.values(), ids=HONEST)
def test_an_honest_strategy_raises_no_alarm(fleet: Fleet, candles: Path, studied: Studied, body: str) -> None:
    (one,) = studied(fleet(body), [candles], Inquiry(check_lookahead=True)).instances
    assert one.lookahead is not None
    assert (one.lookahead.ok, one.lookahead.difference) == (True, "")
    assert one.lookahead.compared > 10


@pytest.mark.parametrize("body", PEEKING.values(), ids=PEEKING)
def test_a_strategy_that_peeks_is_caught(
    fleet: Fleet, candles: Path, studied: Studied, tmp_path: Path, body: str
) -> None:
    written = body.format(data=candles, link=tmp_path / "link.dat", key=tmp_path.name)
    (one,) = studied(fleet(written), [candles], Inquiry(check_lookahead=True)).instances
    assert one.lookahead is not None
    assert not one.lookahead.ok


@pytest.mark.parametrize("where", ["init", "import"])
def test_one_that_peeks_before_its_first_tick_is_caught(
    fleet: Fleet, candles: Path, studied: Studied, where: str
) -> None:
    root = fleet("pass")
    path = root / "strategies" / "tried.py"
    reads, text = f'__import__("pathlib").Path("{candles}").read_text()', path.read_text(encoding="utf-8")
    text = (
        f"ROWS = {reads}\n{text}" if where == "import" else text.replace("self.ticks = 0", f"self.ticks = 0; {reads}")
    )
    path.write_text(text, encoding="utf-8")
    (one,) = studied(root, [candles], Inquiry(check_lookahead=True)).instances
    assert one.lookahead is not None
    assert not one.lookahead.ok


def test_what_else_a_strategy_opens_is_told_for_it_may_tell_the_future(
    fleet: Fleet, candles: Path, studied: Studied, tmp_path: Path
) -> None:
    (tmp_path / "model.json").write_text("{}", encoding="utf-8")
    body = f'import json, pathlib; json.loads(pathlib.Path("{tmp_path / "model.json"}").read_text())'
    found = studied(fleet(body), [candles], Inquiry(check_lookahead=True))
    assert found.instances[0].lookahead is not None
    assert found.instances[0].lookahead.ok
    assert any("model.json" in note and "may tell of what came later" in note for note in found.notes)


def test_a_strategy_that_opens_the_data_by_itself_is_told_what_it_opened(
    fleet: Fleet, candles: Path, studied: Studied
) -> None:
    body = f'import pathlib; self.rows = pathlib.Path("{candles}").read_text()'
    (one,) = studied(fleet(body), [candles], Inquiry(check_lookahead=True)).instances
    assert one.lookahead is not None
    assert not one.lookahead.ok
    assert "opened the data by itself" in one.lookahead.difference


def test_a_strategy_whose_orders_hang_on_anything_else_is_caught(fleet: Fleet, candles: Path, studied: Studied) -> None:
    body = 'import secrets; self.context.orders.place("buy", f"0.{secrets.randbelow(10**9) + 1:09d}")'
    (one,) = studied(fleet(body), [candles], Inquiry(check_lookahead=True)).instances
    assert one.lookahead is not None
    assert not one.lookahead.ok
    assert "with what came later" in one.lookahead.difference


def test_every_version_counts_once_and_a_holdout_is_shown_to_each_once(
    fleet: Fleet, candles: Path, studied: Studied
) -> None:
    wanted = Inquiry(holdout=0.25)
    first = studied(fleet(), [candles], wanted)
    assert first.trials == 1
    held = first.instances[0].holdout
    assert held is not None
    assert held.shown is not None
    assert (held.looks, held.to_json()["from"]) == (1, "2026-01-16T00:00:00Z")
    assert first.to_json()["data"]["to"] == "2026-01-16T00:00:00Z", "the run itself does not see it"
    again = studied(fleet(), [candles], wanted).instances[0].holdout
    assert again is not None
    assert (again.shown, again.looks) == (None, 1)
    other = studied(fleet(config="{x: 1}"), [candles], wanted)
    assert other.trials == 2
    held = other.instances[0].holdout
    assert held is not None
    assert held.shown is not None
    assert held.looks == 2


def test_a_strategy_that_fails_is_told_and_so_is_one_that_cannot_be_run(
    fleet: Fleet, candles: Path, studied: Studied
) -> None:
    found = studied(fleet("1 / 0"), [candles])
    (failed,) = found.failed
    assert failed.errors == 5
    assert "ZeroDivisionError" in failed.last_error
    assert any("paused after five failed ticks" in note for note in found.notes)
    with pytest.raises(NotRunnable, match=r"one.yaml:.*config"):
        studied(fleet(config="5"), [candles])


def test_stopped_it_tells_what_there_is(fleet: Fleet, candles: Path, studied: Studied) -> None:
    found = studied(fleet(minutes=0.1, body="pass"), [candles], should_stop=lambda: True)
    assert found.result.was_stopped
    assert found.assumptions()["stopped_at"] == "2026-01-01T00:00:06Z"
    assert found.instances[0].costs_doubled is None
    assert any(note.startswith("it was stopped at") for note in found.notes)


def test_data_of_another_market_are_told_instead_of_a_silent_nothing(
    fleet: Fleet, candles: Path, studied: Studied, tmp_path: Path
) -> None:
    other = tmp_path / "other.csv"
    other.write_text(candles.read_text(encoding="utf-8").replace("BTC/USD", "ETH/USD"), encoding="utf-8")
    found = studied(fleet(), [other])
    assert any("one: no data of BTC/USD, there are those of ETH/USD" in note for note in found.notes)
    assert all(order.outcome is Outcome.REJECTED for order in found.instances[0].run.orders)


def test_beats_at_which_nothing_can_happen_are_jumped_over(fleet: Fleet, candles: Path, studied: Studied) -> None:
    body = 'if self.ticks == 1: self.context.orders.place("buy", "1", type="limit", limit_price="1")'
    found = studied(fleet(body, minutes=1440.0), [candles])
    assert found.instances[0].run.ticks == 20
    assert found.result.beats < 3 * 480, "one for each price that the order waits for, not one each six seconds"


def test_one_account_is_shared_by_its_instances(fleet: Fleet, candles: Path, studied: Studied) -> None:
    body = 'if self.ticks == 2: self.context.orders.place("buy", "60")'
    found = studied(fleet(body, "a", "b"), [candles])
    outcomes = [one.run.orders[0].outcome for one in found.instances]
    assert outcomes == [Outcome.ACCEPTED, Outcome.REJECTED], "there is money for one of them, and a comes first"
    assert replace(found.instances[0].run.holding, cost=None).quantity > 0
