"""What a halt covers."""

from __future__ import annotations

import pytest

from reconciler.records.halt import Halt, HaltScope, stranger


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
        "cancel": False,
        "flatten": None,
    }


def test_a_halt_of_a_name_that_nobody_has_says_so_with_the_nearest() -> None:
    ids, accounts = ["btc-grid-1", "eth"], ["main"]
    assert stranger("instance", "btc-grid-1", ids, accounts) == ""
    assert stranger("account", "main", ids, accounts) == stranger("all", "", ids, accounts) == ""
    assert (
        stranger("instance", "btc-gird-1", ids, accounts)
        == 'no instance is called btc-gird-1 (did you mean "btc-grid-1"?)'
    )
    assert stranger("account", "zzz", ids, accounts) == "no instance trades on an account called zzz"


def test_a_halt_comes_back_from_json_whatever_stands_beside_it() -> None:
    halt = Halt("account", "main", full=True, reason="drill", by="uid 0", at="2026-01-31T12:00:00.000Z")
    assert Halt.from_json({**halt.to_json(), "note": "x"}) == halt


@pytest.mark.parametrize(
    ("by", "declared"),
    [("uid 0", False), ("engine", False), ("instances/_halt.yaml", True), ("instances/_halt.yml", True)],
)
def test_a_halt_that_a_file_asks_for_is_told_apart(by: str, declared: bool) -> None:
    assert Halt("all", "", full=False, reason="drill", by=by, at="").is_declared is declared
