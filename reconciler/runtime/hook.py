"""One call of one hook, and the boundary around it: where foreign code runs, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from reconciler.runtime.secrets import scrub

if TYPE_CHECKING:
    from reconciler.runtime.slot import Slot
    from reconciler.strategy.definition import Definition

Hook = Literal["init", "on_tick", "render", "on_unload"]

ERROR_LENGTH = 2_000
"""Characters of an error's text that are kept."""
_FRAMES = 8


class HookCall:
    """One call of one hook: since when, until when (monotonic seconds), on which thread, for which beat.

    While `on_tick` runs it is also the instance's permit to place orders. `over` is set before the end is
    timed, so that whoever sees a late call that is not over knows that its end will be seen as late too.
    What came of it: `error` is empty where the hook returned; where not, `is_exec_failure` says whether to
    blame exec-mcp. One is made per tick, so what is not yet known is left unset.
    """

    __slots__ = (
        "beat",
        "deadline_s",
        "duration_s",
        "error",
        "hook",
        "is_exec_failure",
        "over",
        "slot",
        "started_s",
        "thread",
    )
    duration_s: float
    is_exec_failure: bool

    def __init__(
        self, slot: Slot, hook: Hook, beat: int | None, thread: int, started_s: float, deadline_s: float
    ) -> None:
        self.slot = slot
        self.hook = hook
        self.beat = beat
        self.thread = thread
        self.started_s = started_s
        self.deadline_s = deadline_s
        self.over = False
        self.error = ""


def attempt(hook: Callable[[], object]) -> BaseException | None:
    """The boundary to foreign code: call `hook`, and return whatever it raised.

    SystemExit and KeyboardInterrupt too: on a worker thread both can only have been raised by the strategy.
    """
    try:
        hook()
    except BaseException as error:  # noqa: BLE001 - the engine survives whatever a strategy does
        return error
    return None


def describe(error: BaseException, definition: Definition, secrets: tuple[str, ...]) -> str:
    """What a hook raised, for people: the error, then the strategy's own frames, innermost last.

    Bounded in length and free of `secrets`. The engine's and the libraries' frames are left out:

        ValueError: expected two levels
          strategies/grid.py:31 in on_tick
          strategies/grid.py:58 in _ladder
    """
    name = type(error).__name__
    message = scrub(_message(error), secrets)
    first = f"{name}: {message}" if message else name
    if len(first) > ERROR_LENGTH:
        first = first[: ERROR_LENGTH - 1] + "…"
    return "\n".join([first, *_own_frames(error, definition)])


def _message(error: BaseException) -> str:
    """`str(error)`, which is foreign code as well."""
    text: list[str] = []
    unprintable = attempt(lambda: text.append(str(error)))
    return text[0] if unprintable is None else f"(its text cannot be shown: {type(unprintable).__name__})"


def _own_frames(error: BaseException, definition: Definition) -> list[str]:
    module = definition.cls.__module__
    lines = []
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_globals.get("__name__") == module:
            lines.append(f"  {definition.path}:{trace.tb_lineno} in {frame.f_code.co_name}")
        trace = trace.tb_next
    if len(lines) > _FRAMES:
        lines = [lines[0], f"  … {len(lines) - _FRAMES} more …", *lines[1 - _FRAMES :]]
    return lines
