from __future__ import annotations

import ast
import textwrap
import threading
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import reconciler.strategy.testing as fakes
from reconciler.strategy import Order, Strategy, TradingClosed, metric
from reconciler.strategy.testing import FakeContext, load_strategy, run

ROOT = Path(__file__).parents[3]


class Buyer(Strategy):
    """Does what its config says, at every chance."""

    TICK_MINUTES = 1
    CONFIG_SCHEMA = {
        "type": "object",
        "properties": {
            "quantity": {"default": "1"},
            "in_hook": {"type": "string", "default": "on_tick"},
            "token": {"type": "string", "writeOnly": True},
            "nested": {"type": "object", "default": {"list": [1]}},
        },
    }

    def init(self) -> None:
        self.ticks = 0
        self.buy_in("init")

    def on_tick(self) -> None:
        self.ticks += 1
        self.buy_in("on_tick")
        if self.config["in_hook"] == "thread":
            self.error: Exception | None = None
            thread = threading.Thread(target=self.buy_elsewhere)
            thread.start()
            thread.join()

    def render(self) -> Sequence[dict[str, Any]]:
        self.buy_in("render")
        return [metric("ticks", "Ticks", self.ticks)]

    def on_unload(self) -> None:
        self.buy_in("on_unload")

    def buy_in(self, hook: str) -> None:
        if self.config["in_hook"] == hook:
            self.context.orders.place("buy", self.config["quantity"])

    def buy_elsewhere(self) -> None:
        try:
            self.context.orders.place("buy", "1")
        except TradingClosed as error:
            self.error = error


def test_the_example_in_the_documentation_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    source = textwrap.dedent((fakes.__doc__ or "").split("\n\n", 1)[1].split("\n\nThe fakes refuse")[0])
    names: dict[str, Any] = {"Decimal": Decimal}
    exec(compile(ast.parse(source), "the documentation", "exec"), names)
    names["test_it_buys_once_an_hour"]()


def test_a_tick_runs_on_tick_and_checks_what_is_rendered() -> None:
    buyer = run(Buyer)
    assert buyer.widgets == ()
    assert buyer.tick()[0]["value"] == "1"
    assert buyer.widget("ticks")["value"] == "1"
    assert len(buyer.context.orders.all()) == 1


def test_widgets_of_a_wrong_shape_fail_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    buyer = run(Buyer)
    monkeypatch.setattr(buyer.strategy, "render", lambda: [{"type": "html"}])
    with pytest.raises(ValueError, match="widget 1: expected one of the types"):
        buyer.tick()


def test_only_on_tick_may_place() -> None:
    with pytest.raises(TradingClosed):
        run(Buyer, {"in_hook": "init"})
    with pytest.raises(TradingClosed):
        run(Buyer, {"in_hook": "render"}).tick()
    buyer = run(Buyer, {"in_hook": "on_unload"})
    buyer.tick()
    with pytest.raises(TradingClosed):
        buyer.unload()


def test_on_tick_may_place_on_its_own_thread_only() -> None:
    buyer = run(Buyer, {"in_hook": "thread"})
    buyer.tick()
    assert "another one" in str(buyer.strategy.error)


def test_an_exception_in_on_tick_closes_the_permit() -> None:
    buyer = run(Buyer, {"quantity": 0.5})
    with pytest.raises(TypeError, match="quantity: expected str or Decimal, was float"):
        buyer.tick()
    with pytest.raises(TradingClosed):
        buyer.context.orders.place("buy", "1")


def test_a_reload_forgets_everything_but_the_book() -> None:
    buyer = run(Buyer)
    buyer.tick()
    before = buyer.strategy
    buyer.reload({"in_hook": "never"}, mode="active")
    assert buyer.strategy is not before
    assert buyer.strategy.ticks == 0
    assert buyer.context.instance.mode == "active"
    buyer.tick()
    assert len(buyer.context.orders.all()) == 1


def test_a_config_gets_its_defaults_and_is_read_only() -> None:
    config: Any = run(Buyer, {"in_hook": "never"}).strategy.config
    assert (config["quantity"], config["nested"]["list"]) == ("1", (1,))
    with pytest.raises(TypeError):
        config["quantity"] = "2"


def test_a_config_the_schema_does_not_allow_is_refused_with_all_that_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"config\.in_hook: .*\n.*config\.quantitty") as caught:
        run(Buyer, {"in_hook": 5, "quantitty": "1"})
    assert len(str(caught.value).splitlines()) == 2


def test_a_reload_with_a_wrong_config_leaves_the_old_one_running() -> None:
    buyer = run(Buyer)
    before = buyer.strategy
    with pytest.raises(ValueError, match=r"config\.in_hook"):
        buyer.reload({"in_hook": 5})
    assert buyer.strategy is before


def test_a_secret_is_written_as_it_is() -> None:
    assert run(Buyer, {"token": "hush"}).strategy.config["token"] == "hush"


def test_a_strategy_the_engine_would_refuse_is_refused_with_its_problems(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("from reconciler.strategy import Strategy\nclass A(Strategy):\n    TICK_MINUTES = 0\n")
    with pytest.raises(AssertionError) as caught:
        load_strategy(path)
    assert f"{path}:3:20: TICK_MINUTES: expected at least 0.1 minutes, was 0" in str(caught.value)
    assert "on_tick: expected a method, was missing (add `def on_tick(self): …` to the class)" in str(caught.value)


def test_context_identity_and_time_are_the_tests_to_say() -> None:
    context = FakeContext(market="EUR/USD", now="2026-02-03T04:05:06Z", id="a", labels={"team": "x"})
    context.advance(minutes=1, seconds=1)
    assert context.now().isoformat() == "2026-02-03T04:06:07+00:00"
    assert (context.instance.id, context.instance.market, context.instance.labels["team"]) == ("a", "EUR/USD", "x")
    with pytest.raises(ValueError, match="mode: expected observe or active"):
        FakeContext(mode="off")


def test_an_integral_float_arrives_as_the_integer_that_the_schema_promised() -> None:
    class Counter(Strategy):
        TICK_MINUTES = 1
        CONFIG_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}

        def init(self) -> None:
            self.steps = list(range(self.config["n"]))

        def on_tick(self) -> None:
            pass

    assert run(Counter, {"n": 3.0}).strategy.steps == [0, 1, 2]


class Pairs(Strategy):
    """Reads another market, draws lots, and hears of its orders."""

    TICK_MINUTES = 1
    CONFIG_SCHEMA = {"type": "object"}

    def init(self) -> None:
        self.heard: list[tuple[str, str]] = []

    def on_order(self, order: Order) -> None:
        self.heard.append((order.client_order_id, str(order.state)))

    def on_tick(self) -> None:
        self.other = self.context.market_of("ETH/USD").quote().mid
        self.drawn = self.context.random.random()
        if not self.context.orders.all():  # type: ignore[attr-defined]
            self.context.orders.place("buy", "1", type="limit", limit_price="90")


def test_other_markets_chance_and_news_are_as_in_the_engine() -> None:
    context = FakeContext()
    context.market.set_quote("100")
    pairs = run(Pairs, {}, context)
    with pytest.raises(
        ValueError, match=r"expected one of BTC/USD, was 'ETH/USD'; name it in the record: `data_markets: .ETH/USD"
    ):
        pairs.tick()
    context.add_data_market("ETH/USD").set_quote("10", "11")
    pairs.tick()
    assert pairs.strategy.other == Decimal("10.5")
    drawn = pairs.strategy.drawn
    (order,) = context.orders.all()
    assert pairs.strategy.heard == []
    context.fill(order)
    pairs.tick()
    assert pairs.strategy.heard == [(order.client_order_id, "open"), (order.client_order_id, "filled")]
    assert pairs.strategy.drawn == drawn, "the same beat"
    context.advance(minutes=1)
    pairs.tick()
    assert pairs.strategy.drawn != drawn
