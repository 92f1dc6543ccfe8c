from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any

import pytest

from reconciler.errors import SourceError
from reconciler.sources.command import Git, _awaited, _Patience

Run = Callable[..., str]


def _stub_git(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def _hash(repository: Path, git: Run, data: bytes) -> str:
    (repository / "blob").write_bytes(data)
    return git(repository, "hash-object", "-w", "blob")


def test_blobs_are_read_in_the_order_they_were_asked_for(repository: Path, git: Run) -> None:
    ids = [_hash(repository, git, data) for data in (b"one\n", b"", b"missing\n\0binary\xff")]
    with Git(repository).blobs() as blobs:
        assert list(blobs.read(ids, 100)) == list(zip(ids, [b"one\n", b"", b"missing\n\0binary\xff"], strict=True))
        assert list(blobs.read(ids[:1], 100)) == [(ids[0], b"one\n")]


def test_more_is_asked_than_a_pipe_holds(repository: Path, git: Run) -> None:
    large = _hash(repository, git, b"x" * 300_000)
    with Git(repository).blobs() as blobs:
        found = list(blobs.read([large] * 300, 10))
    assert found == [(large, b"x" * 10)] * 300


def test_of_a_large_blob_only_its_beginning_is_kept_and_the_next_is_read_right(repository: Path, git: Run) -> None:
    large, small = _hash(repository, git, b"x" * 3_000_000), _hash(repository, git, b"ab")
    with Git(repository).blobs() as blobs:
        assert list(blobs.read([large, small], 2)) == [(large, b"xx"), (small, b"ab")]


def test_a_blob_that_is_not_here_is_none(repository: Path) -> None:
    with Git(repository).blobs() as blobs:
        assert list(blobs.read(["0" * 39 + "1"], 10)) == [("0" * 39 + "1", None)]


def test_a_damaged_object_is_an_error_in_one_sentence(repository: Path, git: Run) -> None:
    blob_id = _hash(repository, git, b"whole")
    loose = repository / ".git" / "objects" / blob_id[:2] / blob_id[2:]
    loose.chmod(0o644)
    loose.write_bytes(b"not zlib")
    with Git(repository).blobs() as blobs, pytest.raises(SourceError) as caught:
        list(blobs.read([blob_id], 10))
    assert str(caught.value).startswith("git cat-file failed: ")
    assert "\n" not in str(caught.value)


def test_a_process_that_ends_at_once_is_an_error_with_what_it_said(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stub_git(tmp_path / "bin", "echo 'fatal: broken' >&2; exit 128", monkeypatch)
    with (
        Git(repository).blobs() as blobs,
        pytest.raises(SourceError, match=r"^git cat-file failed: broken$"),
    ):
        list(blobs.read(["0" * 40] * 5_000, 10))


def test_a_process_that_hangs_is_given_up(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stub_git(tmp_path / "bin", "exec /bin/sleep 60", monkeypatch)
    monkeypatch.setattr("reconciler.sources.command._TIMEOUT_S", 0.05)
    with (
        Git(repository).blobs() as blobs,
        pytest.raises(SourceError, match=r"^git cat-file took longer than 0\.05 s$"),
    ):
        list(blobs.read(["0" * 40], 10))


def test_without_git_there_is_a_reason(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match=r"^git is not installed"):
        Git(repository).blobs()


def test_no_process_is_left_behind(repository: Path) -> None:
    with Git(repository).blobs() as blobs:
        pass
    assert blobs._process.returncode is not None


def test_what_asks_another_repository_fails_by_the_name_people_know(repository: Path) -> None:
    with pytest.raises(SourceError, match=r"^git fetch failed: .*does not appear to be a git repository"):
        Git(repository).reach("-c", "x.y=fetch", "fetch", "--quiet", "/nowhere", silent_s=10, most_s=10)


def test_what_asks_another_repository_is_not_talked_to_for_ever(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stub_git(tmp_path / "bin", "while :; do echo still at it >&2; done", monkeypatch)
    monkeypatch.setattr("reconciler.sources.command._TALK_BYTES", 10_000)
    with pytest.raises(SourceError, match=r"^git fetch was told more than 0 MiB of talk, and no end$"):
        Git(repository).reach("fetch", silent_s=60, most_s=60)


class Slow:
    """A process that is at work for so many looks, and says something at each of those in `says_at`."""

    def __init__(self, looks: int, says_at: Collection[int], told: IO[bytes]) -> None:
        self.looks, self.says_at, self.told, self.looked = looks, says_at, told, 0

    def wait(self, timeout_s: float) -> int:
        self.looked += 1
        if self.looked > self.looks:
            return 0
        if self.looked in self.says_at:
            self.told.write(b"at it ")
            self.told.flush()
        raise subprocess.TimeoutExpired("git", timeout_s)


def awaited(looks: int, says_at: Collection[int], goes_on: Callable[[float, float], bool]) -> int:
    with tempfile.TemporaryFile() as told:
        process: Any = Slow(looks, says_at, told)
        return _awaited(process, told, _Patience("fetch", silent_s=6.0, most_s=60.0, goes_on=goes_on))


def test_what_goes_on_saying_how_it_goes_is_waited_for_and_what_is_silent_is_not() -> None:
    seen: list[tuple[float, float]] = []

    def goes_on(taken_s: float, silent_s: float) -> bool:
        seen.append((round(taken_s, 1), round(silent_s, 1)))
        return True

    assert awaited(200, range(0, 200, 50), goes_on) == 0
    assert (seen[-1], max(silent_s for _, silent_s in seen)) == ((20.0, 5.0), 5.0)
    with pytest.raises(SourceError, match=r"^git fetch heard nothing for 6 s$"):
        awaited(200, range(0, 100, 50), goes_on)
    with pytest.raises(SourceError, match=r"^git fetch took longer than 60 s$"):
        awaited(1000, range(0, 1000, 50), goes_on)
    with pytest.raises(SourceError, match=r"^git fetch was given up after 3 s: it is begun anew$"):
        awaited(200, (), lambda taken_s, silent_s: silent_s < 3)


def test_what_is_too_large_is_not_read_past(repository: Path, git: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.sources.command._SKIPPED_BYTES", 100_000)
    large, small = _hash(repository, git, b"x" * 1_000_000), _hash(repository, git, b"small")
    with Git(repository).blobs() as blobs:
        found = list(blobs.read([small, large, "0" * 40, large, small, *[small] * 200, large], 10))
        assert found[:5] == [(small, b"small"), (large, b"x" * 10), ("0" * 40, None), (large, b"x" * 10), found[0]]
        assert [data for _, data in found[5:]] == [b"small"] * 200 + [b"x" * 10]
        assert dict(blobs.read([small], 10)) == {small: b"small"}
