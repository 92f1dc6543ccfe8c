"""The follower: commits → rows. An observer whose source is a branch: what is merged is walked, commit by commit.

What descends from what is applied is applied; whatever else is seen is held: of it nothing is in force but what is
lower or stricter than what is applied.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.clock import Clock, from_iso, iso
from reconciler.control.observer import Observer
from reconciler.control.trail import Trail
from reconciler.errors import SourceError
from reconciler.records.admission import Admission, Arrival, Removal, admit, removal_digest
from reconciler.records.change import MergedChange
from reconciler.records.crosscheck import template_problems
from reconciler.records.evaluation import Evaluation
from reconciler.records.followed import Followed
from reconciler.records.halt import Halt, but_for, read_halts
from reconciler.records.mode import lowers
from reconciler.records.record import Row, RowChange
from reconciler.records.snapshot import Snapshot, SourceFile, named_id
from reconciler.records.walk import CommitWalk, Step, moment
from reconciler.sources.signatures import SignedRange

log = logging.getLogger(__name__)

WAITING: Final = "code of a commit before it is being imported"
_REMEMBERED: Final = 10_000
"""Of so many commits that are held, the newest, it is kept when they were first seen."""


@dataclass(frozen=True, slots=True)
class _Look:
    """What is to be in force: `target` is to be applied, by `steps`, or by one leap where nothing led there; `held` is
    not, for a reason."""

    target: str
    snapshot: Snapshot
    steps: Sequence[Step] = ()
    is_leap: bool = False
    held: Snapshot | None = None
    held_commit: str | None = None
    why: str = ""


class Follower(Observer):
    """As an observer, of a branch. One thread uses it."""

    def __init__(self, trail: Trail, clock: Clock, *parts: Any) -> None:
        """`parts` are an observer's own, after its source: that is the trail."""
        super().__init__(clock, None, *parts)
        self._trail = trail
        self._followed = trail.progress.followed() or Followed.of(trail.pinned)
        self._seen: str | None = None
        self._checked: SignedRange | None = None
        self._adopted: frozenset[str] = frozenset()
        self._stored: set[tuple[str, str]] = set()
        self._accepted: str | None = None

    def observe(self) -> frozenset[str]:
        """Look at the branch; returns the ids of which something has changed. Raises StoreError."""
        with self._trail.spared():
            return self._observe(iso(self._clock.time()))

    def accept(self, commit: str) -> str:
        """Take exactly this commit, which is held, at the next pass. Why not, empty where it will be. Thread-safe."""
        held = self._followed.held
        if not held or held != commit:
            return f"expected {held}, which is held" if held else "no commit is held"
        self._trail.progress.accept(commit)
        self._accepted = commit
        return ""

    def _observe(self, at: str) -> frozenset[str]:
        self._note_reach(at)
        try:
            seen = self._trail.branch.position()
            if self._snapshot is not None and seen == self._seen and not self._has_news:
                return self._write_back(at)
            look = self._look(seen)
            return self._take(look, seen, at)
        except SourceError as error:
            self._tell_source_error(str(error))
            self.fleet = replace(self.fleet, source_error=str(error))
            return frozenset()

    @property
    def _has_news(self) -> bool:
        unchecked = self._checked is not None and not self._checked.is_certain
        is_asked = self._accepted is not None or bool(self.absence.confirmed)
        return bool(is_asked or self._catalogue.has_news or self.fleet.source_error or unchecked)

    def _note_reach(self, at: str) -> None:
        """Whether the remote answers; what is applied stays either way."""
        fault, before = self._trail.unreachable(), self._followed
        if fault == before.unreachable:
            return
        since = (before.unreachable_since or at) if fault else None
        self._followed = replace(before, unreachable=fault, unreachable_since=since)
        self._trail.progress.keep(self._followed)
        self._chronicle.reached(fault)
        self.fleet = replace(self.fleet, followed=self._followed)

    # What is to be in force.

    def _look(self, seen: str | None) -> _Look:
        branch, followed = self._trail.branch, self._followed
        applied = followed.applied
        if applied is None:
            if seen is None:
                mend = "push it, or name another with --branch"
                raise SourceError(f"{self._trail.pinned}: expected a branch, found none; {mend}")
            if why := self._why_unsigned(None, seen):
                raise SourceError(f"the first commit would be {seen[:10]}, and signatures are required: {why}")
            return _Look(seen, branch.snapshot(seen), is_leap=True)
        if self._snapshot is None:
            self._begin(applied)
        assert self._snapshot is not None
        if seen == applied:
            return _Look(applied, self._snapshot)
        branch.refuse_shallow()
        why = self._why_held(applied, seen)
        if why and seen is not None and seen in (followed.accepted, self._accepted):
            why = ""
        if not why and seen is not None:
            snapshot = branch.snapshot(seen, self._snapshot)
            if branch.descends(applied, seen):
                return _Look(seen, snapshot, branch.steps(applied, seen, self._snapshot))
            return _Look(seen, snapshot, is_leap=True)
        held = None if seen is None else branch.snapshot(seen, self._snapshot)
        return _Look(applied, self._snapshot, held=held, held_commit=seen or "", why=why)

    def _why_held(self, applied: str, seen: str | None) -> str:
        branch = self._trail.branch
        if seen is None:
            return "the branch is gone"
        if not branch.has(applied):
            return f"what is applied, {applied[:10]}, is not in this repository any more"
        if not branch.descends(applied, seen):
            return f"it does not descend from what is applied, {applied[:10]}: the branch was moved"
        return self._why_unsigned(applied, seen)

    def _why_unsigned(self, applied: str | None, seen: str) -> str:
        """Empty where signatures are not required, too. A range is judged once, or until somebody could."""
        signatures, known = self._trail.signatures, self._checked
        if signatures is None:
            return ""
        if known is None or not known.is_certain or (known.applied, known.new) != (applied or "", seen):
            first_seen = {commit: from_iso(at) for commit, at in self._followed.first_seen.items()}
            known = self._checked = signatures.check(applied, seen, first_seen, self._clock.time())
        return known.held

    def _begin(self, applied: str) -> None:
        """What this process has to know of what was applied before it began."""
        self._catalogue.schemas.update(self._trail.progress.schemas())
        self._stored.update(self._catalogue.schemas)
        snapshot = self._snapshot = self._trail.branch.snapshot(applied)
        self._recall_code(snapshot)
        self._catalogue.refresh(snapshot.strategies)
        self.fleet = replace(self.fleet, evaluations=self._evaluate(snapshot, self._catalogue))

    def _recall_code(self, snapshot: Snapshot) -> None:
        """Of what a refused change left as it was, the code is not that of the commit: its digest is a blob's id."""
        current = {file.digest for file in snapshot.strategies}
        for row in self.fleet.rows.values():
            if row.is_live and row.code_digest not in current and self.definition(row) is None:
                path = f"strategies/{row.record.strategy_type}.py"
                try:
                    data = self._trail.branch.blob(row.code_digest, path)
                except SourceError as error:
                    log.warning("code is not at hand", extra={"instance": row.id, "error": str(error)})
                else:
                    self._catalogue.recall(row.record.strategy_type, SourceFile(path, data, row.code_digest, True))

    # Putting it in force.

    def _take(self, look: _Look, seen: str | None, at: str) -> frozenset[str]:
        snapshot = look.snapshot
        halts, problems, left = self._halts_of(look, at)
        self._declare(tuple(dict.fromkeys((*self._halt_watch.declared, *halts))), problems, snapshot)
        arrival = Arrival(
            at=at,
            revision=look.target,
            whole=snapshot.whole,
            not_whole=snapshot.not_whole,
            settled=frozenset(self.fleet.rows) if look.is_leap else frozenset(),
            adopt=self._adopt and look.is_leap,
            confirmed_removal=self.absence.confirmed,
        )
        self._follow_code(snapshot, arrival)
        walk = self._walked(look, at)
        if self._catalogue.is_asked:
            self._catalogue.refresh(snapshot.strategies)
            walk = self._walked(look, at)
        evaluations = self._evaluate(snapshot, self._catalogue)
        if arrival.adopt and (why := self._trail.distrusted(evaluations, look.target)):
            raise SourceError(why)
        if look.is_leap:
            waiting = frozenset(named_id(one.path) for one in evaluations if one.waiting)
            walk.behind.update(dict.fromkeys(waiting, look.target))
            self._adopted = waiting if arrival.adopt else frozenset()
        shown = [one.held_up(WAITING) if named_id(one.path) in walk.behind else one for one in evaluations]
        admission = admit(shown, walk.rows, self.fleet.attempts, arrival)
        allowed = [one for one in admission.changes if look.is_leap or not _lifts(one, walk.rows)]
        changes = [*walk.changes, *allowed]
        rows = {**walk.rows, **{one.row.id: one.row for one in allowed}}
        removal, removed = self._removal(admission.removal, look, rows, walk.behind, at)
        changes += removed
        rows.update((one.row.id, one.row) for one in removed)
        changes += self._lowered(look, rows, at)
        self._close_gates(replace(admission, changes=tuple({one.row.id: one for one in changes}.values())))
        followed = self._moved(look, seen, at, walk.behind, left)
        self._write(followed, look, changes, admission, removal, evaluations, at)
        self._declare(halts, problems, snapshot)
        self._seen = seen
        return frozenset(change.row.id for change in changes).union(
            attempt.id for attempt in admission.attempts if attempt.id is not None
        )

    def _walked(self, look: _Look, at: str) -> CommitWalk:
        walk = CommitWalk(self.fleet.rows, self._judged, at)
        if look.is_leap or self._snapshot is None:
            return walk
        applied = self._followed.applied
        assert applied is not None
        for commit in sorted(set(self._followed.behind.values())):
            names = frozenset(name for name, at_commit in self._followed.behind.items() if at_commit == commit)
            self._catch_up(walk, commit, names, applied, at)
        if look.steps:
            walk.stand(self.fleet.evaluations, self._snapshot.instances, self._moment(applied, self._snapshot))
            walk.follow(look.steps)
        return walk

    def _catch_up(self, walk: CommitWalk, commit: str, names: frozenset[str], applied: str, at: str) -> None:
        """Lead names that waited for code at a commit as far as the others were led meanwhile."""
        assert self._snapshot is not None
        then = self._snapshot if commit == applied else self._trail.branch.snapshot(commit, self._snapshot)
        state = self._moment(commit, then)
        evaluations = self._judged(then.instances, state)
        own = [one for one in evaluations if named_id(one.path) in names]
        waiting = {named_id(one.path) for one in own if one.waiting}
        walk.behind.update(dict.fromkeys(waiting, commit))
        free = names - waiting
        inner = CommitWalk(walk.rows, self._judged, at)
        inner.stand(evaluations, [file for file in then.instances if named_id(file.path) in free], state)
        for name in sorted(free):
            inner.arrive([one for one in own if named_id(one.path) == name], commit, is_first=name in self._adopted)
        steps = () if commit == applied else self._trail.branch.steps(commit, applied, then)
        inner.follow(step.only(free) for step in steps)
        walk.take(inner)

    def _moment(self, commit: str, snapshot: Snapshot) -> Step:
        return moment(commit, snapshot, self._trail.branch.settings(commit))

    def _judged(self, files: Sequence[SourceFile], step: Step) -> Sequence[Evaluation]:
        return self._trail.judge(files, step, self._catalogue.facts_at(step.strategies))

    def _removal(
        self, found: Removal, look: _Look, rows: Mapping[str, Row], behind: Mapping[str, str], at: str
    ) -> tuple[Removal, list[RowChange]]:
        """What became of those without a file: too many went in one commit, and wait until somebody confirms them."""
        if look.is_leap:
            return found, []
        missing = sorted({*found.waiting, *found.held} - behind.keys())
        if not missing:
            return Removal(protected=found.protected), []
        digest = removal_digest(missing)
        if digest == self.absence.confirmed:
            return Removal(protected=found.protected), [
                RowChange(replace(rows[i], removed_at=at, applied_at=at), "removed", "its file was removed")
                for i in missing
            ]
        why = "its commit took too many away at once"
        return Removal(protected=found.protected, held=tuple(missing), held_digest=digest, held_why=why), []

    def _lowered(self, look: _Look, rows: Mapping[str, Row], at: str) -> list[RowChange]:
        """What a held commit says is lower than what is applied is lowered, and stays so."""
        if look.held is None:
            return []
        evaluations = self._trail.judge(look.held.instances, self._moment(look.held_commit or "", look.held), {})
        admission = admit(evaluations, rows, {}, Arrival(at, look.held_commit, whole=False))
        by = f"by {(look.held_commit or '')[:10]}, which is held"
        return [replace(one, summary=f"{one.summary}, {by}") for one in admission.changes if one.kind == "lowered"]

    # Halts.

    def _halts_of(self, look: _Look, at: str) -> tuple[tuple[Halt, ...], tuple[Any, ...], tuple[Halt, ...]]:
        """Those to be in force, what is wrong with their files, and those of held commits, which stay for now."""
        applied, problems = read_halts(look.snapshot.halt, at)
        left = self._followed.halts if look.target == self._followed.applied else ()
        if look.held is not None:
            held, more = read_halts(look.held.halt, at)
            left, problems = tuple(dict.fromkeys((*left, *but_for(left, held)))), (*problems, *more)
        return (*applied, *but_for(applied, left)), problems, left

    def _declare(self, halts: tuple[Halt, ...], problems: tuple[Any, ...], snapshot: Snapshot) -> None:
        before = self._halt_watch.declared
        kept = tuple(next((old for old in before if old.said == one.said), one) for one in halts)
        if (before, self._halt_watch.problems) != (kept, problems):
            self._halt_watch.put(kept, problems)
            self._host.settle()
            self._chronicle.declared(before, kept, f"commit {(snapshot.revision or '')[:10]}")

    # Writing it down.

    def _moved(
        self, look: _Look, seen: str | None, at: str, behind: Mapping[str, str], left: tuple[Halt, ...]
    ) -> Followed:
        before = self._followed
        has_moved = look.target != before.applied
        held = look.held_commit if look.why else None
        is_same_hold = held == before.held and look.why == before.held_why
        return replace(
            before,
            first=before.first or look.target,
            applied=look.target,
            applied_at=at if has_moved else before.applied_at,
            seen=seen,
            seen_at=before.seen_at if seen == before.seen else at,
            held=held,
            held_why=look.why,
            held_at=None if held is None else before.held_at if is_same_hold else at,
            accepted=None if has_moved else self._accepted or before.accepted,
            halts=left,
            behind=dict(behind),
            first_seen={} if held is None else self._first_seen(held, at),
        )

    def _first_seen(self, held: str, at: str) -> Mapping[str, str]:
        """Of what is held, when each commit was seen first; what it was judged by then stays so."""
        before, checked = self._followed.first_seen, self._checked
        if checked is None or checked.new != held:
            return before
        return {one.raw.commit: before.get(one.raw.commit, at) for one in checked.commits[-_REMEMBERED:]}

    def _signed(self, commits: Mapping[str, MergedChange]) -> Mapping[str, MergedChange]:
        if self._checked is None:
            return commits
        known = {one.raw.commit: one.signed_by for one in self._checked.commits}
        return {commit: replace(one, signed_by=known.get(commit)) for commit, one in commits.items()}

    def _write(
        self,
        followed: Followed,
        look: _Look,
        changes: Sequence[RowChange],
        admission: Admission,
        removal: Removal,
        evaluations: Sequence[Evaluation],
        at: str,
    ) -> None:
        trail, snapshot = self._trail, look.snapshot
        drift = self._drift.changes(self.fleet.rows, at)
        written = (*drift, *changes)
        schemas = {key: one for key, one in self._catalogue.schemas.items() if key not in self._stored}
        if written or admission.attempts or admission.forgotten_paths or schemas or followed != self._followed:
            walked = {step.commit for step in look.steps} & {change.row.revision for change in changes}
            shown = filter(None, (followed.applied, followed.seen, followed.held))
            commits = trail.branch.commits(sorted({*walked, *shown}))
            job = trail.progress.job(followed, self._signed(commits), schemas)
            self._desired.apply(written, admission.attempts, admission.forgotten_paths, job)
        self._stored.update(schemas)
        self._drift.settled()
        if followed.applied is not None:
            trail.branch.keep(followed.applied)
        self._chronicle.followed(self._followed, followed)
        self._followed, self._accepted = followed, None
        if snapshot.whole:
            self._adopt = False
            self.absence.confirmed = ""
        self._chronicle.admitted(written, admission.attempts, removal, self.fleet.removal)
        if snapshot.lost:
            self._tell_source_error(snapshot.lost)
        self._snapshot = snapshot
        fleet = self.fleet.after(written, admission.attempts, admission.forgotten_paths)
        self.fleet = replace(
            fleet,
            evaluations=evaluations,
            halt_problems=(*self._halt_watch.problems, *self._strange_halts(snapshot, fleet)),
            template_problems=template_problems(snapshot.templates, evaluations),
            removal=removal,
            revision=snapshot.revision,
            head=trail.progress.commit(look.target),
            clean=snapshot.clean,
            not_whole=snapshot.not_whole,
            source_error=snapshot.lost,
            observed=True,
            followed=followed,
        )


def _lifts(change: RowChange, rows: Mapping[str, Row]) -> bool:
    """True where it would raise what was lowered, though no commit has said so since."""
    row = rows.get(change.row.id)
    return row is not None and row.mode_override is not None and lowers(change.row.mode, row.mode)
