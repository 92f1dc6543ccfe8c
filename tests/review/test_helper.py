"""Helpers are forked in these tests: what they do must not need a thread, a lock or a buffer of the test process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import NoReturn

import pytest

from reconciler.review.judging import Helper


def squares(numbers: range) -> Iterator[int]:
    return (number * number for number in numbers)


def die(value: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def fail(value: object) -> NoReturn:
    raise ValueError("a helper that fails has nobody to tell")


def is_gone(helper: Helper) -> bool:
    with pytest.raises(ProcessLookupError):
        os.kill(helper.pid, 0)
    return True


def test_a_helper_answers_with_numbers() -> None:
    helper = Helper(squares)
    helper.tell(range(5))
    assert list(helper.answer()) == [0, 1, 4, 9, 16]
    helper.end()


def test_it_has_what_its_parent_had_when_it_began() -> None:
    shared = [1, 2]
    helper = Helper(lambda more: [*shared, *more])
    shared.append(99)
    helper.tell([3])
    assert list(helper.answer()) == [1, 2, 3]
    helper.end()


def test_more_than_a_line_holds_is_told_and_answered() -> None:
    many = list(range(300_000))
    helper = Helper(lambda numbers: numbers)
    helper.tell(many)
    assert list(helper.answer()) == many
    helper.end()


@pytest.mark.parametrize("work", [die, fail])
def test_one_that_dies_or_fails_has_not_answered(work: object, capfd: pytest.CaptureFixture[str]) -> None:
    helper = Helper(work)  # type: ignore[arg-type]
    helper.tell([1])
    assert list(helper.answer()) == []
    helper.end()
    assert capfd.readouterr() == ("", "")


def test_one_that_died_before_it_was_told_anything_has_not_answered() -> None:
    helper = Helper(squares)
    os.kill(helper.pid, signal.SIGKILL)
    os.waitid(os.P_PID, helper.pid, os.WEXITED | os.WNOWAIT)
    helper.tell(bytes(1_000_000))
    assert list(helper.answer()) == []
    helper.end()


def test_an_answer_that_was_cut_off_is_true_as_far_as_it_goes() -> None:
    def said(value: object) -> Iterator[int]:
        yield 7
        os.kill(os.getpid(), signal.SIGKILL)

    helper = Helper(said)
    helper.tell(None)
    assert set(helper.answer()) <= {7}
    helper.end()


def test_none_is_left_behind_whether_it_was_asked_or_not() -> None:
    asked, unasked = Helper(squares), Helper(squares)
    asked.tell(range(2))
    asked.answer()
    for helper in (asked, unasked):
        helper.end()
        assert is_gone(helper)


def test_it_ends_with_its_parent() -> None:
    """A parent that is killed says nothing more: its line ends, and with it the helper."""
    read, write = os.pipe()
    parent = os.fork()
    if not parent:
        os.close(read)
        Helper(squares)
        os._exit(0)
    os.close(write)
    os.waitpid(parent, 0)
    assert os.read(read, 1) == b""  # the end of the last copy of `write`, the helper's
    os.close(read)
