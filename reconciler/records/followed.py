"""What an engine follows, and how far it has come: what its database keeps of its source. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from reconciler.errors import ReconcilerError
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode

SourceKind = Literal["worktree", "git"]

CHECKING: Final = "its signatures are being checked"
"""Why a commit is held that nobody can say anything of yet."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """What is followed: another value is another source. `remote` is None where the branch is of the repository itself;
    both are None of a work tree."""

    kind: SourceKind
    remote: str | None = None
    branch: str | None = None

    def __str__(self) -> str:
        """`the work tree`, `branch main`, `branch main of origin`."""
        if self.kind == "worktree":
            return "the work tree"
        return f"branch {self.branch}" if self.remote is None else f"branch {self.branch} of {self.remote}"

    @property
    def options(self) -> str:
        """As a command line says it: `--source git --branch main`, with `--remote origin` where there is one."""
        named = (("branch", self.branch), ("remote", self.remote))
        return " ".join(
            (f"--source {self.kind}", *(f"--{name} {shlex.quote(value)}" for name, value in named if value))
        )


@dataclass(frozen=True, slots=True)
class Followed:
    """Commits are ids, times ISO 8601. Of a work tree, `kind` is all there is.

    `first` is the commit that was applied first, `applied` the last one, `seen` where the branch is. `held` is the
    commit that is not applied, for `held_why`: empty where the branch is gone, None where nothing is held. `accepted`
    is one that an operator said is to be taken. `halts` are of commits that were held; they last until another commit
    is applied. `lowered` are modes of one that nothing else is known of yet: they are in force, and no row says so.
    `behind` are names that wait for code, with the commit at which they do. `first_seen` are commits that are not
    applied, with when they were seen first: keys must have been good then. `unreachable` says why the remote
    could not be asked, empty where it could.
    """

    kind: SourceKind
    remote: str | None = None
    branch: str | None = None
    first: str | None = None
    applied: str | None = None
    applied_at: str | None = None
    seen: str | None = None
    seen_at: str | None = None
    held: str | None = None
    held_why: str = ""
    held_at: str | None = None
    accepted: str | None = None
    halts: tuple[Halt, ...] = ()
    lowered: Mapping[str, Mode] = field(default_factory=dict)
    behind: Mapping[str, str] = field(default_factory=dict)
    first_seen: Mapping[str, str] = field(default_factory=dict)
    unreachable: str = ""
    unreachable_since: str | None = None

    @classmethod
    def of(cls, pinned: Pinned) -> Followed:
        """Nothing applied yet."""
        return cls(pinned.kind, pinned.remote, pinned.branch)

    @property
    def note(self) -> str:
        """What to tell people: that a commit is held, or the remote does not answer; empty where all is well."""
        told = []
        if self.held is not None:
            told.append(f"commit {self.held[:10]} is held: {self.held_why}" if self.held else self.held_why)
        if self.unreachable:
            told.append(f"{self.pinned} was not reached since {self.unreachable_since}: {self.unreachable}")
        return "; ".join(told)

    @property
    def pinned(self) -> Pinned:
        return Pinned(self.kind, self.remote, self.branch)

    def to_json(self, commit: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """What `/api/v1/source` answers; `commit` has what is known of commits, by id."""

        def told(revision: str | None, at: str | None) -> dict[str, Any] | None:
            if not revision:
                return None
            return {**commit.get(revision, {}), "commit": revision, "at": at}

        held = None
        if self.held is not None:
            held = {**(told(self.held, self.held_at) or {"commit": None, "at": self.held_at}), "why": self.held_why}
        return {
            "kind": self.kind,
            "branch": self.branch,
            "remote": self.remote,
            "first": self.first,
            "applied": told(self.applied, self.applied_at),
            "seen": told(self.seen, self.seen_at),
            "held": held,
            "unreachable_since": self.unreachable_since,
            "unreachable": self.unreachable,
        }


def refuse_other(followed: Followed | None, wanted: Pinned) -> None:
    """Raises ReconcilerError where the database follows something else."""
    if followed is not None and followed.pinned != wanted:
        raise ReconcilerError(
            f"the engine of this database follows {followed.pinned}, and {wanted} is asked for: put that back, or say "
            f"that it is meant: reconciler source switch {wanted.options} --reason …"
        )
