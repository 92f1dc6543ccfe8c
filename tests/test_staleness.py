"""Whether the settings on disk are still those the engine was started with."""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.settings.loading import CHANGED, Staleness


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
