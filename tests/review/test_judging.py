"""Sifting says exactly what judging every file says, whoever did it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.records import evaluator
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.crosscheck import EvaluationCache
from reconciler.records.snapshot import Snapshot, SourceFile
from reconciler.review import judging
from reconciler.review import judging as sieve
from reconciler.review.judging import Sifted, judge, sift
from reconciler.review.validate import check as checking
from reconciler.review.validate.check import check
from reconciler.review.validate.report import Report
from reconciler.strategy.catalogue import Catalogue
from tests.review.revisions import record, revision

CASES = Path(__file__).parents[1] / "cases"
ACCOUNTS = Accounts({"main": DeclaredAccount("main", "paper", real_money=False)}, any_on=None)
GRID = """\
from pathlib import Path
from json import loads
from reconciler.strategy import Strategy


class Grid(Strategy):
    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = loads({schema!r})

    def on_tick(self):
        pass
"""
HANGING = "while True:\n    pass\n"
HELPERS = [0, 1, 3]


def corpus() -> Snapshot:
    """All cases as one fleet."""
    files = {
        f"instances/{folder}/{path.name}": path.read_bytes().decode("utf-8", "surrogateescape")
        for folder in ("valid", "invalid", "_templates")
        for path in (CASES / folder).iterdir()
        if path.suffix in (".yaml", ".yml")
    }
    return revision({**files, "strategies/grid.py": GRID.format(schema=(CASES / "grid.schema.json").read_text())})


def fleet(seed: int) -> Snapshot:
    """A fleet with everything that can be wrong between files, and nothing to tell where."""
    chance = random.Random(seed)
    files = {
        "strategies/broken.py": "def (:\n",
        "instances/_templates/good.yaml": "config: {levels: 4}\n",
        "instances/_templates/bad.yaml": "config: {levels: many}\nmode: active\n",
        "instances/_templates/lost.yaml": "config: [\n",
    }
    kinds: list[Callable[[str], str]] = [
        lambda id: record(id, config="{levels: many}"),
        lambda id: record(f"{id}-not"),
        lambda id: record(f"a{chance.randrange(150)}"),
        lambda id: record(id).replace("drift", "broken"),
        lambda id: record(id).replace("drift", "drif"),
        lambda id: record(id, more="# AKIAABCDEFGHIJKLMNOP\n"),
        lambda id: record(id, more="template: good\n"),
        lambda id: record(id, more="template: bad\n"),
        lambda id: record(id, more="template: lost\n"),
        lambda id: record(id, more="template: none\n"),
        lambda id: "id: [\n",
        lambda id: "",
    ]
    for number in range(150):
        id = f"a{number}"
        make = kinds[number] if number < len(kinds) else chance.choice(kinds) if chance.random() < 0.3 else record
        files[f"instances/{id}.yaml"] = make(id)
        if chance.random() < 0.1:
            files[f"instances/desk/{id}.yml"] = make(id)
    snapshot = revision(files)
    unreadable = set(chance.sample(range(len(snapshot.instances)), 5))
    instances = [_unreadable(f) if n in unreadable else f for n, f in enumerate(snapshot.instances)]
    return replace(snapshot, instances=tuple(instances))


def _unreadable(file: SourceFile) -> SourceFile:
    return SourceFile(file.path, None, "", False, "could not be read: Permission denied")


def judged_alone(snapshot: Snapshot, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> Report:
    """The report where each file is judged, one after the other, and nothing is sifted."""
    with monkeypatch.context() as patch:
        patch.setattr(checking, "sift", lambda s, a, c: Sifted((), judge(s, a, c, EvaluationCache())))
        return check(snapshot, accounts)


def assert_same(found: Report, expected: Report) -> None:
    assert found.problems == expected.problems
    assert list(found.checked.items()) == list(expected.checked.items())


@pytest.mark.parametrize("helpers", HELPERS)
def test_of_the_corpus(helpers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = corpus()
    expected = judged_alone(snapshot, ACCOUNTS, monkeypatch)
    monkeypatch.setattr(judging, "worthwhile_helpers", lambda _: helpers)
    assert_same(check(snapshot, ACCOUNTS), expected)
    assert 0 < expected.valid < expected.files


@pytest.mark.parametrize("helpers", HELPERS)
@pytest.mark.parametrize("seed", range(4))
def test_of_a_fleet_with_rivals_templates_and_broken_strategies(
    seed: int, helpers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = fleet(seed)
    expected = judged_alone(snapshot, Accounts(), monkeypatch)
    monkeypatch.setattr(judging, "worthwhile_helpers", lambda _: helpers)
    assert_same(check(snapshot, Accounts()), expected)
    rules = {problem.rule for problem in expected.problems}
    assert rules >= {"duplicate-id", "file-unreadable", "code-syntax", "unknown-template", "template-key"}
    assert 0 < expected.valid < expected.files


def test_of_a_fleet_whose_helper_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = fleet(9)
    expected = judged_alone(snapshot, Accounts(), monkeypatch)
    here, is_valid = os.getpid(), evaluator.is_valid

    def die_elsewhere(file: SourceFile, *by: object) -> bool:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return is_valid(file, *by)  # type: ignore[arg-type]

    monkeypatch.setattr(sieve, "is_valid", die_elsewhere)
    monkeypatch.setattr(judging, "worthwhile_helpers", lambda _: 2)
    assert_same(check(snapshot, Accounts()), expected)


@pytest.mark.parametrize("helpers", [0, 2])
def test_of_a_fleet_with_a_strategy_that_hangs_when_it_is_imported(
    helpers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "worthwhile_helpers", lambda _: helpers)
    texts = {f"instances/a{n}.yaml": record(f"a{n}") for n in range(40)}
    texts |= {f"instances/h{n}.yaml": record(f"h{n}").replace("drift", "hanging") for n in range(3)}
    snapshot = revision({**texts, "strategies/hanging.py": HANGING})
    valid, evaluations = sift(snapshot, Accounts(), Catalogue(import_deadline_s=0.2))
    assert valid == tuple(sorted(f"instances/a{n}.yaml" for n in range(40)))
    assert [(e.path, [p.rule for p in e.problems]) for e in evaluations] == [
        (f"instances/h{n}.yaml", ["definition-broken"]) for n in range(3)
    ]
    assert "strategies/hanging.py:1:1: expected the import to end" in evaluations[0].problems[0].message


def test_what_is_wrong_is_evaluated_and_what_is_valid_is_not() -> None:
    texts = {"instances/a.yaml": record("a"), "instances/b.yaml": record("b"), "instances/c.yaml": record("b")}
    valid, evaluations = sift(revision(texts), Accounts(), Catalogue())
    assert valid == ("instances/a.yaml",)
    assert [e.path for e in evaluations] == ["instances/b.yaml", "instances/c.yaml"]
    assert [[p.rule for p in e.problems] for e in evaluations] == [["duplicate-id"], ["duplicate-id", "id-file-name"]]
