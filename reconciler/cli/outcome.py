"""What became of a command to the engine, printed: what was done on stdout, what failed on stderr, exit code 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.cli.failure import Failure
from reconciler.cli.output import say, tell


def print_outcome(verb: str, outcome: Mapping[str, Any]) -> None:
    """`outcome` is `{"done": [...], "failed": [{"id", "message"}]}`. Failure where anything failed."""
    for name in outcome["done"]:
        tell(f"{name}: {verb}")
    if note := outcome.get("note"):
        say(note)
    if outcome["failed"]:
        raise Failure(*(f"{one['id']}: {one['message']}" for one in outcome["failed"]))
