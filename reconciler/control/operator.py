"""The operator's commands, carried out: pause, halt, resolve an order, prune. Each is recorded with who and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, cast

from reconciler.control.chronicle import Bookkeeping, covers_nothing, named
from reconciler.control.controller import Controller
from reconciler.errors import CannotDrill, CapabilityUnavailable, ExecError
from reconciler.orders.news import Correction, Shares, Verdict
from reconciler.orders.order import Order, Outcome
from reconciler.records.cadence import NOTHING_AHEAD, BeatRun
from reconciler.records.halt import Halt, HaltScope
from reconciler.runtime.host import Host
from reconciler.store.halts import HaltNotStored, Halts


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

    def halt(self, wanted: Halt, uid: int) -> CommandResult:
        """Put it in force, in the operator's name: `by` and `at` of what is wanted are empty."""
        ...

    def cancel(self, client_order_id: str, reason: str, uid: int) -> CommandResult:
        """Cancel one order of whichever instance, under a full halt, too."""
        ...

    def drill(self, account: str, takes: bool, reason: str, uid: int) -> CommandResult:
        """Place a small order on an account of paper money, which fills at once (`takes`) or rests."""
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

    def mark(self, instance_id: str, price: Decimal, reason: str, uid: int) -> CommandResult:
        """Write down what the operator says one unit of what an instance holds is worth, where there is no quote."""
        ...

    def lift_limit(self, scope: str, reason: str, uid: int) -> CommandResult:
        """Measure the drawdown of a scope from now on: it was reached, and somebody has looked."""
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

    def accept_commit(self, commit: str, reason: str, uid: int) -> CommandResult:
        """Have exactly this commit applied, which is held."""
        ...

    def full_pass(self) -> None:
        """Read and compare everything now, as SIGHUP does. Returns at once."""
        ...


class Verdicts(Protocol):
    """Where an operator's word on an order goes."""

    def resolve(self, client_order_id: str, verdict: Verdict) -> str:
        """Why it cannot be taken, empty where it was."""
        ...

    def settle(self, account_id: str, shares: Shares) -> str:
        """The same of what is said of all that an account holds."""
        ...

    def correct(self, instance_id: str, correction: Correction) -> str:
        """The same of what one instance holds."""
        ...

    def drill(self, account_id: str, *, takes: bool) -> Order:
        """Place a small order on paper money. Raises CannotDrill."""
        ...

    def cancel_by_hand(self, client_order_id: str) -> tuple[Order | None, str]:
        """Cancel it. The order as it is then, None where there is none; and why it was not cancelled, else empty."""
        ...

    def mark(self, instance_id: str, price: Decimal, reason: str, by: str) -> str:
        """The same of what it is worth."""
        ...

    def lift(self, scope: str) -> str:
        """The same of a drawdown that is lifted."""
        ...


class Heart(Protocol):
    """What fires the beats."""

    def forget(self) -> tuple[Sequence[BeatRun], float]:
        """Wait no more for what fired ahead of the clock: those runs, and when the next beat may fire."""
        ...


AcceptTools = Callable[[str], str]
"""Lets an exec-mcp server's changed tools be used from now on. Why it cannot, empty where it did."""


class _Refused(Exception):
    """A command that does not apply to this instance; the text says why."""


class Operator:
    """Implements `Commands` on the parts of a running engine. Thread-safe: each part is."""

    def __init__(
        self,
        controller: Controller,
        host: Host,
        halts: Halts,
        orders: Verdicts,
        accept_tools: AcceptTools,
        books: Bookkeeping,
        heart: Heart,
    ) -> None:
        self._controller = controller
        self._host = host
        self._halts = halts
        self._orders = orders
        self._accept_tools = accept_tools
        self._books = books
        self._heart = heart

    def pause(self, ids: Sequence[str] | None, reason: str, uid: int) -> CommandResult:
        return self._each(
            ids, lambda id_: self._host.pause(id_, "operator", reason), lambda id_: self._books.paused(id_, reason, uid)
        )

    def resume(self, ids: Sequence[str] | None, reason: str, uid: int) -> CommandResult:
        if ids is None:
            ids = sorted(id_ for id_, view in self._host.views().items() if view.paused)
            if not ids:
                return CommandResult(failed=(("all", "nothing is paused"),))
        return self._each(ids, self._resume_one, lambda id_: self._books.resumed(id_, reason, uid))

    def _resume_one(self, instance_id: str) -> None:
        view = self._host.views().get(instance_id)
        if view is not None and not view.paused:
            raise _Refused("it is not paused")
        self._host.resume(instance_id)
        self._controller.hint()  # one that was not loaded for what it did may be now

    def _each(
        self,
        ids: Sequence[str] | None,
        command: Callable[[str], None],
        write_down: Callable[[str], None],
    ) -> CommandResult:
        done: list[str] = []
        failed: list[tuple[str, str]] = []
        for instance_id in sorted(self._host.views()) if ids is None else ids:
            try:
                command(instance_id)
                done.append(instance_id)
            except KeyError:
                failed.append((instance_id, self._why_not_loaded(instance_id)))
            except _Refused as refused:
                failed.append((instance_id, str(refused)))
        for instance_id in done:  # all of it done before any of it is written: the database may make us wait
            write_down(instance_id)
        self._controller.hint()
        return CommandResult(tuple(done), tuple(failed))

    def _why_not_loaded(self, instance_id: str) -> str:
        row = self._controller.fleet.rows.get(instance_id)
        if row is None:
            return "there is no such instance; see: reconciler status"
        return "it is not loaded, so there is nothing to pause or resume"

    def halt(self, wanted: Halt, uid: int) -> CommandResult:
        id, note = wanted.id, ""
        try:
            self._halts.add(wanted.scope, id, wanted.full, wanted.reason, named(uid), wanted.cancel, wanted.collar)
        except HaltNotStored as error:
            if not error.kept:
                return CommandResult(failed=((id or "all", str(error)),))
            note = str(error)
        finally:
            # In force even where it could not be stored; an order already past its last look is waited for.
            self._host.settle()
            self._books.halted(wanted, uid)
            self._controller.hint()
        if strange := covers_nothing(wanted.scope, id, self._controller.fleet.rows):
            return CommandResult(failed=((id, strange),), note=note)
        return CommandResult(done=(id or "all",), note=note)

    def drill(self, account: str, takes: bool, reason: str, uid: int) -> CommandResult:
        try:
            order = self._orders.drill(account, takes=takes)
        except CannotDrill as error:
            return CommandResult(failed=((account, str(error)),))
        if order.outcome is not Outcome.ACCEPTED:
            return CommandResult(failed=((order.client_order_id, f"{order.outcome}: {order.reason}"),))
        self._books.placing(account, f"{order.client_order_id}, {order.side} {order.quantity}", reason, uid)
        return CommandResult(done=(order.client_order_id,), note=str(order.state))

    def unhalt(self, scope: str, id: str, reason: str, uid: int) -> CommandResult:
        fault = self._books.unhalt(cast(HaltScope, scope), id, reason, uid, self._halts.active())
        if fault:
            return CommandResult(failed=((id or "all", fault),))
        self._controller.hint()
        return CommandResult(done=(id or "all",))

    def cancel(self, client_order_id: str, reason: str, uid: int) -> CommandResult:
        order, fault = self._orders.cancel_by_hand(client_order_id)
        if order is not None:
            self._books.cancelled(order.instance_id, client_order_id, fault, reason, uid)
        if fault:
            return CommandResult(failed=((client_order_id, fault),))
        self._controller.hint()
        is_over = order is not None and not order.is_open
        note = "" if is_over else "the exchange took the cancel; how the order ended is looked up"
        return CommandResult(done=(client_order_id,), note=note)

    def resolve(self, client_order_id: str, verdict: Verdict, uid: int) -> CommandResult:
        fault = self._orders.resolve(client_order_id, verdict)
        if fault:
            return CommandResult(failed=((client_order_id, fault),))
        self._books.resolved(client_order_id, verdict, uid)
        self._controller.hint()
        return CommandResult(done=(client_order_id,))

    def correct(self, instance_id: str, correction: Correction, uid: int) -> CommandResult:
        fault = self._orders.correct(instance_id, correction)
        if fault:
            return CommandResult(failed=((instance_id, fault),))
        self._books.corrected(instance_id, correction, uid)
        self._controller.hint()
        return CommandResult(done=(instance_id,))

    def mark(self, instance_id: str, price: Decimal, reason: str, uid: int) -> CommandResult:
        fault = self._orders.mark(instance_id, price, reason, named(uid))
        if fault:
            return CommandResult(failed=((instance_id, fault),))
        self._books.marked(instance_id, price, reason, uid)
        self._controller.hint()
        return CommandResult(done=(instance_id,))

    def lift_limit(self, scope: str, reason: str, uid: int) -> CommandResult:
        fault = self._orders.lift(scope)
        if fault:
            return CommandResult(failed=((scope, fault),))
        self._books.limit_lifted(scope, reason, uid)
        self._controller.hint()
        return CommandResult(done=(scope,))

    def settle(self, account: str, shares: Shares, uid: int) -> CommandResult:
        try:
            fault = self._orders.settle(account, shares)
        except (ExecError, CapabilityUnavailable) as error:
            fault = f"what it holds cannot be looked at: {error}"
        if fault:
            return CommandResult(failed=((account, fault),))
        self._books.settled(account, shares, uid)
        self._controller.hint()
        return CommandResult(done=(account,))

    def accept_tools(self, server: str, reason: str, uid: int) -> CommandResult:
        fault = self._accept_tools(server)
        if fault:
            return CommandResult(failed=((server, fault),))
        self._books.tools_accepted(server, reason, uid)
        return CommandResult(done=(server,))

    def note_placing(self, account: str, order: str, reason: str, uid: int) -> CommandResult:
        self._books.placing(account, order, reason, uid)
        return CommandResult(done=(account,))

    def prune(self) -> PruneState:
        removal = self._controller.fleet.removal
        return PruneState(removal.held_digest, removal.held)

    def confirm_prune(self, digest: str, reason: str, uid: int) -> CommandResult:
        removal = self._controller.fleet.removal
        if not removal.held:
            return CommandResult(failed=((digest, "nothing is held"),))
        if digest != removal.held_digest:
            return CommandResult(
                failed=((digest, f"expected {removal.held_digest}, which stands for: {', '.join(removal.held)}"),)
            )
        self._books.prune_confirmed(removal.held, digest, reason, uid)
        self._controller.confirm_removal(digest)
        return CommandResult(done=removal.held)

    def forget_beats(self, reason: str, uid: int) -> CommandResult:
        forgotten, free_from_s = self._heart.forget()
        if not forgotten:
            return CommandResult(failed=(("beats", NOTHING_AHEAD),))
        told = self._books.beats_forgotten(forgotten, free_from_s, reason, uid)
        self._controller.hint()
        return CommandResult(done=(told,))

    def accept_commit(self, commit: str, reason: str, uid: int) -> CommandResult:
        if fault := self._controller.accept(commit):
            return CommandResult(failed=((commit, fault),))
        self._books.commit_accepted(commit, reason, uid)
        return CommandResult(done=(commit,))

    def full_pass(self) -> None:
        self._controller.hint()
