"""Scrubbing: secrets are taken out of whatever is shown, logged or written down. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

HIDDEN: Final = "•••"
_TELLING: Final = 8
"""A word of a secret that is this long is a secret itself: what stands behind `Bearer`."""


def parts(secrets: Iterable[str]) -> tuple[str, ...]:
    """The secrets, and their words: somebody may say back only one of them."""
    found = {secret: None for secret in secrets if secret}
    words = (word for secret in tuple(found) for word in secret.split() if len(word) >= _TELLING)
    return tuple(found | dict.fromkeys(words))


def scrub(text: str, secrets: tuple[str, ...]) -> str:
    """`text` with every secret hidden, also as `repr` would have written it."""
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = text.replace(secret, HIDDEN).replace(repr(secret)[1:-1], HIDDEN)
    return text


def scrub_values(value: Any, secrets: tuple[str, ...]) -> Any:
    """The same for every string within JSON-ready values, keys included."""
    match value:
        case str():
            return scrub(value, secrets)
        case Mapping():
            return {scrub(key, secrets): scrub_values(item, secrets) for key, item in value.items()}
        case list() | tuple():
            return type(value)(scrub_values(item, secrets) for item in value)
    return value
