"""`reconciler backup`, `restore`, `check`: what they print, and their exit codes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from reconciler.clock import FakeClock
from reconciler.store import Store
from tests.cli.conftest import Fleet


def test_a_copy_is_made_put_back_halted_and_whole(fleet: Fleet, tmp_path: Path) -> None:
    Store.open(fleet.database, FakeClock()).close()
    copy = tmp_path / "copies" / "fleet.db"
    copy.parent.mkdir()
    made = fleet.run("backup", str(copy))
    assert (made.exit_code, made.stdout.startswith(f"{copy}: a whole copy of {fleet.database}, ")) == (0, True)

    back = fleet.run("restore", str(copy), "--reason", "the disk failed")
    assert back.exit_code == 0
    first, second = back.stdout.splitlines()
    assert first == f"{fleet.database}: restored from {copy}; its last order: none"
    assert second.startswith("what was here is kept as ")
    assert "everything is halted; start the engine" in back.stderr
    assert "reconciler exec settle ACCOUNT" in back.stderr

    whole = fleet.run("check")
    assert (whole.exit_code, whole.stdout) == (0, f"{fleet.database}: whole: 0 orders, 0 books, 0 instances\n")


def test_a_copy_that_is_there_is_not_written_over_and_one_that_is_not_cannot_be_put_back(
    fleet: Fleet, tmp_path: Path
) -> None:
    Store.open(fleet.database, FakeClock()).close()
    copy = tmp_path / "fleet.db"
    copy.write_text("mine")
    made = fleet.run("backup", str(copy))
    assert (made.exit_code, made.stdout, "is there already" in made.stderr) == (1, "", True)
    back = fleet.run("restore", str(tmp_path / "nowhere.db"))
    assert (back.exit_code, "no such file" in back.stderr) == (1, True)


def test_while_an_engine_runs_nothing_is_put_back(fleet: Fleet, tmp_path: Path) -> None:
    with Store.open(fleet.database, FakeClock()):
        assert fleet.run("backup", str(tmp_path / "fleet.db")).exit_code == 0
        back = fleet.run("restore", str(tmp_path / "fleet.db"))
        assert fleet.run("check").exit_code == 0
    assert (back.exit_code, back.stdout) == (1, "")
    assert "holds this database" in back.stderr


def test_what_is_not_whole_and_what_cannot_be_looked_at_are_two_things(fleet: Fleet) -> None:
    nothing = fleet.run("check")
    assert (nothing.exit_code, "no database there" in nothing.stderr) == (2, True)
    Store.open(fleet.database, FakeClock()).close()
    with closing(sqlite3.connect(fleet.database)) as db, db:
        db.execute(
            "INSERT INTO books (instance_id, account_id, client_id, symbol, shadow, quantity, realised, fees,"
            " realised_before, start_quantity, started_at, updated_at)"
            " VALUES ('a', 'main', 'desk', 'X/Y', 0, '2', '0', '0', '0', '0', '2026', '2026')"
        )
    wrong = fleet.run("check")
    assert (wrong.exit_code, wrong.stdout) == (1, "book of a: it holds 2 X/Y, its fills make 0\n")
    assert "not whole: 1 found" in wrong.stderr
