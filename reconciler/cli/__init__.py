"""The command line: parse, call, print. No logic.

`main` finds a command's module by its name and imports it only when it is called, so that `validate` does
not pay for what `run` needs.
"""

from reconciler.cli.main import main

__all__ = ["main"]
