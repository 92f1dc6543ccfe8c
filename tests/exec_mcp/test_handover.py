"""Who wins where sending and giving up meet."""

from __future__ import annotations

import threading

import pytest

from reconciler.exec_mcp.bridge import Claims, Handover
from tests.execution.standins import Watching


def test_what_is_abandoned_is_never_sent() -> None:
    handover = Handover()
    assert handover.abandon()
    assert not handover.claim()
    assert not handover.is_possibly_sent


def test_what_is_claimed_cannot_be_abandoned() -> None:
    handover = Handover()
    assert handover.claim()
    assert not handover.abandon()
    assert handover.is_possibly_sent


def test_what_certainly_did_not_arrive_was_not_sent() -> None:
    handover = Handover()
    handover.claim()
    handover.not_delivered = "connection refused"
    assert not handover.is_possibly_sent


def test_a_call_is_claimed_once() -> None:
    handover = Handover()
    assert [handover.claim() for _ in range(3)] == [True, False, False]
    assert handover.is_possibly_sent


def test_what_came_to_its_end_unclaimed_is_never_sent() -> None:
    handover = Handover()
    handover.finish()
    assert not handover.is_open
    assert not handover.claim()
    assert handover.abandon()
    assert not handover.is_possibly_sent


def test_who_looks_is_told_when_the_call_is_out_of_hand() -> None:
    look = Watching()
    handover = Handover(look)
    assert handover.claim()
    assert not look.wait(0)
    handover.finish()
    assert look.wait(0)


class Shut(Watching):
    """Lets nothing leave."""

    def passes(self) -> bool:
        return False


def test_what_the_last_look_refuses_is_never_sent_nor_waited_for() -> None:
    look = Shut()
    handover = Handover(look)
    assert not handover.claim()
    assert look.wait(0)
    assert not handover.is_open
    assert not handover.is_possibly_sent
    assert handover.abandon()


def test_a_call_that_comes_before_another_may_leave_only_where_that_one_may() -> None:
    assert Handover(Watching()).ahead().claim()
    assert not Handover(Shut()).ahead().claim()


def test_what_was_lost_before_it_may_have_been_sent_and_is_not_sent_any_more() -> None:
    handover = Handover(Shut())
    handover.lost()
    assert handover.is_possibly_sent
    assert not handover.abandon()
    assert not handover.claim()


def test_who_waits_waits_for_what_was_claimed_before_and_no_longer() -> None:
    claims, waited = Claims(), threading.Event()
    claims.enter("first", "a")
    claims.enter("another", "b")

    def wait() -> None:
        claims.wait("a")
        waited.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    claims.leave("another")
    assert not waited.wait(0.05)
    claims.enter("later", "a")
    claims.leave("first")
    assert waited.wait(10)
    waiting.join()
    assert claims.writing("a")
    assert not claims.writing("b")


def test_the_main_loop_never_waits_for_what_it_is_writing_itself() -> None:
    claims = Claims(threading.get_ident())
    claims.wait()
    claims.enter("call", "a")
    with pytest.raises(RuntimeError, match="the main loop cannot wait for what it is writing"):
        claims.wait()
