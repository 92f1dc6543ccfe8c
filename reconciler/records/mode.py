"""The three modes and the steps between them. Pure.

Rising goes one step at a time, falling any distance; see `refusal`.
"""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """What an instance may do: nothing, tick, or tick and trade."""

    OFF = "off"
    OBSERVE = "observe"
    ACTIVE = "active"

    @property
    def rank(self) -> int:
        """0 for off, 1 for observe, 2 for active: higher may do more."""
        return _RANKS[self]


_RANKS = {Mode.OFF: 0, Mode.OBSERVE: 1, Mode.ACTIVE: 2}


def lowers(now: Mode, wanted: Mode) -> bool:
    """True where `wanted` allows less than `now`."""
    return wanted.rank < now.rank


def refusal(now: Mode, wanted: Mode) -> str | None:
    """Why the step from `now` to `wanted` is refused, or None where it is allowed."""
    if wanted.rank - now.rank <= 1:
        return None
    return f"expected a step of one mode at a time, was {now} → {wanted}"


REFUSAL_HINT = "merge `mode: observe` first, watch it tick, then raise it to active in a second change"


def descent(now: Mode, wanted: Mode) -> tuple[Mode, ...]:
    """The modes passed through on the way down, `wanted` included: active → off gives (observe, off)."""
    return tuple(m for m in (Mode.OBSERVE, Mode.OFF) if now.rank > m.rank >= wanted.rank)
