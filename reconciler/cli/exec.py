"""`reconciler exec check`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

import click

from reconciler.cli.output import Failure, print_json, print_outcome, say, tell
from reconciler.cli.parameters import Money, reason_option
from reconciler.cli.place import NoEngine, Place, owned_store
from reconciler.orders.order import decimal_text

if TYPE_CHECKING:
    from reconciler.exec_mcp.trial import Finding, Trial, TrialStep
    from reconciler.records.accounts import KnownTools
    from reconciler.settings import Settings


_THROWN_AWAY = (
    "the paper exchange of a check is its own: it begins with nothing, and the engine's knows nothing of the order"
)


@click.group(
    epilog="""\b
Examples:
  reconciler exec check
  reconciler exec check kraken"""
)
def exec() -> None:
    """Look at the exec-mcp servers, accept what changed of them, and settle what an account holds."""


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

    The engine lets no order leave through such a server, though cancels and look-ups pass. It remembers that over
    restarts; a change of the server's mapping or address in the settings counts as a look, too.
    """
    try:
        print_outcome("its tools are accepted", place.engine().post("/v1/accept", {"server": server, "reason": reason}))
    except NoEngine:
        raise Failure(
            "no engine is running here: start it, no order leaves through the server until its tools are accepted"
        ) from None


@exec.command(
    epilog="""\b
Examples:
  reconciler exec settle main --assign btc-grid-1=0.6@58000 --reason "restored; its fills are in the exchange's history"
  reconciler exec settle main --assign a=1@58000 --assign b=-0.5@58000 --outside ETH/USD=2 --reason "restored"
  reconciler exec settle main --reason "its lost orders were cancelled at the exchange\""""
)
@click.argument("account")
@click.option(
    "--assign",
    "assigned",
    multiple=True,
    metavar="ID=QTY@PRICE",
    help="All that the instance holds from now on, and what one of it cost.",
)
@click.option("--outside", multiple=True, metavar="SYMBOL=QTY", help="What is held there and is no instance's.")
@reason_option
@click.pass_obj
def settle(place: Place, account: str, assigned: tuple[str, ...], outside: tuple[str, ...], reason: str) -> None:
    """Say whose is what ACCOUNT holds, where its ledger is behind (Trading: LedgerBehind), and let it trade on.

    The engine looks at the account anew. What is assigned, what the books of other instances say and what is outside
    must add up to what the exchange holds, to the digit. A symbol of which nothing is said keeps what was outside
    before. Open orders that the ledger does not know are named on the page until they are gone: cancel them there.
    """
    body = {
        "account": account,
        "reason": reason,
        "assign": dict(_assigned(said) for said in assigned),
        "outside": dict(_split(said, "SYMBOL=QTY", "--outside") for said in outside),
    }
    try:
        print_outcome("settled", place.engine().post("/v1/settle", body))
    except NoEngine:
        raise Failure(
            "no engine is running here: start it, it compares the account and lets nothing leave that adds exposure"
            " until this is settled"
        ) from None


def _assigned(said: str) -> tuple[str, dict[str, str]]:
    id, position = _split(said, "ID=QTY@PRICE", "--assign")
    quantity, at, price = position.partition("@")
    if not (quantity and at and price):
        raise click.BadParameter(f"expected ID=QTY@PRICE, was {said!r}", param_hint="'--assign'")
    return id, {"quantity": quantity, "price": price}


def _split(said: str, form: str, option: str) -> tuple[str, str]:
    name, equals, value = said.rpartition("=")
    if not (name and equals and value):
        raise click.BadParameter(f"expected {form}, was {said!r}", param_hint=f"'{option}'")
    return name, value


@dataclass(frozen=True, slots=True)
class _Wish:
    """What --place and its options ask for."""

    account: str
    client: str
    market: str
    quantity: Decimal
    price: Decimal | None
    reason: str

    def order(self, trial: Trial) -> str:
        """The order in words, as it is recorded."""
        at = f" at {decimal_text(self.price)}" if self.price is not None else ""
        return f"{trial.client_order_id}, buy {decimal_text(self.quantity)} {self.market}{at}"


@exec.command(
    epilog="""\b
Examples:
  reconciler exec check
  reconciler exec check kraken --format json
  reconciler exec check --place --account paper-1 --market BTC/USD --quantity 0.001
  reconciler exec check --place --account main --client desk-a --market BTC/USD --quantity 0.0001 \\
    --price 1000 --yes --reason "a new key\""""
)
@click.argument("server", required=False)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="For people, or machines.")
@click.option("--place", "placing", is_flag=True, help="Send one tiny order far from the market, and cancel it.")
@click.option("--account", metavar="ID", help="The account the order is for.")
@click.option("--client", metavar="ID", default="check", show_default=True, help="The client_id it is sent with.")
@click.option("--market", metavar="SYMBOL", help="The market the order is for.")
@click.option("--quantity", type=Money(), help="How much to buy.")
@click.option("--price", type=Money(), help="The limit; by default half of what the market bids.")
@click.option("--reason", metavar="TEXT", help="Why the order is placed; recorded with who asked.")
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
    reason: str | None,
    yes: bool,
) -> None:
    """Connect to every server of the settings, or to SERVER, and hold its mapping against the tools it has.

    Says of each: whether it is reachable, what can be used, every mismatch, what changed since somebody looked, and
    the accounts whose gate would stay closed, with the reason: as an engine would. Exit code 0 where all is fine, else
    1. Lists of tools show no more than that: whether orders work, only --place shows. Without it nothing is placed;
    an order placed so passes no gateway and is in no ledger, but not while trading is halted. It is recorded before it
    is sent, with who asked, a reason and its id; one on the embedded paper exchange is not, for that is another than
    the engine's.
    """
    settings = place.servers_settings()
    wish = None
    if placing:
        if account is None or market is None or quantity is None:
            raise click.UsageError("--place: expected --account, --market and --quantity, too")
        wish = _Wish(account, client, market, quantity, price, (reason or "").strip())
        server = _server_of(place, settings, wish, server, yes=yes)
        if _is_thrown_away(settings, server):
            say(_THROWN_AWAY)
        elif not wish.reason:
            raise click.UsageError("--place: expected --reason, too: it is recorded")
    findings, steps = asyncio.run(_look(place, settings, server, wish))
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
    if settings.accounts.is_real(wish.account) and not yes:
        raise Failure(f"{wish.account}: its money is real; to send the order all the same, add --yes")
    if place.snapshot().halt is not None:
        raise Failure("instances/_halt.yaml halts trading: remove it first")
    if place.database().exists():
        for halt in place.reader().halts():
            if halt["scope"] == "all" or (halt["scope"], halt["id"]) == ("account", wish.account):
                raise Failure(f"trading is halted: {halt['reason']}; end it first: reconciler unhalt")
    return account.server


def _is_thrown_away(settings: Settings, server: str) -> bool:
    """True where the server is the embedded exchange: a check runs one of its own."""
    return all(one.name != server or one.kind == "paper" for one in settings.servers)


def _record(place: Place, wish: _Wish, trial: Trial) -> None:
    """Write down what is about to be sent, who asked and why; Failure where that cannot be."""
    order = wish.order(trial)
    try:
        body = {"account": wish.account, "order": order, "reason": wish.reason}
        outcome = place.engine().post("/v1/placing", body)
    except NoEngine:
        with owned_store(place) as owned:
            owned.books.placing(wish.account, order, wish.reason, owned.uid)
    else:
        if outcome["failed"]:
            raise Failure(*(f"{one['id']}: {one['message']}" for one in outcome["failed"]))


def _known_tools(place: Place) -> Mapping[str, KnownTools]:
    """The tools of servers as an engine knows them, where one ever ran here."""
    if not place.database().exists():
        return {}
    try:
        with contextlib.closing(place.reader()) as reader:
            return reader.tools()
    except Failure as failure:
        say(*failure.lines, "it is not known whether tools have changed")
        return {}


async def _look(
    place: Place, settings: Settings, server: str | None, wish: _Wish | None
) -> tuple[Sequence[Finding], Sequence[TrialStep]]:
    import logging
    import os

    from reconciler.clock import SystemClock
    from reconciler.exec_mcp.server import Recollection
    from reconciler.exec_mcp.servers import open_servers
    from reconciler.exec_mcp.trial import inspect, rehearse

    logging.getLogger().addHandler(logging.NullHandler())  # what there is to say stands in the findings
    clock = SystemClock()
    options = settings.server_options(os.environ)
    names = [one.name for one in options]
    if server is not None and server not in names:
        raise Failure(f"{server}: expected a server of reconciler.yaml, one of {', '.join(names)}")
    wanted = [one for one in options if server in (None, one.name)]
    # The journal of a paper exchange belongs to the engine: this one begins with nothing, and leaves nothing.
    site = replace(settings.paper_site(), journals=None)
    memory = Recollection(_known_tools(place))
    async with open_servers(wanted, settings.accounts, clock, site, memory=memory) as servers:
        findings = await inspect(servers, [one.name for one in wanted], settings.accounts, clock)
        if wish is None or not findings[0].reachable:
            return findings, ()
        trial = _trial(wish)
        if not _is_thrown_away(settings, findings[0].server):
            await asyncio.to_thread(_record, place, wish, trial)
        return findings, await rehearse(servers.named(findings[0].server), trial)


def _trial(wish: _Wish) -> Trial:
    from reconciler.clock import SystemClock
    from reconciler.exec_mcp.trial import Trial
    from reconciler.orders.order import OrderIds

    made = OrderIds(SystemClock()).make("exec check")
    return Trial(wish.account, wish.client, wish.market, wish.quantity, made, wish.price)


def _print(findings: Sequence[Finding], steps: Sequence[TrialStep]) -> None:
    for one in findings:
        tell(f"{one.server}: {'fine' if one.is_fine else 'not fine' if one.reachable else 'not reachable'}")
        if not one.reachable:
            tell(f"  {one.error}")
            for line in one.murmur:
                tell(f"  {one.server} wrote: {line}")
        else:
            tell(f"  it has {len(one.offered)} tools; of the contract's it can do: {', '.join(one.tools) or '-'}")
        for mismatch in one.mismatches:
            tell(f"  mismatch: {mismatch}")
        if any("the server has no tool" in mismatch for mismatch in one.mismatches):
            tell(f"  its tools: {', '.join(sorted(one.offered)) or '-'}")
        if one.changed:
            tell(f"  changed: {one.changed}")
        for account_id, why in one.closed.items():
            tell(f"  closed: account {account_id}: {why}")
        for account_id, why in one.unseen.items():
            tell(f"  unseen: account {account_id}: {why}")
    if not steps:
        tell("Lists of tools show what fits, and no more: whether orders work, only --place shows.")
    for step in steps:
        tell(f"{step.what}: {step.outcome if step.ok else 'FAILED: ' + step.outcome}")
