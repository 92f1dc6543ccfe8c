"""`reconciler unhalt`."""

from __future__ import annotations

import click

from reconciler.cli.choice import asked_reason, scope_of, scope_options
from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.halted import halts_of, halts_without_engine, say_still_halted
from reconciler.cli.outcome import print_outcome
from reconciler.cli.output import tell
from reconciler.cli.place import Place
from reconciler.control.commands import named


@click.command(
    epilog="""\b
Examples:
  reconciler unhalt --all --reason "prices are right again"
  reconciler unhalt --account main --reason "margin restored"
  reconciler unhalt --instance btc-grid-1 --reason "fixed and reviewed\""""
)
@scope_options
@asked_reason
@click.pass_obj
def unhalt(place: Place, everything: bool, account: str | None, instance: str | None, reason: str | None) -> None:
    """End the halts of exactly this scope. Another scope's stay: ending --all does not end an account's."""
    scope, id_, why = scope_of(everything, account, instance, reason)
    try:
        engine = place.engine()
        print_outcome("no longer halted", engine.post("/v1/unhalt", {"scope": scope, "id": id_, "reason": why}))
        say_still_halted(halts_of(engine))
    except NoEngine:
        from reconciler.cli.ownership import owned_store, tell_halting

        with owned_store(place) as (store, uid):
            lifted = store.halts.lift(scope, id_, named(uid), why)
            if not lifted:
                raise Failure(f"{id_ or 'all'}: no halt of exactly this scope is in force") from None
            strongest = max(lifted, key=lambda halt: halt.full)
            store.operators.record(uid, "unhalt", strongest.told_lifted, why)
            tell_halting(store, uid, "Unhalted", strongest.told_lifted, scope, id_, why)
            left = [halt.to_json() for halt in store.halts.active()]
        tell(f"{id_ or 'all'}: no longer halted")
        say_still_halted(halts_without_engine(place, left))
