"""`reconciler pause`."""

from __future__ import annotations

import click

from reconciler.cli.choice import one_or_all, reason_option
from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.outcome import print_outcome
from reconciler.cli.place import Place


@click.command(
    epilog="""\b
Examples:
  reconciler pause btc-grid-1 --reason "spread looks wrong"
  reconciler pause --all --reason "exchange maintenance\""""
)
@one_or_all
@reason_option
@click.pass_obj
def pause(place: Place, ids: tuple[str, ...], everything: bool, reason: str) -> None:
    """Stop ticks and trading of instances until they are resumed or the engine restarts.

    A pause lives in the running engine only. To stop for good, merge mode: off; against all odds, halt.
    """
    chosen = {"all": True} if everything else {"ids": list(ids)}
    try:
        print_outcome("paused", place.engine().post("/v1/pause", {**chosen, "reason": reason}))
    except NoEngine:
        raise Failure("no engine is running here, so nothing ticks and there is nothing to pause") from None
