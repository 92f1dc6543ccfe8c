"""Origins: the line that each value of a record comes from, as people write it: `instances/a.yaml:7`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reconciler.records.document import Document
from reconciler.records.evaluation import Evaluation
from reconciler.records.merged import Merged
from reconciler.records.pointer import Path, spell


def leaves(values: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value with its path: mappings are opened up, lists and empty mappings are values."""
    if isinstance(values, dict) and values:
        for key, inner in values.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path, values


def holds(values: Any, path: Path) -> bool:
    """True where there is a value at `path`, which leads through mappings."""
    for step in path:
        if not isinstance(values, dict) or step not in values:
            return False
        values = values[step]
    return True


def line_of(located: Document | Merged, path: Path) -> str:
    """`instances/a.yaml:7`: the file and line that the value at `path` comes from."""
    place = located.place(path)
    return f"{place.path}:{place.line}"


def origins(evaluation: Evaluation) -> dict[str, str]:
    """File and line of every value that was written, by its pointer; nothing where the file does not parse."""
    located = evaluation.located()
    if located is None:
        return {}
    return {spell(path): line_of(located, path) for path, _ in leaves(located.values) if path}
