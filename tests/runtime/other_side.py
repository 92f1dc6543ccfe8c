"""The two sides of a host in two processes: whatever they say to each other goes through a pipe, pickled."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, cast

from reconciler.clock import SystemClock
from reconciler.runtime.gate_state import Door
from reconciler.runtime.performer import Performer, no_secrets
from reconciler.runtime.protocol import Done, HostOptions, LoadSpec, World
from tests.runtime.conftest import FakeMarket


def perform(pipe: Connection) -> None:
    """The process where foreign code runs: one performer, asked of through the pipe until that ends."""

    def ask(instance_id: str, name: str, *given: Any) -> Any:
        pipe.send(("asked", instance_id, name, given))
        raised, answer = pipe.recv()
        if raised:
            raise answer
        return answer

    world = World(SystemClock(), FakeMarket(), 6.0)
    performer = Performer(world, HostOptions(), lambda id_: cast(Door, FarDoor(id_, ask)), no_secrets)
    while True:
        try:
            name, given = pipe.recv()
        except EOFError:
            return
        pipe.send(("done", getattr(performer, name)(*given)))


class FarDoor:
    """`gate.Door`, which is in the other process."""

    def __init__(self, instance_id: str, ask: Callable[..., Any]) -> None:
        self._instance_id = instance_id
        self._ask = ask

    @property
    def row(self) -> Any:
        return self._ask(self._instance_id, "row")

    @property
    def mode(self) -> Any:
        return self._ask(self._instance_id, "mode")

    def __getattr__(self, name: str) -> Any:
        return lambda *given: self._ask(self._instance_id, name, *given)


class FarPerformer:
    """Implements `Performing` by a process of its own. `said` are the names of all that crossed."""

    def __init__(self, world: World, options: HostOptions, doors: Callable[[str], Door]) -> None:
        self.said: set[str] = set()
        self._open = doors
        self._doors: dict[str, Door] = {}
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=perform, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def expect(self, specs: Sequence[LoadSpec]) -> None:
        self._call("expect", specs)

    def load(self, spec: LoadSpec, place: int) -> Done:
        self._doors[spec.row.id] = self._open(spec.row.id)
        return cast(Done, self._call("load", spec, place))

    def tick(self, instance_id: str, beat: int, until_s: float, place: int) -> Done | None:
        return cast("Done | None", self._call("tick", instance_id, beat, until_s, place))

    def render(self, instance_id: str, place: int) -> Done:
        return cast(Done, self._call("render", instance_id, place))

    def unload(self, instance_id: str, place: int) -> Done:
        return cast(Done, self._call("unload", instance_id, place))

    def put_back(self, is_attentive: bool) -> tuple[str, ...]:
        return cast("tuple[str, ...]", self._call("put_back", is_attentive))

    def close(self) -> None:
        self._pipe.close()
        self._process.join()
        self._process.close()

    def _call(self, name: str, *given: Any) -> Any:
        self.said.add(name)
        self._pipe.send((name, given))
        while True:
            kind, *told = self._pipe.recv()
            if kind == "done":
                return told[0]
            self._answer(*told)

    def _answer(self, instance_id: str, name: str, given: tuple[Any, ...]) -> None:
        """What the instance asks of this side. What that raises is raised there."""
        self.said.add(name)
        try:
            found = getattr(self._doors[instance_id], name)
            self._pipe.send((False, found(*given) if callable(found) else found))
        except Exception as error:  # noqa: BLE001 - it is the other side's
            self._pipe.send((True, error))
