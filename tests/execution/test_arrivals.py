"""Which servers have answered since the start: waited for, and not for ever."""

from __future__ import annotations

from dataclasses import replace

from reconciler.execution.gatekeeper import WAIT_S
from tests.execution.standins import Desk

NONE: frozenset[str] = frozenset()
PAPER = frozenset({"paper"})


def never_connected(desk: Desk) -> None:
    desk.server.status = replace(desk.server.status, connected=False, connections=0, last_error="not connected yet")


def test_a_server_is_waited_for_until_it_was_connected_and_its_accounts_compared(desk: Desk) -> None:
    never_connected(desk)
    arrivals = desk.gateway.arrivals()
    assert (arrivals.awaited(), arrivals.unheard()) == (PAPER, NONE)
    arrivals.begin()
    desk.clock.advance(WAIT_S - 1)
    assert arrivals.awaited() == PAPER
    desk.server.returned()
    assert arrivals.awaited() == PAPER, "nobody has compared its accounts"
    desk.follow_up()
    assert arrivals.awaited() == NONE


def test_one_that_has_answered_and_is_lost_is_not_waited_for_again(desk: Desk) -> None:
    never_connected(desk)
    arrivals = desk.gateway.arrivals()
    desk.server.returned()
    desk.follow_up()
    assert arrivals.awaited() == NONE
    desk.server.went_down()
    assert (arrivals.awaited(), arrivals.unheard()) == (NONE, NONE)
    arrivals.begin()
    desk.clock.advance(WAIT_S)
    assert (arrivals.awaited(), arrivals.unheard()) == (NONE, NONE)


def test_after_half_a_minute_nobody_waits_and_it_is_said_who_was_never_heard_of(desk: Desk) -> None:
    never_connected(desk)
    arrivals = desk.gateway.arrivals()
    desk.clock.advance(WAIT_S)
    assert arrivals.awaited() == PAPER, "the time begins with the first try to connect"
    arrivals.begin()
    desk.clock.advance(WAIT_S)
    assert (arrivals.awaited(), arrivals.unheard()) == (NONE, PAPER)
    desk.server.returned()
    assert arrivals.unheard() == NONE


def test_one_that_takes_long_to_be_compared_is_waited_for_no_longer_than_others(desk: Desk) -> None:
    arrivals = desk.gateway.arrivals()
    arrivals.begin()
    desk.server.returned()
    assert arrivals.awaited() == PAPER
    desk.clock.advance(WAIT_S)
    assert (arrivals.awaited(), arrivals.unheard()) == (NONE, NONE)
