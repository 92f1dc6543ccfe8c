from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from reconciler.sources.folder import VANISHED, Reading, read, signature

LIMIT_BYTES = 100


def test_a_file_is_read_with_the_signature_it_had(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"id: a\n")
    assert read(str(path), None, LIMIT_BYTES) == Reading(b"id: a\n", signature(path.stat()))


def test_an_empty_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.touch()
    assert read(str(path), None, LIMIT_BYTES).data == b""


@pytest.mark.parametrize(("size_bytes", "read_bytes"), [(100, 100), (101, 101), (102, 101), (5000, 101)])
def test_of_a_large_file_one_byte_more_than_the_limit_is_read(tmp_path: Path, size_bytes: int, read_bytes: int) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"x" * size_bytes)
    assert read(str(path), None, LIMIT_BYTES).data == b"x" * read_bytes


def test_a_missing_file_has_vanished(tmp_path: Path) -> None:
    assert read(str(tmp_path / "a.yaml"), None, LIMIT_BYTES) is VANISHED
    assert not VANISHED.settled


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("/etc/hostname")
    reading = read(str(tmp_path / "a.yaml"), None, LIMIT_BYTES)
    assert reading.data is None
    assert reading.error.startswith("could not be read: ")


def test_a_pipe_that_took_a_files_place_is_neither_read_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    reading = read(str(tmp_path / "a.yaml"), None, LIMIT_BYTES)
    assert (reading.data, reading.error) == (None, "expected a file, was a named pipe")


def _write_while_reading(monkeypatch: pytest.MonkeyPatch, path: Path, times: int) -> None:
    left = [times]

    def read_then_write(fd: int, size: int, read_bytes: object = os.read) -> bytes:
        assert callable(read_bytes)
        data: bytes = read_bytes(fd, size)
        if left[0]:
            left[0] -= 1
            with path.open("ab") as file:
                file.write(b"more\n")
        return data

    monkeypatch.setattr("reconciler.sources.folder.os.read", read_then_write)


def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"id: a\n")
    _write_while_reading(monkeypatch, path, times=1)
    reading = read(str(path), None, LIMIT_BYTES)
    assert reading.data == b"id: a\nmore\n"
    assert reading.settled


def test_a_file_that_keeps_changing_is_not_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"id: a\n")
    _write_while_reading(monkeypatch, path, times=1000)
    reading = read(str(path), None, LIMIT_BYTES)
    assert reading == Reading(None, None, "kept changing while it was being read", settled=False)


def test_a_file_replaced_by_a_rename_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "a.yaml", tmp_path / "b"
    path.write_bytes(b"old\n")
    other.write_bytes(b"new\n")

    def read_then_replace(fd: int, size: int, read_bytes: object = os.read) -> bytes:
        assert callable(read_bytes)
        data: bytes = read_bytes(fd, size)
        if other.exists():
            other.rename(path)
        return data

    monkeypatch.setattr("reconciler.sources.folder.os.read", read_then_replace)
    assert read(str(path), None, LIMIT_BYTES).data == b"new\n"


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
def test_a_file_that_is_open_for_writing_is_unfinished_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    with path.open("w") as file:
        file.write("id: a\n")
        file.flush()
        assert read(str(path), None, LIMIT_BYTES).is_unfinished
    reading = read(str(path), None, LIMIT_BYTES)
    assert (reading.data, reading.is_unfinished) == (b"id: a\n", False)
    with path.open():
        assert not read(str(path), None, LIMIT_BYTES).is_unfinished
