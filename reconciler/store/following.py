"""What is followed and how far, the commits that led there, and the schemas of code that was there once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from sqlite_utils import Database

from reconciler.records.followed import Followed
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.snapshot import MergedChange
from reconciler.store.database import ReadPool, Reads
from reconciler.store.writer import Writer
from reconciler.visible import storable

Schemas: TypeAlias = Mapping[tuple[str, str], Any]
"""CONFIG_SCHEMA by strategy type and code digest."""


class Following:
    """The tables `source`, `commits` and `schemas`. Every method blocks and may raise StoreError."""

    def __init__(self, writer: Writer, reads: Reads) -> None:
        self._writer = writer
        self._reads = reads

    def followed(self) -> Followed | None:
        """None where nothing has been followed yet."""
        return read_followed(self._reads)

    def schemas(self) -> dict[tuple[str, str], Any]:
        found = self._reads.query("SELECT * FROM schemas")
        return {(one["strategy_type"], one["code_digest"]): json.loads(one["config_schema"]) for one in found}

    def commit(self, revision: str) -> MergedChange | None:
        return read_commits(self._reads, (revision,)).get(revision)

    def keep(self, followed: Followed) -> None:
        """Committed on return."""
        self._writer.write(self.job(followed))

    def accept(self, commit: str) -> None:
        """Have exactly this commit applied, where the branch is at it. Committed on return."""
        self._writer.write(lambda db: db.execute("UPDATE source SET accepted = ?", [commit]) and None)

    @staticmethod
    def job(
        followed: Followed, commits: Mapping[str, MergedChange] | None = None, schemas: Schemas | None = None
    ) -> Callable[[Database], None]:
        """What writes it down, to go into one transaction with whatever follows from it."""
        columns = _columns(followed)
        told = (commits or {}).items()
        said = [("REPLACE" if one.signed_by else "IGNORE", revision, _said(one)) for revision, one in told]
        kept = [(*key, text) for key, schema in (schemas or {}).items() if (text := _text(schema))]

        def job(db: Database) -> None:
            names = ", ".join(columns)
            db.execute(f"REPLACE INTO source ({names}) VALUES ({', '.join('?' * len(columns))})", [*columns.values()])
            for instead, *commit in said:  # whose signature it is was found out once, not at each look
                db.execute(f"INSERT OR {instead} INTO commits (revision, said) VALUES (?, ?)", commit)
            for schema in kept:
                db.execute("REPLACE INTO schemas (strategy_type, code_digest, config_schema) VALUES (?, ?, ?)", schema)

        return job


def followed_in(database: Path) -> Followed | None:
    """What the engine of this database follows, engine or not; None where there is no database, or one of a version
    that did not keep that. Raises StoreError where it cannot be read."""
    if not database.exists():
        return None
    reads = ReadPool(database)
    try:
        tables = reads.query("SELECT name FROM sqlite_master WHERE name = 'source'")
        return read_followed(reads) if list(tables) else None
    finally:
        reads.close()


def read_followed(reads: Reads) -> Followed | None:
    found = list(reads.query("SELECT * FROM source"))
    if not found:
        return None
    columns = found[0]
    return Followed(
        kind=columns["kind"],
        remote=columns["remote"],
        branch=columns["branch"],
        first=columns["first"],
        applied=columns["applied"],
        applied_at=columns["applied_at"],
        seen=columns["seen"],
        seen_at=columns["seen_at"],
        held=columns["held"],
        held_why=columns["held_why"],
        held_at=columns["held_at"],
        accepted=columns["accepted"],
        halts=tuple(Halt.from_json(one) for one in json.loads(columns["halts"])),
        lowered={name: Mode(mode) for name, mode in json.loads(columns["lowered"]).items()},
        behind=json.loads(columns["behind"]),
        first_seen=json.loads(columns["first_seen"]),
        unreachable=columns["unreachable"],
        unreachable_since=columns["unreachable_since"],
    )


def read_commits(reads: Reads, revisions: tuple[str, ...]) -> dict[str, MergedChange]:
    """Those of the commits of which something is known."""
    if not revisions:
        return {}
    marks = ", ".join("?" * len(revisions))
    found = reads.query(f"SELECT * FROM commits WHERE revision IN ({marks})", revisions)
    return {one["revision"]: MergedChange.from_json(json.loads(one["said"])) for one in found}


def _columns(followed: Followed) -> dict[str, Any]:
    return {
        "id": 1,
        "kind": followed.kind,
        "remote": followed.remote,
        "branch": followed.branch,
        "first": followed.first,
        "applied": followed.applied,
        "applied_at": followed.applied_at,
        "seen": followed.seen,
        "seen_at": followed.seen_at,
        "held": followed.held,
        "held_why": storable(followed.held_why),
        "held_at": followed.held_at,
        "accepted": followed.accepted,
        "halts": storable(json.dumps([halt.to_json() for halt in followed.halts])),
        "lowered": json.dumps({name: str(mode) for name, mode in followed.lowered.items()}),
        "behind": json.dumps(dict(followed.behind)),
        "first_seen": json.dumps(dict(followed.first_seen)),
        "unreachable": storable(followed.unreachable),
        "unreachable_since": followed.unreachable_since,
    }


def _said(commit: MergedChange) -> str:
    return storable(json.dumps(commit.to_json()))


def _text(schema: Any) -> str:
    """Empty for what JSON cannot hold: such code is imported again where it is asked for."""
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError):
        return ""
