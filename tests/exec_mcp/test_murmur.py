"""What servers write to their standard error: marked, bounded, its last lines kept."""

from __future__ import annotations

import logging

import pytest

from reconciler.clock import FakeClock
from reconciler.exec_mcp.connection import Murmur


def test_sixty_lines_a_minute_are_told_and_of_the_others_how_many_there_were(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    murmur = Murmur("kraken", clock, lambda text: text.replace("hush", "•••"))
    for number in range(70):
        murmur.heard(f"hush {number}\n")
    murmur.heard("  \n")
    clock.advance(60)
    murmur.heard("x" * 1_000)
    told = [(record.message, getattr(record, "line", getattr(record, "lines", None))) for record in caplog.records]
    assert told[:1] == [("exec-mcp server wrote", "••• 0")]
    assert told[59:] == [
        ("exec-mcp server wrote", "••• 59"),
        ("exec-mcp server wrote more", 10),
        ("exec-mcp server wrote", "x" * 500),
    ]
    assert {record.__dict__["server"] for record in caplog.records} == {"kraken"}
    assert murmur.last() == (*(f"••• {number}" for number in range(51, 70)), "x" * 500)
