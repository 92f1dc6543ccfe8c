"""A comparison: the files now against what is applied, judged as the engine would judge them.

What is applied before a change is told from a base revision and its history, or from the engine's database.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from reconciler.documents.wording import some
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts
from reconciler.records.admission import Admission, Arrival, Removal, admit, too_many
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.halt import Halt, read_halts
from reconciler.records.mode import Mode
from reconciler.records.plan import Action, Phase, Running, load_key, plan
from reconciler.records.record import Attempt, Row
from reconciler.records.snapshot import NO_RECORD, Snapshot, SourceFile, named_id
from reconciler.records.status import Sync
from reconciler.records.walk import CommitWalk, Step
from reconciler.review.judging import judge
from reconciler.sources.compared import Base
from reconciler.sources.layout import INSTANCES, counts
from reconciler.strategy.catalogue import Catalogue

UNTIMED: Final = ""
"""When something was applied, or will be: no file tells."""
_MOST_NAMED = 20


class Replay:
    """The walk of a review: over some names only, and by the code of now wherever that says what the code of then did.

    Where the code of a moment cannot be loaded now, nobody knows better than that it could then.
    """

    def __init__(self, accounts: Accounts, catalogue: Catalogue) -> None:
        """`catalogue` holds the strategies of the base, and is only asked."""
        self._accounts = accounts
        self._catalogue = catalogue
        self._walk = CommitWalk({}, self._judged, UNTIMED)
        self._seen: dict[str, frozenset[tuple[str, str]]] = {}

    @property
    def rows(self) -> Mapping[str, Row]:
        return self._walk.rows

    def follow(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self._seen.update((name, _versions(files)) for name, files in step.files.items())
            self._walk.follow([step])

    def arrive(self, evaluations: Iterable[Evaluation], revision: str) -> tuple[Attempt, ...]:
        """Let the files of the base itself meet the rows; what became of each of them."""
        return self._walk.arrive(tuple(evaluations), revision).attempts

    def knows(self, name: str, files: Iterable[SourceFile]) -> bool:
        """False where these files of that name are not what the commits led to: a link, or another repository's."""
        return self._seen.get(name, frozenset()) == _versions(files)

    def _judged(self, files: Sequence[SourceFile], step: Step) -> tuple[Evaluation, ...]:
        def judged(facts: Mapping[str, DefinitionFacts]) -> tuple[Evaluation, ...]:
            types = tuple(sorted(facts))
            return evaluate_all(files, step.templates, facts.get, self._accounts, types, EvaluationCache())

        now = {name: facts for name in self._catalogue.types() if (facts := self._catalogue.facts(name)) is not None}
        evaluations = judged(now)
        if all(one.record is not None for one in evaluations) or _is_same(now, step.strategies):
            return evaluations
        return judged({name: _lenient(facts) for file in step.strategies for name, facts in _facts_then(file).items()})


def _versions(files: Iterable[SourceFile]) -> frozenset[tuple[str, str]]:
    return frozenset((file.path, file.digest) for file in files)


def _is_same(facts: Mapping[str, DefinitionFacts], strategies: Iterable[SourceFile]) -> bool:
    return {one.code_digest for one in facts.values()} == {file.digest for file in strategies}


@lru_cache(maxsize=256)
def _facts_then(strategy: SourceFile) -> Mapping[str, DefinitionFacts]:
    catalogue = Catalogue()
    catalogue.refresh((strategy,))
    return {name: facts for name in catalogue.types() if (facts := catalogue.facts(name)) is not None}


def _lenient(facts: DefinitionFacts) -> DefinitionFacts:
    """What cannot be loaded now could perhaps then, with what was installed."""
    return replace(facts, problems=(), config_schema=_ANYTHING) if facts.problems else facts


_ANYTHING: Final = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Before:
    """The state a change starts from. `label` names it for people.

    `rows` is what is applied, tombstones included, by id; `evaluations` are the files those rows came from,
    by id, empty for a database. `halts` are those declared in force, `settings` is `reconciler.yaml` there,
    None where unknown or absent. `unapplied` are the files that are there already and were not applied as they
    stand, by path. `idle` are ids that their rows want and that do not run, `lost` those of them that cannot: the
    code of their rows is not there. Of a base that is what an engine has come to that was restarted on it.
    """

    label: str
    revision: str | None
    rows: Mapping[str, Row]
    evaluations: Mapping[str, Evaluation]
    accounts: Accounts
    halts: tuple[Halt, ...]
    settings: bytes | None = None
    unapplied: tuple[Attempt, ...] = ()
    idle: frozenset[str] = frozenset()
    lost: frozenset[str] = frozenset()


def of_base(
    base: Base, head: Snapshot, accounts: Accounts, catalogue: Catalogue, cache: EvaluationCache | None = None
) -> Before:
    """What an engine that follows the base has applied. `accounts` are the base's.

    A record whose file is valid and stays what it is counts as applied: the base's history is asked only for those
    that differ from `head`, or that are not valid. `catalogue` is left at the base's strategies: whoever judges the
    files of now refreshes it. A `cache` that then goes on to judge those judges only what changed.
    """
    evaluations = judge(base.snapshot, accounts, catalogue, cache or EvaluationCache())
    files, heads = _by_name(base.snapshot.instances), _by_name(head.instances)
    doubtful = {name for name in files.keys() | heads.keys() if files.get(name) != heads.get(name)}
    doubtful.update(named_id(one.path) for one in evaluations if one.record is None)
    replay = Replay(accounts, catalogue)
    replay.follow(base.history.steps(doubtful))
    doubtful = {name for name in doubtful if replay.knows(name, files.get(name, ()))}
    adopted = admit(
        (one for one in evaluations if named_id(one.path) not in doubtful),
        {},
        {},
        Arrival(UNTIMED, base.commit, adopt=True),
    )
    attempts = (
        *adopted.attempts,
        *replay.arrive((one for one in evaluations if named_id(one.path) in doubtful), base.commit),
    )
    rows = {change.row.id: change.row for change in adopted.changes}
    rows.update((name, replay.rows[name]) for name in doubtful if name in replay.rows)
    lost = frozenset(id_ for id_, row in rows.items() if is_wanted(row) and not _has_code(row, catalogue))
    by_path = {evaluation.path: evaluation for evaluation in evaluations}
    return Before(
        label=f"{base.ref} (merge base {base.commit[:8]})",
        revision=base.commit,
        rows=rows,
        evaluations={row.id: by_path[row.path] for row in rows.values() if _is_of(row, by_path.get(row.path))},
        accounts=accounts,
        halts=read_halts(base.snapshot.halt, UNTIMED)[0],
        settings=base.settings,
        unapplied=tuple(one for one in attempts if one.sync in (Sync.INVALID, Sync.REFUSED)),
        idle=lost,
        lost=lost,
    )


def of_database(rows: Mapping[str, Row], halts: Sequence[Halt], accounts: Accounts) -> Before:
    """What the engine's database says. `halts` are the declared ones in force."""
    return Before("the engine's database", None, rows, {}, accounts, tuple(halts))


def of_engine(
    rows: Mapping[str, Row], halts: Sequence[Halt], accounts: Accounts, in_force: Mapping[str, Mode], lost: Set[str]
) -> Before:
    """What the database of an engine says that runs, with the modes that are `in_force` in it, by id. `lost` are
    those whose code it says it has not."""
    idle = (id_ for id_, row in rows.items() if is_wanted(row) and in_force.get(id_, Mode.OFF) is Mode.OFF)
    known = of_database(rows, halts, accounts)
    return replace(known, label="the engine, as it runs", idle=frozenset(idle), lost=frozenset(lost))


def is_wanted(row: Row) -> bool:
    return row.is_live and row.mode is not Mode.OFF


def _by_name(files: Iterable[SourceFile]) -> Mapping[str, Sequence[SourceFile]]:
    found: dict[str, list[SourceFile]] = defaultdict(list)
    for file in files:
        found[named_id(file.path)].append(file)
    return found


def _has_code(row: Row, catalogue: Catalogue) -> bool:
    facts = catalogue.facts(row.record.strategy_type)
    return facts is not None and facts.code_digest == row.code_digest and not facts.problems


def _is_of(row: Row, evaluation: Evaluation | None) -> bool:
    """True where the row is what that file says."""
    return row.is_live and evaluation is not None and evaluation.file_digest == row.file_digest


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
