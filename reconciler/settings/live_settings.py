"""Settings that are not those of the file at hand: of the commit that is followed, and limits that change meanwhile.

An engine that follows a branch goes by the settings of the commit that is applied, or of where the branch is. Nothing
is read beside it but what its database has pinned, the environment and flags; and, where nothing is pinned and nobody
says what to follow, `source` of the file on disk.

While an engine runs, limits hold at once; all else waits for a start, and is told.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from reconciler.clock import Clock
from reconciler.documents.document import Document
from reconciler.errors import SourceError
from reconciler.records.accounts import Accounts
from reconciler.records.followed import Followed, Pinned, refuse_other
from reconciler.settings.loading import FILE, Committed, accounts_in, load, parsed_settings, says_nothing
from reconciler.settings.values import DATABASE, STATE_DIR, Settings
from reconciler.sources.branch import SILENT_S, Branch
from reconciler.sources.folder import VANISHED, read
from reconciler.store.following import followed_in

_VARIABLES: Final = {
    "source.kind": "RECONCILER_SOURCE_KIND",
    "source.branch": "RECONCILER_SOURCE_BRANCH",
    "source.remote": "RECONCILER_SOURCE_REMOTE",
}
log = logging.getLogger(__name__)

_MOST_BEFORE: Final = 100
_MOST_BYTES: Final = 1024 * 1024
_SECTIONS: Final = frozenset({"limits", "require_limits", "throttle"})
_OF_ACCOUNT: Final = frozenset({"limits", "currency", "count_as", "markets", "throttle", "max_orders_per_minute"})


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
        branch.fetch(SILENT_S)
    commit = commit or branch.position()
    if commit is None:
        raise SourceError(f"{pinned}: expected a branch, found none; push it, or name another with --branch")
    if followed is not None and followed.applied is not None:
        commit = _usable(branch, commit)
    state_dir = hosts_state_dir(root, environ)
    file = partial(_copied, branch, commit, state_dir)
    return load(root, environ, flags, Committed(commit, branch.settings(commit), pinned, state_dir, file))


def _usable(branch: Branch, applied: str) -> str:
    """The commit whose settings an engine begins with: those of what is applied or, where they cannot be used, the last
    before that could. An engine that runs goes on by those, too; refused a start, it could take no commit that mends
    them."""

    def is_usable(commit: str) -> bool:
        try:
            data = branch.settings(commit)
        except SourceError:
            return False
        return data is None or accounts_in(data) is not None

    if is_usable(applied):
        return applied
    found = next(filter(is_usable, branch.earlier(applied, _MOST_BEFORE)), applied)
    if found != applied:
        log.warning("settings of what is applied cannot be used", extra={"commit": applied[:10], "instead": found[:10]})
    return found


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


class LiveLimits:
    """`accounts` are those that the engine began with, bounded as was last said; `tell` is told of others.

    `of_commit` finds the file of a commit, where commits are the source. One thread uses it.
    """

    def __init__(self, accounts: Accounts, root: Path, of_commit: Callable[[str], bytes | None] | None = None) -> None:
        self.accounts = accounts
        self.judging = accounts
        """What records are judged by; of commits what theirs declares, though only the next start reaches new ones."""
        self.tell: Callable[[Accounts], None] = lambda accounts: None
        self._of_commit = of_commit
        self._path = root / FILE
        self._seen = self._stat()
        self._commit: str | None = None
        self._began_as: Any = None
        self.note = ""
        """That the settings of what is applied wait for a start, where commits are the source; empty where none do."""
        self.fault = ""
        """Why the limits are not those that the file says now, empty where they are."""
        self.is_unfinished = False
        """True while the file is open for writing: it is not looked at before it is closed."""

    def look(self) -> bool:
        """Read the file where its stat is another. True where other limits are to hold.

        A file that is gone, or that says nothing at all, leaves them as they were: who replaces a file often deletes or
        empties it first, and half of one has no limits.
        """
        stat = self._stat()
        if stat == self._seen:
            return False
        reading = read(os.path.realpath(self._path), None, _MOST_BYTES) if stat else VANISHED
        self.is_unfinished = bool(stat) and (reading.is_unfinished or not reading.settled)
        if self.is_unfinished:
            return False
        self._seen = stat
        if reading.data is None:
            return self._refuse("is gone" if not stat else reading.error)
        if says_nothing(reading.data):
            return self._refuse("says nothing")
        self.fault = ""
        return self.take(reading.data)

    def follow(self, commit: str | None) -> bool:
        """The same of the file of a commit that is to be applied, where commits are the source."""
        if commit is None or self._of_commit is None or commit == self._commit:
            return False
        try:
            data = self._of_commit(commit)
        except SourceError as error:
            return self._refuse(f"cannot be read: {error}")
        self.fault = ""
        began = but_limits(data) if self._commit is None else self._began_as
        self._commit, self._began_as = commit, began
        self.note = "" if but_limits(data) == began else CHANGED
        return self.take(data)

    def take(self, data: bytes | None) -> bool:
        """What a settings file of these bytes says; no file says nothing. What cannot be used changes nothing."""
        found = accounts_in(data or b"{}")
        if found is None:
            return self._refuse("has problems: reconciler validate tells which")
        bounded = self.accounts.bounded_as(found)
        if self._of_commit is not None and found != self.judging:
            self.judging = found
        if bounded == self.accounts:
            return False
        self.accounts = bounded
        self.judging = bounded if self._of_commit is None else self.judging
        self.tell(bounded)
        log.info("limits of the settings taken")
        return True

    def _refuse(self, why: str) -> bool:
        log.warning("settings cannot be used, limits stay as they were", extra={"error": why})
        self.fault = f"{FILE} {why}; limits stay as they were until it is mended, or the engine starts without it"
        return False

    def _stat(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino


def but_limits(data: bytes | None) -> Any:
    """What of the settings takes effect at the next start only; the bytes themselves where they say nothing."""
    document = None if data is None else parsed_settings(data)
    if not isinstance(document, Document) or not isinstance(document.values, dict):
        return data
    servers = document.values.get("exec_mcp")
    kept = {key: value for key, value in document.values.items() if key not in _SECTIONS}
    if isinstance(servers, dict):
        kept["exec_mcp"] = {name: _unbounded(server) for name, server in servers.items()}
    return kept


def _unbounded(server: Any) -> Any:
    accounts = server.get("accounts") if isinstance(server, Mapping) else None
    if not isinstance(accounts, Mapping):
        return server
    stripped = {
        id_: {key: value for key, value in account.items() if key not in _OF_ACCOUNT}
        if isinstance(account, Mapping)
        else account
        for id_, account in accounts.items()
    }
    return {**server, "accounts": stripped}


CHANGED = f"{FILE} has changed since the engine started: restart it to apply that"


class Staleness:
    """Made when the settings are loaded. Asked for every page: the file is read only where its stat is another."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._began_as = but_limits(self._bytes())
        self._looked = (self._stat(), "")

    def note(self) -> str:
        """What to tell people, empty where nothing changed that waits for a start. What cannot be read has changed."""
        stat = self._stat()
        if stat != self._looked[0]:
            self._looked = (stat, "" if but_limits(self._bytes()) == self._began_as else CHANGED)
        return self._looked[1]

    def _stat(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _bytes(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:
            return None
