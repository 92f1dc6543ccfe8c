"""What a host is given and what it reports can be sent to another process."""

from __future__ import annotations

import pickle
import subprocess
import sys
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from reconciler.errors import ReconcilerError
from reconciler.records.mode import Mode
from reconciler.runtime.protocol import LoadSpec, Made, Report, RuntimeFacts, Shown
from reconciler.strategy.base import Strategy
from reconciler.strategy.definition import Definition
from reconciler.strategy.module_loading import load, reloaded
from tests.runtime.conftest import MakeRow, Stage

SOURCE = """
# Größe
from reconciler.strategy import Strategy, metric

class Sent(Strategy):
    TICK_MINUTES = 0.5
    CONFIG_SCHEMA = {"type": "object"}

    def init(self):
        pass

    def on_tick(self):
        pass

    def render(self):
        return [metric("at", "At", __name__)]
"""
THERE = """
import pickle, sys
spec = pickle.loads(sys.stdin.buffer.read())
made = spec.definition.cls()
print(spec.row.id, spec.definition.cadence_steps, made.render()[0]["value"])
"""


class Idle(Strategy):
    TICK_MINUTES = 1.0
    CONFIG_SCHEMA: ClassVar = {"type": "object"}


def test_what_is_to_be_loaded_is_sent_as_its_source_and_loaded_there(make_row: MakeRow) -> None:
    definition = load("sent", SOURCE.encode(), "strategies/sent.py", "5e17")
    assert isinstance(definition, Definition)
    sent = pickle.dumps(LoadSpec(make_row("a"), definition))
    assert SOURCE.encode() in sent
    there = subprocess.run(
        [sys.executable, "-c", THERE], input=sent, capture_output=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert there.stdout.decode().split() == ["a", "5", "_reconciler_strategy_sent_5e17"]


def test_what_cannot_be_loaded_there_says_why() -> None:
    with pytest.raises(ReconcilerError, match=r"strategies/a\.py:1:6.*syntax error"):
        reloaded("a", b"class", "strategies/a.py", "1")


def test_what_is_reported_and_known_of_an_instance_is_plain_values(stage: Stage, make_row: MakeRow) -> None:
    stage.load(Idle, make_row("a", mode=Mode.OBSERVE))
    facts = stage.host.facts("a")
    assert isinstance(facts, RuntimeFacts)
    assert pickle.loads(pickle.dumps(facts)) == facts
    assert pickle.loads(pickle.dumps(stage.reports)) == stage.reports
    for value in (Made(5, 0.0), Shown()):
        assert pickle.loads(pickle.dumps(value)) == value
    plain = {str, int, float, bool, tuple, type(None)}
    for kind in typing.get_args(Report):
        assert is_dataclass(kind)
        hints = typing.get_type_hints(kind)
        assert {typing.get_origin(hints[field.name]) or hints[field.name] for field in fields(kind)} <= plain, kind
