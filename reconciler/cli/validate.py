"""`reconciler validate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from reconciler.cli.failure import CouldNotRun, Failure
from reconciler.cli.output import say
from reconciler.cli.place import Place
from reconciler.records.snapshot import Snapshot
from reconciler.review import json, text
from reconciler.review.check import EVERYTHING, check, is_under, known_paths
from reconciler.review.report import Report

FORMATS: dict[str, Callable[[Report], str]] = {"text": text.render, "json": json.render}


@click.command(
    epilog="""\b
Examples:
  reconciler validate
  reconciler validate instances/btc-grid-1.yaml
  reconciler validate instances/majors --format json

\b
Exit codes:
  0  everything is valid
  1  there are problems
  2  it could not run: no instances/, no such path, unusable settings"""
)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", help="How problems are written.")
@click.pass_context
def validate(ctx: click.Context, paths: tuple[Path, ...], form: str) -> None:
    """Say what is wrong with instance files, every problem with its line and column.

    Needs no engine, no database, no network and no secret. Imports the strategies that the files name.
    """
    try:
        found = _found(ctx.obj, paths)
    except Failure as failure:
        raise CouldNotRun(failure.message) from failure
    if written := FORMATS[form](found):
        click.echo(written)
    say(text.summary(found))
    ctx.exit(0 if found.ok else 1)


def _found(place: Place, paths: tuple[Path, ...]) -> Report:
    accounts = place.settings().accounts
    snapshot = place.snapshot()
    return check(snapshot, accounts, [_relative(path, place, snapshot) for path in paths] or EVERYTHING)


def _relative(path: Path, place: Place, snapshot: Snapshot) -> str:
    """`path` as the snapshot calls it; Failure where it holds nothing that is ever validated."""
    try:
        inside = path.resolve().relative_to(place.root()).as_posix().removeprefix(".")
    except ValueError:
        raise Failure(f"{path}: expected a path within {place.root()}") from None
    if not any(is_under(known, [inside]) for known in known_paths(snapshot)):
        raise Failure(f"{path}: expected an instance file, a strategy, or a folder of such, found none there")
    return inside
