"""A fleet that follows a branch whose commits must be signed: what is not, is held, and why; and what is kept of it."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.clock import iso
from reconciler.records.followed import Followed
from reconciler.records.mode import Mode
from reconciler.records.status import Sync
from reconciler.sources import signers
from tests.control.conftest import Fleet
from tests.control.test_code_loading import look
from tests.control.test_follower import history

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")

Make = Callable[..., Fleet]


@pytest.fixture
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("keys") / "ann"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(found)), check=True, capture_output=True)
    return found


@pytest.fixture
def follow(make_fleet: Make, tmp_path: Path, key: Path) -> Make:
    """An engine on a branch whose first commit has an instance that is off, and ann as its signer."""
    subprocess.run(["git", "init", "-q", "-b", "main", "."], cwd=tmp_path, check=True)

    def make(options: str = "", checks_beside: bool = False) -> Fleet:
        fleet = make_fleet(follows="main", is_signed=True, checks_beside=checks_beside)
        if not (tmp_path / "allowed_signers").exists():
            allow(fleet, key, options)
            fleet.write("a", "off")
            fleet.commit("The first", key)
        if not checks_beside:
            fleet.settle()
        elif fleet.store.following.followed() is None:
            fleet.wait_until(lambda: look(fleet, 1) and fleet.store.following.followed() is not None)
        else:
            look(fleet)
        return fleet

    return make


def allow(fleet: Fleet, key: Path, options: str = "") -> None:
    public = " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])
    (fleet.root / "allowed_signers").write_text(f"ann@desk.example {options}{public}\n")


def followed(fleet: Fleet) -> Followed:
    found = fleet.store.following.followed()
    assert found is not None
    return found


def test_what_is_signed_runs_and_its_signer_is_kept(follow: Make, key: Path) -> None:
    fleet = follow()
    fleet.write("a", "observe")
    new = fleet.commit(key=key)
    fleet.settle()
    assert fleet.status("a").mode is Mode.OBSERVE
    for _ in range(2):
        said = fleet.store.following.commit(new)
        assert said is not None
        assert said.signed_by is not None
        assert said.signed_by.principal == "ann@desk.example"
        fleet.close()
        fleet = follow()


def test_what_is_not_signed_is_held_and_only_lowers(follow: Make, key: Path) -> None:
    fleet = follow()
    fleet.write("a", "observe")
    fleet.write("b", "observe")
    applied = fleet.commit(key=key)
    fleet.settle()
    fleet.write("a", "active")
    fleet.write("b", "off")
    held = fleet.commit("Unsigned")
    fleet.settle()
    assert {i: fleet.status(i).mode for i in "ab"} == {"a": Mode.OBSERVE, "b": Mode.OFF}
    assert (followed(fleet).applied, followed(fleet).held) == (applied, held)
    assert followed(fleet).held_why == f"commit {held[:12]} is not signed; sign it with `git commit -S`"
    fleet.commit("Signed on top", key)
    fleet.settle()
    assert followed(fleet).applied == applied, "it is still in the range"
    fleet.git("reset", "-q", "--hard", applied)
    fleet.write("a", "active")
    fleet.commit("Again, signed", key)
    fleet.settle()
    assert (fleet.status("a").mode, followed(fleet).held, followed(fleet).first_seen) == (Mode.ACTIVE, None, {})


def test_a_key_must_have_been_good_when_its_commit_was_first_seen_over_restarts(follow: Make, key: Path) -> None:
    fleet = follow('valid-before="20231115" ')  # the clock of these tests begins the day before
    applied = followed(fleet).applied
    at = iso(fleet.clock.time())
    early = fleet.commit("Seen in time", key)
    fleet.write("a", "observe")
    unsigned = fleet.commit("Unsigned")
    fleet.settle()
    assert followed(fleet).first_seen == {early: at, unsigned: at}
    fleet.clock.advance(7 * 86_400)
    fleet.close()
    fleet = follow()
    late = fleet.commit("Seen too late", key)
    fleet.settle()
    now = iso(fleet.clock.time())
    assert followed(fleet).first_seen == {early: at, unsigned: at, late: now}
    assert f"commit {early[:12]}" not in followed(fleet).held_why
    assert f"commit {late[:12]} is signed by" in followed(fleet).held_why
    fleet.git("reset", "-q", "--hard", early)
    fleet.settle()
    assert (followed(fleet).applied, followed(fleet).held) == (early, None)
    assert applied != early


def test_who_says_so_takes_an_unsigned_commit_as_it_is(follow: Make, key: Path) -> None:
    from dataclasses import replace

    fleet = follow()
    fleet.write("a", "observe")
    held = fleet.commit("Unsigned")
    fleet.settle()
    fleet.store.following.keep(replace(followed(fleet), accepted=held))
    fleet.close()
    fleet = follow()
    assert (followed(fleet).applied, fleet.status("a").mode) == (held, Mode.OBSERVE)


def test_where_nobody_can_check_it_is_held_and_looked_at_again(
    follow: Make, key: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = follow()
    fleet.write("a", "observe")
    new = fleet.commit(key=key)
    tools = tmp_path_factory.mktemp("tools")
    (tools / "git").symlink_to(shutil.which("git") or "")
    with monkeypatch.context() as patched:
        patched.setenv("PATH", str(tools))
        fleet.settle()
    assert "ssh-keygen is not installed" in followed(fleet).held_why
    fleet.settle()
    assert (followed(fleet).applied, fleet.status("a").mode) == (new, Mode.OBSERVE)


def test_a_first_commit_that_its_own_signers_do_not_allow_begins_nothing(
    make_fleet: Make, tmp_path: Path, key: Path
) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", "."], cwd=tmp_path, check=True)
    fleet = make_fleet(follows="main", is_signed=True)
    allow(fleet, key)
    fleet.write("a")
    fleet.commit()
    fleet.settle()
    assert fleet.ids() == []
    assert "is not signed" in fleet.controller.fleet.source_error
    fleet.commit("On top", key)
    fleet.settle()
    assert fleet.ids() == ["a"]


def test_a_merge_that_leaves_the_applied_commit_beside_is_held(follow: Make, key: Path) -> None:
    fleet = follow()
    first = followed(fleet).applied
    assert first is not None
    applied = fleet.commit("Applied", key)
    fleet.settle()
    fleet.git("checkout", "-q", "-b", "other", first)
    fleet.write("b")
    fleet.commit("Elsewhere", key)
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}")
    fleet.git(*signing, "merge", "-q", "-S", "--no-ff", "-m", "Foxtrot", applied)
    fleet.git("branch", "-q", "-f", "main", "other")
    fleet.settle()
    assert (followed(fleet).applied, fleet.ids()) == (applied, ["a"])
    assert "along first parents" in followed(fleet).held_why


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until it is set, ssh-keygen does not answer; it is to be cleared first."""
    gate, run = threading.Event(), signers._run
    gate.set()

    def late(what: str, *arguments: str, told: bytes = b"") -> subprocess.CompletedProcess[bytes] | str:
        gate.wait(30)
        return run(what, *arguments, told=told)

    monkeypatch.setattr(signers, "_run", late)
    return gate


HALT = "- {scope: instance, id: b, reason: look at it}\n"


def until_applied(fleet: Fleet, commit: str) -> None:
    fleet.wait_until(lambda: look(fleet, 1) and followed(fleet).applied == commit)
    look(fleet)


def test_what_a_commit_lowers_and_halts_does_not_wait_for_its_signatures(
    follow: Make, key: Path, gate: threading.Event
) -> None:
    fleet = follow(checks_beside=True)
    for mode in ("off", "observe", "active"):
        fleet.write("a", mode)
        fleet.write("b", mode)
        before = fleet.commit(key=key)
        until_applied(fleet, before)
    fleet.wait_until(lambda: look(fleet, 1) and fleet.views()["b"].mode is Mode.ACTIVE)
    gate.clear()
    fleet.write("a", "off")
    (fleet.root / "instances" / "_halt.yaml").write_text(HALT)
    (fleet.root / "instances" / "b.yaml").unlink()
    new = fleet.commit(key=key)
    look(fleet)
    assert (followed(fleet).applied, followed(fleet).held) == (before, new)
    assert followed(fleet).held_why == "its signatures are being checked"
    assert [halt.reason for halt in fleet.store.halts.active()] == ["look at it"]
    assert "a" not in fleet.views() or fleet.views()["a"].mode is Mode.OFF
    assert fleet.views()["b"].mode is Mode.ACTIVE, "it removes nothing"
    assert fleet.status("a").sync is Sync.HELD
    assert [row.mode for row in fleet.store.desired.rows().values()] == [Mode.ACTIVE] * 2, "it is no change yet"
    assert not [told for told in fleet.told() if told[0] == "SourceHeld"]
    fleet.close()

    fleet = follow(checks_beside=True)
    assert [halt.reason for halt in fleet.store.halts.active()] == ["look at it"]
    assert set(fleet.views()) <= {"b"}
    gate.set()
    until_applied(fleet, new)
    rows = fleet.store.desired.rows()
    assert (rows["a"].mode, rows["b"].is_live) == (Mode.OFF, False)
    assert [kind for _, kind, _ in history(fleet, "a")] == ["changed"] * 3 + ["created"]


def test_what_is_held_for_good_after_its_signatures_were_checked_stays_lowered(
    follow: Make, key: Path, gate: threading.Event
) -> None:
    fleet = follow(checks_beside=True)
    fleet.write("a", "observe")
    before = fleet.commit(key=key)
    until_applied(fleet, before)
    gate.clear()
    fleet.commit(key=key)
    fleet.write("a", "off")
    held = fleet.commit("Unsigned")
    look(fleet)
    assert followed(fleet).held_why == "its signatures are being checked"
    fleet.git("reset", "-q", "--hard", before)
    look(fleet)
    assert followed(fleet).held is None
    assert fleet.store.desired.rows()["a"].mode is Mode.OFF, "what it lowered stays so, though it is gone"
    gate.set()
    fleet.git("reset", "-q", "--hard", held)
    fleet.wait_until(lambda: look(fleet, 1) and "is not signed" in followed(fleet).held_why)
    fleet.git("reset", "-q", "--hard", before)
    mended = fleet.commit("Nothing", key)
    until_applied(fleet, mended)
    assert fleet.status("a").mode is Mode.OBSERVE


def test_a_commit_that_is_larger_than_is_read_is_held_and_can_be_accepted(follow: Make, key: Path) -> None:
    fleet = follow()
    fleet.write("a", "observe")
    large = fleet.commit("A long story\n\n" + "and so on " * 12_000, key)  # as many as an argument may have
    fleet.settle()
    assert followed(fleet).applied == large
    fleet.write("a", "off")
    message = fleet.root / ".git" / "message"
    message.write_text("A longer story\n\n" + "and so on\n" * 200_000)
    fleet.git("add", "-A")
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}")
    fleet.git(*signing, "commit", "-q", "-S", "-F", str(message))
    held = fleet.commit("On top", key)
    fleet.settle()
    assert followed(fleet).held_why == (
        f"commit {fleet.git('rev-parse', 'HEAD~')[:12]} is larger than 1024 KiB, which is more than is read"
    )
    assert fleet.status("a").mode is Mode.OFF
    assert fleet.controller.accept(held) == ""
    fleet.settle()
    assert (followed(fleet).applied, followed(fleet).held) == (held, None)
