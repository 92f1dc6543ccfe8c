"""A strategy as text, and loading it."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Callable, Iterator

import pytest

from reconciler.errors import Problem
from reconciler.strategy.definition import Definition
from reconciler.strategy.module_loading import forget, load

Load = Callable[..., Definition | tuple[Problem, ...]]

GOOD = '''
from reconciler.strategy import Strategy, metric


class Grid(Strategy):
    """Keeps a ladder.

    Of orders.
    """

    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {"type": "object", "properties": {"levels": {"type": "integer", "default": 5}}}

    def on_tick(self):
        raise ValueError("from on_tick")

    def render(self):
        return [metric("a", "A", 1)]
'''.lstrip()


@pytest.fixture
def good() -> str:
    return GOOD


@pytest.fixture
def digest_of() -> Callable[[bytes], str]:
    return lambda data: hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@pytest.fixture
def load_text(digest_of: Callable[[bytes], str]) -> Iterator[Load]:
    """`load_text(source, **options)` as strategies/grid.py; what was loaded is forgotten afterwards."""
    loaded: list[Definition] = []

    def loading(source: str | bytes, **options: float) -> Definition | tuple[Problem, ...]:
        data = source if isinstance(source, bytes) else textwrap.dedent(source).encode()
        result = load("grid", data, "strategies/grid.py", digest_of(data), **options)  # type: ignore[arg-type]
        if isinstance(result, Definition):
            loaded.append(result)
        return result

    yield loading
    for definition in loaded:
        forget(definition)


@pytest.fixture
def problems_of(load_text: Load) -> Callable[..., tuple[Problem, ...]]:
    """The problems of a source that must not load."""

    def refused(source: str | bytes, **options: float) -> tuple[Problem, ...]:
        result = load_text(source, **options)
        assert not isinstance(result, Definition)
        assert result
        return result

    return refused


@pytest.fixture
def definition_of(load_text: Load) -> Callable[..., Definition]:
    """The definition in a source that must load."""

    def accepted(source: str | bytes) -> Definition:
        result = load_text(source)
        assert isinstance(result, Definition), result
        return result

    return accepted
