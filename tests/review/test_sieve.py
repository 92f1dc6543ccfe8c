from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence

import pytest

from reconciler.records import evaluator
from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import DefinitionFacts
from reconciler.records.snapshot import SourceFile
from reconciler.review import judging as sieve
from reconciler.review.judging import Sieve, worthwhile_helpers
from tests.review.revisions import record, source

FACTS = {"drift": DefinitionFacts("drift", "strategies/drift.py", "c0de", {"type": "object"}, committed=True)}
FILES = [
    source(f"instances/a{n}.yaml", record(f"a{n}", config="[]" if n % 10 == 7 else "{}"), committed=True)
    for n in range(200)
]
GOOD = [file for number, file in enumerate(FILES) if number % 10 != 7]
HELPERS = [0, 1, 3]


def passed(files: Sequence[SourceFile], helpers: int, facts: dict[str, DefinitionFacts] | None = None) -> list[str]:
    with Sieve(files, (), Accounts(), helpers) as one:
        return [file.path for file in one.passed(FACTS if facts is None else facts)]


def paths(files: Sequence[SourceFile]) -> list[str]:
    return [file.path for file in files]


@pytest.mark.parametrize("helpers", HELPERS)
def test_what_is_valid_passes_in_order_whoever_looked_at_it(helpers: int) -> None:
    assert passed(FILES, helpers) == paths(GOOD)


@pytest.mark.parametrize("helpers", HELPERS)
def test_few_files_and_none_are_sifted_too(helpers: int) -> None:
    assert passed(FILES[:3], helpers) == paths(FILES[:3])
    assert passed([], helpers) == []


@pytest.mark.parametrize("helpers", HELPERS)
def test_nothing_passes_of_a_strategy_that_is_not_there(helpers: int) -> None:
    assert passed(FILES, helpers, {}) == []


def test_helpers_take_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()
    monkeypatch.setattr(sieve, "is_valid", lambda *_: os.getpid() != here)
    with Sieve(FILES, (), Accounts(), 1) as one:
        (only,) = one._helpers
        only.tell(FACTS)
        os.waitid(os.P_PID, only.pid, os.WEXITED | os.WNOWAIT)  # it took all, since nobody else did
        assert paths(one.passed(FACTS)) == paths(FILES)


@pytest.mark.parametrize("helpers", [1, 3])
def test_the_shares_of_a_helper_that_dies_have_not_passed_and_the_others_have(
    helpers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, is_valid = os.getpid(), evaluator.is_valid

    def die_elsewhere(file: SourceFile, *by: object) -> bool:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return is_valid(file, *by)  # type: ignore[arg-type]

    monkeypatch.setattr(sieve, "is_valid", die_elsewhere)
    with Sieve(FILES, (), Accounts(), helpers) as one:
        found = paths(one.passed(FACTS))
    lost = set(paths(GOOD)) - set(found)
    assert set(found) < set(paths(GOOD)) or not lost
    assert len(lost) <= helpers * len(FILES) / ((helpers + 1) * 8) + helpers


def test_where_the_system_allows_no_more_processes_the_others_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = os.fork
    made: list[bool] = []

    def forked() -> int:
        if made:
            raise BlockingIOError("no more of them")
        made.append(True)
        return fork()

    monkeypatch.setattr(os, "fork", forked)
    assert passed(FILES, 3) == paths(GOOD)


def test_whatever_happens_meanwhile_no_helper_is_left_behind() -> None:
    with pytest.raises(KeyboardInterrupt), Sieve(FILES, (), Accounts(), 2) as one:
        raise KeyboardInterrupt
    for left in one._helpers:
        with pytest.raises(ProcessLookupError):
            os.kill(left.pid, 0)


def test_helpers_are_for_many_files_and_as_many_as_there_are_cores_besides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    assert [worthwhile_helpers(files) for files in (0, 999, 1_000, 2_500, 10_000)] == [0, 0, 1, 2, 3]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert worthwhile_helpers(10_000) == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(500)))
    assert worthwhile_helpers(1_000_000) == 30


def test_a_process_with_threads_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)))
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert worthwhile_helpers(10_000) == 0
    end.set()
    thread.join()
