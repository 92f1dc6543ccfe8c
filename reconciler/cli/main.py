"""The command group: which commands there are, and where each one's module is."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from reconciler import __version__
from reconciler.cli.place import Place

COMMANDS = {
    "run": "Run the engine.",
    "validate": "Say what is wrong with instance files.",
    "status": "Show how instances are doing.",
    "show": "Show one record, each value with its origin.",
    "events": "Show what happened.",
    "history": "Show every generation of one instance.",
    "orders": "Show the order ledger.",
    "pause": "Stop ticks and trading until resumed.",
    "resume": "End a pause.",
    "halt": "The kill switch: no new exposure until unhalt.",
    "unhalt": "End a halt.",
    "strategies": "List strategy definitions, or one's config reference.",
    "prune": "Show or confirm removals that are held.",
}
"""Every command, in the order help lists them; `reconciler.cli.<name>` has it under the same name."""


class Commands(click.Group):
    """A group that imports a command only when it is called; listing them imports none."""

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
