"""What an operator may tell a running engine. The controller provides `Commands`; the control socket calls it.

Every command names the uid that gave it and, where it changes what trades, a reason: both are recorded.
"""

from __future__ import annotations

import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reconciler.records.correction import Correction, Shares
from reconciler.records.verdict import Verdict


def named(uid: int) -> str:
    """The operator as people read it, `ada, uid 1000`: the name may belong to somebody else one day, the uid tells."""
    try:
        return f"{pwd.getpwuid(uid).pw_name}, uid {uid}"
    except KeyError:
        return f"uid {uid}"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What became of a command, id by id: `done` and `failed`, the latter with why. `note`: what else is to know."""

    done: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    note: str = ""

    @property
    def ok(self) -> bool:
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        failed = [{"id": id_, "message": why} for id_, why in self.failed]
        return {"done": list(self.done), "failed": failed, **({"note": self.note} if self.note else {})}


@dataclass(frozen=True, slots=True)
class PruneState:
    """The removals that are held: their ids, and the digest that confirms exactly that set. Empty where none is."""

    digest: str = ""
    held: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"digest": self.digest, "held": list(self.held)}


class Commands(Protocol):
    """Called on worker threads; may block for as long as a lock is held, never for a hook to end."""

    def pause(self, ids: Sequence[str] | None, reason: str, uid: int) -> CommandResult:
        """Stop ticks and trading of these instances, or of all (None), until resumed or restarted."""
        ...

    def resume(self, ids: Sequence[str] | None, reason: str, uid: int) -> CommandResult:
        """End a pause, an operator's or the engine's own."""
        ...

    def halt(self, scope: str, id: str, full: bool, reason: str, uid: int) -> CommandResult:
        """Allow no new exposure in `scope` (all, account, instance); `full` stops cancels and reductions too."""
        ...

    def unhalt(self, scope: str, id: str, reason: str, uid: int) -> CommandResult:
        """End a halt of exactly that scope and id."""
        ...

    def resolve(self, client_order_id: str, verdict: Verdict, uid: int) -> CommandResult:
        """Write down what the operator says became of an order that cannot be looked up."""
        ...

    def correct(self, instance_id: str, correction: Correction, uid: int) -> CommandResult:
        """Write down what the operator says an instance holds: its book is put right."""
        ...

    def settle(self, account: str, shares: Shares, uid: int) -> CommandResult:
        """Write down whose is what an account holds, and let it trade on: its ledger lost rows."""
        ...

    def accept_tools(self, server: str, reason: str, uid: int) -> CommandResult:
        """Trade again through an exec-mcp server whose tools changed: somebody has looked at them."""
        ...

    def note_placing(self, account: str, order: str, reason: str, uid: int) -> CommandResult:
        """Write down that an operator places `order` by hand, past the gateway; committed on return."""
        ...

    def prune(self) -> PruneState:
        """The removals that wait for confirmation."""
        ...

    def confirm_prune(self, digest: str, reason: str, uid: int) -> CommandResult:
        """Carry out the held removals, if `digest` still names exactly that set. `reason` may be empty."""
        ...

    def forget_beats(self, reason: str, uid: int) -> CommandResult:
        """The clock is right now: wait no more for beats that fired while it was ahead. None fires twice."""
        ...

    def full_pass(self) -> None:
        """Read and compare everything now, as SIGHUP does. Returns at once."""
        ...
