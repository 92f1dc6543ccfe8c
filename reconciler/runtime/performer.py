"""What a worker does with a slot: the next thing that is wanted of it. Runs the hooks; decides nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from reconciler.errors import ExecError
from reconciler.records.mode import Mode
from reconciler.runtime.context import Desk, World
from reconciler.runtime.crew import Worker
from reconciler.runtime.hook import Hook, HookCall, attempt, describe
from reconciler.runtime.instance import RunningInstance
from reconciler.runtime.options import HostOptions
from reconciler.runtime.roster import Roster
from reconciler.runtime.secrets import Resolve, scrub_values
from reconciler.runtime.slot import Slot
from reconciler.strategy.definition import Definition

CheckWidgets: TypeAlias = Callable[[object], tuple[dict[str, Any], ...]]
"""What `render` returned → plain, bounded widgets. Raises ValueError saying what is wrong with them."""


class Performer:
    """Loads, ticks, renders and unloads. Called by whoever holds the slot's claim, so never twice at once for one."""

    def __init__(
        self, world: World, options: HostOptions, roster: Roster, resolve: Resolve, check_widgets: CheckWidgets
    ) -> None:
        self._world = world
        self._monotonic = world.clock.monotonic
        self._time = world.clock.time
        self._deadlines_s: Mapping[Hook, float] = options.deadlines_s()
        self._render_interval_s = options.render_interval_s
        self._roster = roster
        self._resolve = resolve
        self._check_widgets = check_widgets

    def work(self, worker: Worker, slot: Slot) -> None:
        """Do the most urgent thing wanted of `slot`. What it leaves undone, it is called for again."""
        if slot.ending:
            self._unload(worker, slot)
        elif slot.wanted is not None:
            self._load(worker, slot)
        elif slot.beat is not None:
            self._tick(worker, slot)

    def _load(self, worker: Worker, slot: Slot) -> None:
        spec = self._roster.load_begins(slot)
        if spec is None:
            return
        desk = Desk(self._world, slot.gate, slot.log)
        made: list[RunningInstance] = []

        def load() -> None:
            record = spec.row.record
            config, desk.secrets = self._resolve(record.effective_config, spec.definition.config_schema)
            made.append(RunningInstance(spec.definition, config, desk, self._time()))
            made[0].strategy.init()

        call = self._call(worker, slot, "init", load, spec.definition, desk)
        if call.error:
            self._roster.load_failed(slot, call.error)
            return
        instance = made[0]
        self._roster.load_succeeded(slot, instance)
        if instance.renders and not slot.ending:
            self._render(worker, slot, instance)

    def _tick(self, worker: Worker, slot: Slot) -> None:
        instance = slot.instance
        if instance is None or slot.gate.paused or slot.gate.mode is Mode.OFF:
            slot.beat = None
            return
        slot.last_at_s = self._time()
        call = self._call(worker, slot, "on_tick", instance.strategy.on_tick, instance.definition, instance.desk)
        slot.count += 1
        slot.last_duration_s = call.duration_s
        slot.beat = None
        if call.error:
            if self._roster.tick_failed(slot, call.error, counts=not call.is_exec_failure):
                slot.gate.settle()
        elif slot.failing:
            self._roster.tick_recovered(slot)
        if instance.renders and not slot.ending and self._monotonic() >= instance.render_at_s:
            self._render(worker, slot, instance)

    def _render(self, worker: Worker, slot: Slot, instance: RunningInstance) -> None:
        """Keep what `render` gives; what fails to render leaves the widgets as they were, told once per error."""

        def render() -> None:
            widgets = self._check_widgets(instance.strategy.render())
            secrets = instance.desk.secrets
            instance.widgets = scrub_values(widgets, secrets) if secrets else widgets

        call = self._call(worker, slot, "render", render, instance.definition, instance.desk)
        instance.render_at_s = self._monotonic() + self._render_interval_s
        if call.error and call.error != instance.render_error:
            self._roster.hook_failed(slot, "render", call.error)
        instance.render_error = call.error

    def _unload(self, worker: Worker, slot: Slot) -> None:
        instance = slot.instance
        error = ""
        if instance is not None:
            hook = instance.strategy.on_unload
            error = self._call(worker, slot, "on_unload", hook, instance.definition, instance.desk).error
        self._roster.unloaded(slot, error)

    def _call(
        self,
        worker: Worker,
        slot: Slot,
        hook: Hook,
        function: Callable[[], object],
        definition: Definition,
        desk: Desk,
    ) -> HookCall:
        """Run one hook under the watchdog's eyes, its error's text included; only `on_tick` gets a permit."""
        started_s = self._monotonic()
        call = HookCall(slot, hook, slot.beat, worker.thread, started_s, started_s + self._deadlines_s[hook])
        if hook == "on_tick":
            desk.permit = call
        worker.call = call
        error = attempt(function)
        desk.permit = None
        if error is not None:
            call.error = describe(error, definition, desk.secrets)
            call.is_exec_failure = isinstance(error, ExecError)
        call.over = True
        ended_s = self._monotonic()
        worker.call = None
        call.duration_s = ended_s - started_s
        if ended_s >= call.deadline_s:
            self._roster.late_call_over(call)
        return call
