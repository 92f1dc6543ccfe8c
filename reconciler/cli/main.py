"""The command group: which commands there are, and where each one's module is."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import click

from reconciler import __version__
from reconciler.cli.failure import unforeseen
from reconciler.cli.output import spare_the_encoding
from reconciler.cli.place import Place

COMMANDS = {
    "run": "Run the engine.",
    "validate": "Say what is wrong with instance files.",
    "plan": "Say what merging would start, change and stop.",
    "status": "Show how instances are doing.",
    "show": "Show one record, each value with its origin.",
    "events": "Show what happened.",
    "history": "Show every generation of one instance.",
    "orders": "Show the order ledger.",
    "book": "Put right what an instance holds.",
    "positions": "Show what instances hold, and the profit they made.",
    "logs": "Show what an instance logged.",
    "wait": "Wait until instances are as they should be.",
    "export": "Write the whole ledger or history, for spreadsheets and machines.",
    "pause": "Stop ticks and trading until resumed.",
    "resume": "End a pause.",
    "halt": "The kill switch: no new exposure until unhalt.",
    "unhalt": "End a halt.",
    "beats": "End waiting for a clock that was ahead.",
    "strategies": "List strategy definitions, or one's config reference.",
    "schema": "Write the schemas for editors and CI, or check them.",
    "prune": "Show or confirm removals that are held.",
    "backup": "Copy the database, while the engine runs.",
    "restore": "Put a copy back; everything is halted.",
    "check": "Look whether the database is whole.",
    "paper": "The paper exchange alone, as an exec-mcp server.",
    "exec": "Look at the exec-mcp servers, without the engine.",
    "new": "Write the file of a new instance.",
    "init": "Begin a fleet repository.",
}
"""Every command, in the order help lists them; `reconciler.cli.<name>` has it under the same name."""

IMPORTING = frozenset(("validate", "plan", "schema", "strategies", "new", "init"))
"""Those that import strategies to answer, and end. The engine's own stdout is no data: nothing is kept from it."""

_FORESEEN = (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError)


class Commands(click.Group):
    """A group that imports a command only when it is called; listing them imports none."""

    def invoke(self, ctx: click.Context) -> Any:
        """The last boundary: what no command foresaw is told in one sentence, with the exit code of "could not run"."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(error, _FORESEEN) or os.environ.get("RECONCILER_DEBUG"):
                raise
            raise unforeseen(error, ctx.invoked_subcommand) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"reconciler.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  reconciler validate
  reconciler --root ~/fleet status
  reconciler --version""",
)
@click.version_option(__version__, "--version", message="%(version)s", help="Print the version.")
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that holds instances/; by default the current one or the nearest above it.",
)
@click.pass_context
def main(ctx: click.Context, root: Path | None) -> None:
    """GitOps for trading strategies: the running fleet is what was merged.

    Answers go to stdout, talk goes to stderr. Every command has its own help: reconciler COMMAND --help.
    """
    ctx.obj = Place(root)
    spare_the_encoding()
    if ctx.invoked_subcommand in IMPORTING:
        from reconciler.cli.aside import strategies_aside

        ctx.with_resource(strategies_aside())
