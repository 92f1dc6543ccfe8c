"""The formats that a report can be written in, by name. A format's module is imported when it is first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Final

from reconciler.review.report import Report

Render = Callable[[Report], str]


def _lazy(name: str) -> Render:
    def render(report: Report) -> str:
        written: str = import_module(f"reconciler.review.{name}").render(report)
        return written

    return render


FORMATS: Final[Mapping[str, Render]] = MappingProxyType(
    {name: _lazy(name) for name in ("text", "json", "github", "gitlab", "sarif", "junit")}
)
"""Name → what writes a report that way: text without a final line break, empty where there is nothing to write."""
