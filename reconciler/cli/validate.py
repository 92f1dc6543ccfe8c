"""`reconciler validate`."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from pathlib import Path

import click

from reconciler.cli.output import CouldNotRun, Failure, print_data, print_text, say
from reconciler.cli.place import Place
from reconciler.review.validate.check import EVERYTHING, Against, check, could_be_refused, is_under, known_paths
from reconciler.review.validate.report import FORMATS, Report, notes, summary
from reconciler.sources.git import locate


@click.command(
    epilog="""\b
Examples:
  reconciler validate
  reconciler validate instances/btc-grid-1.yaml
  reconciler validate --base origin/main
  reconciler validate instances/majors --format json

\b
Exit codes:
  0  everything is valid
  1  there are problems
  2  it could not run: no instances/, records of HEAD that are not here, no such path or revision, unusable settings"""
)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--base",
    metavar="REF",
    help="Compare with the commit where this branch left REF: refused steps of mode, changed identities, removals.",
)
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", help="How problems are written.")
@click.pass_context
def validate(ctx: click.Context, paths: tuple[Path, ...], base: str | None, form: str) -> None:
    """Say what is wrong with instance files, every problem with its line and column.

    Needs no engine, no database, no network and no secret. Imports the strategies that the files name. With
    --base it reads the revision from git, and says what merging these files, committed or not, would be refused.
    """
    gc.set_threshold(50_000, 20, 50)  # a fleet is many small values that live to the end: look through them less often
    try:
        found = _found(ctx.obj, paths, base)
    except Failure as failure:
        raise CouldNotRun(*failure.lines) from failure
    if written := FORMATS[form](found):
        print_text(written) if form == "text" else print_data(written)
    if form == "github":
        _write_step_summary(found)
    say(summary(found), *notes(found))
    ctx.exit(0 if found.ok else 1)


def _found(place: Place, paths: tuple[Path, ...], ref: str | None) -> Report:
    accounts = place.settings().accounts
    snapshot = place.snapshot(asks_git=ref is not None)
    if ref is None:
        place.refuse_lacking(snapshot)
    known, against = known_paths(snapshot), None
    if ref is not None:
        base = place.base(ref, snapshot)
        known, against = known + known_paths(base.snapshot), Against(base, place.accounts_at(base, accounts))
    wanted = [_relative(path, place.root(), known) for path in paths] or EVERYTHING
    where = locate(place.root())
    folder = "" if where is None else where.prefix
    found = check(snapshot, accounts, wanted, against, folder, place.catalogue())
    return replace(found, here=place.way(), unsure=() if against else could_be_refused(snapshot))


def _relative(path: Path, root: Path, known: tuple[str, ...]) -> str:
    """`path` as the snapshot calls it; Failure where it holds nothing that is ever validated."""
    tried = [_inside(os.path.realpath(path), os.path.realpath(root)), _inside(os.path.abspath(path), str(root))]
    found = [inside for inside in tried if inside is not None]
    if not found:
        raise Failure(f"{path}: expected a path within {root}")
    for inside in found:
        if any(is_under(one, [inside]) for one in known):
            return inside
    raise Failure(f"{path}: expected an instance file, a strategy, or a folder of such, found none there")


def _inside(path: str, root: str) -> str | None:
    try:
        return Path(path).relative_to(root).as_posix().removeprefix(".")
    except ValueError:
        return None


def _write_step_summary(found: Report) -> None:
    """Append to the summary of the step that GitHub runs this in, where it does."""
    from reconciler.review.validate.report_formats import step_summary

    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path:
        return
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(step_summary(found))
    except OSError as error:
        say(f"{path}: could not write the step summary: {error.strerror}")
