"""What an operator did, written down: who and why, in the same words with an engine running and with none.

It carries nothing out but the lifting of halts, and reads no clock; its callers know what is in force.
"""

from __future__ import annotations

import pwd
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from reconciler.orders.order import decimal_text
from reconciler.orders.verdict import Correction, Shares, Verdict
from reconciler.records.cadence import BeatRun, forgetting
from reconciler.records.event import EventReason
from reconciler.records.halt import WAS_IT_MEANT, Halt, HaltScope, stranger
from reconciler.records.record import Row
from reconciler.store.store import Store


def named(uid: int) -> str:
    """The operator as people read it, `ada, uid 1000`: the name may belong to somebody else one day, the uid tells."""
    try:
        return f"{pwd.getpwuid(uid).pw_name}, uid {uid}"
    except KeyError:
        return f"uid {uid}"


def covers_nothing(scope: HaltScope, id: str, rows: Mapping[str, Row]) -> str:
    """What is said of a halt that covers no instance, though it is in force; empty where it covers one."""
    strange = stranger(scope, id, rows, (row.record.identity.account_id for row in rows.values()))
    return f"{strange}; {WAS_IT_MEANT}" if strange else ""


class Bookkeeping:
    """Writes into the store's list of operations and into its events. Thread-safe: each of them is."""

    def __init__(self, store: Store) -> None:
        self._halts = store.halts
        self._operations = store.operators
        self._events = store.events

    def paused(self, instance_id: str, reason: str, uid: int) -> None:
        self._record(uid, "pause", f"instance {instance_id}", reason)
        self._events.record(instance_id, "Normal", EventReason.PAUSED, f"{reason} ({named(uid)})")

    def resumed(self, instance_id: str, reason: str, uid: int) -> None:
        self._record(uid, "resume", f"instance {instance_id}", reason)
        self._events.record(instance_id, "Normal", EventReason.RESUMED, f"{reason} ({named(uid)})")

    def halted(self, halt: Halt, uid: int) -> None:
        """An event alone: the table of halts says who and why."""
        self._tell_halting(EventReason.HALTED, halt, halt.reason, uid)

    def unhalt(self, scope: HaltScope, id: str, reason: str, uid: int, declared: Iterable[Halt]) -> str:
        """End the halts of exactly that scope and id. Why there are none to lift, empty where some were.

        `declared` are the halts that files ask for; others may be among them.
        """
        lifted = self._halts.lift(scope, id, named(uid), reason)
        if not lifted:
            files = [halt.by for halt in declared if halt.is_declared and (halt.scope, halt.id) == (scope, id)]
            why = f"it comes from {files[0]}: change that file" if files else "there is none"
            return f"no halt of {f'{scope} {id}' if id else 'everything'} to lift: {why}"
        strongest = max(lifted, key=lambda halt: halt.full)
        self._record(uid, "unhalt", strongest.told_lifted, reason)
        self._tell_halting(EventReason.UNHALTED, strongest, reason, uid)
        return ""

    def cancelled(self, instance_id: str, client_order_id: str, fault: str, reason: str, uid: int) -> None:
        """That a person had one order cancelled, or tried to: `fault` says why it was not."""
        self._record(
            uid, "cancel", f"order {client_order_id}", f"{reason} (not cancelled: {fault})" if fault else reason
        )
        if not fault:
            self._tell(EventReason.CANCELLED_BY_HAND, f"{client_order_id}: {reason}", uid, instance_id)

    def resolved(self, client_order_id: str, verdict: Verdict, uid: int) -> None:
        self._record(uid, "resolve", f"order {client_order_id}", f"{verdict}: {verdict.reason}")

    def corrected(self, instance_id: str, correction: Correction, uid: int) -> None:
        self._record(uid, "book", f"instance {instance_id}", f"{correction}: {correction.reason}")

    def marked(self, instance_id: str, price: Decimal, reason: str, uid: int) -> None:
        self._record(uid, "mark", f"instance {instance_id}", f"{decimal_text(price)}: {reason}")

    def limit_lifted(self, scope: str, reason: str, uid: int) -> None:
        self._record(uid, "limits-lift", scope, reason)
        self._tell(EventReason.LIMIT_LIFTED, f"{scope}: max_drawdown is measured from now on: {reason}", uid)

    def settled(self, account: str, shares: Shares, uid: int) -> None:
        said = f"{shares}: {shares.reason}"
        self._record(uid, "settle", f"account {account}", said)
        self._tell(EventReason.LEDGER_SETTLED, f"account {account}: {said}", uid)

    def tools_accepted(self, server: str, reason: str, uid: int) -> None:
        self._record(uid, "accept-tools", f"server {server}", reason)
        self._tell(EventReason.TOOLS_ACCEPTED, f"{server}: {reason}", uid)

    def placing(self, account: str, order: str, reason: str, uid: int) -> None:
        """Before it is sent by hand, past the gateway; committed on return. Raises StoreError."""
        self._record(uid, "place", f"account {account}", f"{order}: {reason}")
        self._tell(EventReason.PLACED_BY_HAND, f"account {account}: {order}: {reason}", uid)

    def prune_confirmed(self, held: Sequence[str], digest: str, reason: str, uid: int) -> None:
        """`reason` may be empty."""
        what = ", ".join(held)
        self._record(uid, "prune", what, f"{reason} ({digest})" if reason else digest)
        why = f": {reason}" if reason else ""
        self._events.record(None, "Normal", EventReason.PRUNE_CONFIRMED, f"{what}{why} ({named(uid)})")

    def commit_accepted(self, commit: str, reason: str, uid: int) -> None:
        self._record(uid, "accept-commit", f"commit {commit}", reason)
        self._tell(EventReason.SOURCE_ACCEPTED, f"commit {commit[:12]}: {reason}", uid)

    def source_switched(self, before: str, now: str, reason: str, uid: int) -> None:
        told = f"{before} → {now}"
        self._record(uid, "source-switch", told, reason)
        self._tell(EventReason.SOURCE_ACCEPTED, f"{told}: {reason}", uid)

    def beats_forgotten(self, runs: Sequence[BeatRun], free_from_s: float, reason: str, uid: int) -> str:
        """The sentence that is written down."""
        told = forgetting(runs, free_from_s)
        self._record(uid, "beats-forget", told, reason)
        self._tell(EventReason.BEATS_FORGOTTEN, f"{told}: {reason}", uid)
        return told

    def _record(self, uid: int, action: str, scope: str, reason: str) -> None:
        self._operations.record(uid, action, scope, reason)

    def _tell(self, event: EventReason, what: str, uid: int, instance_id: str | None = None) -> None:
        self._events.record(instance_id, "Warning", event, f"{what} ({named(uid)})")

    def _tell_halting(self, event: EventReason, halt: Halt, reason: str, uid: int) -> None:
        how = halt.told if event is EventReason.HALTED else halt.told_lifted
        self._tell(event, f"{how}: {reason}", uid, halt.id if halt.scope == "instance" else None)
