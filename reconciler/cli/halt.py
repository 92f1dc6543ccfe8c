"""`reconciler halt`."""

from __future__ import annotations

import click

from reconciler.cli.choice import reason_option, scope_of, scope_options
from reconciler.cli.engine import NoEngine
from reconciler.cli.outcome import print_outcome
from reconciler.cli.output import say
from reconciler.cli.place import Place


@click.command(
    epilog="""\b
Examples:
  reconciler halt --all --reason "prices are wrong"
  reconciler halt --account main --reason "margin call"
  reconciler halt --instance btc-grid-1 --full --reason "orders loop\""""
)
@scope_options
@click.option("--full", is_flag=True, help="Stop own cancels and reductions too.")
@reason_option
@click.pass_obj
def halt(place: Place, everything: bool, account: str | None, instance: str | None, full: bool, reason: str) -> None:
    """The kill switch: no new exposure, for everything, an account or an instance, until unhalt.

    Cancels and orders that reduce the instance's own position still pass, unless --full. Kept in the
    database: it outlives restarts, and works with no engine running.
    """
    scope, id_ = scope_of(everything, account, instance)
    try:
        body = {"scope": scope, "id": id_, "full": full, "reason": reason}
        print_outcome("halted", place.engine().post("/v1/halt", body))
    except NoEngine:
        from reconciler.cli.ownership import note_halting, owned_store

        with owned_store(place) as (store, uid):
            store.halts.add(scope, id_, full, reason, f"uid {uid}")
            note_halting(store, uid, "halt", scope, id_, reason)
        click.echo(f"{id_ or 'all'}: halted")
        say("no engine is running here: the halt is in the database and holds from its next start")
