"""`--since` and `--until`: a day, a time in UTC, or how long ago."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Moment(click.ParamType[datetime]):
    """A day as it begins, a time of day in UTC, or so long before now."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        from reconciler.clock import SystemClock, utc
        from reconciler.records.moment import moment

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
