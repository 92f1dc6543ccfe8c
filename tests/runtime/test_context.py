"""The strategy's only door: what it gives, when it is closed, and that it leads nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import TradingClosed
from reconciler.orders.order import Order, OrderRequest, OrderType, Outcome, Provenance, Side, TimeInForce
from reconciler.records.mode import Mode
from reconciler.runtime.protocol import HostOptions
from reconciler.strategy.base import Strategy

if TYPE_CHECKING:
    from tests.runtime.conftest import MakeStage, Stage

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ENGINE = ("reconciler.runtime.", "reconciler.execution", "reconciler.store", "reconciler.control", "conftest")
LEAVES = (type, str, int, float, Decimal, date, tzinfo)
DOORS = {"_Context", "_InstanceInfo", "_Market", "_Account", "_Orders", "_Log"}


class Probe(Strategy):
    """Does what the test says, in the hook the test says, and keeps what came of it."""

    does: Mapping[str, Callable[[Strategy], object]] = {}
    came: list[object]

    def _do(self, hook: str) -> None:
        if hook in self.does:
            try:
                type(self).came.append(self.does[hook](self))
            except (TradingClosed, TypeError, ValueError) as error:
                type(self).came.append(error)

    def init(self) -> None:
        self._do("init")

    def on_tick(self) -> None:
        self._do("on_tick")

    def render(self) -> list[dict[str, Any]]:
        self._do("render")
        return []

    def on_unload(self) -> None:
        self._do("on_unload")


def probe(**does: Callable[[Any], object]) -> type[Probe]:
    return type("Probing", (Probe,), {"does": does, "came": []})


def place(strategy: Strategy) -> object:
    return strategy.context.orders.place("buy", "1")


def test_identity_time_and_config_are_there_from_init_on(stage: Stage) -> None:
    def look(strategy: Strategy) -> object:
        instance = strategy.context.instance
        return (
            instance.id,
            instance.strategy_type,
            instance.account_id,
            instance.client_id,
            instance.market,
            instance.mode,
            strategy.config["levels"],
        )

    probing = probe(init=look, on_tick=lambda s: s.context.now())
    stage.load(probing, stage.row(config={"levels": 5}))
    stage.tick()
    assert probing.came[0] == ("one", "probe", "main", "desk-a", "BTC/USD", "observe", 5)
    now = probing.came[1]
    assert now.tzinfo is UTC  # type: ignore[attr-defined]
    assert now.timestamp() == stage.clock.time()  # type: ignore[attr-defined]


def test_config_is_read_only_all_the_way_down(stage: Stage) -> None:
    probing = probe(init=lambda s: s.config)
    stage.load(probing, stage.row(config={"ladder": {"rungs": [1, {"at": 2}]}}))
    (config,) = probing.came
    assert isinstance(config, MappingProxyType)
    assert config["ladder"]["rungs"] == (1, {"at": 2})
    parts: list[Any] = [config, config["ladder"], config["ladder"]["rungs"], config["ladder"]["rungs"][1]]
    for part in parts:
        with pytest.raises(TypeError):
            part["levels"] = 1


def test_an_order_reaches_the_gateway_as_it_was_asked_for(stage: Stage) -> None:
    def limit(strategy: Strategy) -> object:
        orders = strategy.context.orders
        return orders.place("sell", Decimal("0.5"), type="limit", limit_price="101.5", time_in_force="ioc")

    probing = probe(on_tick=limit)
    stage.load(probing, stage.row(mode=Mode.ACTIVE))
    stage.tick()
    (order,) = stage.gateway.sent
    assert probing.came == [order]
    assert order.request == OrderRequest(
        Side.SELL, OrderType.LIMIT, Decimal("0.5"), Decimal("101.5"), None, TimeInForce.IOC
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"quantity": 0.1}, TypeError, "quantity: expected str or Decimal, was float"),
        ({"quantity": "0"}, ValueError, "quantity: expected more than 0"),
        ({"side": "by"}, ValueError, 'did you mean "buy"?'),
        ({"type": "limit"}, ValueError, "limit_price: expected a price"),
        ({"limit_price": "1"}, ValueError, "limit_price: expected none"),
    ],
)
def test_a_wrong_argument_never_reaches_the_gateway(
    stage: Stage, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    probing = probe(on_tick=lambda s: s.context.orders.place(**{"side": "buy", "quantity": "1", **arguments}))
    stage.load(probing, stage.row(mode=Mode.ACTIVE))
    stage.tick()
    (came,) = probing.came
    assert isinstance(came, error)
    assert message in str(came)
    assert stage.gateway.placed == []


@pytest.mark.parametrize("hook", ["init", "render", "on_unload"])
def test_no_hook_but_on_tick_may_place(stage: Stage, hook: str) -> None:
    probing = probe(**{hook: place})
    stage.load(probing, stage.row(mode=Mode.ACTIVE))
    stage.tick()
    stage.host.unload("one", "removed")
    stage.until(lambda: stage.view() is None)
    assert isinstance(probing.came[0], TradingClosed)
    assert "from on_tick: expected it to be running" in str(probing.came[0])
    assert stage.gateway.placed == []


def test_another_thread_may_not_place_even_while_on_tick_runs(stage: Stage) -> None:
    def from_elsewhere(strategy: Strategy) -> object:
        came: list[object] = []

        def try_it() -> None:
            try:
                came.append(place(strategy))
            except TradingClosed as error:
                came.append(error)

        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
        return came[0]

    probing = probe(on_tick=from_elsewhere)
    stage.load(probing, stage.row(mode=Mode.ACTIVE))
    stage.tick()
    assert isinstance(probing.came[0], TradingClosed)
    assert "is another one, which the strategy started" in str(probing.came[0])
    facts = stage.host.facts("one")
    assert facts is not None
    assert facts.logs[0].level == "warning"
    assert facts.logs[0].message.startswith("an order was refused: orders are placed from on_tick's own thread")
    assert stage.gateway.placed == []


def test_nothing_may_be_placed_from_the_deadline_on(stage: Stage) -> None:
    """Also where the watchdog has not looked yet."""

    def at(moment_s: float) -> Callable[[Strategy], object]:
        def late(strategy: Strategy) -> object:
            stage.advance(moment_s)
            return place(strategy)

        return late

    early, late = probe(on_tick=at(29.9)), probe(on_tick=at(30.0))
    stage.load(early, stage.row("early", mode=Mode.ACTIVE))
    stage.load(late, stage.row("late", mode=Mode.ACTIVE))
    stage.host.pause("late", "operator", "its turn comes")
    stage.tick("early")
    stage.host.resume("late")
    stage.host.pause("early", "operator", "had its turn")
    stage.tick("late")
    assert [order.instance_id for order in stage.gateway.sent] == ["early"]
    assert "outlived its deadline of 30 s" in str(late.came[0])


def test_an_order_that_is_on_its_way_at_the_deadline_meets_a_shut_gate(stage: Stage) -> None:
    """A slow quote must not carry it past the deadline, and the watchdog has not looked yet."""
    probing = probe(on_tick=place)
    stage.load(probing, stage.row(mode=Mode.ACTIVE))
    stage.gateway.before_last_look = lambda: stage.clock.advance(29.9)
    stage.tick()
    assert len(stage.gateway.sent) == 1
    stage.gateway.before_last_look = lambda: stage.clock.advance(30.0)
    stage.tick()
    assert len(stage.gateway.placed) == 2
    assert len(stage.gateway.sent) == 1


def test_a_context_kept_beyond_its_tick_places_nothing(stage: Stage) -> None:
    kept: list[Any] = []
    probing = probe(on_tick=lambda s: kept.append(s.context))
    stage.load(probing, stage.row(mode=Mode.ACTIVE))
    stage.tick()
    with pytest.raises(TradingClosed):
        kept[0].orders.place("buy", "1")


@pytest.mark.parametrize(("mode", "shadow"), [(Mode.OBSERVE, True), (Mode.ACTIVE, False)])
def test_observe_reads_the_shadow_book_and_active_the_real_one_even_while_unloading(
    stage: Stage, mode: Mode, shadow: bool
) -> None:
    def read(strategy: Strategy) -> object:
        orders = strategy.context.orders
        return orders.open(), orders.recent(), orders.position()

    stage.load(probe(init=read, on_tick=read, on_unload=read), stage.row(mode=mode))
    stage.tick()
    stage.host.unload("one", "removed")
    stage.until(lambda: stage.view() is None)
    assert stage.gateway.asked == [("one", shadow)] * 9


def test_an_active_instance_that_is_lowered_reads_the_shadow_book_from_then_on(stage: Stage) -> None:
    stage.load(probe(on_tick=lambda s: s.context.orders.open()), stage.row(mode=Mode.ACTIVE))
    stage.tick()
    stage.host.set_mode("one", Mode.OBSERVE)
    stage.tick()
    assert stage.gateway.asked == [("one", False), ("one", True)]


def test_own_orders_can_be_cancelled_while_unloading(stage: Stage) -> None:
    probing = probe(on_tick=place, on_unload=lambda s: s.context.orders.cancel("c0"))
    stage.load(probing, stage.row(mode=Mode.ACTIVE))
    stage.tick()
    stage.host.unload("one", "removed")
    stage.until(lambda: stage.view() is None)
    assert probing.came == [stage.gateway.sent[0]] * 2


def test_all_that_a_tick_reads_is_of_its_own_beat_however_late_it_runs(stage: Stage) -> None:
    def late(strategy: Strategy) -> object:
        stage.advance(18.0)
        return strategy.context.market.quote()

    stage.clock.set_wall(6.0 * 500)
    stage.next_beat = 500
    stage.load(probe(init=lambda s: s.context.market.quote(), on_tick=late))
    stage.tick()
    assert stage.market.beats == [500, 500]


def test_what_its_market_lets_through_is_told(stage: Stage) -> None:
    probing = probe(init=lambda s: s.context.market.rules().min_quantity)
    stage.load(probing)
    assert probing.came == [Decimal("0.1")]


def test_the_whole_account_is_asked_for_under_the_records_own_names(stage: Stage) -> None:
    probing = probe(init=lambda s: s.context.account.balances()[0].asset)
    stage.load(probing)
    assert probing.came == ["main/desk-a"]


def test_no_attribute_of_a_strategy_leads_to_the_engine(stage: Stage) -> None:
    """Walks everything that attributes, vars and dir lead to, private names too, from the strategy on."""
    strategies: list[Strategy] = []
    stage.load(probe(init=strategies.append, on_tick=place), stage.row(config={"ladder": {"rungs": [1]}}))
    stage.tick()
    reached: dict[int, object] = {}
    waiting: list[object] = [strategies[0]]
    while waiting:
        thing = waiting.pop()
        if id(thing) in reached or isinstance(thing, LEAVES):
            continue
        reached[id(thing)] = thing
        names = [name for name in dir(thing) if not (name.startswith("__") and name.endswith("__"))]
        waiting.extend(getattr(thing, name, None) for name in names)
        waiting.extend(getattr(thing, "__dict__", {}).values())
        if isinstance(thing, Mapping):
            waiting.extend(thing.values())
        elif isinstance(thing, (list, tuple)):
            waiting.extend(thing)
    found = {type(thing).__name__ for thing in reached.values() if type(thing).__module__.startswith(ENGINE)}
    found |= {type(thing).__name__ for thing in reached.values() if thing in (stage.host, stage.gateway, stage.market)}
    assert found == DOORS


def test_the_log_is_bounded_however_much_a_strategy_says(stage: Stage) -> None:
    def chatter(strategy: Strategy) -> None:
        for n in range(1_000):
            strategy.context.log.info(f"line {n}")
        strategy.context.log.warning("x" * 1_000_000)

    stage.load(probe(on_tick=chatter))
    stage.tick()
    logs = stage.facts().logs
    assert len(logs) == 200
    assert (logs[0].level, len(logs[0].message)) == ("warning", 1_000)
    assert logs[1].message == "line 999"
    assert logs[0].to_json()["at"] == "2023-11-14T22:13:20.000Z"


def test_a_permit_ends_with_its_tick_though_its_worker_goes_on(make_stage: MakeStage) -> None:
    """Neither the hooks that follow a tick nor the next instance's tick on that thread can use it."""
    stage = make_stage(HostOptions(workers=1))
    refused: list[str] = []

    class Gives(Strategy):
        def on_tick(self) -> None:
            given.append(self)

        def render(self) -> list[dict[str, object]]:
            if given:
                self.try_to_place("render")
            return []

        def on_unload(self) -> None:
            self.try_to_place("on_unload")

        def try_to_place(self, where: str) -> None:
            with pytest.raises(TradingClosed, match="expected it to be running"):
                self.context.orders.place("buy", "1")
            refused.append(where)

    class Takes(Strategy):
        def on_tick(self) -> None:
            given[0].try_to_place("another's tick")

    given: list[Gives] = []
    stage.load(Gives, stage.row("first", mode=Mode.ACTIVE))
    stage.load(Takes, stage.row("second", mode=Mode.ACTIVE))
    stage.advance(1.0)
    stage.beat()
    stage.settle("first")
    stage.settle("second")
    stage.host.unload("first", "removed")
    stage.until(lambda: stage.view("first") is None)
    assert refused == ["render", "another's tick", "on_unload"]
    assert stage.gateway.placed == []


def drawn(strategy: Strategy) -> object:
    return strategy.context.random.random()


def test_chance_is_the_same_for_instance_generation_and_beat_whatever_was_drawn_before(make_stage: MakeStage) -> None:
    def run(seed: str = "", **changes: Any) -> list[object]:
        stage = make_stage(seed=seed)
        probing = probe(init=drawn, on_tick=lambda s: (drawn(s), drawn(s)))
        stage.load(probing, stage.row(**changes))
        stage.tick()
        stage.tick()
        return probing.came[1:]

    first, second = run()
    assert [first, second] == run()
    assert first != second
    assert first[0] != first[1]  # type: ignore[index]
    assert run(generation=2) != [first, second]
    assert run(seed="another") != [first, second]


def test_other_markets_are_those_that_the_record_names(stage: Stage) -> None:
    def look(strategy: Strategy) -> object:
        market_of = strategy.context.market_of
        return (market_of("ETH/USD").quote().symbol, market_of("BTC/USD").quote().symbol)

    probing = probe(init=lambda s: s.context.market_of("ETH/EUR"), on_tick=look)
    row = stage.row()
    stage.load(probing, replace(row, record=replace(row.record, data_markets=("ETH/USD",))))
    stage.tick()
    assert "expected one of BTC/USD, ETH/USD, was 'ETH/EUR'" in str(probing.came[0])
    assert "`data_markets: [ETH/USD, ETH/EUR]`" in str(probing.came[0])
    assert probing.came[1] == ("ETH/USD", "BTC/USD")


class Hearing(Strategy):
    heard: list[object]
    does: Callable[[Any], object] = staticmethod(lambda strategy: None)

    def on_order(self, order: Order) -> None:
        type(self).heard.append(order.client_order_id)
        type(self).does(self)

    def on_tick(self) -> None:
        type(self).heard.append("tick")


def news(client_order_id: str, mode: Mode = Mode.OBSERVE) -> Order:
    return Order(
        client_order_id=client_order_id,
        provenance=Provenance("one", "main", "desk-a", "BTC/USD", mode, 1, "", "", None, 1_000),
        request=OrderRequest(Side.BUY, OrderType.MARKET, Decimal(1)),
        outcome=Outcome.SHADOW if mode is Mode.OBSERVE else Outcome.ACCEPTED,
        created_at=NOON,
        updated_at=NOON,
    )


def hearing(does: Callable[[Any], object] = lambda strategy: None) -> type[Hearing]:
    return type("Hearing", (Hearing,), {"heard": [], "does": staticmethod(does)})


def test_a_strategy_hears_of_each_change_of_its_orders_before_its_next_tick(stage: Stage) -> None:
    cls = hearing()
    stage.load(cls)
    stage.tick()
    for order in (news("a"), news("real", Mode.ACTIVE), news("b")):
        stage.gateway.news["one"].add(order)
    stage.tick()
    stage.tick()
    assert cls.heard == ["tick", "a", "b", "tick", "tick"], "what is of the other book is not its own now"


def test_what_hears_of_an_order_may_not_place_one(stage: Stage) -> None:
    cls = hearing(place)
    stage.load(cls, stage.row(mode=Mode.ACTIVE))
    stage.gateway.news["one"].add(news("a", Mode.ACTIVE))
    stage.tick()
    assert "on_order runs before it, and only hears" in stage.facts().last_error
    assert cls.heard == ["a"], "a tick whose on_order fails is a failed tick"
    stage.tick()
    assert cls.heard == ["a", "tick"], "what it failed at is not told again"


def test_who_does_not_listen_is_kept_no_news(stage: Stage) -> None:
    stage.load(probe())
    assert stage.gateway.news == {}
