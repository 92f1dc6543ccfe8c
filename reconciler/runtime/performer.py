"""What a worker does with a slot: the next thing that is wanted of it. Runs the hooks; decides nothing else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from reconciler.records.scrub import scrub, scrub_values
from reconciler.runtime.at_work import culprit
from reconciler.runtime.context import Desk, World
from reconciler.runtime.hook import Failure, Hook, HookCall, attempt, describe
from reconciler.runtime.instance import RunningInstance
from reconciler.runtime.options import HostOptions
from reconciler.runtime.progress import Progress
from reconciler.runtime.secrets import Resolve
from reconciler.runtime.slot import Slot
from reconciler.runtime.surroundings import Surroundings
from reconciler.strategy.definition import Definition

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
        surroundings: Surroundings | None = None,
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
        self._surroundings = surroundings
        self.is_attentive = False
        """True while each tick is looked at for what it did to the process: where there are few."""

    def work(self, call: HookCall, slot: Slot) -> None:
        """Tick it, or do what is wanted of it more urgently. What that leaves undone, it is called for again.

        This is what every tick goes through. It does what `_call` does for the other hooks, but all in one frame.
        """
        instance, beat = slot.instance, slot.beat
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
        desk = Desk(self._world, slot.gate, slot.log)
        made: list[RunningInstance] = []

        def load() -> None:
            record = spec.row.record
            config, desk.secrets = self._resolve(record.effective_config, spec.definition.config_schema)
            made.append(RunningInstance(spec.definition, config, desk, self._time()))
            made[0].strategy.init()

        failure = self._call(call, slot, "init", load, spec.definition, desk)
        if failure is not None:
            self._progress.load_failed(slot, failure.text)
            return
        instance = made[0]
        self._progress.load_succeeded(slot, instance)
        if instance.renders and not slot.ending:
            self._render(call, slot, instance)

    def _ticked(self, call: HookCall, slot: Slot, instance: RunningInstance, failure: Failure | None) -> None:
        """What is to be said of a tick that did not simply go well, and what is to be shown after one."""
        if call.ended_s >= call.deadline_s:
            self._progress.late_call_over(call)
        if failure is not None:
            if self._progress.tick_failed(slot, failure.text, failure.counts):
                slot.gate.settle()
        elif slot.failing:
            self._progress.tick_recovered(slot)
        if instance.renders and not slot.ending and self._monotonic() >= instance.render_at_s:
            self._render(call, slot, instance)
        call.ended_s = self._monotonic()

    def _render(self, call: HookCall, slot: Slot, instance: RunningInstance) -> None:
        """Keep what `render` gives; what fails to render leaves the widgets as they were, told once per error."""

        def render() -> None:
            secrets = instance.desk.secrets
            if secrets:
                widgets = self._check_widgets(instance.strategy.render(), lambda text: scrub(text, secrets))
                instance.widgets = scrub_values(widgets, secrets)
            else:
                instance.widgets = self._check_widgets(instance.strategy.render(), str)
            instance.drawn_at_s = self._time()

        failure = self._call(call, slot, "render", render, instance.definition, instance.desk)
        instance.render_at_s = self._monotonic() + self._render_interval_s
        error = "" if failure is None else failure.text
        if error and error != instance.render_error:
            self._progress.hook_failed(slot, "render", error)
        instance.render_error = error

    def _unload(self, call: HookCall, slot: Slot) -> None:
        instance = slot.instance
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
    ) -> Failure | None:
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
