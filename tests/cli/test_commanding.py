"""`pause`, `resume`, `halt`, `unhalt`, `prune`: to a running engine, and where none is running."""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
from decimal import Decimal

import pytest

from reconciler.control.chronicle import named
from reconciler.control.operator import PruneState
from reconciler.records.halt import Cancelling, Halt
from reconciler.store import Reader
from tests.cli.conftest import FakeEngine, Fleet

halt_command = importlib.import_module("reconciler.cli.halt")


@pytest.mark.parametrize(
    ("words", "call", "said"),
    [
        (["pause", "a", "b", "--reason", "why"], ("pause", ("a", "b"), "why"), "a: paused\nb: paused\n"),
        (["pause", "--all", "--reason", "why"], ("pause", None, "why"), "all: paused\n"),
        (["resume", "a", "--reason", "why"], ("resume", ("a",), "why"), "a: resumed\n"),
        (
            ["halt", "--all", "--reason", "why"],
            ("halt", Halt("all", "", False, "why", "", "", Cancelling.NOTHING)),
            "all: halted\n",
        ),
        (
            ["halt", "--account", "main", "--full", "--reason", "why"],
            ("halt", Halt("account", "main", True, "why", "", "", Cancelling.NOTHING)),
            "main: halted in full\n",
        ),
        (
            ["halt", "--all", "--cancel", "--reason", "why"],
            ("halt", Halt("all", "", False, "why", "", "", Cancelling.EXPOSING)),
            "all: halted\n",
        ),
        (
            ["halt", "--all", "--full", "--cancel=all", "--reason", "why"],
            ("halt", Halt("all", "", True, "why", "", "", Cancelling.ALL)),
            "all: halted in full\n",
        ),
        (
            ["halt", "--account", "main", "--flatten", "--yes", "--reason", "why"],
            ("halt", Halt("account", "main", True, "why", "", "", Cancelling.ALL, Decimal("0.03"))),
            "main: halted in full\n",
        ),
        (
            ["orders", "cancel", "8fl267loyw3v28l39j", "--reason", "why"],
            ("cancel", "8fl267loyw3v28l39j", "why"),
            "8fl267loyw3v28l39j: cancelled\n",
        ),
        (["unhalt", "--instance", "a", "--reason", "why"], ("unhalt", "instance", "a", "why"), "a: no longer halted\n"),
    ],
)
def test_a_command_reaches_the_engine_and_its_outcome_is_printed(
    fleet: Fleet, engine: FakeEngine, words: list[str], call: tuple[object, ...], said: str
) -> None:
    result = fleet.run(*words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, said, "")
    assert engine.calls == [call]


def test_what_failed_goes_to_stderr_and_makes_the_exit_code_1(fleet: Fleet, engine: FakeEngine) -> None:
    engine.failed = (("b", "it is not loaded"),)
    result = fleet.run("pause", "a", "b", "--reason", "why")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "a: paused\n", "b: it is not loaded\n")


@pytest.mark.parametrize(
    "words",
    [
        ["pause", "--reason", "why"],
        ["pause", "a", "--all", "--reason", "why"],
        ["resume", "a"],
        ["halt", "--reason", "why"],
        ["halt", "--all", "--account", "main", "--reason", "why"],
        ["unhalt", "--all"],
    ],
)
def test_a_command_that_is_not_clear_does_nothing(fleet: Fleet, engine: FakeEngine, words: list[str]) -> None:
    assert fleet.run(*words).exit_code == 2
    assert engine.calls == []


@pytest.mark.parametrize("words", [["pause", "--all"], ["resume", "a"]])
def test_without_an_engine_there_is_nothing_to_pause_or_resume(fleet: Fleet, words: list[str]) -> None:
    result = fleet.run(*words, "--reason", "why")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("no engine is running here")


def test_the_kill_switch_works_while_the_settings_are_broken(fleet: Fleet, engine: FakeEngine) -> None:
    (fleet.root / "reconciler.yaml").write_text("heartbeat_seconds: fast\n")
    result = fleet.run("halt", "--all", "--reason", "why")
    assert result.exit_code == 0
    assert engine.calls == [("halt", Halt("all", "", False, "why", "", "", Cancelling.NOTHING))]
    assert "reconciler.yaml:1:20" in result.stderr


def test_a_halt_needs_no_engine_and_waits_in_the_database(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.apply()
    result = fleet.run("halt", "--account", "main", "--full", "--reason", "margin call")
    assert (result.exit_code, result.stdout) == (0, "main: halted in full\n")
    assert "holds from its next start" in result.stderr
    with fleet.store() as store:
        (halt,) = store.halts.active()
    assert (halt.scope, halt.id, halt.full, halt.reason, halt.by) == (
        "account",
        "main",
        True,
        "margin call",
        named(os.getuid()),
    )


def test_a_halt_without_an_engine_is_recorded_with_who_and_why(fleet: Fleet) -> None:
    fleet.run("halt", "--all", "--full", "--reason", "prices are wrong")
    fleet.run("unhalt", "--all", "--reason", "prices are right")
    fleet.run("halt", "--instance", "a", "--reason", "loops")
    uid = os.getuid()
    with contextlib.closing(Reader.open(fleet.database)) as reader:
        operations, _ = reader.operations()
        events, _ = reader.events()
    assert [(o["action"], o["scope"], o["reason"], o["uid"]) for o in operations] == [
        ("halt", "instance a", "loops", uid),
        ("unhalt", "everything, halted in full", "prices are right", uid),
        ("halt", "everything, in full", "prices are wrong", uid),
    ]
    assert events.pop()["reason"] == "DatabaseMade"
    assert [(e["instance_id"], e["type"], e["reason"], e["message"]) for e in events] == [
        ("a", "Warning", "Halted", f"instance a: loops ({named(uid)})"),
        (None, "Warning", "Unhalted", f"everything, halted in full: prices are right ({named(uid)})"),
        (None, "Warning", "Halted", f"everything, in full: prices are wrong ({named(uid)})"),
    ]


def test_unhalt_without_an_engine_ends_exactly_that_scope(fleet: Fleet) -> None:
    fleet.run("halt", "--all", "--reason", "why")
    fleet.run("halt", "--instance", "a", "--reason", "why")
    assert fleet.run("unhalt", "--instance", "a", "--reason", "fixed").exit_code == 0
    with fleet.store() as store:
        assert [halt.scope for halt in store.halts.active()] == ["all"]
    result = fleet.run("unhalt", "--instance", "a", "--reason", "fixed")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("still halted:\nHALTED  everything, no new exposure: why (by ")
    assert result.stderr.endswith("a: no halt of instance a to lift: there is none\n")


@pytest.mark.parametrize(
    ("scope", "id", "options", "about"),
    [
        ("account", "main", ("--account", "main"), "main: no halt of account main"),
        ("all", "", ("--all",), "all: no halt of everything"),
    ],
    ids=["account", "all"],
)
@pytest.mark.parametrize("name", ["_halt.yaml", "_halt.yml"])
def test_unhalt_of_what_a_file_halts_names_that_file_without_an_engine_too(
    fleet: Fleet, scope: str, id: str, options: tuple[str, ...], about: str, name: str
) -> None:
    named_id = f"id: {id}, " if id else ""
    (fleet.root / "instances" / name).write_text(f'- {{scope: {scope}, {named_id}reason: "margin call"}}\n')
    result = fleet.run("unhalt", *options, "--reason", "test")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith(f"{about} to lift: it comes from instances/{name}: change that file\n")
    assert f"margin call (by instances/{name})\n" in result.stderr, "since when nobody knows who only reads the file"


def test_a_database_that_an_engine_holds_is_not_touched_behind_its_back(fleet: Fleet) -> None:
    with fleet.store() as store:
        result = fleet.run("halt", "--all", "--reason", "why")
        assert store.halts.active() == ()
        assert (result.exit_code, result.stdout) == (0, "all: halted\n")
        assert "halt-requests" in result.stderr
        assert [halt.told for halt in store.take_halt_requests()] == ["everything"]


def test_a_halt_that_the_engine_does_not_answer_goes_to_the_disk_and_says_so(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halt_command, "ANSWER_S", 0.05)
    with fleet.store() as store, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
        deaf.bind(str(fleet.control_socket))
        deaf.listen(8)
        result = fleet.run("halt", "--account", "main", "--full", "--reason", "margin call")
        assert (result.exit_code, result.stdout) == (0, "main: halted in full\n")
        assert "did not answer" in result.stderr
        assert "on the disk" in result.stderr
        (halt,) = store.take_halt_requests()
        assert (halt.scope, halt.id, halt.full, halt.reason) == ("account", "main", True, "margin call")


def test_a_socket_with_no_engine_behind_it_is_as_none_at_all(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halt_command, "ANSWER_S", 0.05)
    fleet.store().close()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as inherited:
        inherited.bind(str(fleet.control_socket))
        inherited.listen(8)
        result = fleet.run("halt", "--all", "--reason", "fire")
    assert (result.exit_code, result.stdout) == (0, "all: halted\n")
    assert "no engine is running here" in result.stderr
    with fleet.store() as store:
        assert [halt.reason for halt in store.halts.active()] == ["fire"]


def test_a_halt_for_which_neither_database_nor_disk_has_room_says_that_nothing_is_halted(fleet: Fleet) -> None:
    fleet.database.parent.mkdir()
    fleet.database.write_bytes(b"no database at all, but long enough to look like one" * 100)
    (fleet.database.parent / "halt-requests").mkdir()
    result = fleet.run("halt", "--all", "--reason", "fire")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing is halted" in result.stderr


def test_a_database_that_cannot_be_opened_keeps_no_halt_from_the_disk(fleet: Fleet) -> None:
    fleet.database.parent.mkdir()
    fleet.database.write_bytes(b"no database at all, but long enough to look like one" * 100)
    result = fleet.run("halt", "--all", "--reason", "fire")
    assert (result.exit_code, result.stdout) == (0, "all: halted\n")
    assert (fleet.database.parent / "halt-requests").exists()


@pytest.mark.parametrize("command", [("halt", "--all"), ("unhalt", "--all"), ("pause", "a"), ("beats", "forget")])
def test_a_reason_has_a_length_and_says_something(fleet: Fleet, engine: FakeEngine, command: tuple[str, ...]) -> None:
    assert "at most 500 characters" in fleet.run(*command, "--reason", "x" * 501).stderr
    assert engine.calls == []
    assert fleet.run(*command, "--reason", "x" * 500).exit_code == 0


def test_prune_lists_what_is_held_and_how_to_confirm_it(fleet: Fleet, engine: FakeEngine) -> None:
    assert fleet.run("prune").stderr == "nothing is held\n"
    engine.held = PruneState("d1", ("a", "b"))
    result = fleet.run("prune")
    assert (result.exit_code, result.stdout) == (0, "a\nb\n")
    assert "reconciler prune --confirm d1" in result.stderr
    assert fleet.run("prune", "--confirm", "d1").stdout == "a: removed\nb: removed\n"
    assert engine.calls == [("confirm_prune", "d1", "")]


def test_prune_carries_the_reason_on(fleet: Fleet, engine: FakeEngine) -> None:
    engine.held = PruneState("d1", ("a", "b"))
    assert "--confirm d1 --reason …" in fleet.run("prune").stderr
    result = fleet.run("prune", "--confirm", "d1", "--reason", "moved to the other desk")
    assert result.stdout == "a: removed\nb: removed\n"
    assert engine.calls == [("confirm_prune", "d1", "moved to the other desk")]


def test_a_reason_to_prune_that_says_nothing_is_refused(fleet: Fleet, engine: FakeEngine) -> None:
    result = fleet.run("prune", "--confirm", "d1", "--reason", " ")
    assert (result.exit_code, engine.calls) == (1, [])
    assert "reason: expected a text that says something" in result.stderr


def test_a_reason_without_a_confirmation_is_a_slip(fleet: Fleet, engine: FakeEngine) -> None:
    result = fleet.run("prune", "--reason", "moved")
    assert (result.exit_code, result.stdout, engine.calls) == (2, "", [])
    assert "--reason goes with --confirm DIGEST" in result.stderr


def test_prune_needs_an_engine(fleet: Fleet) -> None:
    result = fleet.run("prune")
    assert result.exit_code == 1
    assert "only a running one knows" in result.stderr


def test_a_halt_of_a_name_that_nobody_has_is_in_force_and_asks_whether_it_was_meant(fleet: Fleet) -> None:
    """As an engine answers: a slip at the kill switch must show, and must not keep what was meant from being halted."""
    fleet.write("btc-usd-grid")
    fleet.apply()
    result = fleet.run("halt", "--instance", "btc-usd-gird", "--reason", "loops")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        'btc-usd-gird: no instance is called btc-usd-gird (did you mean "btc-usd-grid"?); '
        "the halt is in force all the same: was it meant?\n"
        "no engine is running here: the halt is in the database and holds from its next start\n"
    )
    result = fleet.run("halt", "--account", "mian", "--reason", "loops")
    assert result.exit_code == 1
    assert 'no instance trades on an account called mian (did you mean "main"?)' in result.stderr
    with fleet.store() as store:
        assert [halt.id for halt in store.halts.active()] == ["btc-usd-gird", "mian"]


def test_what_is_halted_is_asked_for_before_why(fleet: Fleet) -> None:
    result = fleet.run("halt")
    assert result.exit_code == 2
    assert "expected exactly one of --all, --account ID, --instance ID" in result.stderr


def test_unhalt_says_what_stays_halted(fleet: Fleet, engine: FakeEngine) -> None:
    at = "2026-01-31T12:00:00Z"
    halt = {"scope": "account", "id": "main", "full": True, "reason": "margin", "by": "uid 0", "at": at}
    engine.halts = [{**halt, "declared": False, "note": ""}]
    result = fleet.run("unhalt", "--all", "--reason", "right again")
    assert (result.exit_code, result.stdout) == (0, "all: no longer halted\n")
    assert result.stderr == (f"still halted:\nHALTED  account main, nothing passes: margin (by uid 0, since {at})\n")


def test_unhalt_that_lifts_nothing_says_what_is_halted_instead(fleet: Fleet) -> None:
    fleet.run("halt", "--account", "main", "--reason", "margin")
    result = fleet.run("unhalt", "--all", "--reason", "right again")
    assert result.exit_code == 1
    assert "still halted:\nHALTED  account main, no new exposure: margin (by " in result.stderr
    assert "all: no halt of everything to lift: there is none" in result.stderr


def test_an_engine_that_lifts_nothing_says_what_is_halted_instead(fleet: Fleet, engine: FakeEngine) -> None:
    halt = {"scope": "account", "id": "main", "full": True, "reason": "margin", "by": "uid 0", "at": "2026-01-31"}
    engine.halts = [{**halt, "declared": False, "note": ""}]
    engine.failed = (("all", "no halt of everything to lift: there is none"),)
    result = fleet.run("unhalt", "--all", "--reason", "right again")
    assert result.exit_code == 1
    assert "still halted:\nHALTED  account main, nothing passes: margin (by uid 0, since " in result.stderr
    assert "all: no halt of everything to lift" in result.stderr


def test_unhalt_says_what_stays_halted_without_an_engine_too(fleet: Fleet) -> None:
    fleet.run("halt", "--all", "--reason", "why")
    fleet.run("halt", "--instance", "a", "--reason", "loops")
    result = fleet.run("unhalt", "--all", "--reason", "right again")
    assert result.stderr.startswith("still halted:\nHALTED  instance a, no new exposure: loops (by ")
