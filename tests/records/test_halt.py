"""What a halt covers."""

from __future__ import annotations

import pytest

from reconciler.records.halt import Halt, HaltScope


@pytest.mark.parametrize(
    ("scope", "id", "covers"),
    [
        ("all", "", True),
        ("account", "main", True),
        ("account", "other", False),
        ("account", "btc-grid-1", False),
        ("instance", "btc-grid-1", True),
        ("instance", "main", False),
    ],
)
def test_a_halt_forbids_what_its_scope_covers(scope: HaltScope, id: str, covers: bool) -> None:
    halt = Halt(scope, id, full=False, reason="drill", by="uid 0", at="2026-01-31T12:00:00.000Z")
    assert halt.forbids(account_id="main", instance_id="btc-grid-1") is covers


@pytest.mark.parametrize(("scope", "id"), [("all", "main"), ("account", ""), ("instance", ""), ("desk", "a")])
def test_a_halt_of_nothing_in_particular_is_refused(scope: HaltScope, id: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        Halt(scope, id, full=False, reason="drill", by="uid 0", at="")


def test_a_halt_is_ready_for_json() -> None:
    halt = Halt("account", "main", full=True, reason="drill", by="uid 0", at="2026-01-31T12:00:00.000Z")
    assert halt.to_json() == {
        "scope": "account",
        "id": "main",
        "full": True,
        "reason": "drill",
        "by": "uid 0",
        "at": "2026-01-31T12:00:00.000Z",
    }
