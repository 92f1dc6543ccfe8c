"""A fingerprint tells whether a problem of this report is one that an earlier report had. Pure.

Servers keep fingerprints for years, so what goes into one never changes: where the file is, which rule, which value,
and what was expected there. Not the line, which moves, nor the place in a list, which an item put in before it moves;
not what stood there instead, which is another try at the same.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from hashlib import sha256
from typing import Final

from reconciler.errors import Problem
from reconciler.review.report import Report

_FOUND: Final = re.compile(r", (was|were) .*", re.DOTALL)
_INDEX: Final = re.compile(r"\[\d+\]")
_MORE: Final = re.compile(r"\band [\d,]+ more\b")
_LINE: Final = re.compile(r"\b(line|column) \d+")


def fingerprints(report: Report) -> tuple[str, ...]:
    """One for each problem of the report, in its order: 64 hex digits, no two the same.

    Problems that differ only in their line, or their place in a list, are counted from the top of the file.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for problem in report.problems:
        kind = (report.folder + problem.path, problem.rule, _INDEX.sub("[]", problem.pointer), _expectation(problem))
        seen[kind] += 1
        found.append(sha256(json.dumps([*kind, seen[kind]]).encode()).hexdigest())
    return tuple(found)


def _expectation(problem: Problem) -> str:
    return _LINE.sub(r"\1", _MORE.sub("and more", _FOUND.sub("", problem.message)))
