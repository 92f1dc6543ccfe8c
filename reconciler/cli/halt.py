"""`reconciler halt`."""

from __future__ import annotations

import click

from reconciler.cli.choice import asked_reason, scope_of, scope_options
from reconciler.cli.engine import NoAnswer, NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.outcome import print_outcome
from reconciler.cli.output import say, tell
from reconciler.cli.place import Place
from reconciler.control.commands import named
from reconciler.records.halt import WAS_IT_MEANT, HaltScope, stranger

ANSWER_S = 5.0
"""How long the engine may take to answer before the halt goes another way."""


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
    database: it outlives restarts, and works with no engine running. Where an engine does not answer, or its
    database takes nothing, the halt is written beside it, and an engine that runs puts it in force within a beat.
    """
    scope, id_, why = scope_of(everything, account, instance, reason)
    verb = "halted in full" if full else "halted"
    try:
        body = {"scope": scope, "id": id_, "full": full, "reason": why}
        print_outcome(verb, place.engine().post("/v1/halt", body, ANSWER_S))
    except (NoEngine, NoAnswer) as unanswered:
        strange, where = _halt_without_answer(place, scope, id_, full, why, unanswered)
        if strange:
            raise Failure(f"{id_}: {strange}; {WAS_IT_MEANT}", *where) from None
        tell(f"{id_ or 'all'}: {verb}")
        for line in where:
            say(line)


def _halt_without_answer(
    place: Place, scope: HaltScope, id_: str, full: bool, reason: str, unanswered: Exception
) -> tuple[str, tuple[str, ...]]:
    """Why it covers nothing, empty where it covers something; and where the halt is, in lines.

    Failure where it is nowhere.
    """
    import os

    from reconciler.cli.ownership import tell_halting
    from reconciler.clock import SystemClock, iso
    from reconciler.errors import StoreError
    from reconciler.records.halt import Halt
    from reconciler.store import Store
    from reconciler.store.halt_requests import HALT_REQUESTS, HaltRequests

    clock, uid = SystemClock(), os.getuid()
    try:
        with Store.open(place.database(), clock) as store:
            say(*store.tell_opened(place.database()))
            added = store.halts.add(scope, id_, full, reason, named(uid))
            tell_halting(store, uid, "Halted", added.told, scope, id_, reason)
            rows = store.desired.rows()
            strange = stranger(scope, id_, rows, (row.record.identity.account_id for row in rows.values()))
            return strange, ("no engine is running here: the halt is in the database and holds from its next start",)
    except StoreError as error:
        requests = HaltRequests(place.state_dir(), clock)
        try:
            requests.append(Halt(scope, id_, full, reason, named(uid), iso(clock.time())))
        except StoreError as nowhere:
            raise Failure(str(unanswered) or str(error), str(nowhere), "nothing is halted") from error
        return "", (
            str(unanswered) or str(error),
            f"the halt is on the disk, in {place.state_dir() / HALT_REQUESTS}: an engine that runs puts it in force "
            "within a beat, and one that starts before anything else",
        )
