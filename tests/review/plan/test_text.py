"""The plan on a terminal: without colour, in narrow windows, whatever the files say."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.records.snapshot import MergedChange, SignedBy
from reconciler.review.plan.model import FleetPlan, Point, ProposedCommit
from reconciler.review.plan.plan_formats import as_text
from tests.drawing import drawn
from tests.review.plan.conftest import World, fleet, instance, planned
from tests.review.plan.hostile import PLANS

LIMITS = 'limits: {max_position: "2"}'
OLD = fleet(
    instance("rise", rest='limits: {max_order_notional: "500"}'), instance("live", "active", rest=LIMITS), instance("b")
)
NEW = fleet(
    instance("rise", "active", rest='limits: {max_order_notional: "500"}'),
    instance("live", "active"),
    instance("b", config="levels: 7"),
    instance("c", "active"),
)


def test_it_reads_from_the_gravest_to_the_count() -> None:
    assert (
        as_text(planned(World(OLD), World(NEW)))
        == """\
HEAD at feedfeedfeed, compared with origin/main (merge base 1a2b3c4d)

STARTS TO TRADE: REAL MONEY
! rise  REAL MONEY on account main as desk-a, BTC/USD, strategy grid
    why: mode observe → active (instances/rise.yaml:5)
    config and code stay those it observes with, code aaaaaaaaaaaa
    server kraken, real money
    limits: max_order_notional 500
    2 active on account main then; max_order_notional together 500 USD and 1 without; max_daily_loss: 2 without
    runs with
      config.levels: 5 (instances/rise.yaml:7)
      config.pace: "slow" (default)

CHANGES WHILE ACTIVE: REAL MONEY
! live  REAL MONEY on account main as desk-a, BTC/USD, strategy grid
    ! Limits are wider, or removed
    why: limits changed
    server kraken, real money
    2 active on account main then; max_order_notional together 500 USD and 1 without; max_daily_loss: 2 without
      limits.max_position: "2" → none (no limit) REMOVED (instances/live.yaml:8)
    runs with
      config.levels: 5 (instances/live.yaml:7)
      config.pace: "slow" (default)

RELOADS
~ b  real money on account main as desk-a, BTC/USD, strategy grid
    why: config changed
    server kraken, real money
      config.levels: 5 → 7 (instances/b.yaml:7)
    runs with
      config.levels: 7 (instances/b.yaml:7)
      config.pace: "slow" (default)

NOT APPLIED
! instances/c.yaml  refused, 1 problem; nothing of it is applied
      instances/c.yaml:5:7: mode: expected a step of one mode at a time, was off → active; a new id starts from off
      hint: merge `mode: observe` first, watch it tick, then raise it to active in a second change

1 starts trading (1 real money), 1 changes while active (1 real money), 1 reloads, 1 refused"""
    )


def test_nothing_to_do_is_said() -> None:
    assert as_text(FleetPlan(Point("the engine's database"), Point("HEAD"))) == (
        "HEAD, compared with the engine's database\n\nnothing to do"
    )


def test_a_narrow_terminal_wraps_words_and_loses_none() -> None:
    plan = planned(World(OLD), World(NEW))
    narrow, wide = as_text(plan, width=44), as_text(plan)
    assert narrow.split() == wide.split()
    longest_word = max(map(len, wide.split()))
    assert all(len(line) <= max(44, longest_word + 8) for line in narrow.splitlines())


def test_bold_marks_what_is_real_and_adds_nothing_but_bold() -> None:
    plan = planned(World(OLD), World(NEW))
    bold = as_text(plan, width=200, bold=True)
    assert "\x1b[1m! rise  REAL MONEY on account main as desk-a, BTC/USD, strategy grid\x1b[0m" in bold
    assert bold.replace("\x1b[1m", "").replace("\x1b[0m", "") == as_text(plan)


@settings(max_examples=drawn(40))
@given(plan=PLANS, width=st.none() | st.integers(1, 120))
def test_no_file_can_steer_the_terminal(plan: FleetPlan, width: int | None) -> None:
    assert all(line.isprintable() for line in as_text(plan, width).split("\n"))


def test_commits_are_told_where_somebody_stands_behind_them_or_is_missing() -> None:
    change = MergedChange("c" * 40, "Ann", "ann@desk.example", "Ann", "", "Raise it")
    signed = replace(
        change, signed_by=SignedBy("ann@desk.example", "SHA256:x"), claimed_approvals=("Bo <bo@desk>", "Cy")
    )
    forge = replace(change, signed_by=SignedBy("Forge <f@forge>", "F" * 40, "forge"))
    commits = (
        ProposedCommit(change),
        ProposedCommit(signed),
        ProposedCommit(forge),
        ProposedCommit(change, "is not signed; sign it"),
    )
    plan = FleetPlan(Point("main", None), Point("HEAD", None), commits=commits)
    assert plan.is_empty
    told = as_text(plan)
    assert (
        told.split("\n\n")[1]
        == """\
COMMITS
· cccccccccccc  Raise it by Ann
    signed by ann@desk.example (SHA256:x)
    claims to be approved by Bo <bo@desk>, Cy
· cccccccccccc  Raise it by Ann
    signed by Forge <f@forge> (forge, FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF), which proves that the forge made it, \
and no more
· cccccccccccc  Raise it by Ann
    ! Would be held: it is not signed; sign it"""
    )
