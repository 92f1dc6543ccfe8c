"""The ready-made mappings: files that ship with the package, in the very words of the settings."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

from reconciler.records.document import Document, parse

FOLDER: Final = Path(__file__).parent.parent / "mappings"


def names() -> tuple[str, ...]:
    """What may stand after `mapping:`."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def ready(name: str) -> dict[str, Any]:
    """`{bind, tools}` of the ready-made mapping of that name. Do not change what you are given."""
    path = FOLDER / f"{name}.yaml"
    document = parse(path.read_bytes(), path.name)
    assert isinstance(document, Document), document
    return dict(document.values)
