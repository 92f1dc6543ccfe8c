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
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from reconciler.errors import SettingsError
from reconciler.visible import json_text, said, visible

if TYPE_CHECKING:
    from rich.table import Table


class Failure(click.ClickException):
    """Ends the command with exit code 1. Its lines say where, what, and how to mend it; each stays one line."""

    exit_code = 1

    def __init__(self, *lines: str) -> None:
        self.lines = lines
        super().__init__("\n".join(map(visible, lines)))

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.message.split("\n"):
            click.echo(_spoken(line, file or sys.stderr), file=file, err=file is None)


class CouldNotRun(Failure):
    """Ends `validate`, `check`, `backtest` and `drill` with exit code 2: it found nothing out, neither good nor bad."""

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
    kind = CouldNotRun if command in ("validate", "check", "backtest", "try") else Failure
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
_HANGING = "  "
_USUAL_WIDTH = 80


def say(*lines: str, alarming: bool = False) -> None:
    """Talk: to stderr, so that what is piped stays data. `alarming` is red where a terminal shows it.

    Here as in `tell`: each line stays one, whatever others put into it, and nothing in it acts on the terminal.
    """
    for line in (_spoken(visible(line), sys.stderr) for line in lines):
        click.echo(click.style(line, fg="red", bold=True) if alarming else line, err=True)


def tell(*lines: str) -> None:
    """Answer in words: lines to stdout, see `say`."""
    for line in map(visible, lines):
        click.echo(line)


def open_what_is_closed() -> None:
    """Whoever started us may have closed stdin, stdout or stderr. The next file to be opened would take its number, be
    it the database, and what anybody prints would be written into that."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number)
            if nowhere != number:
                os.close(nowhere)
        if getattr(sys, name) is None:
            stream = io.TextIOWrapper(io.FileIO(number, "r" if number == 0 else "w", closefd=False), encoding="utf-8")
            setattr(sys, name, stream)


def spare_the_encoding() -> None:
    """What an old terminal's encoding lacks is escaped rather than an end of the command. Data is UTF-8 in any case."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors="backslashreplace")


def print_text(text: str) -> None:
    """An answer that was laid out elsewhere, nothing hidden in it: see `as_text` of reports and plans."""
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
    beneath: Collection[str] = (),
) -> None:
    """Columns under their names. In a pipe no cell is ever cut or wrapped, and none is left out.

    On a terminal that is too narrow the last column wraps. Where that is not enough the columns of `least` give way,
    one after the other: those of `beneath` stand in a second line of each row, the last of all, a sentence, in lines of
    its own below that; the others are left out, saying so. Where even that is not enough, each row stands as a block,
    a line for each of its cells. No id, path or time is ever broken, and nothing cut. A cell that is one of `styles` is
    shown in that style where a terminal has colours.
    """
    from rich.console import Console

    cells = [[_cell(value) for value in row] for row in rows]
    terminal = is_terminal()
    console = Console(file=sys.stdout, highlight=False, width=None if terminal else _UNCUT)
    shown = laid_out(columns, cells, least, beneath, console.width)
    if terminal and cells and shown.width > console.width:
        print_blocks([[(columns[index], row[index]) for index in range(len(columns))] for row in cells])
        return
    table = _table(columns, cells, shown.beside, styles if terminal or console.is_terminal else {})
    if shown.below:
        _print_with_below(table, columns, cells, shown.below, styles)
    else:
        console.print(table)
    if left_out := [name for i, name in enumerate(columns) if i not in (*shown.beside, *shown.below)]:
        say(f"left out for want of room: {', '.join(left_out)}; widen the terminal, or pipe this through: less -S")


def print_blocks(blocks: Iterable[Iterable[tuple[str, Any]]]) -> None:
    """Each thing as lines of `name: what it is`, an empty line between two; what is too long wraps behind its name."""
    for number, block in enumerate(blocks):
        if number:
            tell("")
        named = [(f"{name.lower()}:", _cell(value)) for name, value in block]
        width = max(len(name) for name, _ in named) + 1
        tell(*(line for name, value in named for line in hanging(f"{name:<{width}}", value)))


def hanging(name: str, value: str) -> list[str]:
    """`value` behind its name; on a terminal wrapped between words, so that no id, path or time is broken."""
    line = visible(name + value)
    return _wrapped(line, " " * len(name) or _BELOW) if is_terminal() else [line]


def _wrapped(text: str, indent: str, stream: IO[Any] | None = None) -> list[str]:
    """The lines of a sentence on the terminal of `stream`, stdout where none is named, those behind the first
    indented."""
    width = _terminal_width(stream or sys.stdout)
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _spoken(line: str, stream: IO[Any]) -> str:
    """A sentence for `stream`: where that is a terminal too narrow for it, broken between words."""
    if not stream.isatty() or len(line) <= _terminal_width(stream):
        return line
    return "\n".join(_wrapped(line, " " * (len(line) - len(line.lstrip())) + _HANGING, stream))


def _terminal_width(stream: IO[Any]) -> int:
    """How many characters a line has where `stream` leads, which need not be where stdout does."""
    if os.environ.get("COLUMNS", "").isdecimal():
        return shutil.get_terminal_size().columns
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_WIDTH
    return _USUAL_WIDTH


def _print_with_below(
    table: Table,
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    below: Sequence[int],
    styles: Mapping[str, str],
) -> None:
    """A table none of whose rows wraps, each with a second line of the columns `below`; a sentence in lines of its own.

    The sentence is in the last of all columns, and needs no name: it says what it is.
    """
    second = [index for index in below if index != len(columns) - 1]
    seconds = _lines(_table(columns, cells, second, styles)) if second else []
    for number, line in enumerate(_lines(table)):
        click.echo(line)
        if second:
            plain = click.unstyle(seconds[number])
            fits = len(_BELOW + plain) <= _terminal_width(sys.stdout)
            parts = [_BELOW + seconds[number]] if fits else _wrapped(_BELOW + " ".join(plain.split()), _BELOW)
            click.echo("\n".join(parts))
        if number and len(columns) - 1 in below and (text := cells[number - 1][-1]) != _NOTHING:
            click.echo("\n".join(_wrapped(f"{_BELOW}{text}", _BELOW)))


def _lines(table: Table) -> list[str]:
    """What a table looks like on a terminal that is wide enough: its head, and a line for each row."""
    from rich.console import Console

    console = Console(file=sys.stdout, highlight=False, width=_UNCUT)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


class Layout(NamedTuple):
    """Columns by index: those side by side, so wide together, and those in a second line."""

    beside: tuple[int, ...]
    below: tuple[int, ...]
    width: int


def laid_out(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    least: Sequence[str],
    beneath: Collection[str],
    width: int,
) -> Layout:
    """Where `width` characters are at hand, what stands where: as many of `least` as needed give way, in their order,
    those of `beneath` to a second line. Of the last column as much must fit as it may not be wrapped to."""
    last = _UNCUT if columns[-1] in beneath else _LAST
    beside, below = list(range(len(columns))), []
    for name in least:
        if _width(columns, rows, beside, last) <= width:
            break
        beside.remove(index := columns.index(name))
        below += [index] if name in beneath else []
    return Layout(tuple(beside), tuple(sorted(below)), _width(columns, rows, beside, last))


def _width(columns: Sequence[str], rows: Sequence[Sequence[str]], kept: Sequence[int], last: int) -> int:
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
