from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from reconciler.clock import SystemClock
from reconciler.records.snapshot import SourceFile
from reconciler.strategy import catalogue as catalogue_module
from reconciler.strategy import module_loading as loading
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.definition import parse
from reconciler.strategy.module_loading import Version, load_all


@pytest.fixture
def file(good: str, digest_of: Callable[[bytes], str]) -> Callable[..., SourceFile]:
    def make(name: str = "grid", more: str = "", committed: bool = True) -> SourceFile:
        data = (good + more).encode()
        return SourceFile(f"strategies/{name}.py", data, digest_of(data), committed)

    return make


@pytest.fixture
def catalogue() -> Iterator[Catalogue]:
    one = Catalogue()
    yield one
    one.refresh(())
    one.keep(())


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests imported from now on."""
    seen: list[str] = []

    def counting(versions: Sequence[Version], *, deadline_s: float) -> object:
        seen.extend(version.digest for version in versions)
        return load_all(versions, deadline_s=deadline_s)

    monkeypatch.setattr(catalogue_module, "load_all", counting)
    return seen


File = Callable[..., SourceFile]


def test_a_type_is_its_file_name(catalogue: Catalogue, file: File) -> None:
    catalogue.refresh((file("grid"), file("_shared"), file(".hidden"), replace(file(), path="strategies/notes.md")))
    assert catalogue.types() == ("grid",)
    facts = catalogue.facts("grid")
    assert facts is not None
    assert (facts.strategy_type, facts.path, facts.problems) == ("grid", "strategies/grid.py", ())
    assert facts.config_schema["type"] == "object"
    assert catalogue.facts("dca") is None


def test_an_unchanged_tuple_and_an_unchanged_file_do_no_work(
    catalogue: Catalogue, file: File, imports: list[str]
) -> None:
    grid, dca = file("grid"), file("dca", "# another\n")
    catalogue.refresh((grid,))
    facts = catalogue.facts("grid")
    catalogue.refresh((grid, dca))
    catalogue.refresh((grid,))
    assert catalogue.facts("grid") is facts
    assert imports == [grid.digest, dca.digest]


class Counted(tuple[SourceFile, ...]):
    """Files that count how often they are gone through."""

    passes = 0

    def __iter__(self) -> Iterator[SourceFile]:
        self.passes += 1
        return super().__iter__()


def test_the_same_tuple_is_not_even_gone_through(catalogue: Catalogue, file: File) -> None:
    files = Counted((file(),))
    catalogue.refresh(files)
    catalogue.refresh(files)
    assert files.passes == 1


def test_a_commit_changes_the_facts_and_imports_nothing(catalogue: Catalogue, file: File, imports: list[str]) -> None:
    catalogue.refresh((file(committed=False),))
    catalogue.refresh((file(committed=True),))
    facts = catalogue.facts("grid")
    assert facts is not None
    assert facts.committed
    assert len(imports) == 1


def test_an_older_version_stays_at_hand_until_it_is_not_kept(catalogue: Catalogue, file: File) -> None:
    old, new = file(), file(more="# new\n")
    catalogue.refresh((old,))
    catalogue.refresh((new,))
    kept = catalogue.definition("grid", old.digest)
    assert kept is not None
    catalogue.keep([old.digest])
    assert catalogue.definition("grid", old.digest) is kept
    catalogue.keep([])
    assert catalogue.definition("grid", old.digest) is None
    assert kept.cls.__module__ not in sys.modules
    assert catalogue.definition("grid", new.digest) is not None


def test_a_broken_version_is_a_problem_and_what_ran_before_stays(catalogue: Catalogue, file: File) -> None:
    old, broken = file(), file(more="\nraise RuntimeError\n")
    catalogue.refresh((old,))
    catalogue.refresh((broken,))
    facts = catalogue.facts("grid")
    assert facts is not None
    assert facts.problems[0].rule == "code-exception"
    assert facts.code_digest == broken.digest
    assert catalogue.definition("grid", broken.digest) is None
    assert catalogue.definition("grid", old.digest) is not None


def test_a_file_that_cannot_be_read_is_neither_absent_nor_broken_code(catalogue: Catalogue, file: File) -> None:
    catalogue.refresh((replace(file(), data=None, error="Permission denied"),))
    facts = catalogue.facts("grid")
    assert facts is not None
    assert str(facts.problems[0]) == "strategies/grid.py: expected a readable file, was: Permission denied"


def test_a_file_that_is_gone_is_no_type_any_more(catalogue: Catalogue, file: File) -> None:
    grid = file()
    catalogue.refresh((grid,))
    catalogue.refresh(())
    assert catalogue.types() == ()
    assert catalogue.facts("grid") is None
    assert catalogue.definition("grid", grid.digest) is not None


def test_imports_that_hang_delay_a_refresh_by_one_deadline_together(file: File) -> None:
    catalogue = Catalogue(import_deadline_s=0.5)
    hanging = [file(f"hangs_{n}", f"\nNUMBER = {n}\nimport threading; threading.Event().wait()\n") for n in range(6)]
    clock = SystemClock()
    begin_s = clock.monotonic()
    catalogue.refresh((*hanging, file("sound")))
    assert clock.monotonic() - begin_s < 1.5
    assert {facts.problems[0].rule for n in range(6) if (facts := catalogue.facts(f"hangs_{n}"))} == {
        "code-import-hangs"
    }
    sound = catalogue.facts("sound")
    assert sound is not None
    assert sound.problems == ()


def test_what_the_engine_fails_on_is_a_problem_of_that_definition_alone(
    catalogue: Catalogue, file: File, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(path: str, filename: str, data: bytes) -> object:
        if path == "strategies/bad.py":
            raise ZeroDivisionError("by accident")
        return parse(path, filename, data)

    monkeypatch.setattr(loading, "parse", failing)
    catalogue.refresh((file("bad"), file("good", "# another\n")))
    bad, good = catalogue.facts("bad"), catalogue.facts("good")
    assert bad is not None
    assert good is not None
    assert [str(problem) for problem in bad.problems] == [
        "strategies/bad.py: the engine failed on it: ZeroDivisionError: by accident"
    ]
    assert (bad.problems[0].rule, good.problems) == ("engine-fault", ())
    assert caplog.messages == ["the engine failed on a file"]


def test_an_encoding_that_is_none_of_text_is_a_problem_of_that_definition_alone(
    catalogue: Catalogue, file: File
) -> None:
    bad = replace(file("bad"), data=b"# coding: rot13\n", digest="bad")
    catalogue.refresh((bad, file("good")))
    facts, good = catalogue.facts("bad"), catalogue.facts("good")
    assert facts is not None
    assert good is not None
    (problem,) = facts.problems
    assert (problem.line, problem.column, problem.rule) == (1, 1, "code-encoding")
    assert problem.message.startswith("expected the encoding of a text, was refused: 'rot13' is not a text encoding")
    assert good.problems == ()
