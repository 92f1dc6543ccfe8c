"""`reconciler new`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import click

from reconciler.cli.init import write_new
from reconciler.cli.output import Failure, say, tell
from reconciler.cli.place import Place
from reconciler.documents.document import Document, parse
from reconciler.documents.wording import did_you_mean
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts
from reconciler.records.instance_schema import ID_PATTERN
from reconciler.records.snapshot import Snapshot
from reconciler.review.scaffold import Draft, Wanted, instance_file
from reconciler.review.validate.check import check
from reconciler.sources.folder import DEPTH_LIMIT
from reconciler.sources.layout import INSTANCES, counts, is_template
from reconciler.strategy.catalogue import Catalogue
from reconciler.visible import is_printable, is_storable


@click.command(
    epilog="""\b
Examples:
  reconciler new grid btc-grid-1
  reconciler new grid btc-grid-1 --account main --client desk-a --market BTC/USD
  reconciler new dca eur-dca-1 --folder majors"""
)
@click.argument("strategy_type", metavar="STRATEGY")
@click.argument("instance_id", metavar="ID")
@click.option("--account", metavar="ID", help="The account it trades on; by default the one that the settings declare.")
@click.option("--client", metavar="ID", help="Whose orders these are.")
@click.option("--market", metavar="SYMBOL", help="The symbol it trades.")
@click.option("--folder", default="", metavar="NAME", help="The folder below instances/ that it goes into.")
@click.pass_obj
def new(
    place: Place,
    strategy_type: str,
    instance_id: str,
    account: str | None,
    client: str | None,
    market: str | None,
    folder: str,
) -> None:
    """Write the file of a new instance: commented, with every default of its strategy, mode off.

    Nothing is ever overwritten. Prints the path; says what is still to be filled in.
    """
    snapshot = place.snapshot()
    accounts = place.settings().accounts
    inside = "/".join(filter(None, folder.split("/")))
    wanted = Wanted(instance_id, strategy_type, _account(account, accounts), client, market, folder=inside)
    _refuse_unusable(wanted, snapshot, place)
    draft = _draft(wanted, snapshot)
    if not write_new(place.root(), draft.path, draft.text, INSTANCES):
        raise Failure(f"{draft.path}: expected no such file, found one; it was left as it is")
    tell(draft.path)
    _say_what_is_left(draft, check(place.snapshot(), accounts, [draft.path]).problems)


def _account(asked: str | None, accounts: Accounts) -> str | None:
    """The account to write; None where any will do. One of several is never guessed: their money may be real."""
    declared = sorted(accounts.declared)
    if asked is None:
        if len(declared) > 1:
            raise Failure(f"--account: expected one of {', '.join(declared)}, was left out")
        return declared[0] if declared else None
    if accounts.get(asked) is None:
        near = did_you_mean(asked, declared)
        raise Failure(f"--account: expected one of {', '.join(declared)}, was {asked}{f'; {near}' if near else ''}")
    return asked


def _refuse_unusable(wanted: Wanted, snapshot: Snapshot, place: Place) -> None:
    """Failure where the id or the folder is none, or the id is or was another's."""
    if re.fullmatch(ID_PATTERN, wanted.id) is None:
        raise Failure(
            f"{wanted.id}: expected an id of small letters, digits and hyphens, at most 63 of them, "
            "that begins with a letter or digit, like btc-grid-1"
        )
    if not counts(wanted.path) or is_template(wanted.path):
        raise Failure(
            f"--folder: expected a folder whose files count, without . or _ before its name, was {wanted.folder}"
        )
    if not is_printable(wanted.path) or wanted.path.count("/") > DEPTH_LIMIT:
        raise Failure(
            f"--folder: expected a name that can be printed, at most {DEPTH_LIMIT} folders deep, was {wanted.folder}"
        )
    for name, text in (("--client", wanted.client_id), ("--market", wanted.market)):
        if text is not None and not is_storable(text):
            raise Failure(f"{name}: expected text that a file can hold, was {text}")
    for path, id_ in _claims(snapshot):
        if id_ == wanted.id:
            raise Failure(f"{wanted.id}: expected an id that is free, it is that of {path}")
    if not place.database().exists():
        return
    reader = place.reader()
    try:
        row = reader.row(wanted.id)
    finally:
        reader.close()
    if row is not None:
        raise Failure(
            f"{wanted.id}: expected an id that is free, it is known to the engine"
            + (f": removed at {row.removed_at}, and ids are never used again" if row.removed_at else "")
        )


def _claims(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Every record file and each id it may be said to have: by its name, and by what it says."""
    for file in snapshot.instances:
        yield file.path, PurePosixPath(file.path).stem
        document = None if file.data is None else parse(file.data, file.path)
        if isinstance(document, Document) and isinstance(document.values, dict):
            yield file.path, str(document.values.get("id"))


def _draft(wanted: Wanted, snapshot: Snapshot) -> Draft:
    catalogue = Catalogue()
    catalogue.refresh(snapshot.strategies)
    facts = catalogue.facts(wanted.strategy_type)
    if facts is None:
        near = did_you_mean(wanted.strategy_type, catalogue.types())
        known = f"expected one of {', '.join(catalogue.types()) or 'none: strategies/ has no definition'}"
        raise Failure(f"strategy {wanted.strategy_type}: {known}{f'; {near}' if near else ''}")
    definition = catalogue.definition(wanted.strategy_type, facts.code_digest)
    if definition is None:
        raise Failure(*map(str, facts.problems))
    return instance_file(wanted, definition.description, definition.config_schema)


def _say_what_is_left(draft: Draft, problems: tuple[Problem, ...]) -> None:
    if draft.gaps:
        say(f"to be filled in: {', '.join(draft.gaps)}")
    for problem in problems:
        if problem.pointer not in draft.gaps:
            say(str(problem))
    if draft.assumed:
        say(f"only an example, and fixed for ever once merged: {', '.join(draft.assumed)}")
    say(f"then: reconciler validate {draft.path}")
