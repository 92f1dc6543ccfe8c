"""What a command applies to, as options: instances by id or all of them; for halts also an account. And the reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import click

from reconciler.records.halt import REASON_LIMIT, HaltScope

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def one_or_all(command: Decorated) -> Decorated:
    """`ID…` as `ids`, or `--all` as `everything`; neither or both is a usage error."""

    def check(ctx: click.Context, parameter: click.Parameter, everything: bool) -> bool:
        if everything == bool(ctx.params.get("ids")):
            raise click.UsageError("expected either instance ids or --all", ctx)
        return everything

    command = click.option("--all", "everything", is_flag=True, callback=check, help="Every instance.")(command)
    return click.argument("ids", metavar="[ID]...", nargs=-1, is_eager=True)(command)


def scope_options(command: Decorated) -> Decorated:
    """`--all`, `--account ID` or `--instance ID`, as `everything`, `account`, `instance`; see `scope_of`."""
    command = click.option("--instance", metavar="ID", help="One instance.")(command)
    command = click.option("--account", metavar="ID", help="All that trade on one account.")(command)
    return click.option("--all", "everything", is_flag=True, help="Everything.")(command)


def asked_reason(command: Decorated) -> Decorated:
    """`--reason TEXT`, asked for by `scope_of` only once it is clear what it is about."""
    return click.option("--reason", metavar="TEXT", help="Why; recorded with who asked. Required.")(command)


def scope_of(
    everything: bool, account: str | None, instance: str | None, reason: str | None
) -> tuple[HaltScope, str, str]:
    """The scope and id of a halt, and why; a usage error where not exactly one was chosen, or no reason given."""
    chosen: list[tuple[HaltScope, str]] = []
    if everything:
        chosen.append(("all", ""))
    if account:
        chosen.append(("account", account))
    if instance:
        chosen.append(("instance", instance))
    if len(chosen) != 1:
        raise click.UsageError("expected exactly one of --all, --account ID, --instance ID")
    if not reason or not reason.strip():
        raise click.UsageError("Missing option '--reason'.")
    return *chosen[0], _bounded(reason)


def reason_option(command: Decorated) -> Decorated:
    """`--reason TEXT`, required: it is recorded with who asked."""

    def check(ctx: click.Context, parameter: click.Parameter, reason: str) -> str:
        return _bounded(reason)

    told = "Why; recorded with who asked."
    return click.option("--reason", required=True, metavar="TEXT", callback=check, help=told)(command)


def _bounded(reason: str) -> str:
    if len(reason) > REASON_LIMIT:
        raise click.UsageError(f"--reason: expected at most {REASON_LIMIT} characters, was {len(reason)}")
    return reason


class Money(click.ParamType[Decimal]):
    """A decimal above zero; `zero_too`: or zero."""

    name = "decimal"

    def __init__(self, *, zero_too: bool = False) -> None:
        self._zero_too = zero_too

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        from reconciler.orders.order import to_amount

        try:
            number = to_amount(value)
        except ValueError as error:
            self.fail(str(error).removeprefix("value: "), param, ctx)
        if number < 0 or (number == 0 and not self._zero_too):
            self.fail(f"expected {'zero or more' if self._zero_too else 'more than zero'}, was {value}", param, ctx)
        return number


class Fraction(Money):
    """A decimal above zero and below one."""

    name = "fraction"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        number = super().convert(value, param, ctx)
        if number >= 1:
            self.fail(f"expected less than 1, a fraction of the price, was {value}", param, ctx)
        return number


class Fee(click.ParamType[tuple[Decimal, str | None]]):
    """An amount, zero or more, and its currency, where one is named: `0.001:BTC`."""

    name = "fee"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Decimal, str | None]:
        if isinstance(value, tuple):
            return value
        amount, _, currency = str(value).partition(":")
        return Money(zero_too=True).convert(amount, param, ctx), currency.strip() or None


class Held(click.ParamType[tuple[Decimal, Decimal]]):
    """A quantity, negative where short, and a price, zero or more: `0.999@60000`."""

    name = "held"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Decimal, Decimal]:
        from reconciler.orders.order import to_amount

        if isinstance(value, tuple):
            return value
        quantity, at, price = str(value).partition("@")
        if not at:
            self.fail(f"expected QUANTITY@PRICE, such as 0.999@60000, or 0@0 to write it off, was {value}", param, ctx)
        try:
            return to_amount(quantity.strip()), Money(zero_too=True).convert(price.strip(), param, ctx)
        except ValueError as error:
            self.fail(str(error).removeprefix("value: "), param, ctx)


class Moment(click.ParamType[datetime]):
    """A day as it begins, a time of day in UTC, or so long before now."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        from reconciler.clock import SystemClock, utc
        from reconciler.records.cadence import moment

        try:
            return moment(value, utc(SystemClock().time()))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def between(command: Decorated) -> Decorated:
    """`--since` and `--until`, as aware datetimes or None."""
    until_help = "Only what is older than that."
    since_help = "Only from then on: 2026-01-31, 2026-01-31T12:00 (UTC), or how long ago, 24h."
    command = click.option("--until", metavar="WHEN", type=Moment(), help=until_help)(command)
    return click.option("--since", metavar="WHEN", type=Moment(), help=since_help)(command)
