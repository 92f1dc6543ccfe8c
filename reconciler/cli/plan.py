"""`reconciler plan`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from reconciler.cli.output import Failure, print_data, print_text
from reconciler.cli.place import Place
from reconciler.errors import SourceError
from reconciler.records.crosscheck import EvaluationCache
from reconciler.records.mode import Mode
from reconciler.review.judging import judge
from reconciler.review.plan.comparison import Comparison, compare, compare_revisions, of_database, of_engine
from reconciler.review.plan.differences import Phrase, phrase
from reconciler.review.plan.draft import plan_of, with_code_links, with_shadow_orders, with_stakes
from reconciler.review.plan.model import CodeChange, FleetPlan, Point, ProposedCommit
from reconciler.review.plan.outlook import Stake, currency_of
from reconciler.review.plan.plan_formats import as_json, as_markdown, as_text
from reconciler.sources.layout import STRATEGIES
from reconciler.strategy.catalogue import Catalogue

if TYPE_CHECKING:
    from reconciler.records.accounts import Accounts
    from reconciler.records.record import Row
    from reconciler.records.snapshot import Snapshot
    from reconciler.sources.compared import Base
    from reconciler.store import Reader
    from reconciler.validation.schema_tree import Schema

CODE_MISSING: Final = ("CodeMissing", "CodeLoading", "ImportFailed")
"""The reasons that the condition Loaded gives for what is not loaded for want of its code."""

_MOST_ORDERS: Final = 1_000
"""Of the newest so many the largest is told."""
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
        return as_text(plan, shutil.get_terminal_size().columns, bold=True)
    return as_text(plan)


FORMATS: dict[str, Callable[[FleetPlan], str]] = {"text": _text, "json": as_json, "markdown": as_markdown}


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
    basis = [phrase("{}", doubt)] if doubt else []
    commits = _proposed(place, base, snapshot.revision, basis)
    found = replace(_drafted(place, comparison, snapshot, catalogue, basis), commits=commits)
    return _held_here(place, found, comparison.before.rows)


def _held_here(place: Place, plan: FleetPlan, rows: Mapping[str, Row]) -> FleetPlan:
    """With what instances hold and have open, where an engine answers here: where none does that is nobody's to say."""
    from reconciler.cli.place import NoEngine
    from reconciler.settings import CONTROL_SOCKET

    if not (place.settings().state_dir / CONTROL_SOCKET).exists():
        return plan  # in CI, where what speaks with an engine is not even imported
    try:
        place.engine().get("/api/v1/engine")
        reader = place.reader()
    except (NoEngine, Failure):
        return plan
    try:
        return with_stakes(plan, _Stakes(reader, rows).of)
    finally:
        reader.close()


def _proposed(place: Place, base: Base, head: str | None, basis: list[Phrase]) -> tuple[ProposedCommit, ...]:
    """The commits that would be merged, and who signed them; in `basis`, why that cannot be told."""
    from reconciler.clock import SystemClock
    from reconciler.settings import signatures_in
    from reconciler.sources.git import Repository
    from reconciler.sources.signatures import Signatures, SigningRules

    clock = SystemClock()
    repository = Repository.discover(place.root(), clock)
    asked = signatures_in(base.settings or b"")
    if repository is None or head is None or asked is None:
        return ()
    rules = SigningRules.below(repository.where.prefix, asked.allowed_signers, asked.forge)
    try:
        found = Signatures(repository.git, rules).of_proposal(base.commit, head, clock.time())
    except SourceError as error:
        basis.append(phrase("the signatures of what would be merged cannot be told: {}", str(error)))
        return ()
    return tuple(ProposedCommit(one.raw.change(one.signed_by), one.why_not if asked.required else "") for one in found)


def _with_database(place: Place, snapshot: Snapshot, accounts: Accounts) -> FleetPlan:
    """Halts of the file are not in the database: they count as they are now. Those of operators stay in force."""
    from reconciler.records.halt import Halt, read_halts

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
        found = with_stakes(found, _Stakes(reader, comparison.before.rows).of)
        return with_shadow_orders(found, lambda id_: reader.orders(id_, shadow=True, limit=0)[1])
    finally:
        reader.close()


class _Stakes:
    """What instances hold and have open, as the ledger knows it, engine or not."""

    def __init__(self, reader: Reader, rows: Mapping[str, Row]) -> None:
        self._reader = reader
        self._rows = rows
        self._prices: dict[tuple[str, str], tuple[Decimal, str] | None] = {}
        self._books = reader.books(shadow=False)

    def of(self, row: Row) -> Stake:
        identity = row.record.identity
        price = self._price(identity.account_id, identity.market)
        held = (one.quantity for id_, one in self._books if id_ == row.id and one.symbol == identity.market)
        open_, total = self._reader.orders(row.id, is_open=True, shadow=False, limit=_MOST_ORDERS)
        placed, _ = self._reader.orders(row.id, limit=_MOST_ORDERS)
        worth, unpriced = self._account(identity.account_id)
        return Stake(
            position=sum(held, Decimal(0)),
            open_orders=total,
            open_quantity=sum((Decimal(one["quantity"]) for one in open_), Decimal(0)),
            largest=max((Decimal(one["quantity"]) for one in placed), default=Decimal(0)),
            currency=currency_of(identity.market),
            price=None if price is None else price[0],
            price_at="" if price is None else price[1],
            account=worth,
            unpriced=unpriced,
        )

    def _account(self, account_id: str) -> tuple[Mapping[str, Decimal], tuple[str, ...]]:
        worth: dict[str, Decimal] = {}
        unpriced = []
        for id_, holding in self._books:
            row = self._rows.get(id_)
            if row is None or row.record.identity.account_id != account_id or not holding.quantity:
                continue
            price, currency = self._price(account_id, holding.symbol), currency_of(holding.symbol)
            if price is None:
                unpriced.append(id_)
            else:
                worth[currency] = worth.get(currency, Decimal(0)) + abs(holding.quantity) * price[0]
        return worth, tuple(sorted(unpriced))

    def _price(self, account_id: str, symbol: str) -> tuple[Decimal, str] | None:
        if (account_id, symbol) not in self._prices:
            self._prices[account_id, symbol] = self._reader.last_price(account_id, symbol)
        return self._prices[account_id, symbol]


class _Running(NamedTuple):
    """What an engine says of itself: the mode in force of each instance, and the ids whose code it has not."""

    in_force: Mapping[str, Mode]
    lost: frozenset[str]


def _running(place: Place) -> _Running | None:
    """None where no engine answers."""
    from reconciler.cli.place import NoEngine

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
    found = plan_of(comparison, now, _settings_of(place), schema_of, basis)
    before, prefix = comparison.before.revision or "", place.prefix()

    def link(code: CodeChange) -> str:
        return code_link(os.environ, before, f"{prefix}{STRATEGIES}/{code.strategy_type}.py")

    return with_code_links(found, link) if before else found


def code_link(environ: Mapping[str, str], before: str, path: str) -> str:
    """Where the difference of the file at `path`, from the top of the repository, is to be seen: on the server that
    this runs for, or by a command."""
    sha = environ.get("GITHUB_SHA")
    if sha and "GITHUB_REPOSITORY" in environ:
        server = environ.get("GITHUB_SERVER_URL", "https://github.com")
        anchor = sha256(path.encode()).hexdigest()
        return f"{server}/{environ['GITHUB_REPOSITORY']}/compare/{before}...{sha}#diff-{anchor}"
    if environ.get("CI_PROJECT_URL") and environ.get("CI_COMMIT_SHA"):
        anchor = sha1(path.encode(), usedforsecurity=False).hexdigest()
        return f"{environ['CI_PROJECT_URL']}/-/compare/{before}...{environ['CI_COMMIT_SHA']}#{anchor}"
    return f"git diff {before[:12]} -- ':/{path}'"


def _settings_of(place: Place) -> bytes | None:
    from reconciler.settings import FILE

    file = place.root() / FILE
    return file.read_bytes() if file.is_file() else None
