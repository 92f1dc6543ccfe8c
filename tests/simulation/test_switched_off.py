"""Every rule switched off is caught: what a model lets pass without its rule, it proves nothing about.

To add one: a scene in which the rule matters, and how the engine would be without it.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.exec_mcp import refusals, request
from reconciler.exec_mcp.bridge import Claims, Handover
from reconciler.exec_mcp.http_pool import HttpPool, Parcel, Unclaimed
from reconciler.exec_mcp.refusals import RateLimits
from reconciler.execution import flattening, watch, withdrawal
from reconciler.execution import gatekeeper as gatekeeper
from reconciler.execution.brakes import Brakes
from reconciler.execution.comparing import AccountLook
from reconciler.execution.flattening import Flattening
from reconciler.execution.gatekeeper import Gatekeeper, Readiness
from reconciler.execution.order_steps import LastLook, OrderSteps
from reconciler.execution.settlement import Settlement
from reconciler.execution.tally import Orphans, added_up, closing
from reconciler.execution.valuation import Quoting
from reconciler.execution.watch import OrderWatch
from reconciler.execution.wholeness import Wholeness
from reconciler.execution.withdrawal import DeadMan, Withdrawal
from reconciler.orders.holding import Holding
from reconciler.orders.news import Verdict
from reconciler.orders.order import Order, OrderNews, OrderRequest, OrderType, Outcome, RejectedBy, Side
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.record import Limits
from reconciler.store.books import holding_from
from reconciler.store.halts import Halts
from reconciler.store.ledger import Ledger
from tests.exec_mcp import test_handover as handover
from tests.exec_mcp import test_http_pool as http_pool
from tests.exec_mcp import test_refusals as table
from tests.execution import test_dispatch as dispatch
from tests.execution.conftest import clock, desk, server, store  # noqa: F401  # fixtures of what is held elsewhere
from tests.execution.standins import MainLoop
from tests.simulation import test_kills as kills
from tests.simulation.life import BEAT_S, Life
from tests.simulation.model import OF
from tests.simulation.operators import Deed

OURS, REAL = OF["btc-grid-1"], OF["btc-real"]
Off = Callable[[pytest.MonkeyPatch], None]
Scene = Callable[[Life], None]


def buy(limit: int | None = None, quantity: int = 1) -> OrderRequest:
    kind, price = (OrderType.MARKET, None) if limit is None else (OrderType.LIMIT, Decimal(limit))
    return OrderRequest(Side.BUY, kind, Decimal(quantity), price)


def sell(quantity: int) -> OrderRequest:
    return OrderRequest(Side.SELL, OrderType.MARKET, Decimal(quantity))


def placed(life: Life, way: str = "taken", late_s: float = 0.0, limit: int | None = 90) -> str:
    order = life.place(OURS, buy(limit), way, late_s)
    assert order is not None
    life.check()
    return order.client_order_id


# Scenes


def misheard(life: Life) -> None:
    """The exchange took an order, and was said to have refused it."""
    placed(life, "misheard", limit=None)


def misheard_and_killed(life: Life) -> None:
    """The same, and nobody has looked it up before the next engine."""
    misheard(life)
    life.restart(kill=True)


def settled_by_hand(life: Life) -> None:
    """An operator does not see an order that is there, and that ends unfilled."""
    order = placed(life, "dropped", 4 * BEAT_S)
    life.perform(("lose", None), OURS.id)
    life.resolve(order)
    life.check()
    for _ in range(4):
        life.one_beat()
    life.exchange.orders[order].expire()
    life.connect()


def filled_up_to(quantity: str, life: Life) -> str:
    """An order rests, and more is filled of it than was ordered, which is 1."""
    order = placed(life)
    life.exchange.orders[order].fill(Decimal(quantity))
    for _ in range(4):
        life.one_beat()
        life.check()
    return order


def rounded_up(life: Life) -> None:
    """An exchange that rounds up fills 2 % more than was ordered."""
    filled_up_to("1.02", life)


def filled_by_far_too_much(life: Life) -> None:
    """More than that: an operator looks, and says what was filled."""
    life.resolve(filled_up_to("1.03", life))


def late(life: Life) -> None:
    """An order is not visible at first."""
    placed(life, "dropped", 4 * BEAT_S)
    for _ in range(6):
        life.one_beat()
        life.check()


def doubted(life: Life) -> None:
    life.place(OURS, buy(), "lost")
    life.place(OURS, buy())


def failing(life: Life) -> None:
    """An order leaves, and what nobody foresaw goes wrong."""
    life.place(OURS, buy(), "broken")


def killed(life: Life) -> None:
    life.place(OURS, buy(), "dropped", 0.0, ("arrived", ("crash", None)))


def reconnected(life: Life) -> None:
    life.perform(("flap", None), OURS.id)
    placed(life)


def cancelled_under_a_full_halt(life: Life) -> None:
    order = placed(life)
    life.perform(("halt", ("all", "", True)), OURS.id)
    life.cancel(OURS, order)


def closed(deed: Deed) -> Scene:
    def scene(life: Life) -> None:
        life.perform(deed, OURS.id)
        life.place(OURS, buy())

    return scene


def closed_on_the_way(life: Life) -> None:
    life.place(OURS, buy(), "taken", 0.0, ("committed", ("halt", ("all", "", False))))


def paused_while_it_is_written(life: Life) -> None:
    life.place(OURS, buy(), "taken", 0.0, ("arrived", ("pause and wait", None)))


def halted_while_the_database_is_stuck(life: Life) -> None:
    life.place(OURS, buy(), "taken", 0.0, ("committed", ("halt while stuck", ("all", "", False))))


def limited_by_the_minute(life: Life) -> None:
    gate = life.engine.gates[OURS.id]
    gate.row = replace(gate.row, record=replace(gate.row.record, limits=Limits(max_orders_per_minute=9)))
    life.place(OURS, buy(90))


def halted_while_a_cancel_is_on_its_way(life: Life) -> None:
    order = placed(life)
    life.wire.interruption = ("handing over", ("halt", ("all", "", True)))
    life.engine.is_committed = True  # what the loop is handed next
    life.cancel(OURS, order)


def uncommitted(life: Life) -> None:
    life.operator.load(REAL.id, Mode.ACTIVE, committed=False)
    life.place(REAL, buy())


def on_an_old_quote(life: Life) -> None:
    life.quoted(3600.0)
    life.place(REAL, buy())


def put_back(life: Life) -> None:
    """An older ledger is put back: 2 were bought since the copy was made of one that knew of 3."""
    life.place(REAL, buy(quantity=3))
    life.one_beat()
    copy = life.copied()
    life.place(REAL, buy(quantity=2))
    life.put_back(copy)


def put_back_and_waited(life: Life) -> None:
    put_back(life)
    life.one_beat()
    life.one_beat()
    life.place(REAL, buy())


def put_back_and_traded_at_once(life: Life) -> None:
    put_back(life)
    life.place(REAL, buy())


def put_back_with_an_order_that_rests(life: Life) -> None:
    life.one_beat()
    copy = life.copied()
    life.place(REAL, buy(90))
    life.put_back(copy)
    life.place(REAL, buy())


def put_back_after_sales(life: Life) -> None:
    """The copy knows of 3, of which 2 were sold since: selling them again would go short."""
    life.place(REAL, buy(quantity=3))
    life.one_beat()
    copy = life.copied()
    life.place(REAL, sell(2))
    life.put_back(copy)
    life.one_beat()
    life.one_beat()
    life.place(REAL, sell(2))


def on_a_quote_from_ahead(life: Life) -> None:
    life.quoted(-3600.0)
    life.place(REAL, buy())


def at_market_without_a_quote(life: Life) -> None:
    life.quoted(None)
    life.place(OURS, buy())


def refused_again(life: Life) -> None:
    for _ in range(6):
        life.place(OURS, buy(), "refused")


def asked_to_wait(life: Life) -> None:
    life.hushed(OURS.account_id, 60.0)
    life.place(OURS, buy())


def flattened(name: str, held: int = 0, scope: int = 0) -> Scene:
    """What is held, halted and flattened in that scope, and what comes between."""

    def scene(life: Life) -> None:
        kills.lay(life, kills.HELD[held])
        life.exchange.at_once = Decimal(1)
        kills.SCENES[name](life, kills.FLATTENED[scope])
        life.wire.faults.clear()
        life.exchange.untrue.clear()

    return scene


def cancelled(number: int) -> Scene:
    """The same, and nothing is flattened."""

    def scene(life: Life) -> None:
        kills.lay(life, {OURS.id: 3})
        kills.at_best(life, kills.CANCELLED[number])

    return scene


def halted_at_a_cancel(life: Life) -> None:
    """Somebody halts in full at the moment at which a cancel is written."""
    order = placed(life)
    life.wire.interruption = ("cancelling", ("halt", ("all", "", True)))
    life.cancel(OURS, order)


def lowered_while_it_is_written(life: Life) -> None:
    life.place(OURS, buy(), "taken", 0.0, ("arrived", ("lower and wait", Mode.OBSERVE)))


def halted_while_it_is_written(life: Life) -> None:
    life.place(OURS, buy(), "taken", 0.0, ("arrived", ("halt and wait", ("all", "", False))))


def halted_while_another_waits_for_the_disk(life: Life) -> None:
    """Somebody's halt waits for the database; another's is in force all the same, at once."""
    life.place(OURS, buy(), "taken", 0.0, ("committed", ("halt beside a stuck one", ("all", "", False))))


def beside_a_stranger(life: Life) -> None:
    """Somebody else's order rests on the account, and two of ours; it was seen there, and then a halt cancels."""
    for _ in range(2):
        placed(life)
    life.exchange.rest(OURS.account_id, OURS.client_id)
    for _ in range(11):
        life.one_beat()
        life.check()
    kills.killed(life, kills.CANCELLED[0])
    life.one_beat()


def left_resting(life: Life) -> None:
    placed(life)
    life.one_beat()
    life.judge.check_armed()


def left_none_resting(life: Life) -> None:
    order = placed(life)
    life.one_beat()
    life.cancel(OURS, order)
    life.one_beat()
    life.judge.check_armed()


# Rules, and what is left without them


def instead(where: Any, name: str, value: Any) -> Off:
    return lambda patch: patch.setattr(where, name, value)


def done() -> Future[None]:
    future: Future[None] = Future()
    future.set_result(None)
    return future


def always(value: Any) -> Callable[..., Any]:
    return lambda *_, **__: value


def written_off_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(watch, "ANSWERS", 1)
    patch.setattr(watch, "SPREAD_S", 0.0)


def only_what_was_accepted(order: Order, _more: Callable[[Order], bool] = watch._may_be_more) -> bool:
    return order.outcome is Outcome.ACCEPTED and _more(order)


def as_if_refused(self: Verdict, order: Order, _news: Any = Verdict.news) -> OrderNews:
    news: OrderNews = _news(self, order)
    return replace(news, rejected_by=RejectedBy.EXCHANGE)


def only_what_was_ordered(self: Verdict, order: Order, _news: Any = Verdict.news) -> OrderNews:
    news: OrderNews = _news(self, order)
    return replace(news, filled_quantity=order.quantity)


def any_quote_will_do(patch: pytest.MonkeyPatch) -> None:
    quoted = Quoting.quoted
    patch.setattr(Quoting, "quoted", lambda self, order: (quoted(self, order)[0], None))


def asked_once(patch: pytest.MonkeyPatch) -> None:
    """The gate is asked before the intent is written down, and not again."""
    asked, ask = set[str](), Gatekeeper.refusal

    @functools.wraps(ask)
    def refusal(self: Gatekeeper, gate: Any, order: Order, **claim: bool) -> Any:
        if order.client_order_id in asked:
            return None
        asked.add(order.client_order_id)
        return ask(self, gate, order, **claim)

    patch.setattr(Gatekeeper, "refusal", refusal)


def once_it_is_stored(self: Halts, _in_force: Any = Halts.active, _late: set[Halt] = set()) -> tuple[Halt, ...]:  # noqa: B006
    """A halt is in force only when the database has it, and what was asked of it before that comes to be known late."""
    _late.update(self.unstored())
    return tuple(halt for halt in _in_force(self) if halt not in _late)


def counted_on_the_disk(self: Ledger, *more: Any, but: str) -> int:
    return len(self._reads.query("SELECT id FROM orders WHERE client_order_id <> ?", [but]))


def locked_while_it_waits(patch: pytest.MonkeyPatch) -> None:
    """Whoever closes something holds on to what the loop needs to say that it has written."""

    def wait(self: Claims, instance_id: str = "", _held: Any = threading.Event()) -> None:  # noqa: B008
        with self._changed:
            if self._writing:
                _held.wait(1.0)

    patch.setattr(Claims, "wait", wait)


def stored_under_the_lock(patch: pytest.MonkeyPatch) -> None:
    """Whoever halts holds the halts' lock until the database has it."""
    patch.setattr(Halts, "_stored", always(None))
    write = Halts._write

    def locked(self: Halts, unstored: Any) -> Any:
        with self._changing:
            writing = write(self, unstored)
            with contextlib.suppress(TimeoutError):
                writing.result(1.0)
        return writing

    patch.setattr(Halts, "_write", locked)


def waiting_for(*kinds: str) -> Callable[..., str]:
    """What a flattening waits for, but only what is so."""

    def waiting(self: Flattening, halt: Halt, but: Order | None = None, _asked: Any = Flattening._waiting) -> str:
        told: str = _asked(self, halt, but)
        return told if any(kind in told for kind in kinds) else ""

    return waiting


def whatever_the_exchange_holds(books: Any, at_exchange: Decimal) -> Any:
    net = sum(books.values(), start=Decimal(0))
    return closing(books, net)


def whatever_its_sign(books: Any, at_exchange: Decimal) -> Any:
    net = sum(books.values(), start=Decimal(0))
    return closing(books, abs(at_exchange) if net > 0 else -abs(at_exchange))


def uncompared(patch: pytest.MonkeyPatch) -> None:
    async def orders(self: AccountLook, *_: Any) -> frozenset[str]:
        return frozenset()

    patch.setattr(AccountLook, "orders", orders)


def only_what_is_loaded(self: Flattening, halt: Halt, _all: Any = Flattening._books) -> Any:
    return {market: own for market, own in _all(self, halt).items() if all(row.is_live for row, _ in own)}


def held_on_the_disk(self: Ledger, instance_id: str, symbol: str, shadow: bool) -> Any:
    found = self._reads.query("SELECT * FROM books WHERE instance_id = ? AND symbol = ?", [instance_id, symbol])
    return holding_from(found[0]) if found else Holding(symbol)


def only_where_halts_let_it(self: OrderSteps, order: Order, *, despite_halt: bool = False) -> LastLook:
    return _at_cancel(self, order)


_at_cancel = OrderSteps.last_look_at_cancel


def all_that_rests(position: Decimal, orders: Sequence[Order]) -> tuple[Order, ...]:
    return tuple(orders)


def blind_to_strangers(patch: pytest.MonkeyPatch) -> None:
    """Only what is ours is looked at in a list."""
    listed = Withdrawal._listed

    async def ours(self: Withdrawal, *more: Any) -> set[str]:
        return {id_ for id_ in await listed(self, *more) if self._ledger.get(id_) is not None}

    patch.setattr(Withdrawal, "_listed", ours)


async def idle(self: DeadMan) -> None:
    """Nothing is armed."""


async def armed_only(self: DeadMan, account_id: str, seconds: int, _set: Any = DeadMan._set) -> None:
    if seconds:
        await _set(self, account_id, seconds)


def unlooked(patch: pytest.MonkeyPatch) -> None:
    """A cancel is looked at before it is on its way, and not again."""
    looked = OrderSteps.last_look_at_cancel

    def passing(self: OrderSteps, *more: Any, **named: Any) -> LastLook:
        look = looked(self, *more, **named)
        look._look = lambda: None
        return look

    patch.setattr(OrderSteps, "last_look_at_cancel", passing)


@dataclass(frozen=True)
class Rule:
    what: str
    off: Off
    scene: Scene
    caught: str
    """What the model says without it."""


NO_GATE = instead(Gatekeeper, "refusal", always(None))
RULES = (
    Rule("what was refused is looked up", instead(watch, "_may_be_more", only_what_was_accepted), misheard,
         "was placed, and is rejected in the ledger"),
    Rule("a start looks up what was refused", instead(Ledger, "refused", always([])), misheard_and_killed,
         "was placed, and is rejected in the ledger"),
    Rule("what was settled by hand is booked", instead(Verdict, "news", as_if_refused), settled_by_hand,
         "was placed, and is rejected in the ledger"),
    Rule("what is rounded up is booked", instead(request, "_ROUNDED_UP", Decimal(0)), rounded_up, "the ledger says"),
    Rule("what cannot be is not believed", instead(request, "_ROUNDED_UP", Decimal(1)), filled_by_far_too_much,
         "which nobody looked at, and it is booked"),
    Rule("an operator is believed", instead(Verdict, "news", only_what_was_ordered), filled_by_far_too_much,
         "the ledger says"),
    Rule("what turns up halts", instead(Settlement, "_halt", always(None)), settled_by_hand, "turned up, and"),
    Rule("what was misheard halts", instead(Settlement, "_halt", always(None)), misheard, "turned up, and"),
    Rule("one look is no proof of absence", written_off_at_once, late, "was given up after it was not found"),
    Rule("a doubt blocks", instead(OrderWatch, "obstacle", always("")), doubted, "are in doubt"),
    Rule("what is pending at a start is in doubt", instead(Ledger, "mark_unknown_on_startup", always([])), killed,
         "nobody waits for an answer any more"),
    Rule("an order is written down before it is sent", instead(Ledger, "appending", always(done())), failing,
         "left before it was in the ledger"),
    Rule("the gate is asked again", asked_once, closed_on_the_way, "left under"),
    Rule("who closes waits for what is being written", instead(Claims, "enter", always(None)),
         paused_while_it_is_written, "was still being written"),
    Rule("a halt is in force before it is stored", instead(Halts, "active", once_it_is_stored),
         halted_while_the_database_is_stuck, "left under"),
    Rule("the last look reads memory only", instead(Ledger, "passed", counted_on_the_disk), limited_by_the_minute,
         "the loop read the disk"),
    Rule("cancels are looked at when they are claimed", unlooked, halted_while_a_cancel_is_on_its_way,
         "a cancel left"),
    Rule("accounts are compared first", instead(Readiness, "pending", always("")), reconnected,
         "before its account was compared"),
    Rule("a full halt stops cancels", instead(Gatekeeper, "cancel_refusal", always(None)), cancelled_under_a_full_halt,
         "a cancel left"),
    Rule("a halt halts", NO_GATE, closed(("halt", ("instance", OURS.id, False))), "left under"),
    Rule("a declared halt halts", NO_GATE, closed(("declare", ("all", "", False))), "left under"),
    Rule("a pause pauses", NO_GATE, closed(("pause", None)), "its instance is paused"),
    Rule("off is off", NO_GATE, closed(("lower", Mode.OFF)), "left in mode off"),
    Rule("real money is committed", NO_GATE, uncommitted, "nothing was committed"),
    Rule("a ledger that lost rows opens nothing", instead(Wholeness, "behind", always(None)), put_back_and_waited,
         "left while the ledger is behind"),
    Rule("the first comparison comes first", instead(Wholeness, "pending", always("")), put_back_and_traded_at_once,
         "left while the ledger is behind"),
    Rule("an unknown order of ours is a lost row", instead(Wholeness, "is_ours", always(False)),
         put_back_with_an_order_that_rests, "left while the ledger is behind"),
    Rule("what the exchange holds bounds reductions", instead(Wholeness, "has_room", always(True)),
         put_back_after_sales, "left while the exchange holds 1, and is behind"),
    Rule("what is refused again and again is held back", instead(Brakes, "held", always("")), refused_again,
         "were refused in a row"),
    Rule("who was asked to wait waits", instead(RateLimits, "told", always("")), asked_to_wait, "was to wait"),
    Rule("an old quote measures nothing", instead(gatekeeper, "staleness", always(None)), on_an_old_quote,
         "on a quote of 3600"),
    Rule("a quote from ahead measures nothing", instead(gatekeeper, "staleness", always(None)), on_a_quote_from_ahead,
         "on a quote of -3600"),
    Rule("nothing leaves at market without a quote", any_quote_will_do, at_market_without_a_quote, "there is no quote"),
    Rule("who lowers waits for what is being written", instead(Claims, "enter", always(None)),
         lowered_while_it_is_written, "was still being written"),
    Rule("who halts waits for what is being written", instead(Claims, "enter", always(None)),
         halted_while_it_is_written, "was still being written"),
    Rule("who halts in full waits for a cancel that is being written", instead(Claims, "enter", always(None)),
         halted_at_a_cancel, "a cancel left"),
    Rule("who waits for what is being written holds nothing", locked_while_it_waits, paused_while_it_is_written,
         "holds what others need"),
    Rule("who waits for the disk holds nothing", stored_under_the_lock, halted_while_another_waits_for_the_disk,
         "had to wait for another's"),
    # Of halts that cancel and flatten.
    Rule("a halt cancels", instead(Withdrawal, "_halted", always(())), cancelled(0), "should have been cancelled"),
    Rule("what only reduces stays", instead(withdrawal, "exposing", all_that_rests), cancelled(2),
         "and nobody asked for it|a cancel left"),
    Rule("the engine's own cancels pass a full halt",
         instead(OrderSteps, "last_look_at_cancel", only_where_halts_let_it), cancelled(2),
         "should have been cancelled"),
    Rule("flattening waits for what is open", instead(Flattening, "_waiting", waiting_for("in doubt")),
         flattened("refused cancel_order goes wrong 99 times", 0, 2), "is open"),
    Rule("flattening waits for what is in doubt", instead(Flattening, "_waiting", waiting_for("still open")),
         flattened("an order that is not there is in doubt"), "is unknown"),
    Rule("flattening waits for what came to be in doubt meanwhile",
         instead(Flattening, "_objection", always("")), flattened("closing orders fill in part, and are dropped"),
         "is unknown"),
    Rule("flattening compares first", uncompared, flattened("it flaps after 1"), "before its account was compared"),
    Rule("what is closed is compared on this connection", instead(flattening._Seen, "is_current", True),
         flattened("flap at committed, taken"), "before its account was compared"),
    Rule("what is listed as open is open", instead(OrderWatch, "lingers", always([])),
         flattened("1 cancels are said to be done and are not", 0, 2), "is open at the exchange"),
    Rule("never more than the exchange holds", instead(flattening, "closing", whatever_the_exchange_holds),
         flattened("the exchange says that it holds 1"), "the exchange says 1"),
    Rule("never on the other side", instead(flattening, "closing", whatever_its_sign),
         flattened("somebody trades -4 after 1"), "the exchange says -"),
    Rule("one answer to all clients is the account's",
         instead(flattening, "surely", lambda told: added_up(i for held in told for i in held.items())),
         flattened("somebody trades -1 after 0", 3), "the exchange says"),
    Rule("one closing order a market", instead(Flattening, "_under_way", always([])), flattened("0 fills at once"),
         "is under way"),
    Rule("what does not fill is asked anew", instead(flattening, "PATIENCE", timedelta(days=1)),
         flattened("0 fills at once"), "should have been cancelled|not flat"),
    Rule("it closes within the collar", instead(flattening, "limit_price", always(Decimal("0.01"))),
         flattened("at its best"), "it may trade beyond"),
    Rule("the last look at a closing order", instead(Flattening, "_objection", always("")),
         flattened("lift at committed, taken"), "nothing is to be flattened"),
    Rule("the last look at a closing order reads memory only", instead(Ledger, "holding", held_on_the_disk),
         flattened("at its best"), "the loop read the disk"),
    Rule("what opposite instances cancel out is moved", instead(Ledger, "move", always(None)),
         flattened("at its best", 5), "not flat"),
    Rule("what is not loaded is flattened, too", instead(Flattening, "_books", only_what_is_loaded),
         flattened("the files are gone"), "not flat"),
    # Of calls that reach more than one order.
    Rule("what others placed is in no call's reach", blind_to_strangers, beside_a_stranger,
         "was in reach of a cancel_all"),
    Rule("a dead man's switch is armed", instead(DeadMan, "run", idle), left_resting, "no switch is armed"),
    Rule("it is not armed over others' orders", instead(Orphans, "snapshot", always(())), beside_a_stranger,
         "armed over"),
    Rule("it is disarmed once nothing is open", instead(DeadMan, "_set", armed_only), left_none_resting,
         "its switch is armed"),
)  # fmt: skip
SCENES = {rule.scene: rule.what for rule in RULES}


@pytest.fixture
def life(main_loop: MainLoop, empty_database: Path) -> Iterator[Life]:
    led = Life(main_loop, empty_database, extras=kills.EXTRAS)
    yield led
    if led.folder.exists():
        led.engine.stop()
        led.judge.close()


@pytest.mark.parametrize("scene", SCENES, ids=SCENES.values())
def test_with_every_rule_each_scene_is_a_life_like_any_other(scene: Scene, life: Life) -> None:
    scene(life)
    life.operator.lift_all()
    life.end()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.what)
def test_a_rule_that_is_switched_off_is_caught(rule: Rule, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    def lead() -> None:
        rule.scene(life)
        life.check()
        life.end()

    rule.off(monkeypatch)
    with pytest.raises(AssertionError, match=rule.caught):
        lead()


@dataclass(frozen=True)
class Elsewhere:
    """A rule that another test than one of this model holds, which fails without it."""

    what: str
    off: Off
    test: Callable[..., None]


def unwaited(self: Claims, instance_id: str = "") -> None:
    """Whoever closes something goes on at once."""


def claimed_at_the_start(patch: pytest.MonkeyPatch) -> None:
    """A call is looked at when it is begun, and not again."""
    begin = Handover.__init__

    def begun(self: Handover, look: Any = None) -> None:
        begin(self, look)
        if isinstance(look, LastLook):
            look.passes()
            look.over()
            look._look = always(None)

    patch.setattr(Handover, "__init__", begun)


def passing_where_it_fails(self: LastLook) -> Any:
    try:
        return self._look()
    except OSError:
        return None


async def claimed_first(self: HttpPool, request: Any, _handle: Any = HttpPool.handle_async_request) -> Any:
    """A call is claimed before its connection is there."""
    claim = request.extensions.get("claim")
    if claim is not None and not claim():
        raise Unclaimed("it may not leave any more")
    request.extensions = {**request.extensions, "claim": None}
    return await _handle(self, request)


async def posted_first(self: HttpPool, parcel: Parcel, *args: Any, _post: Any = HttpPool.post) -> Any:
    """The same, on the short way."""
    if not parcel.claim():
        raise Unclaimed("it may not leave any more")
    return await _post(self, replace(parcel, claim=lambda: True), *args)


def gone_with_it(self: HttpPool) -> Any:
    """A connection is made for each request."""
    return None


def asked_twice(self: Handover) -> bool:
    self._claimed = True
    return True


ELSEWHERE = (
    Elsewhere("what waited for its connection is looked at once it has one", claimed_at_the_start,
              dispatch.test_an_order_that_waits_for_its_connection_keeps_nobody_waiting_and_is_looked_at_once_it_has_one),
    Elsewhere("the last look reads memory only", instead(Ledger, "passed", counted_on_the_disk),
              dispatch.test_the_last_look_reads_memory_only),
    Elsewhere("what could not be looked at does not leave", instead(LastLook, "_looked", passing_where_it_fails),
              dispatch.test_a_last_look_that_fails_lets_nothing_leave),
    Elsewhere("who waits waits for what was claimed before", instead(Claims, "wait", unwaited),
              handover.test_who_waits_waits_for_what_was_claimed_before_and_no_longer),
    Elsewhere("the loop's thread never waits", instead(Claims, "wait", unwaited),
              handover.test_the_main_loop_never_waits_for_what_it_is_writing_itself),
    Elsewhere("what the last look refuses is not sent", instead(Handover, "claim", asked_twice),
              handover.test_what_the_last_look_refuses_is_never_sent_nor_waited_for),
    Elsewhere("a call is claimed once", instead(Handover, "claim", asked_twice),
              handover.test_a_call_is_claimed_once),
    Elsewhere("a call refused at its claim costs no connection", instead(HttpPool, "_kept", gone_with_it),
              http_pool.test_a_request_that_is_not_claimed_costs_no_connection),
    Elsewhere("a call is claimed once its connection is there",
              instead(HttpPool, "handle_async_request", claimed_first),
              http_pool.test_it_is_claimed_only_once_its_connection_is_there),
    Elsewhere("what is posted is claimed once its connection is there", instead(HttpPool, "post", posted_first),
              http_pool.test_what_is_posted_is_claimed_only_once_its_connection_is_there),
)  # fmt: skip


@pytest.mark.parametrize("rule", ELSEWHERE, ids=lambda rule: rule.what)
def test_a_rule_that_another_test_holds_and_that_is_switched_off_is_caught(
    rule: Elsewhere, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    wanted = inspect.signature(rule.test).parameters
    given = {name: request.getfixturevalue(name) for name in wanted}
    rule.off(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        rule.test(**given)


HEARD = (
    ("only what names a refusal is one", "says_refused", always(True)),
    ("what lies between counts more than words", "leaves_open", always(False)),
    ("an id that is taken is no refusal", "says_taken", always(False)),
    ("what an answer says is read where it says it", "told", always("insufficient funds")),
)
"""Rules of what is heard of a server, which the table of failures holds."""


@pytest.mark.parametrize(("name", "off"), [rule[1:] for rule in HEARD], ids=[rule[0] for rule in HEARD])
def test_a_rule_of_what_is_heard_that_is_switched_off_is_caught(
    name: str, off: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, name, off)

    def hear() -> None:
        for way in ("an error", "an error with its cause", "a status", "alpaca"):
            table.test_only_what_names_a_refusal_is_one_in_whatever_way_it_is_told(way)

    with pytest.raises(AssertionError):
        hear()
