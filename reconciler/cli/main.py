"""The command group: which commands there are, and where each one's module is."""

from __future__ import annotations

import importlib
import io
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TextIO

import click

from reconciler import __version__
from reconciler.cli.output import open_what_is_closed, say, spare_the_encoding, unforeseen
from reconciler.cli.place import Place
from reconciler.review.validate.report import count, inert

_MOST_LINES: Final = 20
_LONGEST_LINE: Final = 300
_MOST_CHARACTERS: Final = 100_000
_NOBODY: Final = "a strategy"


@contextmanager
def strategies_aside() -> Iterator[None]:
    """Within it nothing that a strategy prints reaches stdout or stderr; at its end the first of it is told."""
    heard = _Heard()
    former = sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__
    with tempfile.TemporaryFile() as file:
        kept = {number: os.dup(number) for number in (1, 2) if _is_open(number)}
        streams = [_Parted(stream, kept, heard) for stream in former[:2]]
        try:
            for number in kept:
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__ = streams  # type: ignore[misc, assignment]
            yield
        finally:
            sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__ = former  # type: ignore[misc]
            try:
                for stream in streams:
                    stream.rejoin()
            finally:
                for number, original in kept.items():
                    os.dup2(original, number)
                    os.close(original)
                file.seek(0)
                heard.add(_NOBODY, file.read(_MOST_CHARACTERS).decode(errors="replace"))
                heard.tell()


class _Heard:
    """What was printed, by the strategy that printed it as far as its thread tells. Bounded."""

    def __init__(self) -> None:
        self._texts: dict[str, list[str]] = {}
        self._room = _MOST_CHARACTERS

    def add(self, who: str, text: str) -> None:
        if text and self._room > 0:
            self._room -= len(text)
            self._texts.setdefault(who, []).append(text[:_MOST_CHARACTERS])

    def tell(self) -> None:
        lines = [(who, line) for who, texts in self._texts.items() for line in "".join(texts).splitlines()]
        for who, line in lines[:_MOST_LINES]:
            say(inert(f"{who} printed: {line if len(line) <= _LONGEST_LINE else f'{line[:_LONGEST_LINE]}…'}"))
        if len(lines) > _MOST_LINES:
            say(f"and {count(len(lines) - _MOST_LINES, 'more line')} that strategies printed")


class _Parted(io.TextIOBase):
    """A stream for two: what the thread that made it writes goes where it always went, all else is heard."""

    def __init__(self, stream: TextIO, kept: dict[int, int], heard: _Heard) -> None:
        self._stream = self._former = stream
        self._heard = heard
        self._thread = threading.get_ident()
        number = _descriptor(stream)
        if number in kept:
            stream.flush()
            self._stream = open(  # noqa: SIM115 - closed in rejoin
                kept[number], "w", encoding=stream.encoding, errors=stream.errors, newline="", closefd=False
            )

    def write(self, text: str, /) -> int:
        if threading.get_ident() == self._thread:
            return self._stream.write(text)
        who = threading.current_thread().name
        self._heard.add(who.removeprefix("import ") if who.startswith("import ") else _NOBODY, text)
        return len(text)

    def flush(self) -> None:
        if threading.get_ident() == self._thread:
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Not theirs to close; `rejoin` does."""

    def rejoin(self) -> None:
        """End it: whoever still holds it writes to the stream that it stood for."""
        stream, self._stream = self._stream, self._former
        if stream is not self._former:
            with suppress(OSError):  # whatever was written was flushed at once, and told where it could not be
                stream.close()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    @property
    def buffer(self) -> Any:
        return _Bytes(self) if threading.get_ident() != self._thread else self._stream.buffer


class _Bytes(io.RawIOBase):
    """The bytes below a stream, for those who are only heard."""

    def __init__(self, stream: _Parted) -> None:
        self._stream = stream

    def write(self, data: Any, /) -> int:
        self._stream.write(bytes(data).decode(errors="replace"))
        return len(data)

    def writable(self) -> bool:
        return True


def _descriptor(stream: TextIO) -> int:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return -1


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


COMMANDS = {
    "run": "Run the engine.",
    "validate": "Say what is wrong with instance files.",
    "plan": "Say what merging would start, change and stop.",
    "status": "Show how instances are doing.",
    "show": "Show one record, each value with its origin.",
    "blame": "Show who wrote each value of one record.",
    "events": "Show what happened.",
    "history": "Show every generation of one instance.",
    "orders": "Show the order ledger.",
    "book": "Put right what an instance holds.",
    "limits": "Show the limits above the instances, used and left.",
    "positions": "Show what instances hold, and the profit they made.",
    "logs": "Show what an instance logged.",
    "wait": "Wait until instances are as they should be.",
    "export": "Write the whole ledger or history, for spreadsheets and machines.",
    "pause": "Stop ticks and trading until resumed.",
    "resume": "End a pause.",
    "halt": "The kill switch: no new exposure until unhalt.",
    "unhalt": "End a halt.",
    "drill": "Try the kill switch, on paper money.",
    "source": "Show which commit is applied, and which is held.",
    "beats": "End waiting for a clock that was ahead.",
    "strategies": "List strategy definitions, or one's config reference.",
    "schema": "Write the schemas for editors and CI, or check them.",
    "prune": "Show or confirm removals that are held.",
    "backup": "Copy the database, while the engine runs.",
    "restore": "Put a copy back; everything is halted.",
    "check": "Look whether the database is whole.",
    "backtest": "Say what records would have made of recorded prices.",
    "try": "Tick one record on the quotes of now; nothing is sent.",
    "paper": "The paper exchange alone, as an exec-mcp server.",
    "exec": "Look at the exec-mcp servers, without the engine.",
    "new": "Write the file of a new instance.",
    "init": "Begin a fleet repository.",
}
"""Every command, in the order help lists them; `reconciler.cli.<name>` has it, but for `_BESIDE`."""

_BESIDE = {
    **dict.fromkeys(("unhalt", "drill"), "halt"),
    **dict.fromkeys(("pause", "resume", "prune", "beats", "book", "wait"), "operate"),
    **dict.fromkeys(("backup", "restore", "check", "export"), "copies"),
    **dict.fromkeys(("blame", "history"), "show"),
    "logs": "events",
    "limits": "positions",
    "schema": "strategies",
    "paper": "run",
    "try": "backtest",
    "new": "init",
}
"""Commands that stand in a module with others of their kind, or whose name can be no module's."""
_NAMED = {"try": "try_"}

IMPORTING = frozenset(("validate", "plan", "schema", "strategies", "new", "init"))
"""Those that import strategies to answer, and end. The engine's own stdout is no data: nothing is kept from it."""

_FORESEEN = (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError)


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"reconciler.cli.{_BESIDE.get(command, command)}")


class CommandGroup(click.Group):
    """A group that imports a command only when it is called; listing them imports none."""

    def invoke(self, ctx: click.Context) -> Any:
        """The last boundary: what no command foresaw is told in one sentence, with the exit code of "could not run"."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(error, _FORESEEN) or os.environ.get("RECONCILER_DEBUG"):
                raise
            raise unforeseen(error, ctx.invoked_subcommand) from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(_module(cmd_name), _NAMED.get(cmd_name, cmd_name))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  reconciler validate
  reconciler --root ~/fleet status
  reconciler --version""",
)
@click.version_option(__version__, "--version", message="%(version)s", help="Print the version.")
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that holds instances/; by default the current one or the nearest above it.",
)
@click.pass_context
def main(ctx: click.Context, root: Path | None) -> None:
    """GitOps for trading strategies: the running fleet is what was merged.

    Answers go to stdout, talk goes to stderr. Every command has its own help: reconciler COMMAND --help.
    """
    open_what_is_closed()
    ctx.obj = Place(root)
    spare_the_encoding()
    if ctx.invoked_subcommand in IMPORTING:
        ctx.with_resource(strategies_aside())
