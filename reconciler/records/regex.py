"""Regular expressions of schemas, matched in time linear in the text, whoever wrote them. Pure.

One engine decides wherever a pattern counts: jsonschema-rs's linear one, which knows no look-around and no
back-references, reads `\\d` and `\\w` as ASCII, and takes `$` for the end of the text and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jsonschema_rs import RegexOptions

_SIZE_BYTES: Final = 2**18
"""Of a pattern made ready. The time to match grows with it: `(.{0,300}){0,30}` is linear, and may take a minute."""
_CACHE_BYTES: Final = 2**24
"""Where the engine keeps what it found out about a pattern; ten times slower where a large one does not fit."""


def matches(pattern: str, text: str) -> bool:
    """True where `pattern` is found somewhere in `text`. Raises ValueError where it is not `is_usable`."""
    return _matcher(pattern)(text)


def is_usable(pattern: str) -> bool:
    """True where the engine takes `pattern`."""
    try:
        _matcher(pattern)
    except ValueError:
        return False
    return True


def options() -> RegexOptions:
    """How jsonschema-rs must be told to match, to match as `matches` does."""
    from jsonschema_rs import RegexOptions

    return RegexOptions(size_limit=_SIZE_BYTES, dfa_size_limit=_CACHE_BYTES)


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> Callable[[str], bool]:
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator({"pattern": pattern}, pattern_options=options(), offline=True).is_valid
