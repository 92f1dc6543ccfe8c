from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.errors import SourceError
from reconciler.sources.compared import Base, read_base
from reconciler.sources.worktree import Worktree

Run = Callable[..., str]
Look = Callable[[Path], Worktree]


@pytest.fixture
def base(clock: FakeClock, worktree: Look) -> Callable[..., Base]:
    """`base(root, ref)`: what the files on disk are compared with."""
    return lambda root, ref="main": read_base(root, ref, worktree(root).read(), clock)


@pytest.fixture
def branch(repository: Path, git: Run) -> Path:
    """The repository with a branch `pr` checked out, which has nothing of its own yet."""
    git(repository, "switch", "-q", "-c", "pr")
    return repository


Read = Callable[..., Base]


def _commit(root: Path, git: Run, files: dict[str, str | None]) -> str:
    """Write (None: remove) these files, and commit. Gives the commit."""
    for path, text in files.items():
        if text is None:
            (root / path).unlink()
        else:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Change")
    return git(root, "rev-parse", "HEAD")


def _refusal(base: Read, root: Path, ref: str = "main") -> str:
    with pytest.raises(SourceError) as caught:
        base(root, ref)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_base_is_where_the_branch_left_the_other(branch: Path, git: Run, base: Read) -> None:
    left = git(branch, "rev-parse", "main")
    _commit(branch, git, {"instances/btc.yaml": "id: btc\nmode: off\n"})
    git(branch, "switch", "-q", "main")
    _commit(branch, git, {"instances/eth.yaml": "id: eth\n"})
    git(branch, "switch", "-q", "pr")
    found = base(branch)
    assert (found.ref, found.commit, found.snapshot.revision) == ("main", left, left)
    assert [(f.path, f.data) for f in found.snapshot.instances] == [("instances/btc.yaml", b"id: btc\n")]
    assert [f.path for f in found.snapshot.templates] == ["instances/_templates/majors.yaml"]
    assert [f.path for f in found.snapshot.strategies] == ["strategies/grid.py"]
    assert found.settings is None


@pytest.mark.parametrize("ref", ["main", "refs/heads/main", "v1", "HEAD~1", "COMMIT", "main^{tree}~0"])
def test_any_name_of_a_commit_will_do(branch: Path, git: Run, base: Read, ref: str) -> None:
    git(branch, "tag", "-a", "-m", "One", "v1")
    left = git(branch, "rev-parse", "main")
    _commit(branch, git, {"instances/eth.yaml": "id: eth\n"})
    if ref == "main^{tree}~0":
        assert "expected a branch, tag or commit" in _refusal(base, branch, ref)
    else:
        assert base(branch, left if ref == "COMMIT" else ref).commit == left


def test_what_did_not_change_is_the_same_object_as_on_disk(
    branch: Path, git: Run, clock: FakeClock, worktree: Look
) -> None:
    head = worktree(branch).read()
    found = read_base(branch, "main", head, clock)
    assert found.snapshot.instances[0] is head.instances[0]
    assert found.snapshot.strategies[0] is head.strategies[0]


def test_settings_are_those_of_the_base(branch: Path, git: Run, base: Read) -> None:
    git(branch, "switch", "-q", "main")
    _commit(branch, git, {"reconciler.yaml": "heartbeat_seconds: 3\n"})
    git(branch, "switch", "-q", "-C", "pr")
    (branch / "reconciler.yaml").write_text("heartbeat_seconds: 9\n")
    assert base(branch).settings == b"heartbeat_seconds: 3\n"


def test_a_linked_work_tree_has_its_own_head(branch: Path, tmp_path: Path, git: Run, base: Read) -> None:
    left = git(branch, "rev-parse", "main")
    _commit(branch, git, {"instances/eth.yaml": "id: eth\n"})
    git(branch, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"), "main")
    assert base(tmp_path / "linked", "pr").commit == left


def test_without_a_repository_there_is_a_mend(fleet: Path, base: Read) -> None:
    told = _refusal(base, fleet)
    assert told == f"{fleet}: expected a git repository to compare in, found none; run it in a clone"


def test_without_a_commit_there_is_a_mend(fleet: Path, git: Run, base: Read) -> None:
    git(fleet, "init", "-q")
    assert _refusal(base, fleet) == f"{fleet}: expected a commit to compare from, found none; commit first"


def test_without_git_there_is_a_mend(branch: Path, base: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    told = _refusal(base, branch)
    assert told == "expected git, which reads the revision to compare with, found none; install it"


def test_a_shallow_clone_is_told_how_to_get_the_rest(branch: Path, tmp_path: Path, git: Run, base: Read) -> None:
    _commit(branch, git, {"instances/eth.yaml": "id: eth\n"})
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{branch}", str(shallow))
    assert _refusal(base, shallow, "origin/main") == (
        f"{shallow}: expected the whole history, was a shallow clone; "
        "set fetch-depth: 0 where CI checks it out, or run `git fetch --unshallow`"
    )
    git(shallow, "fetch", "-q", "--unshallow")
    git(shallow, "fetch", "-q", "origin", "main:refs/remotes/origin/main")
    assert base(shallow, "origin/main").commit == git(branch, "rev-parse", "main")


@pytest.mark.parametrize(
    ("ref", "mend"),
    [
        ("mian", 'did you mean "main"?'),
        ("nothing-like-it", "name one that `git branch --all` or `git log` shows"),
        ("f" * 40, "name one that `git branch --all` or `git log` shows"),
        ("--help", "name one that `git branch --all` or `git log` shows"),
        ("main:instances", "name one that `git branch --all` or `git log` shows"),
    ],
)
def test_an_unknown_ref_is_told_with_a_mend(branch: Path, base: Read, ref: str, mend: str) -> None:
    assert _refusal(base, branch, ref) == f"{ref}: expected a branch, tag or commit, found none of that name; {mend}"


def test_a_ref_that_was_left_empty_says_so(branch: Path, base: Read) -> None:
    assert _refusal(base, branch, "").startswith("--base: expected a branch, tag or commit, was empty; ")


@pytest.mark.parametrize(
    ("ref", "mend"),
    [
        ("main", 'did you mean "origin/main"?'),
        ("origin/desk", "fetch it with `git fetch origin desk:refs/remotes/origin/desk`"),
        (
            "origin/mian",
            'did you mean "origin/main"? fetch it with `git fetch origin mian:refs/remotes/origin/mian`',
        ),
    ],
)
def test_what_was_never_fetched_is_told_how_to(
    branch: Path, tmp_path: Path, git: Run, base: Read, ref: str, mend: str
) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(branch), str(clone))
    assert _refusal(base, clone, ref) == f"{ref}: expected a branch, tag or commit, found none of that name; {mend}"


def test_without_a_common_ancestor_there_is_a_mend(branch: Path, git: Run, base: Read) -> None:
    git(branch, "switch", "-q", "--orphan", "alone")
    _commit(branch, git, {"instances/eth.yaml": "id: eth\n"})
    assert _refusal(base, branch) == (
        "main: expected a common ancestor with HEAD, found none; compare with the branch that this one left"
    )


def test_what_git_refuses_is_passed_on(branch: Path, base: Read) -> None:
    shutil.rmtree(branch / ".git" / "objects")
    assert _refusal(base, branch).startswith("git rev-parse failed: ")


def test_a_partial_clone_is_told_how_to_become_whole(branch: Path, tmp_path: Path, git: Run, base: Read) -> None:
    git(branch, "config", "uploadpack.allowFilter", "true")
    _commit(branch, git, {"instances/btc.yaml": "id: btc\nmode: off\n"})
    partial = tmp_path / "partial"
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{branch}", str(partial))
    told = _refusal(base, partial, "origin/main")
    assert told.endswith("; clone without --filter, or run `git fetch --refetch --no-filter`")
    git(partial, "fetch", "-q", "--refetch", "--no-filter")
    assert base(partial, "origin/main").snapshot.instances[0].data == b"id: btc\n"


def test_history_is_read_only_when_somebody_asks(branch: Path, base: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.sources.history.changes", None)
    found = base(branch)
    assert found.history.steps(()) == ()
    with pytest.raises(TypeError):
        found.history.steps({"btc"})


def test_a_tag_named_like_the_branch_takes_nobodys_place(branch: Path, tmp_path: Path, git: Run, base: Read) -> None:
    left = git(branch, "rev-parse", "main")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(branch), str(clone))
    _commit(clone, git, {"instances/btc.yaml": "id: btc\nmode: active\n"})
    git(clone, "tag", "origin/main")
    assert _refusal(base, clone, "origin/main") == (
        "origin/main: expected the name of one thing, "
        "was that of refs/tags/origin/main and refs/remotes/origin/main; say it in full"
    )
    assert "refs/tags/origin/main" in _refusal(base, clone, "origin/main~0")
    git(clone, "tag", "refs/remotes/origin/main")
    git(clone, "tag", "refs/remotes/origin/gone")
    assert base(clone, "refs/remotes/origin/main").commit == left
    assert _refusal(base, clone, "refs/remotes/origin/gone").startswith("refs/remotes/origin/gone: expected a branch")


@pytest.mark.parametrize("ref", ["^HEAD", "main..HEAD", "main...HEAD"])
def test_a_range_is_no_base(branch: Path, base: Read, ref: str) -> None:
    told = _refusal(base, branch, ref)
    assert told == f"{ref}: expected one branch, tag or commit, was a range; name the branch that this one left"


@pytest.mark.parametrize("ref", ["main^!", "main^@"])
def test_what_names_several_commits_is_no_base(branch: Path, base: Read, ref: str) -> None:
    assert _refusal(base, branch, ref).startswith(f"{ref}: expected a branch, tag or commit")


def test_settings_are_read_through_links_within_the_commit(branch: Path, git: Run, base: Read) -> None:
    git(branch, "switch", "-q", "main")
    (branch / "reconciler.yaml").symlink_to("settings/desk.yaml")
    (branch / "settings").mkdir()
    (branch / "settings" / "desk.yaml").symlink_to("../real.yaml")
    _commit(branch, git, {"real.yaml": "heartbeat_seconds: 3\n"})
    git(branch, "switch", "-q", "-C", "pr")
    assert base(branch).settings == b"heartbeat_seconds: 3\n"
    assert base(branch).settings_fault == ""


@pytest.mark.parametrize("target", ["/etc/hostname", "../away.yaml", "reconciler.yaml", "nowhere.yaml", "instances"])
def test_settings_whose_link_leads_nowhere_cannot_be_told(branch: Path, git: Run, base: Read, target: str) -> None:
    git(branch, "switch", "-q", "main")
    (branch / "reconciler.yaml").symlink_to(target)
    _commit(branch, git, {})
    git(branch, "switch", "-q", "-C", "pr")
    (branch / "reconciler.yaml").unlink()
    found = base(branch)
    assert found.settings is None
    assert found.settings_fault == f"leads to {target}, which is no file of that commit"


def test_settings_by_another_name_are_no_commit_without_settings(branch: Path, git: Run, base: Read) -> None:
    git(branch, "switch", "-q", "main")
    _commit(branch, git, {"reconciler.yml": "heartbeat_seconds: 3\n"})
    git(branch, "switch", "-q", "-C", "pr")
    found = base(branch)
    assert found.settings is None
    assert found.settings_fault == "is missing, and reconciler.yml beside it sets nothing: call it reconciler.yaml"


def test_a_checkout_with_other_ends_of_line_is_the_same_fleet(branch: Path, git: Run, base: Read) -> None:
    (branch / ".gitattributes").write_text("*.py text eol=crlf\n")
    _commit(branch, git, {"instances/eth.yaml": "id: eth\n"})
    (branch / "strategies" / "grid.py").write_bytes(b'"""Grid."""\r\n')
    found = base(branch)
    assert found.snapshot.strategies[0].data == b'"""Grid."""\r\n'


def test_a_change_of_ends_of_line_that_is_committed_is_a_change(branch: Path, git: Run, base: Read) -> None:
    (branch / "strategies" / "grid.py").write_bytes(b'"""Grid."""\r\n')
    git(branch, "commit", "-q", "-a", "-m", "Ends of line")
    assert base(branch).snapshot.strategies[0].data == b'"""Grid."""\n'
