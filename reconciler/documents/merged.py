"""Merged values: what an instance's file says, upon what its template does, and where each of them stands. Pure.

Mappings merge key by key, everything else is taken whole, and the instance wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from reconciler.documents.document import Document, Mark
from reconciler.documents.pointer import Path

INHERITED: Final = ("config", "limits", "labels", "open_orders")
"""What a template may hold, and a record takes from it."""


@dataclass(frozen=True)
class Merged:
    """An instance's document upon its template's. Both hold a mapping."""

    instance: Document
    template: Document

    @cached_property
    def values(self) -> dict[str, Any]:
        """The record's values; keys that only the template has come last."""
        own: dict[str, Any] = self.instance.values
        inherited = self._inherited
        return own | {key: merged(value, own[key]) if key in own else value for key, value in inherited.items()}

    def place(self, path: Path) -> Mark:
        """Where the value at `path` begins, in the file it comes from; its nearest ancestor where it is in neither."""
        return self._origin(path).place(path)

    def key_place(self, path: Path) -> Mark:
        """Where the key of the value at `path` begins, in the file it comes from."""
        return self._origin(path).key_place(path)

    def place_to_add(self, path: Path) -> Mark:
        """Where to say that a key is missing in the mapping at `path`: in the instance's file, which may add it.

        Where that does not even begin the mapping, at the key `template`. Lists are not merged: what is missing
        within one is missing in the file that has it.
        """
        if any(isinstance(step, int) for step in path):
            return self.key_place(path)
        return self.instance.key_place(path if path[:1] == () or path[0] in self.instance.values else ("template",))

    @property
    def _inherited(self) -> dict[str, Any]:
        return {key: self.template.values[key] for key in INHERITED if key in self.template.values}

    def _origin(self, path: Path) -> Document:
        own, inherited = self.instance.values, self._inherited
        for step in path:
            if not _merge(inherited, own) or step not in inherited:
                break
            if step not in own:
                return self.template
            own, inherited = own[step], inherited[step]
        return self.instance


def merged(inherited: Any, own: Any) -> Any:
    """`own` upon `inherited`, as new values where both are mappings, else `own` itself."""
    if not _merge(inherited, own):
        return own
    return inherited | {key: merged(inherited[key], value) if key in inherited else value for key, value in own.items()}


def _merge(inherited: Any, own: Any) -> bool:
    """True for two mappings; two references to secrets are two values, one of which replaces the other."""
    both = isinstance(inherited, dict) and isinstance(own, dict)
    return both and not (_is_reference(inherited) and _is_reference(own))


def _is_reference(values: dict[str, Any]) -> bool:
    return len(values) == 1 and not values.keys().isdisjoint(("env", "file"))
