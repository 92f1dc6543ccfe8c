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
  reconciler run --source git --branch main
  reconciler run --source git --remote origin
  reconciler run --adopt
  reconciler run --source git --adopt --trust 3f2a9c01d4e5b6783f2a9c01d4e5b6783f2a9c01
  reconciler run --once"""
)
@click.option("--source", type=click.Choice(["worktree", "git"]), help="What counts: files on disk, or commits only.")
@click.option("--branch", metavar="BRANCH", help="The branch that counts, where commits are the source.")
@click.option("--remote", metavar="REMOTE", help="The remote whose branch it is; else the repository's own.")
@click.option("--adopt", is_flag=True, help="On an empty database, take the modes found as already established.")
@click.option("--trust", metavar="COMMIT", help="With --adopt: the commit whose active records on real money count.")
@click.option("--once", is_flag=True, help="One pass, then stop: exit code 0 where everything is Synced, else 1.")
@click.option("--port", type=click.IntRange(0, 65535), help="The page's port; 0 takes a free one.")
@click.option("--root", type=click.Path(file_okay=False, path_type=Path), help="The folder that holds instances/.")
@click.pass_context
def run(
    ctx: click.Context,
    source: str | None,
    branch: str | None,
    remote: str | None,
    adopt: bool,
    trust: str | None,
    once: bool,
    port: int | None,
    root: Path | None,
) -> None:
    """Run the engine until SIGTERM or Ctrl-C; SIGHUP asks for a full pass.

    Everything is read from the folder that holds instances/, or from the commits of a branch. Settings are optional,
    in reconciler.yaml beside it.
    """
    place: Place = ctx.obj if root is None else Place(root)
    place = place.following() if source == "git" or branch or remote else place
    asked = {"source.kind": source, "source.branch": branch, "source.remote": remote, "dashboard.port": port}
    flags = {name: value for name, value in asked.items() if value is not None}
    settings = place.engine_settings(flags)
    from reconciler.app import run as run_engine

    try:
        code = run_engine(settings, adopt=adopt, once=once, trust=trust or "")
    except SettingsError as error:
        raise of_settings(error) from error
    except ReconcilerError as error:
        raise Failure(str(error)) from error
    ctx.exit(code)
