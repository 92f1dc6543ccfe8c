"""A command that could not do what it was asked: sentences on stderr and an exit code."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO, Any

import click

from reconciler.errors import SettingsError
from reconciler.visible import said, visible


class Failure(click.ClickException):
    """Ends the command with exit code 1. Its lines say where, what, and how to mend it; each stays one line."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(map(visible, lines)))

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class CouldNotRun(Failure):
    """Ends `validate` and `check` with exit code 2: it found nothing out, neither good nor bad."""

    exit_code = 2


def of_settings(error: SettingsError) -> Failure:
    """All that is wrong with the settings, a line each, hints indented below."""
    lines = []
    for problem in error.problems:
        lines.append(str(problem))
        if problem.hint:
            lines.append(f"  hint: {problem.hint}")
    return Failure(*lines)


def unforeseen(error: Exception, command: str | None) -> Failure:
    """What to say of an error that nobody foresaw, or that any command may meet: one sentence, however it looks."""
    kind = CouldNotRun if command in ("validate", "check") else Failure
    if isinstance(error, OSError) and error.filename is None:
        _give_up(sys.stdout)
    if isinstance(error, OSError) and error.strerror:
        where = "stdout or a file" if error.filename is None else str(error.filename)
        return kind(f"{where}: expected to be able to use it, was refused: {error.strerror}")
    told = said(error)
    return kind(f"expected to come to an end, was stopped by {told}; with RECONCILER_DEBUG=1 its traceback is shown")


def _give_up(stream: IO[Any]) -> None:
    """What could not be written is not tried again, with a complaint of its own, when Python ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
