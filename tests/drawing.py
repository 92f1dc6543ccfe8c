"""How many examples the property tests draw: few and always the same ones by default, many new ones each night."""

from __future__ import annotations

import os

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "steady")
USUAL = 50
_TIMES = 20


def drawn(number: int) -> int:
    """`number` where a test says how many it needs; of new ones twenty times as many."""
    return number if PROFILE == "steady" else number * _TIMES
