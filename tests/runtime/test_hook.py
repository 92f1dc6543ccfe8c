"""The boundary to foreign code, and what it says of what it caught."""

from __future__ import annotations

import decimal
import os
from typing import TYPE_CHECKING

import pytest

from reconciler.ending import in_children
from reconciler.runtime.performer import ERROR_LENGTH, attempt, describe
from reconciler.strategy.base import Strategy
from reconciler.strategy.definition import Definition
from tests.hostile import hostile_context

if TYPE_CHECKING:
    from tests.runtime.conftest import Define


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit


def said(define: Define, error: BaseException) -> str:
    return describe(error, define(Strategy), ()).text


def test_an_error_whose_text_cannot_be_had_is_described_all_the_same(define: Define) -> None:
    assert said(define, Unprintable()) == "Unprintable: (its text cannot be shown: SystemExit)"


def test_an_error_without_a_text_is_named(define: Define) -> None:
    assert said(define, ValueError()) == "ValueError"


def test_a_long_text_is_cut(define: Define) -> None:
    assert len(said(define, ValueError("x" * 1_000_000))) == ERROR_LENGTH


def test_many_frames_are_told_by_the_first_and_the_last(define: Define) -> None:
    definition: Definition = define(type("Here", (Strategy,), {"__module__": __name__}))

    def descend(depth: int) -> None:
        if depth == 0:
            raise ValueError("deep")
        descend(depth - 1)

    error = attempt(lambda: descend(20))
    assert error is not None
    lines = describe(error, definition, ()).text.splitlines()
    assert len(lines) == 10
    assert lines[1].endswith(" in <lambda>")
    assert lines[2] == "  … 14 more …"
    assert lines[-1].endswith(" in descend")


def test_a_text_that_utf_8_cannot_hold_is_escaped(define: Define) -> None:
    assert said(define, ValueError("a\ud800")) == "ValueError: a\\ud800"


def test_every_hook_begins_with_the_standard_decimal_context(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decimal.DefaultContext, "prec", 2)
    seen: list[int] = []

    def careless() -> None:
        seen.append(decimal.getcontext().prec)
        decimal.getcontext().prec = 2

    with hostile_context(raises=True):
        assert attempt(careless) is None
        assert attempt(careless) is None
    assert seen == [28, 28]


def test_what_a_hook_makes_of_its_decimal_context_ends_with_it_whatever_it_raises() -> None:
    def careless() -> None:
        decimal.setcontext(decimal.Context(prec=2, rounding=decimal.ROUND_DOWN, traps=[decimal.Inexact]))
        raise SystemExit

    before = decimal.getcontext()
    kept = before.copy()
    assert isinstance(attempt(careless), SystemExit)
    assert decimal.getcontext() is before
    assert (before.prec, before.rounding, before.traps) == (kept.prec, kept.rounding, kept.traps)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("raises", [False, True])
def test_a_forked_child_that_comes_back_from_its_hook_ends_there(raises: bool) -> None:
    pids: list[int] = []

    def fork() -> None:
        pids.append(os.fork())
        if raises:
            raise ValueError

    with in_children(lambda: None):
        error = attempt(fork)
    assert isinstance(error, ValueError) is raises
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == int(raises)
