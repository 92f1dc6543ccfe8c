"""The follower: commits → rows. An observer whose source is a branch: what is merged is walked, commit by commit.

What descends from what is applied is applied; whatever else is seen is held: of it nothing is in force but what is
lower or stricter than what is applied.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.clock import Clock, iso
from reconciler.control.observer import Observer
from reconciler.control.trail import Brake, Hold, Start, Trail, halts_at, lowerings, walked
from reconciler.errors import Problem, SourceError
from reconciler.records.admission import Admission, Arrival, Removal, admit, removal_digest
from reconciler.records.crosscheck import template_problems
from reconciler.records.evaluation import Evaluation
from reconciler.records.followed import CHECKING, Followed
from reconciler.records.halt import Halt, but_for, read_halts, shortened
from reconciler.records.mode import Mode, lowers
from reconciler.records.record import Row, RowChange
from reconciler.records.snapshot import Snapshot, SourceFile, named_id
from reconciler.records.walk import CommitWalk, Step, lowest
from reconciler.sources.layout import HALT_PATHS

log = logging.getLogger(__name__)

WAITING: Final = "code of a commit before it is being imported"


@dataclass(frozen=True, slots=True)
class _Look:
    """What is to be in force: `target` is to be applied, by `steps`, or by one leap where nothing led there; `held` is
    not, for a reason."""

    target: str
    snapshot: Snapshot
    steps: Sequence[Step] = ()
    is_leap: bool = False
    held: str | None = None
    why: str = ""


class Follower(Observer):
    """As an observer, of a branch. One thread uses it."""

    def __init__(self, trail: Trail, clock: Clock, *parts: Any) -> None:
        """`parts` are an observer's own, after its source: that is the trail."""
        super().__init__(clock, None, *parts)
        self._trail = trail
        self._followed = trail.progress.followed() or Followed.of(trail.pinned)
        self._seen: str | None = None
        self._hold = Hold(trail)
        self._adopted: frozenset[str] = frozenset()
        self._stored: set[tuple[str, str]] = set()
        self._accepted: str | None = None
        self._brake = Brake()
        self.fleet = replace(self.fleet, lowered=self._followed.lowered)

    @property
    def is_loading_code(self) -> bool:
        """True while signatures are being checked, too: what is then to be loaded nobody knows yet."""
        return super().is_loading_code or self._is_checking

    @property
    def _is_checking(self) -> bool:
        return self._followed.held_why == CHECKING

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
            self._lower_first(seen, at)
            look = self._look(seen)
            return self._take(look, seen, at)
        except SourceError as error:
            self._tell_source_error(str(error))
            braked = self._brake.upon(self._followed)
            if braked != self._followed:
                self._trail.progress.keep(braked)
                self._followed = braked
            self.fleet = replace(self.fleet, source_error=str(error), lowered=braked.lowered, followed=braked)
            return frozenset()

    @property
    def _has_news(self) -> bool:
        unchecked = self._is_checking or not self._hold.is_certain
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

    # What is in force before anything is known but the newest commit itself.

    def _lower_first(self, seen: str | None, at: str) -> None:
        """Halts and lower modes wait for nothing: no signature, no code, and no commit in between that is damaged."""
        if self._snapshot is None:
            self._halt_first(at)
        self._brake = brake = Brake()
        if seen is None or (seen == self._followed.applied and self._snapshot is not None):
            return
        try:
            brake = halts_at(self._trail.branch, seen, self._snapshot, at)
        except SourceError as error:
            log.warning("the newest commit cannot be read", extra={"error": str(error)})  # who needs more of it tells
        self._halt_more(brake, seen)
        if brake.head is not None:
            arrival = Arrival(at, seen, whole=False)
            lowered = lowerings(brake.head, self._snapshot, self.fleet.evaluations, self.fleet.rows, arrival)
            brake = replace(brake, lowered=lowered)
            self._close_gates(Admission(lowered, (), (), Removal()))
        self._brake = brake

    def _halt_first(self, at: str) -> None:
        """What was halted when the process before this one ended is halted, whatever can be read by now."""
        applied, found = self._followed.applied, Brake(self._followed.halts)
        self._halt_more(found, applied or "")
        if applied is None:
            return
        try:
            found = halts_at(self._trail.branch, applied, None, at)
        except SourceError as error:
            told = f"what is applied cannot be read, so that nobody knows what it halts: {error}"
            found = Brake((Halt("all", "", True, shortened(told), HALT_PATHS[0], at),))
        self._halt_more(found, applied)
        if found.head is not None:
            self._begin(found.head)

    def _halt_more(self, brake: Brake, commit: str) -> None:
        known, problems = self._halt_watch.declared, (*self._halt_watch.problems, *brake.problems)
        self._declare((*known, *but_for(known, brake.halts)), tuple(dict.fromkeys(problems)), commit)

    # What is to be in force.

    def _look(self, seen: str | None) -> _Look:
        branch, followed = self._trail.branch, self._followed
        applied = followed.applied
        if applied is None:
            if seen is None:
                mend = "push it, or name another with --branch"
                raise SourceError(f"{self._trail.pinned}: expected a branch, found none; {mend}")
            if why := self._hold.why_unsigned(followed, seen, self._clock.time()):
                raise SourceError(f"the first commit would be {seen[:10]}, and signatures are required: {why}")
            return _Look(seen, branch.snapshot(seen), is_leap=True)
        if self._snapshot is None:
            self._begin(branch.snapshot(applied))
        assert self._snapshot is not None
        if seen == applied:
            return _Look(applied, self._snapshot)
        branch.refuse_shallow()
        why = self._hold.why_held(followed, seen, self._clock.time())
        if why and why != CHECKING and seen is not None and seen in (followed.accepted, self._accepted):
            why = ""
        if not why and seen is not None:
            snapshot = self._brake.head or branch.snapshot(seen, self._snapshot)
            if branch.descends(applied, seen):
                return _Look(seen, snapshot, branch.steps(applied, seen, self._snapshot))
            return _Look(seen, snapshot, is_leap=True)
        return _Look(applied, self._snapshot, held=seen or "", why=why)

    def _begin(self, snapshot: Snapshot) -> None:
        """What this process has to know of what was applied before it began."""
        self._catalogue.schemas.update(self._trail.progress.schemas())
        self._stored.update(self._catalogue.schemas)
        self._snapshot = snapshot
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
        declared = self._halt_watch.declared
        self._declare((*declared, *but_for(declared, halts)), problems, look.target)
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
        if arrival.adopt and (why := self.distrusted(evaluations, look.target)):
            raise SourceError(why)
        if look.is_leap:
            waiting = frozenset(named_id(one.path) for one in evaluations if one.waiting)
            walk.behind.update(dict.fromkeys(waiting, look.target))
            self._adopted = waiting if arrival.adopt else frozenset()
        shown = [one.held_up(WAITING) if named_id(one.path) in walk.behind else one for one in evaluations]
        admission = admit(shown, walk.rows, self.fleet.attempts, arrival)
        said = [one for one in admission.changes if look.is_leap or not _lifts(one, walk.rows)]
        allowed = [one for one in said if one.row.id not in walk.behind]
        lower = self._lower_meanwhile(look, walk, said)
        changes = [*walk.changes, *allowed]
        rows = {**walk.rows, **{one.row.id: one.row for one in allowed}}
        removal, removed = self._removal(admission.removal, look, rows, walk.behind, at)
        changes += removed
        rows.update((one.row.id, one.row) for one in removed)
        changes += self._lowered(look, {i: row for i, row in rows.items() if i not in walk.behind}, at)
        last = {one.row.id: one for one in (*changes, *(one for one in said if one.row.id in walk.behind))}
        self._close_gates(replace(admission, changes=tuple(last.values())))
        followed = replace(self._moved(look, seen, at, left), behind=dict(walk.behind), lowered=lower)
        self._write(followed, look, changes, admission, removal, evaluations, at)
        self._declare(halts, problems, look.target)
        self._seen = seen
        return frozenset(change.row.id for change in changes).union(
            attempt.id for attempt in admission.attempts if attempt.id is not None
        )

    def _walked(self, look: _Look, at: str) -> CommitWalk:
        if look.is_leap or self._snapshot is None:
            return CommitWalk(self.fleet.rows, self._judged, at)
        start = Start(self._followed, self._snapshot, self.fleet.rows, self.fleet.evaluations, self._adopted)
        return walked(self._trail, start, look.steps, self._judged, at)

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

    def _lower_meanwhile(self, look: _Look, walk: CommitWalk, changes: Sequence[RowChange]) -> Mapping[str, Mode]:
        """What is in force below the rows: of a commit that is being checked, and of names whose code is not there yet:
        a row says so only once it was led there."""
        told = {one.row.id: one.row.mode for one in changes if one.row.id in walk.behind}
        before = self._brake.upon(self._followed).lowered
        if look.why != CHECKING:
            before = {name: mode for name, mode in before.items() if name in walk.behind}
        return lowest(before, walk.lowered, told)

    def _lowered(self, look: _Look, rows: Mapping[str, Row], at: str) -> list[RowChange]:
        """What a commit that is not applied says is lower is lowered, and stays so; what is being checked may yet be
        applied, and is in force without being a change of its own."""
        if look.target != self._followed.applied or look.why == CHECKING:
            return []
        held = f"{look.held[:10]}, which is held" if look.held else "a commit that was seen and is gone"
        before, changes = self._followed, []
        of_commits = {name: mode for name, mode in before.lowered.items() if name not in before.behind}
        for name, mode in self._brake.upon(replace(before, lowered=of_commits)).lowered.items():
            row = rows.get(name)
            if row is not None and row.is_live and lowers(row.mode, mode):
                told = f"mode: {row.mode} → {mode}, nothing else of the file is applied, by {held}"
                changes.append(RowChange(replace(row.lowered(mode), applied_at=at), "lowered", told))
        return changes

    # Halts.

    def _halts_of(self, look: _Look, at: str) -> tuple[tuple[Halt, ...], tuple[Problem, ...], tuple[Halt, ...]]:
        """Those to be in force, what is wrong with their files, and those of held commits, which stay for now."""
        applied, problems = read_halts(look.snapshot.halt, at)
        left: tuple[Halt, ...] = ()
        if look.target == self._followed.applied:
            left, problems = self._brake.upon(self._followed).halts, (*problems, *self._brake.problems)
        return (*applied, *but_for(applied, left)), problems, left

    def _declare(self, halts: tuple[Halt, ...], problems: tuple[Problem, ...], commit: str) -> None:
        before = self._halt_watch.declared
        kept = tuple(next((old for old in before if old.said == one.said), one) for one in halts)
        if (before, self._halt_watch.problems) != (kept, problems):
            self._halt_watch.put(kept, problems)
            self._host.settle()
            self._chronicle.declared(before, kept, f"commit {commit[:10]}")

    # Writing it down.

    def _moved(self, look: _Look, seen: str | None, at: str, left: tuple[Halt, ...]) -> Followed:
        before = self._followed
        has_moved = look.target != before.applied
        held = look.held if look.why else None
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
            first_seen={} if held is None else self._hold.first_seen(before, held, at),
        )

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
            job = trail.progress.job(followed, self._hold.signed(commits), schemas)
            judged_by = self._judgements([change.row for change in written], evaluations)
            self._desired.apply(written, admission.attempts, admission.forgotten_paths, job, judged_by)
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
            lowered=followed.lowered,
        )
        self._seal(evaluations)


def _lifts(change: RowChange, rows: Mapping[str, Row]) -> bool:
    """True where it would raise what was lowered, though no commit has said so since."""
    row = rows.get(change.row.id)
    return row is not None and row.mode_override is not None and lowers(change.row.mode, row.mode)
