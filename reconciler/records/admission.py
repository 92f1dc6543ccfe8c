"""Admission: what a snapshot's evaluations change in the table of desired rows. A pure function.

One file is one unit: it is applied whole, or refused whole, and no file's fate depends on another's,
except where two claim one id. The one thing an otherwise unusable file may do is lower a mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from reconciler.errors import Problem
from reconciler.records.difference import identity_differences, summarise
from reconciler.records.evaluation import Evaluation
from reconciler.records.mode import REFUSAL_HINT, Mode, lowers, refusal
from reconciler.records.record import Attempt, ChangeKind, Row, RowChange
from reconciler.records.removal import Removal, judge_removal
from reconciler.records.snapshot import named_id
from reconciler.records.status import Sync


@dataclass(frozen=True, slots=True)
class Arrival:
    """The circumstances of a snapshot.

    `whole`: the snapshot proves what is missing; otherwise it may only lower modes. `settled` are ids
    already missing from an earlier whole snapshot; `recent` went a short while ago, which counts with what goes now.
    `adopt`: modes found are taken as established.
    `confirmed_removal` is the digest an operator confirmed. `at` is ISO 8601.
    """

    at: str
    revision: str | None
    whole: bool = True
    not_whole: str = ""
    settled: frozenset[str] = frozenset()
    recent: frozenset[str] = frozenset()
    adopt: bool = False
    confirmed_removal: str = ""


@dataclass(frozen=True, slots=True)
class Admission:
    """What to write: changed rows with their history, changed attempts, paths to forget; and what is missing."""

    changes: tuple[RowChange, ...]
    attempts: tuple[Attempt, ...]
    forgotten_paths: tuple[str, ...]
    removal: Removal


def admit(
    evaluations: Iterable[Evaluation],
    rows: Mapping[str, Row],
    attempts: Mapping[str, Attempt],
    arrival: Arrival,
) -> Admission:
    """Judge every file against its row. The order of `evaluations` and `rows` does not matter.

    The same evaluations against the resulting table change nothing.
    """
    files = sorted(evaluations, key=lambda e: e.path)
    claims = Counter(e.claimed_id for e in files if e.claimed_id is not None)
    changes: list[RowChange] = []
    tried: list[Attempt] = []
    for file in files:
        row = None if file.claimed_id is None else rows.get(file.claimed_id)
        sole = file.claimed_id is not None and claims[file.claimed_id] == 1
        verdict = _judge(file, row, arrival)
        if verdict.change is None and sole:
            verdict = replace(verdict, change=_lowering(file, row, arrival))
        if verdict.change is not None:
            changes.append(verdict.change)
        previous = attempts.get(file.path)
        attempt = Attempt(
            file.path,
            file.claimed_id,
            file.file_digest,
            arrival.revision if file.committed else None,
            verdict.sync,
            verdict.message,
            verdict.problems,
            arrival.at if previous is None else previous.at,
        )
        if file.waiting and previous is not None and previous.file_digest == file.file_digest:
            continue  # nothing new is known of it: what was said of the same file still holds
        if previous is None:
            tried.append(attempt)
        elif attempt != previous:
            tried.append(replace(attempt, at=arrival.at))
    removal = judge_removal(
        _missing(files, rows), rows, arrival.whole, arrival.settled, arrival.confirmed_removal, arrival.recent
    )
    changes.extend(
        RowChange(replace(rows[i], removed_at=arrival.at, applied_at=arrival.at), "removed", "its file was removed")
        for i in removal.remove
    )
    present = {file.path for file in files}
    forgotten = tuple(sorted(path for path in attempts if path not in present)) if arrival.whole else ()
    return Admission(tuple(changes), tuple(tried), forgotten, removal)


@dataclass(frozen=True, slots=True)
class _Verdict:
    sync: Sync
    message: str = ""
    problems: tuple[Problem, ...] = ()
    change: RowChange | None = None


def _judge(file: Evaluation, row: Row | None, arrival: Arrival) -> _Verdict:
    record = file.record
    if file.waiting:
        return _Verdict(Sync.OUT_OF_SYNC, f"not applied yet: {file.waiting}")
    if file.unfinished and not _is_applied(file, row, arrival):
        waits = f"not applied yet: {file.unfinished} is still open for writing; it counts once it is closed"
        return _Verdict(Sync.OUT_OF_SYNC, waits)
    if record is None:
        count = len(file.problems)
        return _Verdict(Sync.INVALID, f"{count} problem{'s' if count != 1 else ''}", file.problems)
    refused = _refusals(file, row, arrival.adopt)
    if refused:
        return _Verdict(Sync.REFUSED, refused[0].message, refused)
    change = _change(file, row, arrival)
    if change is not None and not arrival.whole:
        return _Verdict(Sync.OUT_OF_SYNC, f"not applied yet: {arrival.not_whole}")
    return _Verdict(Sync.SYNCED, change=change)


def _is_applied(file: Evaluation, row: Row | None, arrival: Arrival) -> bool:
    """True where the file says what its row does already."""
    is_whole = file.record is not None and row is not None
    return is_whole and not _refusals(file, row, arrival.adopt) and _change(file, row, arrival) is None


def _refusals(file: Evaluation, row: Row | None, adopt: bool) -> tuple[Problem, ...]:
    record = file.record
    assert record is not None
    if row is not None:
        differences = identity_differences(row.record.identity, record.identity)
        if differences:
            known = "is" if row.is_live else "was, until it was removed,"
            return tuple(
                _problem(
                    file,
                    pointer,
                    f"immutable: {row.id} {known} {old!r}, the file says {new!r}",
                    f"put {old!r} back, or give the changed deployment a new id in a file of its own",
                    "identity-changed",
                )
                for pointer, old, new in differences
            )
    now = row.mode if row is not None and row.is_live else Mode.OFF
    reason = refusal(now, record.mode)
    if reason is None or (adopt and row is None):
        return ()
    if row is None or not row.is_live:
        reason = f"{reason}; {'a new' if row is None else 'a returning'} id starts from off"
    return (_problem(file, "mode", reason, REFUSAL_HINT, "mode-step"),)


def _problem(file: Evaluation, pointer: str, message: str, hint: str, rule: str) -> Problem:
    return Problem(*file.place(pointer), pointer, message, hint, rule)


def _change(file: Evaluation, row: Row | None, arrival: Arrival) -> RowChange | None:
    record = file.record
    assert record is not None
    fresh = Row(
        record=record,
        path=file.path,
        generation=1 if row is None else row.generation,
        values_digest=file.values_digest,
        config_digest=file.config_digest,
        file_digest=file.file_digest,
        code_digest=file.code_digest,
        revision=arrival.revision if file.committed else None,
        committed=file.committed,
        applied_at=arrival.at,
        template_path=file.template_path,
        template_digest=file.template_digest,
    )
    if row is None:
        return RowChange(fresh, "created", f"created in mode {record.mode}")
    kind = _kind(row, fresh)
    if kind is None:
        return None
    if row.values_digest != fresh.values_digest or not row.is_live:
        fresh = replace(fresh, generation=row.generation + 1)
    return RowChange(fresh, kind, summarise(row, fresh))


def _kind(row: Row, fresh: Row) -> ChangeKind | None:
    """The most telling way in which the two differ; None where a rewrite would say nothing new."""
    if not row.is_live:
        return "restored"
    if row.values_digest != fresh.values_digest or row.mode is not fresh.mode:
        return "changed"
    if row.code_digest != fresh.code_digest or row.config_digest != fresh.config_digest:
        return "code"
    if row.record != fresh.record:
        return "drift"  # the digests agree, the values do not: somebody edited the row
    if row.path != fresh.path:
        return "moved"
    if row.committed != fresh.committed or row.file_digest != fresh.file_digest:
        return "revision"
    if row.template_path != fresh.template_path or row.template_digest != fresh.template_digest:
        return "revision"
    return None


def _lowering(file: Evaluation, row: Row | None, arrival: Arrival) -> RowChange | None:
    mode = file.claimed_mode
    if row is None or not row.is_live or mode is None or not lowers(row.mode, mode):
        return None
    summary = f"mode: {row.mode} → {mode}, nothing else of the file is applied"
    return RowChange(replace(row.lowered(mode), applied_at=arrival.at), "lowered", summary)


def _missing(files: list[Evaluation], rows: Mapping[str, Row]) -> frozenset[str]:
    """Live ids of which no file speaks: not by id, not by path, not by name. Unreadable is not missing."""
    paths = {file.path for file in files}
    named = {named_id(file.path) for file in files}
    named.update(file.claimed_id for file in files if file.claimed_id is not None)
    return frozenset(i for i, row in rows.items() if row.is_live and i not in named and row.path not in paths)
