from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.records.snapshot import Snapshot, SourceFile, document_of
from reconciler.sources import folder as folder_module
from reconciler.sources.folder import Reading, read
from reconciler.sources.worktree import Worktree, WorktreeOptions

Git = Callable[..., str]
At = Callable[[Path], Worktree]
Make = Callable[[Path], None]


def _paths(files: tuple[SourceFile, ...]) -> list[str]:
    return [file.path for file in files]


def _one(snapshot: Snapshot, path: str) -> SourceFile:
    return next(file for file in (*snapshot.instances, *snapshot.templates, *snapshot.strategies) if file.path == path)


def test_the_files_of_a_fleet_are_read_by_kind_and_sorted_by_path(fleet: Path, worktree: At) -> None:
    for path in ("z.yaml", "a.yml", "desk/b.yaml", "_halt.yaml", "_draft.yaml", "notes.txt", "_templates/a.yaml"):
        (fleet / "instances" / path).parent.mkdir(exist_ok=True)
        (fleet / "instances" / path).write_text(path)
    (fleet / "strategies" / "_shared.py").touch()
    snapshot = worktree(fleet).read()
    assert _paths(snapshot.instances) == [
        "instances/a.yml",
        "instances/btc.yaml",
        "instances/desk/b.yaml",
        "instances/z.yaml",
    ]
    assert _paths(snapshot.templates) == ["instances/_templates/a.yaml", "instances/_templates/majors.yaml"]
    assert _paths(snapshot.strategies) == ["strategies/grid.py"]
    assert snapshot.halt is not None
    assert snapshot.halt.data == b"_halt.yaml"
    assert (snapshot.whole, snapshot.not_whole) == (True, "")


def test_without_a_repository_everything_works_and_nothing_is_committed(fleet: Path, worktree: At, git: Git) -> None:
    tree = worktree(fleet)
    snapshot = tree.read()
    assert (snapshot.revision, snapshot.clean, snapshot.whole) == (None, False, True)
    assert [file.committed for file in snapshot.instances] == [False]
    assert snapshot.instances[0].digest == git(fleet, "hash-object", "instances/btc.yaml")
    assert snapshot.git_problem == ""


def test_an_unchanged_fleet_gives_the_same_snapshot(repository: Path, worktree: At) -> None:
    tree = worktree(repository)
    assert tree.read() is tree.read()


def test_only_what_changed_is_a_new_object(repository: Path, worktree: At) -> None:
    (repository / "instances" / "eth.yaml").write_text("id: eth\n")
    tree = worktree(repository)
    before = tree.read()
    (repository / "instances" / "btc.yaml").write_text("id: btc\nmode: off\n")
    after = tree.read()
    assert after.templates is before.templates
    assert after.strategies is before.strategies
    assert after.instances is not before.instances
    assert _one(after, "instances/eth.yaml") is _one(before, "instances/eth.yaml")
    assert _one(after, "instances/btc.yaml").data == b"id: btc\nmode: off\n"
    assert _one(after, "instances/btc.yaml").digest != _one(before, "instances/btc.yaml").digest


def test_a_file_just_written_is_read_again_without_a_change(fleet: Path) -> None:
    tree = Worktree(fleet, FakeClock(0.0), WorktreeOptions())
    before = tree.read()
    assert tree.read() is before


def test_invariant_7_absent_unreadable_and_invalid_are_three_different_facts(fleet: Path, worktree: At) -> None:
    """Absent is not in the snapshot, unreadable has an error and no data, invalid has data and no error."""
    (fleet / "instances" / "invalid.yaml").write_bytes(b"\xff{[")
    (fleet / "instances" / "unreadable.yaml").symlink_to("nowhere")
    snapshot = worktree(fleet).read()
    assert {file.path: (file.data, file.error) for file in snapshot.instances} == {
        "instances/btc.yaml": (b"id: btc\n", ""),
        "instances/invalid.yaml": (b"\xff{[", ""),
        "instances/unreadable.yaml": (None, "is a link to nowhere, which leads nowhere"),
    }
    assert snapshot.whole


def test_a_readable_file_that_becomes_unreadable_stays_in_the_snapshot(fleet: Path, worktree: At) -> None:
    tree, path = worktree(fleet), fleet / "instances" / "btc.yaml"
    tree.read()
    path.unlink()
    os.mkfifo(path)
    (file,) = tree.read().instances
    assert (file.path, file.data, file.digest) == ("instances/btc.yaml", None, "")
    assert file.error == "expected a file, was a named pipe"


def test_an_instance_file_is_cut_beyond_its_limit_and_a_definition_refused(fleet: Path, clock: FakeClock) -> None:
    options = WorktreeOptions(instance_limit_bytes=10, strategy_limit_bytes=2048)
    (fleet / "instances" / "btc.yaml").write_bytes(b"x" * 100)
    (fleet / "strategies" / "grid.py").write_bytes(b"#" * 2049)
    snapshot = Worktree(fleet, clock, options).read()
    assert snapshot.instances[0].data == b"x" * 11
    assert (snapshot.strategies[0].data, snapshot.strategies[0].error) == (None, "is larger than 2 KiB")


def test_a_missing_instances_folder_never_looks_like_all_removed(fleet: Path, worktree: At) -> None:
    tree = worktree(fleet)
    tree.read()
    (fleet / "instances").rename(fleet / "moved")
    lost = tree.read()
    assert lost.instances == (SourceFile("instances", None, "", False, "is missing"),)
    assert (lost.whole, lost.not_whole) == (False, "instances/ is missing")
    assert tree.read() is lost
    (fleet / "moved").rename(fleet / "instances")
    assert _paths(tree.read().instances) == ["instances/btc.yaml"]
    assert tree.read().whole


def test_a_missing_root_is_a_missing_instances_folder(fleet: Path, worktree: At) -> None:
    snapshot = worktree(fleet / "nowhere").read()
    assert (snapshot.whole, snapshot.not_whole) == (False, "instances/ is missing")


@pytest.mark.parametrize(
    ("kind", "error"), [("file", "could not be read: Not a directory"), ("link", "is a link that leads to no folder")]
)
def test_an_instances_folder_that_is_none_is_unreadable(fleet: Path, worktree: At, kind: str, error: str) -> None:
    tree = worktree(fleet)
    tree.read()
    (fleet / "instances").rename(fleet / "moved")
    if kind == "file":
        (fleet / "instances").touch()
    else:
        (fleet / "instances").symlink_to("nowhere")
    snapshot = tree.read()
    assert [(file.path, file.error) for file in snapshot.instances] == [("instances", error)]
    assert snapshot.not_whole == f"instances/ {error}"


def test_a_replaced_instances_folder_is_doubted_once(fleet: Path, worktree: At) -> None:
    tree = worktree(fleet)
    tree.read()
    (fleet / "instances").rename(fleet / "moved")
    (fleet / "instances").mkdir()
    first, second = tree.read(), tree.read()
    assert first.instances == ()
    assert (first.whole, first.not_whole) == (False, "instances/ was replaced since it was last read")
    assert second.whole


def test_an_empty_instances_folder_is_read_whole(fleet: Path, worktree: At) -> None:
    shutil.rmtree(fleet / "instances")
    (fleet / "instances").mkdir()
    snapshot = worktree(fleet).read()
    assert (snapshot.instances, snapshot.whole) == ((), True)


def test_a_missing_strategies_folder_holds_no_definitions(fleet: Path, worktree: At) -> None:
    shutil.rmtree(fleet / "strategies")
    tree = worktree(fleet)
    snapshot = tree.read()
    assert (snapshot.strategies, snapshot.whole) == ((), True)
    assert tree.read() is snapshot


def test_losing_sight_of_a_halt_does_not_lift_it(fleet: Path, worktree: At) -> None:
    (fleet / "instances" / "_halt.yaml").write_text("- {scope: all, reason: drill}\n")
    tree = worktree(fleet)
    halt = tree.read().halt
    (fleet / "instances").rename(fleet / "moved")
    assert tree.read().halt is halt
    (fleet / "moved").rename(fleet / "instances")
    (fleet / "instances" / "_halt.yaml").unlink()
    assert tree.read().halt is None


@pytest.mark.parametrize("name", ["_halt.yaml", "_halt.yml"])
def test_a_halt_beside_the_records_halts_nothing_and_is_named(fleet: Path, worktree: At, name: str) -> None:
    tree = worktree(fleet)
    before = tree.read()
    (fleet / name).write_text("- {scope: all, reason: drill}\n")
    snapshot = tree.read()
    assert snapshot.halt is None
    (problem,) = document_of(snapshot.instances[0])  # type: ignore[misc]
    assert (problem.path, problem.hint) == (name, "it halts nothing: call it instances/_halt.yaml")
    assert tree.read() is snapshot
    (fleet / name).unlink()
    assert tree.read() == before


def test_a_halt_that_is_no_file_is_unreadable(fleet: Path, worktree: At) -> None:
    (fleet / "instances" / "_halt.yaml").mkdir()
    halt = worktree(fleet).read().halt
    assert halt is not None
    assert (halt.data, halt.error) == (None, "expected a file, was a folder")


def test_a_root_reached_through_a_link_may_be_switched(tmp_path: Path, worktree: At) -> None:
    for version in ("1", "2"):
        (tmp_path / version / "instances").mkdir(parents=True)
        (tmp_path / version / "instances" / "btc.yaml").write_text(version)
    (tmp_path / "current").symlink_to("1")
    tree = worktree(tmp_path / "current")
    assert tree.read().instances[0].data == b"1"
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(tmp_path / "current")
    assert tree.read().instances[0].data == b"2"
    assert tree.read().whole


def test_a_committed_fleet_is_clean(repository: Path, worktree: At, git: Git) -> None:
    snapshot = worktree(repository).read()
    assert snapshot.revision == git(repository, "rev-parse", "HEAD")
    assert snapshot.clean
    assert all(file.committed for file in (*snapshot.instances, *snapshot.templates, *snapshot.strategies))


@pytest.mark.parametrize("path", ["instances/btc.yaml", "instances/_templates/majors.yaml", "strategies/grid.py"])
def test_an_edited_file_is_not_committed_and_the_fleet_not_clean(repository: Path, worktree: At, path: str) -> None:
    tree = worktree(repository)
    tree.read()
    (repository / path).write_text("changed\n")
    snapshot = tree.read()
    assert [f.path for f in (*snapshot.instances, *snapshot.templates, *snapshot.strategies) if not f.committed] == [
        path
    ]
    assert not snapshot.clean


def test_a_new_file_or_a_missing_one_makes_the_fleet_not_clean(repository: Path, worktree: At) -> None:
    tree = worktree(repository)
    (repository / "instances" / "eth.yaml").write_text("id: eth\n")
    assert not tree.read().clean
    (repository / "instances" / "eth.yaml").unlink()
    assert tree.read().clean
    (repository / "instances" / "btc.yaml").unlink()
    assert not tree.read().clean


def test_a_commit_changes_what_is_committed_and_nothing_else(repository: Path, worktree: At, git: Git) -> None:
    (repository / "instances" / "eth.yaml").write_text("id: eth\n")
    tree = worktree(repository)
    before = tree.read()
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Another")
    after = tree.read()
    assert _one(after, "instances/btc.yaml") is _one(before, "instances/btc.yaml")
    assert (_one(before, "instances/eth.yaml").committed, _one(after, "instances/eth.yaml").committed) == (False, True)
    assert after.strategies is before.strategies
    assert after.clean


def test_a_repository_made_later_is_noticed(fleet: Path, worktree: At, git: Git) -> None:
    tree = worktree(fleet)
    assert tree.read().revision is None
    git(fleet, "init", "-q")
    git(fleet, "add", ".")
    git(fleet, "commit", "-q", "-m", "The fleet")
    assert tree.read().clean
    shutil.rmtree(fleet / ".git")
    snapshot = tree.read()
    assert (snapshot.revision, snapshot.clean, snapshot.whole) == (None, False, True)


def test_a_fleet_in_a_subfolder_is_clean_when_its_own_files_are(tmp_path: Path, worktree: At, git: Git) -> None:
    root = tmp_path / "deploy" / "prod"
    (root / "instances").mkdir(parents=True)
    (root / "instances" / "btc.yaml").write_text("id: btc\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "The fleet")
    (tmp_path / "unrelated").touch()
    snapshot = worktree(root).read()
    assert _paths(snapshot.instances) == ["instances/btc.yaml"]
    assert snapshot.clean


def test_a_committed_link_is_committed_with_its_target(repository: Path, worktree: At, git: Git) -> None:
    (repository / "instances" / "_shared").mkdir()
    (repository / "instances" / "_shared" / "eth.yaml").write_text("id: eth\n")
    (repository / "instances" / "eth.yaml").symlink_to("_shared/eth.yaml")
    git(repository, "add", "instances/_shared")
    git(repository, "commit", "-q", "-m", "The target")
    tree = worktree(repository)
    assert not _one(tree.read(), "instances/eth.yaml").committed
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "The link")
    assert _one(tree.read(), "instances/eth.yaml").committed
    assert tree.read().clean
    (repository / "instances" / "_shared" / "eth.yaml").write_text("id: eth\nmode: active\n")
    assert not _one(tree.read(), "instances/eth.yaml").committed


def test_a_link_to_a_link_and_a_linked_folder_count_as_not_committed(repository: Path, worktree: At, git: Git) -> None:
    (repository / "instances" / "_shared").mkdir()
    (repository / "instances" / "_shared" / "eth.yaml").write_text("id: eth\n")
    (repository / "instances" / "one.yaml").symlink_to("two.yaml")
    (repository / "instances" / "two.yaml").symlink_to("_shared/eth.yaml")
    (repository / "instances" / "team").symlink_to("_shared")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Links")
    snapshot = worktree(repository).read()
    assert {file.path: file.committed for file in snapshot.instances} == {
        "instances/btc.yaml": True,
        "instances/one.yaml": False,
        "instances/two.yaml": True,
        "instances/team/eth.yaml": False,
    }


def test_a_file_in_the_place_of_a_committed_link_is_not_committed(repository: Path, worktree: At, git: Git) -> None:
    (repository / "instances" / "eth.yaml").symlink_to("btc.yaml")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "A link")
    (repository / "instances" / "eth.yaml").unlink()
    (repository / "instances" / "eth.yaml").write_text("btc.yaml")
    assert not _one(worktree(repository).read(), "instances/eth.yaml").committed


@pytest.mark.parametrize("name", ["index.lock", "MERGE_HEAD", "rebase-merge"])
def test_a_snapshot_is_not_whole_while_git_is_at_work(repository: Path, worktree: At, name: str) -> None:
    tree = worktree(repository)
    before = tree.read()
    (repository / ".git" / name).touch()
    during = tree.read()
    assert not during.whole
    assert f".git/{name} exists" in during.not_whole
    assert during.instances is before.instances
    (repository / ".git" / name).unlink()
    assert tree.read() == before


def _meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Run `act` once, in the middle of the next read that reads any file."""
    todo = [act]

    def act_then_read(name: str, folder_fd: int | None, limit_bytes: int) -> Reading:
        if todo:
            todo.pop()()
        return read(name, folder_fd, limit_bytes)

    monkeypatch.setattr(folder_module, "read", act_then_read)


def test_a_commit_while_the_files_are_read_makes_the_snapshot_not_whole(
    repository: Path, worktree: At, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = worktree(repository)
    _meanwhile(monkeypatch, lambda: git(repository, "commit", "-q", "--allow-empty", "-m", "Meanwhile"))
    assert tree.read().not_whole == "the repository moved while the files were read"
    assert tree.read().whole


def test_a_checkout_while_the_files_are_read_makes_the_snapshot_not_whole(
    repository: Path, worktree: At, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = worktree(repository)
    (repository / "instances" / "btc.yaml").unlink()
    _meanwhile(monkeypatch, lambda: git(repository, "checkout", "-q", "--", "instances"))
    assert not tree.read().whole
    snapshot = tree.read()
    assert (_paths(snapshot.instances), snapshot.whole) == (["instances/btc.yaml"], True)


def test_git_finishing_while_the_files_are_read_makes_the_snapshot_not_whole(
    repository: Path, worktree: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = repository / ".git" / "index.lock"
    lock.touch()
    tree = worktree(repository)
    _meanwhile(monkeypatch, lock.unlink)
    assert tree.read().not_whole.startswith(f"git is changing the index ({lock} exists")
    assert tree.read().whole


def test_a_file_that_appears_while_the_files_are_read_makes_the_snapshot_not_whole(
    fleet: Path, worktree: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = worktree(fleet)
    _meanwhile(monkeypatch, (fleet / "instances" / "eth.yaml").touch)
    assert tree.read().not_whole == "instances/ changed while it was read"
    assert tree.read().whole


def test_why_git_does_not_answer_is_said_and_the_files_are_read_all_the_same(
    repository: Path, worktree: At, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    tree = worktree(repository)
    snapshot = tree.read()
    assert _paths(snapshot.instances) == ["instances/btc.yaml"]
    assert (snapshot.revision, snapshot.clean, snapshot.whole) == (None, False, True)
    assert snapshot.git_problem == "git is not installed, so nothing counts as committed"


def test_without_a_repository_that_is_what_is_told(fleet: Path, repository_of: Make, worktree: At) -> None:
    tree = worktree(fleet)
    assert tree.read().git_note == f"no repository around {fleet}, so nothing counts as committed"
    repository_of(fleet)
    assert tree.read().git_note == ""
    assert Worktree(fleet, FakeClock(0.0), WorktreeOptions(asks_git=False)).read().git_note == ""


def test_where_nothing_of_head_is_checked_out_that_is_told(repository: Path, worktree: At, git: Git) -> None:
    git(repository, "sparse-checkout", "set", "--no-cone", "strategies")
    (repository / "instances").mkdir(exist_ok=True)
    snapshot = worktree(repository).read()
    assert (snapshot.instances, snapshot.git_note) == ((), "HEAD has 1 records, and none is checked out")


@pytest.mark.parametrize(
    "name",
    [
        "i1.YAML",
        "i1.Yml",
        "i1.yaml.txt",
        "i1.yaml.bak",
        "i1.yml.orig",
        "i1.yaml (1)",
        "i1.yaml_",
        "_halt.YAML",
        "_halt.yaml.txt",
    ],
)
def test_what_looks_as_if_it_were_meant_is_named(fleet: Path, worktree: At, name: str) -> None:
    (fleet / "instances" / "team").mkdir()
    (fleet / "instances" / "team" / name).write_text("id: i1\n")
    found = {file.path: file.error for file in worktree(fleet).read().instances}
    assert found == {"instances/btc.yaml": "", f"instances/team/{name}": "was a file that is none by its name"}


@pytest.mark.parametrize(
    "name",
    [
        *("_i1.yaml.bak", ".i1.yaml.swp", "i1.yaml~", "i1.yaml.swp", "#i1.yaml#", "i1.yamlet", "README.md"),
        *("i1.yaml.tmp", "i1.yaml.kate-swp", ".~lock.i1.yaml#", "._i1.yaml", ".nfs0001", "i1.yaml___jb_tmp___"),
        *("i1_BASE_77.yaml", "i1_BACKUP_77.yml"),
    ],
)
def test_what_editors_leave_and_what_is_kept_aside_is_not(fleet: Path, worktree: At, name: str) -> None:
    (fleet / "instances" / name).write_text("id: i1\n")
    assert _paths(worktree(fleet).read().instances) == ["instances/btc.yaml"]


def test_a_link_to_what_looks_so_is_named_too_and_does_not_make_the_fleet_unclean(
    repository: Path, worktree: At
) -> None:
    (repository / "instances" / "i1.YAML").symlink_to("btc.yaml")
    snapshot = worktree(repository).read()
    assert _one(snapshot, "instances/i1.YAML").data is None
    assert snapshot.clean


@pytest.mark.parametrize(
    ("attributes", "autocrlf", "committed"),
    [
        ("* text eol=crlf", "false", True),
        ("* text=auto", "false", True),
        ("*.yaml eol=lf", "false", True),
        ("", "true", True),
        ("", "input", True),
        ("", "false", False),
        ("* -text", "true", False),
        ("* text filter=x", "true", False),
    ],
)
def test_committed_is_what_git_means_by_it_whatever_the_ends_of_line(
    repository: Path, worktree: At, git: Git, attributes: str, autocrlf: str, committed: bool
) -> None:
    blob = git(repository, "rev-parse", "HEAD:instances/btc.yaml")
    (repository / ".gitattributes").write_text(f"{attributes}\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Attributes")
    git(repository, "config", "core.autocrlf", autocrlf)
    (repository / "instances" / "btc.yaml").write_bytes(b"id: btc\r\n")
    snapshot = worktree(repository).read()
    file = _one(snapshot, "instances/btc.yaml")
    assert (file.committed, snapshot.clean) == (committed, committed)
    assert file.data == b"id: btc\r\n"
    assert (file.digest == blob) is committed
    (repository / "instances" / "btc.yaml").write_bytes(b"id: btc\r\nmode: off\r\n")
    assert not _one(worktree(repository).read(), "instances/btc.yaml").committed


@pytest.mark.parametrize(
    ("attributes", "told"),
    [("* ident", "ident"), ("* filter=upper", "filter=upper"), ("* working-tree-encoding=latin-1", "latin-1")],
)
def test_what_git_keeps_otherwise_is_not_committed_though_git_calls_it_clean_and_why_is_told(
    repository: Path, worktree: At, git: Git, attributes: str, told: str
) -> None:
    path = repository / "instances" / "btc.yaml"
    git(repository, "config", "filter.upper.clean", "tr b B")
    git(repository, "config", "filter.upper.smudge", "tr B b")
    path.write_bytes("id: btc # $Id$ é\n".encode("latin-1"))
    (repository / ".gitattributes").write_text(f"{attributes}\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Attributes")
    path.unlink()
    git(repository, "checkout", "-q", "instances")
    assert git(repository, "status", "--porcelain") == ""
    snapshot = worktree(repository).read()
    assert not _one(snapshot, "instances/btc.yaml").committed
    assert "git keeps other bytes of instances/btc.yaml than are on disk, by the attribute" in snapshot.git_note
    assert told in snapshot.git_note


@pytest.fixture
def repository_of(git: Git) -> Make:
    """Make a folder a repository, all that is in it committed."""

    def make(folder: Path) -> None:
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", "All")

    return make


def test_instances_that_are_a_link_which_others_swap_are_followed(
    fleet: Path, tmp_path: Path, worktree: At, repository_of: Make, git: Git
) -> None:
    for version in ("1", "2"):
        (tmp_path / version / "records").mkdir(parents=True)
        (tmp_path / version / "records" / "btc.yaml").write_text(f"id: btc # {version}\n")
        repository_of(tmp_path / version)
    shutil.rmtree(fleet / "instances")
    (tmp_path / "current").symlink_to("1")
    (fleet / "instances").symlink_to("../current/records")
    tree = worktree(fleet)
    first = tree.read()
    assert [(file.path, file.data, file.committed) for file in first.instances] == [
        ("instances/btc.yaml", b"id: btc # 1\n", True)
    ]
    assert first.revision == git(tmp_path / "1", "rev-parse", "HEAD")
    assert [file.committed for file in first.strategies] == [False]
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").rename(tmp_path / "current")
    swapped = tree.read()
    assert swapped.instances[0].data == b"id: btc # 2\n"
    assert swapped.not_whole == "instances/ was replaced since it was last read"
    assert tree.read().whole
    assert tree.read().revision == git(tmp_path / "2", "rev-parse", "HEAD")


def test_a_checkout_that_holds_nothing_but_records_may_be_the_link(
    fleet: Path, tmp_path: Path, worktree: At, repository_of: Make
) -> None:
    (tmp_path / "sha" / "desk").mkdir(parents=True)
    (tmp_path / "sha" / "desk" / "eth.yaml").write_text("id: eth\n")
    repository_of(tmp_path / "sha")
    shutil.rmtree(fleet / "instances")
    (fleet / "instances").symlink_to("../sha")
    (tmp_path / "sha" / "desk" / "link.yaml").symlink_to("/etc/hostname")
    snapshot = worktree(fleet).read()
    assert [(file.path, file.committed) for file in snapshot.instances] == [
        ("instances/desk/eth.yaml", True),
        ("instances/desk/link.yaml", False),
    ]
    assert "which leaves" in _one(snapshot, "instances/desk/link.yaml").error


def test_a_committed_link_that_leaves_the_repository_stays_refused(
    repository: Path, tmp_path: Path, worktree: At, git: Git
) -> None:
    (repository / "instances").rename(tmp_path / "elsewhere")
    (repository / "instances").symlink_to("../elsewhere")
    tree = worktree(repository)
    assert _paths(tree.read().instances) == ["instances/btc.yaml"]
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "A link")
    refused = tree.read()
    assert refused.lost == ("instances/ is a link that a commit has and that leaves the repository; expected a folder")
    assert not refused.whole


def test_a_definition_that_is_still_being_written_stays_as_it_was(fleet: Path, worktree: At) -> None:
    tree, path = worktree(fleet), fleet / "strategies" / "grid.py"
    before = tree.read().strategies[0]
    with path.open("w") as file:
        file.write('"""Half."""\n')
        file.flush()
        during = tree.read().strategies[0]
        assert (during.data, during.digest, during.is_unfinished) == (before.data, before.digest, True)
        (fleet / "strategies" / "new.py").touch()
    assert tree.read().strategies[0].data == b'"""Half."""\n'
