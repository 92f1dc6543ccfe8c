"""What is halted, as the command line says it: known from the engine, or from the database and the halt file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.cli.engine import Engine
from reconciler.cli.output import say
from reconciler.cli.place import Place
from reconciler.records.halt import Halt


def halts_of(engine: Engine) -> list[Halt]:
    """The halts in force in a running engine. Raises NoEngine."""
    found: Mapping[str, Any] = engine.get("/api/v1/engine") or {"halts": ()}
    return [Halt.from_json(item) for item in found["halts"]]


def notes_of(engine: Engine) -> list[str]:
    """What keeps the files from being read, vouched for or told committed, as a running engine has it."""
    found: Mapping[str, Any] = engine.get("/api/v1/engine") or {}
    error = found.get("source_error", "")
    return [*([error] if error else []), *found.get("source_notes", ())]


def halts_without_engine(place: Place, stored: Iterable[Mapping[str, Any]]) -> list[Halt]:
    """Those in the database, `stored`, and those that the file asks for: both hold from the next start."""
    from reconciler.clock import SystemClock, iso
    from reconciler.records.halt_file import read_halts
    from reconciler.sources.layout import HALT_PATHS

    halts = [Halt.from_json(item) for item in stored]
    for path in HALT_PATHS:
        if (place.root() / path).exists():
            halts += read_halts(_source(place, path), iso(SystemClock().time()))[0]
    return halts


def say_halts(halts: Iterable[Halt]) -> None:
    """One red line for each, on stderr."""
    for halt in halts:
        say(f"HALTED  {halt.target}, {halt.kind}: {halt.reason} (by {halt.by}, since {halt.at})", alarming=True)


def say_still_halted(halts: Iterable[Halt]) -> None:
    """What is left in force where one was lifted; nothing where none is."""
    if left := list(halts):
        say("still halted:")
        say_halts(left)


def _source(place: Place, path: str) -> Any:
    from reconciler.records.snapshot import SourceFile

    try:
        return SourceFile(path, (place.root() / path).read_bytes(), "", committed=False)
    except OSError as error:
        return SourceFile(path, None, "", committed=False, error=f"cannot be read: {error.strerror}")
