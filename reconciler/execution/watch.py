"""What the engine knows of orders beyond the ledger: doubts, denials, recent ends, what lingers. From memory.

An order is in doubt where nobody knows whether it was placed, and denied where an exchange that took it says that it
knows none. How often that must be said before it counts, stands here, too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta

from reconciler.clock import Clock, iso
from reconciler.orders.order import Order, Outcome, RejectedBy

ANSWERS = 3
SPREAD_S = 30.0
"""An exchange that does not know an order may only be slow: so many answers, over so long, say that there is none."""


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


class Doubts:
    """Whose orders are in doubt: those instances open nothing new. From memory; thread-safe.

    In doubt is an order of which nobody knows whether it was placed, and one of which nobody can read what became.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[str, str] = {}
        self._obstacles: dict[str, str] = {}
        self._unreadable: dict[str, tuple[str, str]] = {}

    def add(self, order: Order) -> None:
        """From now on it is not known whether `order` was placed."""
        with self._lock:
            self._owners[order.client_order_id] = order.instance_id

    def end(self, client_order_id: str) -> None:
        """What became of the order is known after all."""
        with self._lock:
            self._owners.pop(client_order_id, None)
            self._obstacles.pop(client_order_id, None)
            self._unreadable.pop(client_order_id, None)

    def unreadable(self, order: Order, why: str) -> None:
        """`order` was placed, but what its server answers of it makes no sense."""
        with self._lock:
            self._unreadable[order.client_order_id] = (order.instance_id, why)

    def read(self, client_order_id: str) -> None:
        """An answer about the order was read."""
        with self._lock:
            self._unreadable.pop(client_order_id, None)

    def obstacle(self, client_order_id: str, why: str) -> None:
        """Why asking the exchange will not end the doubt: somebody has to say what became of the order."""
        with self._lock:
            if client_order_id in self._owners:
                self._obstacles[client_order_id] = why

    def ids(self) -> frozenset[str]:
        """The client_order_ids of all orders of which nobody knows whether they were placed."""
        return frozenset(tuple(self._owners))

    def told(self, instance_id: str) -> str:
        """The oldest doubt about an order of this instance in words, empty where there is none."""
        return next((doubt.told for doubt in self.all() if doubt.instance_id == instance_id), "")

    def all(self) -> tuple[Doubt, ...]:
        """Every order in doubt: first those of which nobody knows whether they were placed, oldest first."""
        owners, unreadable = dict(tuple(self._owners.items())), tuple(self._unreadable.items())
        return (
            *(self._unplaced(id_, owner) for id_, owner in owners.items()),
            *(
                Doubt(id_, owner, f"what its server answers about {id_} cannot be booked: {why}", needs_somebody=True)
                for id_, (owner, why) in unreadable
                if id_ not in owners
            ),
        )

    def _unplaced(self, client_order_id: str, owner: str) -> Doubt:
        obstacle = self._obstacles.get(client_order_id, "")
        message = f"it is not known whether {client_order_id} was placed"
        return Doubt(client_order_id, owner, f"{message}; {obstacle}" if obstacle else message, bool(obstacle))


class Absences:
    """Answers that an order is not known, counted per order. Starts anew with the process. Not thread-safe."""

    def __init__(self) -> None:
        self._answers: dict[str, tuple[int, float]] = {}

    def count(self, client_order_id: str, now_s: float) -> bool:
        """One more such answer; True where they say by now that there is no such order."""
        number, first_s = self._answers.get(client_order_id, (0, now_s))
        self._answers[client_order_id] = (number + 1, first_s)
        return number + 1 >= ANSWERS and now_s - first_s >= SPREAD_S

    def told(self, client_order_id: str, now_s: float) -> str:
        number, first_s = self._answers[client_order_id]
        return f"the exchange does not know it: asked {number} times in {now_s - first_s:.0f} s"

    def forget(self, client_order_id: str) -> None:
        self._answers.pop(client_order_id, None)


LATELY = timedelta(days=1)
"""For so long after its end an order is asked for by the next engine, which cannot know whether this one did."""
_AT_S = (5.0, 30.0, 120.0)
"""When it is looked up, counted from its end; again only where price or fee of what is filled are still missing."""
_TRIES = 600
"""So often it is tried in vain, once a beat. Without a connection it was not tried."""
_AT_ONCE = 50
"""Of so many at a time, lest a start floods a server with the questions of a day."""


@dataclass(frozen=True, slots=True)
class _Ending:
    since_s: float
    answers: int = 0
    tries: int = 0


class Endings:
    """Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: dict[str, _Ending] = {}

    def note(self, order: Order) -> None:
        """What is known of an order now, however it came to be known."""
        with self._lock:
            if _may_be_more(order):
                self._ends.setdefault(order.client_order_id, _Ending(self._clock.monotonic()))
            else:
                self._ends.pop(order.client_order_id, None)

    def end(self, client_order_id: str) -> None:
        """What a look-up told of the order is the last word."""
        with self._lock:
            self._ends.pop(client_order_id, None)

    def answered(self, order: Order) -> None:
        """It was looked up when it was over already, and answered; what that was is noted.

        Before its time that says nothing: a fill that is under way would not be told yet.
        """
        with self._lock:
            known = self._ends.get(order.client_order_id)
            if known is None or not self._is_due(known):
                return
            del self._ends[order.client_order_id]
            if _lacks_price(order) and known.answers + 1 < len(_AT_S):
                self._ends[order.client_order_id] = _Ending(known.since_s, known.answers + 1)

    def unanswered(self, order: Order) -> None:
        """It was looked up in vain, though its server was there."""
        with self._lock:
            known = self._ends.pop(order.client_order_id, None)
            if known is not None and known.tries + 1 < _TRIES:
                self._ends[order.client_order_id] = replace(known, tries=known.tries + 1)

    def due(self) -> list[str]:
        """The client_order_ids of those to be looked up now: as many as may be at a time, by turns."""
        with self._lock:
            found = [id for id, end in self._ends.items() if self._is_due(end)][:_AT_ONCE]
            for id in found:
                self._ends[id] = self._ends.pop(id)  # to the end of the line
            return found

    def _is_due(self, end: _Ending) -> bool:
        return self._clock.monotonic() - end.since_s >= _AT_S[end.answers]


def _may_be_more(order: Order) -> bool:
    """True where a look-up may tell what is not known. What was never sent the exchange cannot have."""
    if order.outcome is Outcome.REJECTED:
        return order.rejected_by is RejectedBy.EXCHANGE
    is_whole = order.filled_quantity == order.quantity and not _lacks_price(order)
    return order.outcome is Outcome.ACCEPTED and not order.is_open and not is_whole


def _lacks_price(order: Order) -> bool:
    return bool(order.filled_quantity) and (order.average_price is None or order.fee is None)


@dataclass(frozen=True, slots=True)
class Denial:
    """An order, whose it is, and how often its exchange has denied it. `seen_at` (ISO 8601) is since when."""

    client_order_id: str
    instance_id: str
    account_id: str
    message: str
    seen_at: str


class Denials:
    """Changed on the main loop, read by any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, Denial] = {}

    def __contains__(self, client_order_id: str) -> bool:
        return client_order_id in self._known

    def add(self, order: Order, message: str) -> None:
        origin, id_ = order.provenance, order.client_order_id
        self._known[id_] = Denial(id_, origin.instance_id, origin.account_id, message, iso(self._clock.time()))

    def end(self, client_order_id: str) -> None:
        """The exchange knows the order after all."""
        self._known.pop(client_order_id, None)

    def told(self) -> tuple[Denial, ...]:
        """By instance. What became of some of them an operator may have said meanwhile."""
        return tuple(sorted(self._known.values(), key=lambda one: (one.instance_id, one.seen_at)))


@dataclass(frozen=True, slots=True)
class _Lingering:
    order: Order
    since_s: float
    is_told: bool = False


class Lingering:
    """Lives on the main loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, dict[str, _Lingering]] = {}

    def listed(self, account_id: str, orders: Iterable[Order]) -> tuple[list[Order], list[Order]]:
        """These, and no others, linger on the account now: those to be told of, and those that linger no more."""
        now_s, before = self._clock.monotonic(), self._known.get(account_id, {})
        now = {o.client_order_id: before.get(o.client_order_id) or _Lingering(o, now_s) for o in orders}
        overdue = [one for one in now.values() if not one.is_told and now_s - one.since_s >= SPREAD_S]
        now.update((one.order.client_order_id, replace(one, is_told=True)) for one in overdue)
        self._known[account_id] = now
        return [one.order for one in overdue], [one.order for id, one in before.items() if id not in now]
