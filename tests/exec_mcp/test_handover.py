"""Who wins where sending and giving up meet."""

from __future__ import annotations

from reconciler.exec_mcp.bridge import Handover


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


def test_waiting_ends_when_the_call_is_out_of_hand() -> None:
    handover = Handover()
    assert not handover.wait(0)
    handover.finish()
    assert handover.wait(0)
