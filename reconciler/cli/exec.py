"""`reconciler exec check`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from reconciler.cli.choice import reason_option
from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.money import Money
from reconciler.cli.outcome import print_outcome
from reconciler.cli.output import print_json
from reconciler.cli.place import Place

if TYPE_CHECKING:
    from reconciler.execution.inspection import Finding
    from reconciler.execution.rehearsal import Step, Trial
    from reconciler.settings import Settings


@click.group(
    epilog="""\b
Examples:
  reconciler exec check
  reconciler exec check kraken"""
)
def exec() -> None:
    """Look at the exec-mcp servers, and accept what changed of them."""


@exec.command(
    epilog="""\b
Examples:
  reconciler exec check kraken
  reconciler exec accept kraken --reason "read its changelog: only a new tool\""""
)
@click.argument("server")
@reason_option
@click.pass_obj
def accept(place: Place, server: str, reason: str) -> None:
    """Trade again through a server whose tools changed while the engine ran: look at it first, with check.

    A running engine lets no order leave through such a server, though cancels and look-ups pass. A restart accepts
    what it finds, too.
    """
    try:
        print_outcome("its tools are accepted", place.engine().post("/v1/accept", {"server": server, "reason": reason}))
    except NoEngine:
        raise Failure("no engine is running here; it takes the tools as it finds them when it starts") from None


@dataclass(frozen=True, slots=True)
class _Wish:
    """What --place and its options ask for."""

    account: str
    client: str
    market: str
    quantity: Decimal
    price: Decimal | None


@exec.command(
    epilog="""\b
Examples:
  reconciler exec check
  reconciler exec check kraken --format json
  reconciler exec check --place --account paper-1 --market BTC/USD --quantity 0.001
  reconciler exec check --place --account main --client desk-a --market BTC/USD --quantity 0.0001 \\
    --price 1000 --yes"""
)
@click.argument("server", required=False)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people, or machines.")
@click.option("--place", "placing", is_flag=True, help="Send one tiny order far from the market, and cancel it.")
@click.option("--account", metavar="ID", help="The account the order is for.")
@click.option("--client", metavar="ID", default="check", show_default=True, help="The client_id it is sent with.")
@click.option("--market", metavar="SYMBOL", help="The market the order is for.")
@click.option("--quantity", type=Money(), help="How much to buy.")
@click.option("--price", type=Money(), help="The limit; by default half of what the market bids.")
@click.option("--yes", is_flag=True, help="Yes, with real money.")
@click.pass_obj
def check(
    place: Place,
    server: str | None,
    form: str,
    placing: bool,
    account: str | None,
    client: str,
    market: str | None,
    quantity: Decimal | None,
    price: Decimal | None,
    yes: bool,
) -> None:
    """Connect to every server of the settings, or to SERVER, and hold its mapping against the tools it has.

    Says of each: whether it is reachable, what can be used, every mismatch, and the accounts whose gate would stay
    closed, with the reason. Exit code 0 where all is fine, else 1. Nothing is placed without --place; an order placed
    so passes no gateway and is in no ledger, but not while trading is halted.
    """
    settings = place.settings()
    wish = None
    if placing:
        if account is None or market is None or quantity is None:
            raise click.UsageError("--place: expected --account, --market and --quantity, too")
        wish = _Wish(account, client, market, quantity, price)
        server = _server_of(place, settings, wish, server, yes=yes)
    findings, steps = asyncio.run(_look(settings, server, wish))
    if form == "json":
        print_json({"items": [one.to_json() for one in findings], "steps": [step.to_json() for step in steps]})
    else:
        _print(findings, steps)
    if not all(one.is_fine for one in findings) or not all(step.ok for step in steps):
        raise click.exceptions.Exit(1)


def _server_of(place: Place, settings: Settings, wish: _Wish, asked: str | None, *, yes: bool) -> str:
    """The server that reaches the account; Failure where the order must not be sent."""
    account = settings.accounts.get(wish.account)
    if account is None:
        known = ", ".join(settings.accounts.declared)
        raise Failure(f"{wish.account}: expected an account of reconciler.yaml, one of {known}")
    if asked is not None and asked != account.server:
        raise Failure(f"{asked}: expected {account.server}, the server of account {wish.account}")
    if account.real_money and not yes:
        raise Failure(f"{wish.account}: its money is real; to send the order all the same, add --yes")
    if place.snapshot().halt is not None:
        raise Failure("instances/_halt.yaml halts trading: remove it first")
    if place.database().exists():
        for halt in place.reader().halts():
            if halt["scope"] == "all" or (halt["scope"], halt["id"]) == ("account", wish.account):
                raise Failure(f"trading is halted: {halt['reason']}; end it first: reconciler unhalt")
    return account.server


async def _look(settings: Settings, server: str | None, wish: _Wish | None) -> tuple[Sequence[Finding], Sequence[Step]]:
    import logging
    import os

    from reconciler.clock import SystemClock
    from reconciler.execution.inspection import inspect
    from reconciler.execution.rehearsal import rehearse
    from reconciler.execution.servers import open_servers

    logging.getLogger().addHandler(logging.NullHandler())  # what there is to say stands in the findings
    clock = SystemClock()
    options = settings.server_options(os.environ)
    names = [one.name for one in options]
    if server is not None and server not in names:
        raise Failure(f"{server}: expected a server of reconciler.yaml, one of {', '.join(names)}")
    wanted = [one for one in options if server in (None, one.name)]
    # The journal of a paper exchange belongs to the engine: this one begins with nothing, and leaves nothing.
    site = replace(settings.paper_site(), journals=None)
    async with open_servers(wanted, settings.accounts, clock, site) as servers:
        findings = await inspect(servers, [one.name for one in wanted], settings.accounts, clock)
        if wish is None or not findings[0].reachable:
            return findings, ()
        return findings, await rehearse(servers.named(findings[0].server), _trial(wish))


def _trial(wish: _Wish) -> Trial:
    from reconciler.clock import SystemClock
    from reconciler.execution.order_id import OrderIds
    from reconciler.execution.rehearsal import Trial

    made = OrderIds(SystemClock()).make("exec check")
    return Trial(wish.account, wish.client, wish.market, wish.quantity, made, wish.price)


def _print(findings: Sequence[Finding], steps: Sequence[Step]) -> None:
    for one in findings:
        click.echo(f"{one.server}: {'fine' if one.is_fine else 'not fine' if one.reachable else 'not reachable'}")
        if not one.reachable:
            click.echo(f"  {one.error}")
        else:
            click.echo(f"  it has {len(one.offered)} tools; of the contract's it can do: {', '.join(one.tools) or '-'}")
        for mismatch in one.mismatches:
            click.echo(f"  mismatch: {mismatch}")
        for account_id, why in one.closed.items():
            click.echo(f"  closed: account {account_id}: {why}")
    for step in steps:
        click.echo(f"{step.what}: {step.outcome if step.ok else 'FAILED: ' + step.outcome}")
