"""`reconciler plan`."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from reconciler.cli.output import print_data, print_text
from reconciler.cli.place import Place
from reconciler.records.crosscheck import EvaluationCache
from reconciler.records.mode import Mode
from reconciler.review.before import of_database, of_engine
from reconciler.review.comparison import Comparison, compare, compare_revisions
from reconciler.review.judging import judge
from reconciler.review.plan import json, markdown, text
from reconciler.review.plan.draft import plan_of, with_shadow_orders
from reconciler.review.plan.fleet_plan import FleetPlan, Point
from reconciler.review.plan.phrase import Phrase, phrase
from reconciler.strategy.catalogue import Catalogue

if TYPE_CHECKING:
    from reconciler.records.accounts import Accounts
    from reconciler.records.record import Row
    from reconciler.records.snapshot import Snapshot
    from reconciler.records.subschema import Schema

CODE_MISSING: Final = ("CodeMissing", "CodeLoading", "ImportFailed")
"""The reasons that the condition Loaded gives for what is not loaded for want of its code."""

CHANGES = 2
"""The exit code that --detailed-exitcode gives where there is anything to report."""


class Misused(click.UsageError):
    """Wrong usage, with the exit code of an error like any other."""

    exit_code = 1


class Plan(click.Command):
    """A command whose usage errors exit 1, so that 2 can mean one thing only."""

    def make_context(self, *arguments: Any, **named: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **named)
        except click.UsageError as error:
            raise Misused(error.format_message(), error.ctx) from error


def _text(plan: FleetPlan) -> str:
    if sys.stdout.isatty():
        return text.render(plan, shutil.get_terminal_size().columns, bold=True)
    return text.render(plan)


FORMATS: dict[str, Callable[[FleetPlan], str]] = {"text": _text, "json": json.render, "markdown": markdown.render}


@click.command(
    cls=Plan,
    epilog="""\b
Examples:
  reconciler plan
  reconciler plan --base origin/main
  reconciler plan --base origin/main --format markdown
  reconciler plan --base origin/main --detailed-exitcode

\b
Exit codes:
  0  done; with --detailed-exitcode: there is nothing to do
  1  it could not tell: wrong usage, no such revision, no database, unusable settings
  2  only with --detailed-exitcode: there is something to report, be it a refusal""",
)
@click.option("--base", "ref", metavar="REF", help="Compare with the merge base of REF and HEAD; else with the engine.")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", help="How the plan is written.")
@click.option("--detailed-exitcode", "detailed", is_flag=True, help="Exit 2 where there is anything to report.")
@click.pass_context
def plan(ctx: click.Context, ref: str | None, form: str, detailed: bool) -> None:
    """Say what merging the files as they are would do: what would start to trade, change, reload, stop.

    Without --base they are compared with what the engine runs, or where none answers with what its database holds:
    of use in another clone, since an engine applies the files of its own folder at once. Changes nothing.
    """
    found = _plan(ctx.obj, ref)
    print_text(FORMATS[form](found)) if form == "text" else print_data(FORMATS[form](found))
    ctx.exit(CHANGES if detailed and not found.is_empty else 0)


def _plan(place: Place, ref: str | None) -> FleetPlan:
    accounts = place.settings().accounts
    snapshot = place.snapshot()
    return _with_database(place, snapshot, accounts) if ref is None else _with_revision(place, ref, snapshot, accounts)


def _with_revision(place: Place, ref: str, snapshot: Snapshot, accounts: Accounts) -> FleetPlan:
    base = place.base(ref, snapshot)
    there = place.accounts_at(base, accounts)  # the same object where they are, which spares judging everything twice
    catalogue = place.catalogue()
    comparison = compare_revisions(base, there, snapshot, accounts, catalogue)
    doubt = place.doubt_of_accounts_at(base)
    return _drafted(place, comparison, snapshot, catalogue, [phrase("{}", doubt)] if doubt else ())


def _with_database(place: Place, snapshot: Snapshot, accounts: Accounts) -> FleetPlan:
    """Halts of the file are not in the database: they count as they are now. Those of operators stay in force."""
    from reconciler.records.halt import Halt
    from reconciler.records.halt_file import read_halts

    reader = place.reader()
    try:
        operators = tuple(Halt.from_json(item) for item in reader.halts())
        declared, _ = read_halts(snapshot.halt, at="")
        halts = (*operators, *declared)
        running = _running(place)
        basis = [phrase("not compared: what the settings and instances/_halt.yaml change")]
        if running is None:
            before = of_database(reader.rows(), halts, accounts)
            basis.append(phrase("no engine answers: taken as running what the database holds"))
        else:
            before = of_engine(reader.rows(), halts, accounts, running.in_force, running.lost)
        catalogue = place.catalogue()
        comparison = compare(before, snapshot, judge(snapshot, accounts, catalogue, EvaluationCache()), accounts)
        comparison = replace(comparison, halts=(*operators, *comparison.halts))
        found = _drafted(place, comparison, snapshot, catalogue, basis)
        return with_shadow_orders(found, lambda id_: reader.orders(id_, shadow=True, limit=0)[1])
    finally:
        reader.close()


class _Running(NamedTuple):
    """What an engine says of itself: the mode in force of each instance, and the ids whose code it has not."""

    in_force: Mapping[str, Mode]
    lost: frozenset[str]


def _running(place: Place) -> _Running | None:
    """None where no engine answers."""
    from reconciler.cli.engine import NoEngine

    try:
        items = tuple(place.engine().items("/api/v1/instances"))
    except NoEngine:
        return None
    return _Running(
        {item["id"]: Mode(item["effective_mode"]) for item in items},
        frozenset(item["id"] for item in items if any(map(_lacks_code, item["conditions"]))),
    )


def _lacks_code(condition: Mapping[str, str]) -> bool:
    return condition["status"] == "False" and condition["reason"] in CODE_MISSING


def _drafted(
    place: Place,
    comparison: Comparison,
    snapshot: Snapshot,
    catalogue: Catalogue,
    basis: Sequence[Phrase] = (),
) -> FleetPlan:
    def schema_of(row: Row) -> Schema:
        facts = catalogue.facts(row.record.strategy_type)
        return True if facts is None else facts.config_schema

    now = Point("HEAD" if snapshot.clean else "the work tree", snapshot.revision)
    return plan_of(comparison, now, _settings_of(place), schema_of, basis)


def _settings_of(place: Place) -> bytes | None:
    from reconciler.settings import FILE

    file = place.root() / FILE
    return file.read_bytes() if file.is_file() else None
