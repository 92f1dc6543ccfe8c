"""`reconciler run`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.output import Failure, of_settings
from reconciler.cli.place import Place
from reconciler.errors import ReconcilerError, SettingsError


@click.command(
    epilog="""\b
Examples:
  reconciler run
  reconciler run --port 9090
  reconciler run --root ~/fleet --source worktree
  reconciler run --adopt
  reconciler run --once"""
)
@click.option("--source", type=click.Choice(["worktree", "git"]), help="What counts: files on disk, or commits only.")
@click.option("--adopt", is_flag=True, help="On an empty database, take the modes found as already established.")
@click.option("--once", is_flag=True, help="One pass, then stop: exit code 0 where everything is Synced, else 1.")
@click.option("--port", type=click.IntRange(0, 65535), help="The page's port; 0 takes a free one.")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), help="The folder that holds instances/.")
@click.pass_context
def run(ctx: click.Context, source: str | None, adopt: bool, once: bool, port: int | None, root: Path | None) -> None:
    """Run the engine until SIGTERM or Ctrl-C; SIGHUP asks for a full pass.

    Everything is read from the folder that holds instances/. Settings are optional, in reconciler.yaml beside it.
    """
    place: Place = ctx.obj if root is None else Place(root)
    flags = {"source.kind": source, "dashboard.port": port}
    settings = place.settings({name: value for name, value in flags.items() if value is not None})
    from reconciler.app import run as run_engine

    try:
        code = run_engine(settings, adopt=adopt, once=once)
    except SettingsError as error:
        raise of_settings(error) from error
    except ReconcilerError as error:
        raise Failure(str(error)) from error
    ctx.exit(code)
