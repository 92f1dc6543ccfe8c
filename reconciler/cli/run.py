"""`reconciler run` and `paper`: the engine, and the paper exchange alone, until they are stopped."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.output import Failure, of_settings, say, tell
from reconciler.cli.place import Place
from reconciler.clock import SystemClock, iso
from reconciler.errors import ReconcilerError, SettingsError

if TYPE_CHECKING:
    from reconciler.paper.faults import FaultRule
    from reconciler.paper.mcp_server import StandaloneOptions
    from reconciler.settings import Settings

_SNIPPET = """\
exec_mcp:
  paper:
    transport: {transport}
    accounts:
      main: {{money: paper}}"""


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
    gc.set_threshold(1_000_000, 20, 50)  # until the fleet is loaded: hardly anything that is made on the way is garbage
    from reconciler.app import run as run_engine

    try:
        code = run_engine(settings, adopt=adopt, once=once, trust=trust or "")
    except SettingsError as error:
        raise of_settings(error) from error
    except ReconcilerError as error:
        raise Failure(str(error)) from error
    ctx.exit(code)


@click.command(
    epilog="""\b
Examples:
  reconciler paper
  reconciler paper --port 9100 --state paper.journal
  reconciler paper --prices rates.csv --speed 86400 --begin now
  reconciler paper --maker-fee 0.0002 --taker-fee 0.0005 --shorts
  reconciler paper --fees-in received
  reconciler paper --step-seconds 1 --seed other
  reconciler paper --fault slow,tool=place_order,probability=0.1,seconds=8 --fault error,times=3
  reconciler paper --fault-tools
  reconciler paper --stdio"""
)
@click.option("--port", type=click.IntRange(0, 65535), default=9000, help="The port on loopback; 0 takes a free one.")
@click.option("--stdio", is_flag=True, help="Speak over standard input and output instead.")
@click.option("--state", type=click.Path(dir_okay=False, path_type=Path), help="The file that keeps orders and money.")
@click.option("--prices", type=click.Path(path_type=Path), help="A CSV file of prices to replay.")
@click.option("--speed", type=float, help="Replay the file in its own time, this many times as fast.")
@click.option("--begin", metavar="TIME", help="When its first row holds: an ISO 8601 time, or now.")
@click.option("--step-seconds", type=float, help="How long a price holds.")
@click.option("--seed", help="What made-up prices and faults follow from.")
@click.option("--maker-fee", metavar="FRACTION", help="The fee of orders that waited, as a fraction.")
@click.option("--taker-fee", metavar="FRACTION", help="The fee of orders that did not wait, as a fraction.")
@click.option("--fees-in", type=click.Choice(["quote", "received"]), help="What fees are taken in.")
@click.option("--shorts", is_flag=True, help="More may be sold than is held.")
@click.option(
    "--fault",
    "faults",
    metavar="KIND[,KEY=VALUE]...",
    multiple=True,
    help="What goes wrong: slow, drop, error, garbage or down; tool, probability, seconds, times.",
)
@click.option("--fault-tools", is_flag=True, help="Offer the tools set_fault and clear_faults to clients.")
@click.pass_context
def paper(
    ctx: click.Context,
    /,
    port: int,
    stdio: bool,
    state: Path | None,
    prices: Path | None,
    begin: str | None,
    faults: tuple[str, ...],
    fault_tools: bool,
    shorts: bool,
    **scalars: Any,
) -> None:
    """The paper exchange alone, as an exec-mcp server for any MCP client; no engine is needed.

    Prints what to write into an engine's settings, and serves until SIGTERM or Ctrl-C. Where there is a
    reconciler.yaml, its section `paper` holds, and options win over it.
    """
    from reconciler.logfmt import log_to_stderr

    flags = {
        **scalars,
        "prices": None if prices is None else str(prices.resolve()),
        "begin": iso(SystemClock().time()) if begin == "now" else begin,
        "shorts": shorts or None,
    }
    settings = _settings(ctx, {f"paper.{name}": value for name, value in flags.items() if value is not None})
    wanted = _options(settings, state, port, tuple(map(_fault, faults)), fault_tools)
    log_to_stderr()
    try:
        _serve(wanted, stdio)
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES) and error.filename is None:
            raise Failure(f"port {port}: {error.strerror}; choose another with --port") from error
        raise Failure(str(error)) from error
    except ValueError as error:
        raise Failure(str(error)) from error


def _serve(wanted: StandaloneOptions, stdio: bool) -> None:
    from reconciler.paper.mcp_server import serve_http, serve_stdio

    def on_url(url: str) -> None:
        _introduce(wanted, f"on {url}")
        tell(*_SNIPPET.format(transport=f'{{kind: http, url: "{url}"}}').splitlines())

    def on_stdio() -> None:
        _introduce(wanted, "on standard input and output")
        command = json.dumps(["reconciler", *sys.argv[1:]])
        say(*_SNIPPET.format(transport=f"{{kind: stdio, command: {command}}}").splitlines())

    asyncio.run(serve_stdio(wanted, SystemClock(), on_stdio) if stdio else serve_http(wanted, SystemClock(), on_url))


def _introduce(wanted: StandaloneOptions, where: str) -> None:
    feed = wanted.feed
    say(f"paper exchange {where}, with made-up money; it stops with Ctrl-C or SIGTERM")
    made_up = f"others are made up from seed {feed.seed!r}, and each holds for {wanted.step_s:g} s"
    say(f"prices: {feed.prices or 'the example rates'}; {made_up}")
    say(f"state: {wanted.journal or 'forgotten when it stops; keep it with --state FILE'}")
    if wanted.faults:
        say("faults: " + ", ".join(str(rule.kind) for rule in wanted.faults))
    say("to point an engine at it, write into its reconciler.yaml:")


def _settings(ctx: click.Context, flags: dict[str, Any]) -> Settings:
    """The settings of the fleet that is here, or that --root names; where there is none, those of no fleet."""
    from reconciler.settings import load

    place: Place = ctx.obj
    try:
        root = place.root()
    except Failure:
        if ctx.find_root().params.get("root") is not None:
            raise
        root = Path.cwd()
    try:
        return load(root, os.environ, flags)
    except SettingsError as error:
        raise of_settings(error) from error


def _options(
    settings: Settings, state: Path | None, port: int, faults: tuple[FaultRule, ...], fault_tools: bool
) -> StandaloneOptions:
    from reconciler.paper.mcp_server import StandaloneOptions

    site = settings.paper_site()
    return StandaloneOptions(
        step_s=site.step_s,
        options=site.options,
        feed=site.feed,
        journal=state,
        port=port,
        faults=(*site.faults, *faults),
        fault_tools=fault_tools,
    )


def _fault(text: str) -> FaultRule:
    """`slow,tool=place_order,seconds=2` as a rule."""
    from reconciler.paper.faults import FaultRule

    values: dict[str, str] = {}
    try:
        for name, equals, value in (detail.partition("=") for detail in f"kind={text}".split(",")):
            if not equals:
                raise ValueError(f"expected KEY=VALUE, was {name!r}")
            values[name] = value
        return FaultRule.read(values)
    except ValueError as error:
        raise click.BadParameter(f"{text}: {error}", param_hint="--fault") from None
