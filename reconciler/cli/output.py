"""How answers are printed: JSON for machines, tables that read without colour for people. stdout is data."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

_UNCUT = 10_000


def say(sentence: str) -> None:
    """Talk: to stderr, so that what is piped stays data."""
    click.echo(sentence, err=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_items(items: Iterable[Any]) -> None:
    """A list, the way every list is written: `{"items": [...]}`."""
    print_json({"items": list(items)})


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns under their names. In a pipe no cell is ever cut or wrapped; on a terminal the last column wraps."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=not (terminal and column == columns[-1]), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    Console(file=sys.stdout, highlight=False, width=None if terminal else _UNCUT).print(table)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return str(value)
