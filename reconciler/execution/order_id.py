"""The client_order_id: what ties an order at the exchange to its instance, for ever. Pure but for its entropy."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable
from functools import lru_cache

from reconciler.clock import Clock

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PREFIX_LENGTH = 6
_TIME_LENGTH = 8
_RANDOM_LENGTH = 4
LENGTH = PREFIX_LENGTH + _TIME_LENGTH + _RANDOM_LENGTH


@lru_cache(maxsize=16_384)
def prefix(instance_id: str) -> str:
    """Six characters of `[a-z0-9]` that all orders of an instance begin with, the same in every database."""
    return _base36(int.from_bytes(hashlib.sha256(instance_id.encode()).digest()[:8], "big"), PREFIX_LENGTH)


class OrderIds:
    """Makes ids of 18 characters of `[a-z0-9]`: prefix, milliseconds since the epoch, randomness.

    Eight base-36 digits of milliseconds last until the year 2059. The milliseconds never repeat within
    one `OrderIds`, whatever the clock does; the randomness tells databases and processes apart.
    Thread-safe.
    """

    def __init__(self, clock: Clock, random_below: Callable[[int], int] = secrets.randbelow) -> None:
        self._clock = clock
        self._random_below = random_below
        self._last_ms = 0
        self._lock = threading.Lock()

    def make(self, instance_id: str) -> str:
        """A new id for an order of `instance_id`; no two calls give the same."""
        with self._lock:
            self._last_ms = max(int(self._clock.time() * 1000), self._last_ms + 1)
            moment_ms = self._last_ms
        salt = self._random_below(36**_RANDOM_LENGTH)
        return prefix(instance_id) + _base36(moment_ms, _TIME_LENGTH) + _base36(salt, _RANDOM_LENGTH)


def _base36(number: int, length: int) -> str:
    """The last `length` base-36 digits of `number`, zeros in front."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
