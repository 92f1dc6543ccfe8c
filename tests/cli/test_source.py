"""`reconciler source`: what is followed, told and commanded, with an engine and with none."""

from __future__ import annotations

import contextlib
import json
import subprocess

import pytest

from reconciler.clock import FakeClock
from reconciler.records.followed import Followed
from reconciler.records.snapshot import MergedChange, SignedBy
from reconciler.settings.live_settings import engine_settings
from reconciler.store import Reader
from tests.cli.conftest import FakeEngine, Fleet

APPLIED, HELD = "a" * 40, "b" * 40
SAID = MergedChange(
    APPLIED,
    "Ada",
    "ada@example.com",
    "Forge",
    "2026-01-31T12:00:00.000Z",
    "Widen the ladder (#7)",
    signed_by=SignedBy("ada@example.com", "SHA256:abc"),
)


@pytest.fixture
def followed(fleet: Fleet) -> Fleet:
    """A database that follows a branch, of which a commit is held."""
    kept = Followed(
        "git", None, "main", first=APPLIED, applied=APPLIED, applied_at="2026-01-31T12:00:01.000Z",
        seen=HELD, seen_at="2026-01-31T13:00:00.000Z", held=HELD, held_why="commit bbbb is not signed",
    )  # fmt: skip
    with fleet.store() as store:
        store.desired.apply((), also=store.following.job(kept, {APPLIED: SAID}))
    return fleet


def test_it_names_what_is_applied_seen_and_held_and_why(followed: Fleet) -> None:
    result = followed.run("source")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "source:   branch main",
        f"applied:  {APPLIED[:12]} Widen the ladder (#7), by Ada, signed by ada@example.com, "
        "since 2026-01-31T12:00:01.000Z",
        f"seen:     {HELD}, since 2026-01-31T13:00:00.000Z",
        f"held:     {HELD}",
        "because:  commit bbbb is not signed",
        f"to take:  reconciler source accept {HELD} --reason …",
    ]


def test_as_json_it_is_what_the_api_answers(followed: Fleet) -> None:
    found = json.loads(followed.run("source", "--format", "json").stdout)
    assert (found["kind"], found["branch"], found["remote"]) == ("git", "main", None)
    assert found["applied"]["commit"] == APPLIED
    assert found["applied"]["signed_by"]["principal"] == "ada@example.com"
    assert (found["held"]["commit"], found["held"]["why"]) == (HELD, "commit bbbb is not signed")
    assert found["unreachable_since"] is None


def test_exactly_the_held_commit_can_be_accepted_where_no_engine_runs(followed: Fleet) -> None:
    refused = followed.run("source", "accept", APPLIED, "--reason", "why")
    assert (refused.exit_code, refused.stderr) == (1, f"expected {HELD}, which is held\n")
    result = followed.run("source", "accept", HELD, "--reason", "looked at it")
    assert (result.exit_code, result.stdout) == (0, f"{HELD}: accepted\n")
    with followed.store() as store:
        found = store.following.followed()
        assert found is not None
        assert found.accepted == HELD
    with contextlib.closing(Reader.open(followed.database)) as reader:
        ((operation,), _), (events, _) = reader.operations(), reader.events("", "Warning")
    assert (operation["action"], operation["reason"]) == ("accept-commit", "looked at it")
    assert [event["reason"] for event in events] == ["SourceAccepted"]


def test_a_running_engine_is_told(fleet: Fleet, engine: FakeEngine) -> None:
    result = fleet.run("source", "accept", HELD, "--reason", "looked at it")
    assert (result.exit_code, engine.calls) == (0, [("accept_commit", HELD, "looked at it")])


def test_another_source_is_followed_from_the_next_start_on(followed: Fleet) -> None:
    same = followed.run("source", "switch", "--source", "git", "--reason", "why")
    assert (same.exit_code, same.stderr) == (1, "branch main is followed already\n")
    result = followed.run("source", "switch", "--source", "git", "--remote", "origin", "--reason", "the desk's forge")
    assert (result.exit_code, result.stdout) == (0, "branch main of origin: followed from the next start on\n")
    with followed.store() as store:
        found = store.following.followed()
        assert found is not None
        assert (found.remote, found.applied, found.held) == ("origin", None, None)
    assert followed.run("source", "switch", "--source", "worktree", "--branch", "x", "--reason", "y").exit_code == 2


def test_what_is_pinned_is_followed_and_another_value_refuses_to_start(followed: Fleet) -> None:
    result = followed.run("run", "--source", "git", "--branch", "release")
    assert result.exit_code == 1
    assert result.stderr == (
        "the engine of this database follows branch main, and branch release is asked for: put that back, or say that "
        "it is meant: reconciler source switch --source git --branch release --reason …\n"
    )


def test_without_an_engine_halts_are_told_of_what_is_applied_and_not_of_what_is_on_disk(followed: Fleet) -> None:
    (followed.root / "instances" / "_halt.yaml").write_text("- {scope: all, reason: on disk}\n")
    result = followed.run("status")
    assert "on disk" not in result.stderr
    assert f"what {APPLIED[:10]} halts is not known: " in result.stderr, "there is no repository here"


def test_where_what_is_applied_is_gone_it_says_so_and_switching_begins_from_where_the_branch_is(
    followed: Fleet,
) -> None:
    """A repository that was made anew, after its branch had been rewritten."""
    for words in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "Anew"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        subprocess.run(["git", *identity, *words], cwd=followed.root, check=True)
    refused = followed.run("run")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"what is applied, {APPLIED}, is not in this repository any more: fetch it, or")
    assert followed.run("source", "switch", "--source", "git", "--reason", "rewritten").exit_code == 0
    with followed.store() as store:
        found = store.following.followed()
        assert found is not None
        assert found.applied is None


def test_an_engine_starts_by_the_last_settings_that_could_be_used(fleet: Fleet) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        return subprocess.check_output(("git", *who, *arguments), cwd=fleet.root, text=True).strip()

    git("init", "-q", "-b", "main")
    commits = []
    for text in ("heartbeat_seconds: 3\n", "heartbeat_seconds: 2\n", "limits: [\n", "heartbeat_seconds: many\n"):
        (fleet.root / "reconciler.yaml").write_text(text)
        git("add", "reconciler.yaml")
        git("commit", "-qm", "settings")
        commits.append(git("rev-parse", "HEAD"))
    for applied, seconds in zip(commits, (3, 2, 2, 2), strict=True):
        kept = Followed("git", None, "main", first=commits[0], applied=applied)
        with fleet.store() as store:
            store.desired.apply((), also=store.following.job(kept, {}))
        assert engine_settings(fleet.root, {}, {}, FakeClock()).heartbeat_seconds == seconds
