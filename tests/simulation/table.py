"""What keeps what in: the rules of modes, pauses, halts, doubts and connections, as a table to judge the engine by.

Written from the design's words, quoted beside each row. Knows nothing of how the engine decides.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple


class Act(StrEnum):
    """What an instance is about to do."""

    OPENS = "opens"
    REDUCES = "reduces"
    TURNS = "turns"
    """Sells more than is held, or buys back more than is owed."""
    MAY_TURN = "may turn"
    """Only reduces, unless what rests on its side fills first."""
    CANCELS = "cancels"
    CANCELS_ANOTHERS = "cancels another's"


ORDERS = frozenset({Act.OPENS, Act.REDUCES, Act.TURNS, Act.MAY_TURN})
EXPOSING = ORDERS - {Act.REDUCES}
OWN = ORDERS | {Act.CANCELS}


class Rule(NamedTuple):
    """Acts that are kept in, and the word that the refusal of an order begins with."""

    keeps_in: frozenset[Act]
    word: str


RULES = {
    # "observe: orders become shadow orders"; "own cancels are possible in every mode, paused and halted too"
    "observe": Rule(ORDERS, ""),
    "off": Rule(ORDERS, "Mode"),
    # "paused: loaded, no ticks, no trading"
    "paused": Rule(ORDERS, "Paused"),
    # "no new exposure; own cancels and orders that reduce the instance's own position still pass"
    "halted": Rule(EXPOSING, "Halted"),
    # "--full stops those too"
    "halted in full": Rule(OWN, "Halted"),
    # "until resolved the instance opens nothing new": nor can it be told meanwhile what would reduce; cancels pass
    "in doubt": Rule(ORDERS, "UnknownOrder"),
    # "Ready again only when open orders and positions have been compared with the ledger; till then only cancels leave"
    "comparing": Rule(ORDERS, "ExecDown"),
    "disconnected": Rule(OWN, "ExecDown"),
    # "While behind, cancels leave, and reductions of at most the smaller of book and exchange, same sign"
    "behind": Rule(EXPOSING, "LedgerBehind"),
    "behind, and the exchange holds less": Rule(ORDERS, "LedgerBehind"),
    # "A 429 holds new orders of that account … cancels, look-ups and reductions excepted"
    "asked to wait": Rule(EXPOSING, "RateLimited"),
    # "Five equal refusals in a row … hold requests like it back"
    "refused again and again": Rule(ORDERS, "RefusedAgain"),
    # "Older quotes, or from further ahead, let nothing leave that adds exposure": unasked on real money
    "real money, and a quote of another time": Rule(EXPOSING, "Limit"),
    "real money, and no quote": Rule(EXPOSING, "Limit"),
    # "tells no quote at all, a market order is refused by the gateway, a reduction too"
    "at market, and no quote": Rule(ORDERS, "Quote"),
}
"""By what is the case. What is not here keeps nothing in: a halt of others, a doubt of others, what rests."""

BEHIND = frozenset(name for name in RULES if name.startswith("behind"))
"""Of an older ledger that was put back: lives are led of that, but no random ones."""
BRAKED = frozenset({"asked to wait", "refused again and again"})


def leaves(act: Act, facts: Collection[str]) -> bool:
    """Whether a call leaves for the exchange. Another's order is never cancelled, whatever is the case."""
    return act is not Act.CANCELS_ANOTHERS and not any(act in RULES[fact].keeps_in for fact in facts)


def act_of(room: Decimal, waiting: Decimal, quantity: Decimal) -> Act:
    """What an order of `quantity` does where `room` is held against it and `waiting` rests on its own side."""
    if room <= 0:
        return Act.OPENS
    if quantity > room:
        return Act.TURNS
    return Act.REDUCES if quantity + waiting <= room else Act.MAY_TURN
