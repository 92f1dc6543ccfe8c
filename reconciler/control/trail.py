"""The trail: the branch that is followed, how far it was, and by what its commits are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from reconciler.documents.wording import some
from reconciler.records.accounts import Accounts
from reconciler.records.change import MergedChange
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.followed import Followed, Pinned, refuse_other
from reconciler.records.mode import Mode
from reconciler.records.snapshot import Snapshot, SourceFile
from reconciler.records.walk import Step
from reconciler.sources.signatures import SignedRange
from reconciler.store.following import Following


class Followable(Protocol):
    """A branch: `sources.branch.Branch`. Every method may raise SourceError."""

    def position(self) -> str | None: ...
    def settings(self, commit: str) -> bytes | None: ...
    def snapshot(self, commit: str, at_hand: Snapshot = ...) -> Snapshot: ...
    def blob(self, blob_id: str, path: str) -> bytes: ...
    def has(self, commit: str) -> bool: ...
    def refuse_shallow(self) -> None: ...
    def descends(self, before: str, after: str) -> bool: ...
    def steps(self, before: str, after: str, at_hand: Snapshot) -> Sequence[Step]: ...
    def commits(self, ids: Sequence[str]) -> Mapping[str, MergedChange]: ...
    def keep(self, commit: str) -> None: ...


class Signing(Protocol):
    """Who signed what: `sources.signatures.Signatures`."""

    def check(self, applied: str | None, new: str, seen: Mapping[str, float], now: float) -> SignedRange: ...


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
    distrusted: Callable[[Sequence[Evaluation], str], str] = lambda evaluations, commit: ""
    """Why what a commit says may not be taken as established; empty where it may."""


def distrusted(accounts: Accounts, trust: str, evaluations: Sequence[Evaluation], commit: str) -> str:
    """What is active on real money is taken as established only of the commit that somebody named."""
    active = [
        one.record.id
        for one in evaluations
        if one.record is not None
        and one.record.mode is Mode.ACTIVE
        and accounts.is_real(one.record.identity.account_id)
    ]
    if not active or trust == commit:
        return ""
    what = f"active on real money: {some(active, 5)}"
    named = f"was {trust}" if trust else "was none"
    return f"--adopt: expected a trusted commit, {named}; in {commit} {what}: look at it, then --trust {commit}"


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
