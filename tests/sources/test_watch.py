from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from watchfiles._rust_notify import RustNotify

from reconciler.clock import SystemClock
from reconciler.sources.hints import Watcher, WatchOptions
from reconciler.sources.worktree import Worktree, WorktreeOptions

Git = Callable[..., str]

PATIENCE_S = 60.0
QUICK = WatchOptions(check_s=0.02, retry_s=0.02)
NO_CHECKS = WatchOptions(check_s=3600.0)


class Hints:
    """What a watcher said and which paths it took note of. Waits on a condition, never for a time."""

    def __init__(self) -> None:
        self._said = threading.Condition()
        self._changes = 0
        self._faults: list[str] = []
        self._noted: set[str] = set()

    @property
    def changes(self) -> int:
        with self._said:
            return self._changes

    def change(self) -> None:
        with self._said:
            self._changes += 1
            self._said.notify_all()

    def fault(self, message: str) -> None:
        with self._said:
            self._faults.append(message)
            self._said.notify_all()

    def note(self, paths: set[str]) -> None:
        with self._said:
            self._noted |= paths
            self._said.notify_all()

    def take(self) -> None:
        """Wait until at least one hint has come since the last `take`."""
        with self._said:
            assert self._said.wait_for(lambda: self._changes, PATIENCE_S), f"no hint; faults: {self._faults}"
            self._changes = 0

    def take_fault(self) -> str:
        with self._said:
            assert self._said.wait_for(lambda: self._faults, PATIENCE_S), "no fault"
            return self._faults.pop(0)

    def wait_until_noted(self, paths: set[str], again: Callable[[], object] = lambda: None) -> None:
        """Wait until the watcher is done with bursts that held all `paths`, doing `again` what should make them."""
        for _ in range(int(PATIENCE_S / 0.2)):
            again()
            with self._said:
                if self._said.wait_for(lambda: paths <= self._noted, 0.2):
                    return
        pytest.fail(f"never noted: {paths - self._noted}")


class NotingNotify:
    """The real notifier; what a burst held is noted once the watcher, done with it, asks for the next."""

    hints: Hints

    def __init__(self, *arguments: Any) -> None:
        self._notify = RustNotify(*arguments)
        self._held: set[str] = set()

    def watch(self, *arguments: Any) -> set[tuple[int, str]] | str:
        self.hints.note(self._held)
        answer = self._notify.watch(*arguments)
        self._held = {path for _, path in answer} if isinstance(answer, set) else set()
        return answer

    def close(self) -> None:
        self.hints.note(self._held)
        self._notify.close()


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> Hints:
    hints = Hints()
    monkeypatch.setattr(NotingNotify, "hints", hints, raising=False)
    monkeypatch.setattr("reconciler.sources.hints.RustNotify", NotingNotify)
    return hints


@pytest.fixture
def watch(hints: Hints) -> Iterator[Callable[..., Watcher]]:
    """`watch(root, options)`: a started watcher, stopped after the test."""
    started: list[Watcher] = []

    def start(root: Path, options: WatchOptions = NO_CHECKS) -> Watcher:
        watcher = Watcher(root, hints.change, hints.fault, SystemClock(), options)
        watcher.start()
        started.append(watcher)
        return watcher

    yield start
    for watcher in started:
        watcher.stop()


Watch = Callable[..., Watcher]


@pytest.mark.parametrize(
    "path",
    [
        *("instances/btc.yaml", "instances/eth.yaml", "instances/_templates/majors.yaml", "strategies/grid.py"),
        "reconciler.yaml",
    ],
)
def test_a_file_written_is_a_hint(fleet: Path, watch: Watch, hints: Hints, path: str) -> None:
    watch(fleet)
    (fleet / path).write_text("changed\n")
    hints.take()


def test_a_file_replaced_by_a_rename_or_removed_is_a_hint(fleet: Path, watch: Watch, hints: Hints) -> None:
    (fleet / "new.yaml").write_text("id: btc\n")
    watch(fleet)
    (fleet / "new.yaml").rename(fleet / "instances" / "btc.yaml")
    hints.take()
    (fleet / "instances" / "btc.yaml").unlink()
    hints.take()


def test_settings_are_watched_where_their_link_leads_and_where_it_leads_later(
    fleet: Path, tmp_path: Path, watch: Watch, hints: Hints
) -> None:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "desk.yaml").write_text("heartbeat_seconds: 6\n")
    (fleet / "reconciler.yaml").symlink_to("../before/desk.yaml")
    watch(fleet)
    _until_a_write_is_noted(tmp_path / "before" / "desk.yaml", hints)
    hints.take()
    (fleet / "next.yaml").symlink_to(tmp_path / "after" / "desk.yaml")
    (fleet / "next.yaml").rename(fleet / "reconciler.yaml")
    hints.take()
    _until_a_write_is_noted(tmp_path / "after" / "desk.yaml", hints)
    (fleet / "README.md").write_text("noise\n")
    hints.wait_until_noted({str(fleet / "README.md")})
    before = hints.changes
    (tmp_path / "after" / "other.yaml").write_text("noise\n")
    hints.wait_until_noted({str(tmp_path / "after" / "other.yaml")})
    assert hints.changes == before


def test_settings_that_are_mounted_are_watched_as_kubernetes_replaces_them(
    fleet: Path, tmp_path: Path, watch: Watch, hints: Hints
) -> None:
    """A volume of a ConfigMap: the file is a link through `..data`, itself a link that a rename replaces."""
    volume = tmp_path / "volume"

    def put(stamp: str) -> None:
        (volume / stamp).mkdir(parents=True)
        (volume / stamp / "reconciler.yaml").write_text(f"# {stamp}\n")
        (volume / "..data_tmp").symlink_to(stamp)
        (volume / "..data_tmp").rename(volume / "..data")

    put("..1")
    (volume / "reconciler.yaml").symlink_to("..data/reconciler.yaml")
    (fleet / "reconciler.yaml").symlink_to(volume / "reconciler.yaml")
    watch(fleet)
    for stamp, before in (("..2", "..1"), ("..3", "..2")):
        put(stamp)
        hints.take()
        shutil.rmtree(volume / before)
        hints.wait_until_noted({str(volume / "..data")})


def test_settings_whose_link_leads_in_a_circle_or_nowhere_are_watched_all_the_same(
    fleet: Path, watch: Watch, hints: Hints
) -> None:
    (fleet / "reconciler.yaml").symlink_to("reconciler.yaml")
    watch(fleet)
    (fleet / "reconciler.yaml").unlink()
    hints.take()


def test_folders_made_later_are_watched(fleet: Path, watch: Watch, hints: Hints) -> None:
    watch(fleet)
    (fleet / "instances" / "desk" / "majors").mkdir(parents=True)
    hints.take()
    _until_a_write_is_noted(fleet / "instances" / "desk" / "majors" / "eth.yaml", hints)


def test_an_instances_folder_deleted_and_made_anew_is_watched(fleet: Path, watch: Watch, hints: Hints) -> None:
    watch(fleet)
    shutil.rmtree(fleet / "instances")
    hints.take()
    (fleet / "instances").mkdir()
    _until_a_write_is_noted(fleet / "instances" / "eth.yaml", hints)


def test_an_instances_folder_replaced_by_a_rename_is_watched(fleet: Path, watch: Watch, hints: Hints) -> None:
    (fleet / "next").mkdir()
    watch(fleet)
    (fleet / "instances").rename(fleet / "last")
    (fleet / "next").rename(fleet / "instances")
    hints.take()
    _until_a_write_is_noted(fleet / "instances" / "eth.yaml", hints)


def test_a_root_replaced_by_a_rename_is_watched(fleet: Path, tmp_path: Path, watch: Watch, hints: Hints) -> None:
    shutil.copytree(fleet, tmp_path / "next")
    watch(fleet, QUICK)
    fleet.rename(tmp_path / "last")
    (tmp_path / "next").rename(fleet)
    hints.take()
    _until_a_write_is_noted(fleet / "instances" / "eth.yaml", hints)


def test_a_commit_is_a_hint(repository: Path, watch: Watch, hints: Hints, git: Git) -> None:
    watch(repository)
    git(repository, "commit", "-q", "--allow-empty", "-m", "Nothing")
    hints.take()


def test_a_commit_in_a_linked_work_tree_is_a_hint(
    repository: Path, tmp_path: Path, watch: Watch, hints: Hints, git: Git
) -> None:
    git(repository, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    watch(tmp_path / "linked")
    git(tmp_path / "linked", "commit", "-q", "--allow-empty", "-m", "Nothing")
    hints.take()


def test_a_checkout_that_replaces_every_file_is_a_hint_and_leaves_the_watch_working(
    repository: Path, watch: Watch, hints: Hints, git: Git
) -> None:
    git(repository, "switch", "-q", "--orphan", "empty")
    assert not (repository / "instances").exists()
    git(repository, "commit", "-q", "--allow-empty", "-m", "Nothing")
    watch(repository)
    git(repository, "switch", "-q", "main")
    hints.take()
    _until_a_write_is_noted(repository / "instances" / "btc.yaml", hints)


def test_a_repository_made_later_is_watched(fleet: Path, tmp_path: Path, watch: Watch, hints: Hints, git: Git) -> None:
    git(tmp_path, "init", "-q", "elsewhere")
    watch(fleet, QUICK)
    (fleet / ".git").mkdir()
    hints.wait_until_noted({str(fleet / ".git")})
    for made in (tmp_path / "elsewhere" / ".git").iterdir():
        made.rename(fleet / ".git" / made.name)
    commit = ("commit", "-q", "--allow-empty", "-m", "Nothing")
    hints.wait_until_noted({str(fleet / ".git" / "logs" / "HEAD")}, again=lambda: git(fleet, *commit))


def test_the_end_of_a_rebase_is_a_hint(repository: Path, watch: Watch, hints: Hints) -> None:
    (repository / ".git" / "rebase-merge").mkdir()
    watch(repository)
    (repository / ".git" / "rebase-merge").rmdir()
    hints.take()


def test_noise_is_no_hint(repository: Path, watch: Watch, hints: Hints, git: Git) -> None:
    for folder in (".venv/lib", ".reconciler", "strategies/__pycache__"):
        (repository / folder).mkdir(parents=True)
    git(repository, "hash-object", "-w", "instances/btc.yaml")
    watch(repository)
    Worktree(repository, SystemClock(), WorktreeOptions()).read()
    noise = (
        ".venv/lib/a.py",
        ".reconciler/reconciler.db",
        "README.md",
        "strategies/__pycache__/grid.pyc",
        "instances/btc.yaml~",
        "instances/.btc.yaml.swp",
        "instances/4913",
        ".git/COMMIT_EDITMSG",
    )
    for path in noise:
        (repository / path).write_text("noise\n")
    watched = (repository, repository / "instances", repository / ".git")
    hints.wait_until_noted({str(repository / path) for path in noise if (repository / path).parent in watched})
    assert hints.changes == 0


def test_a_missing_root_is_a_fault_and_retried(tmp_path: Path, watch: Watch, hints: Hints) -> None:
    root = tmp_path / "fleet"
    watch(root, QUICK)
    assert hints.take_fault().startswith(f"changes below {root} are noticed only by the timer: ")
    (root / "instances").mkdir(parents=True)
    assert hints.take_fault() == ""
    hints.take()
    _until_a_write_is_noted(root / "instances" / "eth.yaml", hints)


def test_a_root_that_vanishes_while_it_is_looked_at_is_looked_at_again(
    fleet: Path, watch: Watch, hints: Hints, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Callable[[], Any]] = []
    wanted = Watcher._wanted

    def vanish() -> None:
        raise FileNotFoundError(fleet)

    monkeypatch.setattr(Watcher, "_wanted", lambda self: answers.pop()() if answers else wanted(self))
    watch(fleet)
    answers.append(vanish)
    (fleet / "instances" / "desk").mkdir()
    hints.take()
    assert answers == []
    _until_a_write_is_noted(fleet / "instances" / "desk" / "eth.yaml", hints)


@pytest.mark.parametrize("error", [OSError("OS file watch limit reached."), RuntimeError("Too many open files")])
def test_a_watch_that_cannot_be_made_is_a_fault_said_once_and_retried(
    fleet: Path, watch: Watch, hints: Hints, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    tries = threading.Semaphore(0)

    def refuse(*arguments: object) -> object:
        tries.release()
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("reconciler.sources.hints.RustNotify", refuse)
        watch(fleet, QUICK)
        for _ in range(3):
            assert tries.acquire(timeout=PATIENCE_S)
        assert hints.take_fault() == f"changes below {fleet} are noticed only by the timer: {error}"
    assert hints.take_fault() == ""
    hints.take()


def test_after_stop_nothing_is_said(fleet: Path, watch: Watch, hints: Hints) -> None:
    watcher = watch(fleet)
    watcher.stop()
    (fleet / "instances" / "btc.yaml").write_text("changed\n")
    assert hints.changes == 0
    assert not any(thread.name == "watcher" for thread in threading.enumerate())


def _until_a_write_is_noted(path: Path, hints: Hints) -> None:
    """The watch of the folder of `path` works, at the latest soon."""
    hints.wait_until_noted({str(path)}, again=lambda: path.write_text("changed\n"))
