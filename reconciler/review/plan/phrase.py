"""A phrase: a sentence of ours with words from files in it, kept apart until a printer makes them safe. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Phrase(NamedTuple):
    """`words` are ours, with `{}` where each of the foreign `values` belongs. No foreign text is ever in `words`."""

    words: str
    values: tuple[str, ...] = ()

    def render(self, safe: Callable[[str], str]) -> str:
        """The sentence, each foreign value as `safe` gives it."""
        return self.words.format(*map(safe, self.values))

    def __str__(self) -> str:
        return self.render(str)


def phrase(words: str, *values: str) -> Phrase:
    """`phrase("moved from {}", path)`"""
    return Phrase(words, values)
