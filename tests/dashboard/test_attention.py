"""What needs attention: what counts, how grave it is, in which order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.dashboard.attention import (
    Gravity,
    concern,
    denial_concerns,
    difference_concerns,
    engine_concerns,
    gravest_first,
    orphan_concerns,
)
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.mode import Mode
from reconciler.records.status import Condition, Health, InstanceStatus, Obstacle, Sync
from tests.dashboard.conftest import a_halt

if TYPE_CHECKING:
    from tests.dashboard.conftest import FakeStatus

NOW_S = 1_767_225_600.0
ACCOUNTS = Accounts({"main": DeclaredAccount("main", "kraken", real_money=True)})


@pytest.fixture
def well(status: FakeStatus) -> InstanceStatus:
    return status.fleet[0]


def closed(*reasons: str) -> tuple[Obstacle, ...]:
    return tuple(Obstacle(reason, "because") for reason in reasons)


@pytest.mark.parametrize(
    ("active_on", "gravity", "text"),
    [
        (None, Gravity.CRITICAL, "refused; its accounts do not trade"),
        ({"kraken", "other"}, Gravity.CRITICAL, "refused; its accounts do not trade"),
        ({"other"}, Gravity.WARNING, "refused; no instance is active on its accounts"),
        (set(), Gravity.WARNING, "refused; no instance is active on its accounts"),
    ],
)
def test_a_server_that_is_down_is_as_grave_as_what_is_at_stake(
    status: FakeStatus, active_on: set[str] | None, gravity: Gravity, text: str
) -> None:
    down = ({"name": "kraken", "connected": False, "last_error": "refused", "since": ""},)
    (found,) = engine_concerns(replace(status.engine_now, exec_servers=down), [], NOW_S, active_on)
    assert (found.gravity, found.text) == (gravity, text)


def test_a_concern_says_since_when_the_oldest_of_its_faults_is_there(well: InstanceStatus) -> None:
    conditions = (
        Condition("Accepted", False, "Invalid", "because", "2026-01-03"),
        Condition("Loaded", True, "Loaded", "", "2026-01-01"),
        Condition("Ready", False, "Stuck", "because", "2026-01-02"),
        Condition("Trading", False, "Mode", "", "2026-01-01"),
    )
    found = concern(replace(well, health=Health.STUCK, conditions=conditions), ACCOUNTS)
    assert found is not None
    assert found.since == "2026-01-02"


def test_an_instance_that_is_well_is_no_concern(well: InstanceStatus) -> None:
    assert concern(well, ACCOUNTS) is None
    assert concern(replace(well, mode=Mode.OFF, health=Health.OFF), ACCOUNTS) is None


@pytest.mark.parametrize(
    ("changes", "gravity", "text"),
    [
        ({"frozen_with_exposure": True, "health": Health.OFF}, Gravity.CRITICAL, "frozen with exposure"),
        ({"health": Health.STUCK}, Gravity.CRITICAL, "Stuck"),
        ({"mode": Mode.ACTIVE, "obstacles": closed("UnknownOrder")}, Gravity.CRITICAL, "an order is in doubt: because"),
        ({"mode": Mode.ACTIVE, "obstacles": closed("NotCommitted")}, Gravity.CRITICAL, "gate is closed: because"),
        ({"mode": Mode.ACTIVE, "obstacles": closed("CapabilityMissing")}, Gravity.CRITICAL, "gate is closed"),
        ({"health": Health.DEGRADED}, Gravity.WARNING, "Degraded"),
        ({"sync": Sync.INVALID}, Gravity.WARNING, "Invalid"),
        ({"sync": Sync.REFUSED}, Gravity.WARNING, "Refused"),
        ({"sync": Sync.HELD}, Gravity.WARNING, "Held"),
        ({"health": Health.PAUSED}, Gravity.NOTICE, "Paused"),
    ],
)
def test_an_instance_in_trouble_is_a_concern(
    well: InstanceStatus, changes: dict[str, Any], gravity: Gravity, text: str
) -> None:
    found = concern(replace(well, **changes), ACCOUNTS)
    assert found is not None
    assert found.gravity is gravity
    assert text in found.text
    assert found.href == "/instances/btc-dca"


def test_a_quarantine_weighs_more_than_an_operators_pause(well: InstanceStatus) -> None:
    quarantined = Condition("Ready", False, "Quarantined", "paused by the engine: 5 failed ticks in a row", "")
    found = concern(replace(well, health=Health.PAUSED, conditions=(quarantined,)), ACCOUNTS)
    assert found is not None
    assert found.gravity is Gravity.WARNING
    assert found.text == "Quarantined: paused by the engine: 5 failed ticks in a row"


def test_a_picture_that_is_old_is_worth_a_notice(well: InstanceStatus) -> None:
    failed = Condition("Ready", True, "RenderFailed", "what it shows is old", "")
    found = concern(replace(well, conditions=(failed,)), ACCOUNTS)
    assert found is not None
    assert (found.gravity, found.text) == (Gravity.NOTICE, "what it shows is old")


def test_orphans_are_one_concern_for_each_account() -> None:
    orphans = [{"account_id": "main"}, {"account_id": "paper"}, {"account_id": "main"}]
    main, paper = orphan_concerns(orphans, ACCOUNTS)
    assert (main.subject, main.real_money, main.href) == ("Account main", True, "/orders")
    assert main.text == "2 open orders that the ledger does not know"
    assert (paper.real_money, paper.text) == (False, "an open order that the ledger does not know")


@pytest.mark.parametrize("reason", ["Mode", "Paused", "Halted", "ExecDown", "LedgerDown", "LedgerBehind"])
def test_a_halt_or_a_lost_server_is_one_concern_and_not_one_for_each_instance(
    well: InstanceStatus, reason: str
) -> None:
    assert concern(replace(well, mode=Mode.ACTIVE, obstacles=closed(reason)), ACCOUNTS) is None


def test_a_reason_is_told_in_words(well: InstanceStatus) -> None:
    failed = Condition("Loaded", False, "InitFailed", "ValueError: no candles", "")
    found = concern(replace(well, health=Health.DEGRADED, conditions=(failed,)), ACCOUNTS)
    assert found is not None
    assert found.text == "Degraded: ValueError: no candles"


def test_real_money_comes_before_other_of_the_same_gravity(well: InstanceStatus) -> None:
    paper = concern(replace(well, id="a", health=Health.STUCK), ACCOUNTS)
    real = concern(replace(well, id="z", account_id="main", health=Health.STUCK), ACCOUNTS)
    notice = concern(replace(well, id="b", account_id="main", health=Health.PAUSED), ACCOUNTS)
    assert paper
    assert real
    assert notice
    assert [one.subject for one in gravest_first([notice, paper, real])] == ["z", "a", "b"]


def test_an_engine_that_is_well_has_no_concerns(status: FakeStatus) -> None:
    assert list(engine_concerns(status.engine_now, [], NOW_S)) == []


@pytest.mark.parametrize(
    ("changes", "gravity", "subject", "text"),
    [
        (
            {"heartbeat_age_s": 31.0, "no_beat": "disk full", "clock_behind_s": 60.0},
            Gravity.CRITICAL,
            "Heartbeat",
            "nothing ticks: no beat for 31 s, expected one every 6 s: disk full",
        ),
        ({"clock_behind_s": 90.0}, Gravity.CRITICAL, "Clock", "nothing ticks for another 90 s"),
        (
            {"descriptors_note": "all 960 are used up"},
            Gravity.CRITICAL,
            "Descriptors",
            "all 960 are used up: something",
        ),
        ({"database_error": "disk full"}, Gravity.CRITICAL, "Database", "disk full"),
        ({"source_notes": ("a rebase is under way",)}, Gravity.NOTICE, "Source", "a rebase is under way"),
        ({"source_error": "gone"}, Gravity.WARNING, "Source", "gone; the fleet runs on as last applied"),
        (
            {"halts": (a_halt("all", full=True),)},
            Gravity.CRITICAL,
            "Halt of everything",
            "nothing passes: odd fills (by uid 7)",
        ),
    ],
)
def test_what_is_wrong_with_the_engine_is_a_concern(
    status: FakeStatus, changes: dict[str, Any], gravity: Gravity, subject: str, text: str
) -> None:
    (found,) = engine_concerns(replace(status.engine_now, **changes), [], NOW_S)
    assert (found.gravity, found.subject) == (gravity, subject)
    assert text in found.text
    assert found.since == ("2025-12-31T23:59:00.000Z" if "halts" in changes else "")


@pytest.mark.parametrize(
    ("halt", "command"),
    [
        (a_halt("all"), "reconciler unhalt --all --reason …"),
        (a_halt("instance", "a-1"), "reconciler unhalt --instance a-1 --reason …"),
        (a_halt("all", by="instances/_halt.yaml", declared=True), ""),
    ],
)
def test_a_halt_says_how_to_lift_it(status: FakeStatus, halt: dict[str, Any], command: str) -> None:
    (found,) = engine_concerns(replace(status.engine_now, halts=(halt,)), [], NOW_S)
    assert found.command == command


def test_many_problems_are_counted_and_the_first_named(status: FakeStatus) -> None:
    problems = [Problem(f"instances/{n}.yaml", n, 2, "mode", "expected a mode") for n in range(1, 6)]
    (found,) = engine_concerns(status.engine_now, problems, NOW_S)
    assert found.text.splitlines() == [
        "5 problems",
        "instances/1.yaml:1:2: mode: expected a mode",
        "instances/2.yaml:2:2: mode: expected a mode",
        "instances/3.yaml:3:2: mode: expected a mode",
        "and 2 more",
    ]


def test_a_halt_that_a_file_asks_for_is_lifted_in_that_file(status: FakeStatus) -> None:
    halt = a_halt("account", "main", by="instances/_halt.yaml", declared=True)
    (found,) = engine_concerns(replace(status.engine_now, halts=(halt,)), [], NOW_S)
    assert found.text.endswith("(by instances/_halt.yaml); to lift it, change that file")


def test_a_halt_that_covers_nothing_is_told_as_what_it_may_cost(status: FakeStatus) -> None:
    halt = a_halt("instance", "gird", note='no instance is called gird (did you mean "grid"?)')
    (found,) = engine_concerns(replace(status.engine_now, halts=(halt,)), [], NOW_S)
    assert found.text.endswith(
        '\nno instance is called gird (did you mean "grid"?): it halts nothing, and what was meant trades on'
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"health": Health.PAUSED, "obstacles": closed("Paused", "UnknownOrder"), "mode": Mode.ACTIVE},
        {"obstacles": closed("Halted", "UnknownOrder"), "mode": Mode.ACTIVE},
        {"obstacles": closed("Mode", "UnknownOrder"), "mode": Mode.OBSERVE},
    ],
)
def test_what_freezes_an_instance_hides_no_order_in_doubt(well: InstanceStatus, changes: dict[str, Any]) -> None:
    found = concern(replace(well, frozen_with_exposure=True, **changes), ACCOUNTS)
    assert found is not None
    lines = found.text.splitlines()
    assert lines[0].startswith("frozen with exposure")
    assert lines[1] == "an order is in doubt: because"
    assert len(lines) == (3 if changes.get("health") else 2)


def test_an_order_that_its_exchange_denies_is_critical_and_says_what_to_do() -> None:
    denials = [{"client_order_id": "x7", "instance_id": "a", "account_id": "main", "message": "asked 6 times in 30 s"}]
    (found,) = denial_concerns(denials, ACCOUNTS)
    assert (found.gravity, found.subject, found.real_money, found.href) == (Gravity.CRITICAL, "a", True, "/orders/x7")
    assert found.text.startswith("its exchange denies the order x7, which it took: asked 6 times in 30 s")
    assert found.command == "reconciler orders resolve x7 --as … --reason …"


def test_many_denied_orders_of_an_instance_are_one_concern() -> None:
    denials = [
        {"client_order_id": f"x{n}", "instance_id": "a", "account_id": "paper", "message": "asked"} for n in range(5)
    ]
    (found,) = denial_concerns(denials, ACCOUNTS)
    assert found.text == (
        "its exchange denies 5 orders, which it took: x0, x1, x2 and 2 more; say of each what became of it"
    )
    assert (found.href, found.command) == ("/instances/a", "reconciler orders resolve x0 --as … --reason …")


def test_positions_that_differ_weigh_more_where_money_is_real() -> None:
    differing = [{"account_id": name, "difference": "BTC/USD: 1 is held, 0 is ours"} for name in ("main", "paper")]
    real, paper = difference_concerns(differing, ACCOUNTS)
    assert (real.gravity, real.subject, real.real_money) == (Gravity.CRITICAL, "Account main", True)
    assert "does not add up: BTC/USD: 1 is held, 0 is ours" in real.text
    assert real.command == "reconciler halt --account main --reason …"
    assert (paper.gravity, paper.real_money) == (Gravity.WARNING, False)


def test_an_account_whose_ledger_is_behind_is_one_concern_that_says_how_to_settle_it(well: InstanceStatus) -> None:
    differing = [
        {"account_id": "main", "difference": "1 is held, 0 is ours", "at": "", "behind": "1 is held, 0 is ours"}
    ]
    (found,) = difference_concerns(differing, ACCOUNTS)
    assert (found.gravity, found.subject, found.real_money) == (Gravity.CRITICAL, "Account main", True)
    assert found.text.startswith("its ledger is behind, so it opens nothing: 1 is held, 0 is ours\n")
    assert found.command.startswith("reconciler exec settle main --assign ID=QTY@PRICE")
    assert concern(replace(well, mode=Mode.ACTIVE, obstacles=closed("LedgerBehind")), ACCOUNTS) is None


def test_changed_tools_are_one_concern_that_says_how_to_accept_them(well: InstanceStatus, status: FakeStatus) -> None:
    server = {"name": "kraken", "connected": True, "changed": "createOrder: other arguments"}
    (found,) = engine_concerns(replace(status.engine_now, exec_servers=(server,)), [], NOW_S)
    assert (found.gravity, found.subject) == (Gravity.CRITICAL, "exec-mcp kraken")
    assert "createOrder: other arguments" in found.text
    assert found.command == "reconciler exec accept kraken --reason …"
    stopped = replace(well, account_id="main", mode=Mode.ACTIVE, obstacles=closed("CapabilityMissing"))
    assert concern(stopped, ACCOUNTS) is not None
    assert concern(stopped, ACCOUNTS, changed={"kraken"}) is None
