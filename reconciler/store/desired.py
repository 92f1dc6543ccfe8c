"""Desired state: the rows the engine reconciles from, what was attempted with each file, and every generation."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from functools import lru_cache, partial
from hashlib import blake2b
from typing import Any, Final

from sqlite_utils import Database

from reconciler.errors import Problem, StoreError
from reconciler.orders.order import decimal_text
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Identity, InstanceRecord, Limits, Row, RowChange
from reconciler.records.status import Sync
from reconciler.store.books import end_shadow_books, with_open_shadow_book
from reconciler.store.columns import json_text
from reconciler.store.database import Reads
from reconciler.store.scope_book import keep_left_labels
from reconciler.store.writer import Writer
from reconciler.visible import storable

Columns = dict[str, Any]


def instance_columns(row: Row) -> Columns:
    record = row.record
    identity = record.identity
    return {
        "id": record.id,
        "strategy_type": identity.strategy_type,
        "account_id": identity.account_id,
        "client_id": identity.client_id,
        "market": identity.market,
        "mode": record.mode.value,
        "mode_override": None if row.mode_override is None else row.mode_override.value,
        "config": json_text(record.config),
        "effective_config": json_text(record.effective_config),
        "description": record.description,
        "labels": json_text(record.labels),
        "template": record.template,
        "open_orders": record.open_orders,
        "protect": int(record.protect),
        "limits": _limits_text(record.limits),
        "values": json_text(record.values),
        "path": row.path,
        "generation": row.generation,
        "values_digest": row.values_digest,
        "config_digest": row.config_digest,
        "file_digest": row.file_digest,
        "code_digest": row.code_digest,
        "revision": row.revision,
        "committed": int(row.committed),
        "applied_at": row.applied_at,
        "removed_at": row.removed_at,
        "template_path": row.template_path,
        "template_digest": row.template_digest,
    }


def row_from(columns: Mapping[str, Any]) -> Row:
    """Raises StoreError, naming the row, where a hand left there what no engine writes."""
    try:
        return _row_from(columns)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise StoreError(
            f"instances: row {columns['id']!r} cannot be read ({error}): "
            "undo the edit that was made to it by hand, or restore a backup"
        ) from error


def _plain(text: str) -> Any:
    """`json.loads`, without its detours: asked four times for each row of a fleet that starts."""
    if text == "{}":
        return {}
    try:
        value, end = _DECODER.raw_decode(text)
    except ValueError:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


_DECODER: Final = json.JSONDecoder()


def _row_from(columns: Mapping[str, Any]) -> Row:
    override, values = columns["mode_override"], _plain(columns["values"])
    config = _plain(columns["config"])
    is_whole = columns["effective_config"] == columns["config"]
    return Row(
        record=InstanceRecord(
            id=columns["id"],
            identity=Identity(
                strategy_type=columns["strategy_type"],
                account_id=columns["account_id"],
                client_id=columns["client_id"],
                market=columns["market"],
            ),
            mode=Mode(columns["mode"]),
            config=config,
            effective_config=config if is_whole else _plain(columns["effective_config"]),
            description=columns["description"],
            labels=_plain(columns["labels"]),
            template=columns["template"],
            open_orders=columns["open_orders"],
            protect=bool(columns["protect"]),
            data_markets=tuple(values.get("data_markets", ())),
            limits=_limits_from(columns["limits"]),
            values=values,
        ),
        path=columns["path"],
        generation=columns["generation"],
        values_digest=columns["values_digest"],
        config_digest=columns["config_digest"],
        file_digest=columns["file_digest"],
        code_digest=columns["code_digest"],
        revision=columns["revision"],
        committed=bool(columns["committed"]),
        applied_at=columns["applied_at"],
        mode_override=None if override is None else Mode(override),
        removed_at=columns["removed_at"],
        template_path=columns["template_path"],
        template_digest=columns["template_digest"],
    )


def generation_columns(change: RowChange, instance: Columns) -> Columns:
    """The history entry of `change`; `instance` are the columns of its row, which it shares text with."""
    row = change.row
    return {
        "instance_id": row.id,
        "generation": row.generation,
        "kind": change.kind,
        "summary": storable(change.summary),
        "at": row.applied_at,
        "revision": row.revision,
        "committed": instance["committed"],
        "mode": row.mode.value,
        "code_digest": row.code_digest,
        "values": instance["values"],
    }


def attempt_columns(attempt: Attempt) -> Columns:
    return {
        "path": attempt.path,
        "instance_id": attempt.id,
        "file_digest": attempt.file_digest,
        "revision": attempt.revision,
        "sync": attempt.sync.value,
        "message": storable(attempt.message),
        "problems": storable(json_text([problem.to_json() for problem in attempt.problems])),
        "at": attempt.at,
    }


def attempt_from(columns: Mapping[str, Any]) -> Attempt:
    return Attempt(
        path=columns["path"],
        id=columns["instance_id"],
        file_digest=columns["file_digest"],
        revision=columns["revision"],
        sync=Sync(columns["sync"]),
        message=columns["message"],
        problems=() if columns["problems"] == "[]" else _problems(columns["problems"]),
        at=columns["at"],
    )


def _problems(text: str) -> tuple[Problem, ...]:
    return tuple(Problem(**problem) for problem in json.loads(text))


_NO_LIMITS = Limits()
_LIMITS: Final = tuple(field.name for field in fields(Limits) if field.name != "takes_any_quote")
_QUOTE_AGE: Final = "max_quote_age_seconds"
"""The one limit whose null says something else than its absence: that any quote will do."""


def _limits_text(limits: Limits) -> str:
    """As a record writes them: money as text, counts as numbers, and nothing of what has no limit."""
    if limits == _NO_LIMITS:
        return "{}"
    values = ((name, getattr(limits, name)) for name in _LIMITS)
    said = {name: decimal_text(v) if isinstance(v, Decimal) else v for name, v in values if v is not None}
    return json_text({**said, _QUOTE_AGE: None} if limits.takes_any_quote else said)


def _limits_from(text: str) -> Limits:
    if text == "{}":
        return _NO_LIMITS
    written = json.loads(text)
    known = ((name, value) for name, value in written.items() if name in _LIMITS)
    said: dict[str, Any] = {name: Decimal(value) if isinstance(value, str) else value for name, value in known}
    return Limits(**said, takes_any_quote=written.get(_QUOTE_AGE, 0) is None)


_ROWS_AT_ONCE: Final = 100
"""Times the columns of a row, far below the 32,766 values that SQLite takes in one statement."""


def _seal(columns: Columns, judged_by: str) -> str:
    """What only a row of exactly these columns has that was judged by that: whoever changes it by hand breaks it."""
    values = [columns[name] for name in _in_order(tuple(columns))]
    return blake2b(repr((judged_by, values)).encode(), digest_size=16).hexdigest()


@lru_cache(8)
def _in_order(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(names))


class Desired:
    """The `instances` table and what belongs to it. Every method blocks and may raise StoreError.

    A change that makes an instance active, or removes it, ends its shadow book; `ended` is told whose.
    """

    def __init__(self, writer: Writer, reads: Reads, ended: Callable[[Collection[str]], None]) -> None:
        self._writer = writer
        self._reads = reads
        self._ended = ended
        self.judged_by: Mapping[str, str] = {}
        """By id what rows were judged by, of those that were, when `rows` read them last, as they were sealed then."""
        self.applied: Callable[[Sequence[Row]], None] = lambda rows: None
        """Told of the rows that were written, on the writer's thread, before anybody else. It must not wait."""
        self._seen_version = writer.write(_data_version)

    def rows(self) -> dict[str, Row]:
        """Every row by id, tombstones included, each as it was applied."""
        rows: dict[str, Row] = {}
        judged_by: dict[str, str] = {}
        for columns in self._reads.query(_SEALED_ROWS):
            told, seal = columns.pop("told"), columns.pop("seal")
            rows[columns["id"]] = row_from(columns)
            if told is not None and seal == _seal(columns, told):
                judged_by[columns["id"]] = told
        self.judged_by = judged_by
        return rows

    def attempts(self) -> dict[str, Attempt]:
        """What was last attempted with each file, by path."""
        return read_attempts(self._reads)

    def apply(
        self,
        changes: Sequence[RowChange],
        attempts: Sequence[Attempt] = (),
        forgotten_paths: Sequence[str] = (),
        also: Callable[[Database], None] | None = None,
        judged_by: Mapping[str, str] | None = None,
    ) -> None:
        """All of it or nothing, in one transaction, committed on return.

        Rows of `changes` replace those of their id, each with an entry in the history. `attempts` replace
        those of their path; those of `forgotten_paths` go. `also` writes what belongs to it. `judged_by` tells of some
        of the rows what they were judged by, for the next engine.
        """
        if not (changes or attempts or forgotten_paths or also):
            return
        instances = [instance_columns(change.row) for change in changes]
        generations = [generation_columns(change, row) for change, row in zip(changes, instances, strict=True)]
        tried = [attempt_columns(attempt) for attempt in attempts]
        told = judged_by or {}
        sealed = [_judgement(columns, told[columns["id"]]) for columns in instances if columns["id"] in told]

        def job(db: Database) -> list[str]:
            keep_left_labels(db, [change.row for change in changes])
            ended = _end_shadow_books(db, [change.row for change in changes])
            _put(db, "instances", instances)
            _put(db, "generations", generations)
            _put(db, "attempts", tried)
            _put(db, "judgements", sealed)
            for path in forgotten_paths:
                db.execute("DELETE FROM attempts WHERE path = ?", [path])
            if also is not None:
                also(db)
            return ended

        def committed(ended: list[str]) -> None:
            self._ended(ended)
            self.applied([change.row for change in changes])

        self._writer.write(job, committed)

    def seal(self, rows: Sequence[Row], judged_by: Mapping[str, str]) -> None:
        """Tell the next engine what rows that are applied already were judged by. Soon; never waits, never raises.

        One that is not in the table as it is here is left out.
        """
        for begin in range(0, len(rows), _ROWS_AT_ONCE):  # so that no order waits for a whole fleet
            self._writer.submit(partial(_seal_rows, rows[begin : begin + _ROWS_AT_ONCE], judged_by))

    def changed_by_others(self) -> bool:
        """True where something other than this engine has committed to the database since this was last asked.

        It says that, not what: compare the rows. May be true where nothing that matters here changed.
        """
        before, self._seen_version = self._seen_version, self._writer.write(_data_version)
        return self._seen_version != before


_SEALED_ROWS: Final = (
    "SELECT i.*, j.judged_by AS told, j.seal FROM instances i LEFT JOIN judgements j ON j.instance_id = i.id"
    " ORDER BY i.id"
)


def _judgement(columns: Columns, judged_by: str) -> Columns:
    return {"instance_id": columns["id"], "judged_by": judged_by, "seal": _seal(columns, judged_by)}


def _seal_rows(rows: Sequence[Row], judged_by: Mapping[str, str], db: Database) -> None:
    marks = ", ".join("?" * len(rows))
    stored = list(db.query(f"SELECT * FROM instances WHERE id IN ({marks})", [row.id for row in rows]))
    known = {row.id: row for row in rows}
    same = [columns for columns in stored if row_from(columns) == known[columns["id"]]]
    _put(db, "judgements", [_judgement(columns, judged_by[columns["id"]]) for columns in same])


def _put(db: Database, table: str, rows: Sequence[Columns]) -> None:
    """Insert `rows`, which all have the same columns, or replace those that have their keys.

    In few large statements and not by `upsert_all`: that looks at each value for what it might have to convert.
    """
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[begin : begin + _ROWS_AT_ONCE]
        names = ", ".join(f'"{name}"' for name in some[0])
        marks = f"({', '.join('?' * len(some[0]))})"
        values = [value for row in some for value in row.values()]
        db.execute(f'REPLACE INTO "{table}" ({names}) VALUES {", ".join([marks] * len(some))}', values)


def _end_shadow_books(db: Database, rows: Sequence[Row]) -> list[str]:
    """End those of the instances that become active, were so until now, or are removed. Returns whose there were.

    One that was active and has a shadow book placed a shadow order while it was rising.
    """
    begun = with_open_shadow_book(db, [row.id for row in rows])
    ended: list[str] = []
    for row in rows:
        if row.id in begun and (Mode.ACTIVE in (row.mode, _mode(db, row.id)) or row.removed_at is not None):
            ended += end_shadow_books(db, [row.id], datetime.fromisoformat(row.removed_at or row.applied_at))
    return ended


def _mode(db: Database, instance_id: str) -> str:
    found = db.query("SELECT coalesce(mode_override, mode) AS mode FROM instances WHERE id = ?", [instance_id])
    return next((columns["mode"] for columns in found), Mode.OFF)


def read_rows(reads: Reads) -> dict[str, Row]:
    return {columns["id"]: row_from(columns) for columns in reads.query("SELECT * FROM instances ORDER BY id")}


def read_attempts(reads: Reads) -> dict[str, Attempt]:
    return {columns["path"]: attempt_from(columns) for columns in reads.query("SELECT * FROM attempts ORDER BY path")}


def _data_version(db: Database) -> int:
    """A number that SQLite changes whenever another connection, but never this one, commits."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])
