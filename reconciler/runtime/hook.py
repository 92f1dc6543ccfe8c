"""One call of one hook, and the boundary around it: where foreign code runs, and what comes of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import getcontext, setcontext
from typing import TYPE_CHECKING, NamedTuple

from reconciler import ending as forks
from reconciler.errors import CapabilityUnavailable, ExecError, StoreError
from reconciler.exact import standard_context
from reconciler.validation.secrets import scrub
from reconciler.visible import storable

if TYPE_CHECKING:
    from reconciler.strategy.definition import Definition


WORKER = "worker"
"""The name of the threads that hooks run on."""

ERROR_LENGTH = 2_000
"""Characters of an error's text that are kept."""
_FRAMES = 8
_NOT_ITS_FAULT = (ExecError, CapabilityUnavailable, StoreError)
"""What the context raises where no strategy can help it: the exchange, what its server lacks, the database."""


class HookFailure(NamedTuple):
    """What a hook raised, for people; `counts` says whether to blame the strategy."""

    text: str
    counts: bool


def attempt(hook: Callable[[], object]) -> BaseException | None:
    """The boundary to foreign code: call `hook`, and return whatever it raised.

    SystemExit and KeyboardInterrupt too: on a worker thread both can only have been raised by the strategy. A forked
    child that comes back from its hook ends here.

    The hook has a decimal context of its own, always the standard one at first: what it sets there ends with it, and
    reaches neither the engine nor whatever instance this thread works for next.
    """
    engines = getcontext()
    setcontext(standard_context())
    try:
        hook()
        if forks.is_child:
            os._exit(0)  # it forked, and came back from the hook twice: here there is no engine to go on with
    except BaseException as error:  # noqa: BLE001 - the engine survives whatever a strategy does
        if forks.is_child:
            os._exit(1)
        return error
    finally:
        setcontext(engines)
    return None


def describe(error: BaseException, definition: Definition, secrets: tuple[str, ...]) -> HookFailure:
    """What a hook raised, for people: the error, then the strategy's own frames, innermost last.

    Bounded in length, free of `secrets` and of lone surrogates. The engine's and the libraries' frames are left out:

        ValueError: expected two levels
          strategies/grid.py:31 in on_tick
          strategies/grid.py:58 in _ladder
    """
    name = type(error).__name__
    message = _message(error)
    first = storable(scrub(f"{name}: {message}" if message else name, secrets))
    if len(first) > ERROR_LENGTH:
        first = first[: ERROR_LENGTH - 1] + "…"
    return HookFailure("\n".join([first, *_own_frames(error, definition)]), not isinstance(error, _NOT_ITS_FAULT))


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
