"""Admission: what a snapshot's evaluations change in the table of desired rows, removals included. A pure function.

One file is one unit: it is applied whole, or refused whole, and no file's fate depends on another's, except where
two claim one id. The one thing an otherwise unusable file may do is lower a mode.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.documents.wording import some
from reconciler.errors import Problem
from reconciler.records.evaluation import Evaluation
from reconciler.records.mode import REFUSAL_HINT, Mode, lowers, refusal
from reconciler.records.record import Attempt, ChangeKind, Identity, Row, RowChange, digest
from reconciler.records.snapshot import named_id
from reconciler.records.status import Sync


@dataclass(frozen=True, slots=True)
class Removal:
    """What becomes of the live ids whose files are missing; each is in exactly one of the tuples, sorted.

    `remove`: seen missing twice, unprotected, few enough: unload and tombstone. `waiting`: to be looked
    for once more. `protected`: run on, whatever happens to the file. `held`: too many at once; they run on
    until somebody confirms `held_digest`, which stands for exactly this set; `held_why` says what they are too many of.
    """

    remove: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    held_digest: str = ""
    held_why: str = ""


def too_many(missing: int, live: int) -> bool:
    """True where so many missing of so many live records must be confirmed: all, or over max(3, 20 %)."""
    return missing > 0 and (missing >= live or missing > max(3, live * 0.2))


def removal_digest(ids: Iterable[str]) -> str:
    """What stands for exactly this set of ids, where somebody confirms that they may go."""
    return digest(sorted(ids))[:12]


def _why(missing: int, gone: int, live: int) -> str:
    if missing == live:
        return "it is the only one" if live == 1 and not gone else "nothing would be left"
    others = f"{missing} of {live} are missing"
    return f"{others}, and {gone} went within the last ten minutes" if gone else f"{others} at once"


def judge_removal(
    missing: frozenset[str],
    rows: Mapping[str, Row],
    whole: bool,
    settled: frozenset[str],
    confirmed_digest: str,
    recent: Collection[str] = (),
) -> Removal:
    """Decide for each missing id. Whether they are too many is judged on all of them, looked for twice or not, and on
    `recent` ones, which went a short while ago: what deletes slowly deletes all the same."""
    if not missing:
        return Removal()
    if not whole:
        return Removal(waiting=tuple(sorted(missing)))
    protected = tuple(sorted(i for i in missing if rows[i].record.protect))
    open_to_removal = tuple(sorted(missing.difference(protected)))
    live = sum(1 for row in rows.values() if row.is_live)
    gone = sum(1 for i in recent if i in rows and not rows[i].is_live)
    if too_many(len(open_to_removal) + gone, live + gone):
        held_digest = removal_digest(open_to_removal)
        if held_digest != confirmed_digest or not settled.issuperset(open_to_removal):
            why = _why(len(open_to_removal), gone, live)
            return Removal(protected=protected, held=open_to_removal, held_digest=held_digest, held_why=why)
    return Removal(
        remove=tuple(i for i in open_to_removal if i in settled),
        waiting=tuple(i for i in open_to_removal if i not in settled),
        protected=protected,
    )


_LONGEST = 60
_MOST = 12
_ABSENT: Any = object()


def differences(old: Any, new: Any, pointer: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each changed leaf as (pointer, old, new), in the order of keys; lists are leaves."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            yield from differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{pointer}.{key}" if pointer else key)
    elif old is _ABSENT or new is _ABSENT or type(old) is not type(new) or old != new:
        yield pointer, old, new


def identity_differences(old: Identity, new: Identity) -> tuple[tuple[str, str, str], ...]:
    """The changed parts of an identity as (pointer in the file, old, new)."""
    parts = (
        ("strategy_type", old.strategy_type, new.strategy_type),
        ("account.account_id", old.account_id, new.account_id),
        ("account.client_id", old.client_id, new.client_id),
        ("market", old.market, new.market),
    )
    return tuple(part for part in parts if part[1] != part[2])


def summarise(old: Row, new: Row) -> str:
    """One line naming what changed from one row to the next."""
    changed = differences(dict(old.record.values), dict(new.record.values))
    parts = [f"{pointer}: {shown(was)} → {shown(now)}" for pointer, was, now in changed]
    parts = [some(parts, _MOST, "; ")] if parts else []
    parts.extend(_through_template(old, new, has_changes=bool(parts)))
    if not old.is_live:
        parts.insert(0, "restored after removal")
    if old.mode_override is not None and new.mode_override is None and old.mode is not new.mode:
        parts.append(f"mode in force: {old.mode} → {new.mode}")
    if old.code_digest != new.code_digest:
        parts.append(f"strategy code: {old.code_digest[:12]} → {new.code_digest[:12]}")
    if old.path != new.path:
        parts.append(f"path: {old.path} → {new.path}")
    if old.committed != new.committed:
        parts.append(f"committed as {new.revision[:12]}" if new.revision else "no longer committed")
    return "; ".join(parts) or "rewritten without a change of values"


def _through_template(old: Row, new: Row, *, has_changes: bool) -> Iterator[str]:
    """Whether what changed came from the template; where both files changed, only that it did, too."""
    if not new.template_path or new.template_digest == old.template_digest:
        return
    if old.template_path != new.template_path and old.template_path:
        yield f"template: {old.template_path} → {new.template_path}"
    elif old.template_path:
        if not has_changes:
            yield f"{new.template_path} rewritten without a change of values"
        elif old.file_digest == new.file_digest:
            yield f"through {new.template_path}"
        else:
            yield f"{new.template_path} changed as well"


def shown(value: Any) -> str:
    """A value as JSON, shortened; `–` where there is none."""
    if value is _ABSENT:
        return "–"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


@dataclass(frozen=True, slots=True)
class Arrival:
    """The circumstances of a snapshot.

    `whole`: the snapshot proves what is missing; otherwise it may only lower modes. `settled` are ids
    already missing from an earlier whole snapshot; `recent` went a short while ago, which counts with what goes now.
    `adopt`: modes found are taken as established; `found` are the digests of files that were there when they were, but
    could not be judged yet, and are taken in the same way.
    `confirmed_removal` is the digest an operator confirmed. `at` is ISO 8601.
    """

    at: str
    revision: str | None
    whole: bool = True
    not_whole: str = ""
    settled: frozenset[str] = frozenset()
    recent: frozenset[str] = frozenset()
    adopt: bool = False
    found: frozenset[str] = frozenset()
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
        is_judged = file.record is not None or bool(file.problems)
        if not is_judged and previous is not None and previous.file_digest == file.file_digest:
            continue  # nothing new is known of it: what was said of the same file still holds
        if previous is None:
            tried.append(attempt)
        elif replace(attempt, revision=previous.revision) != previous:  # else each commit would rewrite all of them
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
    if file.waiting and not _is_applied(file, row, arrival):
        return _Verdict(Sync.OUT_OF_SYNC, f"not applied yet: {file.waiting}")
    if record is None:
        count = len(file.problems)
        return _Verdict(Sync.INVALID, f"{count} problem{'s' if count != 1 else ''}", file.problems)
    refused = _refusals(file, row, arrival)
    if refused:
        return _Verdict(Sync.REFUSED, refused[0].message, refused)
    change = _change(file, row, arrival)
    if change is not None and not arrival.whole:
        return _Verdict(Sync.OUT_OF_SYNC, f"not applied yet: {arrival.not_whole}")
    return _Verdict(Sync.SYNCED, change=change)


def _is_applied(file: Evaluation, row: Row | None, arrival: Arrival) -> bool:
    """True where the file says what its row does already."""
    is_whole = file.record is not None and row is not None
    return is_whole and not _refusals(file, row, arrival) and _change(file, row, arrival) is None


def _refusals(file: Evaluation, row: Row | None, arrival: Arrival) -> tuple[Problem, ...]:
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
    if row is None and (arrival.adopt or file.file_digest in arrival.found):
        return ()
    if reason is None:
        return (lacking_problem(file),) if file.lacking and record.mode is Mode.ACTIVE is not now else ()
    if row is None or not row.is_live:
        reason = f"{reason}; {'a new' if row is None else 'a returning'} id starts from off"
    return (_problem(file, "mode", reason, REFUSAL_HINT, "mode-step"),)


def lacking_problem(file: Evaluation) -> Problem:
    """That a record may not rise to active: it lacks limits that the settings ask for."""
    message = f"active needs {', '.join(file.lacking)}: require_limits of the settings asks for it on this money"
    hint = "add it below limits, here or in its template, or below limits of its account"
    return _problem(file, "mode", message, hint, "require-limits")


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
