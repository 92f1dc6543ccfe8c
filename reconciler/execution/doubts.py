"""Orders in doubt: nobody knows whether they were placed. And how often an exchange must say that it knows none."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from reconciler.records.order import Order

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
