"""What must hold of limits above the instances, said a second time: from rows read with SQL, and from what was told.

Nothing here asks the parts that are tested. Everything is filled at a hundred, without fees: nothing is ever realised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from reconciler.clock import Clock
from reconciler.records.accounts import Accounts, Scope, Throttle
from tests.simulation.exchange import PRICE, Exchange
from tests.simulation.table import Act

Columns = Mapping[str, Any]
Latch = tuple[str, str]
"""A scope, and a kind of money."""
GOOD_S = 60.0
"""So long what was told last is good."""
ZERO = Decimal(0)


class Whose(NamedTuple):
    """An instance, as far as limits go."""

    id: str
    account_id: str
    symbol: str


class Sent(NamedTuple):
    """An order that adds exposure, and left."""

    at_s: float
    instance_id: str
    account_id: str
    what: tuple[str, str, str]
    """Side, type and market."""


class Prices(NamedTuple):
    bid: Decimal
    ask: Decimal
    at_s: float


@dataclass
class Book:
    """What an instance holds, and its real orders that are open, or may be."""

    held: Decimal
    rows: Sequence[Columns]

    def open(self, side: str = "") -> list[Columns]:
        return [row for row in self.rows if row["is_open"] and side in ("", row["side"])]

    def rest(self, side: str) -> Decimal:
        return sum(map(_rest, self.open(side)), ZERO)

    @property
    def is_flat(self) -> bool:
        return not self.held and not self.open()


@dataclass
class Bounds:
    """What bounds, what is remembered of it, and what the engine was told. `books` tells an instance's, from rows."""

    clock: Clock
    exchange: Exchange
    instances: Sequence[Whose]
    books: Callable[[str], Book]
    accounts: list[Accounts]
    """The limits in force: while a pass reads others, both."""
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    kept: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Labels that an instance left with something open, and is bound by until it is flat."""
    lost_on: dict[Latch, date] = field(default_factory=dict)
    fallen: set[Latch] = field(default_factory=set)
    high: dict[Latch, Decimal] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    reduced: list[Sent] = field(default_factory=list)
    """Orders that left and only reduced, or left at the very moment at which a throttle's halt was lifted: no ledger
    tells that later, and the next engine counts them, too."""
    recounted: list[Sent] = field(default_factory=list)
    """Those, as it found them when it started, and what may have left when the last one ended."""
    struck: set[str] = field(default_factory=set)
    """Instances that the throttle halted."""
    prices: Prices | None = None
    equity: dict[str, tuple[Decimal, float]] = field(default_factory=dict)
    beside: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """What the engine has seen that an account holds of a market, beside what is booked."""
    moments: list[tuple[Prices | None, dict[str, tuple[Decimal, float]]]] = field(default_factory=list)
    """What was told since the beat began, step by step, from before it on; empty between beats."""
    cancellable: set[str] = field(default_factory=set)
    """Orders that were to be cancelled at a moment of this beat: engines decide at any of them."""
    resting: set[str] = field(default_factory=set)
    """Those of them that rested, known to, when the beat began."""
    peak: dict[Latch, Decimal] = field(default_factory=dict)
    perhaps_fallen: set[Latch] = field(default_factory=set)
    perhaps_lost_on: dict[Latch, date] = field(default_factory=dict)
    """The highest result that the engine may have measured, and what it may have latched: it measures within a beat,
    where something may be filled before or after. It excuses cancels, and forbids nothing."""

    # What happens

    def started(self) -> None:
        """Another engine, which was told nothing yet."""
        self.prices = None
        self.equity.clear()
        self.beside.clear()
        unsure = [
            Sent(since_epoch(row["created_at"]), one.id, one.account_id, what(row))
            for one in self.instances
            for row in self.books(one.id).open()
            if row["outcome"] != "accepted"
        ]
        self.recounted = [*self.reduced, *(one for one in unsure if one not in self.sent)]

    def told(self, tool: str, asked: Columns) -> None:
        """The exchange answered."""
        now_s = self.clock.monotonic()
        if tool == "get_quote":
            self.prices = Prices(self.exchange.bid, self.exchange.ask, now_s)
        if tool == "get_balances":
            self.equity[asked["account_id"]] = (self.exchange.equity[asked["account_id"]], now_s)
        if self.moments:
            self._heard()

    def labelled(self, instance_id: str, labels: dict[str, str]) -> None:
        before = {f"{key}={value}" for key, value in self.labels.get(instance_id, {}).items()}
        self.labels[instance_id] = labels
        now = {f"{key}={value}" for key, value in labels.items()}
        if not self.books(instance_id).is_flat:
            self.kept[instance_id] |= before - now
        self.kept[instance_id] -= now

    def look(self) -> None:
        """Who is flat is bound by what it left no more."""
        for instance_id in [id_ for id_, kept in self.kept.items() if kept]:
            if self.books(instance_id).is_flat:
                self.kept[instance_id].clear()

    def beat_begins(self) -> None:
        self.look()
        self.cancellable.clear()
        self.moments.clear()
        self._heard()
        self.resting = {row["client_order_id"] for row in self.unwanted() if row["outcome"] == "accepted"}

    def beat_ends(self) -> None:
        self.moments.clear()
        self.look()

    def _heard(self) -> None:
        heard = (self.prices, dict(self.equity))
        if heard not in self.moments:
            self.moments.append(heard)

    def moment(self, books: Callable[[str], Book]) -> None:
        """Something was told, or booked: whatever the engine has heard of it by now, it may decide from here on."""
        for prices, equity in self.moments:
            then = replace(self, prices=prices, equity=equity, books=books)
            then._perhaps_latch()
            self.cancellable |= {row["client_order_id"] for row in then._perhaps_unwanted()}

    def _perhaps_latch(self) -> None:
        for scope, kind in self._scopes():
            latch, most = (str(scope), kind), scope.ceilings
            if self._is_blind(scope, kind):
                continue
            if most.max_daily_loss is not None and self._loss(scope, kind) >= most.max_daily_loss:
                self.perhaps_lost_on[latch] = self._today()
            if most.max_drawdown is not None:
                result = self._result(scope, kind)
                self.peak[latch] = max(result, self.peak.get(latch, ZERO))
                if self.peak[latch] - result >= most.max_drawdown:
                    self.perhaps_fallen.add(latch)

    def _perhaps_unwanted(self) -> Iterator[Columns]:
        fallen, lost_on = self.fallen | self.perhaps_fallen, {**self.lost_on, **self.perhaps_lost_on}
        return replace(self, fallen=fallen, lost_on=lost_on).unwanted()

    def measured(self) -> None:
        """A beat has passed in which nothing was filled, and the engine measured what there is."""
        for scope, kind in self._scopes():
            latch, most = (str(scope), kind), scope.ceilings
            if self._is_blind(scope, kind):
                continue
            if most.max_daily_loss is not None and self._loss(scope, kind) >= most.max_daily_loss:
                self.lost_on[latch] = self._today()
            if most.max_drawdown is not None:
                result = self._result(scope, kind)
                self.high[latch] = max(result, self.high.get(latch, result))
                if self.high[latch] - result >= most.max_drawdown:
                    self.fallen.add(latch)

    def lifted(self, scope: str) -> None:
        """A person lifted the drawdown."""
        self.fallen = {latch for latch in self.fallen if latch[0] != scope}
        self.high = {latch: high for latch, high in self.high.items() if latch[0] != scope}
        self.perhaps_fallen = {latch for latch in self.perhaps_fallen if latch[0] != scope}
        self.peak = {latch: high for latch, high in self.peak.items() if latch[0] != scope}

    def unhalted(self, instance_id: str) -> None:
        """The throttle's halt was lifted: counting begins anew."""
        if instance_id in self.struck:
            self.struck.discard(instance_id)
            now = [one for one in self.sent if one.instance_id == instance_id and one.at_s == self.clock.time()]
            for counted in (self.sent, self.reduced, self.recounted):
                counted[:] = [one for one in counted if one.instance_id != instance_id]
            self.reduced += now

    # What must hold

    def leaves(self, instance: Whose, asked: Columns, act: Act) -> None:
        """An order leaves, at this moment; its row is there. Raises AssertionError where it must not."""
        leaving = Sent(self.clock.time(), instance.id, instance.account_id, what(asked))
        if act is Act.REDUCES:
            self.reduced.append(leaving)
            return
        for scope, kind in self._scopes():
            if kind == self.kind(instance) and self.covers(scope, instance):
                for why in self.exceeded(scope, kind, instance, asked["side"]):
                    raise AssertionError(f"an order that {act} left though {scope}: {why}")
        for throttle, same in self._throttles(instance, asked, self.sent):
            raise_if = f"{len(same)} same orders left within {throttle.within_minutes} min"
            assert len(same) < throttle.same_orders, f"an order that {act} left though {raise_if}"
        self.sent.append(leaving)

    def refused(self, instance: Whose, row: Columns, act: Act) -> str:
        """What a refusal by a limit above the instance names. Raises AssertionError where nothing was in its way."""
        assert act is not Act.REDUCES, f"an order that only reduces was refused: {row['reason']}"
        scope_text, _, told = row["reason"].removeprefix("Limit: ").partition(": ")
        limit = told.partition(":")[0]
        if scope_text == "throttle":
            counted = sorted((*self.sent, *self.recounted))
            rules = self._throttles(instance, row, counted)
            found = [same for throttle, same in rules if len(same) >= throttle.same_orders]
            assert found, f"there was room: {row['reason']}"
            self.struck |= {instance.id, *(one.instance_id for same in found for one in same)}
            return "throttle"
        scopes = [one for one, kind in self._scopes() if str(one) == scope_text and kind == self.kind(instance)]
        assert scopes, f"nothing of that bounds: {row['reason']}"
        assert any(self.covers(scope, instance) for scope in scopes), f"another's limit: {row['reason']}"
        if "cannot be measured" in told:
            return f"{scope_text}: not measured"  # from a start until the first beat it is so, whatever is quoted
        if limit in ("max_open_orders", "max_gross_notional", f"max_position[{instance.symbol}]", "min_equity"):
            found_out = [
                why
                for scope in scopes
                for why in self.exceeded(scope, self.kind(instance), instance, row["side"], row)
                if why.startswith(limit)
            ]
            assert found_out, f"there was room: {row['reason']}"
        return f"{scope_text}: {limit}"

    def exceeded(
        self, scope: Scope, kind: str, instance: Whose, side: str, with_row: Columns | None = None
    ) -> Iterator[str]:
        """What keeps an order of `side` from leaving, as the rows stand; `with_row`: as if that were open, too."""
        most = scope.ceilings
        books = {one.id: self.books(one.id) for one in self._members(scope, kind)}
        if with_row is not None:
            extra = {**with_row, "is_open": 1, "filled_quantity": "0"}
            books[instance.id] = Book(books[instance.id].held, [*books[instance.id].rows, extra])
        number = sum(len(book.open()) for book in books.values())
        if most.max_open_orders is not None and number > most.max_open_orders:
            yield f"max_open_orders: {number} of {most.max_open_orders}"
        if (quantity := most.max_position.get(instance.symbol)) is not None:
            worst = self._worst(scope, kind, books, instance.symbol, side)
            if worst > quantity:
                yield f"max_position[{instance.symbol}]: {worst} of {quantity}"
        if most.max_gross_notional is not None:
            gross = self._gross(scope, kind, books)
            if gross is None or gross > most.max_gross_notional:
                yield f"max_gross_notional: {gross} of {most.max_gross_notional}"
        if most.max_turnover is not None:
            traded = self._traded(books, most.max_turnover.within_minutes * 60)
            if traded is None or traded > most.max_turnover.amount:
                yield f"max_turnover: {traded} of {most.max_turnover.amount}"
        yield from self._latched(scope, kind)

    def unwanted(self) -> Iterator[Columns]:
        """The open orders that are to be cancelled, for a limit of a scope of theirs is reached, and they would add."""
        for scope, kind in self._scopes():
            members = self._members(scope, kind)
            books = {one.id: self.books(one.id) for one in members}
            for one in members:
                if self._is_reached(scope, kind, books, one.symbol):
                    yield from exposing(books[one.id])

    def kind(self, instance: Whose) -> str:
        return self.accounts[-1].money(instance.account_id) or ""

    def covers(self, scope: Scope, instance: Whose) -> bool:
        labels = {f"{key}={value}" for key, value in self.labels.get(instance.id, {}).items()}
        if scope.kind == "label":
            return scope.id in labels | self.kept[instance.id]
        return scope.kind == "all" or scope.id == instance.account_id

    # How it is reckoned

    def _scopes(self) -> Iterator[tuple[Scope, str]]:
        seen: list[tuple[Scope, str]] = []
        for accounts in self.accounts:
            for scope in accounts.scopes():
                for kind in ("real", "paper"):
                    if (scope, kind) not in seen:
                        seen.append((scope, kind))
                        yield scope, kind

    def _members(self, scope: Scope, kind: str) -> list[Whose]:
        return [one for one in self.instances if self.kind(one) == kind and self.covers(scope, one)]

    def _worst(self, scope: Scope, kind: str, books: Mapping[str, Book], symbol: str, side: str) -> Decimal:
        """The most that orders of that side can make of all positions in a market, at the worse of book and exchange.

        Without a side, of either.
        """
        own = [books[one.id] for one in self._members(scope, kind) if one.symbol == symbol]
        booked = sum((book.held for book in own), ZERO)
        accounts = {one.account_id for one in self._members(scope, kind) if one.symbol == symbol}
        there = booked + sum((self.beside.get((account_id, symbol), ZERO) for account_id in accounts), ZERO)
        longest = max(booked, there) + sum((book.rest("buy") for book in own), ZERO)
        shortest = -min(booked, there) + sum((book.rest("sell") for book in own), ZERO)
        return {"buy": longest, "sell": shortest}.get(side, max(longest, shortest))

    def _gross(self, scope: Scope, kind: str, books: Mapping[str, Book]) -> Decimal | None:
        """The most that all of it may come to be worth; None where nobody knows."""
        known = self._known()
        found = ZERO
        for book in books.values():
            if known is None and (book.held or any(map(_needs_quote, book.open()))):
                return None
            held = abs(book.held) * (ZERO if known is None else known.ask)
            worth = [held]
            for side, sign in (("buy", 1), ("sell", -1)):
                dear = [(_rest(row), _dear(row, known)) for row in book.open(side)]
                if book.held * sign >= 0:
                    worth.append(held + sum((rest * price for rest, price in dear), ZERO))
                elif (beyond := book.rest(side) - abs(book.held)) > 0:
                    worth.append(beyond * max(price for _, price in dear))
            found += max(worth)
        for (account_id, symbol), more in self.beside.items():
            own = [one for one in self._members(scope, kind) if (one.account_id, one.symbol) == (account_id, symbol)]
            if own and more:
                everybody = [o for o in self.instances if (o.account_id, o.symbol) == (account_id, symbol)]
                booked = [self.books(o.id).held for o in everybody]
                excess = abs(sum(booked, ZERO) + more) - sum(map(abs, booked), ZERO)
                found += max(ZERO, excess) * (ZERO if known is None else known.ask)
        return found

    def _traded(self, books: Mapping[str, Book], within_s: float) -> Decimal | None:
        """What was filled within so long, as far as it is booked, and all that is open as if it were filled now."""
        known, since_s, found = self._known(), self.clock.time() - within_s, ZERO
        for book in books.values():
            for row in book.rows:
                placed, booked = self.exchange.orders.get(row["client_order_id"]), Decimal(row["filled_quantity"])
                for at_s, quantity in () if placed is None else placed.fills:
                    counted = min(quantity, booked)
                    booked -= counted
                    found += counted * PRICE if at_s > since_s else ZERO
                if row["is_open"]:
                    if known is None and _needs_quote(row):
                        return None
                    found += _rest(row) * _dear(row, known)
        return found

    def _latched(self, scope: Scope, kind: str) -> Iterator[str]:
        most, latch = scope.ceilings, (str(scope), kind)
        is_blind = self._is_blind(scope, kind)
        if most.max_daily_loss is not None:
            if self.lost_on.get(latch) == self._today():
                yield "max_daily_loss: it was reached today"
            elif is_blind or self._loss(scope, kind) >= most.max_daily_loss:
                yield f"max_daily_loss: {'what is held has no quote' if is_blind else self._loss(scope, kind)}"
        if most.max_drawdown is not None:
            if latch in self.fallen:
                yield "max_drawdown: it was reached, and nobody has lifted it"
            elif is_blind:
                yield "max_drawdown: what is held has no quote"
        if most.min_equity is not None:
            told = self.equity.get(scope.id)
            if told is None or self.clock.monotonic() - told[1] > GOOD_S:
                yield "min_equity: nobody told"
            elif told[0] < most.min_equity:
                yield f"min_equity: {told[0]} of {most.min_equity}"

    def _is_reached(self, scope: Scope, kind: str, books: Mapping[str, Book], symbol: str) -> bool:
        """Whether nothing that adds may rest: for want of a measure only once it lacks for long."""
        most = scope.ceilings
        quantity = most.max_position.get(symbol)
        if quantity is not None and self._worst(scope, kind, books, symbol, "") > quantity:
            return True
        number = sum(len(book.open()) for book in books.values())
        if most.max_open_orders is not None and number > most.max_open_orders:
            return True
        gross = None if most.max_gross_notional is None else self._gross(scope, kind, books)
        if gross is not None and most.max_gross_notional is not None and gross > most.max_gross_notional:
            return True
        if most.max_turnover is not None:
            traded = self._traded(books, most.max_turnover.within_minutes * 60)
            if traded is not None and traded > most.max_turnover.amount:
                return True
        return any("has no quote" not in why and "nobody told" not in why for why in self._latched(scope, kind))

    def _throttles(
        self, instance: Whose, asked: Columns, sent: Sequence[Sent]
    ) -> Iterator[tuple[Throttle, list[Sent]]]:
        """Each throttle in its way, and those of `sent` that are the same: all run one code."""
        accounts = self.accounts[-1]
        account = accounts.get(instance.account_id)
        same = [one for one in sent if one.what == what(asked)]
        own = [one for one in same if one.instance_id == instance.id]
        there = [one for one in same if one.account_id == instance.account_id]
        kinds = {one.account_id: accounts.money(one.account_id) for one in self.instances}
        alike = [one for one in same if kinds[one.account_id] == self.kind(instance)]
        for throttle, counted in (
            (None if account is None else account.throttle, (own, there)),
            (accounts.throttle, (own, alike)),
        ):
            if throttle is not None:
                since_s = self.clock.time() - throttle.within_minutes * 60
                yield from ((throttle, [one for one in found if one.at_s > since_s]) for found in counted)

    def _known(self) -> Prices | None:
        """What the engine was told last, while it is good."""
        if self.prices is None or self.clock.monotonic() - self.prices.at_s > GOOD_S:
            return None
        return self.prices

    def _is_blind(self, scope: Scope, kind: str) -> bool:
        return self._known() is None and any(self.books(one.id).held for one in self._members(scope, kind))

    def _loss(self, scope: Scope, kind: str) -> Decimal:
        return sum((-min(ZERO, made) for made in self._made(scope, kind)), ZERO)

    def _result(self, scope: Scope, kind: str) -> Decimal:
        return sum(self._made(scope, kind), ZERO)

    def _made(self, scope: Scope, kind: str) -> Iterator[Decimal]:
        """What each made on what it holds, bought or sold at a hundred."""
        known = self._known()
        for one in self._members(scope, kind):
            held = self.books(one.id).held
            if held and known is not None:
                yield held * ((known.bid if held > 0 else known.ask) - PRICE)

    def _today(self) -> date:
        return datetime.fromtimestamp(self.clock.time(), UTC).date()


def what(row: Columns) -> tuple[str, str, str]:
    return row["side"], row["type"], row["symbol"]


def since_epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def exposing(book: Book) -> list[Columns]:
    """The open orders that could add: of the reducing side, all but the oldest that together are no more than held."""
    reducing, room, found = "sell" if book.held > 0 else "buy", abs(book.held), []
    for row in sorted(book.open(), key=lambda row: (row["created_at"], row["client_order_id"])):
        if book.held and row["side"] == reducing and _rest(row) <= room:
            room -= _rest(row)
        else:
            found.append(row)
    return found


def _rest(row: Columns) -> Decimal:
    return Decimal(row["quantity"]) - Decimal(row["filled_quantity"])


def _needs_quote(row: Columns) -> bool:
    return row["side"] == "sell" or row["limit_price"] is None


def _dear(row: Columns, known: Prices | None) -> Decimal:
    """The most that it may trade at: who sells for less than is bid is paid what is bid."""
    limit = None if row["limit_price"] is None else Decimal(row["limit_price"])
    if row["side"] == "buy" and limit is not None:
        return limit
    quoted = None if known is None else known.ask if row["side"] == "buy" else known.bid
    return max(one for one in (limit, quoted) if one is not None)
