"""The database, held by the command line for a moment while no engine runs: the way of halt and unhalt."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from reconciler.cli.failure import Failure
from reconciler.cli.place import Place
from reconciler.clock import SystemClock
from reconciler.errors import StoreError, StoreLocked
from reconciler.store import Store


@contextlib.contextmanager
def owned_store(place: Place) -> Iterator[tuple[Store, int]]:
    """The store under its lock, and the uid that acts; Failure where an engine holds it after all."""
    try:
        with Store.open(place.settings().database, SystemClock()) as store:
            yield store, os.getuid()
    except StoreLocked as error:
        raise Failure(f"{error}; it runs, but its control socket does not answer this user") from error
    except StoreError as error:
        raise Failure(str(error)) from error
