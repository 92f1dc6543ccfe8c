"""A running instance: the object the engine made from a record, in one load. Its state dies with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reconciler.records.record import Values
from reconciler.runtime.context import Desk, context_at
from reconciler.strategy.base import Strategy
from reconciler.strategy.config import frozen
from reconciler.strategy.definition import Definition


class RunningInstance:
    """One loaded strategy and what the host keeps beside it. `loaded_at_s` is wall time, `render_at_s` monotonic.

    Making one runs the strategy's constructor, which is foreign code.
    """

    __slots__ = (
        "definition",
        "desk",
        "drawn_at_s",
        "loaded_at_s",
        "render_at_s",
        "render_error",
        "renders",
        "strategy",
        "widgets",
    )

    def __init__(self, definition: Definition, config: Values, desk: Desk, loaded_at_s: float) -> None:
        self.definition = definition
        self.desk = desk
        self.loaded_at_s = loaded_at_s
        self.renders = definition.cls.render is not Strategy.render
        self.render_at_s = 0.0
        self.render_error = ""
        self.drawn_at_s: float | None = None  # wall time
        self.widgets: tuple[Mapping[str, Any], ...] = ()
        self.strategy = definition.cls()
        self.strategy.config = frozen(config)
        self.strategy.context = context_at(desk)

    def tick(self) -> None:
        """Foreign code, the look for `on_tick` too: it may be made by code of the strategy's."""
        self.strategy.on_tick()

    def unload(self) -> None:
        """Foreign code, as `tick` is."""
        self.strategy.on_unload()
