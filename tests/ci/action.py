"""action.yml of this repository, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

ACTION = Path(__file__).parents[2] / "action.yml"


def parsed() -> Any:
    return yaml.load(ACTION.read_text(encoding="utf-8"), yaml.BaseLoader)


def steps() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = parsed()["runs"]["steps"]
    return found
