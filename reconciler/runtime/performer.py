"""Where instances are made and their hooks run: the side of a host that has foreign code. Decides nothing else.

It knows them by id, is asked for one hook at a time, and says as values what came of it. `attempt` is the boundary
around each: where foreign code runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from decimal import getcontext, setcontext
from pathlib import Path
from threading import get_ident
from typing import Any, TypeAlias

from reconciler import ending as forks
from reconciler.errors import CapabilityUnavailable, ExecError, ReconcilerError, StoreError
from reconciler.exact import standard_context
from reconciler.records.record import Row, Values
from reconciler.runtime.context import Allowance, Desk, Ground, RunningInstance, context_at
from reconciler.runtime.gate_state import Door
from reconciler.runtime.process import Culprit, culprit
from reconciler.runtime.protocol import Done, HookFailure, HostOptions, LoadSpec, Made, Shown, World
from reconciler.strategy.base import Strategy
from reconciler.strategy.definition import Definition
from reconciler.strategy.widgets import check_widgets as check_all_widgets
from reconciler.validation.secrets import SecretReference, scrub, scrub_values, secret_references, with_secrets
from reconciler.validation.validator import compile_config_schema
from reconciler.visible import storable

ERROR_LENGTH = 2_000
"""Characters of an error's text that are kept."""
_FRAMES = 8
_NOT_ITS_FAULT = (ExecError, CapabilityUnavailable, StoreError)
"""What the context raises where no strategy can help it: the exchange, what its server lacks, the database."""


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
    """Implements `Performing` in this process. `doors` gives an instance the door to the other side, once per load."""

    def __init__(
        self,
        world: World,
        options: HostOptions,
        doors: Callable[[str], Door],
        resolve: Resolve,
        check_widgets: CheckWidgets = check_all_widgets,
    ) -> None:
        self._doors = doors
        self._time = world.clock.time
        self._resolve = resolve
        self._check_widgets = check_widgets
        self._at_work = world.at_work
        self._marks = world.at_work.marks
        self._surroundings = world.surroundings
        self._allowance = Allowance(world.allowance)
        self._is_bounded = world.allowance is not None
        self._ground = Ground(world, self._allowance, options.tick_deadline_s)
        self._is_attentive = False
        self._running: dict[str, RunningInstance] = {}

    def expect(self, specs: Sequence[LoadSpec]) -> None:
        self._at_work.expect([_culprit(spec.row) for spec in specs])

    def load(self, spec: LoadSpec, place: int) -> Done:
        """The constructor and `init`; what is loaded twice under one id was unloaded in between."""
        row, definition = spec.row, spec.definition
        who = _culprit(row)
        if suspicion := self._at_work.suspicion(who):
            return Done(barred=suspicion)
        number = self._at_work.number(who)
        desk = Desk(self._ground, self._doors(row.id))
        loaded: list[RunningInstance] = []
        loaded_at_s = self._time()

        def load() -> None:
            config, desk.secrets = self._resolve(row.record.effective_config, definition.config_schema)
            loaded.append(RunningInstance(definition, config, desk, context_at(desk), number))
            loaded[0].strategy.init()

        done = self._called(load, definition, desk, number, place)
        if done.failure is not None:
            return done
        self._running[row.id] = loaded[0]
        renders = definition.cls.render is not Strategy.render
        return done._replace(made=Made(definition.cadence_steps, loaded_at_s, definition.tick_on_load, renders))

    def tick(self, instance_id: str, beat: int, until_s: float, place: int) -> Done | None:
        """This is what every tick goes through. It does what `_called` does for the other hooks, in one frame."""
        running = self._running[instance_id]
        desk = running.desk
        if self._is_bounded:
            self._allowance.renew()
        desk.until_s = until_s
        desk.thread = get_ident()
        desk.permitted = beat  # last: from here on it may place
        self._marks[place] = running.number
        try:
            error = attempt(running.tick)
        finally:
            self._marks[place] = 0
            desk.permitted = None
        if error is None and not self._is_attentive:
            return None
        failure = None if error is None else describe(error, running.definition, desk.secrets)
        return Done(failure, changed=self._changed() if self._is_attentive else ())

    def render(self, instance_id: str, place: int) -> Done:
        """What fails to render shows nothing new."""
        running = self._running[instance_id]
        secrets = running.desk.secrets
        shown: list[Shown] = []

        def render() -> None:
            if secrets:
                widgets = self._check_widgets(running.strategy.render(), lambda text: scrub(text, secrets))
                widgets = scrub_values(widgets, secrets)
            else:
                widgets = self._check_widgets(running.strategy.render(), str)
            shown.append(Shown(widgets, self._time()))

        done = self._called(render, running.definition, running.desk, running.number, place)
        return done._replace(shown=shown[0]) if shown else done

    def unload(self, instance_id: str, place: int) -> Done:
        running = self._running.pop(instance_id, None)
        if running is None:
            return Done()
        return self._called(running.unload, running.definition, running.desk, running.number, place)

    def put_back(self, is_attentive: bool) -> tuple[str, ...]:
        self._is_attentive = is_attentive and self._surroundings is not None
        return self._changed()

    def _called(self, hook: Callable[[], object], definition: Definition, desk: Desk, number: int, place: int) -> Done:
        """Run one hook, its error's text included."""
        self._allowance.renew()
        self._marks[place] = number
        error = attempt(hook)
        self._marks[place] = 0
        failure = None if error is None else describe(error, definition, desk.secrets)
        return Done(failure, changed=self._changed())

    def _changed(self) -> tuple[str, ...]:
        """What was set for the whole process is put back."""
        return () if self._surroundings is None else tuple(self._surroundings.put_back())


def _culprit(row: Row) -> Culprit:
    return culprit("instance", row.id, (row.config_digest, row.code_digest))
