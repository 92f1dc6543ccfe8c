"""`reconciler status`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.halt import halts_of, halts_without_engine, notes_of, say_halts
from reconciler.cli.output import Failure, hanging, print_json, print_table, say, tell, watch
from reconciler.cli.place import NoEngine, Place, no_such
from reconciler.orders.holding import Holding
from reconciler.orders.order import decimal_text
from reconciler.ports import InstanceFilter
from reconciler.records.cadence import ago
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, told_of_removed
from reconciler.records.status import Health, Sync
from reconciler.review.validate.report import count

if TYPE_CHECKING:
    from reconciler.store import Reader

WATCH_S = 2.0
COLUMNS = (
    "ID",
    "STRATEGY",
    "MARKET",
    "ACCOUNT",
    "MODE",
    "SYNC",
    "HEALTH",
    "POSITION",
    "PROFIT",
    "TICKS",
    "ERRORS",
    "MISSED",
    "LAST TICK",
    "NOTES",
)
LEAST = ("NOTES", "ACCOUNT", "STRATEGY", "MISSED", "TICKS", "ERRORS", "LAST TICK", "MARKET", "SYNC", "PROFIT")
"""What gives way on a narrow terminal, in this order: mode, health and position stay."""
BENEATH = ("NOTES", "SYNC", "PROFIT")
"""What of that is kept all the same, below each row."""
STYLES: Mapping[str, str] = {
    **dict.fromkeys((str(Health.STUCK), str(Health.DEGRADED), str(Sync.INVALID), str(Sync.REFUSED)), "bold red"),
    **dict.fromkeys((str(Health.PAUSED), str(Sync.HELD), str(Sync.OUT_OF_SYNC), str(Health.PROGRESSING)), "yellow"),
    **dict.fromkeys((str(Health.HEALTHY), str(Sync.SYNCED)), "green"),
    str(Mode.ACTIVE): "bold",
    str(Health.OFF): "dim",
}
SAID_ELSEWHERE = ("Mode", "Paused", "Halted")
"""Obstacles that the mode, and the halts, say already."""
USUAL = {"Ready": ("Ticking",), "Trading": ("Open",)}
"""The reasons for being True that need no note; others do: ticks missed, a `render` that failed."""
PROBLEMS_SHOWN = 3

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found. `problems` are those of all files, `files` those that have some and stand for no instance;
    `books` what instances hold by their own fills."""

    items: Sequence[Item]
    halts: Sequence[Halt]
    notes: Sequence[str] = ()
    problems: Sequence[Item] = ()
    files: Sequence[Attempt] = ()
    books: Mapping[str, Sequence[tuple[bool, Holding]]] = field(default_factory=dict)


@click.command(
    epilog="""\b
Examples:
  reconciler status
  reconciler status btc-grid-1
  reconciler status --mode active --health Degraded
  reconciler status --label team=majors --account main
  reconciler status --q btc --strategy-type grid
  reconciler status --sync Invalid
  reconciler status --format json
  reconciler status --watch"""
)
@click.argument("instance_id", metavar="[ID]", required=False)
@click.option("--q", default="", metavar="TEXT", help="Only those whose id, market, strategy or description has it.")
@click.option("--label", default="", metavar="KEY[=VALUE]", help="Only those with this label.")
@click.option("--mode", type=click.Choice([str(one) for one in Mode]), help="Only those whose record says this mode.")
@click.option("--health", type=click.Choice([str(one) for one in Health]), help="Only those.")
@click.option("--sync", type=click.Choice([str(one) for one in Sync]), help="Only those.")
@click.option("--strategy-type", default="", metavar="TYPE", help="Only those of this strategy.")
@click.option("--account", default="", metavar="ID", help="Only those on this account.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.option("--watch", "is_watching", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@click.pass_obj
def status(
    place: Place,
    /,
    instance_id: str | None,
    form: str,
    is_watching: bool,
    **narrowed: str | None,
) -> None:
    """Show how all instances are doing, or one of them with its conditions.

    Asks the engine; where none is running, shows what is applied according to the database. Files that have a problem
    and no instance yet are told below.
    """
    wanted = InstanceFilter(**{name: value or "" for name, value in narrowed.items()})
    if instance_id is not None and wanted != InstanceFilter():
        raise click.UsageError("a filter narrows the list: expected either an ID or filters")

    def look() -> None:
        seen = _look(place, instance_id, wanted)
        if is_watching and form == "table":
            click.clear()
        say_halts(seen.halts)
        say(*(f"note: {note}" for note in seen.notes))
        _print(seen, instance_id, form)

    if is_watching:
        watch(look, WATCH_S)
    else:
        look()


def _look(place: Place, instance_id: str | None, wanted: InstanceFilter) -> Seen:
    """What there is of the instances asked for; Failure where the one is not there."""
    notes: list[str] = []
    try:
        engine = place.engine()
        if instance_id is None:
            asked = {name: value for name in InstanceFilter.__slots__ if (value := getattr(wanted, name))}
            items = list(engine.items("/api/v1/instances", asked))
        else:
            found = engine.get(f"/api/v1/instances/{instance_id}")
            items = [] if found is None else [found]
        halts, notes = halts_of(engine), notes_of(engine)
        problems = list(engine.items("/api/v1/problems"))
    except NoEngine:
        say("no engine is running here: this is what is applied, and nothing ticks")
        items, halts, problems = _applied(place, wanted)
        items = [item for item in items if instance_id in (None, item["id"])]
    if instance_id is not None and not items:
        raise _no_such(place, instance_id, problems)
    if instance_id is not None:
        halts = _covering(items[0], halts)
    if not place.database().exists():
        return Seen(items, halts, notes, problems)
    reader = place.reader()
    try:
        files = [] if instance_id is not None else list(filter(wanted.matches_file, reader.without_instance()))
        return Seen(items, halts, notes, problems, files, _books(reader))
    finally:
        reader.close()


def _books(reader: Reader) -> dict[str, list[tuple[bool, Holding]]]:
    """What every instance holds, real and simulated, the real ones first."""
    found: dict[str, list[tuple[bool, Holding]]] = {}
    for shadow in (False, True):
        for owner, holding in reader.books(shadow):
            found.setdefault(owner, []).append((shadow, holding))
    return found


def _covering(item: Item, halts: Iterable[Halt]) -> list[Halt]:
    """Those of the halts that are in force on the instance."""
    return [halt for halt in halts if halt.forbids(item["account"]["account_id"], item["id"])]


def _no_such(place: Place, instance_id: str, problems: Iterable[Item]) -> Failure:
    reader = place.reader()
    try:
        own = [one for one in problems if PurePosixPath(one["path"]).stem == instance_id]
        row = reader.row(instance_id)
        if row is not None and row.removed_at is not None:
            told = told_of_removed(row, reader.attempts_of(instance_id))
            return Failure(f"{told}; its past: reconciler history {instance_id}")
        if own:
            return Failure(f"{instance_id}: no instance yet, for its file has a problem", *map(_problem, own))
        return no_such(instance_id, reader.ids())
    finally:
        reader.close()


def _applied(place: Place, wanted: InstanceFilter) -> tuple[list[Item], list[Halt], list[Item]]:
    """What the database says of instances, halts and problems, and the settings of money."""
    from reconciler.records.accounts import Accounts
    from reconciler.review.applied import applied_statuses

    try:
        accounts = place.servers_settings().accounts
    except Failure as failure:
        say(*failure.lines, "the settings cannot be used: whose money is real is not known")
        accounts = Accounts()
    reader = place.reader()
    try:
        rows, attempts = reader.rows(), reader.attempts()
        found = applied_statuses(rows, attempts, reader.exposed(), reader.in_doubt(), accounts)
        statuses = [
            one
            for one in found
            if wanted.matches(rows[one.id], one.effective_mode, one.sync, one.health, partial(bool, one.real_money))
        ]
        problems: list[Item] = [problem.to_json() for attempt in attempts.values() for problem in attempt.problems]
        return [one.to_json() for one in statuses], halts_without_engine(place, reader.halts()), problems
    finally:
        reader.close()


def _print(seen: Seen, instance_id: str | None, form: str) -> None:
    if form == "json":
        told = {"halts": [halt.to_json() for halt in seen.halts]}
        if instance_id is None:
            print_json({"items": seen.items, **told, "problems": seen.problems})
        else:
            print_json({**seen.items[0], **told})
    elif instance_id is not None:
        _print_one(seen)
    else:
        rows = [*map(_file_row, seen.files), *(_row(item, seen) for item in seen.items)]
        print_table(COLUMNS, rows, LEAST, STYLES, beneath=BENEATH)
        _say_problems(seen)


def _file_row(file: Attempt) -> tuple[Any, ...]:
    """A file that stands for no instance: of that, only what is wrong with it is known."""
    known = {"ID": file.stem, "SYNC": file.sync, "NOTES": f"no instance yet: {_problem(file.problems[0].to_json())}"}
    return tuple(known.get(name) for name in COLUMNS)


def _say_problems(seen: Seen) -> None:
    """What is wrong with files that no row above stands for."""
    if seen.files:
        told = "1 file is" if len(seen.files) == 1 else f"{len(seen.files)} files are"
        say(f"{told} no instance yet; all that is wrong with them: reconciler validate", alarming=True)
    shown = {item[name] for item in seen.items for name in ("path", "template_path")}
    shown.update(file.path for file in seen.files)
    others = [one for one in seen.problems if one["path"] not in shown]
    if others:
        say(*(_problem(one) for one in others[:PROBLEMS_SHOWN]), alarming=True)
        say(f"{count(len(others), 'problem')} of files that have no instance here; all of them: reconciler validate")


def _problem(problem: Item) -> str:
    where = ":".join(str(part) for part in (problem["path"], problem["line"], problem["column"]) if part)
    said = f"{problem['pointer']}: {problem['message']}" if problem["pointer"] else problem["message"]
    return f"{where}: {said}" + (f" ({problem['hint']})" if problem.get("hint") else "")


def _row(item: Item, seen: Seen) -> tuple[Any, ...]:
    ticks = item["ticks"]
    account = f"{item['account']['account_id']}/{item['account']['client_id']}"
    return (
        item["id"],
        item["strategy_type"],
        item["market"],
        account,
        _mode(item),
        item["sync"],
        item["health"],
        _position(item, seen),
        _profit(item, seen),
        ticks["count"],
        ticks["errors"],
        ticks["missed"],
        _age(ticks["last_at"]),
        ", ".join(_notes(item, seen)),
    )


def _age(then: str | None) -> str | None:
    from reconciler.clock import SystemClock, utc

    return None if then is None else ago(then, utc(SystemClock().time()))


def _held(item: Item, seen: Seen) -> tuple[bool, Holding] | None:
    """What the instance holds of its market: really, or where nothing was ever traded, simulated."""
    own = [(shadow, holding) for shadow, holding in seen.books.get(item["id"], ()) if holding.symbol == item["market"]]
    return own[0] if own else None


def _position(item: Item, seen: Seen) -> str | None:
    if any(one["reason"] == "UnknownOrder" for one in item["obstacles"]):
        return "not known"
    held = _held(item, seen)
    return None if held is None else f"{decimal_text(held[1].quantity)}{' simulated' if held[0] else ''}"


def _profit(item: Item, seen: Seen) -> str | None:
    """What was realised since its first fill, in the quote currency."""
    held = _held(item, seen)
    return None if held is None else f"{decimal_text(held[1].realised)} {item['market'].partition('/')[2]}".rstrip()


def _notes(item: Item, seen: Seen) -> Iterator[str]:
    """What mode, sync and health do not say: whose money it is, and what keeps it from acting."""
    if item["real_money"]:
        yield "real money"
    if covering := _covering(item, seen.halts):
        yield "halted in full" if any(halt.full for halt in covering) else "halted"
    if item["frozen_with_exposure"]:
        yield "frozen with exposure"
    yield from dict.fromkeys(one["reason"] for one in item["obstacles"] if one["reason"] not in SAID_ELSEWHERE)
    for condition in item["conditions"]:
        if condition["status"] == "True" and condition["reason"] not in USUAL.get(
            condition["type"], condition["reason"]
        ):
            yield condition["reason"]
    if own := [one for one in seen.problems if one["path"] in (item["path"], item["template_path"])]:
        yield _problem(own[0])


def _mode(item: Item) -> str:
    mode: str = item["mode"]
    if item["effective_mode"] != mode:
        mode += f" (in force: {item['effective_mode']})"
    return f"{mode}, paused" if item["paused"] else mode


def _print_one(seen: Seen) -> None:
    item = seen.items[0]
    for name, value in zip(COLUMNS, _row(item, seen), strict=True):
        tell(*hanging(f"{name.lower() + ':':<12}", "-" if value in (None, "") else str(value)))
    tell(f"{'generation:':<12}{item['generation']}, running: {item['observed_generation']}")
    tell(f"{'revision:':<12}{item['revision'] or 'not committed'}")
    tell(f"{'file:':<12}{item['path']}")
    for one in seen.problems:
        if one["path"] in (item["path"], item["template_path"]):
            tell(*hanging(f"{'problem:':<12}", _problem(one)))
    if not item["conditions"]:  # no engine runs, which would tell them
        for obstacle in item["obstacles"]:
            tell(*hanging(f"{'Trading:':<12}", f"False  {obstacle['reason']}  {obstacle['message']}"))
    for condition in item["conditions"]:
        said = f"{condition['status']}  {condition['reason']}  {condition['message']}"
        tell(*hanging(f"{condition['type'] + ':':<12}", f"{said}  (since {condition['last_transition_at']})"))
