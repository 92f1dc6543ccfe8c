"""What the engine knows of orders beyond the ledger: one value an order, all of it from memory.

An order is in doubt where nobody knows whether it was placed, and denied where an exchange that took it says that it
knows none. How often that must be said before it counts, and when an order that is over is looked up once more, stands
here, too. Asks nobody and writes nothing down.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from reconciler.clock import Clock, iso
from reconciler.orders.order import Order, Outcome, RejectedBy
from reconciler.records.event import EventReason

ANSWERS = 3
SPREAD_S = 30.0
"""An exchange that does not know an order may only be slow: so many answers, over so long, say that there is none."""
LATELY = timedelta(days=1)
"""For so long after its end an order is asked for by the next engine, which cannot know whether this one did.

Of the time for which engines live: while none does, or the machine sleeps, nothing grows old.
"""
ACKNOWLEDGED_S = 30.0
"""For so long a cancel that was taken is not sent again: the order is asked for once a beat, which tells its end."""
_AT_S = (5.0, 30.0, 120.0)
"""When it is looked up, counted from its end; again only where price or fee of what is filled are still missing."""
_TRIES = 600
"""So often it is tried in vain, once a beat. Without a connection it was not tried."""
_AT_ONCE = 50
"""Of so many at a time, lest a start floods a server with the questions of a day."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """An order, whose it is, and what is not known of it. `needs_somebody` where looking it up will not end it."""

    client_order_id: str
    instance_id: str
    message: str
    needs_somebody: bool

    @property
    def told(self) -> str:
        """The message, with the way out where somebody has to take it."""
        way_out = f"; settle it: reconciler orders resolve {self.client_order_id} --as … --reason …"
        return self.message + way_out if self.needs_somebody else self.message


@dataclass(frozen=True, slots=True)
class Denial:
    """An order, whose it is, and how often its exchange has denied it. `seen_at` (ISO 8601) is since when."""

    client_order_id: str
    instance_id: str
    account_id: str
    message: str
    seen_at: str


@dataclass(frozen=True, slots=True)
class Ending:
    """An order that is over and is looked up once more. `tries` were in vain, counted since the last of `answers`."""

    since_s: float
    answers: int = 0
    tries: int = 0

    def is_due(self, now_s: float) -> bool:
        return now_s - self.since_s >= _AT_S[self.answers]


@dataclass(frozen=True, slots=True)
class Watched:
    """Everything that is known of one order, which is as it stood when it was noted last. Times are monotonic.

    `hindrance` is why asking will not end a doubt; `unreadable` what was answered of one that was placed, and makes no
    sense; `complaint` the answer that was told of last. `told` are the reasons of events that are told only once.
    """

    order: Order
    is_doubted: bool = False
    hindrance: str = ""
    unreadable: str = ""
    complaint: str = ""
    absences: int = 0
    absent_since_s: float = 0.0
    denial: Denial | None = None
    ending: Ending | None = None
    lingers_since_s: float | None = None
    is_lingering_told: bool = False
    cancel_taken_s: float | None = None
    told: frozenset[EventReason] = frozenset()

    @property
    def is_empty(self) -> bool:
        return self == Watched(self.order)

    @property
    def doubt(self) -> Doubt | None:
        """What is not known of it, in words."""
        id_, owner = self.order.client_order_id, self.order.instance_id
        if self.is_doubted:
            message = f"it is not known whether {id_} was placed"
            message = f"{message}; {self.hindrance}" if self.hindrance else message
            return Doubt(id_, owner, message, needs_somebody=bool(self.hindrance))
        if self.unreadable:
            told = f"what its server answers about {id_} cannot be booked: {self.unreadable}"
            return Doubt(id_, owner, told, needs_somebody=True)
        return None

    def at(self, order: Order) -> Watched:
        """What is left of it once the order is `order`: the one place where what that makes moot is forgotten."""
        # Something was booked, so an answer was read, or a person has said what it should have been.
        kept = replace(self, order=order, unreadable="", complaint="")
        if order.outcome not in (Outcome.PENDING, Outcome.UNKNOWN):
            kept = replace(kept, is_doubted=False, hindrance="")
        if order.is_open:
            kept = replace(kept, lingers_since_s=None, is_lingering_told=False)
        else:
            kept = replace(kept.heard(), cancel_taken_s=None, told=frozenset())
        return kept if _may_be_more(order) else replace(kept, ending=None)

    def heard(self) -> Watched:
        """What is left of it once its exchange knew it: whatever was, or was not, answered before."""
        return replace(self, unreadable="", absences=0, absent_since_s=0.0, denial=None)


class OrderWatch:
    """Thread-safe. Whoever settles an order has it noted; nothing else needs to be forgotten."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, Watched] = {}
        self._doubtful: dict[str, dict[str, None]] = {}
        """By instance, the client_order_ids of those in doubt: asked for at every order, and by the whole fleet."""

    def note(self, order: Order) -> None:
        """The order is this now, however that came to be known: what that makes moot is forgotten."""
        with self._lock:
            if (known := self._known.get(order.client_order_id)) is not None:
                self._keep(known.at(order))

    def open(self) -> frozenset[str]:
        """The client_order_ids of those that are open, by all that was noted."""
        with self._lock:
            return frozenset(id_ for id_, known in self._known.items() if known.order.is_open)

    # Doubts

    def doubt(self, order: Order) -> None:
        """From now on it is not known whether `order` was placed: its instance opens nothing new."""
        self._change(order, is_doubted=True)

    def hindered(self, client_order_id: str, why: str) -> None:
        """Why asking the exchange will not end the doubt: somebody has to say what became of the order."""
        with self._lock:
            known = self._known.get(client_order_id)
            if known is not None and known.is_doubted:
                self._keep(replace(known, hindrance=why))

    def unreadable(self, order: Order, why: str) -> None:
        """`order` was placed, but what its server answers of it makes no sense."""
        self._change(order, unreadable=why)

    def complains(self, order: Order, why: str) -> bool:
        """An answer about the order was not taken; True where that is to be told, for it was not told last."""
        with self._lock:
            known = self._known.get(order.client_order_id) or Watched(order)
            if known.complaint == why:
                return False
            self._keep(replace(known, complaint=why))
            return True

    def in_doubt(self) -> frozenset[str]:
        """The client_order_ids of all orders of which nobody knows whether they were placed."""
        with self._lock:
            return frozenset(id_ for ids in self._doubtful.values() for id_ in ids if self._known[id_].is_doubted)

    def obstacle(self, instance_id: str) -> str:
        """The oldest doubt about an order of this instance in words, empty where there is none."""
        if instance_id not in self._doubtful:
            return ""
        with self._lock:
            own = _doubts(self._known[id_] for id_ in self._doubtful.get(instance_id, ()))
        return own[0].told if own else ""

    def doubts(self) -> tuple[Doubt, ...]:
        """Every order in doubt: first those of which nobody knows whether they were placed, oldest first."""
        with self._lock:
            return _doubts(self._known[id_] for ids in self._doubtful.values() for id_ in ids)

    # What its exchange answers

    def heard(self, order: Order) -> None:
        """The exchange knows the order: whatever it said before."""
        with self._lock:
            if (known := self._known.get(order.client_order_id)) is not None:
                self._keep(known.heard())

    def absent(self, order: Order) -> str:
        """One more answer that there is no such order. How often that was said, where it says by now that so it is."""
        now_s = self._clock.monotonic()
        with self._lock:
            known = self._known.get(order.client_order_id) or Watched(order)
            first_s = known.absent_since_s if known.absences else now_s
            known = replace(known, unreadable="", absences=known.absences + 1, absent_since_s=first_s)
            self._keep(known)
        if known.absences < ANSWERS or now_s - first_s < SPREAD_S:
            return ""
        return f"the exchange does not know it: asked {known.absences} times in {now_s - first_s:.0f} s"

    def deny(self, order: Order, message: str) -> bool:
        """Its exchange took the order, and has denied it often enough since. True where that is new."""
        origin, id_ = order.provenance, order.client_order_id
        denial = Denial(id_, origin.instance_id, origin.account_id, message, iso(self._clock.time()))
        with self._lock:
            known = self._known.get(id_) or Watched(order)
            if known.denial is not None:
                return False
            self._keep(replace(known, denial=denial))
            return True

    def denials(self) -> tuple[Denial, ...]:
        """By instance."""
        with self._lock:
            found = [known.denial for known in self._known.values() if known.denial is not None]
        return tuple(sorted(found, key=lambda one: (one.instance_id, one.seen_at)))

    # Orders that are over

    def ended(self, order: Order) -> None:
        """As `note`; and where the order is over, and a look-up may tell more, it is to be looked up once more."""
        is_more = _may_be_more(order)
        if not is_more and order.client_order_id not in self._known:
            return  # as with most: nothing is known of it that the ledger does not say
        with self._lock:
            known = (self._known.get(order.client_order_id) or Watched(order)).at(order)
            if known.ending is None and is_more:
                known = replace(known, ending=Ending(self._clock.monotonic()))
            self._keep(known)

    def unasked(self, account_id: str) -> frozenset[str]:
        """The markets of those that the exchange is said to have refused, and that nobody has looked up since."""
        with self._lock:
            found = [known.order for known in self._known.values() if known.ending is not None]
        refused = [order.provenance for order in found if order.outcome is Outcome.REJECTED]
        return frozenset(origin.symbol for origin in refused if origin.account_id == account_id)

    def is_final(self, client_order_id: str) -> None:
        """What a look-up told of an order that is over is the last word."""
        with self._lock:
            if (known := self._known.get(client_order_id)) is not None:
                self._keep(replace(known, ending=None))

    def answered(self, order: Order) -> None:
        """It was looked up when it was over already, and answered; what that was is noted.

        Before its time that says nothing: a fill that is under way would not be told yet.
        """
        with self._lock:
            known = self._known.get(order.client_order_id)
            if known is None or known.ending is None or not known.ending.is_due(self._clock.monotonic()):
                return
            number = known.ending.answers + 1
            again = Ending(known.ending.since_s, number) if _lacks_price(order) and number < len(_AT_S) else None
            self._keep(replace(known, ending=again))

    def unanswered(self, order: Order) -> None:
        """It was looked up in vain, though its server was there."""
        with self._lock:
            known = self._known.get(order.client_order_id)
            if known is not None and known.ending is not None:
                tries = known.ending.tries + 1
                self._keep(replace(known, ending=replace(known.ending, tries=tries) if tries < _TRIES else None))

    def is_any(self) -> bool:
        """True where more is known of any order than the ledger has."""
        return bool(self._known)

    def due(self) -> list[str]:
        """The client_order_ids of those that are over and are to be looked up now: so many at a time, by turns."""
        now_s = self._clock.monotonic()
        with self._lock:
            found = [id_ for id_, known in self._known.items() if known.ending and known.ending.is_due(now_s)]
            for id_ in found[:_AT_ONCE]:
                self._known[id_] = self._known.pop(id_)  # to the end of the line
            return found[:_AT_ONCE]

    def lingering(self, account_id: str, orders: Iterable[Order]) -> tuple[list[Order], list[Order]]:
        """These, and no others, are over and are listed as open on the account all the same.

        Returns those to be told of, for they have been for too long, and those that are listed no more.
        """
        now_s, listed = self._clock.monotonic(), {order.client_order_id: order for order in orders}
        overdue: list[Order] = []
        with self._lock:
            before = [known for known in self._known.values() if known.lingers_since_s is not None]
            gone = [
                known
                for known in before
                if known.order.provenance.account_id == account_id and known.order.client_order_id not in listed
            ]
            for known in gone:
                self._keep(replace(known, lingers_since_s=None, is_lingering_told=False))
            for order in listed.values():
                known = self._known.get(order.client_order_id) or Watched(order)
                since_s = now_s if known.lingers_since_s is None else known.lingers_since_s
                is_told = known.is_lingering_told or now_s - since_s >= SPREAD_S
                if is_told and not known.is_lingering_told:
                    overdue.append(order)
                self._keep(replace(known, lingers_since_s=since_s, is_lingering_told=is_told))
        return overdue, [known.order for known in gone]

    def lingers(self, account_id: str) -> list[Order]:
        """Those that are over, and that the account listed as open the last time it was asked."""
        with self._lock:
            found = [known.order for known in self._known.values() if known.lingers_since_s is not None]
        return [order for order in found if order.provenance.account_id == account_id]

    # Cancels

    def cancel_taken(self, order: Order) -> None:
        """Its exchange took a cancel of the order, which is open for all we know."""
        self._change(order, cancel_taken_s=self._clock.monotonic())

    def is_cancelled(self, order: Order) -> bool:
        """True where a cancel was taken so lately that no other is sent."""
        known = self._known.get(order.client_order_id)
        taken_s = None if known is None else known.cancel_taken_s
        return taken_s is not None and self._clock.monotonic() - taken_s < ACKNOWLEDGED_S

    def is_news(self, order: Order, reason: EventReason) -> bool:
        """True once for an open order and a reason: what is tried again each beat is told once."""
        with self._lock:
            known = self._known.get(order.client_order_id) or Watched(order)
            if reason in known.told:
                return False
            self._keep(replace(known, told=known.told | {reason}))
            return True

    def _change(self, order: Order, **news: Any) -> None:
        with self._lock:
            self._keep(replace(self._known.get(order.client_order_id) or Watched(order), **news))

    def _keep(self, known: Watched) -> None:
        """The one place that remembers, and forgets what nothing is known of any more. The caller holds the lock."""
        id_, owner = known.order.client_order_id, known.order.instance_id
        if known.is_empty:
            self._known.pop(id_, None)
        else:
            self._known[id_] = known
        own = self._doubtful.setdefault(owner, {})
        if known.is_doubted or known.unreadable:
            own[id_] = None
        else:
            own.pop(id_, None)
        if not own:
            del self._doubtful[owner]


def _doubts(known: Iterable[Watched]) -> tuple[Doubt, ...]:
    ordered = sorted(known, key=lambda one: (not one.is_doubted, one.order.created_at))
    return tuple(doubt for one in ordered if (doubt := one.doubt) is not None)


def _may_be_more(order: Order) -> bool:
    """True where a look-up may tell what is not known. What was never sent the exchange cannot have."""
    if order.outcome is Outcome.REJECTED:
        return order.rejected_by is RejectedBy.EXCHANGE
    is_whole = order.filled_quantity == order.quantity and not _lacks_price(order)
    return order.outcome is Outcome.ACCEPTED and not order.is_open and not is_whole


def _lacks_price(order: Order) -> bool:
    return bool(order.filled_quantity) and (order.average_price is None or order.fee is None)
