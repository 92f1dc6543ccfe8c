"""The settings of an engine that follows a branch: those of the commit that is applied, or of where the branch is.

Nothing is read beside it but what its database has pinned, the environment and flags; and, where nothing is pinned and
nobody says what to follow, `source` of the file on disk.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from reconciler.clock import Clock
from reconciler.errors import SourceError
from reconciler.records.followed import Followed, Pinned, refuse_other
from reconciler.settings.loading import Committed, load
from reconciler.settings.values import DATABASE, STATE_DIR, Settings
from reconciler.sources.branch import TIMEOUT_S, Branch
from reconciler.store.following import followed_in

_VARIABLES: Final = {
    "source.kind": "RECONCILER_SOURCE_KIND",
    "source.branch": "RECONCILER_SOURCE_BRANCH",
    "source.remote": "RECONCILER_SOURCE_REMOTE",
}


def hosts_state_dir(root: Path, environ: Mapping[str, str]) -> Path:
    """Where the state is of an engine that follows a branch: only the host says so."""
    return root / (environ.get("RECONCILER_STATE_DIR") or STATE_DIR)


def follows(root: Path, environ: Mapping[str, str]) -> Followed | None:
    """What an engine follows that keeps its state where only the host says so. Raises StoreError."""
    return followed_in(hosts_state_dir(root, environ) / DATABASE)


def engine_settings(root: Path, environ: Mapping[str, str], flags: Mapping[str, Any], clock: Clock) -> Settings:
    """What an engine at `root` goes by. Raises SettingsError, SourceError, StoreError; ReconcilerError where something
    else is to be followed than what its database has pinned."""
    asked = {key: value for key in _VARIABLES if (value := flags.get(key) or environ.get(_VARIABLES[key]))}
    followed = follows(root, environ)
    if followed is None or followed.kind == "worktree":
        kind = asked.get("source.kind")
        if kind != "git":
            found = load(root, environ, flags)
            if found.source.kind == "worktree":
                return found
            asked |= {"source.branch": found.source.branch, "source.remote": found.source.remote}
        pinned = Pinned("git", asked.get("source.remote") or None, asked.get("source.branch", "main"))
        refuse_other(followed, pinned)
    else:
        pinned = followed.pinned
        refuse_other(followed, _asked(asked, pinned))
    root = root.absolute()
    branch = Branch(root, pinned.branch or "main", pinned.remote, clock)
    commit = followed.applied if followed is not None else None
    if commit is not None and not branch.has(commit):
        raise SourceError(
            f"what is applied, {commit}, is not in this repository any more: fetch it, or take what the branch is at "
            "as one change: reconciler source switch --source git --reason …"
        )
    if commit is None and branch.remote is not None:
        branch.fetch(TIMEOUT_S)
    commit = commit or branch.position()
    if commit is None:
        raise SourceError(f"{pinned}: expected a branch, found none; push it, or name another with --branch")
    state_dir = hosts_state_dir(root, environ)
    file = partial(_copied, branch, commit, state_dir)
    return load(root, environ, flags, Committed(commit, branch.settings(commit), pinned, state_dir, file))


def _copied(branch: Branch, commit: str, state_dir: Path, path: str) -> Path | None:
    """A file of the commit, as a file beside the database: what is checked out is not read."""
    data = branch.file(commit, os.path.normpath(path))
    if data is None:
        return None
    folder = state_dir / "committed"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    copy = folder / f"{hashlib.sha256(data).hexdigest()[:16]}-{os.path.basename(path)}"
    if not copy.exists():
        aside = copy.with_name(f"{copy.name}.tmp")
        aside.write_bytes(data)
        aside.replace(copy)
    return copy


def _asked(asked: Mapping[str, Any], pinned: Pinned) -> Pinned:
    if asked.get("source.kind", "git") == "worktree":
        return Pinned("worktree")
    return Pinned("git", asked.get("source.remote", pinned.remote), asked.get("source.branch", pinned.branch))
