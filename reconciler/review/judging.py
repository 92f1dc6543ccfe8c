"""Judging a snapshot by its own strategies. Loads them; reads nothing else.

Of a large fleet most files are only sifted, by copies of this process side by side: those that have no problem.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import threading
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, NoReturn, Self

from reconciler.records.accounts import Accounts
from reconciler.records.crosscheck import EvaluationCache, contested_id, evaluate_all
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.evaluator import is_valid
from reconciler.records.snapshot import Snapshot, SourceFile, named_id
from reconciler.records.template import templates_by_name
from reconciler.strategy.catalogue import Catalogue

Work = Callable[[Any], Iterable[int]]


class Helper:
    """One copy. `work` turns what it is told into numbers."""

    def __init__(self, work: Work) -> None:
        """Raises OSError where the system allows no more of them."""
        self._line, theirs = socket.socketpair()
        with theirs:
            try:
                self.pid = os.fork()
            except OSError:
                self._line.close()
                raise
            if not self.pid:
                self._line.close()  # or it would never see the end of what it is told
                _live(work, theirs)

    def tell(self, value: Any) -> None:
        with suppress(OSError):  # it is dead, as its answer will show
            self._line.sendall(pickle.dumps(value))
            self._line.shutdown(socket.SHUT_WR)

    def answer(self) -> array[int]:
        """All numbers, or those that it came to say: each of them is true by itself."""
        said = _received(self._line)
        numbers = array("I")
        numbers.frombytes(said[: len(said) - len(said) % numbers.itemsize])
        return numbers

    def end(self) -> None:
        self._line.close()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _live(work: Work, line: socket.socket) -> NoReturn:
    """All of a helper's life. It ends without a trace: buffers, messages and exit handlers are its parent's."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        line.sendall(array("I", work(pickle.loads(_received(line)))).tobytes())
    finally:
        os._exit(0)


def _received(line: socket.socket) -> bytes:
    """What comes until the other side ends, one way or another."""
    parts = []
    with suppress(OSError):
        while part := line.recv(65_536):
            parts.append(part)
    return b"".join(parts)


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


def judge(
    snapshot: Snapshot, accounts: Accounts, catalogue: Catalogue, cache: EvaluationCache
) -> tuple[Evaluation, ...]:
    """An evaluation of every record file. Leaves `catalogue` at the strategies of this snapshot.

    What `cache` has judged before is not judged again, where file, template, strategy and accounts are the
    same objects as then.
    """
    catalogue.refresh(snapshot.strategies)
    return evaluate_all(snapshot.instances, snapshot.templates, catalogue.facts, accounts, catalogue.types(), cache)


class Sifted(NamedTuple):
    """The record files of a snapshot: the paths of `valid` ones, and an evaluation of each of the others, in order.

    The others are those with problems, and perhaps some without.
    """

    valid: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]


def sift(snapshot: Snapshot, accounts: Accounts, catalogue: Catalogue) -> Sifted:
    """Find the same problems as `judge` in a fraction of the time, where most files have none.

    Leaves `catalogue`, which must be new, at the strategies of this snapshot.
    """
    files, templates = snapshot.instances, snapshot.templates
    with Sieve(files, templates, accounts, worthwhile_helpers(len(files))) as sieve:
        catalogue.refresh(snapshot.strategies)
        found = {name: facts for name in catalogue.types() if (facts := catalogue.facts(name)) is not None}
        passed = [file.path for file in sieve.passed(found)]
    cache = EvaluationCache()

    def all_but(valid: Collection[str]) -> tuple[Evaluation, ...]:
        others = [file for file in files if file.path not in valid]
        return evaluate_all(others, templates, catalogue.facts, accounts, catalogue.types(), cache)

    evaluations = all_but(frozenset(passed))
    names = [named_id(path) for path in passed]  # a valid file has the id it is named after
    claims = Counter((*names, *map(contested_id, evaluations)))
    valid = tuple(path for path, name in zip(passed, names, strict=True) if claims[name] == 1)
    return Sifted(valid, evaluations if len(valid) == len(passed) else all_but(frozenset(valid)))
