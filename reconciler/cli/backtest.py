"""`reconciler backtest` and `try`: what a record would have made of recorded prices, and does on those of now."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.output import CouldNotRun, Failure, print_json, print_table, say
from reconciler.cli.parameters import Moment, Money
from reconciler.cli.place import Place
from reconciler.errors import ReconcilerError
from reconciler.orders.order import decimal_text

if TYPE_CHECKING:
    from reconciler.backtest.dataset import Dataset
    from reconciler.backtest.rehearsal import Rehearsal
    from reconciler.backtest.study import StudiedInstance, Study
    from reconciler.orders.order import Order
    from reconciler.records.snapshot import Snapshot

COLUMNS: Final = ("INSTANCE", "RESULT", "COSTS ×2", "HOLD", "DRAWDOWN", "TRADES", "SHARPE", "DEFLATED")
TRIED_COLUMNS: Final = ("SIDE", "TYPE", "QUANTITY", "LIMIT", "STOP", "STATE", "FILLED", "AT", "REASON")


class StartingBalance(click.ParamType[tuple[str, Decimal]]):
    """A currency and what every account begins with: `USD=10000`."""

    name = "balance"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Decimal]:
        if isinstance(value, tuple):
            return value
        currency, equals, amount = str(value).partition("=")
        if not equals or not currency:
            self.fail(f"expected CURRENCY=AMOUNT, such as USD=10000, was {value!r}", param, ctx)
        return currency.strip().upper(), Money(zero_too=True).convert(amount.strip(), param, ctx)


class PriceShare(click.ParamType[Decimal]):
    """A decimal from 0 to below 1."""

    name = "fraction"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        number = Money(zero_too=True).convert(value, param, ctx)
        if number >= 1:
            self.fail(f"expected a fraction, such as 0.001 for a tenth of a percent, was {value}", param, ctx)
        return number


@click.command(
    epilog="""\b
Examples:
  reconciler backtest btc-grid-1 --data btc-2025.csv --spread 0.0002
  reconciler backtest --data quotes/ --from 2025-01-01 --to 2026-01-01 --report fleet.html
  reconciler backtest draft.yaml --data eur.csv --spread 0.0001 --holdout 0.3 --check-lookahead --jobs 2
  reconciler backtest btc-grid-1 --data btc.csv --spread 0.0002 --slippage 0.0001 --max-volume 0.05
  reconciler backtest btc-grid-1 --data btc.csv --spread 0.0002 --balance USD=10000 --seed 2 --format json

\b
Exit codes:
  0  it is done
  1  a strategy failed in it
  2  it could not run, or was stopped before its end"""
)
@click.argument("wanted", metavar="[ID|FILE]...", nargs=-1)
@click.option(
    "--data", "data", metavar="PATH", multiple=True, required=True, type=click.Path(path_type=Path),
    help="A file of recorded prices, or a folder of them; CSV or Parquet. May be given several times.",
)  # fmt: skip
@click.option(
    "--from", "begin", metavar="WHEN", type=Moment(), help="Trade from then on; earlier rows are looked back at."
)
@click.option("--to", "end", metavar="WHEN", type=Moment(), help="Only rows before that.")
@click.option(
    "--balance", "balances", metavar="CUR=AMOUNT", multiple=True, type=StartingBalance(),
    help="What every account begins with. May be given several times; by default what the settings say.",
)  # fmt: skip
@click.option(
    "--spread", type=PriceShare(), help="Bid to ask, as a fraction of the price. Needed where data have none."
)
@click.option(
    "--slippage", type=PriceShare(), default=Decimal(0), help="How much worse than the quote a market order fills."
)
@click.option(
    "--max-volume", type=PriceShare(), default=Decimal("0.1"), help="What orders take of a candle's volume at most."
)
@click.option("--holdout", type=PriceShare(), help="Keep the last part of the time apart; shown once for each version.")
@click.option("--seed", metavar="TEXT", default="", help="Another chance for context.random.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=1,
    help="Processes to use: for the runs beside the first, then for parts of a fleet.",
)
@click.option("--check-lookahead", is_flag=True, help="Cut the future off, and compare orders.")
@click.option("--report", metavar="FILE.html", type=click.Path(path_type=Path), help="Write a report to look at.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How it is answered.")
def backtest(wanted: tuple[str, ...], data: tuple[Path, ...], form: str, **given: Any) -> None:
    """Say what records would have made of recorded prices: one, some, or the whole fleet.

    The engine itself runs at simulated time: the same gateway, limits, ledger and paper exchange, every record taken as
    active. An order fills with the next price after it, never with one that was known; rows before --from are only
    looked back at, and orders take no more than --max-volume of a candle's volume. Records may lie anywhere. What is
    wrong with the data is told first, with its line, and then nothing runs.
    """
    ctx = click.get_current_context()
    place: Place = ctx.obj
    try:
        found = _study(place, wanted, data, given)
    except Failure as failure:
        raise CouldNotRun(*failure.lines) from failure
    except OSError as error:
        named = "" if error.filename is None else f"{error.filename}: "
        raise CouldNotRun(f"{named}expected a file of recorded prices to read, was: {error.strerror}") from error
    except ReconcilerError as error:
        raise CouldNotRun(*str(error).splitlines()) from error
    if given["report"] is not None:
        _write_report(given["report"], found)
    if form == "json":
        print_json(found.to_json())
    else:
        print_table(COLUMNS, [*_rows(found), *_sums(found)])
    say(*(note for note in found.notes[len(found.plan.dataset.notes) :] if " failed ticks" not in note))
    for studied in found.instances:
        _tell_asked(studied)
    for one in found.failed:
        last = "; ".join(line.strip() for line in one.last_error.splitlines())
        say(f"{one.id}: its strategy failed {one.errors:,} times; the last: {last}", alarming=True)
    if found.result.hung:
        say(found.result.hung, alarming=True)
    ctx.exit(1 if found.result.hung else 2 if found.result.was_stopped else 1 if found.failed else 0)


def _study(place: Place, wanted: Sequence[str], data: Sequence[Path], given: Mapping[str, Any]) -> Study:
    from reconciler.backtest.simulation import RunPlan
    from reconciler.backtest.study import Inquiry, study
    from reconciler.backtest.tape import Costs
    from reconciler.store.trials import Trials

    settings = place.settings()
    snapshot = chosen(place, wanted)
    dataset = looked_through(data, given["begin"], given["end"], _symbols(snapshot))
    if dataset.needs_spread and given["spread"] is None:
        raise CouldNotRun(
            "--spread: expected one, for these data have no bid and ask; --spread 0.0002 is two hundredths of a percent"
        )
    costs = Costs(given["spread"] or Decimal(0), given["slippage"], given["max_volume"])
    plan = RunPlan(place.root(), snapshot, dataset, dict(given["balances"]), costs, given["seed"])
    holdout = None if given["holdout"] is None else float(given["holdout"])
    trials = Trials(settings.state_dir / "trials.db", settings.database)
    with _stoppable() as is_asked, _progress() as told:
        return study(plan, Inquiry(holdout, given["check_lookahead"], given["jobs"]), trials, told, is_asked)


def _tell_asked(one: StudiedInstance) -> None:
    """What came of --check-lookahead and --holdout."""
    look, held = one.lookahead, one.holdout
    if look is not None and look.ok and not look.compared:
        say(f"{one.run.id}: it asked for no order before the data were cut off: whether it looks ahead cannot be told")
    elif look is not None and look.ok:
        say(f"{one.run.id}: {look.compared:,} orders are the same with the future cut off")
    elif look is not None:
        say(f"{one.run.id}: looks ahead, or hangs on anything else: {look.difference}", alarming=True)
    if held is None:
        return
    said = held.to_json()
    if held.shown is None:
        say(f"{one.run.id}: held out from {said['from']}: this version was shown it before; looks so far: {held.looks}")
    else:
        result = _money(held.shown.equity, one.run.currency)
        say(f"{one.run.id}: held out from {said['from']}: {result}; looks at it so far: {held.looks}")


def looked_through(
    data: Sequence[Path], begin: datetime | None, end: datetime | None, symbols: frozenset[str]
) -> Dataset:
    """The data, with what is to be known of them told. CouldNotRun, with every line that is wrong."""
    from reconciler.backtest.dataset import look_through
    from reconciler.backtest.rows import data_files, shown

    from_s, to_s = (None if moment is None else moment.timestamp() for moment in (begin, end))
    dataset = look_through(data_files(data, symbols or None), from_s, to_s)
    if dataset.problems:
        raise CouldNotRun(*(f"{one} ({one.hint})" if one.hint else str(one) for one in dataset.problems))
    if dataset.begin_s >= dataset.end_s:
        raise CouldNotRun(f"--from: expected a time before the end of the data, {shown(dataset.end_s)}")
    for one in dataset.series:
        span = f"{shown(one.from_s)} to {shown(one.to_s)}"
        say(f"{one.symbol}: {one.rows:,} {one.kind}, {one.timeframe} apart, {span}")
    say(*dataset.notes)
    say(*(f"{symbol}: there are no data of it: nobody is told a price" for symbol in sorted(symbols - dataset.symbols)))
    return dataset


def _symbols(snapshot: Snapshot) -> frozenset[str]:
    """The markets that the records name, as far as they can be read: the others' rows need not be."""
    from reconciler.documents.document import Document
    from reconciler.records.snapshot import document_of

    found: set[str] = set()
    for file in snapshot.instances:
        document = document_of(file)
        if isinstance(document, Document) and isinstance(document.values, dict):
            named = document.values.get("data_markets")
            found.update(map(str, named if isinstance(named, list) else ()))
            found.add(str(document.values.get("market", "")))
    return frozenset(found - {""})


def chosen(place: Place, wanted: Sequence[str]) -> Snapshot:
    """The fleet as it is on disk, narrowed to those records; files that lie elsewhere are added to it."""
    from reconciler.records.snapshot import SourceFile, named_id

    snapshot = place.snapshot(asks_git=False)
    if not wanted:
        return snapshot
    known = {named_id(file.path): file for file in snapshot.instances}
    found: dict[str, SourceFile] = {}
    for one in wanted:
        path = Path(one)
        if path.suffix in (".yaml", ".yml"):
            try:
                data = path.read_bytes()
            except OSError as error:
                raise CouldNotRun(f"{one}: expected a record to read, was refused: {error.strerror}") from error
            blob = sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
            found[path.stem] = known.get(path.stem) or SourceFile(path.as_posix(), data, blob, committed=False)
            if path.resolve() != (place.root() / found[path.stem].path).resolve():
                found[path.stem] = SourceFile(path.as_posix(), data, blob, committed=False)
        elif one in known:
            found[one] = known[one]
        else:
            from reconciler.documents.wording import did_you_mean

            hint = did_you_mean(one, list(known))
            raise CouldNotRun(
                f"{one}: expected the id of an instance, or a file.yaml; {hint or 'there is none of that name'}"
            )
    files = tuple(sorted(found.values(), key=lambda file: file.path))
    return replace(snapshot, instances=files)


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Within it Ctrl-C only asks: what there is by then is told. A second one ends at once."""
    asked: list[int] = []

    def ask(number: int, frame: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        say("stopping: what there is by now is told")

    former = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, former)


@contextmanager
def _progress() -> Iterator[Callable[[float], object]]:
    """A bar with the time that is left, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("backtest"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _rows(found: Study) -> list[list[Any]]:
    return [
        [
            one.run.id,
            _money(one.run.equity, one.run.currency),
            _money(one.costs_doubled, one.run.currency),
            _money(one.buy_and_hold, one.run.currency),
            _money(one.run.max_drawdown, one.run.currency),
            len(one.run.trades),
            None if one.figures.sharpe is None else f"{one.figures.sharpe:.2f}",
            None if one.deflated is None else f"{one.deflated:.2f}",
        ]
        for one in found.instances
    ]


def _sums(found: Study) -> Iterator[list[Any]]:
    if len(found.instances) < 2:
        return
    for currency, total in found.totals.items():
        amounts = [total[name] for name in ("result", "result_costs_doubled", "buy_and_hold", "max_drawdown")]
        written = [None if amount is None else _money(Decimal(amount), currency) for amount in amounts]
        yield [f"all in {currency}", *written, None, None, None]


def _money(amount: Decimal | None, currency: str) -> str | None:
    return None if amount is None else f"{amount:,.2f} {currency}"


def _write_report(path: Path, found: Study) -> None:
    from reconciler.backtest.sheet import report

    try:
        path.write_text(report(found), encoding="utf-8")
    except OSError as error:
        raise CouldNotRun(f"{path}: expected to be able to write it, was refused: {error.strerror}") from error
    say(f"{path}: written")


@click.command(
    "try",
    epilog="""\b
Examples:
  reconciler try btc-grid-1
  reconciler try draft.yaml --ticks 5 --format json

\b
Exit codes:
  0  it ticked
  1  its strategy failed
  2  it could not run: the record is invalid, or its server cannot be reached""",
)
@click.argument("file", metavar="ID|FILE", type=click.Path(path_type=Path))
@click.option("--ticks", type=click.IntRange(1, 10_000), default=1, help="How often; a heartbeat apart.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How it is answered.")
@click.pass_context
def try_(ctx: click.Context, file: Path, ticks: int, form: str) -> None:
    """Tick one record on the quotes of now, and print its orders. Nothing is sent, and nothing is kept.

    Needs no engine. The record is taken as observing: its orders are checked as if they were real, and filled on paper.
    It ticks at once, whenever it would be due. A file may lie anywhere; its strategy is one of this fleet.
    """
    place: Place = ctx.obj
    try:
        found = _rehearsed(place, file, ticks)
    except Failure as failure:
        raise CouldNotRun(*failure.lines) from failure
    except (ReconcilerError, OSError) as error:
        raise CouldNotRun(*str(error).splitlines()) from error
    if form == "json":
        print_json(
            {
                "items": [_item(order) for order in found.orders],
                "ticks": found.ticks,
                "log": list(found.log),
                "errors": found.errors,
                "last_error": found.last_error,
            }
        )
    else:
        print_table(TRIED_COLUMNS, [list(_item(order).values())[1:] for order in found.orders])
        say(*(f"{line['level']}: {line['message']}" for line in found.log))
        ticks_said = "1 tick" if found.ticks == 1 else f"{found.ticks} ticks"
        orders_said = "1 order" if len(found.orders) == 1 else f"{len(found.orders)} orders"
        say(f"{found.id}: {ticks_said}, {orders_said}; simulated, nothing was sent")
    if found.last_error:
        say(*f"{found.id}: its strategy failed: {found.last_error}".splitlines(), alarming=True)
    ctx.exit(1 if found.last_error else 0)


def _rehearsed(place: Place, file: Path, ticks: int) -> Rehearsal:
    from reconciler.backtest.rehearsal import rehearse
    from reconciler.clock import SystemClock

    beside = file.with_name(f"{file.name}.yaml")
    named = beside if file.suffix not in (".yaml", ".yml") and beside.is_file() else file
    return asyncio.run(rehearse(place.settings(), chosen(place, [str(named)]), ticks, SystemClock()))


def _item(order: Order) -> dict[str, Any]:
    request = order.request
    prices = (request.limit_price, request.stop_price, order.average_price)
    limit, stop, average = (None if price is None else decimal_text(price) for price in prices)
    return {
        "client_order_id": order.client_order_id,
        "side": str(request.side),
        "type": str(request.type),
        "quantity": decimal_text(request.quantity),
        "limit_price": limit,
        "stop_price": stop,
        "state": str(order.state or order.outcome),
        "filled_quantity": decimal_text(order.filled_quantity),
        "average_price": average,
        "reason": order.reason,
    }
