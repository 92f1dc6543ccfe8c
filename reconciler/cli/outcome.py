"""What became of a command to the engine, printed: what was done on stdout, what failed on stderr, exit code 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from reconciler.cli.failure import Failure


def print_outcome(verb: str, outcome: Mapping[str, Any]) -> None:
    """`outcome` is `{"done": [...], "failed": [{"id", "message"}]}`. Failure where anything failed."""
    for name in outcome["done"]:
        click.echo(f"{name}: {verb}")
    if outcome["failed"]:
        raise Failure("\n".join(f"{one['id']}: {one['message']}" for one in outcome["failed"]))
