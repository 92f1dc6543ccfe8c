"""What a worker does with a slot: the next thing that is wanted of it. Runs the hooks; decides nothing else.

`attempt` is the boundary around each: where foreign code runs, and what comes of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from decimal import getcontext, setcontext
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from reconciler import ending as forks
from reconciler.errors import CapabilityUnavailable, ExecError, ReconcilerError, StoreError
from reconciler.exact import standard_context
from reconciler.records.record import Values
from reconciler.runtime.context import context_at
from reconciler.runtime.desk import Desk, RunningInstance, World
from reconciler.runtime.gate import Door
from reconciler.runtime.process import culprit
from reconciler.runtime.progress import Progress
from reconciler.runtime.protocol import Hook, HostOptions
from reconciler.runtime.slot import HookCall, Made, Shown, Slot
from reconciler.strategy.definition import Definition
from reconciler.validation.secrets import SecretReference, scrub, scrub_values, secret_references, with_secrets
from reconciler.validation.validator import compile_config_schema
from reconciler.visible import storable

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


Resolve: TypeAlias = Callable[[Values, Mapping[str, Any]], tuple[Values, tuple[str, ...]]]
"""(effective config, CONFIG_SCHEMA) → the config with its references resolved, and the secrets put into it."""

_SIZE_BYTES = 65_536


class SecretUnavailable(ReconcilerError):
    """A reference leads nowhere. Names the reference, never what was found."""


def no_secrets(config: Values, schema: Mapping[str, Any]) -> tuple[Values, tuple[str, ...]]:
    """The `Resolve` of a fleet without secrets."""
    return config, ()


def resolver(base: Path, environment: Mapping[str, str]) -> Resolve:
    """A `Resolve` that looks into `environment` and into files, a relative path under `base`.

    What it returns raises SecretUnavailable where a reference leads to nothing, or to nothing readable.
    """

    def resolve(config: Values, schema: Mapping[str, Any]) -> tuple[Values, tuple[str, ...]]:
        if not compile_config_schema(schema).has_secrets:
            return config, ()
        found = {at: _read(at, reference, base, environment) for at, reference in secret_references(config, schema)}
        return with_secrets(config, found), tuple(found.values())

    return resolve


def _read(at: str, reference: SecretReference, base: Path, environment: Mapping[str, str]) -> str:
    where = f"config.{at}: {{{reference.kind}: {reference.name}}}"
    if reference.kind == "file":
        return _read_file(where, base / reference.name)
    secret = environment.get(reference.name, "")
    if not secret:
        raise SecretUnavailable(f"{where}: expected an environment variable with a secret, was not set")
    return secret


def _read_file(where: str, path: Path) -> str:
    """The secret in a file, the end of its last line taken off."""
    try:
        with path.open("rb") as file:
            data = file.read(_SIZE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SecretUnavailable(f"{where}: expected a readable file, was refused: {reason}") from None
    if len(data) > _SIZE_BYTES:
        raise SecretUnavailable(f"{where}: expected at most {_SIZE_BYTES:,} bytes, was more")
    try:
        secret = data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretUnavailable(f"{where}: expected UTF-8, was not") from None
    if not secret:
        raise SecretUnavailable(f"{where}: expected a secret, was an empty file")
    return secret


CheckWidgets: TypeAlias = Callable[[object, Callable[[str], str]], tuple[dict[str, Any], ...]]
"""What `render` returned → plain, bounded widgets. Raises ValueError saying what is wrong with them, of which what must
not be told is taken out by the other argument."""


class Performer:
    """Loads, ticks, renders and unloads. Called by whoever holds the slot's claim, so never twice at once for one."""

    def __init__(
        self,
        world: World,
        options: HostOptions,
        progress: Progress,
        resolve: Resolve,
        check_widgets: CheckWidgets,
        busy: Callable[[], Sequence[HookCall]] = tuple,
    ) -> None:
        """`busy` tells what all workers are at."""
        self._busy = busy
        self._world = world
        self._monotonic = world.clock.monotonic
        self._time = world.clock.time
        self._epoch_s = 0.0
        self._deadlines_s: Mapping[Hook, float] = options.deadlines_s()
        self._tick_deadline_s = options.tick_deadline_s
        self._render_interval_s = options.render_interval_s
        self._progress = progress
        self._resolve = resolve
        self._check_widgets = check_widgets
        self._at_work = world.at_work
        self._marks = world.at_work.marks
        self._surroundings = world.surroundings
        self.is_attentive = False
        """True while each tick is looked at for what it did to the process: where there are few."""

    def work(self, call: HookCall, slot: Slot) -> None:
        """Tick it, or do what is wanted of it more urgently. What that leaves undone, it is called for again.

        This is what every tick goes through. It does what `_call` does for the other hooks, but all in one frame.
        """
        instance: RunningInstance | None = slot.instance
        beat = slot.beat
        if instance is None or beat is None or not slot.steps:
            self._turn(call, slot)
            return
        desk = instance.desk
        call.slot = slot
        call.hook = "on_tick"
        call.beat = beat
        call.started_s = started_s = call.ended_s
        call.deadline_s = deadline_s = started_s + self._tick_deadline_s
        call.over = False
        slot.last_at_s = started_s + self._epoch_s
        desk.permit = call
        self._marks[call.place] = slot.number
        error = attempt(instance.tick)
        self._marks[call.place] = 0
        desk.permit = None
        if error is None:
            failure = None
            slot.good_at_s = slot.last_at_s
        else:
            failure = describe(error, instance.definition, desk.secrets)
        call.over = True
        call.ended_s = ended_s = self._monotonic()
        slot.last_duration_s = ended_s - started_s
        slot.count += 1
        slot.beat = None
        if self.is_attentive:
            self._look_around(call)
        if failure is not None or slot.failing or instance.renders or ended_s >= deadline_s:
            self._ticked(call, slot, instance, failure)

    def look_at_the_clocks(self) -> None:
        """How far wall time is ahead, looked at once per beat: ticks read monotonic time only."""
        self._epoch_s = self._time() - self._monotonic()

    def _turn(self, call: HookCall, slot: Slot) -> None:
        """Carry on with a slot that must not tick now. The worker's time starts afresh before and after."""
        if slot.ending:
            self._unload(call, slot)
        elif slot.wanted is not None:
            self._load(call, slot)
        elif not slot.steps:
            slot.beat = None
        call.ended_s = self._monotonic()

    def _load(self, call: HookCall, slot: Slot) -> None:
        spec = self._progress.load_begins(slot)
        if spec is None:
            return
        who = culprit("instance", spec.row.id, (spec.row.config_digest, spec.row.code_digest))
        if suspicion := self._at_work.suspicion(who):
            self._progress.load_barred(slot, suspicion)
            return
        slot.number = self._at_work.number(who)
        desk = Desk(self._world, Door(slot.gate, self._world.gateway, self._world.clock), slot.log)
        made: list[RunningInstance] = []
        loaded_at_s = self._time()

        def load() -> None:
            record = spec.row.record
            config, desk.secrets = self._resolve(record.effective_config, spec.definition.config_schema)
            made.append(RunningInstance(spec.definition, config, desk, context_at(desk)))
            made[0].strategy.init()

        failure = self._call(call, slot, "init", load, spec.definition, desk)
        if failure is not None:
            self._progress.load_failed(slot, failure.text)
            return
        instance = made[0]
        definition = instance.definition
        values = Made(definition.cadence_steps, loaded_at_s)
        self._progress.load_succeeded(slot, instance, values, definition.tick_on_load)
        if instance.renders and not slot.ending:
            self._render(call, slot, instance)

    def _ticked(self, call: HookCall, slot: Slot, instance: RunningInstance, failure: HookFailure | None) -> None:
        """What is to be said of a tick that did not simply go well, and what is to be shown after one."""
        if call.ended_s >= call.deadline_s:
            self._progress.late_call_over(call)
        if failure is not None:
            if self._progress.tick_failed(slot, failure.text, failure.counts):
                self._world.gateway.written(slot.id)
        elif slot.failing:
            self._progress.tick_recovered(slot)
        if instance.renders and not slot.ending and self._monotonic() >= instance.render_at_s:
            self._render(call, slot, instance)
        call.ended_s = self._monotonic()

    def _render(self, call: HookCall, slot: Slot, instance: RunningInstance) -> None:
        """Keep what `render` gives; what fails to render leaves the widgets as they were, told once per error."""
        before = slot.shown

        def render() -> None:
            secrets = instance.desk.secrets
            if secrets:
                widgets = self._check_widgets(instance.strategy.render(), lambda text: scrub(text, secrets))
                widgets = scrub_values(widgets, secrets)
            else:
                widgets = self._check_widgets(instance.strategy.render(), str)
            slot.shown = Shown(widgets, self._time())

        failure = self._call(call, slot, "render", render, instance.definition, instance.desk)
        instance.render_at_s = self._monotonic() + self._render_interval_s
        if failure is None:
            return
        if failure.text != before.error:
            self._progress.hook_failed(slot, "render", failure.text)
        slot.shown = before._replace(error=failure.text)

    def _unload(self, call: HookCall, slot: Slot) -> None:
        instance: RunningInstance | None = slot.instance
        error = ""
        if instance is not None:
            failure = self._call(call, slot, "on_unload", instance.unload, instance.definition, instance.desk)
            if failure is not None:
                error = failure.text
        self._progress.unloaded(slot, error)

    def _call(
        self,
        call: HookCall,
        slot: Slot,
        hook: Hook,
        function: Callable[[], object],
        definition: Definition,
        desk: Desk,
    ) -> HookFailure | None:
        """Run one hook under the watchdog's eyes, its error's text included."""
        started_s = self._monotonic()
        call.slot = slot
        call.hook = hook
        call.started_s = started_s
        call.deadline_s = started_s + self._deadlines_s[hook]
        call.over = False
        self._marks[call.place] = slot.number
        error = attempt(function)
        self._marks[call.place] = 0
        failure = None if error is None else describe(error, definition, desk.secrets)
        call.over = True
        call.ended_s = self._monotonic()
        if call.ended_s >= call.deadline_s:
            self._progress.late_call_over(call)
        if self._surroundings is not None:
            self._look_around(call)
        return failure

    def _look_around(self, call: HookCall) -> None:
        """What the hook that just ended set for the whole process is put back, and told."""
        assert self._surroundings is not None
        changed = self._surroundings.put_back()
        if changed:
            others = [other.slot.id for other in self._busy() if other is not call and not other.over]
            self._progress.disturbed(call.slot, call.hook, changed, others)
