"""Fixtures: the main loop that the engines of a simulation share, and an empty database to copy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.store.store import Store
from tests.execution.standins import MainLoop


@pytest.fixture
def main_loop() -> Iterator[MainLoop]:
    loop = MainLoop()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once, and copied: making the tables anew for every life takes longer than all that happens in one."""
    path = tmp_path_factory.mktemp("simulation") / "empty.db"
    Store.open(path, FakeClock()).close()
    return path
