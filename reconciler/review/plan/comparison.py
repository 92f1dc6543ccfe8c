"""A comparison: the files now against what is applied, judged as the engine would judge them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.documents.wording import some
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts
from reconciler.records.admission import Admission, Arrival, Removal, admit, too_many
from reconciler.records.crosscheck import EvaluationCache
from reconciler.records.evaluation import Evaluation
from reconciler.records.halt import Halt, read_halts
from reconciler.records.mode import Mode
from reconciler.records.plan import Action, Phase, Running, load_key, plan
from reconciler.records.record import Attempt, Row
from reconciler.records.snapshot import NO_RECORD, Snapshot
from reconciler.records.status import Sync
from reconciler.review.judging import judge
from reconciler.review.plan.before import UNTIMED, Before, of_base
from reconciler.sources.compared import Base
from reconciler.sources.layout import INSTANCES, counts
from reconciler.strategy.catalogue import Catalogue

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Comparison:
    """What becomes of a fleet when these files are merged: `admission` of `evaluations`, the rows `after` it, and
    the `actions` that lead an engine from `before` there. `accounts` and `halts` are those of now. `back` are ids of
    which nothing could run before, for want of their code, and that is there again.
    """

    before: Before
    evaluations: tuple[Evaluation, ...]
    admission: Admission
    after: Mapping[str, Row]
    actions: tuple[Action, ...]
    accounts: Accounts
    halts: tuple[Halt, ...]
    back: frozenset[str] = frozenset()


def compare(before: Before, snapshot: Snapshot, evaluations: Sequence[Evaluation], accounts: Accounts) -> Comparison:
    """Judge `evaluations`, those of `snapshot`, against what is applied.

    What is missing was removed, unless a folder could not be read. That git is at work does not matter: files
    are compared as they are, in the middle of a merge or a commit too.
    """
    out_of_sight = _out_of_sight(snapshot)
    arrival = Arrival(
        at=UNTIMED,
        revision=snapshot.revision,
        whole=not out_of_sight,
        not_whole=out_of_sight,
        settled=frozenset(before.rows),
    )
    admission = admit(evaluations, before.rows, {}, arrival)
    changed = {change.row.id: change.row for change in admission.changes}
    back = _back(before, evaluations)
    concerned = {**{id_: before.rows[id_] for id_ in back}, **changed}
    running = _running(before.rows[id_] for id_ in concerned if id_ in before.rows and id_ not in before.idle)
    return Comparison(
        before,
        tuple(evaluations),
        admission,
        after={**before.rows, **changed},
        actions=plan(concerned, running, lambda row: row.id not in before.lost or row.id in back, now_s=0.0),
        accounts=accounts,
        halts=read_halts(snapshot.halt, UNTIMED)[0],
        back=back,
    )


def compare_revisions(
    base: Base, base_accounts: Accounts, snapshot: Snapshot, accounts: Accounts, catalogue: Catalogue
) -> Comparison:
    """Judge both and compare them; what they have in common is judged once. Leaves `catalogue` at `snapshot`'s code."""
    cache = EvaluationCache()
    before = of_base(base, snapshot, base_accounts, catalogue, cache)
    return compare(before, snapshot, judge(snapshot, accounts, catalogue, cache), accounts)


def comparison_problems(comparison: Comparison) -> tuple[Problem, ...]:
    """What only the comparison shows, by path: a refused step of mode, a changed identity, a re-used id, and removals
    that would not be carried out. A file that stays as it was refused before is no fault of the change."""
    known = {(attempt.path, attempt.file_digest) for attempt in _refused(comparison.before.unapplied)}
    refused = (
        attempt.problems
        for attempt in _refused(comparison.admission.attempts)
        if (attempt.path, attempt.file_digest) not in known
    )
    removals = _removal_problems(comparison.admission.removal, comparison.before.rows)
    return tuple(sorted([*(problem for problems in refused for problem in problems), *removals]))


def _refused(attempts: Iterable[Attempt]) -> Iterator[Attempt]:
    return (attempt for attempt in attempts if attempt.sync is Sync.REFUSED)


def _removal_problems(removal: Removal, rows: Mapping[str, Row]) -> Iterator[Problem]:
    for id_ in removal.protected:
        message = "expected the file of a record under `protect`, was removed: the instance would run on"
        hint = "put the file back; to remove it, merge `protect: false` first, and remove it in a second change"
        yield Problem(rows[id_].path, 0, 0, "", message, hint, "protected-removal")
    if removal.held:
        live = sum(1 for row in rows.values() if row.is_live)
        message = (
            f"expected at most {_most_removed(live)} of {live} records to be removed at once, "
            f"were {len(removal.held)}, which the engine would hold: {some(removal.held, _MOST_NAMED)}"
        )
        hint = (
            "merge the removals in smaller steps, or confirm after the merge with "
            f"`reconciler prune --confirm {removal.held_digest}`"
        )
        yield Problem(INSTANCES, 0, 0, "", message, hint, "mass-removal")


def _most_removed(live: int) -> int:
    return max(number for number in range(live + 1) if not too_many(number, live))


def _back(before: Before, evaluations: Iterable[Evaluation]) -> frozenset[str]:
    return frozenset(one.record.id for one in evaluations if one.record is not None and one.record.id in before.lost)


def _out_of_sight(snapshot: Snapshot) -> str:
    """The folders that could not be read, and why; empty where all could."""
    unread = (file for file in snapshot.instances if file.data is None and file.error != NO_RECORD)
    return "; ".join(f"{file.path} {file.error}" for file in unread if not counts(file.path))


def _running(rows: Iterable[Row]) -> dict[str, Running]:
    """What an engine that applied these rows runs."""
    return {
        row.id: Running(row.id, Phase.RUNNING, row.mode, load_key(row), row)
        for row in rows
        if row.is_live and row.mode is not Mode.OFF
    }
