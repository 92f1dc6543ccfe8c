"""Trials: counted once each, with what an engine here observed; a holdout is looked at once by each version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.errors import StoreError
from reconciler.records.mode import Mode
from reconciler.records.record import Row, RowChange
from reconciler.store import Store
from reconciler.store.trials import Trials, version_of


def test_a_version_counts_once_whatever_data_it_saw(tmp_path: Path) -> None:
    trials = Trials(tmp_path / "state" / "trials.db", tmp_path / "none.db")
    assert trials.note("grid", "v1", "d1", 0.1).count == 1
    assert trials.note("grid", "v1", "d2", None).count == 1
    found = trials.note("grid", "v2", "d1", 0.3)
    assert (found.count, found.sharpes) == (2, (0.1, 0.3))
    assert trials.note("other", "v1", "d1", 0.5).count == 1
    again = Trials(tmp_path / "state" / "trials.db", tmp_path / "none.db")
    assert again.note("grid", "v2", "d1", 0.3).count == 2
    assert (tmp_path / "state" / "trials.db").stat().st_mode & 0o077 == 0


def test_what_was_observed_counts_and_what_was_only_off_does_not(
    store: Store, path: Path, make_row: Callable[..., Row], tmp_path: Path
) -> None:
    row, off = make_row("a", code_digest="c0de"), make_row("b", code_digest="c1de")
    off = replace(off, record=replace(off.record, mode=Mode.OFF))
    store.desired.apply([RowChange(row, "created", ""), RowChange(off, "created", "")], (), ())
    trials = Trials(tmp_path / "trials.db", path)
    assert trials.note("grid", "new", "d", None).count == 2
    assert trials.note("grid", version_of("c0de", {"levels": 5}), "d", None).count == 2, "it is the one observed"


def test_a_holdout_is_shown_once_and_each_look_counted(tmp_path: Path) -> None:
    trials = Trials(tmp_path / "trials.db", tmp_path / "none.db")
    assert trials.look("grid", "v1", "d") == (True, 1)
    assert trials.look("grid", "v1", "d") == (False, 1)
    assert trials.look("grid", "v2", "d") == (True, 2)
    assert trials.look("grid", "v2", "other") == (True, 1)


def test_what_is_no_database_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    path.write_text("no database", encoding="utf-8")
    with pytest.raises(StoreError, match=r"trials cannot be counted: .*; move it away to begin anew"):
        Trials(path, tmp_path / "none.db").look("grid", "v", "d")
