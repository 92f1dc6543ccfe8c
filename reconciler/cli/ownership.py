"""The database, held by the command line for a moment while no engine runs: the way of halt, unhalt and exec check."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from reconciler.cli.failure import Failure
from reconciler.cli.output import say
from reconciler.cli.place import Place
from reconciler.clock import SystemClock
from reconciler.control.operator import named
from reconciler.errors import StoreError, StoreLocked
from reconciler.records.event import EventReason
from reconciler.records.halt import HaltScope
from reconciler.store import Store


@contextlib.contextmanager
def owned_store(place: Place) -> Iterator[tuple[Store, int]]:
    """The store under its lock, and the uid that acts; Failure where an engine holds it after all."""
    try:
        with Store.open(place.database(), SystemClock()) as store:
            say(*store.tell_opened(place.database()))
            yield store, os.getuid()
    except StoreLocked as error:
        told = () if error.has_ended else ("its control socket does not answer this user",)
        raise Failure(str(error), *told) from error
    except StoreError as error:
        raise Failure(str(error)) from error


def note_placing(store: Store, uid: int, account: str, order: str, reason: str) -> None:
    """Write down who places an order by hand and why, in the words of a running engine."""
    store.operators.record(uid, "place", f"account {account}", f"{order}: {reason}")
    store.events.record(
        None, "Warning", EventReason.PLACED_BY_HAND, f"account {account}: {order}: {reason} ({named(uid)})"
    )


def tell_halting(
    store: Store, uid: int, event: EventReason, what: str, scope: HaltScope, id_: str, reason: str
) -> None:
    """Write down who did it and why, in the words of a running engine."""
    about = id_ if scope == "instance" else None
    store.events.record(about, "Warning", event, f"{what}: {reason} ({named(uid)})")
