"""How many examples the property tests draw: always the same ones by default, the first of them while one works
(`make quick`), many new ones each night."""

from __future__ import annotations

import os

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "steady")
USUAL = 50
_TIMES = {"few": 0.2, "steady": 1, "new": 20}


def drawn(number: int) -> int:
    """`number` where a test says how many it needs; of new ones twenty times as many, of a few a fifth."""
    return int(number * _TIMES[PROFILE])
