"""A command that could not do what it was asked: sentences on stderr and an exit code."""

from __future__ import annotations

from typing import IO, Any

import click

from reconciler.errors import SettingsError


class Failure(click.ClickException):
    """Ends the command with exit code 1. The message says where, what, and how to mend it."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class CouldNotRun(Failure):
    """Ends `validate` with exit code 2: it found nothing out, neither good nor bad."""

    exit_code = 2


def of_settings(error: SettingsError) -> Failure:
    """All that is wrong with the settings, a line each, hints indented below."""
    lines = []
    for problem in error.problems:
        lines.append(str(problem))
        if problem.hint:
            lines.append(f"  hint: {problem.hint}")
    return Failure("\n".join(lines))
