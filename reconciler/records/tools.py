"""The tools of an exec-mcp server as they were when somebody last stood by them. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Shape: TypeAlias = Mapping[str, Mapping[str, str]]
"""By the server's name of a tool: what is known of it, each fact with a digest. A tool that is not there has none."""


@dataclass(frozen=True, slots=True)
class KnownTools:
    """`mapping` identifies what they are used by: under another mapping, or at another address, they are not known.

    `changed` says how they were found changed, empty where they were not, or somebody has looked since.
    """

    mapping: str
    shape: Shape
    changed: str = ""
