from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.errors import SourceError
from reconciler.sources.git import NO_REPOSITORY, Repository, Tree
from reconciler.sources.history import changes

Git = Callable[..., str]


@pytest.fixture
def discover(clock: FakeClock) -> Callable[[Path], Repository]:
    def discovered(root: Path) -> Repository:
        found = Repository.discover(root, clock)
        assert found is not None
        return found

    return discovered


Discover = Callable[[Path], Repository]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that were put to git."""
    commands: list[str] = []

    def run(arguments: tuple[str, ...], really: object = subprocess.run, **options: object) -> object:
        assert callable(really)
        if "--no-optional-locks" in arguments:
            commands.append(arguments[arguments.index("-C") + 2])
        return really(arguments, **options)

    monkeypatch.setattr("reconciler.sources.command.subprocess.run", run)
    return commands


def _stub_git(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(exist_ok=True)
    stub = folder / "git"
    stub.write_text(f"#!/bin/sh\n{script}\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_outside_a_repository_there_is_none(fleet: Path, clock: FakeClock) -> None:
    assert Repository.discover(fleet, clock) is None
    assert NO_REPOSITORY.revision is None


def test_head_its_files_and_their_blobs_are_known(repository: Path, git: Git, discover: Discover) -> None:
    facts = discover(repository).facts()
    assert facts.revision == git(repository, "rev-parse", "HEAD")
    assert facts.tree == Tree(
        files={
            path: git(repository, "hash-object", path)
            for path in ("instances/_templates/majors.yaml", "instances/btc.yaml", "strategies/grid.py")
        }
    )
    assert facts.blob_id(b"id: btc\n") == git(repository, "hash-object", "instances/btc.yaml")


def test_before_the_first_commit_there_is_no_revision(fleet: Path, git: Git, discover: Discover) -> None:
    git(fleet, "init", "-q")
    facts = discover(fleet).facts()
    assert (facts.revision, facts.tree, facts.problem) == (None, Tree(), "")


def test_git_is_not_run_while_nothing_moved(repository: Path, git: Git, discover: Discover, asked: list[str]) -> None:
    found = discover(repository)
    facts = found.facts()
    assert asked == ["rev-parse", "rev-parse", "ls-tree"]
    asked.clear()
    git(repository, "status")
    assert found.facts() is facts
    assert asked == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_commit_is_noticed(repository: Path, git: Git, discover: Discover, packed: bool) -> None:
    if packed:
        git(repository, "pack-refs", "--all")
    found = discover(repository)
    before = found.facts()
    (repository / "instances" / "eth.yaml").write_text("id: eth\n")
    git(repository, "add", ".")
    assert found.facts() is before
    git(repository, "commit", "-q", "-m", "Another")
    after = found.facts()
    assert after.revision == git(repository, "rev-parse", "HEAD") != before.revision
    assert "instances/eth.yaml" in after.tree.files


def test_a_commit_without_reflogs_is_noticed(repository: Path, git: Git, discover: Discover) -> None:
    git(repository, "config", "core.logAllRefUpdates", "false")
    git(repository, "switch", "-q", "-c", "team/desk")
    shutil.rmtree(repository / ".git" / "logs")
    found = discover(repository)
    before = found.facts()
    git(repository, "commit", "-q", "--allow-empty", "-m", "Nothing")
    after = found.facts()
    assert after.revision == git(repository, "rev-parse", "HEAD") != before.revision
    git(repository, "switch", "-q", "main")
    assert found.facts() == before
    git(repository, "commit", "-q", "--allow-empty", "-m", "Nothing here either")
    assert found.facts().revision == git(repository, "rev-parse", "HEAD") != before.revision


def test_another_branch_and_a_detached_head_are_noticed(repository: Path, git: Git, discover: Discover) -> None:
    git(repository, "switch", "-q", "-c", "other")
    git(repository, "commit", "-q", "--allow-empty", "-m", "Other")
    other = git(repository, "rev-parse", "HEAD")
    git(repository, "switch", "-q", "main")
    found = discover(repository)
    assert found.facts().revision != other
    git(repository, "checkout", "-q", "--detach", "other")
    assert found.facts().revision == other


def test_links_are_kept_apart_from_files(repository: Path, git: Git, discover: Discover) -> None:
    (repository / "instances" / "eth.yaml").symlink_to("btc.yaml")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "A link")
    facts = discover(repository).facts()
    assert facts.tree.links == {"instances/eth.yaml": facts.blob_id(b"btc.yaml")}
    assert "instances/eth.yaml" not in facts.tree.files


def test_a_fleet_in_a_subfolder_sees_its_own_files(tmp_path: Path, git: Git, discover: Discover) -> None:
    root = tmp_path / "deploy" / "prod [eu] ü"
    (root / "instances").mkdir(parents=True)
    (root / "instances" / "btc.yaml").write_text("id: btc\n")
    (tmp_path / "instances").mkdir()
    (tmp_path / "instances" / "not-ours.yaml").write_text("id: not-ours\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "Fleet and more")
    found = discover(root)
    assert found.where.prefix == "deploy/prod [eu] ü/"
    assert set(found.facts().tree.files) == {"instances/btc.yaml"}


def test_a_linked_work_tree_has_its_own_head(repository: Path, tmp_path: Path, git: Git, discover: Discover) -> None:
    linked = tmp_path / "linked"
    git(repository, "worktree", "add", "-q", "-b", "side", str(linked))
    found = discover(linked)
    before = found.facts()
    assert found.where.git_dir == repository / ".git" / "worktrees" / "linked"
    assert found.where.common_dir == repository / ".git"
    git(linked, "commit", "-q", "--allow-empty", "-m", "On the side")
    assert found.facts().revision == git(linked, "rev-parse", "HEAD") != before.revision
    (found.where.git_dir / "index.lock").touch()
    assert found.state().under_way
    assert not discover(repository).state().under_way


def test_a_submodule_is_found_through_its_file(repository: Path, tmp_path: Path, git: Git, discover: Discover) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "fleet")
    found = discover(outer / "fleet")
    assert found.where.git_dir == outer / ".git" / "modules" / "fleet"
    assert found.facts().revision == git(repository, "rev-parse", "HEAD")


def test_a_repository_of_sha256_gives_ids_of_its_own(fleet: Path, git: Git, discover: Discover) -> None:
    git(fleet, "init", "-q", "--object-format=sha256")
    git(fleet, "add", ".")
    git(fleet, "commit", "-q", "-m", "The fleet")
    facts = discover(fleet).facts()
    assert len(facts.blob_id(b"")) == 64
    assert facts.tree.files["instances/btc.yaml"] == facts.blob_id(b"id: btc\n")


def test_variables_that_point_elsewhere_are_ignored(
    repository: Path, tmp_path: Path, git: Git, discover: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = git(repository, "rev-parse", "HEAD")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    assert discover(repository).facts().revision == expected


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("index.lock", "git is changing the index"),
        ("MERGE_HEAD", "a merge is under way"),
        ("rebase-merge", "a rebase is under way"),
        ("rebase-apply", "a rebase is under way"),
        ("CHERRY_PICK_HEAD", "a cherry-pick is under way"),
        ("REVERT_HEAD", "a revert is under way"),
    ],
)
def test_what_git_is_in_the_middle_of_is_known(repository: Path, discover: Discover, name: str, sentence: str) -> None:
    found = discover(repository)
    assert found.state().under_way == ""
    (repository / ".git" / name).touch()
    assert found.state().under_way.startswith(f"{sentence} ({repository}/.git/{name} exists")


@pytest.mark.parametrize(
    ("age_s", "told"),
    [
        (0, "exists)"),
        (59, "exists)"),
        (60, "exists, for 1 min; remove it if no git runs)"),
        (7_300, "exists, for 2 h; remove it if no git runs)"),
        (260_000, "exists, for 3 days; remove it if no git runs)"),
    ],
)
def test_what_a_killed_git_left_is_told_with_its_age_and_its_mend(repository: Path, age_s: float, told: str) -> None:
    lock = repository / ".git" / "index.lock"
    lock.touch()
    found = Repository.discover(repository, FakeClock(lock.stat().st_mtime + age_s))
    assert found is not None
    assert found.state().under_way == f"git is changing the index ({lock} {told}"


def test_a_rebase_stopped_by_a_conflict_is_under_way(repository: Path, git: Git, discover: Discover) -> None:
    record = repository / "instances" / "btc.yaml"
    git(repository, "switch", "-q", "-c", "side")
    record.write_text("id: btc\nmode: off\n")
    git(repository, "commit", "-q", "-a", "-m", "Side")
    git(repository, "switch", "-q", "main")
    record.write_text("id: btc\nmode: observe\n")
    git(repository, "commit", "-q", "-a", "-m", "Main")
    with pytest.raises(AssertionError):
        git(repository, "rebase", "-q", "side")
    assert discover(repository).state().under_way.startswith("a rebase is under way")
    git(repository, "rebase", "--abort")
    assert discover(repository).state().under_way == ""


def test_a_refusal_for_ownership_says_how_to_mend_it(
    repository: Path, tmp_path: Path, discover: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = f"fatal: detected dubious ownership in repository at '{repository}'"
    _stub_git(tmp_path / "bin", f'echo "{said}" >&2; exit 128', monkeypatch)
    facts = discover(repository).facts()
    assert facts.revision is None
    assert facts.problem == (
        f"git refuses {repository}, which another user owns: "
        f"run `git config --global --add safe.directory {repository}`"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_git_really_refuses_the_repository_of_another_user(repository: Path, discover: Discover) -> None:
    os.chown(repository / ".git", 12345, 12345)
    os.chown(repository, 12345, 12345)
    assert "safe.directory" in discover(repository).facts().problem


def test_a_failure_is_asked_about_again_after_a_while_and_then_mends(
    repository: Path, tmp_path: Path, discover: Discover, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = discover(repository)
    with monkeypatch.context() as patch:
        _stub_git(tmp_path / "bin", "echo 'fatal: broken' >&2; exit 128", patch)
        facts = found.facts()
        assert facts.problem == "git rev-parse failed: broken"
    assert found.facts() is facts
    clock.advance(31.0)
    assert found.facts().problem == ""


def test_without_git_installed_there_is_a_reason(
    repository: Path, tmp_path: Path, discover: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    found = discover(repository)
    assert found.facts().problem == "git is not installed, so nothing counts as committed"
    (repository / ".git" / "index.lock").touch()
    assert found.state().under_way


def test_git_that_hangs_is_given_up(
    repository: Path, tmp_path: Path, discover: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stub_git(tmp_path / "bin", "exec /bin/sleep 60", monkeypatch)
    monkeypatch.setattr("reconciler.sources.command._TIMEOUT_S", 0.05)
    assert discover(repository).facts().problem == "git rev-parse took longer than 0.05 s"


def test_a_revision_resolves_to_its_commit_or_to_none(repository: Path, git: Git, discover: Discover) -> None:
    found = discover(repository)
    git(repository, "tag", "-a", "-m", "One", "v1")
    assert found.resolve("v1") == git(repository, "rev-parse", "HEAD")
    assert found.resolve("nowhere") is None
    assert found.resolve("--help") is None


def test_a_tree_of_no_commit_is_an_error(repository: Path, discover: Discover) -> None:
    with pytest.raises(SourceError, match="git ls-tree failed: not a tree object"):
        discover(repository).tree("0" * 39 + "1")


def test_whatever_rewrites_the_index_moves_the_position(repository: Path, git: Git, discover: Discover) -> None:
    found = discover(repository)
    before = found.state()
    (repository / "instances" / "eth.yaml").touch()
    git(repository, "add", ".")
    assert found.state().doubts(before) == ["the repository moved while the files were read"]


def test_asking_leaves_the_repository_untouched(repository: Path, discover: Discover) -> None:
    before = discover(repository).state()
    discover(repository).facts()
    assert discover(repository).state() == before


def _bury_repository(folder: Path, git: Git) -> None:
    """Make `folder` look like a bare repository, by files that anybody can commit."""
    for name in ("objects", "refs"):
        (folder / name).mkdir()
        (folder / name / "kept").write_text("")
    (folder / "HEAD").write_text("ref: refs/heads/main\n")
    (folder / "config").write_text("[core]\n\trepositoryformatversion = 0\n\tbare = true\n")


def test_a_repository_that_is_committed_as_plain_files_is_never_taken_for_one(
    fleet: Path, git: Git, discover: Discover
) -> None:
    top = fleet.parent
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "The fleet")
    _bury_repository(fleet, git)
    found = discover(fleet)
    assert found.facts().revision == git(top, "rev-parse", "HEAD")
    assert set(found.facts().tree.files) >= {"instances/btc.yaml", "strategies/grid.py"}
    assert [set(one.files) for one in changes(found, "HEAD")] == [set(found.facts().tree.files)]


def test_replaced_objects_are_read_as_they_were(repository: Path, git: Git, discover: Discover) -> None:
    blob_id = git(repository, "rev-parse", "HEAD:instances/btc.yaml")
    (repository / "forged").write_text("id: forged\n")
    git(repository, "replace", blob_id, git(repository, "hash-object", "-w", "forged"))
    with discover(repository).git.blobs() as blobs:
        assert list(blobs.read([blob_id], 100)) == [(blob_id, b"id: btc\n")]


def test_nothing_is_ever_fetched(repository: Path, tmp_path: Path, git: Git, discover: Discover) -> None:
    git(repository, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repository}", str(partial))
    git(partial, "config", "protocol.file.allow", "always")
    git(partial, "config", "remote.origin.uploadpack", f"touch {tmp_path}/ran; git-upload-pack")
    blob_id = git(repository, "rev-parse", "HEAD:instances/btc.yaml")
    with discover(partial).git.blobs() as blobs, pytest.raises(SourceError):
        list(blobs.read([blob_id], 100))
    assert not (tmp_path / "ran").exists()


def test_a_long_history_has_a_deadline_of_its_own(
    repository: Path, tmp_path: Path, discover: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = discover(repository)
    _stub_git(tmp_path / "bin", "exec /bin/sleep 60", monkeypatch)
    monkeypatch.setattr("reconciler.sources.history._HISTORY_TIMEOUT_S", 0.05)
    with pytest.raises(SourceError, match=r"^git log took longer than 0\.05 s; run `git commit-graph write"):
        list(changes(found, "HEAD"))
