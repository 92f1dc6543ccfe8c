"""Whether ledgers are whole: whether they lost rows, as one that was put back or damaged did, is seen at the exchange.

What an account holds beside what the ledger booked is kept. After a start it has to be the same, or rows are missing,
or somebody traded by hand while nobody looked; and an open order with an id that this ledger made, and does not know,
is one of a row that is gone. Real money then waits for a person. While the engine runs, what others trade is seen.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from reconciler import exact
from reconciler.clock import Clock, iso
from reconciler.errors import ExecUnavailable
from reconciler.exec_mcp.server import unseen
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.tally import Held, differences
from reconciler.orders.news import Shares
from reconciler.orders.order import PREFIX_LENGTH, Order, Side, decimal_text, made_ms, prefix, tag_of
from reconciler.ports import EventLog
from reconciler.records.event import EventReason
from reconciler.store.ledger import Ledger
from reconciler.store.scope_book import Kept

_LOOKS = 3
"""What differs otherwise at so many looks in a row is no fill on its way any more, though no two of them agree."""
_WELL = 2
"""So many looks in a row must find nothing before a ledger that was behind counts as whole again."""
_UNTOLD_FEES = Decimal("0.01")
"""The part of what was filled that exchanges may have kept as a fee, where they do not tell fees."""
_DOUBLES = Decimal("1e-9")
"""By less than this part, what is held differs only because a server adds doubles up."""
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Gap:
    """What an account holds of a symbol, what its instances' fills make, and what was beside these before."""

    symbol: str
    theirs: Decimal
    ours: Decimal
    kept: Decimal

    def __str__(self) -> str:
        theirs, ours, kept = map(decimal_text, (self.theirs, self.ours, self.kept))
        return f"the exchange holds {theirs} {self.symbol}, the instances' fills make {ours}, beside them were {kept}"


@dataclass(frozen=True, slots=True)
class Behind:
    """An account whose ledger is not whole. `strays` are open orders of rows that are gone, by client_order_id.

    `beside` is what the exchange held beside what was booked at the last look, by symbol; None where it does not tell.
    """

    account_id: str
    at: str
    gaps: tuple[Gap, ...]
    strays: tuple[str, ...]
    beside: Mapping[str, Decimal] | None
    is_elsewhere: bool = False
    """True where what is held was traded for real money, and the account's money is said not to be real now."""

    @property
    def what(self) -> str:
        """What is not as it should be."""
        found = list(map(str, self.gaps))
        if self.strays:
            found.append(f"open there, and unknown to the ledger that made their ids: {', '.join(self.strays)}")
        return "; ".join(found)

    @property
    def message(self) -> str:
        if self.is_elsewhere:
            return (
                f"what the instances of account {self.account_id} hold was traded for real money, and the settings do"
                f" not say so of it now: {self.what}; put {self.account_id} back into reconciler.yaml, or say what is"
                f" whose: reconciler exec settle {self.account_id}"
            )
        return (
            f"the ledger of account {self.account_id} lost rows, or somebody traded there while no engine ran:"
            f" {self.what}; only cancels leave, and what reduces a position that both know of; look at the exchange,"
            f" then say what is whose: reconciler exec settle {self.account_id}"
        )


@dataclass(slots=True)
class _Looks:
    """What the last looks at an account found. `last` are its differences, None where the exchange did not tell."""

    number: int = 0
    well: int = 0
    last: dict[str, Decimal] | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """What one look found. `differences` are what is held beside what is booked, where that is not zero."""

    account_id: str
    lost: tuple[str, ...]
    theirs: Held | None
    ours: Held
    kept: Mapping[str, Kept] | None
    differences: dict[str, Decimal] | None = field(init=False)

    def __post_init__(self) -> None:
        found = None if self.theirs is None else differences(self.theirs, self.ours)
        object.__setattr__(self, "differences", found)


class Wholeness:
    """`look` blocks, and is called on one thread; everything else from any, and `has_room` from memory."""

    def __init__(self, ledger: Ledger, servers: Servers, events: EventLog, clock: Clock) -> None:
        self._ledger = ledger
        self._servers = servers
        self._events = events
        self._clock = clock
        self._looks: dict[str, _Looks] = {}
        self._decided: set[str] = set()
        self._behind: dict[str, Behind] = {}
        self._obstacles: dict[str, str] = {}
        self._is_held: dict[str, bool] = {}
        """Of accounts whose money is not real now: whether what is held on them was traded for real money."""
        self._last_fills: dict[str, int] = {}
        """Up to which fill it was looked whether fees were told."""

    def pending(self, account_id: str) -> str:
        """Why no order of the account may leave yet: real money waits for the first comparison after a start."""
        if account_id in self._decided or not (self._is_real(account_id) or self._holds_real(account_id)):
            return ""
        why = f"comparing what account {account_id} holds with the ledger, for the first time since the start"
        obstacle = self._obstacles.get(account_id, "")
        return f"{why}: {obstacle}" if obstacle else why

    def _is_real(self, account_id: str) -> bool:
        return self._servers.accounts.is_real(account_id)

    def _holds_real(self, account_id: str) -> bool:
        """Whether books of real money stand on an account whose money is not, so that one would be put upon the other:
        its settings were lost, say, and the embedded exchange takes any account. Asked once a start."""
        if account_id not in self._is_held:
            self._is_held[account_id] = self._ledger.holds_real_money(account_id)
        return self._is_held[account_id]

    def behind(self, account_id: str) -> Behind | None:
        """What is wrong with the account's ledger; None where it is whole, or its money is not real."""
        return self._behind.get(account_id)

    def beside(self, account_id: str) -> Mapping[str, Decimal] | None:
        """What the exchange held beside what was booked at the last look, by market; None where it does not tell."""
        looks = self._looks.get(account_id)
        return None if looks is None else looks.last

    def unseen(self, account_id: str) -> str:
        """Why rows that the ledger lost cannot be seen on the account; empty where they can."""
        try:
            return unseen(self._servers.reaching(account_id).status)
        except ExecUnavailable:
            return ""

    def all_behind(self) -> tuple[Behind, ...]:
        return tuple(behind for _, behind in sorted(self._behind.items()))

    def is_urgent(self, account_id: str) -> bool:
        """True where somebody waits for the next look."""
        return account_id not in self._decided or account_id in self._behind

    def suspects(self, account_id: str) -> bool:
        """True where the first look found something that fills on their way may explain."""
        looks = self._looks.get(account_id)
        return account_id not in self._decided and looks is not None and looks.number > 0

    def failed(self, account_id: str, why: str) -> None:
        """It could not be compared."""
        self._obstacles[account_id] = why

    def has_room(self, order: Order) -> bool:
        """Whether the order, on an account that is behind, only reduces what the exchange holds, too.

        The exchange holds now what it held beside the ledger at the last look, and what is booked; all that is open
        on the side of the order, whoever's it is, may fill first.
        """
        origin, symbol = order.provenance, order.provenance.symbol
        behind = self._behind.get(origin.account_id)
        if behind is None:
            return True
        if behind.beside is None:
            return False
        # What is open before what is booked: a fill that is booked in between counts twice, never not at all.
        rests = [
            exact.subtract(other.quantity, other.filled_quantity)
            for other in self._ledger.open_on(origin.account_id, symbol)
            if other.side is order.side and other.client_order_id != order.client_order_id
        ]
        booked = self._ledger.held_on(origin.account_id, symbol)
        held = exact.add(booked, behind.beside.get(symbol, _ZERO))
        room = held if order.side is Side.SELL else exact.negative(held)
        return exact.add(order.quantity, exact.total(rests)) <= room

    def is_ours(self, client_order_id: str) -> bool:
        """Whether this ledger made that id, so that it ought to know the order. Blocks."""
        tag = tag_of(client_order_id)
        if tag:
            return tag in self._ledger.tags
        began = self._ledger.earliest()
        if tag is None or began is None or made_ms(client_order_id) < began.timestamp() * 1000:
            return False
        # Of before there were tags: another database may have had an instance of that name, but not at that time.
        return client_order_id[:PREFIX_LENGTH] in set(map(prefix, self._ledger.instance_ids()))

    def look(
        self,
        account_id: str,
        unknown: Collection[str],
        theirs: Held | None,
        ours: Held,
        unasked: Collection[str] = (),
    ) -> bool:
        """The account was compared: `unknown` are orders listed as open that the ledger does not know, `theirs` what
        the exchange holds, None where it does not tell; `unasked` the markets of orders that are yet to be looked up.
        True where another look is to follow soon. Raises StoreError.
        """
        self._obstacles.pop(account_id, None)
        book = self._ledger.differences
        lost = [id for id in unknown if self.is_ours(id)]
        settled = book.strays(account_id) if lost else frozenset()
        found = _Found(account_id, tuple(sorted(set(lost) - settled)), theirs, ours, book.kept(account_id))
        looks = self._looks.setdefault(account_id, _Looks())
        before, looks.last = looks.last, found.differences
        looks.number += 1
        if not self.is_urgent(account_id):
            if found.lost:
                self._fall_behind(found, (), found.lost)
            else:
                self._keep(found, before, unasked)
            return False
        return self._judge(found, before, looks)

    def settle(self, account_id: str, unknown: Collection[str], theirs: Held | None, ours: Held, shares: Shares) -> str:
        """A person says whose is what the account holds, as just looked at; the other arguments are those of `look`.

        Why that cannot be taken, empty where it was: then the ledger is whole. Blocks; raises StoreError.
        """
        book = self._ledger.differences
        found = _Found(account_id, (), theirs, ours, book.kept(account_id))
        if theirs is None and (shares.assigned or shares.outside):
            return (
                "its server does not tell what it holds, so nothing can be held against that: put books right with"
                " reconciler book, and settle it without --assign and --outside"
            )
        if not (shares.assigned or shares.outside or account_id in self._behind):
            return "its ledger is not behind: there is nothing to settle"
        if self._ledger.held(account_id) != ours:
            return "something was filled there just now: try again"
        beside = self._beside(found, shares)
        if fault := _stranger(self._ledger.books_on(account_id), shares) or self._remainder(found, shares, beside):
            return fault
        if shares.assigned:
            self._ledger.correct(shares.assigned)
        book.keep(account_id, beside)
        book.settle_strays(account_id, [id for id in unknown if self.is_ours(id)])
        self._looks.pop(account_id, None)
        self._is_held.pop(account_id, None)
        self._decided.add(account_id)
        self._behind.pop(account_id, None)
        return ""

    def _beside(self, found: _Found, shares: Shares) -> dict[str, Decimal]:
        """What is beside the books from now on: as said; else as it was kept, or, where that is so, as it is."""
        now, gaps = found.differences or {}, {gap.symbol: gap.kept for gap in self._gaps(found)}
        return {**now, **gaps, **shares.outside}

    def _remainder(self, found: _Found, shares: Shares, beside: Mapping[str, Decimal]) -> str:
        """Where what was said does not add up to what the exchange holds; empty where it does, to the digit."""
        if found.theirs is None:
            return ""
        booked = dict(found.ours)
        for instance_id, (market, quantity) in self._ledger.books_on(found.account_id).items():
            if (said := shares.assigned.get(instance_id)) is not None:
                change = exact.subtract(said.quantity, quantity)
                booked[market] = exact.add(_of(booked, market), change)
        faults = []
        for symbol in sorted({*found.theirs, *booked, *beside}):
            held, own, outside = _of(found.theirs, symbol), _of(booked, symbol), _of(beside, symbol)
            if missing := exact.subtract(held, exact.add(own, outside)):
                told = [decimal_text(quantity) for quantity in (held, own, outside, missing)]
                faults.append(
                    "{symbol}: the exchange holds {0}; the instances hold {1} and {2} is outside of them: {3} is"
                    " nobody's".format(*told, symbol=symbol)
                )
        return "; ".join(faults)

    def _judge(self, found: _Found, before: Mapping[str, Decimal] | None, looks: _Looks) -> bool:
        """What a look means after a start, and while the ledger is behind."""
        now, gaps = found.differences or {}, self._gaps(found)
        steady = before is not None and all(before.get(gap.symbol, _ZERO) == _of(now, gap.symbol) for gap in gaps)
        is_behind = found.account_id in self._behind
        if found.lost or (gaps and (is_behind or steady or looks.number >= _LOOKS)):
            looks.well = 0
            self._fall_behind(found, gaps, found.lost)
            return False
        if gaps:
            return True
        if found.kept is None and now and before != now and looks.number < _LOOKS:
            return True
        looks.well += 1
        if is_behind and looks.well < _WELL:
            return True
        self._is_whole(found, is_behind)
        return False

    def _gaps(self, found: _Found) -> tuple[Gap, ...]:
        """The differences that are others than the kept ones, by more than what explains itself."""
        if found.theirs is None or found.differences is None or found.kept is None:
            return ()
        gaps = []
        for symbol in sorted({*found.differences, *found.kept}):
            theirs, ours, kept = _of(found.theirs, symbol), _of(found.ours, symbol), found.kept[symbol]
            moved = exact.subtract(_of(found.differences, symbol), kept.quantity)
            if not moved:
                continue
            # What a person put right since then differs less by that, or was what differed before.
            corrected = self._ledger.differences.corrected_since(found.account_id, symbol, kept.last_correction)
            by = min(exact.size(moved), exact.size(exact.add(moved, corrected)))
            if by > self._tolerance(found, symbol, max(exact.size(theirs), exact.size(ours))):
                gaps.append(Gap(symbol, theirs, ours, kept.quantity))
        return tuple(gaps)

    def _tolerance(self, found: _Found, symbol: str, largest: Decimal) -> Decimal:
        fees = exact.multiply(self._filled_at_untold_fees(found, symbol), _UNTOLD_FEES)
        return max(fees, exact.multiply(largest, _DOUBLES))

    def _filled_at_untold_fees(self, found: _Found, symbol: str) -> Decimal:
        """What was filled since the difference was kept, both sides together; zero where all its fees are known."""
        assert found.kept is not None
        since = found.kept[symbol].last_fill
        filled, is_told = self._ledger.differences.filled_since(found.account_id, symbol, since)
        return _ZERO if is_told else filled

    def _fall_behind(self, found: _Found, gaps: tuple[Gap, ...], lost: tuple[str, ...]) -> None:
        account_id, known = found.account_id, self._behind.get(found.account_id)
        at = iso(self._clock.time()) if known is None else known.at
        is_elsewhere = not self._is_real(account_id) and self._holds_real(account_id)
        behind = Behind(account_id, at, gaps, lost, found.differences, is_elsewhere)
        is_real = is_elsewhere or self._is_real(account_id)
        if known is None or set(lost) - set(known.strays):
            more = "" if is_real else "; its money is not real, so it trades on"
            self._events.record(
                None, "Warning", EventReason.LEDGER_BEHIND, f"account {account_id}: {behind.what}{more}"
            )
        if is_real:
            self._behind[account_id] = behind
        else:
            self._ledger.differences.settle_strays(account_id, lost)  # told, and that is all there is to it
            self._ledger.differences.keep(
                account_id, {gap.symbol: _of(found.differences or {}, gap.symbol) for gap in gaps}
            )
        self._decided.add(account_id)

    def _is_whole(self, found: _Found, was_behind: bool) -> None:
        account_id, now = found.account_id, found.differences
        if now is not None and found.kept is None:
            self._ledger.differences.keep(account_id, now)
            if now:
                beside = ", ".join(f"{decimal_text(quantity)} {symbol}" for symbol, quantity in sorted(now.items()))
                what = f"beside what the instances' fills make it holds {beside}, which counts as held before"
                self._events.record(None, "Normal", EventReason.BASELINE_TAKEN, f"account {account_id}: {what}")
        if was_behind:
            self._behind.pop(account_id, None)
            what = "what the exchange has is what the ledger makes again"
            self._events.record(None, "Normal", EventReason.LEDGER_WHOLE, f"account {account_id}: {what}")
        self._decided.add(account_id)

    def _keep(self, found: _Found, before: Mapping[str, Decimal] | None, unasked: Collection[str]) -> None:
        """Keep what two looks agreed on, where it is news."""
        now, kept = found.differences, found.kept
        if now is None or before is None:
            return
        if kept is None:
            self._ledger.differences.keep(found.account_id, now)
            return
        # What nobody told the fees of may differ by them the next time: that it does not now is kept, too.
        since = self._last_fills.get(found.account_id, max((one.last_fill for one in kept.values()), default=0))
        untold, last_fill = self._ledger.differences.untold_since(found.account_id, since)
        # What an order in doubt, or one that was not looked up yet, may explain is not kept: it will be booked.
        in_doubt = {
            o.provenance.symbol for o in self._ledger.unresolved() if o.provenance.account_id == found.account_id
        }
        symbols = {*now, *before, *kept, *untold} - in_doubt - set(unasked)
        agreed = {symbol: _of(now, symbol) for symbol in symbols if _of(now, symbol) == _of(before, symbol)}
        if news := {s: quantity for s, quantity in agreed.items() if s in untold or not self._is_kept(found, s)}:
            self._ledger.differences.keep(found.account_id, news)
        if untold <= agreed.keys():
            self._last_fills[found.account_id] = last_fill

    def _is_kept(self, found: _Found, symbol: str) -> bool:
        """Whether it is the same, and no correction may explain another."""
        assert found.kept is not None
        kept = found.kept[symbol]
        is_same = kept.quantity == _of(found.differences or {}, symbol)
        return is_same and not self._ledger.differences.corrected_since(found.account_id, symbol, kept.last_correction)


def _stranger(books: Mapping[str, tuple[str, Decimal]], shares: Shares) -> str:
    """Which instance that something was assigned to is none of the account, or was assigned nonsense; else empty."""
    strange = sorted(set(shares.assigned) - set(books))
    senseless = [f"{id}: {fault}" for id, said in shares.assigned.items() if (fault := said.fault())]
    if senseless:
        return "; ".join(senseless)
    return f"{', '.join(strange)}: expected an instance on it, one of {', '.join(sorted(books))}" if strange else ""


def _of(held: Mapping[str, Decimal], symbol: str) -> Decimal:
    return held.get(symbol, _ZERO)
