"""What a command applies to, as options: instances by id or all of them; for halts also an account. And the reason."""

from __future__ import annotations

from collections.abc import Callable
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
