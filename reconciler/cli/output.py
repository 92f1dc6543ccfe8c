"""How answers are printed: JSON for machines, tables that read without colour for people. stdout is data.

And how a command fails that could not do what it was asked: sentences on stderr and an exit code.
"""

from __future__ import annotations

import codecs
import io
import os
import shutil
import sys
import textwrap
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

import click

from reconciler.errors import SettingsError
from reconciler.visible import json_text, said, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


class Failure(click.ClickException):
    """Ends the command with exit code 1. Its lines say where, what, and how to mend it; each stays one line."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(map(visible, lines)))

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(self.message, file=file, err=file is None)


class CouldNotRun(Failure):
    """Ends `validate` and `check` with exit code 2: it found nothing out, neither good nor bad."""

    exit_code = 2


def of_settings(error: SettingsError) -> Failure:
    """All that is wrong with the settings, a line each, hints indented below."""
    lines = []
    for problem in error.problems:
        lines.append(str(problem))
        if problem.hint:
            lines.append(f"  hint: {problem.hint}")
    return Failure(*lines)


def unforeseen(error: Exception, command: str | None) -> Failure:
    """What to say of an error that nobody foresaw, or that any command may meet: one sentence, however it looks."""
    kind = CouldNotRun if command in ("validate", "check") else Failure
    if isinstance(error, OSError) and error.filename is None:
        _give_up(sys.stdout)
    if isinstance(error, OSError) and error.strerror:
        where = "stdout or a file" if error.filename is None else str(error.filename)
        return kind(f"{where}: expected to be able to use it, was refused: {error.strerror}")
    told = said(error)
    return kind(f"expected to come to an end, was stopped by {told}; with RECONCILER_DEBUG=1 its traceback is shown")


def _give_up(stream: IO[Any]) -> None:
    """What could not be written is not tried again, with a complaint of its own, when Python ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


_UNCUT = 10_000
_GAP = 2
_LAST = 24
"""The last column, which wraps, is given so many characters before others are left out."""
_NOTHING = "-"
_BELOW = "    "


def say(*lines: str, alarming: bool = False) -> None:
    """Talk: to stderr, so that what is piped stays data. `alarming` is red where a terminal shows it.

    Here as in `tell`: each line stays one, whatever others put into it, and nothing in it acts on the terminal.
    """
    for line in map(visible, lines):
        click.echo(click.style(line, fg="red", bold=True) if alarming else line, err=True)


def tell(*lines: str) -> None:
    """Answer in words: lines to stdout, see `say`."""
    for line in map(visible, lines):
        click.echo(line)


def spare_the_encoding() -> None:
    """What an old terminal's encoding lacks is escaped rather than an end of the command. Data is UTF-8 in any case."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="backslashreplace")


def print_text(text: str) -> None:
    """An answer that was laid out elsewhere, nothing hidden in it: see `review.text` and `review.plan.text`."""
    click.echo(text)


def print_data(text: str) -> None:
    """What machines read: UTF-8, whatever encoding the terminal has. Nothing in it may be hidden, see `json_text`."""
    click.echo(text.encode())


def print_json(value: Any) -> None:
    print_data(json_text(value, indent=2))


def print_json_line(value: Any) -> None:
    """One value on one line: where answers go on coming."""
    print_data(json_text(value))


def print_items(items: Iterable[Any]) -> None:
    """A list, the way every list is written: `{"items": [...]}`."""
    print_json({"items": list(items)})


def is_terminal() -> bool:
    """True where answers are read by somebody in front of a screen."""
    return sys.stdout.isatty()


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    least: Sequence[str] = (),
    styles: Mapping[str, str] = MappingProxyType({}),
    *,
    beneath: bool = False,
) -> None:
    """Columns under their names. In a pipe no cell is ever cut or wrapped, and none is left out.

    On a terminal that is too narrow the last column wraps; with `beneath` it stands below each row instead, so that a
    long sentence takes no room from what one compares. Where that is not enough the columns of `least` are left
    out, one after the other and saying so; where even that is not, each row stands as a block, a line for each of its
    cells. No id, path or time is ever broken, and nothing cut. A cell that is one of `styles` is shown in that style
    where a terminal has colours.
    """
    from rich.console import Console

    cells = [[_cell(value) for value in row] for row in rows]
    terminal = is_terminal()
    console = Console(file=sys.stdout, highlight=False, width=None if terminal else _UNCUT)
    kept = fitting(columns, cells, least, console.width)
    below: list[str] = []
    if beneath and terminal and _width(columns, cells, kept, last=_UNCUT) > console.width:
        below = [row[-1] for row in cells]
        kept = fitting(columns, cells, least, console.width, range(len(columns) - 1))
    if terminal and cells and _width(columns, cells, kept) > console.width:
        print_blocks([[(columns[index], row[index]) for index in range(len(columns))] for row in cells])
        return
    table = _table(columns, cells, kept, styles if terminal else {})
    if below:
        _print_with_below(console, table, below)
    else:
        console.print(table)
    shown = [*kept, len(columns) - 1] if below else kept
    if len(shown) < len(columns):
        left_out = ", ".join(name for index, name in enumerate(columns) if index not in shown)
        say(f"left out for want of room: {left_out}; widen the terminal, or pipe this through: less -S")


def print_blocks(blocks: Iterable[Iterable[tuple[str, Any]]]) -> None:
    """Each thing as lines of `name: what it is`, an empty line between two; the terminal wraps what is too long."""
    for number, block in enumerate(blocks):
        if number:
            tell("")
        named = [(f"{name.lower()}:", _cell(value)) for name, value in block]
        width = max(len(name) for name, _ in named) + 1
        tell(*(f"{name:<{width}}{value}" for name, value in named))


def hanging(name: str, value: str) -> list[str]:
    """`value` behind its name; on a terminal wrapped between words, so that no id, path or time is broken."""
    line = visible(name + value)
    return _wrapped(line, " " * len(name) or _BELOW) if is_terminal() else [line]


def _wrapped(text: str, indent: str) -> list[str]:
    """The lines of a sentence on this terminal, those behind the first indented."""
    width = shutil.get_terminal_size().columns
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _print_with_below(console: Console, table: Table, below: Sequence[str]) -> None:
    """A table none of whose rows wraps, and what is to be read of a row in lines of its own below it."""
    with console.capture() as captured:
        console.print(table)
    head, *rows = captured.get().splitlines()
    click.echo(head)
    for row, text in zip(rows, below, strict=True):
        click.echo(row)
        for line in _wrapped(f"{_BELOW}{text}", _BELOW) if text != _NOTHING else ():
            click.echo(line)


def fitting(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    least: Sequence[str],
    width: int,
    among: Iterable[int] | None = None,
) -> list[int]:
    """Which columns to show where `width` characters are at hand: all, or `among`, but as many of `least` as needed."""
    kept = list(range(len(columns)) if among is None else among)
    for name in least:
        if _width(columns, rows, kept) <= width:
            break
        kept.remove(columns.index(name))
    return kept


def _width(columns: Sequence[str], rows: Sequence[Sequence[str]], kept: Sequence[int], last: int = _LAST) -> int:
    """How wide these columns are side by side; of the last of all, which may wrap, no more than `last`."""
    from rich.cells import cell_len

    widths = [max(cell_len(text) for text in (columns[index], *(row[index] for row in rows))) for index in kept]
    if kept[-1] == len(columns) - 1:
        widths[-1] = min(widths[-1], last)
    return sum(widths) + _GAP * (len(kept) - 1)


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], kept: Sequence[int], styles: Mapping[str, str]
) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for index in kept:
        wraps = is_terminal() and index == len(columns) - 1
        table.add_column(columns[index], no_wrap=not wraps, overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[index], styles.get(row[index], "")) for index in kept))
    return table


def _cell(value: Any) -> str:
    if value is None or value == "":
        return _NOTHING
    return visible(str(value))


def print_outcome(verb: str, outcome: Mapping[str, Any]) -> None:
    """`outcome` is `{"done": [...], "failed": [{"id", "message"}]}`. Failure where anything failed."""
    for name in outcome["done"]:
        tell(f"{name}: {verb}")
    if note := outcome.get("note"):
        say(note)
    if outcome["failed"]:
        raise Failure(*(f"{one['id']}: {one['message']}" for one in outcome["failed"]))


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
