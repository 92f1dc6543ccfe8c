"""What is applied, told without an engine: how the fleet looks, and where each value of a record comes from. Pure.

The fleet is told from rows and attempts alone; a value's origin is a line of its record's file or template, or the
schema's default.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from reconciler.documents.document import INHERITED, Document, Merged, parse
from reconciler.documents.scalars import resolve
from reconciler.documents.wording import Path, spell
from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import holds, leaves, line_of
from reconciler.records.record import Attempt, Row
from reconciler.records.status import InstanceStatus, Obstacle, Sync, TradingReason
from reconciler.sources.git import GitFacts
from reconciler.sources.history import Blame
from reconciler.sources.raw_commit import RawCommit

ANY = Accounts()
NONE: Mapping[str, Sequence[str]] = MappingProxyType({})
NOTHING_RUNS = Obstacle(TradingReason.MODE, "no engine is running")
DEFAULT = "default"
_SHA256_DIGITS = 64


def applied_statuses(
    rows: Mapping[str, Row],
    attempts: Mapping[str, Attempt],
    exposed: Collection[str] = (),
    doubts: Mapping[str, Sequence[str]] = NONE,
    accounts: Accounts = ANY,
) -> tuple[InstanceStatus, ...]:
    """A status for every live row, by id. Nothing runs, so nothing is in force: mode off, health Off.

    `exposed` are the ids of those with open orders or a position, which nobody acts on; `doubts` the orders, by
    instance, of which nobody knows whether they were placed.
    """
    return tuple(
        row.status(
            sync=Sync.OUT_OF_SYNC if (attempt := attempts.get(row.path)) is None else attempt.sync,
            real_money=accounts.is_real(row.record.identity.account_id),
            obstacles=(NOTHING_RUNS, *map(_doubted, doubts.get(id_, ()))),
            frozen_with_exposure=id_ in exposed,
        )
        for id_, row in sorted(rows.items())
        if row.is_live
    )


def _doubted(client_order_id: str) -> Obstacle:
    return Obstacle(TradingReason.UNKNOWN_ORDER, f"it is not known whether {client_order_id} was placed")


@dataclass(frozen=True, slots=True)
class Value:
    """One value: where it stands, how it is written, and `path:line` or `default`."""

    pointer: str
    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class Origins:
    """Every value of a record. `changed` names the files that say something else by now, or are gone."""

    values: tuple[Value, ...]
    changed: tuple[str, ...]


def origins(row: Row, data: bytes | None, template_data: bytes | None = None) -> Origins:
    """The values of `row`, given the bytes that its file and its template hold now (None where there is none)."""
    document = _document(row.path, row.file_digest, data)
    template = _document(row.template_path, row.template_digest, template_data)
    values = dict(leaves(row.record.values))
    filled = {("config", *path): value for path, value in leaves(row.record.effective_config)}
    changed = [row.path] if document is None else []
    if row.template_path and template is None:
        changed.append(row.template_path)
    written = [Value(spell(p), _text(v), _origin(row, document, template, p)) for p, v in values.items()]
    defaults = [Value(spell(p), _text(v), DEFAULT) for p, v in filled.items() if p not in values]
    return Origins((*written, *defaults), tuple(changed))


@dataclass(frozen=True, slots=True)
class BlamedValue:
    """One value that somebody wrote: `commit` is since when it has been so, None where no commit has it."""

    pointer: str
    text: str
    origin: str
    commit: RawCommit | None

    def to_json(self) -> dict[str, str | None]:
        change = None if self.commit is None else self.commit.change(None)
        return {
            "pointer": self.pointer,
            "text": self.text,
            "origin": self.origin,
            "commit": None if change is None else change.commit,
            "author": None if change is None else change.author,
            "author_email": None if change is None else change.author_email,
            "committed_at": None if change is None else change.committed_at or None,
            "subject": None if change is None else change.subject,
        }


def blamed(row: Row, data: bytes | None, template_data: bytes | None, blame: Blame) -> tuple[BlamedValue, ...]:
    """The written values of `row`, its template's too, each with the commit that made it so. Raises SourceError."""
    document = _document(row.path, row.file_digest, data)
    template = _document(row.template_path, row.template_digest, template_data)
    values = dict(leaves(row.record.values))
    theirs = {p for p in values if _origin(row, document, template, p).startswith(row.template_path or "\0")}
    found = blame.of(row.path, {p: v for p, v in values.items() if p not in theirs})
    if theirs:
        found |= blame.of(row.template_path, {p: values[p] for p in theirs})
    return tuple(
        BlamedValue(spell(p), _text(v), _origin(row, document, template, p), found.get(p)) for p, v in values.items()
    )


def _document(path: str, digest: str, data: bytes | None) -> Document | None:
    """The document in `data`, where that is still what the digest stands for."""
    object_format = "sha256" if len(digest) == _SHA256_DIGITS else "sha1"
    if data is None or digest != GitFacts(object_format=object_format).blob_id(data):
        return None
    document = parse(data, path)
    return document if isinstance(document, Document) else None


def _origin(row: Row, document: Document | None, template: Document | None, path: Path) -> str:
    """File and line, and as much of that as is certain where a file has changed."""
    if document is None:
        return f"{row.path} or {row.template_path}" if row.template_path and path[0] in INHERITED else row.path
    if not row.template_path:
        return line_of(document, path)
    if template is not None:
        return line_of(Merged(document, template), path)
    return line_of(document, path) if holds(document.values, path) else row.template_path


def _text(value: Any) -> str:
    """As it would be written: text bare, quoted only where it would be read as something else."""
    is_bare = isinstance(value, str) and isinstance(resolve(value), str)
    return value if is_bare else json.dumps(value, ensure_ascii=False)
