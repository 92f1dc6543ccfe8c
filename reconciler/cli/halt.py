"""`reconciler halt`."""

from __future__ import annotations

import click

from reconciler.cli.choice import asked_reason, scope_of, scope_options
from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.outcome import print_outcome
from reconciler.cli.output import say, tell
from reconciler.cli.place import Place
from reconciler.control.commands import named
from reconciler.records.halt import WAS_IT_MEANT, HaltScope, stranger


@click.command(
    epilog="""\b
Examples:
  reconciler halt --all --reason "prices are wrong"
  reconciler halt --account main --reason "margin call"
  reconciler halt --instance btc-grid-1 --full --reason "orders loop\""""
)
@scope_options
@click.option("--full", is_flag=True, help="Stop own cancels and reductions too.")
@asked_reason
@click.pass_obj
def halt(
    place: Place, everything: bool, account: str | None, instance: str | None, full: bool, reason: str | None
) -> None:
    """The kill switch: no new exposure, for everything, an account or an instance, until unhalt.

    Cancels and orders that reduce the instance's own position still pass, unless --full. Kept in the
    database: it outlives restarts, and works with no engine running.
    """
    scope, id_, why = scope_of(everything, account, instance, reason)
    verb = "halted in full" if full else "halted"
    try:
        body = {"scope": scope, "id": id_, "full": full, "reason": why}
        print_outcome(verb, place.engine().post("/v1/halt", body))
    except NoEngine:
        strange = _halt_without_engine(place, scope, id_, full, why)
        if not strange:
            tell(f"{id_ or 'all'}: {verb}")
        later = "no engine is running here: the halt is in the database and holds from its next start"
        if strange:
            raise Failure(f"{id_}: {strange}; {WAS_IT_MEANT}", later) from None
        say(later)


def _halt_without_engine(place: Place, scope: HaltScope, id_: str, full: bool, reason: str) -> str:
    """Why it covers nothing, empty where it covers something."""
    from reconciler.cli.ownership import note_halting, owned_store

    with owned_store(place) as (store, uid):
        halt = store.halts.add(scope, id_, full, reason, named(uid))
        note_halting(store, uid, "halt", halt.told, scope, id_, reason)
        rows = store.desired.rows()
        return stranger(scope, id_, rows, (row.record.identity.account_id for row in rows.values()))
