"""The state of the gate of one instance id: what is asked at the moment of sending. Holds facts, decides nothing.

Whether it is shut, and for which `TradingReason`, `execution.gatekeeper` says. Beside it, the door through which
the instance asks for all that is on this side, its log included.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from reconciler.clock import Clock, iso
from reconciler.orders.market import Position
from reconciler.orders.order import Order, OrderChanges, OrderRequest, Provenance
from reconciler.ports import OrderGateway
from reconciler.records.mode import Mode, lowers
from reconciler.records.record import Limits, Row
from reconciler.visible import storable

PausedBy = Literal["operator", "engine"]


class Pause(NamedTuple):
    """Who paused an instance, and why."""

    by: PausedBy
    reason: str


class Gate:
    """Implements `ports.GateState`. One per id, for as long as the process lives: reloads share it.

    The roster changes it under its own lock with plain stores, which the gateway sees at its next look. Whoever
    closes it then has the gateway wait for what was claimed before (`OrderGateway.written`): after that nothing leaves
    on what was true before. Opening needs no waiting. Nobody waits while holding a lock: a slow transport would hold up
    the whole fleet.
    """

    __slots__ = ("engine_pause", "mode", "operator_pause", "row", "stuck")

    def __init__(self, row: Row) -> None:
        self.mode = Mode.OFF
        self.row = row
        self.operator_pause: str | None = None
        self.engine_pause: str | None = None
        self.stuck = False

    @property
    def paused(self) -> bool:
        """True while somebody paused it, and while a hook that outlived its deadline has not returned."""
        return self.stuck or self.operator_pause is not None or self.engine_pause is not None

    @property
    def pause(self) -> Pause | None:
        """The pause in force; the operator's outranks the engine's."""
        if self.operator_pause is not None:
            return Pause("operator", self.operator_pause)
        if self.engine_pause is not None:
            return Pause("engine", self.engine_pause)
        return None

    @property
    def limits(self) -> Limits:
        return self.row.record.limits

    @property
    def committed(self) -> bool:
        return self.row.committed

    def provenance(self, beat: int) -> Provenance:
        """As `ports.GateState` says."""
        row = self.row
        identity = row.record.identity
        return Provenance(
            instance_id=row.record.id,
            account_id=identity.account_id,
            client_id=identity.client_id,
            symbol=identity.market,
            mode=self.mode,
            generation=row.generation,
            config_digest=row.config_digest,
            code_digest=row.code_digest,
            revision=row.revision,
            beat=beat,
        )

    def open(self, row: Row, ceiling: Mode) -> None:
        """A load begins: from now on `row` is in force, in its mode or the lower `ceiling`."""
        self.row = row
        self.mode = ceiling if lowers(row.mode, ceiling) else row.mode

    def lower(self, mode: Mode) -> None:
        """Close down to `mode`; one at or above what is in force changes nothing."""
        if lowers(self.mode, mode):
            self.mode = mode


MESSAGE_LENGTH = 1_000
"""Characters of a message that are kept."""


class LogLine(NamedTuple):
    """One line. `at_s` is seconds since the epoch, `level` one of info, warning, error."""

    at_s: float
    level: str
    message: str

    def to_json(self) -> dict[str, Any]:
        return {"at": iso(self.at_s), "level": self.level, "message": self.message}


class LogRing:
    """Keeps the last `length` lines. Thread-safe; costs next to nothing until the first line."""

    __slots__ = ("_length", "_lines", "_lock")

    def __init__(self, length: int) -> None:
        self._length = length
        self._lines: deque[LogLine] | None = None
        self._lock = threading.Lock()

    def append(self, at_s: float, level: str, message: str) -> None:
        """Add a line; the oldest falls out, a long message is cut, and what UTF-8 cannot hold is escaped."""
        message = storable(message)
        if len(message) > MESSAGE_LENGTH:
            message = message[: MESSAGE_LENGTH - 1] + "…"
        with self._lock:
            if self._lines is None:
                self._lines = deque(maxlen=self._length)
            self._lines.append(LogLine(at_s, level, message))

    def newest_first(self) -> tuple[LogLine, ...]:
        if self._lines is None:
            return ()
        with self._lock:
            return tuple(reversed(self._lines))


class Door:
    """All that an instance asks of the side that has its gate and its orders: values go in and out, all else stays.

    `until_s`, monotonic, is when the tick that an order is placed from is over. `shadow` says which of the instance's
    books is meant.
    """

    __slots__ = ("_changes", "_clock", "_gate", "_gateway", "_log")

    def __init__(self, gate: Gate, gateway: OrderGateway, clock: Clock, log: LogRing) -> None:
        self._gate = gate
        self._gateway = gateway
        self._clock = clock
        self._log = log
        self._changes: OrderChanges | None = None

    @property
    def row(self) -> Row:
        """The row that is in force."""
        return self._gate.row

    @property
    def mode(self) -> Mode:
        """The mode in force."""
        return self._gate.mode

    def place(self, request: OrderRequest, beat: int, until_s: float) -> Order:
        """As `OrderGateway.place` says."""
        return self._gateway.place(TickGate(self._gate, self._clock, until_s), request, beat)

    def cancel(self, client_order_id: str) -> Order:
        """As `OrderGateway.cancel` says."""
        return self._gateway.cancel(self._gate, client_order_id)

    def open(self, shadow: bool) -> Sequence[Order]:
        """As `OrderGateway.open` says."""
        return self._gateway.open(self.row.id, shadow=shadow)

    def recent(self, limit: int, shadow: bool) -> Sequence[Order]:
        """As `OrderGateway.recent` says."""
        return self._gateway.recent(self.row.id, limit, shadow=shadow)

    def position(self, shadow: bool) -> Position:
        """As `OrderGateway.position` says."""
        return self._gateway.position(self.row.id, self.row.record.identity.market, shadow=shadow)

    def listen(self) -> None:
        """From now on what becomes of its orders is kept, for `next_change`."""
        self._changes = self._gateway.listen(self.row.id)

    def next_change(self) -> Order | None:
        """The oldest change of an order that was not asked for yet, None where there is none."""
        return None if self._changes is None else self._changes.take()

    def log(self, at_s: float, level: str, message: str) -> None:
        """Add a line to the instance's log; `at_s` is seconds since the epoch."""
        self._log.append(at_s, level, message)


class TickGate:
    """Implements `ports.GateState`: the gate as one tick's order meets it, shut from the tick's deadline on.

    An order may wait for a quote, a commit and a connection; the watchdog glances now and then.
    """

    __slots__ = ("_clock", "_deadline_s", "_gate")

    def __init__(self, gate: Gate, clock: Clock, deadline_s: float) -> None:
        self._gate = gate
        self._clock = clock
        self._deadline_s = deadline_s

    @property
    def mode(self) -> Mode:
        return self._gate.mode

    @property
    def paused(self) -> bool:
        return self._gate.paused or self._clock.monotonic() >= self._deadline_s

    @property
    def limits(self) -> Limits:
        return self._gate.limits

    @property
    def committed(self) -> bool:
        return self._gate.committed

    def provenance(self, beat: int) -> Provenance:
        return self._gate.provenance(beat)
