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
    """What keeps beats from firing, halts from being stored, and files from being read or told committed."""
    found: Mapping[str, Any] = engine.get("/api/v1/engine") or {}
    notes = [f"nothing ticks: {found['no_beat']}"] if found.get("no_beat") else []
    unstored = [Halt.from_json(item).target for item in found.get("halts", ()) if not item.get("stored", True)]
    notes += [f"the halt of {target} is in force, the database has not taken it yet" for target in unstored]
    notes += [found[name] for name in ("descriptors_note", "source_error") if found.get(name)]
    return [*notes, *found.get("source_notes", ())]


def halts_without_engine(place: Place, stored: Iterable[Mapping[str, Any]]) -> list[Halt]:
    """Those in the database, `stored`, and those that files ask for: all hold from the next start."""
    from reconciler.clock import SystemClock, iso
    from reconciler.errors import StoreError
    from reconciler.records.halt_file import read_halts
    from reconciler.sources.layout import HALT_PATHS
    from reconciler.store.halt_requests import HaltRequests

    clock = SystemClock()
    halts = [Halt.from_json(item) for item in stored]
    try:
        halts += [halt for halt in HaltRequests(place.state_dir(), clock).read() if halt not in halts]
    except StoreError as error:
        say(str(error), alarming=True)
    for path in HALT_PATHS:
        if (place.root() / path).exists():
            halts += read_halts(_source(place, path), iso(clock.time()))[0]
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
