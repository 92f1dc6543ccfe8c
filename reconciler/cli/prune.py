"""`reconciler prune`."""

from __future__ import annotations

import click

from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.outcome import print_outcome
from reconciler.cli.output import say, tell
from reconciler.cli.place import Place


@click.command(
    epilog="""\b
Examples:
  reconciler prune
  reconciler prune --confirm 3f2a9c01d4e5b678 --reason "the desk is closed\""""
)
@click.option("--confirm", metavar="DIGEST", help="Carry out exactly the removals that this digest stands for.")
@click.option(
    "--reason", metavar="TEXT", help="Why; recorded with who confirmed. Optional, for scripts; say it where you can."
)
@click.pass_obj
def prune(place: Place, confirm: str | None, reason: str | None) -> None:
    """Show the removals that are held, or confirm exactly those.

    Removing very many files at once looks like an accident, so it is held until someone confirms it; the
    instances run on.
    """
    if reason is not None and confirm is None:
        raise click.UsageError("--reason goes with --confirm DIGEST")
    why = {} if reason is None else {"reason": reason}
    try:
        if confirm is not None:
            print_outcome("removed", place.engine().post("/v1/prune", {"digest": confirm, **why}))
            return
        state = place.engine().get("/v1/prune")
    except NoEngine:
        raise Failure("no engine is running here; only a running one knows which removals are held") from None
    if not state["held"]:
        say("nothing is held")
        return
    for name in state["held"]:
        tell(name)
    say(f"{len(state['held'])} held; to remove exactly these: reconciler prune --confirm {state['digest']} --reason …")
