"""`reconciler resume`."""

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
  reconciler resume btc-grid-1 --reason "spread is back"
  reconciler resume --all --reason "maintenance is over\""""
)
@one_or_all
@reason_option
@click.pass_obj
def resume(place: Place, ids: tuple[str, ...], everything: bool, reason: str) -> None:
    """End a pause, an operator's or the engine's own (quarantine). What is halted stays halted."""
    chosen = {"all": True} if everything else {"ids": list(ids)}
    try:
        print_outcome("resumed", place.engine().post("/v1/resume", {**chosen, "reason": reason}))
    except NoEngine:
        raise Failure("no engine is running here; a pause ends with the engine, so there is none to end") from None
