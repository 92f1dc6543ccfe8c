"""A fleet repository of one's own: each of its files and the text to begin with. Pure; the texts lie in `files/`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from reconciler import __version__
from reconciler.records.mode import Mode
from reconciler.review.editor import EDITOR_SETTINGS
from reconciler.review.scaffold.instance import Wanted, instance_file
from reconciler.strategy.definition import Definition
from reconciler.strategy.module_loading import load

_FILES: Final = Path(__file__).with_name("files")
_EXAMPLE: Final = {"strategies/dip.py": "dip.py", "tests/test_dip.py": "test_dip.py"}
_SURROUNDINGS: Final = {
    "README.md": "README.md",
    "reconciler.yaml": "reconciler.yaml",
    "requirements.txt": "requirements.txt",
    ".gitignore": "gitignore.txt",
}
_AT_THE_TOP: Final = {
    ".github/workflows/fleet.yml": "workflow.yaml",
    ".pre-commit-config.yaml": "pre-commit-config.yaml",
}
_LIMITS: Final = {
    "max_order_notional": "500",
    "max_position": "1000",
    "max_open_orders": 4,
    "max_orders_per_minute": 4,
    "max_daily_loss": "50",
    "max_price_deviation": "0.02",
}
_INSTANCE: Final = Wanted("eur-usd-dip", "dip", "main", "desk-a", "EUR/USD", Mode.OBSERVE, limits=_LIMITS)
_EDITOR: Final = {
    ".vscode/settings.json": EDITOR_SETTINGS,
    ".vscode/extensions.json": {"recommendations": ["redhat.vscode-yaml"]},
}

NEEDED: Final = {".gitignore": ".reconciler/", "requirements.txt": f"strategy-reconciler=={__version__}"}
"""A line that a file must have even where it is one's own: the engine's state is never committed, CI installs this."""


def example() -> dict[str, str]:
    """A strategy, its test and an instance that observes."""
    texts = _texts(_EXAMPLE)
    path = "strategies/dip.py"
    definition = load("dip", texts[path].encode(), path, hashlib.sha1(texts[path].encode()).hexdigest())
    assert isinstance(definition, Definition), definition
    draft = instance_file(_INSTANCE, definition.description, definition.config_schema)
    return {**texts, draft.path: draft.text}


def surroundings() -> dict[str, str]:
    """What stands around instances and strategies, but for the schemas, which come from the strategies."""
    editor = {path: json.dumps(settings, indent=2) + "\n" for path, settings in _EDITOR.items()}
    return {**_texts(_SURROUNDINGS), **editor}


def at_the_top() -> dict[str, str]:
    """What counts only at the top of a git repository, for a fleet that is the whole of one."""
    return _texts(_AT_THE_TOP)


def _texts(names: dict[str, str]) -> dict[str, str]:
    texts = {path: (_FILES / name).read_text(encoding="utf-8") for path, name in names.items()}
    return {path: text.replace("=={version}", f"=={__version__}") for path, text in texts.items()}
