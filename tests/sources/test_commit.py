from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.errors import SourceError
from reconciler.records.snapshot import Snapshot
from reconciler.sources.commit import Objects, every, read_commit
from reconciler.sources.git import Repository
from reconciler.sources.worktree import Worktree, WorktreeOptions

Run = Callable[..., str]
EMPTY = Snapshot((), (), (), None, None, clean=True, whole=True)


@pytest.fixture
def read(clock: FakeClock) -> Callable[..., Snapshot]:
    """`read(root, "HEAD", at_hand)`: the snapshot of that commit."""

    def snapshot(root: Path, revision: str = "HEAD", at_hand: Snapshot = EMPTY) -> Snapshot:
        repository = Repository.discover(root, clock)
        assert repository is not None
        commit = repository.resolve(revision)
        assert commit is not None
        with repository.git.blobs() as blobs:
            tree = repository.tree(commit)
            return read_commit(commit, tree, Objects(blobs, at_hand), at_hand, WorktreeOptions())

    return snapshot


Read = Callable[..., Snapshot]


def _strange(root: Path) -> None:
    """Everything a fleet should not hold, and some that it may."""
    instances, strategies = root / "instances", root / "strategies"
    (instances / "desk" / "majors").mkdir(parents=True)
    (instances / "desk" / "majors" / "deep.yml").write_text("id: deep\n")
    (instances / "_drafts").mkdir()
    (instances / "_drafts" / "draft.yaml").write_text("id: draft\n")
    (instances / "linked.yaml").symlink_to("_drafts/draft.yaml")
    (instances / "twice.yaml").symlink_to("linked.yaml")
    (instances / "shared").symlink_to("_drafts")
    (instances / "dangling.yaml").symlink_to("nowhere.yaml")
    (instances / "away.yaml").symlink_to("../strategies/grid.py")
    (instances / "loop").symlink_to(".")
    (instances / "_halt.yml").write_text("[]\n")
    (instances / "_halt.yaml").write_text("- {scope: all, reason: r}\n")
    (instances / "large.yaml").write_bytes(b"#" * (256 * 1024 + 100))
    (instances / "empty.yaml").write_bytes(b"")
    (instances / "crlf.yaml").write_bytes(b"id: crlf\r\n")
    (instances / "folder.yaml").mkdir()
    (instances / "folder.yaml" / "x.yaml").write_text("id: x\n")
    (instances / "new\nline.yaml").write_text("id: x\n")
    (instances / "_templates" / "deep").mkdir()
    (instances / "_templates" / "deep" / "x.yaml").write_text("{}\n")
    (strategies / "huge.py").write_bytes(b"#" * (1024 * 1024 + 1))
    (strategies / "_shared.py").write_text("")
    (root / "README.md").write_text("not ours\n")


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
@pytest.mark.parametrize("prefix", ["", "trading/fleet"])
def test_a_commit_reads_as_its_checkout_does(
    fleet: Path,
    tmp_path: Path,
    git: Run,
    read: Read,
    worktree: Callable[[Path], Worktree],
    object_format: str,
    prefix: str,
) -> None:
    _strange(fleet)
    top = tmp_path / "top"
    root = top / prefix
    root.parent.mkdir(parents=True, exist_ok=True)
    fleet.rename(root)
    git(top, "init", "-q", f"--object-format={object_format}")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "Strange")
    on_disk, in_git = worktree(root).read(), read(root)

    def told(snapshot: Snapshot) -> dict[str, tuple[bytes | None, str, str]]:
        cut = {"instances/large.yaml"}  # on disk the digest is of the part that was read
        return {f.path: (f.data, "" if f.path in cut else f.digest, f.error) for f in every(snapshot)}

    assert told(in_git) == told(on_disk)
    assert [[f.path for f in getattr(in_git, kind)] for kind in ("instances", "templates", "strategies")] == [
        [f.path for f in getattr(on_disk, kind)] for kind in ("instances", "templates", "strategies")
    ]
    assert (in_git.revision, in_git.whole, in_git.clean) == (on_disk.revision, True, True)
    assert in_git.halt is not None
    assert in_git.halt.path == "instances/_halt.yaml"
    assert all(file.committed for file in every(in_git) if file.data is not None)


def test_names_that_are_not_utf8_are_escaped_as_on_disk(
    repository: Path, git: Run, read: Read, worktree: Callable[[Path], Worktree]
) -> None:
    Path(f"{repository}/instances/\udcff.yaml").write_text("id: x\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "Latin")
    assert [(f.path, f.error) for f in read(repository).instances] == [
        (f.path, f.error) for f in worktree(repository).read().instances
    ]


def test_what_is_at_hand_alike_is_the_same_object(
    repository: Path, git: Run, read: Read, worktree: Callable[[Path], Worktree]
) -> None:
    (repository / "instances" / "eth.yaml").write_text("id: eth\n")
    head = worktree(repository).read()
    found = read(repository, "HEAD", head)
    assert [f.path for f in found.instances] == ["instances/btc.yaml"]
    assert found.instances[0] is head.instances[0]
    assert found.strategies[0] is head.strategies[0]
    assert found.templates[0] is head.templates[0]


def test_what_a_commit_holds_is_committed_whatever_the_head_has(
    repository: Path, git: Run, read: Read, worktree: Callable[[Path], Worktree]
) -> None:
    record = repository / "instances" / "btc.yaml"
    was = record.read_text()
    record.write_text("id: btc\nmode: off\n")
    git(repository, "commit", "-q", "-a", "-m", "Off")
    record.write_text(was)
    head = worktree(repository).read()
    assert not head.instances[0].committed
    assert read(repository, "HEAD~1", head).instances == (replace(head.instances[0], committed=True),)


def test_bytes_at_hand_are_not_read_again_wherever_they_lie(
    repository: Path, git: Run, read: Read, worktree: Callable[[Path], Worktree]
) -> None:
    blob_id = git(repository, "rev-parse", "HEAD:instances/btc.yaml")
    (repository / "instances" / "btc.yaml").rename(repository / "instances" / "moved.yaml")
    head = worktree(repository).read()
    (repository / ".git" / "objects" / blob_id[:2] / blob_id[2:]).unlink()
    (record,) = read(repository, "HEAD", head).instances
    assert (record.path, record.data, record.committed) == ("instances/btc.yaml", b"id: btc\n", True)


def test_a_missing_object_is_one_sentence_that_names_the_file(repository: Path, git: Run, read: Read) -> None:
    blob_id = git(repository, "rev-parse", "HEAD:instances/btc.yaml")
    (repository / ".git" / "objects" / blob_id[:2] / blob_id[2:]).unlink()
    with pytest.raises(SourceError) as caught:
        read(repository)
    assert str(caught.value) == (
        "instances/btc.yaml: expected its content in this clone, "
        f"found only its id, {blob_id}; clone without --filter, or run `git fetch --refetch --no-filter`"
    )


def test_of_a_submodule_nothing_is_known_whatever_is_at_hand(
    repository: Path, tmp_path: Path, git: Run, read: Read, worktree: Callable[[Path], Worktree]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "eth.yaml").write_text("id: eth\n")
    git(other, "add", ".")
    git(other, "commit", "-q", "-m", "Desk")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other), "instances/desk")
    git(repository, "commit", "-q", "-m", "A desk of its own")
    head = worktree(repository).read()
    found = read(repository, "HEAD", head)
    assert len(head.instances) == 2
    assert [f.path for f in found.instances] == ["instances/btc.yaml"]


def test_instances_that_are_a_link_are_lost(repository: Path, git: Run, read: Read) -> None:
    (repository / "instances").rename(repository / "real")
    (repository / "instances").symlink_to("real")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "Link")
    (repository / "instances").unlink()
    (repository / "real").rename(repository / "instances")
    found = read(repository)
    assert (found.lost, found.whole) == ("instances/ is a link; expected a folder", False)


def test_a_commit_without_a_fleet_is_empty(repository: Path, git: Run, read: Read) -> None:
    git(repository, "rm", "-q", "-r", ".")
    git(repository, "commit", "-q", "-m", "Nothing")
    found = read(repository)
    assert found == replace(EMPTY, revision=found.revision)
