from __future__ import annotations

from typing import Any

import pytest

from reconciler.strategy.base import frozen


def test_a_config_is_read_only_all_the_way_down() -> None:
    config: Any = frozen({"a": 1, "b": {"c": [{"d": 2}]}})
    assert config["b"]["c"][0]["d"] == 2
    for part in (config, config["b"], config["b"]["c"], config["b"]["c"][0]):
        with pytest.raises(TypeError):
            part["a"] = 5
