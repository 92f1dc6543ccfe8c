"""The shipped strategies, loaded as the engine loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from reconciler.strategy.testing import load_strategy

STRATEGIES = Path(__file__).parents[2] / "strategies"


@pytest.fixture(scope="session")
def dca_class() -> Any:
    return load_strategy(STRATEGIES / "dca.py")


@pytest.fixture(scope="session")
def sma_cross_class() -> Any:
    return load_strategy(STRATEGIES / "sma_cross.py")


@pytest.fixture(scope="session")
def grid_class() -> Any:
    return load_strategy(STRATEGIES / "grid.py")
