"""A command that could not do what it was asked: sentences on stderr and an exit code."""

from __future__ import annotations

from typing import IO, Any

import click

from reconciler.errors import SettingsError


class Failure(click.ClickException):
    """Ends the command with `exit_code`. The message says where, what, and how to mend it."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


def of_settings(error: SettingsError, exit_code: int) -> Failure:
    """All that is wrong with the settings, a line each, hints indented below."""
    lines = []
    for problem in error.problems:
        lines.append(str(problem))
        if problem.hint:
            lines.append(f"  hint: {problem.hint}")
    return Failure("\n".join(lines), exit_code)
