"""`reconciler unhalt`."""

from __future__ import annotations

import click

from reconciler.cli.choice import reason_option, scope_of, scope_options
from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.outcome import print_outcome
from reconciler.cli.place import Place


@click.command(
    epilog="""\b
Examples:
  reconciler unhalt --all --reason "prices are right again"
  reconciler unhalt --account main --reason "margin restored"
  reconciler unhalt --instance btc-grid-1 --reason "fixed and reviewed\""""
)
@scope_options
@reason_option
@click.pass_obj
def unhalt(place: Place, everything: bool, account: str | None, instance: str | None, reason: str) -> None:
    """End the halts of exactly this scope. Another scope's stay: ending --all does not end an account's."""
    scope, id_ = scope_of(everything, account, instance)
    try:
        body = {"scope": scope, "id": id_, "reason": reason}
        print_outcome("no longer halted", place.engine().post("/v1/unhalt", body))
    except NoEngine:
        from reconciler.cli.ownership import note_halting, owned_store

        with owned_store(place) as (store, uid):
            if not store.halts.lift(scope, id_, f"uid {uid}", reason):
                raise Failure(f"{id_ or 'all'}: no halt of exactly this scope is in force") from None
            note_halting(store, uid, "unhalt", scope, id_, reason)
        click.echo(f"{id_ or 'all'}: no longer halted")
