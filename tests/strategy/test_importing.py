"""Imports beside the pass: slow, failing and hanging ones hold nobody up, and none is final but for its source."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from reconciler.clock import FakeClock
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.definition import Definition
from reconciler.strategy.importing import Importer, Importing
from reconciler.strategy.module_loading import Version, forget

DEADLINE_S = 30.0
GATE = "_test_import_gate"


class Stage:
    """An importer at a fake clock. Sources that begin with `GATED` wait at a gate, and fail where `fault` is set."""

    GATED = f"import {GATE}\n{GATE}.enter(__name__)\n"

    def __init__(self, good: str) -> None:
        self.good = good
        self.clock = FakeClock()
        self.heard = 0
        self.importer = Importer(self.clock, self._hear, DEADLINE_S)
        self.taken: dict[tuple[str, str], object] = {}
        self.entered: list[str] = []
        self.gate = threading.Event()
        self.fault: Exception | None = None
        module = ModuleType(GATE)
        module.enter = self._enter  # type: ignore[attr-defined]
        sys.modules[GATE] = module

    def _hear(self) -> None:
        self.heard += 1

    def _enter(self, name: str) -> None:
        self.entered.append(name)
        if self.fault is not None:
            raise self.fault
        self.gate.wait(30)

    def version(self, name: str, before: str = "", more: str = "") -> Version:
        source = (before + self.good + more).encode()
        return Version(name, source, f"strategies/{name}.py", hashlib.sha1(source, usedforsecurity=False).hexdigest())

    def want(self, *versions: Version) -> None:
        self.importer.want(versions)

    def state(self, version: Version) -> Importing | None:
        return self.importer.state((version.strategy_type, version.digest))

    def until(self, condition: Callable[[], object]) -> None:
        pause = threading.Event()
        for _ in range(20_000):
            if condition():
                return
            pause.wait(0.001)
        raise AssertionError("waited in vain")

    def until_taken(self, version: Version, advancing_s: float = 0.0) -> object:
        key = (version.strategy_type, version.digest)

        def is_there() -> bool:
            self.clock.advance(advancing_s)
            self.taken.update(self.importer.take())
            return key in self.taken

        self.until(is_there)
        return self.taken[key]

    def until_entered(self, times: int) -> None:
        self.until(lambda: len(self.entered) == times)

    def until_told(self, version: Version, told: str) -> None:
        self.until(lambda: told in self.until_failed(version).message)

    def until_failed(self, version: Version) -> Importing:
        self.until(lambda: (state := self.state(version)) is not None and state.problems)
        found = self.state(version)
        assert found is not None
        return found


@pytest.fixture
def stage(good: str) -> Iterator[Stage]:
    one = Stage(good)
    yield one
    one.gate.set()
    one.importer.stop()
    one.taken.update(one.importer.take())
    for found in one.taken.values():
        if isinstance(found, Definition):
            forget(found)
    del sys.modules[GATE]


def test_code_comes_while_nobody_waits_for_it_and_whoever_wants_it_is_told(stage: Stage) -> None:
    slow = stage.version("slow", stage.GATED)
    stage.want(slow)
    stage.until(lambda: stage.entered)
    assert stage.importer.is_busy
    assert stage.state(slow) == Importing("CodeLoading", "strategies/slow.py is being imported")
    heard = stage.heard
    stage.gate.set()
    assert isinstance(stage.until_taken(slow), Definition)
    stage.until(lambda: stage.heard > heard)
    assert stage.state(slow) is None
    assert not stage.importer.is_busy


def test_one_that_hangs_has_the_next_begin_beside_it(stage: Stage) -> None:
    hangs, next_one = stage.version("hangs", stage.GATED), stage.version("next")
    stage.want(hangs, next_one)
    stage.until(lambda: stage.entered)
    assert stage.state(next_one) == Importing("CodeLoading", "strategies/next.py is being imported")
    stage.clock.advance(0.25)
    assert isinstance(stage.until_taken(next_one), Definition)


def test_one_over_its_deadline_is_told_goes_on_and_is_taken_when_it_is_done(stage: Stage) -> None:
    slow = stage.version("slow", stage.GATED)
    stage.want(slow)
    stage.until(lambda: stage.entered)
    stage.clock.advance(DEADLINE_S)
    failed = stage.until_failed(slow)
    assert failed.reason == "ImportFailed"
    assert failed.message == (
        "strategies/slow.py:2:1: expected the import to end within 30 s, was still running here; it goes on"
    )
    stage.until(lambda: not stage.importer.is_busy)
    stage.gate.set()
    assert isinstance(stage.until_taken(slow), Definition)
    assert len(stage.entered) == 1


def test_one_that_fails_is_tried_again_ever_later_until_it_succeeds(stage: Stage) -> None:
    fails = stage.version("fails", stage.GATED)
    stage.fault = ModuleNotFoundError("No module named 'pandas'", name="pandas")
    stage.want(fails)
    expected = "strategies/fails.py:2:1: expected 'pandas' to be installed, was not found: "
    assert stage.until_failed(fails).message.startswith(expected)
    assert not stage.importer.is_busy
    for tries, wait_s in ((1, 1.0), (2, 2.0), (3, 4.0)):
        stage.until_told(fails, f"so far: {tries})")
        stage.clock.advance(wait_s - 0.01)
        assert len(stage.entered) == tries
        if tries == 3:
            stage.fault = None
            stage.gate.set()
        stage.clock.advance(0.01)
    assert isinstance(stage.until_taken(fails), Definition)


def test_a_loop_in_its_own_code_is_ended_at_its_deadline(stage: Stage) -> None:
    loops = stage.version("loops", stage.GATED + "while True:\n    pass\n")
    stage.gate.set()
    stage.want(loops)
    stage.until(lambda: stage.entered)
    stage.clock.advance(DEADLINE_S)
    stage.until_failed(loops)
    stage.until(lambda: "tried again" in stage.until_failed(loops).message)
    stage.clock.advance(1.0)
    stage.until(lambda: len(stage.entered) == 2)
    stage.want()
    stage.until(lambda: not [one for one in threading.enumerate() if one.name == "import loops"])


def test_what_is_wrong_with_the_source_is_final(stage: Stage) -> None:
    broken, classless = stage.version("broken", "def (:\n"), stage.version("classless")._replace(source=b"x = 1\n")
    stage.want(broken, classless)
    assert isinstance(stage.until_taken(broken), tuple)
    assert isinstance(stage.until_taken(classless), tuple)
    assert stage.state(broken) is None


def test_versions_of_one_file_that_hang_do_not_pile_up_and_are_told(stage: Stage) -> None:
    for number in range(12):
        version, other = stage.version("hangs", stage.GATED, f"# {number}\n"), stage.version(f"other{number}")
        stage.want(version, *[other] * (number >= 4))
        if number >= 4:  # it has to stay as it is for a while, which holds nobody else up
            assert isinstance(stage.until_taken(other), Definition)
            assert len(stage.entered) == number
            stage.clock.advance(2.0 ** (number - 4))
        stage.until_entered(number + 1)
    last, other = stage.version("hangs", more="# mended\n"), stage.version("other")
    stage.want(last, other)
    assert isinstance(stage.until_taken(other), Definition)
    stage.clock.advance(2.0**9)
    assert "expected fewer than 12 of its versions to hang" in stage.until_failed(last).message
    stage.gate.set()  # those that hung have ended
    stage.until(lambda: not [one for one in threading.enumerate() if one.name == "import hangs"])
    assert isinstance(stage.until_taken(last), Definition)


def test_the_version_that_mends_those_that_hang_is_loaded_soon(stage: Stage) -> None:
    for number in range(4):
        stage.want(stage.version("hangs", stage.GATED, f"# {number}\n"))
        stage.until_entered(number + 1)
    for number in range(5):  # saved again and again, none stays for long enough
        stage.want(stage.version("hangs", stage.GATED, f"# again {number}\n"))
        stage.clock.advance(0.9)
    mended = stage.version("hangs", more="# mended\n")
    stage.want(mended)
    stage.until(lambda: stage.state(mended))
    assert isinstance(stage.until_taken(mended, advancing_s=0.1), Definition)
    assert len(stage.entered) == 4


def test_a_catalogue_waits_a_moment_and_tells_what_is_not_there_yet(stage: Stage) -> None:
    from reconciler.records.snapshot import SourceFile

    slow = stage.version("slow", stage.GATED)
    file = SourceFile(slow.path, slow.source, slow.digest, True)
    catalogue = Catalogue(importer=stage.importer)
    waiting = threading.Thread(target=catalogue.refresh, args=((file,),))
    waiting.start()
    stage.until(lambda: stage.entered)
    stage.clock.advance(0.5)  # as long as that at a start, where nothing runs yet
    waiting.join(10)
    facts = catalogue.facts("slow")
    assert facts is not None
    assert (facts.waiting, facts.problems) == ("strategies/slow.py is being imported", ())
    assert catalogue.is_loading
    assert catalogue.definition("slow", slow.digest) is None
    stage.gate.set()
    stage.until(lambda: catalogue.has_news)
    catalogue.refresh((file,))
    assert catalogue.facts("slow") != facts
    assert catalogue.importing("slow") is None
    assert isinstance(catalogue.definition("slow", slow.digest), Definition)
    catalogue.refresh(())
    catalogue.keep(())
