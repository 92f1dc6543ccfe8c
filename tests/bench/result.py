"""One row of the benchmark's table: what was measured, against what, and whether it reached its goal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """What one `measure()` found.

    `figure` and `peer` are the two measurements as a person reads them, with their unit (`0.41 ms`,
    `12.3 µs a call`); `peer` names what it was measured against where there is one, and is empty where
    the goal is absolute. `ratio` is figure ÷ peer, None where there is no peer. `to_reach` is the goal in
    the design's words. `note` says what a reader must know to trust the row.
    """

    work: str
    to_reach: str
    figure: str
    ok: bool
    peer: str = ""
    ratio: float | None = None
    note: str = ""
