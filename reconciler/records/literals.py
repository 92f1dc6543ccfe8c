"""Literals that look like keys: well-known prefixes of credentials, and private key blocks. Pure.

They are looked for in the text of a file, comments included: what was committed has leaked, wherever it stood.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Literal(NamedTuple):
    """What looks like a key: which kind, and where it begins, counted from 1. Never the text itself."""

    what: str
    line: int
    column: int


def find(text: str) -> list[Literal]:
    """Everything in `text` that looks like a key, in order."""
    found = []
    for what, prefix, form in _FORMS:
        # Nearly every file ends here, so this is a plain search for a word.
        if prefix in text:
            found += [(match.start(), what) for match in form.finditer(text) if _begins_a_word(text, match.start())]
    return [_at(text, offset, what) for offset, what in sorted(found)]


def _begins_a_word(text: str, offset: int) -> bool:
    return offset == 0 or not text[offset - 1].isalnum()


def _at(text: str, offset: int, what: str) -> Literal:
    return Literal(what, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def _form(what: str, prefix: str, rest: str) -> tuple[str, str, re.Pattern[str]]:
    return what, prefix, re.compile(re.escape(prefix) + rest)


_FORMS: Final = (
    *(_form("an AWS access key", prefix, "[0-9A-Z]{12,}") for prefix in ("AKIA", "ASIA")),
    *(_form("a Stripe key", prefix, "[0-9A-Za-z]{8,}") for prefix in ("sk_live_", "sk_test_", "rk_live_")),
    *(_form("a GitHub token", f"gh{kind}_", "[0-9A-Za-z]{16,}") for kind in "oprsu"),
    _form("a GitHub token", "github_pat_", "[0-9A-Za-z_]{16,}"),
    _form("a GitLab token", "glpat-", "[0-9A-Za-z_-]{16,}"),
    _form("a Slack token", "xox", "[abeoprs]-[0-9A-Za-z-]{8,}"),
    _form("a Google API key", "AIza", "[0-9A-Za-z_-]{24,}"),
    _form("an API key", "sk-", "[0-9A-Za-z_-]{32,}"),
    _form("a JSON Web Token", "eyJ", r"[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}(?:\.[0-9A-Za-z_-]*)?"),
    _form("a private key", "-----BEGIN ", "(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
)
