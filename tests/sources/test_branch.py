"""A branch of real repositories: bare, linked, packed, damaged, and of remotes that answer, are slow, or lie."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.errors import SourceError
from reconciler.sources.branch import Branch, Fetching, RefWatcher

Run = Callable[..., str]
Follow = Callable[..., Branch]


@pytest.fixture
def follow(clock: FakeClock) -> Follow:
    return lambda root, name="main", remote=None: Branch(root, name, remote, clock)


@pytest.fixture
def bare(repository: Path, tmp_path: Path, git: Run) -> Path:
    """A bare clone of the fleet, which is its `origin`."""
    place = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", f"file://{repository}", str(place))
    return place


def commit(root: Path, git: Run, text: str = "id: btc\nmode: off\n", path: str = "instances/btc.yaml") -> str:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Change")
    return git(root, "rev-parse", "HEAD")


def test_the_position_is_followed_however_the_ref_is_kept(repository: Path, git: Run, follow: Follow) -> None:
    branch = follow(repository)
    first = git(repository, "rev-parse", "main")
    assert branch.position() == first
    git(repository, "pack-refs", "--all", "--prune")
    assert branch.position() == first
    second = commit(repository, git)
    assert branch.position() == second
    git(repository, "gc", "-q", "--prune=now")
    assert branch.position() == second
    git(repository, "switch", "-q", "-c", "other")
    git(repository, "branch", "-q", "-D", "main")
    assert branch.position() is None
    assert follow(repository, "other").position() == second


def test_a_look_at_a_branch_that_stays_runs_no_git(
    repository: Path, git: Run, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(repository, "pack-refs", "--all", "--prune")
    branch = follow(repository)
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    assert branch.position() == branch.position()


@pytest.mark.parametrize("name", ["../main", "-x", "a..b", "a b", "x.lock", "", "a@{b", "/a"])
def test_no_name_leads_elsewhere(repository: Path, follow: Follow, name: str) -> None:
    with pytest.raises(SourceError, match="expected what git takes as the name"):
        follow(repository, name)


def test_a_bare_clone_will_do_and_so_does_a_linked_work_tree(
    repository: Path, bare: Path, tmp_path: Path, git: Run, follow: Follow
) -> None:
    linked = tmp_path / "linked"
    git(repository, "worktree", "add", "-q", "--detach", str(linked))
    for root in (bare, linked):
        branch = follow(root)
        head = branch.position()
        assert head == git(repository, "rev-parse", "main")
        snapshot = branch.snapshot(head)
        assert [file.path for file in snapshot.instances] == ["instances/btc.yaml"]
        assert [file.path for file in snapshot.strategies] == ["strategies/grid.py"]


def test_what_is_edited_staged_or_stashed_is_not_read(repository: Path, git: Run, follow: Follow) -> None:
    branch = follow(repository)
    (repository / "instances" / "btc.yaml").write_text("staged")
    git(repository, "add", "-A")
    (repository / "instances" / "btc.yaml").unlink()
    head = branch.position()
    assert head is not None
    assert branch.snapshot(head).instances[0].data == b"id: btc\n"


def test_submodules_and_pointers_to_large_files_elsewhere_are_no_matter(
    repository: Path, tmp_path: Path, git: Run, follow: Follow
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    commit(other, git)
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "vendor")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
    before = git(repository, "rev-parse", "HEAD")
    head = commit(repository, git, pointer, "data/prices.csv")
    branch = follow(repository)
    (step,) = branch.steps(before, head, branch.snapshot(before))
    assert (step.commit, step.files) == (head, {})


def test_replace_refs_grafts_hooks_and_variables_change_nothing(
    repository: Path, tmp_path: Path, git: Run, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = git(repository, "rev-parse", "HEAD")
    second = commit(repository, git)
    git(repository, "replace", second, first)
    hook = repository / ".git" / "hooks" / "reference-transaction"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    git(tmp_path / "elsewhere", "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere" / ".git"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(hook.parent))
    branch = follow(repository)
    assert branch.position() == second
    assert branch.snapshot(second).instances[0].data == b"id: btc\nmode: off\n"
    branch.keep(second)
    assert not (tmp_path / "ran").exists()


def test_what_is_applied_outlives_a_branch_that_was_moved_and_a_collection(
    repository: Path, git: Run, follow: Follow
) -> None:
    first = git(repository, "rev-parse", "HEAD")
    second = commit(repository, git)
    branch = follow(repository)
    branch.keep(second)
    git(repository, "reset", "-q", "--hard", first)
    git(repository, "reflog", "expire", "--expire=now", "--all")
    git(repository, "gc", "-q", "--prune=now")
    assert branch.has(second)
    assert not branch.descends(second, first)
    assert branch.descends(first, second)


def test_a_shallow_clone_says_what_to_do(repository: Path, tmp_path: Path, git: Run, follow: Follow) -> None:
    commit(repository, git)
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{repository}", str(shallow))
    with pytest.raises(SourceError, match="was a shallow clone; run `git fetch --unshallow`"):
        follow(shallow).refuse_shallow()
    follow(repository).refuse_shallow()


def test_a_damaged_object_is_told_and_nothing_is_made_of_it(repository: Path, git: Run, follow: Follow) -> None:
    head = git(repository, "rev-parse", "HEAD")
    blob = git(repository, "rev-parse", "HEAD:instances/btc.yaml")
    path = repository / ".git" / "objects" / blob[:2] / blob[2:]
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes(b"garbage")
    with pytest.raises(SourceError):
        follow(repository).snapshot(head)


def test_links_are_followed_step_by_step(repository: Path, git: Run, follow: Follow) -> None:
    (repository / "instances" / "eth.yaml").symlink_to("_base/eth.yaml")
    before = commit(repository, git, "id: eth\n", "instances/_base/eth.yaml")
    after = commit(repository, git, "id: eth\nmode: off\n", "instances/_base/eth.yaml")
    branch = follow(repository)
    (step,) = branch.steps(before, after, branch.snapshot(before))
    assert {name: [file.data for file in files] for name, files in step.files.items()} == {
        "eth": [b"id: eth\nmode: off\n"]
    }


def test_what_joined_another_way_is_one_change(repository: Path, git: Run, follow: Follow) -> None:
    """The branch was moved on to a merge that has it as its second parent: along first parents it is not to be met."""
    git(repository, "switch", "-q", "-c", "work")
    commit(repository, git, "id: eth\n", "instances/eth.yaml")
    git(repository, "switch", "-q", "main")
    applied = commit(repository, git)
    git(repository, "switch", "-q", "work")
    git(repository, "merge", "-q", "--no-ff", "-m", "Merge", "main")
    joined = git(repository, "rev-parse", "HEAD")
    last = commit(repository, git, "id: sol\n", "instances/sol.yaml")
    branch = follow(repository)
    steps = branch.steps(applied, last, branch.snapshot(applied))
    assert [(step.commit, sorted(step.files)) for step in steps] == [(joined, ["eth"]), (last, ["sol"])]


# Remotes.


def test_a_remote_is_fetched_into_a_ref_of_its_own_and_nothing_else_moves(
    repository: Path, bare: Path, git: Run, follow: Follow
) -> None:
    local = git(bare, "rev-parse", "refs/heads/main")
    head = commit(repository, git)
    branch = follow(bare, "main", "origin")
    assert branch.position() is None
    branch.fetch(30)
    assert branch.position() == head
    assert git(bare, "rev-parse", "refs/heads/main") == local
    assert not (bare / "FETCH_HEAD").exists()
    moved = git(repository, "commit-tree", f"{head}^{{tree}}", "-m", "Rewritten")
    git(repository, "update-ref", "refs/heads/main", moved)
    branch.fetch(30)
    assert branch.position() == moved, "a branch that was moved is seen, and held by whoever follows it"
    git(repository, "branch", "-m", "main", "gone")
    branch.fetch(30)
    assert branch.position() is None


@pytest.fixture
def daemon(repository: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`git daemon` on loopback, that serves the fleet."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    served = ["--export-all", f"--base-path={repository.parent}", "--reuseaddr"]
    process = subprocess.Popen(
        ["git", "daemon", "--listen=127.0.0.1", f"--port={port}", *served],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    pause = threading.Event()
    for _ in range(1000):
        with closing(socket.socket()) as knock:
            if knock.connect_ex(("127.0.0.1", port)) == 0:
                break
        pause.wait(0.01)
    yield f"git://127.0.0.1:{port}/{repository.name}/.git", process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, 9)
    process.wait()


def test_a_daemon_is_followed_and_one_that_went_away_is_told_until_it_is_back(
    repository: Path,
    bare: Path,
    git: Run,
    follow: Follow,
    clock: FakeClock,
    daemon: tuple[str, subprocess.Popen[bytes]],
) -> None:
    url, process = daemon
    git(bare, "remote", "set-url", "origin", url)
    head = commit(repository, git)
    told: list[str] = []
    branch = follow(bare, "main", "origin")
    fetching = Fetching(branch, 10, lambda: told.append(branch.position() or ""), clock)
    fetching.fetch()
    assert (told, fetching.fault()) == ([head], "")
    fetching.fetch()
    assert told == [head], "nothing new is no news"
    os.killpg(process.pid, 9)
    process.wait()
    fetching.fetch()
    assert fetching.fault().startswith("origin: git fetch failed: ")
    assert branch.position() == head, "what is here stays"
    assert told == [head, head]
    git(bare, "remote", "set-url", "origin", f"file://{repository}")
    fetching.fetch()
    assert fetching.fault() == ""


def _listening(answer: Callable[[socket.socket], None]) -> tuple[socket.socket, str]:
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            while True:
                connection, _ = server.accept()
                answer(connection)
        except OSError:  # it was closed
            return

    threading.Thread(target=serve, daemon=True).start()
    return server, f"git://127.0.0.1:{server.getsockname()[1]}/fleet"


def test_a_remote_that_sends_garbage_is_told(bare: Path, git: Run, follow: Follow) -> None:
    def garbage(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"zzzz no protocol at all\n" * 10)
        connection.close()

    server, url = _listening(garbage)
    with server:
        git(bare, "remote", "set-url", "origin", url)
        with pytest.raises(SourceError, match=r"^origin: git fetch failed: protocol error"):
            follow(bare, "main", "origin").fetch(30)


def test_a_remote_that_never_answers_is_given_up_with_all_that_was_started(
    bare: Path, git: Run, follow: Follow
) -> None:
    kept: list[socket.socket] = []
    server, url = _listening(kept.append)
    with server:
        git(bare, "remote", "set-url", "origin", url)
        with pytest.raises(SourceError, match=r"^origin: git fetch heard nothing for 0.3 s"):
            follow(bare, "main", "origin").fetch(0.3)
    for connection in kept:
        connection.settimeout(10)
        while connection.recv(1000):  # its end says that nobody is left there
            pass
        connection.close()


def _until(condition: Callable[[], object]) -> None:
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("waited in vain")


def test_who_asks_again_is_not_kept_waiting_by_a_remote_that_hangs(
    bare: Path, git: Run, follow: Follow, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.sources.branch.HANGING_S", 0.2)
    kept: list[socket.socket] = []
    server, url = _listening(kept.append)
    with server:
        git(bare, "remote", "set-url", "origin", url)
        fetching = Fetching(follow(bare, "main", "origin"), 10, lambda: None, clock)
        fetching.start()
        _until(lambda: len(kept) == 1)
        fetching.ask()
        _until(lambda: len(kept) == 2)
        assert "was given up after" in fetching.fault()
        fetching.stop(30)
        for connection in kept:
            connection.settimeout(10)
            while connection.recv(1000):  # its end says that nobody is left there
                pass
            connection.close()


def test_a_remote_that_is_slow_and_answers_is_waited_for(
    repository: Path,
    bare: Path,
    git: Run,
    follow: Follow,
    clock: FakeClock,
    daemon: tuple[str, subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (repository / "noise").write_bytes(random.Random(0).randbytes(16 * 1024))
    head = commit(repository, git)
    port = int(daemon[0].split(":")[2].split("/")[0])
    told: list[str] = []

    def slowly(connection: socket.socket) -> None:
        pause = threading.Event()
        with connection, socket.create_connection(("127.0.0.1", port)) as behind:

            def asks() -> None:
                with suppress(OSError):
                    while asked := connection.recv(4096):
                        behind.sendall(asked)

            threading.Thread(target=asks, daemon=True).start()
            with suppress(OSError):
                while answer := behind.recv(1024):
                    connection.sendall(answer)
                    pause.wait(0.05)

    server, url = _listening(slowly)
    with server:
        git(bare, "remote", "set-url", "origin", url.replace("/fleet", f"/{repository.name}/.git"))
        branch = follow(bare, "main", "origin")
        fetching = Fetching(branch, 10, lambda: told.append(fetching.fault()), clock)
        fetching.fetch()
    assert (branch.position(), told) == (head, [""])


def test_a_remote_that_is_down_for_an_hour_is_told_once_and_what_is_here_stays(
    repository: Path, bare: Path, git: Run, follow: Follow, clock: FakeClock
) -> None:
    told: list[str] = []
    branch = follow(bare, "main", "origin")
    fetching = Fetching(branch, 600, lambda: told.append(fetching.fault()), clock)
    watcher = RefWatcher(branch, lambda: None, clock, fetching)
    watcher.start()
    _until(lambda: branch.position() == git(repository, "rev-parse", "HEAD"))
    here = branch.position()
    repository.rename(repository.with_name("away"))
    down_at_s = clock.monotonic()

    def later() -> bool:
        clock.advance(60)
        return True

    _until(lambda: later() and fetching.fault() and clock.monotonic() > down_at_s + 3600)
    assert branch.position() == here
    repository.with_name("away").rename(repository)
    after = commit(repository, git)
    _until(lambda: later() and len(told) == 3)
    watcher.stop()
    assert branch.position() == after
    assert [bool(fault) for fault in told] == [False, True, False]


def test_a_transport_that_runs_commands_is_refused(bare: Path, tmp_path: Path, git: Run, follow: Follow) -> None:
    git(bare, "config", "protocol.ext.allow", "always")
    git(bare, "remote", "set-url", "origin", f"ext::sh -c touch% {tmp_path}/ran")
    with pytest.raises(SourceError, match="transport 'ext' not allowed"):
        follow(bare, "main", "origin").fetch(30)
    assert not (tmp_path / "ran").exists()


def test_without_the_remote_s_branch_nothing_is_here(bare: Path, git: Run, follow: Follow) -> None:
    branch = follow(bare, "nowhere", "origin")
    branch.fetch(30)
    assert branch.position() is None
    shutil.rmtree(bare)
    with pytest.raises(SourceError):
        branch.fetch(30)


def test_a_repository_of_longer_ids_is_followed_alike(fleet: Path, git: Run, follow: Follow) -> None:
    git(fleet, "init", "-q", "--object-format=sha256")
    git(fleet, "add", ".")
    git(fleet, "commit", "-q", "-m", "The fleet")
    before = git(fleet, "rev-parse", "HEAD")
    after = commit(fleet, git)
    branch = follow(fleet)
    assert branch.position() == after
    (step,) = branch.steps(before, after, branch.snapshot(before))
    assert [file.data for file in step.files["btc"]] == [b"id: btc\nmode: off\n"]
    assert branch.commits([after])[after].subject == "Change"


def test_a_repack_between_two_looks_changes_nothing(repository: Path, git: Run, follow: Follow) -> None:
    before = git(repository, "rev-parse", "HEAD")
    branch = follow(repository)
    snapshot = branch.snapshot(before)
    after = commit(repository, git)
    git(repository, "repack", "-a", "-d", "-q")
    git(repository, "prune-packed")
    (step,) = branch.steps(before, after, snapshot)
    assert sorted(step.files) == ["btc"]
    assert branch.snapshot(after, snapshot).strategies is snapshot.strategies


def test_objects_that_move_while_they_are_read_are_found(repository: Path, git: Run, follow: Follow) -> None:
    """One reader lives on while all that it has opened is packed, repacked and removed under it."""
    branch = follow(repository)
    head = commit(repository, git)
    ids = {file.digest: file.data for file in branch.snapshot(head).instances}
    with branch.git.blobs() as blobs:
        for number in range(6):
            new = commit(repository, git, f"id: btc\n# {number}\n")
            ids |= {file.digest: file.data for file in branch.snapshot(new).instances}
            for how in (("repack", "-a", "-d", "-q"), ("pack-refs", "--all"), ("gc", "-q", "--prune=now")):
                git(repository, *how)
                assert dict(blobs.read(sorted(ids), 1000)) == ids
                assert branch.position() == new


def test_the_garbage_collector_at_work_all_along_disturbs_nobody(repository: Path, git: Run, follow: Follow) -> None:
    ended = threading.Event()
    runs: list[tuple[str, ...]] = []

    def collects() -> None:
        while not ended.is_set():
            for how in (("gc", "-q"), ("repack", "-a", "-d", "-q"), ("pack-refs", "--all", "--prune")):
                git(repository, *how)
                runs.append(how)

    collector = threading.Thread(target=collects)
    collector.start()
    try:
        branch = follow(repository)
        before = branch.position()
        assert before is not None
        snapshot = branch.snapshot(before)
        number = 0
        while number < 12 or len(runs) < 12:
            number += 1
            after = commit(repository, git, f"id: btc\n# {number}\n")
            assert branch.position() == after
            branch.keep(after)
            assert branch.descends(before, after)
            (step,) = branch.steps(before, after, snapshot)
            before, snapshot = after, branch.snapshot(after, snapshot)
            assert [file.data for file in step.files["btc"]] == [f"id: btc\n# {number}\n".encode()]
            assert branch.commits([after])[after].subject == "Change"
    finally:
        ended.set()
        collector.join()
