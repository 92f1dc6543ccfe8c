"""`reconciler try`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from reconciler.cli.backtest import chosen
from reconciler.cli.output import CouldNotRun, Failure, print_json, print_table, say
from reconciler.cli.place import Place
from reconciler.errors import ReconcilerError
from reconciler.orders.order import decimal_text

if TYPE_CHECKING:
    from reconciler.backtest.rehearsal import Rehearsal
    from reconciler.orders.order import Order

COLUMNS: Final = ("SIDE", "TYPE", "QUANTITY", "LIMIT", "STOP", "STATE", "FILLED", "AT", "REASON")


@click.command(
    "try",
    epilog="""\b
Examples:
  reconciler try instances/btc-grid-1.yaml
  reconciler try draft.yaml --ticks 5 --format json

\b
Exit codes:
  0  it ticked
  1  its strategy failed
  2  it could not run: the record is invalid, or its server cannot be reached""",
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--ticks", type=click.IntRange(1, 10_000), default=1, help="How often; a heartbeat apart.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", help="How it is answered.")
@click.pass_context
def try_(ctx: click.Context, file: Path, ticks: int, form: str) -> None:
    """Tick one record on the quotes of now, and print its orders. Nothing is sent, and nothing is kept.

    Needs no engine. The record is taken as observing: its orders are checked as if they were real, and filled on paper.
    It ticks at once, whenever it would be due. FILE may lie anywhere; its strategy is one of this fleet.
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
        print_table(COLUMNS, [list(_item(order).values())[1:] for order in found.orders])
        say(*(f"{line['level']}: {line['message']}" for line in found.log))
        say(f"{found.id}: {found.ticks} ticks, {len(found.orders)} orders; simulated, nothing was sent")
    if found.last_error:
        say(f"{found.id}: its strategy failed: {found.last_error}", alarming=True)
    ctx.exit(1 if found.last_error else 0)


def _rehearsed(place: Place, file: Path, ticks: int) -> Rehearsal:
    from reconciler.backtest.rehearsal import rehearse
    from reconciler.clock import SystemClock

    path = file if file.suffix in (".yaml", ".yml") else file.with_name(file.name + ".yaml")
    return asyncio.run(rehearse(place.settings(), chosen(place, [str(path)]), ticks, SystemClock()))


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
