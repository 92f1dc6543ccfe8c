"""Remembering the tools of servers, so that what changed while nobody looked shows after a restart, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from reconciler.records.tools import KnownTools


class ToolMemory(Protocol):
    """The engine's is the store. Neither method waits."""

    def known(self, server: str) -> KnownTools | None:
        """The server's tools as they were last kept, None where they never were."""
        ...

    def keep(self, server: str, tools: KnownTools) -> None: ...


class Recollection:
    """A memory that ends with the process: of a look at servers, and of the exchange that the engine embeds."""

    def __init__(self, known: Mapping[str, KnownTools] | None = None) -> None:
        self._known = dict(known or {})

    def known(self, server: str) -> KnownTools | None:
        return self._known.get(server)

    def keep(self, server: str, tools: KnownTools) -> None:
        self._known[server] = tools
