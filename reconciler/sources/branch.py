"""The git source: a branch, read from objects alone. What is checked out, edited or stashed changes nothing here.

Nothing is told by the work tree, and nothing is written but refs of its own below `refs/reconciler/`. Git is run
without the user's configuration, hooks, replace refs and inherited `GIT_*`: the repository itself is all that counts.

The remote is asked beside the passes, on a thread of its own, each time within a deadline. What does not answer keeps
what is applied.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from reconciler.clock import Clock
from reconciler.errors import SourceError
from reconciler.records.snapshot import MergedChange, Snapshot, SourceFile, named_id
from reconciler.records.walk import UNUSABLE, Step
from reconciler.sources.command import WHOLE_CLONE, Git
from reconciler.sources.commit import Objects, read_commit
from reconciler.sources.compared import settings_at
from reconciler.sources.git import Repository, first_line, locate, locate_bare
from reconciler.sources.history import Blame, Changed, History, changes, leap, removed_by
from reconciler.sources.layout import HALT_PATHS, SETTINGS, counts, the_halt
from reconciler.sources.raw_commit import LIMIT_BYTES, parsed
from reconciler.sources.signatures import Signatures, SigningRules
from reconciler.sources.worktree import WorktreeOptions
from reconciler.visible import visible

_ID: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_NO_BRANCH: Final = re.compile(r"\.\.|//|@\{|\.lock(?:/|$)|(?:^|/)\.|[\x00-\x20\x7f~^:?*\[\\]|^[-/]|[/.]$|^$|^@$")
"""What git allows in no branch's name."""
_KEPT: Final = "refs/reconciler/applied"
"""Keeps what is applied from being collected as garbage, whatever becomes of the branch."""
_FETCHING: Final = ("fetch.fsckObjects=true", "http.lowSpeedLimit=1000", "http.lowSpeedTime=30")
_FETCH_OPTIONS: Final = (
    "--progress",  # silence is how one that hangs is told from one that is slow
    "--no-tags",
    "--no-recurse-submodules",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--refmap=",
)
"""Of the branch alone, and without a trace beside its ref: not even the remote's branches in this clone are moved."""
_FILE_BYTES: Final = 256 * 1024 * 1024
NOTHING: Final = Snapshot((), (), (), None, None, clean=False, whole=False)
log = logging.getLogger(__name__)

SILENT_S, MOST_S, HANGING_S = 60.0, 600.0, 2.0
"""How long a remote may be silent, how long it may take to send what is new, and after how much silence whoever asks
again is not kept waiting for it."""


class _Ref(NamedTuple):
    """Where the packed refs stood when they were read, and what they said of one."""

    state: tuple[int, ...]
    commit: str | None


class Branch:
    """`name` of the repository at `root`: its own, or that of `remote` as it was fetched last. Not thread-safe."""

    def __init__(
        self, root: Path, name: str, remote: str | None, clock: Clock, options: WorktreeOptions | None = None
    ) -> None:
        """Raises SourceError where there is no repository, or no such name is possible."""
        for word in (name, *(() if remote is None else (remote,))):
            if _NO_BRANCH.search(word):
                raise SourceError(f"{visible(word)!r}: expected what git takes as the name of a branch or remote")
        bare = locate_bare(root)
        where = bare or locate(root)
        if where is None:
            raise SourceError(
                f"{root}: expected a git repository, whose commits count, found none; clone one here, or run it with "
                "--source worktree"
            )
        self.name, self.remote = name, remote
        self.ref = f"refs/heads/{name}" if remote is None else f"refs/reconciler/{remote}/{name}"
        self.where = where
        self.git = Git(where.top, is_alone=True, is_bare=bare is not None)
        self._repository = Repository(where, clock, git=self.git)
        self._options = options or WorktreeOptions()
        self._packed = _Ref((), None)
        self._kept = ""

    # Where it is.

    def position(self) -> str | None:
        """The commit that it is at, None where there is no such branch. A look at a file or two. Raises SourceError."""
        folder = self.where.common_dir
        if (folder / "reftable").is_dir():
            return self._repository.resolve(self.ref)
        loose = first_line(folder / self.ref)
        if _ID.fullmatch(loose):
            return loose
        if loose:
            return self._repository.resolve(self.ref)
        return self._packed_commit(folder / "packed-refs")

    def _packed_commit(self, path: Path) -> str | None:
        try:
            found = os.stat(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
        state = (found.st_mtime_ns, found.st_size, found.st_ino)
        if self._packed.state != state:
            try:
                told = path.read_text(encoding="utf-8", errors="surrogateescape")
            except OSError as error:
                raise SourceError(f"{path}: cannot be read: {error.strerror}") from error
            wanted = f" {self.ref}"
            line = next((line for line in told.splitlines() if line.endswith(wanted)), "")
            commit = line.removesuffix(wanted)
            self._packed = _Ref(state, commit if _ID.fullmatch(commit) else None)
        return self._packed.commit

    def keep(self, commit: str) -> None:
        """Have `git gc` leave what is applied. Where the repository cannot be written to, it stays as it is."""
        if commit != self._kept:
            self._kept = commit
            try:
                self.git.text("update-ref", "--no-deref", _KEPT, commit)
            except SourceError:
                return

    def fetch(self, silent_s: float, goes_on: Callable[[float, float], bool] = lambda taken_s, silent_s: True) -> None:
        """Have what the remote has of the branch. Where it has it no more, it is gone here, too.

        Raises SourceError, where it was silent for so long as well. `goes_on` as of `Git.reach`.
        """
        remote = self.remote
        assert remote is not None
        moved = f"+refs/heads/{self.name}:{self.ref}"
        try:
            options = (*_FETCH_OPTIONS, "--", remote, moved)
            self.git.reach(
                "fetch", *options, settings=_FETCHING, silent_s=silent_s, most_s=max(MOST_S, silent_s), goes_on=goes_on
            )
        except SourceError as error:
            if f"couldn't find remote ref refs/heads/{self.name}" not in str(error):
                raise SourceError(f"{remote}: {error}") from error
            self.git.text("update-ref", "-d", self.ref)

    # What commits hold.

    def refuse_shallow(self) -> None:
        """Raises SourceError where history is cut off: nobody could tell what descends from what."""
        if (self.where.common_dir / "shallow").exists():
            raise SourceError(
                f"{self.where.top}: expected the whole history, was a shallow clone; run `git fetch --unshallow`"
            )

    def snapshot(self, commit: str, at_hand: Snapshot = NOTHING) -> Snapshot:
        """The fleet of one commit; what `at_hand` has alike is the same object in both. Raises SourceError."""
        tree = self._repository.tree(commit)
        with self.git.blobs() as blobs:
            return _kept(at_hand, read_commit(commit, tree, Objects(blobs, at_hand), at_hand, self._options))

    def halt(self, commit: str) -> SourceFile | None:
        """The halt file of a commit of which nothing else may be readable, None where there is none. Raises SourceError
        where nobody can tell whether there is one."""
        return the_halt([file for path in HALT_PATHS if (file := self._halt_file(commit, path)) is not None])

    def _halt_file(self, commit: str, path: str) -> SourceFile | None:
        mode, blob_id = self._repository.entry(commit, f"{self.where.prefix}{path}") or ("", "")
        if not mode:
            return None
        if not mode.startswith("100"):
            return SourceFile(path, None, "", True, "expected a file")
        try:
            return SourceFile(path, self.blob(blob_id, path), blob_id, True)
        except SourceError as error:
            return SourceFile(path, None, blob_id, True, str(error))

    def settings(self, commit: str, instead: bytes | None = None) -> bytes | None:
        """`reconciler.yaml` of that commit, None where there is none. Raises SourceError where it cannot be read, as
        a link that leads out of the commit; with `instead`, that is what it says then."""
        with self.git.blobs() as blobs:
            limit = self._options.instance_limit_bytes + 1
            data, fault = settings_at(self._repository, commit, Objects(blobs, NOTHING), limit)
        if fault and instead is None:
            raise SourceError(f"{SETTINGS} of {commit[:10]} {fault}")
        return instead if fault else data

    def file(self, commit: str, path: str) -> bytes | None:
        """The plain file at `path`, from the fleet's root, in that commit; None where there is none.

        Raises SourceError.
        """
        mode, blob_id = self._repository.entry(commit, f"{self.where.prefix}{path}") or ("", "")
        if not mode.startswith("100"):
            return None
        data = self.blob(blob_id, path, _FILE_BYTES + 1)
        if len(data) > _FILE_BYTES:
            raise SourceError(f"{path}: expected at most {_FILE_BYTES >> 20} MiB in a commit, was larger")
        return data

    def blob(self, blob_id: str, path: str, limit_bytes: int = 0) -> bytes:
        """The bytes of a blob; `path` is what messages call it. Raises SourceError where it is not here."""
        with self.git.blobs() as blobs:
            for _, data in blobs.read([blob_id], limit_bytes or self._options.strategy_limit_bytes + 1):
                if data is not None:
                    return data
        raise SourceError(f"{path}: expected its content in this clone, found only its id, {blob_id}; {WHOLE_CLONE}")

    # How commits follow each other.

    def has(self, commit: str) -> bool:
        return self._repository.resolve(commit) == commit if _ID.fullmatch(commit) else False

    def descends(self, before: str, after: str) -> bool:
        """Whether the one is an ancestor of the other, or the same. Raises SourceError."""
        if before == after:
            return True
        found = self.git.text("rev-list", "--count", "--max-count=1", before, f"^{after}")
        return found.strip() == "0"

    def steps(self, before: str, after: str, at_hand: Snapshot) -> Sequence[Step]:
        """What led from one commit to another that descends from it, along first parents: each a change of its own.

        Where the way of first parents goes past the one, what joined them is a change. `at_hand` is the fleet at
        `before`. Raises SourceError.
        """
        chain = self._chain(before, after)
        if not chain:
            return ()
        start, leaps = before, []
        if chain[0].parents[0] != before:
            start = chain[0].commit
            leaps = [leap(self._repository, before, start)]
        tree = self._repository.tree(before, SETTINGS)
        is_plain = not tree.links and not tree.submodules
        told = (*leaps, *(changes(self._repository, after, start) if start != after else ()))
        changed = {one.commit: one for one in told}
        links = [changed.get(one.commit, Changed(one.commit, {}, True)) for one in chain]
        if not is_plain or not all(one.is_plain for one in links):
            return tuple(self._step_by_step(at_hand, links))
        return History(self._repository, links, at_hand, self._options, tree.files).all_steps()

    def _step_by_step(self, before: Snapshot, changes: Iterable[Changed]) -> Iterable[Step]:
        """Where there are links: what a path leads to may change with any other."""
        for changed in changes:
            now = self.snapshot(changed.commit, before)
            was, files = _by_name(before.instances), _by_name(now.instances)
            gone = was.keys() - files.keys() if now.whole and not _has_blind_spot(now) else frozenset()
            yield Step(
                changed.commit,
                {name: files.get(name, ()) for name in was.keys() | files.keys() if was.get(name) != files.get(name)},
                removed_by(gone, len(was)),
                now.strategies,
                now.templates,
                settings=self.settings(changed.commit, UNUSABLE),
            )
            before = now

    def _chain(self, before: str, after: str) -> list[_Link]:
        """The commits after `before` that descend from it, along the first parents of `after`, the oldest first."""
        how = ("--first-parent", "--ancestry-path", "--parents", "--reverse")
        told = self.git.text("rev-list", *how, after, f"^{before}").splitlines()
        return [_Link(commit, parents) for commit, *parents in (line.split() for line in told)]

    def earlier(self, commit: str, most: int) -> list[str]:
        """At most so many commits before it along first parents, the newest first."""
        return self.git.text("rev-list", "--first-parent", f"--max-count={most + 1}", commit).splitlines()[1:]

    def past(self, commit: str) -> Blame:
        """Who wrote what, as of that commit."""
        return Blame(self._repository, commit)

    def signatures(self, allowed_signers: str, forge: str = "") -> Signatures:
        """Who signed its commits, by files at these paths from the fleet's root."""
        return Signatures(self.git, SigningRules.below(self.where.prefix, allowed_signers, forge))

    def commits(self, ids: Collection[str]) -> dict[str, MergedChange]:
        """What each commit says of itself. Raises SourceError."""
        found = {}
        with self.git.blobs() as objects:
            for commit, data in objects.read(sorted(ids), LIMIT_BYTES + 1):
                if data is None:
                    raise SourceError(f"commit {commit[:12]} is missing; run `git fsck`, and fetch it again")
                found[commit] = parsed(commit, data).change(None)
        return found


class _Link(NamedTuple):
    commit: str
    parents: list[str]


def _kept(last: Snapshot, now: Snapshot) -> Snapshot:
    """Tuples in which nothing changed are those of the last one: `is` then tells that nothing did."""

    def kept(old: tuple[SourceFile, ...], new: tuple[SourceFile, ...]) -> tuple[SourceFile, ...]:
        is_same = len(old) == len(new) and all(one is other for one, other in zip(old, new, strict=True))
        return old if is_same else new

    return replace(
        now,
        instances=kept(last.instances, now.instances),
        templates=kept(last.templates, now.templates),
        strategies=kept(last.strategies, now.strategies),
    )


def _by_name(files: Iterable[SourceFile]) -> dict[str, tuple[SourceFile, ...]]:
    found: dict[str, tuple[SourceFile, ...]] = {}
    for file in files:
        name = named_id(file.path)
        found[name] = (*found.get(name, ()), file)
    return found


def _has_blind_spot(snapshot: Snapshot) -> bool:
    """True where a folder could not be followed: what is in it is out of sight, not gone."""
    return any(file.data is None and not counts(file.path) for file in snapshot.instances)


class Fetching:
    """Fetches every `every_s`, and at once when asked. `on_change` is called when there is something to look at."""

    def __init__(
        self, branch: Branch, every_s: float, on_change: Callable[[], None], clock: Clock, silent_s: float = SILENT_S
    ) -> None:
        """`branch` is this one's alone."""
        self._branch = branch
        self._every_s = every_s
        self._on_change = on_change
        self._clock = clock
        self._silent_s = silent_s
        self._wake = threading.Event()
        self._stopping = False
        self._fault = ""
        self._seen = ""
        self._thread = threading.Thread(target=self._run, name="fetching", daemon=True)

    def fault(self) -> str:
        """Why the remote did not answer when it was asked last; empty where it did."""
        return self._fault

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Fetch soon, whatever the time: what is under way and hangs is begun anew. Thread-safe, returns at once."""
        self._wake.set()

    def _goes_on(self, taken_s: float, silent_s: float) -> bool:
        if taken_s >= self._silent_s and not self._fault:
            self._note(f"{self._branch.remote}: it is still sending after {taken_s:.0f} s", self._seen)
        return not self._stopping and not (self._wake.is_set() and silent_s >= HANGING_S)

    def stop(self, deadline_s: float = 1.0) -> None:
        """Fetch no more. What is under way is given up with its process."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self.fetch()
            self._clock.wait(self._wake, self._every_s)

    def fetch(self) -> None:
        """Once, now; what came of it is in `fault`, and told where it is another."""
        try:
            self._branch.fetch(self._silent_s, self._goes_on)
            fault, seen = "", self._branch.position() or ""
        except SourceError as error:
            fault, seen = str(error), self._seen
        except Exception as error:
            log.exception("fetching failed")
            fault, seen = f"{type(error).__name__}: {error}", self._seen
        self._note(fault, seen)

    def _note(self, fault: str, seen: str) -> None:
        is_news = (fault, seen) != (self._fault, self._seen)
        self._fault, self._seen = fault, seen
        if is_news and not self._stopping:
            self._on_change()


_LOOK_S: Final = 0.2
"""How often the ref is looked at: the look-up is a stat and a read, and works where nothing tells of changes."""


class RefWatcher:
    """Calls `on_change` from a thread of its own, soon after the branch is at another commit. Only a hint.

    With the remote of the branch it begins and ends to ask that, too.
    """

    def __init__(
        self,
        branch: Branch,
        on_change: Callable[[], None],
        clock: Clock,
        fetching: Fetching | None = None,
        look_s: float = _LOOK_S,
    ) -> None:
        """`branch` is this one's alone."""
        self._fetching = fetching
        self._branch = branch
        self._on_change = on_change
        self._clock = clock
        self._look_s = look_s
        self._stop = threading.Event()
        self._seen = self._position()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()
        if self._fetching is not None:
            self._fetching.start()

    def stop(self) -> None:
        """Look no more, and wait for the thread: nothing is called afterwards."""
        if self._fetching is not None:
            self._fetching.stop()
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._clock.wait(self._stop, self._look_s):
            seen = self._position()
            if seen != self._seen:
                self._seen = seen
                self._on_change()

    def _position(self) -> str | None:
        """What cannot be read is for the pass to tell."""
        try:
            return self._branch.position()
        except SourceError as error:
            return str(error)
