"""What a host reports of its instances: a closed union of values. The controller consumes it with `assert_never`."""

from __future__ import annotations

from dataclasses import dataclass, field


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
