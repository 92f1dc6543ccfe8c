"""The checkout: why the files on disk may be no match for the blobs of a commit. Runs no filter, only says where one
would run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from reconciler.clock import Clock
from reconciler.errors import SourceError
from reconciler.records.snapshot import Snapshot
from reconciler.sources.commit import Objects, every
from reconciler.sources.git import CONVERTING, Repository, Tree
from reconciler.sources.layout import INSTANCES, STRATEGIES, counts

_ATTRIBUTES: Final = ".gitattributes"
_LIMIT_BYTES: Final = 1024 * 1024
_SUBMODULE: Final = "160000"
_SETTINGS: Final = "reconciler.yaml"


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
    wanted = (f"{prefix}{path}" for path in (INSTANCES, STRATEGIES, _SETTINGS))
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
    return {path for path in tree.files if tree.links or counts(path) or path == _SETTINGS}


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
