"""Rate limits: servers and exchanges that said "too many requests" are let alone for a while. From memory.

It may be said by the server's HTTP status, or as a word in a tool's error. What holds then is how long it asked to
wait, else a second, doubling as long as it is said again.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from reconciler.clock import Clock, iso

_FIRST_S: Final = 1.0
_LONGEST_S: Final = 60.0
_LONGEST_ASKED_S: Final = 3_600.0
"""However long a server asks to be let alone: it is asked again then."""
_SAID: Final = re.compile(
    r"(?i)^429\b|(?:http\S*|status|code|error|answered)\W{1,4}(?:is )?(?:429|50011|-1015)\b|request weight|\bthrottl"
    r"|\btoo[ _-]?many[ _-]?(?:new )?(?:requests|visits)|too many new orders|rate[ _-]?limit"
    r"|requests? (?:rate|frequency)"
)
"""How failures say it."""
_AFTER: Final = re.compile(
    r"(?i)(?:retry|try again|wait)\W+(?:(?:after|in|for)\W+)?(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?)?\b"
)
_UNITS_S: Final = {"ms": 0.001, "m": 60.0}


def is_said(text: str) -> bool:
    """True where a failure says that there were too many requests."""
    return _SAID.search(text) is not None


def asked_s(text: str) -> float | None:
    """How long a failure's words ask to wait, in seconds; None where they do not say."""
    found = _AFTER.search(text)
    if found is None:
        return None
    unit = (found[2] or "s").lower()
    name = "ms" if unit.startswith(("ms", "mil")) else unit[0]
    return float(found[1]) * _UNITS_S.get(name, 1.0)


def retry_after_s(header: str, now_s: float) -> float | None:
    """What the header `Retry-After` says, seconds or a date, in seconds from now; None where it makes no sense."""
    text = header.strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    at = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max(0.0, (at - datetime.fromtimestamp(now_s, UTC)).total_seconds())


@dataclass(frozen=True, slots=True)
class _Hold:
    why: str
    until_s: float
    until_at_s: float
    step_s: float


class RateLimits:
    """Of one server. Thread-safe. A hold is of an account's new orders, or, as `DATA`, of the server's data."""

    def __init__(self, clock: Clock) -> None:
        self.on_hold: Callable[[str, str], None] | None = None
        """Told, with the account and the reason, whenever a hold begins, and not when it is prolonged."""
        self._clock = clock
        self._lock = threading.Lock()
        self._holds: dict[str, _Hold] = {}

    def hit(self, account_id: str, why: str, wait_s: float | None) -> None:
        """It was said. `wait_s` is how long it asks to wait, None where it does not say."""
        now_s = self._clock.monotonic()
        with self._lock:
            known = self._holds.get(account_id)
            if known is not None and now_s < known.until_s and wait_s is None:
                return  # of calls that were under way together, one counts
            step_s = _FIRST_S if known is None else min(known.step_s * 2, _LONGEST_S)
            hold_s = min(step_s if wait_s is None else max(wait_s, _FIRST_S), _LONGEST_ASKED_S)
            until_s = max(now_s + hold_s, 0.0 if known is None else known.until_s)
            self._holds[account_id] = _Hold(why, until_s, self._clock.time() + (until_s - now_s), step_s)
        if known is None and self.on_hold is not None:
            self.on_hold(account_id, why)

    def passed(self, account_id: str) -> None:
        """A call of the kind went through: what comes after it begins anew."""
        if account_id in self._holds:
            with self._lock:
                self._holds.pop(account_id, None)

    def told(self, account_id: str) -> str:
        """Why, and until when, the account's new orders wait; empty where they do not."""
        hold = self._holds.get(account_id)
        if hold is None or self._clock.monotonic() >= hold.until_s:
            return ""
        return f"too many requests, says the other side: {hold.why}; the next may leave at {iso(hold.until_at_s)}"

    def accounts(self) -> list[str]:
        """The accounts whose new orders wait."""
        return [account_id for account_id in tuple(self._holds) if account_id != DATA and self.told(account_id)]

    def data_told(self) -> str:
        """Why, and until when, the server is not asked for data."""
        return self.told(DATA)


DATA: Final = ""
"""Stands in an account's place for the data of the whole server."""
