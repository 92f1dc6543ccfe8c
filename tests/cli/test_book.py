"""`book`: to a running engine, and on the database where none is running."""

from __future__ import annotations

import contextlib
import os
from decimal import Decimal

import pytest

from reconciler.control.chronicle import named
from reconciler.orders.news import Correction
from reconciler.store import Reader
from tests.cli.conftest import FakeEngine, Fleet
from tests.cli.test_resolve import placed

ME = named(os.getuid())


@pytest.mark.parametrize(
    ("words", "correction"),
    [
        (["--set", "0.999@100.1"], Correction(Decimal("0.999"), Decimal("100.1"), "why", ME)),
        (["--set", "-1@90", "--fee", "2"], Correction(Decimal(-1), Decimal(90), "why", ME, Decimal(2))),
        (
            ["--set", "0@0", "--fee", "0.1:BNB"],
            Correction(Decimal(0), Decimal(0), "why", ME, Decimal("0.1"), "BNB"),
        ),
    ],
)
def test_a_correction_reaches_the_engine(
    fleet: Fleet, engine: FakeEngine, words: list[str], correction: Correction
) -> None:
    placed(fleet)
    result = fleet.run("book", "b", *words, "--reason", "why")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "b: book put right\n", "")
    assert engine.calls == [("correct", "b", correction)]


@pytest.mark.parametrize(
    "words",
    [
        ["--reason", "why"],
        ["--set", "1@2"],
        ["--set", "1", "--reason", "why"],
        ["--set", "1@-2", "--reason", "why"],
        ["--set", "much@2", "--reason", "why"],
        ["--set", "1@2", "--fee", "-1:BTC", "--reason", "why"],
    ],
)
def test_what_is_not_clear_changes_nothing(fleet: Fleet, engine: FakeEngine, words: list[str]) -> None:
    assert fleet.run("book", "a", *words).exit_code == 2
    assert engine.calls == []


def test_without_an_engine_the_ledger_is_written_to_and_it_is_recorded_who_and_why(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.apply("a")
    placed(fleet)
    result = fleet.run("book", "a", "--set", "0.5@100", "--fee", "1:USD", "--reason", "liquidated in part")
    assert (result.exit_code, result.stdout) == (0, "a: book put right\n")
    assert result.stderr.splitlines()[-2:] == [
        "no engine is running here: the ledger was written to",
        "a: nobody knows yet what became of x: what is filled of it comes on top",
    ]
    with contextlib.closing(Reader.open(fleet.database)) as reader:
        (held,) = reader.holdings("a", False)
        operation, (event,) = reader.operations()[0][0], reader.events("a")[0][:1]
    assert (held.quantity, held.average_price, held.realised) == (Decimal("0.5"), Decimal(100), Decimal(-1))
    assert (operation["action"], operation["scope"]) == ("book", "instance a")
    assert (event["reason"], event["message"]) == (
        "BookCorrected",
        f"holds 0 BTC/USD → 0.5 at 100, fee 1 USD: liquidated in part ({ME})",
    )
    assert "holds 0 BTC/USD → 0.5 at 100" in fleet.run("history", "a").stdout
    assert "correction-1" in fleet.run("export", "fills").stdout


def test_whom_there_never_was_has_no_book(fleet: Fleet) -> None:
    placed(fleet)
    result = fleet.run("book", "nobody", "--set", "1@2", "--reason", "why")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nobody: there is and was no such instance" in result.stderr
    assert fleet.run("book", "nobody", "--set", "1@0", "--reason", "why").exit_code == 1
