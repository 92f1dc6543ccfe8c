"""The throttle: the same order again and again is one too many. Counts what leaves; halts what it strikes.

The same are orders of one side, type and market, whatever their quantities and prices, that add exposure: of one
instance, and of one code, by its digest, over an account or over all of them.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Final, NamedTuple

from reconciler.clock import Clock, utc
from reconciler.orders.order import Order
from reconciler.records.accounts import Accounts
from reconciler.records.event import EventReason
from reconciler.records.scopes import Throttle
from reconciler.store.store import Store

LONGEST: Final = timedelta(days=1)
_BY: Final = "engine"
_DIGEST: Final = 12


class _Key(NamedTuple):
    """What is the same. `whose` is an instance, or a code and where it is counted: an account, or a kind of money."""

    whose: tuple[str, ...]
    side: str
    type: str
    market: str


class _Sent(NamedTuple):
    at_s: float
    client_order_id: str
    instance_id: str


class Throttling:
    """Thread-safe, from memory; `recover` blocks."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._ledger = store.ledger
        self._halts = store.halts
        self._events = store.events
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: defaultdict[_Key, deque[_Sent]] = defaultdict(deque)
        self._struck: dict[str, str] = {}
        """The reasons of halts that it put in force, by instance: one that is lifted begins anew."""

    def recover(self, accounts: Accounts) -> None:
        """Take up where the last engine stopped: who starts anew and again does not begin to count anew."""
        since = utc(self._clock.time()) - LONGEST
        lifted = self._halts.lifted_since(since, _BY)
        with self._lock:
            for order in self._ledger.left(since):
                if order.created_at >= lifted.get(order.instance_id, since):
                    self._note(order, _rules(order, accounts))

    def strikes(self, order: Order, accounts: Accounts) -> str:
        """Count `order`, which adds exposure and is about to leave. Why it is one too many, else empty."""
        now_s = self._clock.time()
        with self._lock:
            self._release(order.instance_id)
            rules = tuple(_rules(order, accounts))
            for throttle, key in rules:
                sent = self._recent(key, now_s - throttle.within_minutes * 60)
                if len(sent) >= throttle.same_orders:
                    return self._strike(order, throttle, key, sent)
            self._note(order, rules)
        return ""

    def give_back(self, order: Order) -> None:
        """It did not leave after all."""
        with self._lock:
            for key in _keys(order):
                sent = self._sent.get(key)
                if sent and sent[-1].client_order_id == order.client_order_id:
                    sent.pop()

    def _strike(self, order: Order, throttle: Throttle, key: _Key, sent: Iterable[_Sent]) -> str:
        counted = [*sent]
        digest = order.provenance.code_digest[:_DIGEST]
        whose = f"instance {key.whose[1]}" if key.whose[0] == "instance" else f"code {digest} on {key.whose[2]}"
        reason = (
            f"throttle: {len(counted)} {order.side} {order.type} orders of {key.market} by {whose} within"
            f" {throttle.within_minutes} min: the first is {counted[0].client_order_id}, the last"
            f" {counted[-1].client_order_id}; code {digest}"
        )
        for instance_id in dict.fromkeys((*(one.instance_id for one in counted), order.instance_id)):
            self._struck.setdefault(instance_id, reason)
            if not self._is_halted(instance_id) and self._halts.begin("instance", instance_id, False, reason, _BY):
                self._events.record(instance_id, "Warning", EventReason.HALTED, reason)
        return reason

    def _release(self, instance_id: str) -> None:
        """A halt of it that was lifted: what it sent until then counts no more."""
        reason = self._struck.get(instance_id)
        if reason is None or self._is_halted(instance_id):
            return
        del self._struck[instance_id]
        for key, sent in self._sent.items():
            self._sent[key] = deque(one for one in sent if one.instance_id != instance_id)

    def _is_halted(self, instance_id: str) -> bool:
        return any(halt.id == instance_id and halt.by == _BY for halt in self._halts.active())

    def _recent(self, key: _Key, since_s: float) -> list[_Sent]:
        sent = self._sent[key]
        longest_s = self._clock.time() - LONGEST.total_seconds()
        while sent and sent[0].at_s <= longest_s:
            sent.popleft()
        return [one for one in sent if one.at_s > since_s]

    def _note(self, order: Order, rules: Iterable[tuple[Throttle, _Key]]) -> None:
        for key in {key for _, key in rules}:
            self._sent[key].append(_Sent(order.created_at.timestamp(), order.client_order_id, order.instance_id))


def _keys(order: Order) -> tuple[_Key, ...]:
    origin = order.provenance
    what = (str(order.side), str(order.type), origin.symbol)
    return (
        _Key(("instance", origin.instance_id), *what),
        _Key(("code", origin.code_digest, f"account {origin.account_id}"), *what),
        _Key(("code", origin.code_digest, f"all {order.money} money"), *what),
    )


def _rules(order: Order, accounts: Accounts) -> Iterator[tuple[Throttle, _Key]]:
    own, on_account, everywhere = _keys(order)
    account = accounts.get(order.provenance.account_id)
    if account is not None and account.throttle is not None:
        yield account.throttle, own
        yield account.throttle, on_account
    if accounts.throttle is not None:
        yield accounts.throttle, own
        yield accounts.throttle, everywhere
