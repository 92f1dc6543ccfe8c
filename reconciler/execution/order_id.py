"""The client_order_id: what ties an order at the exchange to its instance, for ever. Pure but for its entropy."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache

from reconciler.clock import Clock

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PREFIX_LENGTH = 6
_TAG_LENGTH = 4
_TIME_LENGTH = 8
LENGTH = PREFIX_LENGTH + _TAG_LENGTH + _TIME_LENGTH
_ID = re.compile(f"[a-z0-9]{{{LENGTH}}}")


@lru_cache(maxsize=16_384)
def prefix(instance_id: str) -> str:
    """Six characters of `[a-z0-9]` that all orders of an instance begin with, the same in every database."""
    return _base36(int.from_bytes(hashlib.sha256(instance_id.encode()).digest()[:8], "big"), PREFIX_LENGTH)


class OrderIds:
    """Makes ids of 18 characters of `[a-z0-9]`: prefix, the database's tag, milliseconds since the epoch.

    Eight base-36 digits of milliseconds last until the year 2059. They never repeat within one `OrderIds`, whatever the
    clock does, and are later than those of `known`, the last ids that the database knows. The tag tells databases
    apart; without one it is random, for who has no database. Thread-safe.
    """

    def __init__(
        self,
        clock: Clock,
        tag: str = "",
        known: Iterable[str] = (),
        random_below: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._clock = clock
        self._tag = tag or str(random_below(10)) + _base36(random_below(36**3), 3)
        self._last_ms = max((made_ms(id) for id in known if tag_of(id) is not None), default=0)
        self._lock = threading.Lock()

    def make(self, instance_id: str) -> str:
        """A new id for an order of `instance_id`; no two calls give the same."""
        with self._lock:
            self._last_ms = max(int(self._clock.time() * 1000), self._last_ms + 1)
            moment_ms = self._last_ms
        return prefix(instance_id) + self._tag + _base36(moment_ms, _TIME_LENGTH)


def tag_of(client_order_id: str) -> str | None:
    """The tag of the database that made the id; None where it is none of ours.

    Ids of before there were tags have none, and a letter, of their time, where tags begin with a digit: it is empty.
    """
    if not _ID.fullmatch(client_order_id):
        return None
    tag = client_order_id[PREFIX_LENGTH : PREFIX_LENGTH + _TAG_LENGTH]
    return tag if tag[0].isdecimal() else ""


def made_ms(client_order_id: str) -> int:
    """When an id of ours was made, in milliseconds since the epoch, or later: of many at a time, each has its own."""
    start = PREFIX_LENGTH + (_TAG_LENGTH if tag_of(client_order_id) else 0)
    return int(client_order_id[start : start + _TIME_LENGTH], 36)


def _base36(number: int, length: int) -> str:
    """The last `length` base-36 digits of `number`, zeros in front."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
