"""Settings that change while an engine runs: limits hold at once, all else waits for a start, and is told."""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.app import _SparedSource
from reconciler.connections import Descriptors
from reconciler.inline import Still
from reconciler.records.accounts import Accounts
from reconciler.records.snapshot import Snapshot, SourceFile
from reconciler.settings import load
from reconciler.settings.live_limits import CHANGED, LiveLimits, Staleness


def test_settings_that_change_are_told_until_they_are_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text("heartbeat_seconds: 6\n")
    staleness = Staleness(tmp_path)
    assert staleness.note() == ""
    file.write_text("heartbeat_seconds: 12\n")
    assert staleness.note() == CHANGED
    assert staleness.note() == CHANGED
    file.write_text("heartbeat_seconds: 6\n")
    assert staleness.note() == ""


def test_a_file_that_was_only_touched_has_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text("heartbeat_seconds: 6\n")
    staleness = Staleness(tmp_path)
    os.utime(file, (1, 1))
    assert staleness.note() == ""


def test_a_file_that_comes_or_goes_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    staleness = Staleness(tmp_path)
    assert staleness.note() == ""
    file.write_text("heartbeat_seconds: 6\n")
    assert staleness.note() == CHANGED
    staleness = Staleness(tmp_path)
    file.unlink()
    assert staleness.note() == CHANGED


def settings(daily_loss: str, beat: str = "6") -> str:
    return (
        f"heartbeat_seconds: {beat}\n"
        "exec_mcp: {k: {transport: {kind: http, url: 'http://x'}, accounts: {main: {money: real, currency: USD,"
        f" limits: {{max_daily_loss: '{daily_loss}'}}}}}}}}}}\n"
        "limits: [{all: true, currency: USD, max_open_orders: 5}]\n"
    )


def test_limits_need_no_restart_and_all_else_does(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    staleness = Staleness(tmp_path)
    file.write_text(settings("500").replace("max_open_orders: 5", "max_open_orders: 7"))
    assert staleness.note() == ""
    file.write_text(settings("500", beat="7"))
    assert staleness.note() == CHANGED


def test_limits_of_a_changed_file_are_told_once(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    told: list[Accounts] = []
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    limits.tell = told.append
    assert not limits.look()
    file.write_text(settings("500"))
    os.utime(file, (1, 1))
    assert limits.look()
    assert not limits.look()
    (accounts,) = told
    assert accounts.declared["main"].ceilings.max_daily_loss == 500
    assert limits.accounts is accounts


def test_a_file_that_cannot_be_used_leaves_the_limits_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    before = limits.accounts
    for number, text in enumerate(("limits: [", "limits: [{all: true}]", settings("-5")), 1):
        file.write_text(text)
        os.utime(file, (number, number))
        assert not limits.look()
    assert limits.accounts is before


def test_an_account_that_is_new_waits_for_a_start_and_so_does_other_money(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    file.write_text(settings("500").replace("{main: {money: real", "{new: {money: paper}, main: {money: paper"))
    os.utime(file, (1, 1))
    assert limits.look()
    assert set(limits.accounts.declared) == {"main"}
    assert limits.accounts.is_real("main")


def test_of_commits_each_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "reconciler.yaml").write_text(settings("1000"))
    told: list[Accounts] = []
    asked: list[str] = []

    def read(commit: str) -> bytes:
        asked.append(commit)
        return settings("700" if commit == "b" else "1000").encode()

    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path, read)
    limits.tell = told.append
    for commit in ("a", "a", "b", "b", None):
        limits.follow(commit)
    assert asked == ["a", "b"]
    assert [accounts.declared["main"].ceilings.max_daily_loss for accounts in told] == [700]


def test_files_are_judged_anew_where_limits_that_they_must_have_changed(tmp_path: Path) -> None:
    file = tmp_path / "reconciler.yaml"
    file.write_text(settings("1000"))
    limits = LiveLimits(load(tmp_path, {}).accounts, tmp_path)
    snapshot = Snapshot(
        (SourceFile("instances/a.yaml", b"", "d", True),), (), (), None, revision=None, clean=True, whole=True
    )
    source = _SparedSource(Still(snapshot), Descriptors(), limits)
    assert source.read() is snapshot
    file.write_text(settings("500"))
    os.utime(file, (1, 1))
    judged = source.read()
    assert judged.instances is not snapshot.instances
    assert judged == snapshot
    assert source.read() is snapshot
