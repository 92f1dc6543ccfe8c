"""The snapshot of one commit, read from git objects: nothing is checked out, and no bytes at hand are read again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from reconciler.errors import SourceError
from reconciler.records.snapshot import Snapshot, SourceFile
from reconciler.sources.command import WHOLE_CLONE, Blobs
from reconciler.sources.git import Tree, id_of_blob
from reconciler.sources.layout import INSTANCES, is_strategy, parts
from reconciler.sources.listing import Listed, Listing
from reconciler.sources.worktree import WorktreeOptions

_LINK_LIMIT_BYTES = 4096
_SHA1_DIGITS = 40


class Objects:
    """The bytes of blobs: those of the snapshot at hand, all others from git, each once."""

    def __init__(self, blobs: Blobs, at_hand: Snapshot) -> None:
        self._blobs = blobs
        self._known = {file.digest: file.data for file in every(at_hand) if file.data is not None}

    def read(self, wanted: Mapping[str, str], limit_bytes: int) -> dict[str, bytes]:
        """The bytes of each blob, at most `limit_bytes`; `wanted` maps ids to paths, for messages.

        Raises SourceError where one is not here.
        """
        found = {blob_id: self._known[blob_id] for blob_id in wanted if blob_id in self._known}
        for blob_id, data in self._blobs.read([blob_id for blob_id in wanted if blob_id not in found], limit_bytes):
            if data is None:
                raise SourceError(
                    f"{wanted[blob_id]}: expected its content in this clone, found only its id, {blob_id}; "
                    f"{WHOLE_CLONE}"
                )
            found[blob_id] = data
        return found


def read_commit(commit: str, tree: Tree, objects: Objects, at_hand: Snapshot, options: WorktreeOptions) -> Snapshot:
    """The fleet in `commit`, whose files are `tree`. What `at_hand` has alike is the same object in both; so is what
    a checkout wrote with other ends of line. Of a submodule nothing is known: it has no files here.

    Raises SourceError where an object is not here.
    """
    texts = objects.read({blob_id: path for path, blob_id in tree.links.items()}, _LINK_LIMIT_BYTES)
    listing = Listing(tree, {blob_id: os.fsdecode(data) for blob_id, data in texts.items()})
    listed = list(listing)
    here = {file.path: file for file in every(at_hand)}
    new = [one for one in listed if not _is_same(here.get(one.path), one)]
    limit_bytes = max(options.instance_limit_bytes, options.strategy_limit_bytes) + 1
    data = objects.read({one.blob_id: one.path for one in new if not one.error}, limit_bytes)
    read = {one.path: source_file(one, data, options) for one in new}
    files = [read[one.path] if one.path in read else here[one.path] for one in listed]
    found = parts(files)
    lost = next((f"{INSTANCES}/ {one.error}" for one in listed if one.path == INSTANCES), "")
    return Snapshot(
        instances=tuple(found.instances),
        templates=tuple(found.templates),
        strategies=tuple(found.strategies),
        halt=found.halt,
        revision=commit,
        clean=True,
        whole=not lost,
        not_whole=lost,
        lost=lost,
    )


def source_file(listed: Listed, data: Mapping[str, bytes], options: WorktreeOptions) -> SourceFile:
    """One file of a commit as a value, within the limits that hold for files on disk."""
    if listed.error:
        return SourceFile(listed.path, None, "", False, listed.error)
    content = data[listed.blob_id]
    if not is_strategy(listed.path):
        return SourceFile(listed.path, content[: options.instance_limit_bytes + 1], listed.blob_id, True)
    if len(content) > options.strategy_limit_bytes:
        error = f"is larger than {options.strategy_limit_bytes // 1024} KiB"
        return SourceFile(listed.path, None, "", False, error)
    return SourceFile(listed.path, content, listed.blob_id, True)


def every(snapshot: Snapshot) -> Iterator[SourceFile]:
    yield from snapshot.instances
    yield from snapshot.templates
    yield from snapshot.strategies
    if snapshot.halt is not None:
        yield snapshot.halt


def _is_same(file: SourceFile | None, listed: Listed) -> bool:
    if file is None or listed.error:
        return False
    if file.committed:
        return file.digest == listed.blob_id
    if file.data is None or b"\r\n" not in file.data:
        return False
    written = file.data.replace(b"\r\n", b"\n")
    return id_of_blob(written, "sha1" if len(listed.blob_id) == _SHA1_DIGITS else "sha256") == listed.blob_id
