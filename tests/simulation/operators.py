"""Whoever closes and opens: halts, pauses, records lowered and loaded. When what was closed counts as closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler.clock import Clock, iso
from reconciler.records.halt import Cancelling, Halt
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row, RowChange
from tests.simulation.bounds import Bounds
from tests.simulation.engine import Engine
from tests.simulation.model import COLLAR, INSTANCES, OF, Facts, HaltKey, Instance, Kill

Deed = tuple[str, Any]
"""What somebody does, or what happens, and what about."""


class Operator:
    """Acts on `engine`, the one that runs, and keeps the facts. A file's halts and its records are one's doing, too."""

    engine: Engine

    def __init__(self, facts: Facts, clock: Clock, bounds: Bounds) -> None:
        self._facts = facts
        self._bounds = bounds
        self._clock = clock
        self._afterwards: list[Callable[[], object]] = []

    def perform(self, deed: Deed, instance_id: str) -> None:
        """Close something."""
        kind, about = deed
        engine, facts = self.engine, self._facts
        match kind:
            case "halt":
                scope, id_, full = about
                engine.store.halts.add(scope, id_, full, "a test", "uid 1000")
                self._closed(lambda: facts.halts.add(about))
            case "kill":
                self.kill(about)
            case "declare":
                self.declare(about)
                self._closed(lambda: facts.declared.add(about))
            case "pause":
                engine.gates[instance_id].operator_pause = "a test"
                self._closed(lambda: facts.paused.add(instance_id))
            case "lower":
                before = engine.gates[instance_id].mode
                engine.gates[instance_id].lower(about)
                lowered = engine.gates[instance_id].mode
                if before is not lowered:
                    wanted = self.row(instance_id, lowered)
                    engine.store.desired.apply([RowChange(wanted, "changed", "a test")])
                self._closed(lambda: facts.modes.__setitem__(instance_id, lowered))
            case _:
                raise ValueError(f"deed: expected one of a closing, was {kind!r}")

    def kill(self, kill: Kill) -> None:
        """Halt, and have cancelled what rests; or have that declared by the file."""
        self._facts.kills.add(kill)  # it may cancel from now on
        if kill.declared:
            self.declare(kill.halt)
            self._closed(lambda: self._facts.declared.add(kill.halt))
            return
        scope, id_, full = kill.halt
        collar = COLLAR if kill.flattens else None
        self.engine.store.halts.add(scope, id_, full, "a test", "uid 1000", Cancelling(kill.cancels), collar)  # type: ignore[arg-type]
        self._closed(lambda: self._facts.halts.add(kill.halt))

    def remove(self, instance_id: str) -> None:
        """The file is gone: unloaded, a tombstone is left, and perhaps no strategy that could run it."""
        self._facts.modes[instance_id] = Mode.OFF
        self._facts.removed.add(instance_id)
        self.engine.gates.pop(instance_id).lower(Mode.OFF)
        self.apply_rows()

    def _closed(self, fact: Callable[[], object]) -> None:
        """It is a fact when whoever closed returns: where something is just being written, only after that."""
        self._afterwards.append(fact)
        if not self.engine.bridge.claims.writing():
            self.returned()

    def returned(self) -> None:
        """Whoever waited for what was being written goes on."""
        while self._afterwards:
            self._afterwards.pop(0)()

    def load(self, instance_id: str, mode: Mode, committed: bool = True) -> None:
        """Put a record in force; if its instance was paused, it is not any more."""
        self._facts.modes[instance_id] = mode
        self._facts.committed = committed
        self.resume(instance_id)
        self.apply_rows()
        for id_, gate in self.engine.gates.items():
            gate.open(self.row(id_), Mode.ACTIVE)

    def resume(self, instance_id: str) -> None:
        self._facts.paused.discard(instance_id)
        self.engine.gates[instance_id].operator_pause = None

    def lift(self, scope: str, id_: str) -> None:
        """Lift every halt of that scope and id, those of the file too."""
        for halts in (self._facts.halts, self._facts.declared):
            halts -= {halt for halt in halts if halt[:2] == (scope, id_)}
        self._facts.kills -= {kill for kill in self._facts.kills if kill.halt[:2] == (scope, id_)}
        self.engine.store.halts.lift(scope, id_, "uid 1000", "over")  # type: ignore[arg-type]
        if scope == "instance":
            self._bounds.unhalted(id_)
        self.declare()

    def lift_all(self) -> None:
        while self._facts.halts or self._facts.declared:
            self.lift(*min(self._facts.halts | self._facts.declared)[:2])

    def declare(self, *more: HaltKey) -> None:
        """Put the halts of the file in force."""
        halts = sorted({*self._facts.declared, *more})
        cancels = {kill.halt: Cancelling(kill.cancels) for kill in self._facts.kills if kill.declared}
        now = iso(self._clock.time())
        declared = tuple(
            Halt(halt[0], halt[1], halt[2], "a test", "a file", now, cancels.get(halt, Cancelling.NOTHING))  # type: ignore[arg-type]
            for halt in halts
        )
        self.engine.store.halts.declare(declared)

    def apply_rows(self) -> None:
        self.engine.store.desired.apply([RowChange(self.row(each.id), "changed", "a test") for each in INSTANCES])

    def row(self, instance_id: str, mode: Mode | None = None) -> Row:
        """What the record says."""
        removed_at = "2026-01-31T00:00:00.000Z" if instance_id in self._facts.removed else None
        labels, mode = self._bounds.labels.get(instance_id, {}), mode or self._facts.modes[instance_id]
        return _row(OF[instance_id], mode, self._facts.committed, removed_at, labels)


def _row(instance: Instance, mode: Mode, committed: bool, removed_at: str | None, labels: dict[str, str]) -> Row:
    identity = Identity("grid", instance.account_id, instance.client_id, instance.symbol)
    record = InstanceRecord(
        id=instance.id,
        identity=identity,
        mode=mode,
        config={},
        effective_config={},
        open_orders=instance.open_orders,  # type: ignore[arg-type]
        labels=labels,
        values={"labels": labels},
    )
    path = f"instances/{instance.id}.yaml"
    return Row(record, path, 1, "v", "c", "f", "d", None, committed, "2026-01-31T00:00:00.000Z", None, removed_at)
