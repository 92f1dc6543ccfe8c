"""The base of a change: the fleet as it was where this branch left another, read from git objects alone."""

from __future__ import annotations

import difflib
import os
import posixpath
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.clock import Clock
from reconciler.errors import SourceError
from reconciler.records.snapshot import Snapshot
from reconciler.sources.checkout import refuse_incomparable
from reconciler.sources.commit import Objects, read_commit
from reconciler.sources.git import Repository
from reconciler.sources.history import NO_PAST, History, Past
from reconciler.sources.worktree import WorktreeOptions

SETTINGS = "reconciler.yaml"
_FILE, _EXECUTABLE, _LINK = "100644", "100755", "120000"
_LINKS_LIMIT = 40
"""So many links are followed on the way to the settings."""


@dataclass(frozen=True, slots=True)
class Base:
    """The fleet at `commit`, the merge base of `ref` and HEAD.

    `history` tells how records came to be there, on demand. `settings` is `reconciler.yaml` in that commit, None
    where there is none, or where it cannot be told: `settings_fault` then says why.
    """

    ref: str
    commit: str
    snapshot: Snapshot
    history: Past = NO_PAST
    settings: bytes | None = None
    settings_fault: str = ""


def read_base(root: Path, ref: str, head: Snapshot, clock: Clock) -> Base:
    """The base of what is in the work tree at `root`, of which `head` was read: bytes it has are not read again.

    Raises SourceError, one sentence with the mend: no repository, a shallow clone, an unknown or ambiguous ref, no
    common ancestor, an object that is not here, files that a checkout left out or converts.
    """
    repository = _repository(root, head, clock)
    commit = _merge_base(repository, ref, head.revision or "HEAD")
    tree = repository.tree(commit, SETTINGS)
    options = WorktreeOptions()
    with repository.git.blobs() as blobs:
        objects = Objects(blobs, head)
        refuse_incomparable(repository, commit, tree, objects, head)
        snapshot = read_commit(commit, tree, objects, head, options)
        settings, fault = _settings(repository, commit, objects, options.instance_limit_bytes + 1)
    return Base(ref, commit, snapshot, History(repository, commit, snapshot, options), settings, fault)


def _settings(repository: Repository, commit: str, objects: Objects, limit_bytes: int) -> tuple[bytes | None, str]:
    """The settings in that commit, links followed within it; or why they cannot be told."""
    path = f"{repository.where.prefix}{SETTINGS}"
    for _ in range(_LINKS_LIMIT):
        mode, blob_id = repository.entry(commit, path) or ("", "")
        if mode not in (_FILE, _EXECUTABLE, _LINK):
            break
        data = objects.read({blob_id: path}, limit_bytes)[blob_id]
        if mode != _LINK:
            return data, ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), os.fsdecode(data)))
        if path.startswith(("/", "../")):
            break
    if not mode and path == f"{repository.where.prefix}{SETTINGS}":
        return None, ""
    return None, f"leads to {path}, which is no file of that commit"


def _repository(root: Path, head: Snapshot, clock: Clock) -> Repository:
    repository = Repository.discover(root, clock)
    if repository is None:
        raise SourceError(f"{root}: expected a git repository to compare in, found none; run it in a clone")
    if repository.is_linked_to:
        raise SourceError(
            f"{root}/instances: expected a folder to compare in, was a link; run it in the checkout it leads to"
        )
    if shutil.which("git") is None:
        raise SourceError("expected git, which reads the revision to compare with, found none; install it")
    if head.git_problem:
        raise SourceError(head.git_problem)
    if head.revision is None:
        raise SourceError(f"{repository.where.top}: expected a commit to compare from, found none; commit first")
    if repository.git.text("rev-parse", "--is-shallow-repository").strip() == "true":
        raise SourceError(
            f"{repository.where.top}: expected the whole history, was a shallow clone; "
            "set fetch-depth: 0 where CI checks it out, or run `git fetch --unshallow`"
        )
    return repository


def _merge_base(repository: Repository, ref: str, head: str) -> str:
    if ref.startswith("^") or ".." in ref:
        raise SourceError(f"{ref}: expected one branch, tag or commit, was a range; name the branch that this one left")
    commit = _resolve(repository, ref) if ref else None
    if commit is None:
        named = ref or "--base"
        was = "found none of that name" if ref else "was empty"
        raise SourceError(f"{named}: expected a branch, tag or commit, {was}; {_mend(repository, ref)}")
    found = repository.git.text("merge-base", commit, head, ok=(0, 1)).split()
    if not found:
        raise SourceError(
            f"{ref}: expected a common ancestor with HEAD, found none; compare with the branch that this one left"
        )
    return found[0]


def _resolve(repository: Repository, ref: str) -> str | None:
    """Its commit, where nothing else bears that name: a tag named like the branch would take its place."""
    names = repository.refs(ref)
    if names and ref.startswith(names[0]):
        return repository.resolve(ref)
    if len(names) > 1:
        raise SourceError(f"{ref}: expected the name of one thing, was that of {' and '.join(names)}; say it in full")
    return None if ref.startswith("refs/") else repository.resolve(ref)


def _mend(repository: Repository, ref: str) -> str:
    """What to do about a ref that names nothing: perhaps another was meant, perhaps it was never fetched."""
    heads = repository.git.text(
        "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads", "refs/remotes", "refs/tags"
    )
    names = heads.splitlines()
    ref = ref.removeprefix("refs/remotes/")
    remote, slash, branch = ref.partition("/")
    if branch and remote in repository.git.text("remote").split():
        near = [remote + slash + name for name in _near(branch, _below(names, remote))]
        fetch = f"fetch it with `git fetch {remote} {branch}:refs/remotes/{remote}/{branch}`"
    else:
        near = [name for name in names if ref and name.endswith(f"/{ref}")] or _near(ref, names)
        fetch = ""
    meant = f'did you mean "{near[0]}"?' if near else ""
    return f"{meant} {fetch}".strip() or "name one that `git branch --all` or `git log` shows"


def _below(names: Iterable[str], remote: str) -> list[str]:
    return [name.removeprefix(f"{remote}/") for name in names if name.startswith(f"{remote}/")]


def _near(word: str, names: Sequence[str]) -> list[str]:
    return difflib.get_close_matches(word, names, n=1)
