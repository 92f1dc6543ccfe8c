"""The sieve: which record files are certainly valid, found on all cores. Nothing is decided here: what does not pass
is judged as ever (`judging`).

Helpers are forked before a strategy is imported, and so before there are threads or foreign code. Each takes shares
of the files, as this process does, and says which of them pass; of the shares of one that died, none has.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import DefinitionFacts
from reconciler.records.evaluator import is_valid
from reconciler.records.snapshot import SourceFile
from reconciler.records.template import templates_by_name

if TYPE_CHECKING:
    from reconciler.review.helper import Helper

_FEW: Final = 1_000
"""So many files are judged in about the time that a helper takes to begin."""
_MOST_HELPERS: Final = 30
_SHARES_EACH: Final = 8
"""Small enough that nobody waits long for the last, whichever core is busy with something else."""


def worthwhile_helpers(files: int) -> int:
    """How many helpers so many files are worth; none where a copy of this process could not be trusted to run."""
    if sys.platform != "linux" or threading.active_count() > 1:
        return 0
    return min(len(os.sched_getaffinity(0)) - 1, files // _FEW, _MOST_HELPERS)


class Sieve:
    """One sifting of `files`, which build on `templates`. Enter it before strategies are imported; not thread-safe."""

    def __init__(
        self, files: Sequence[SourceFile], templates: Sequence[SourceFile], accounts: Accounts, helpers: int
    ) -> None:
        self._files = files
        self._templates = templates_by_name(templates)
        self._accounts = accounts
        self._shares = (helpers + 1) * _SHARES_EACH
        self._queue, end = os.pipe()  # a byte per share: whoever reads it takes it
        os.write(end, bytes(range(self._shares)))
        os.close(end)
        self._helpers: list[Helper] = []
        if helpers:
            self._get_help(helpers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for helper in self._helpers:
            helper.end()
        os.close(self._queue)

    def passed(self, definitions: Mapping[str, DefinitionFacts]) -> list[SourceFile]:
        """The files that certainly are valid, each by itself, in their order. To be asked once."""
        for helper in self._helpers:
            helper.tell(definitions)
        found = set(self._sift(definitions))
        for helper in self._helpers:
            found.update(helper.answer())
        return [file for number, file in enumerate(self._files) if number in found]

    def _get_help(self, helpers: int) -> None:
        from reconciler.review.helper import Helper

        with suppress(OSError):  # fewer will do
            for _ in range(helpers):
                self._helpers.append(Helper(self._sift))

    def _sift(self, definitions: Mapping[str, DefinitionFacts]) -> Iterator[int]:
        """The numbers of those that pass, share by share, for as long as there are any left."""
        types = sorted(definitions)
        while share := os.read(self._queue, 1):
            for number in range(share[0], len(self._files), self._shares):
                if is_valid(self._files[number], definitions.get, self._accounts, types, self._templates):
                    yield number
