"""Makers of the values that reports are made from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.errors import Problem
from reconciler.records.evaluation import Evaluation
from reconciler.records.snapshot import Snapshot, SourceFile

STRATEGY = b"""\
from reconciler.strategy import Strategy


class Drift(Strategy):
    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {"type": "object", "properties": {"levels": {"type": "integer"}}}

    def on_tick(self):
        pass
"""


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    def make(path: str, *problems: Problem) -> Evaluation:
        return Evaluation(path, "", None, None, None, "", "", "", problems)

    return make


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    """A snapshot of these files, paths → bytes, beside one good strategy, `drift`."""

    def make(files: dict[str, bytes], halt: bytes | None = None) -> Snapshot:
        def source(path: str, data: bytes) -> SourceFile:
            return SourceFile(path, data, f"digest of {path}", committed=False)

        files = {**files, "strategies/drift.py": STRATEGY}
        return Snapshot(
            instances=tuple(source(p, d) for p, d in sorted(files.items()) if p.startswith("instances/")),
            templates=(),
            strategies=tuple(source(p, d) for p, d in sorted(files.items()) if p.startswith("strategies/")),
            halt=None if halt is None else source("instances/_halt.yaml", halt),
            revision=None,
            clean=False,
            whole=True,
        )

    return make
