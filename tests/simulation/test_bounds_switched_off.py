"""Limits above the instances: every rule of theirs switched off is caught, whatever carries the engine.

To add one: a scene in which the rule matters, and how the engine would be without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.execution import scope_limits
from reconciler.execution.brakes import Throttling
from reconciler.execution.census import Census
from reconciler.execution.gateway import Gateway
from reconciler.execution.scope_limits import ScopeLimits
from reconciler.execution.scope_sum import ScopeSum, Usage
from reconciler.orders.holding import Holding
from reconciler.orders.order import Order, OrderRequest, Outcome, Side
from reconciler.records.accounts import Accounts, Ceilings, Scope, Throttle, Turnover
from reconciler.records.mode import Mode
from reconciler.store.scope_book import ScopeBook
from tests.execution.standins import ACCOUNTS, Carrier, Inline, MainLoop
from tests.simulation.life import Life
from tests.simulation.model import OF
from tests.simulation.test_switched_off import Rule, Scene, always, buy, instead, sell

OURS, NEIGHBOUR, REAL = OF["btc-grid-1"], OF["btc-grid-2"], OF["btc-real"]
D = Decimal
ONE_OPEN = Ceilings(max_open_orders=1)
ONE_HELD = Ceilings(max_position={"BTC/USD": D(1)})
LOSS, FALL = Ceilings(max_daily_loss=D(30)), Ceilings(max_drawdown=D(30))
TEAM = "team=x"


@pytest.fixture(params=[MainLoop, Inline], ids=["threads and loop", "inline"])
def main_loop(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    carrier: Carrier = request.param()
    yield carrier
    carrier.close()


@pytest.fixture
def life(main_loop: Carrier, empty_database: Path) -> Iterator[Life]:
    led = Life(main_loop, empty_database)
    yield led
    if led.folder.exists():
        led.engine.stop()
        led.judge.close()


def bounding(main: Ceilings | None = None, *above: Scope, throttle: Throttle | None = None) -> Accounts:
    """Limits of the paper account, and above it; the throttle is of both accounts."""
    ceilings = main or Ceilings()
    declared = {
        id_: replace(one, currency="USD", ceilings=ceilings if id_ == "main" else Ceilings(), throttle=throttle)
        for id_, one in ACCOUNTS.declared.items()
    }
    return replace(ACCOUNTS, declared=declared, above=above)


def taken(life: Life, instance: Any, request: OrderRequest) -> Order:
    """Placed, and nothing is in its way."""
    order = life.place(instance, request)
    assert order is not None
    assert order.outcome is Outcome.ACCEPTED, f"there was room: {order.reason}"
    return order


# Scenes


def two_at_once(life: Life) -> None:
    """One unit is left, and two want it: the first has no answer yet."""
    life.rebind(bounding(ONE_OPEN))
    life.place(OURS, buy(90), beside=(NEIGHBOUR, buy(90)))
    assert life.tally["sent"] == 1


def lost(life: Life) -> None:
    """Nobody knows whether the exchange has it."""
    life.rebind(bounding(ONE_HELD))
    life.place(OURS, buy(), "lost")
    life.place(NEIGHBOUR, buy())


def lost_and_killed(life: Life) -> None:
    life.rebind(bounding(ONE_HELD))
    life.place(OURS, buy(), "lost")
    life.restart(kill=True)
    life.place(NEIGHBOUR, buy())


def refused(life: Life) -> None:
    """The exchange takes nothing: what was reserved for it is free again."""
    life.rebind(bounding(ONE_OPEN))
    life.place(OURS, buy(90), "refused")
    life.place(NEIGHBOUR, buy(90))


def undelivered(life: Life) -> None:
    """The same of what never left."""
    life.rebind(bounding(ONE_OPEN))
    for _ in range(2):
        life.place(OURS, buy(90), "not delivered")
    life.place(NEIGHBOUR, buy(90))


def traded_by_others(life: Life) -> None:
    """The exchange holds more than the books, for somebody bought by hand."""
    life.rebind(bounding(Ceilings(max_position={"BTC/USD": D(3)}, max_gross_notional=D(400))))
    taken(life, OURS, buy())
    life.exchange.by_hand["main", "BTC/USD"] = D(2)
    for _ in range(15):
        life.one_beat()
    life.bounds.beside["main", "BTC/USD"] = D(2)
    life.place(OURS, buy())
    life.exchange.by_hand.clear()
    life.bounds.beside.clear()


def sold_by_others(life: Life) -> None:
    """The exchange holds less than the books: they count."""
    life.rebind(bounding(Ceilings(max_position={"BTC/USD": D(2)})))
    taken(life, OURS, buy(quantity=2))
    life.exchange.by_hand["main", "BTC/USD"] = D(-2)
    for _ in range(15):
        life.one_beat()
    life.bounds.beside["main", "BTC/USD"] = D(-2)
    life.place(OURS, buy())
    life.exchange.by_hand.clear()
    life.bounds.beside.clear()


def fallen(life: Life, main: Ceilings) -> None:
    """What is held loses more than it may, and then it is worth again what was paid."""
    life.rebind(bounding(main))
    taken(life, OURS, buy(quantity=3))
    life.one_beat()
    life.price(79, 81)
    life.one_beat()
    life.price(100, 101)
    life.one_beat()


def lost_today(life: Life) -> None:
    fallen(life, LOSS)
    life.place(NEIGHBOUR, buy())


def lost_today_and_restarted(life: Life) -> None:
    fallen(life, LOSS)
    life.restart(kill=True)
    life.one_beat()
    life.place(NEIGHBOUR, buy())


def lost_yesterday(life: Life) -> None:
    """The next day begins at 00:00 UTC."""
    fallen(life, LOSS)
    life.clock.advance(2 * 3600)
    life.one_beat()
    taken(life, NEIGHBOUR, buy(90))


def fallen_and_restarted(life: Life) -> None:
    fallen(life, FALL)
    life.restart(kill=True)
    life.one_beat()
    life.place(NEIGHBOUR, buy())


def fallen_days_ago(life: Life) -> None:
    """A drawdown waits for a person, however long."""
    fallen(life, FALL)
    life.clock.advance(3 * 86_400)
    life.one_beat()
    life.place(NEIGHBOUR, buy(90))
    life.check()
    life.lift_drawdown("account main")
    life.one_beat()
    taken(life, NEIGHBOUR, buy(90))


def fallen_after_a_kill(life: Life) -> None:
    """Killed at its first order: what it loses from then on counts all the same."""
    life.rebind(bounding(FALL))
    life.one_beat()
    taken(life, OURS, buy(quantity=3))
    life.restart(kill=True)
    life.price(79, 81)
    life.one_beat()
    life.place(NEIGHBOUR, buy())


def dear_before_a_silence(life: Life) -> None:
    """A limit was reached when the exchange fell silent; when it is back, it is not, and nothing is to go."""
    life.rebind(bounding(Ceilings(max_gross_notional=D(400))))
    taken(life, NEIGHBOUR, buy(quantity=2))
    stays = taken(life, OURS, buy(90))
    life.wire.faults["refused cancel_order"] = 1
    life.price(199, 201)
    life.one_beat()
    life.perform(("lose", None), "")
    life.clock.advance(61)
    life.price(99, 101)
    life.connect()
    life.one_beat()
    life.check()
    assert life.wire.cancels == [stays.client_order_id], "it was tried once, when it was reached"


def again_and_again(life: Life) -> None:
    life.rebind(bounding(throttle=Throttle(3, 5)))
    for _ in range(5):
        life.place(REAL, buy(90))


def again_and_again_by_two(life: Life) -> None:
    """Of one code, on one account."""
    life.rebind(bounding(throttle=Throttle(3, 5)))
    for number in range(4):
        life.place((OURS, NEIGHBOUR)[number % 2], buy(90))


def again_after_a_restart(life: Life) -> None:
    life.rebind(bounding(throttle=Throttle(3, 5)))
    for _ in range(3):
        life.place(REAL, buy(90))
    life.restart(kill=True)
    life.place(REAL, buy(90))


def lifted_after_a_restart(life: Life) -> None:
    """It was struck, somebody looked at it, and it begins anew, though the engine has started since."""
    life.rebind(bounding(throttle=Throttle(2, 5)))
    for _ in range(3):
        life.place(REAL, buy(90))
    life.restart(kill=True)
    life.operator.lift_all()
    taken(life, REAL, buy(90))


def resting_while_it_falls(life: Life) -> None:
    """What rests and adds goes; what rests and only reduces stays."""
    life.rebind(bounding(LOSS))
    taken(life, OURS, buy(quantity=3))
    stays = taken(life, OURS, replace(sell(3), type=buy(90).type, limit_price=D(200)))
    goes = taken(life, NEIGHBOUR, buy(50))
    life.one_beat()
    life.price(79, 81)
    for _ in range(3):
        life.one_beat()
    open_ones = {id_ for id_, row in life.judge.rows().items() if row["is_open"]}
    assert open_ones == {stays.client_order_id}, f"{goes.client_order_id} rests though a limit is reached"
    assert life.wire.cancels == [goes.client_order_id]


def getting_out(life: Life) -> None:
    """Whatever is reached, who holds something gets out of it."""
    life.rebind(bounding(throttle=Throttle(1, 5)))
    taken(life, OURS, buy(quantity=3))
    everything = Ceilings(
        max_gross_notional=D(1), max_daily_loss=D("0.01"), max_drawdown=D("0.01"), max_open_orders=0,
        max_position={"BTC/USD": D(0)}, max_turnover=Turnover(D(1), 5), min_equity=D(10**9),
    )  # fmt: skip
    life.rebind(bounding(everything, Scope("all", "", "USD", everything), throttle=Throttle(1, 5)))
    life.one_beat()
    life.place(OURS, buy())
    taken(life, OURS, sell(2))
    taken(life, OURS, sell(1))


def loosened(life: Life) -> None:
    """Wider limits hold once the pass that reads them has ended; narrower ones at once."""
    life.rebind(bounding(ONE_HELD))
    taken(life, OURS, buy())
    life.rebind(bounding(Ceilings(max_position={"BTC/USD": D(2)})), lambda: life.place(NEIGHBOUR, buy()))
    life.check()
    taken(life, NEIGHBOUR, buy())
    life.rebind(bounding(ONE_HELD), lambda: life.place(NEIGHBOUR, buy()))


def _labelled(life: Life) -> None:
    limit = Scope("label", TEAM, "USD", Ceilings(max_position={"BTC/USD": D(3)}))
    life.relabel(OURS, team="x")
    life.relabel(NEIGHBOUR, team="x")
    life.rebind(bounding(None, limit))
    taken(life, OURS, buy(quantity=2))
    life.relabel(OURS, team="y")


def label_left(life: Life) -> None:
    """Whoever leaves a label counts there, and is bound by it, until it is flat."""
    _labelled(life)
    life.place(NEIGHBOUR, buy(quantity=2))
    life.check()
    life.place(OURS, buy(quantity=2))
    life.check()
    taken(life, OURS, sell(2))
    taken(life, OURS, buy(quantity=5))
    taken(life, NEIGHBOUR, buy(quantity=3))


def label_left_and_restarted(life: Life) -> None:
    _labelled(life)
    life.restart(kill=True)
    life.place(OURS, buy(quantity=2))


def of_two_kinds(life: Life) -> None:
    """Paper and real money are each held to what all may have."""
    life.rebind(bounding(None, Scope("all", "", "USD", ONE_HELD)))
    taken(life, OURS, buy())
    taken(life, REAL, buy())
    life.place(NEIGHBOUR, buy())


def of_shadows(life: Life) -> None:
    """What is only simulated is held to the same limits, by itself."""
    life.rebind(bounding(ONE_HELD))
    taken(life, OURS, buy())
    life.perform(("lower", Mode.OBSERVE), NEIGHBOUR.id)
    order = life.place(NEIGHBOUR, buy())
    assert order is not None
    assert order.outcome is Outcome.SHADOW, f"there was room: {order.reason}"


def without_quotes(life: Life) -> None:
    """Nobody knows what it is worth: that is as good as too much."""
    life.rebind(bounding(Ceilings(max_gross_notional=D(1000))))
    taken(life, OURS, buy(quantity=2))
    life.one_beat()
    life.quoted(None)
    life.clock.advance(61)
    life.one_beat()
    life.place(NEIGHBOUR, buy(90))
    life.check()
    life.quoted(0.0)
    life.one_beat()
    taken(life, NEIGHBOUR, buy(90))


def out_of_money(life: Life) -> None:
    """What the exchange says the account is worth."""
    life.rebind(bounding(Ceilings(min_equity=D(1000))))
    life.one_beat()
    taken(life, OURS, buy())
    life.exchange.equity["main"] = D(999)
    life.one_beat()
    life.place(OURS, buy())


def turned_over(life: Life) -> None:
    """Bought and sold and bought again, and all of it counts for five minutes."""
    life.rebind(bounding(Ceilings(max_turnover=Turnover(D(400), 5))))
    taken(life, OURS, buy(quantity=2))
    taken(life, OURS, sell(2))
    life.place(OURS, buy())
    life.check()
    life.clock.advance(301)
    life.one_beat()
    taken(life, OURS, buy())


def turned_over_and_restarted(life: Life) -> None:
    life.rebind(bounding(Ceilings(max_turnover=Turnover(D(400), 5))))
    taken(life, OURS, buy(quantity=2))
    taken(life, OURS, sell(2))
    life.restart(kill=True)
    life.place(OURS, buy())


def dear(life: Life) -> None:
    """All that is held and open, at what it is worth now."""
    life.rebind(bounding(Ceilings(max_gross_notional=D(400))))
    taken(life, OURS, buy(quantity=2))
    taken(life, NEIGHBOUR, buy(90))
    life.place(NEIGHBOUR, buy(quantity=2))


# Rules, and what is left without them


def not_kept(patch: pytest.MonkeyPatch) -> None:
    taking = ScopeLimits._taken
    patch.setattr(ScopeLimits, "_taken", lambda self, order, *, reducing, keep: taking(
        self, order, reducing=reducing, keep=False))  # fmt: skip


def never_given_back(patch: pytest.MonkeyPatch) -> None:
    changed = ScopeLimits.changed

    def ignorant(self: ScopeLimits, before: Order | None, after: Order, holding: Holding | None) -> None:
        if after.is_open or after.filled_quantity:
            changed(self, before, after, holding)

    patch.setattr(ScopeLimits, "changed", ignorant)


def doubts_count_for_nothing(patch: pytest.MonkeyPatch) -> None:
    changed = ScopeLimits.changed

    def hopeful(self: ScopeLimits, before: Order | None, after: Order, holding: Holding | None) -> None:
        if after.outcome is Outcome.UNKNOWN:
            self.give_back(after)
        else:
            changed(self, before, after, holding)

    patch.setattr(ScopeLimits, "changed", hopeful)
    loaded = Census.load

    def load(self: Census) -> None:
        loaded(self)
        for dossier in self.dossiers.values():
            dossier.orders = {id_: one for id_, one in dossier.orders.items() if one.outcome is not Outcome.UNKNOWN}

    patch.setattr(Census, "load", load)


def no_reduction_is_special(patch: pytest.MonkeyPatch) -> None:
    taking = ScopeLimits._taken
    patch.setattr(ScopeLimits, "_taken", lambda self, order, *, reducing, keep: taking(
        self, order, reducing=False, keep=keep))  # fmt: skip


def new_limits_alone(patch: pytest.MonkeyPatch) -> None:
    bind = ScopeLimits.bind

    def at_once(self: ScopeLimits, accounts: Accounts) -> None:
        bind(self, accounts)
        self.bound()

    patch.setattr(ScopeLimits, "bind", at_once)


def left_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Census, "is_exposed", always(False))


def all_money_is_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ScopeLimits, "_kind", always("paper"))
    patch.setattr(ScopeLimits, "_kinds", always(("paper",)))


def unmeasured_is_nothing(patch: pytest.MonkeyPatch) -> None:
    using = ScopeSum._usage

    def usage(self: ScopeSum, *more: Any) -> Usage:
        blind, self._unmeasured = self._unmeasured, {name: {} for name in self._unmeasured}
        try:
            return using(self, *more)
        finally:
            self._unmeasured = blind

    patch.setattr(ScopeSum, "_usage", usage)


def any_equity_will_do(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ScopeSum, "_floor", lambda self, least: Usage("min_equity", least, least, least, False, ""))


def nothing_latches(patch: pytest.MonkeyPatch) -> None:
    remember = ScopeSum.remember

    def forgetful(self: ScopeSum, *more: Any) -> None:
        remember(self, *more)
        self._lost_on, self._fallen_at = None, ""

    patch.setattr(ScopeSum, "remember", forgetful)


def the_exchange_is_right(patch: pytest.MonkeyPatch) -> None:
    positioned = ScopeSum.position

    def position(self: ScopeSum, market: str, side: Side | None = None) -> tuple[Decimal, Decimal]:
        beside, self.beside = self.beside, {}
        self._markets[market][0] += (more := sum((quantity for quantity, _ in beside.values()), D(0)))
        try:
            return positioned(self, market, side)
        finally:
            self.beside = beside
            self._markets[market][0] -= more

    patch.setattr(ScopeSum, "position", position)


def everything_that_rests(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(scope_limits, "exposing", lambda position, open_orders: tuple(open_orders))


def cancelled_before_it_is_measured(patch: pytest.MonkeyPatch) -> None:
    follow_up = Gateway.follow_up

    async def hasty(self: Gateway, beat: int) -> None:
        await self._withdrawal.run(measured=True)
        await follow_up(self, beat)

    patch.setattr(Gateway, "follow_up", hasty)


def nothing_memorable(_: ScopeBook) -> Mapping[tuple[str, str], Any]:
    return {}


TOO_MANY = "left though account main: max_open_orders: 2 of 1"
TOO_MUCH = r"left though account main: max_position\[BTC/USD\]"
RULES = (
    Rule("a unit is reserved at the last look", not_kept, two_at_once, TOO_MANY),
    Rule("a unit is asked for", instead(ScopeLimits, "_taken", always("")), two_at_once, TOO_MANY),
    Rule("what was refused gives its unit back", never_given_back, refused, "there was room"),
    Rule("what never left gives its unit back", never_given_back, undelivered, "there was room"),
    Rule("unknown orders count as filled", doubts_count_for_nothing, lost, TOO_MUCH),
    Rule("so they do after a restart", doubts_count_for_nothing, lost_and_killed, TOO_MUCH),
    Rule("what the exchange holds counts", instead(ScopeLimits, "told_beside", always(None)), traded_by_others,
         r"left though account main: max_position\[BTC/USD\]: 4 of 3"),
    Rule("what the books hold counts", the_exchange_is_right, sold_by_others, TOO_MUCH),
    Rule("the loss of the day holds until it ends", nothing_latches, lost_today, "max_daily_loss: it was reached"),
    Rule("so it does after a restart", instead(ScopeBook, "memories", nothing_memorable), lost_today_and_restarted,
         "max_daily_loss: it was reached"),
    Rule("a drawdown is remembered", instead(ScopeBook, "memories", nothing_memorable), fallen_and_restarted,
         "max_drawdown: it was reached"),
    Rule("where it begins is remembered", instead(ScopeLimits, "_keep_news", always(None)), fallen_after_a_kill,
         "max_drawdown: it was reached"),
    Rule("a drawdown waits for a person", nothing_latches, fallen_days_ago, "max_drawdown: it was reached"),
    Rule("the same again and again is too often", instead(Throttling, "strikes", always("")), again_and_again,
         "3 same orders left"),
    Rule("one code is counted over its account", instead(Throttling, "strikes", always("")), again_and_again_by_two,
         "3 same orders left"),
    Rule("the count goes on after a restart", instead(Throttling, "recover", always(None)), again_after_a_restart,
         "3 same orders left"),
    Rule("who was lifted begins anew", instead(Throttling, "_release", always(None)), lifted_after_a_restart,
         "there was room"),
    Rule("what rests is cancelled", instead(ScopeLimits, "resting", always(())), resting_while_it_falls,
         "rests though a limit is reached"),
    Rule("it is measured first", cancelled_before_it_is_measured, dear_before_a_silence, "nobody asked for it"),
    Rule("what reduces may rest", everything_that_rests, resting_while_it_falls,
         "rests though a limit is reached|and nobody asked for it"),
    Rule("a reduction passes", no_reduction_is_special, getting_out, "there was room|only reduces was refused"),
    Rule("the stricter limit holds first", new_limits_alone, loosened, TOO_MUCH),
    Rule("a label that was left binds until flat", left_at_once, label_left, "left though label team=x"),
    Rule("so it does after a restart", instead(ScopeBook, "kept_labels", nothing_memorable), label_left_and_restarted,
         "left though label team=x"),
    Rule("who is flat is free", instead(Census, "lets_go", always(False)), label_left, "there was room"),
    Rule("each kind of money by itself", all_money_is_one, of_two_kinds, "there was room"),
    Rule("so is what is simulated", all_money_is_one, of_shadows, "there was room"),
    Rule("what cannot be measured counts as reached", unmeasured_is_nothing, without_quotes,
         "left though account main: max_gross_notional: None"),
    Rule("below its equity it opens nothing", any_equity_will_do, out_of_money, "min_equity: 999 of 1000"),
    Rule("what was traded counts", instead(ScopeSum, "trades", always(None)), turned_over,
         "left though account main: max_turnover"),
    Rule("so it does after a restart", instead(ScopeLimits, "_remember_trades", always(None)),
         turned_over_and_restarted, "left though account main: max_turnover"),
    Rule("all is added up", instead(ScopeLimits, "_exceeded", always("")), dear,
         "left though account main: max_gross_notional"),
)  # fmt: skip
SCENES = {rule.scene: rule.what for rule in RULES} | {lost_yesterday: "a day ends"}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_with_every_rule_each_scene_is_a_life_like_any_other(scene: Scene, life: Life) -> None:
    scene(life)
    life.operator.lift_all()
    life.end()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.what}, {rule.scene.__name__}")
def test_a_rule_that_is_switched_off_is_caught(rule: Rule, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    def lead() -> None:
        rule.scene(life)
        life.check()
        life.end()

    rule.off(monkeypatch)
    with pytest.raises(AssertionError, match=rule.caught):
        lead()


def test_what_was_to_be_cancelled_at_a_moment_of_a_beat_may_be_cancelled_until_it_ends(life: Life) -> None:
    """Whoever decides between two that are booked is not to be judged by what is booked before, or after."""
    life.rebind(bounding(Ceilings(max_turnover=Turnover(D(275), 5))))
    filled, gone, rests = [taken(life, OURS, buy(90)).client_order_id for _ in range(3)]
    life.one_beat()
    life.exchange.orders[filled].fill(D(1))
    life.exchange.orders[gone].expire()
    life.judge.beat_begins()
    assert not life.judge._is_reached(rests)
    ledger, look_up = life.engine.store.ledger, life.engine.gateway._look_up
    for id_ in (filled, gone):
        order = ledger.get(id_)
        assert order is not None
        life.main_loop.run(look_up.ask(order))
        assert life.judge._is_reached(rests)
    assert not any(life.bounds.unwanted()), "what is booked by now is no reason any more"
    life.judge.beat_ends()
    life.judge.beat_begins()
    assert not life.judge._is_reached(rests)
    life.judge.beat_ends()


def struck(life: Life) -> None:
    life.rebind(bounding(throttle=Throttle(2, 5)))
    for _ in range(3):
        life.place(OURS, buy(90))


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (lambda life: fallen(life, LOSS), "account main: max_daily_loss: "),
        (lambda life: fallen(life, FALL), "account main: max_drawdown: "),
        (struck, "instance btc-grid-1 is halted: throttle: 2 buy limit orders"),
    ],
    ids=["day's loss", "drawdown", "throttle"],
)
def test_a_drill_where_a_latch_or_the_throttle_holds_sends_nothing_and_says_what_holds(
    scene: Scene, said: str, life: Life
) -> None:
    scene(life)
    life.check()
    before = len(life.exchange.received)
    order = life.engine.gateway.drill("main", takes=False)
    assert order.outcome is Outcome.REJECTED
    assert said in order.reason
    assert len(life.exchange.received) == before
