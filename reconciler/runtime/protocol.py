"""What crosses a host: what it is given, what it reports, and what its two sides say to each other. Values only.

A host has two sides. The one knows the roster, the gates and, behind them, the ledger; the other runs foreign code:
performer, context, definition. Between them goes nothing that could not be sent to another process: `Performing` is
what the first asks of the second, `gate.Door` what the second asks of the first. The controller consumes the reports
with `assert_never`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from reconciler.clock import Clock
from reconciler.ports import MarketData
from reconciler.records.mode import Mode
from reconciler.records.plan import Phase
from reconciler.records.record import Row
from reconciler.records.status import Ticks
from reconciler.runtime.gate_state import LogLine, Pause
from reconciler.runtime.process import AtWork, Surroundings
from reconciler.strategy.definition import Definition

WORKER = "worker"
"""The name of the threads that hooks run on."""


@dataclass(frozen=True, slots=True)
class Loaded:
    id: str
    generation: int


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """`init` raised, a secret could not be resolved, or the constructor failed; retried `retry_in_s` from now."""

    id: str
    error: str
    attempt: int
    retry_in_s: float


@dataclass(frozen=True, slots=True)
class Unloaded:
    """The instance is gone. `error` says what `on_unload` raised, empty where it did not."""

    id: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class HookFailed:
    """`on_tick` or `render` raised. `consecutive` counts failed ticks in a row, but for what no strategy can help."""

    id: str
    hook: str
    error: str
    consecutive: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """A tick succeeded after failures."""

    id: str


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Five failed ticks in a row: the engine paused it. `was_active` asks for a halt as well.

    `is_barred` where it was not even loaded, because the engine ended in its code before.
    """

    id: str
    error: str
    was_active: bool
    is_barred: bool = False


@dataclass(frozen=True, slots=True)
class Disturbed:
    """What a hook set for the whole process, which was put back. `others` are those whose hooks ran meanwhile.

    `id` is empty where it was found only after many ticks: then it was one of them.
    """

    id: str
    hook: str
    changed: tuple[str, ...]
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stuck:
    """A hook outlived its deadline and has not returned; `at` says where it was."""

    id: str
    hook: str
    deadline_s: float
    at: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Unstuck:
    """The hook that was Stuck returned after all."""

    id: str
    hook: str
    duration_s: float


@dataclass(frozen=True, slots=True)
class TicksMissed:
    """It missed `missed` of its last `due` ticks, half of them or more: each found the one before still running."""

    id: str
    missed: int
    due: int


@dataclass(frozen=True, slots=True)
class TicksKept:
    """It keeps most of its ticks again."""

    id: str


Report = (
    Loaded
    | LoadFailed
    | Unloaded
    | HookFailed
    | Recovered
    | Quarantined
    | Disturbed
    | Stuck
    | Unstuck
    | TicksMissed
    | TicksKept
)


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """How one id is doing. Times ISO 8601.

    `phase` is None, and `mode` off, where nothing is loaded any more; counts, log and pause remain.
    `generation` and `loaded_at` are those of what is loaded. `last_error` may have several lines; it stays
    after a recovery, `failing` says whether it still holds. `stuck_hook` names the hook that outlived its
    deadline. `logs` are newest first.
    """

    id: str
    phase: Phase | None
    mode: Mode
    pause: Pause | None
    generation: int | None
    loaded_at: str | None
    last_error: str
    last_error_at: str | None
    failing: bool
    consecutive_failures: int
    stuck_hook: str | None
    stuck_at: str
    load_attempts: int
    ticks: Ticks
    widgets: tuple[Mapping[str, Any], ...]
    logs: tuple[LogLine, ...]
    render_error: str = ""
    """Why what it shows is old: its last `render` failed."""
    missed_lately: tuple[int, int] | None = None
    """How many of how many ticks it missed, where those are most of them; None where it keeps them."""
    drawn_at: str | None = None
    """When `render` last gave what it shows, None where it shows nothing."""


class BeatReport(NamedTuple):
    """What one beat did: `due` = `dispatched` + `missed`, instances that may not tick left out."""

    beat: int
    due: int
    dispatched: int
    missed: int


@dataclass(frozen=True, slots=True)
class HostOptions:
    """Seconds throughout. A worker that waits in a context call has a spare beside it at once, one that is busy
    otherwise after `patience_s`, up to `max_workers`.

    A hook that outlives its deadline is Stuck. `quarantine_after` failed ticks in a row pause an instance. A
    failed load is retried after `retry_first_s`, doubling up to `retry_max_s`. Widgets are rendered after a
    tick, at most every `render_interval_s`; `log_lines` are kept of each instance's log.
    """

    workers: int = 4
    max_workers: int = 64
    patience_s: float = 1.0
    init_deadline_s: float = 30.0
    tick_deadline_s: float = 30.0
    render_deadline_s: float = 5.0
    unload_deadline_s: float = 10.0
    quarantine_after: int = 5
    retry_first_s: float = 1.0
    retry_max_s: float = 300.0
    render_interval_s: float = 1.0
    log_lines: int = 200

    def deadlines_s(self) -> Mapping[Hook, float]:
        """The deadline of each hook."""
        return {
            "init": self.init_deadline_s,
            "on_tick": self.tick_deadline_s,
            "render": self.render_deadline_s,
            "on_unload": self.unload_deadline_s,
        }


Hook = Literal["init", "on_tick", "render", "on_unload"]


@dataclass(frozen=True, slots=True)
class World:
    """What a host stands on, each side of it for itself.

    `seed` makes another chance of everybody's `context.random`, and of retries. `surroundings` are put back after hooks
    that set them, where there are any. `allowance` is how often a hook may ask its context, where hooks are given no
    time.
    """

    clock: Clock
    market: MarketData
    heartbeat_s: float
    at_work: AtWork = field(default_factory=AtWork)
    seed: str = ""
    surroundings: Surroundings | None = None
    allowance: int | None = None


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """A row, and the version of its strategy that it was validated against."""

    row: Row
    definition: Definition


class Made(NamedTuple):
    """What is known of an instance once it is loaded. `loaded_at_s` is wall time."""

    cadence_steps: int
    loaded_at_s: float
    ticks_on_load: bool = False
    renders: bool = False


class Shown(NamedTuple):
    """What an instance rendered last, and when (wall time); `error` says why it is old, empty where it is not."""

    widgets: tuple[Mapping[str, Any], ...] = ()
    drawn_at_s: float | None = None
    error: str = ""


class HookFailure(NamedTuple):
    """What a hook raised, for people; `counts` says whether to blame the strategy."""

    text: str
    counts: bool


class Done(NamedTuple):
    """What came of a hook: what it raised, if anything; of `init` what was made, of `render` what it shows.

    `barred` says why nothing was loaded at all. `changed` is what it set for the whole process, which was put back.
    """

    failure: HookFailure | None = None
    made: Made | None = None
    shown: Shown | None = None
    barred: str = ""
    changed: tuple[str, ...] = ()


class Performing(Protocol):
    """Where foreign code runs: instances by id, never asked of one twice at once. Blocks until the hook has ended.

    `place` is that of the calling thread in `AtWork`; `until_s`, monotonic, is when the tick may place nothing more.
    """

    def expect(self, specs: Sequence[LoadSpec]) -> None:
        """These are to be loaded next. Runs nothing of them."""
        ...

    def load(self, spec: LoadSpec, place: int) -> Done:
        """Make it and call `init`."""
        ...

    def tick(self, instance_id: str, beat: int, until_s: float, place: int) -> Done | None:
        """Call `on_tick`, and before it `on_order`; None where there is nothing to say of it."""
        ...

    def render(self, instance_id: str, place: int) -> Done: ...

    def unload(self, instance_id: str, place: int) -> Done:
        """Call `on_unload`; whatever that does, the instance is gone."""
        ...

    def put_back(self, is_attentive: bool) -> tuple[str, ...]:
        """Put back what is of the whole process, and say what that was; while attentive, also after each tick."""
        ...
