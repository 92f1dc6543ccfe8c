"""Watching: a look every so often, until Ctrl-C, which is the way to end it and no failure."""

from __future__ import annotations

import threading
from collections.abc import Callable

import click

INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C ended."""


def watch(look: Callable[[], None], interval_s: float) -> None:
    """`look` now and every `interval_s`. Ends quietly, with exit code 130, where Ctrl-C is pressed."""
    from reconciler.clock import SystemClock

    try:
        look()
        while not SystemClock().wait(threading.Event(), interval_s):
            look()
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
