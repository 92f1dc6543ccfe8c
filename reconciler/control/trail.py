"""The trail: the branch that is followed, how far it was, and by what its commits are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Final, Protocol

from reconciler.clock import from_iso
from reconciler.documents.document import Document, parse
from reconciler.documents.wording import some
from reconciler.errors import Problem, SourceError
from reconciler.records.accounts import Accounts
from reconciler.records.admission import Arrival, admit
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.followed import CHECKING, Followed, Pinned, refuse_other
from reconciler.records.halt import Halt, but_for, read_halts
from reconciler.records.mode import Mode
from reconciler.records.record import Row, RowChange
from reconciler.records.snapshot import MergedChange, Snapshot, SourceFile, named_id
from reconciler.records.walk import UNUSABLE, CommitWalk, Judge, Step, lowest, moment
from reconciler.sources.signatures import SignedRange
from reconciler.store.following import Following

_REMEMBERED: Final = 10_000
"""Of so many commits that are held, the newest, it is kept when they were first seen."""


class Followable(Protocol):
    """A branch: `sources.branch.Branch`. Every method may raise SourceError."""

    def position(self) -> str | None: ...
    def settings(self, commit: str, instead: bytes | None = ...) -> bytes | None: ...
    def snapshot(self, commit: str, at_hand: Snapshot = ...) -> Snapshot: ...
    def halt(self, commit: str) -> SourceFile | None: ...
    def blob(self, blob_id: str, path: str) -> bytes: ...
    def has(self, commit: str) -> bool: ...
    def refuse_shallow(self) -> None: ...
    def descends(self, before: str, after: str) -> bool: ...
    def steps(self, before: str, after: str, at_hand: Snapshot) -> Sequence[Step]: ...
    def commits(self, ids: Sequence[str]) -> Mapping[str, MergedChange]: ...
    def keep(self, commit: str) -> None: ...


class Signing(Protocol):
    """Who signed what: `sources.signatures.Signatures`, or `CheckedBeside`, whose None says that it is under way."""

    def check(self, applied: str | None, new: str, seen: Mapping[str, float], now: float) -> SignedRange | None: ...


JudgeStep = Callable[[Sequence[SourceFile], Step, Mapping[str, DefinitionFacts]], Sequence[Evaluation]]
"""Judges files by the strategies, templates and settings of a moment."""


@dataclass(frozen=True, slots=True)
class Trail:
    """The branch, how far it was followed, and by what its steps are judged."""

    branch: Followable
    progress: Following
    judge: JudgeStep
    pinned: Pinned
    spared: Callable[[], AbstractContextManager[object]] = nullcontext
    """Within it files can be read where no descriptor is left."""
    signatures: Signing | None = None
    """None where none are required."""
    unreachable: Callable[[], str] = str
    """Why the remote did not answer when it was asked last; empty where it did, or there is none."""

    def moment(self, commit: str, snapshot: Snapshot) -> Step:
        """What files of that commit are judged by. Raises SourceError."""
        return moment(commit, snapshot, self.branch.settings(commit, UNUSABLE))


class Hold:
    """Whether what a branch is at may be applied; a range of signatures is judged once, or until somebody could."""

    def __init__(self, trail: Trail) -> None:
        self._trail = trail
        self._checked: SignedRange | None = None

    @property
    def is_certain(self) -> bool:
        """False where signatures could not be checked: to be asked again."""
        return self._checked is None or self._checked.is_certain

    def why_held(self, followed: Followed, seen: str | None, now: float) -> str:
        """Empty where `seen` may be applied next. Raises SourceError."""
        branch, applied = self._trail.branch, followed.applied or ""
        if seen is None:
            return "the branch is gone"
        if not branch.has(applied):
            return f"what is applied, {applied[:10]}, is not in this repository any more"
        if not branch.descends(applied, seen):
            return f"it does not descend from what is applied, {applied[:10]}: the branch was moved"
        return self.why_unsigned(followed, seen, now)

    def why_unsigned(self, followed: Followed, seen: str, now: float) -> str:
        """Empty where signatures are not required, too. Raises SourceError."""
        signatures, known, applied = self._trail.signatures, self._checked, followed.applied
        if signatures is None:
            return ""
        if known is None or not known.is_certain or (known.applied, known.new) != (applied or "", seen):
            first_seen = {commit: from_iso(at) for commit, at in followed.first_seen.items()}
            found = signatures.check(applied, seen, first_seen, now)
            if found is None:
                return CHECKING
            known = self._checked = found
        return known.held

    def first_seen(self, before: Followed, held: str, at: str) -> Mapping[str, str]:
        """Of what is held, when each commit was seen first; what it was judged by then stays so."""
        checked, known = self._checked, before.first_seen
        if checked is None or checked.new != held or checked.applied != before.applied:
            return known
        return {one.raw.commit: known.get(one.raw.commit, at) for one in checked.commits[-_REMEMBERED:]}

    def signed(self, commits: Mapping[str, MergedChange]) -> Mapping[str, MergedChange]:
        """The same, each with whose signature it is."""
        if self._checked is None:
            return commits
        known = {one.raw.commit: one.signed_by for one in self._checked.commits}
        return {commit: replace(one, signed_by=known.get(commit)) for commit, one in commits.items()}


@dataclass(frozen=True, slots=True)
class Start:
    """What is applied: how far, the files and rows of that, and what they were judged as. `adopted` are names whose
    modes are taken as established once their code is there."""

    followed: Followed
    snapshot: Snapshot
    rows: Mapping[str, Row]
    evaluations: Sequence[Evaluation]
    adopted: frozenset[str] = frozenset()


def walked(trail: Trail, start: Start, steps: Sequence[Step], judge: Judge, at: str) -> CommitWalk:
    """The walk over `steps`; before it, names that waited for code are led as far as all others were meanwhile.

    Raises SourceError.
    """
    walk, applied = CommitWalk(start.rows, judge, at), start.followed.applied or ""
    for commit in sorted(set(start.followed.behind.values())):
        names = frozenset(name for name, at_commit in start.followed.behind.items() if at_commit == commit)
        then = start.snapshot if commit == applied else trail.branch.snapshot(commit, start.snapshot)
        state = trail.moment(commit, then)
        evaluations = judge(then.instances, state)
        own = [one for one in evaluations if named_id(one.path) in names]
        waiting = {named_id(one.path) for one in own if one.waiting}
        walk.behind.update(dict.fromkeys(waiting, commit))
        free = names - waiting
        inner = CommitWalk(walk.rows, judge, at)
        inner.stand(evaluations, [file for file in then.instances if named_id(file.path) in free], state)
        for name in sorted(free):
            inner.arrive([one for one in own if named_id(one.path) == name], commit, is_first=name in start.adopted)
        missed = () if commit == applied else trail.branch.steps(commit, applied, then)
        inner.follow(step.only(free) for step in missed)
        walk.take(inner)
    if steps:
        walk.stand(start.evaluations, start.snapshot.instances, trail.moment(applied, start.snapshot))
        walk.follow(steps)
    return walk


@dataclass(frozen=True, slots=True)
class Brake:
    """What the newest commit says that is in force whatever else becomes of it: `halts`, with what is wrong with their
    file, and what it lowers. `head` is the fleet in it, None where that cannot be read."""

    halts: tuple[Halt, ...] = ()
    problems: tuple[Problem, ...] = ()
    lowered: tuple[RowChange, ...] = ()
    head: Snapshot | None = None

    def upon(self, followed: Followed) -> Followed:
        """With what it brakes, where it is not applied and nothing else is known of it yet."""
        halts = (*followed.halts, *but_for(followed.halts, self.halts))
        modes = {change.row.id: change.row.mode for change in self.lowered}
        return replace(followed, halts=halts, lowered=lowest(followed.lowered, modes))


def halts_at(branch: Followable, commit: str, at_hand: Snapshot | None, at: str) -> Brake:
    """The halts of a commit, of which nothing else may be readable: a file that is there and cannot be read halts all.

    Raises SourceError where nobody can tell whether there is one.
    """
    try:
        head = branch.snapshot(commit) if at_hand is None else branch.snapshot(commit, at_hand)
    except SourceError:
        return Brake(*read_halts(branch.halt(commit), at))
    return Brake(*read_halts(head.halt, at), head=head)


def lowerings(
    head: Snapshot, base: Snapshot | None, known: Sequence[Evaluation], rows: Mapping[str, Row], arrival: Arrival
) -> tuple[RowChange, ...]:
    """What `head` says is lower than `rows`: each by a file that parses and is alone in what it claims, whatever else
    is wrong with it. Only what differs from `base` is looked at, whose files were judged as `known`."""
    was = {} if base is None else {file.path: file for file in base.instances}
    told = {one.path: one for one in known}
    new = [file for file in head.instances if was.get(file.path) is not file or file.path not in told]
    if not new or not any(row.is_live and row.mode is not Mode.OFF for row in rows.values()):
        return ()
    judged = evaluate_all(new, head.templates, lambda strategy_type: None, Accounts(), (), EvaluationCache())
    told |= {one.path: one for one in judged}
    ids = {claimed for file in new if (claimed := told[file.path].claimed_id) is not None}
    claiming = [one for file in head.instances if (one := told[file.path]).claimed_id in ids]
    changes = admit(claiming, {i: rows[i] for i in ids if i in rows}, {}, arrival).changes
    return tuple(change for change in changes if change.kind == "lowered")


def distrusted(accounts: Accounts, trust: str, evaluations: Sequence[Evaluation], commit: str) -> str:
    """What is active on real money is taken as established only of the commit that somebody named."""
    active = [one for one in evaluations if one.claimed_mode is Mode.ACTIVE and _is_on_real_money(one, accounts)]
    if not active:
        return ""
    what = f"active on real money: {some([named_id(one.path) for one in active], 5)}"
    named = f"was {trust}" if trust else "was none"
    if trust == commit:
        return ""
    return f"--adopt: expected a trusted commit, {named}; in {commit} {what}: look at it, then --trust {commit}"


def _is_on_real_money(one: Evaluation, accounts: Accounts) -> bool:
    """By what its file says, where its code is not there yet, too."""
    if one.record is not None:
        return accounts.is_real(one.record.identity.account_id)
    document = None if one.source is None else parse(one.source, one.path)
    values = document.values if isinstance(document, Document) else None
    account = values.get("account") if isinstance(values, dict) else None
    account_id = account.get("account_id") if isinstance(account, dict) else None
    return bool(one.waiting) and isinstance(account_id, str) and accounts.is_real(account_id)


def judging(accounts: Accounts, accounts_in: Callable[[bytes], Accounts | None] | None = None) -> JudgeStep:
    """By the accounts that the settings of the moment declare; where these cannot be used, or it is not said how, by
    those that were last good, at first these."""
    last: tuple[bytes | None, Accounts] = (None, accounts)

    def judge(files: Sequence[SourceFile], step: Step, facts: Mapping[str, DefinitionFacts]) -> Sequence[Evaluation]:
        nonlocal last
        if accounts_in is not None and step.settings != last[0]:
            last = (step.settings, accounts_in(step.settings or b"{}") or last[1])
        accounts = last[1]
        return evaluate_all(files, step.templates, facts.get, accounts, tuple(sorted(facts)), EvaluationCache())

    return judge


def pin(kept: Following, wanted: Pinned) -> None:
    """What is followed first is followed from then on. Raises ReconcilerError where that is something else."""
    followed = kept.followed()
    refuse_other(followed, wanted)
    if followed is None:
        kept.keep(Followed(wanted.kind, wanted.remote, wanted.branch))
