"""`reconciler source`: what is followed, how far, and what is held; and what an operator says about that."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.output import Failure, print_data, print_outcome, say, tell
from reconciler.cli.parameters import reason_option
from reconciler.cli.place import NoEngine, Place, owned_store

if TYPE_CHECKING:
    from reconciler.records.followed import Followed

Item = Mapping[str, Any]


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  reconciler source
  reconciler source --format json
  reconciler source accept 3f2a9c01d4e5b6783f2a9c01d4e5b6783f2a9c01 --reason "history was cleaned up"
  reconciler source switch --source git --branch main --reason "we merge from now on\"""",
)
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How it is written.")
@click.pass_context
def source(ctx: click.Context, form: str) -> None:
    """Show what is followed: which commit is applied, which one was seen last, which is held, and why.

    Works with no engine running, too.
    """
    if ctx.invoked_subcommand is not None:
        return
    found = _found(ctx.obj)
    if form == "json":
        print_data(json.dumps(found, indent=2))
        return
    for line in _lines(found):
        tell(line)


def _found(place: Place) -> Item:
    try:
        found = place.engine().get("/api/v1/source")
    except NoEngine:
        reader = place.reader()
        try:
            found = reader.source()
        finally:
            reader.close()
    if found is None:
        raise Failure("nothing was followed yet; start the engine once: reconciler run")
    return dict(found)


def _is_lost(place: Place, followed: Followed) -> bool:
    """True where what is applied is not in the repository any more: then there is nothing to go on from."""
    from reconciler.clock import SystemClock
    from reconciler.errors import SourceError
    from reconciler.sources.branch import Branch

    if followed.applied is None:
        return False
    try:
        branch = Branch(place.root(), followed.branch or "", followed.remote, SystemClock())
        return not branch.has(followed.applied)
    except SourceError:
        return False


def _lines(found: Item) -> Iterator[str]:
    of = f" of {found['remote']}" if found["remote"] else ""
    yield "source:   the work tree" if found["kind"] == "worktree" else f"source:   branch {found['branch']}{of}"
    for name in ("applied", "seen"):
        if found[name] is not None:
            yield f"{name + ':':<10}{_commit(found[name])}"
    held = found["held"]
    if held is not None:
        yield f"held:     {_commit(held) if held['commit'] else 'the branch is gone'}"
        yield f"because:  {held['why']}"
        if held["commit"]:
            yield f"to take:  reconciler source accept {held['commit']} --reason …"
    if found["unreachable_since"]:
        yield f"remote:   does not answer since {found['unreachable_since']}: {found['unreachable']}"


def _commit(found: Item) -> str:
    since = f", since {found['at']}" if found.get("at") else ""
    return f"{change_of(found)}{since}"


def change_of(change: Item) -> str:
    """A commit as people know it: its id, what it says, who wrote it, and who signed it."""
    if not change.get("author"):
        return str(change["commit"])
    signed = change["signed_by"]
    by = f", signed by {signed['principal']}" if signed else ""
    return f"{change['commit'][:12]} {change['subject']}, by {change['author']}{by}"


@source.command(
    epilog="""\b
Examples:
  reconciler source accept 3f2a9c01d4e5b6783f2a9c01d4e5b6783f2a9c01 --reason "history was cleaned up\""""
)
@click.argument("commit")
@reason_option
@click.pass_obj
def accept(place: Place, commit: str, reason: str) -> None:
    """Have exactly this commit applied, which is held: its full id, as `reconciler source` shows it."""
    try:
        print_outcome("accepted", place.engine().post("/v1/source/accept", {"commit": commit, "reason": reason}))
    except NoEngine:
        with owned_store(place) as owned:
            followed = owned.store.following.followed()
            if followed is None or not followed.held or followed.held != commit:
                held = None if followed is None else followed.held
                raise Failure(f"expected {held}, which is held" if held else "no commit is held") from None
            owned.store.following.accept(commit)
            owned.books.commit_accepted(commit, reason, owned.uid)
        tell(f"{commit}: accepted")
        say("no engine is running here: the next one takes it, if the branch is still there")


@source.command(
    epilog="""\b
Examples:
  reconciler source switch --source git --branch main --reason "we merge from now on"
  reconciler source switch --source git --branch main --remote origin --reason "the desk's forge"
  reconciler source switch --source worktree --reason "back to files on disk\""""
)
@click.option("--source", "kind", type=click.Choice(["worktree", "git"]), required=True, help="What is to count.")
@click.option("--branch", metavar="BRANCH", help="The branch that is to count; main where none is named.")
@click.option("--remote", metavar="REMOTE", help="The remote whose branch it is; else the repository's own.")
@reason_option
@click.pass_obj
def switch(place: Place, kind: str, branch: str | None, remote: str | None, reason: str) -> None:
    """Follow something else from the next start on. Ids, ledger and modes stay; no engine may run.

    What is applied stays until then. The first commit is one change: modes rise by one step at most.
    """
    from reconciler.records.followed import Followed, Pinned

    if kind == "worktree" and (branch or remote):
        raise click.UsageError("--branch and --remote go with --source git")
    pinned = Pinned("git", remote, branch or "main") if kind == "git" else Pinned("worktree")
    with owned_store(place) as owned:
        before = owned.store.following.followed()
        if before is not None and before.pinned == pinned and not _is_lost(place, before):
            raise Failure(f"{pinned} is followed already")
        halts = () if before is None else before.halts
        owned.store.following.keep(Followed(pinned.kind, pinned.remote, pinned.branch, halts=halts))
        told = "nothing" if before is None else str(before.pinned)
        owned.books.source_switched(told, str(pinned), reason, os.getuid())
    tell(f"{pinned}: followed from the next start on")
