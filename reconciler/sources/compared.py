"""The base of a change: the fleet as it was where this branch left another, read from git objects alone."""

from __future__ import annotations

import difflib
import os
import posixpath
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reconciler.clock import Clock
from reconciler.errors import SourceError
from reconciler.records.snapshot import Snapshot
from reconciler.sources.commit import Objects, every, read_commit
from reconciler.sources.git import CONVERTING, Repository, Tree
from reconciler.sources.history import NO_PAST, History, Past
from reconciler.sources.layout import INSTANCES, SETTINGS, STRATEGIES, counts
from reconciler.sources.worktree import WorktreeOptions

_ATTRIBUTES: Final = ".gitattributes"
_LIMIT_BYTES: Final = 1024 * 1024
_SUBMODULE: Final = "160000"


def refuse_incomparable(repository: Repository, commit: str, tree: Tree, objects: Objects, head: Snapshot) -> None:
    """Raises SourceError, one sentence with the mend, where comparing `commit`, whose fleet is `tree`, with the files
    on disk, of which `head` was read, would compare what is not alike."""
    _refuse_submodules((*tree.submodules, *_submodules_around(repository, commit)), commit[:8])
    _refuse_missing(repository)
    wanted = _read_by_engine(tree)
    before = dict(_attributes_at(repository, commit, tree))
    if before:
        objects.read({blob_id: path for path, blob_id in before.items()}, _LIMIT_BYTES)  # git passes over missing ones
        with tempfile.TemporaryDirectory() as folder:
            index = Path(folder, "index")
            entries = "".join(f"100644 {blob_id}\t{path}\0" for path, blob_id in before.items())
            repository.git.text("update-index", "-z", "--index-info", told=entries, index=index)
            _refuse_converted(repository, wanted, f"in {commit[:8]}", index)
    _refuse_converted(repository, wanted | {file.path for file in every(head)}, "now")


def refuse_lacking(root: Path, has_records: bool, clock: Clock) -> None:
    """Raises SourceError, one sentence with the mend, where HEAD has records that are not checked out here, or has all
    of them in another folder: finding nothing wrong with nothing is no good news. Asks git only where that may be."""
    repository = Repository.discover(root, clock)
    if repository is None or repository.is_linked_to:
        return
    is_sparse = (repository.where.git_dir / "info" / "sparse-checkout").exists()
    if has_records and not is_sparse:
        return
    facts = repository.facts()
    if facts.revision is None:
        return
    _refuse_missing(repository)
    if has_records:
        return
    gone = [path for path in facts.tree.files if path.startswith(f"{INSTANCES}/") and counts(path)]
    if gone:
        raise SourceError(
            f"{INSTANCES}: expected the {len(gone):,} files that HEAD has there, found none; "
            "run `git checkout HEAD -- instances`, or commit that they are removed"
        )
    elsewhere = _elsewhere(repository, facts.revision)
    if elsewhere:
        raise SourceError(
            f"{root}: expected instance files, found none, and HEAD has some in {', '.join(elsewhere[:3])}; "
            f"name the fleet with --root {repository.where.top / elsewhere[0]}"
        )


def _elsewhere(repository: Repository, commit: str) -> list[str]:
    """The folders of that commit, from the top, that hold a fleet with records."""
    listing = repository.git.text("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
    found = set()
    for path in filter(None, listing.split("\0")):
        fleet, inside, _ = f"/{path}".rpartition(f"/{INSTANCES}/")
        if inside and counts(path[len(fleet) :] if fleet else path):
            found.add(fleet.lstrip("/") or ".")
    return sorted(found)


def _refuse_submodules(paths: Iterable[str], where: str) -> None:
    for path in sorted(paths):
        raise SourceError(
            f"{path}: expected files of this repository, was a submodule in {where}, "
            "so what it held cannot be compared; keep the fleet's files in one repository"
        )


def _submodules_around(repository: Repository, commit: str) -> Iterator[str]:
    """The folders on the way from the top to the fleet that were submodules then."""
    for folder in _folders(repository.where.prefix)[1:]:
        mode, _ = repository.entry(commit, folder.rstrip("/")) or ("", "")
        if mode == _SUBMODULE:
            yield folder.rstrip("/")


def _folders(prefix: str) -> list[str]:
    """`""`, `a/` and `a/b/` for `a/b/`."""
    return ["", *(prefix[: end + 1] for end, letter in enumerate(prefix) if letter == "/")]


def _refuse_missing(repository: Repository) -> None:
    """What the index has, but a checkout left out: submodules, and files outside of a sparse checkout."""
    prefix, top = repository.where.prefix, repository.where.top
    wanted = (f"{prefix}{path}" for path in (INSTANCES, STRATEGIES, SETTINGS))
    told = repository.git.text("ls-files", "-t", "-s", "-z", "--full-name", "--", *wanted)
    for line in filter(None, told.split("\0")):
        about, _, path = line.partition("\t")
        tag, mode, *_ = about.split()
        here = path.removeprefix(prefix)
        if mode == _SUBMODULE:
            _refuse_submodules([here], "HEAD")
        if tag == "S" and not os.path.lexists(top / path):
            raise SourceError(
                f"{here}: expected to be checked out, was left out by a sparse checkout; "
                "run `git sparse-checkout disable`"
            )


def _read_by_engine(tree: Tree) -> set[str]:
    """The files whose bytes count; where there are links, any file may be what one leads to."""
    return {path for path in tree.files if tree.links or counts(path) or path == SETTINGS}


def _attributes_at(repository: Repository, commit: str, tree: Tree) -> Iterator[tuple[str, str]]:
    """Each file of attributes that may tell of the fleet in that commit: its path from the top, and its blob id."""
    prefix = repository.where.prefix
    for folder in _folders(prefix):
        mode, blob_id = repository.entry(commit, f"{folder}{_ATTRIBUTES}") or ("", "")
        if mode.startswith("100"):
            yield f"{folder}{_ATTRIBUTES}", blob_id
    for path, blob_id in tree.files.items():
        if path.rpartition("/")[2] == _ATTRIBUTES:
            yield f"{prefix}{path}", blob_id


def _refuse_converted(repository: Repository, paths: Iterable[str], when: str, index: Path | None = None) -> None:
    prefix = repository.where.prefix
    told = "".join(f"{prefix}{path}\0" for path in sorted(paths))
    asked = ("check-attr", *(() if index is None else ("--cached",)), "--stdin", "-z", *CONVERTING)
    answers = iter(repository.git.text(*asked, told=told, index=index).split("\0"))
    for path, attribute, value in zip(answers, answers, answers, strict=False):
        if value not in ("unspecified", "unset"):
            raise SourceError(
                f"{path.removeprefix(prefix)}: expected on disk what git keeps, was converted by the attribute "
                f"{attribute}{'' if value == 'set' else f'={value}'} {when}, so it cannot be compared; "
                "keep the fleet's files free of it"
            )


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
        settings, fault = settings_at(repository, commit, objects, options.instance_limit_bytes + 1)
    return Base(ref, commit, snapshot, History(repository, commit, snapshot, options), settings, fault)


def settings_at(repository: Repository, commit: str, objects: Objects, limit_bytes: int) -> tuple[bytes | None, str]:
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
        meant = f"{path.removesuffix('.yaml')}.yml"
        is_meant = repository.entry(commit, meant) is not None
        return None, f"is missing, and {meant} beside it sets nothing: call it {SETTINGS}" if is_meant else ""
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
