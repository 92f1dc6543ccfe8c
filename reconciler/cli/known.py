"""An instance id that somebody typed: one there is or was, or a Failure that names the nearest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from reconciler.cli.failure import Failure
from reconciler.records.wording import did_you_mean

if TYPE_CHECKING:
    from reconciler.store import Reader


def require_known(reader: Reader, instance_id: str) -> None:
    """Raises Failure where no instance of that id is, or ever was, in the database."""
    if reader.row(instance_id) is None:
        raise no_such(instance_id, reader.ids())


def no_such(instance_id: str, ids: Iterable[str]) -> Failure:
    """What to say of an id that is none of `ids`."""
    near = did_you_mean(instance_id, ids)
    return Failure(f"{instance_id}: there is no such instance; {near or 'all there are: reconciler status'}")
