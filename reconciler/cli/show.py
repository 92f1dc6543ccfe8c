"""`reconciler show`, `blame` and `history`: one record, and how and by whom it became what it is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from reconciler.cli.output import Failure, print_items, print_table, say
from reconciler.cli.place import Place, no_such, require_known
from reconciler.errors import SourceError
from reconciler.records.cadence import to_the_second
from reconciler.records.record import Row

if TYPE_CHECKING:
    from reconciler.sources.history import Blame


@click.command(
    epilog="""\b
Examples:
  reconciler show btc-grid-1
  reconciler show btc-grid-1 --format json"""
)
@click.argument("instance_id", metavar="ID")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def show(place: Place, instance_id: str, form: str) -> None:
    """Show the record that is applied, each value with the line it comes from: of its file, or of its template.

    What the strategy's schema fills in is marked as default.
    """
    from reconciler.review.applied import origins

    reader = place.reader()
    try:
        row = reader.row(instance_id)
        if row is None:
            raise no_such(instance_id, reader.ids())
    finally:
        reader.close()
    found = origins(row, *_texts(place, row, _past(place, row)))
    if row.removed_at is not None:
        say(f"{instance_id} was removed at {row.removed_at}; its id and identity are kept")
    elif found.changed:
        verb = "has" if len(found.changed) == 1 else "have"
        say(f"{' and '.join(found.changed)} {verb} changed since this was applied: lines are left out")
    revision = f"commit {row.revision}" if row.revision else "not committed"
    say(f"generation {row.generation}, applied at {row.applied_at}, {revision}")
    if form == "json":
        print_items(asdict(value) for value in found.values)
    else:
        print_table(("VALUE", "", "ORIGIN"), [(value.pointer, value.text, value.origin) for value in found.values])


@click.command(
    epilog="""\b
Examples:
  reconciler blame btc-grid-1
  reconciler blame btc-grid-1 --format json"""
)
@click.argument("instance_id", metavar="ID")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def blame(place: Place, instance_id: str, form: str) -> None:
    """Show who wrote each value of the record that is applied: since which commit it has been as it is.

    Values are followed, not lines: moving, indenting or commenting one makes nobody its author, nor does moving its
    file to another folder. Those of its template come with the commit that wrote them there.
    """
    from reconciler.clock import SystemClock
    from reconciler.review.applied import blamed
    from reconciler.sources.git import Repository
    from reconciler.sources.history import Blame

    reader = place.reader()
    try:
        row = reader.row(instance_id)
        if row is None:
            raise no_such(instance_id, reader.ids())
    finally:
        reader.close()
    past = _past(place, row)
    try:
        if past is None:
            repository = Repository.discover(place.root(), SystemClock())
            if repository is None:
                raise Failure(f"{place.root()}: expected a git repository, which knows who wrote what, found none")
            tip = next((found for name in (row.revision, "HEAD") if name and (found := repository.resolve(name))), None)
            if tip is None:
                raise Failure(f"{place.root()}: expected a commit, which knows who wrote what, found none yet")
            past = Blame(repository, tip)
        items = [value.to_json() for value in blamed(row, *_texts(place, row, past), past)]
    except SourceError as error:
        raise Failure(str(error)) from error
    say(f"generation {row.generation}, as of commit {past.tip[:12]}; what a commit says of its author is a claim")
    if form == "json":
        print_items(items)
        return
    print_table(
        ("VALUE", "", "COMMIT", "AUTHOR", "AT", "SUBJECT"),
        [
            (
                item["pointer"],
                item["text"],
                item["commit"][:12] if item["commit"] else "not committed",
                item["author"] or "",
                to_the_second(item["committed_at"]) if item["committed_at"] else "",
                item["subject"] or "",
            )
            for item in items
        ],
        least=("SUBJECT", "AT"),
    )


def _past(place: Place, row: Row) -> Blame | None:
    """The past of what is applied, where an engine here follows a branch: then the files on disk are nobody's."""
    from reconciler.clock import SystemClock
    from reconciler.sources.branch import Branch

    followed = place.followed()
    if followed is None or followed.kind != "git" or row.revision is None:
        return None
    try:
        return Branch(place.root(), followed.branch or "", followed.remote, SystemClock()).past(row.revision)
    except SourceError as error:
        raise Failure(str(error)) from error


def _texts(place: Place, row: Row, past: Blame | None) -> tuple[bytes | None, bytes | None]:
    """The bytes of its file and of its template, by their digests where git has them, else as they are on disk."""

    def text(path: str, digest: str) -> bytes | None:
        try:
            return (None if past is None else past.blob(digest)) or _bytes(place, path)
        except SourceError as error:
            raise Failure(str(error)) from error

    return text(row.path, row.file_digest), text(row.template_path, row.template_digest) if row.template_path else None


def _bytes(place: Place, path: str) -> bytes | None:
    file = place.root() / path
    return file.read_bytes() if file.is_file() else None


@click.command(
    epilog="""\b
Examples:
  reconciler history btc-grid-1
  reconciler history btc-grid-1 --limit 5 --format json"""
)
@click.argument("instance_id", metavar="ID")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def history(place: Place, instance_id: str, limit: int, form: str) -> None:
    """Show every generation of an instance, newest first: when, from which commit, and what changed."""
    reader = place.reader()
    try:
        found = reader.history(instance_id, limit=limit)[0]
        if not found:
            require_known(reader, instance_id)
    finally:
        reader.close()
    if form == "json":
        print_items(found)
        return
    print_table(
        ("GENERATION", "AT", "COMMIT", "MODE", "KIND", "CHANGED"),
        [
            (g["generation"], to_the_second(g["at"]), (g["revision"] or "")[:12], g["mode"], g["kind"], g["summary"])
            for g in found
        ],
        least=("KIND", "MODE", "COMMIT"),
    )
