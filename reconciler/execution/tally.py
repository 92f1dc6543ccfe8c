"""The tally of an account: what the exchange says is held on it, against what the instances' own fills make. Pure.

What closes it, and its orphans, the open orders that the ledger does not know, as they were last listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain

from reconciler import exact
from reconciler.clock import Clock, iso
from reconciler.exec_mcp.answers import Listed
from reconciler.orders.order import Side, decimal_text
from reconciler.ports import EventLog
from reconciler.records.event import EventReason

_ZERO = Decimal(0)

Held = Mapping[str, Decimal]
"""Quantities by symbol, signed; what is not there is zero."""


def whole(told: Sequence[Held], ours: Held) -> Held:
    """What is held on an account, of what was told to each of its clients; `ours` is what it is compared with.

    Some exchanges tell of the account whoever asks, others of the client. Answers that differ are of the clients. The
    same answer to all may be either: it is of the clients where their sum is `ours`, else the account's.
    """
    total = added_up(item for held in told for item in held.items())
    return told[0] if all(held == told[0] for held in told) and total != ours else total


def surely(told: Sequence[Held]) -> Held:
    """The same where no more may be taken for held than is, whatever is booked: one answer to all is the account's."""
    return (
        told[0]
        if told and all(held == told[0] for held in told)
        else added_up(i for held in told for i in held.items())
    )


@dataclass(frozen=True, slots=True)
class Closing:
    """What closes a scope in one market of one account: `quantity` of `side`, borne by the instance that holds most."""

    side: Side
    quantity: Decimal
    bearer: str


def closing(books: Mapping[str, Decimal], at_exchange: Decimal) -> Closing | str | None:
    """What is to be sent for what the instances of a scope hold together; None where that is nothing.

    Else why nothing can be sent: the exchange holds nothing on that side.
    """
    net = exact.total(books.values())
    if not net:
        return None
    if not at_exchange or (net > 0) is not (at_exchange > 0):
        return (
            f"the books hold {decimal_text(net)}, the exchange {decimal_text(at_exchange)}: closing it could open "
            "exposure; put the books right: reconciler book ID --set …"
        )
    quantity = min(exact.size(net), exact.size(at_exchange))
    return Closing(Side.SELL if net > 0 else Side.BUY, quantity, bearer_of(books, net))


def bearer_of(books: Mapping[str, Decimal], net: Decimal) -> str:
    """The instance that holds most on the side of `net`."""
    return max(sorted(books), key=lambda id: books[id] if net > 0 else exact.negative(books[id]))


def added_up(told: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    """Quantities by symbol, each of which may be told more than once."""
    total: dict[str, Decimal] = {}
    for symbol, quantity in told:
        total[symbol] = exact.add(total.get(symbol, _ZERO), quantity)
    return {symbol: quantity for symbol, quantity in total.items() if quantity}


def differences(theirs: Held, ours: Held) -> dict[str, Decimal]:
    """What is held beside what is booked, by symbol; nothing that is zero."""
    found = {symbol: exact.subtract(theirs.get(symbol, _ZERO), ours.get(symbol, _ZERO)) for symbol in {*theirs, *ours}}
    return {symbol: quantity for symbol, quantity in found.items() if quantity}


def difference(theirs: Held, ours: Held) -> str:
    """Where the two differ, in words; empty where they do not."""
    return "; ".join(
        f"the exchange holds {decimal_text(theirs.get(symbol, _ZERO))} {symbol},"
        f" the instances' fills make {decimal_text(ours.get(symbol, _ZERO))}"
        for symbol in sorted({*theirs, *ours})
        if theirs.get(symbol, _ZERO) != ours.get(symbol, _ZERO)
    )


@dataclass(frozen=True, slots=True)
class Orphan:
    """An open order that the ledger does not know. Texts as the exchange has them, empty where it does not tell.

    `seen_at` (ISO 8601) is when it was first listed.
    """

    account_id: str
    client_order_id: str
    exchange_order_id: str
    symbol: str
    side: str
    quantity: str
    state: str
    seen_at: str


class Orphans:
    """Changed on the main loop, read by any thread."""

    def __init__(self, events: EventLog, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._known: dict[str, dict[tuple[str, str], Orphan]] = {}

    def snapshot(self) -> tuple[Orphan, ...]:
        """Those listed when their accounts were last compared, by account."""
        return tuple(chain.from_iterable(known.values() for _, known in sorted(self._known.items())))

    def listed(self, account_id: str, items: Iterable[Listed]) -> None:
        """These, and no others, are listed on the account now."""
        before = self._known.get(account_id, {})
        now: dict[tuple[str, str], Orphan] = {}
        for item in items:
            ids = (item.client_order_id, item.order_id)
            if ids not in before and ids not in now:
                what = f"{item.side} {item.quantity} {item.symbol} ({item.client_order_id or item.order_id})"
                self._events.record(
                    None,
                    "Warning",
                    EventReason.ORPHAN_ORDER,
                    f"account {account_id}: an order of no known instance: {what}",
                )
            seen_at = before[ids].seen_at if ids in before else iso(self._clock.time())
            now[ids] = Orphan(account_id, *ids, item.symbol, item.side, item.quantity, item.status, seen_at)
        self._known[account_id] = now
