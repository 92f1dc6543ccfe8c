"""The facts of a git repository: what HEAD holds, and whether git is at work. The only caller of git.

Finding the repository and noticing that it moved take a few stats; git itself runs only after it moved.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.clock import Clock
from reconciler.errors import SourceError
from reconciler.sources.layout import INSTANCES, STRATEGIES
from reconciler.sources.whereabouts import Whereabouts, first_line, locate

UNDER_WAY = {
    "index.lock": "git is changing the index",
    "MERGE_HEAD": "a merge is under way",
    "rebase-merge": "a rebase is under way",
    "rebase-apply": "a rebase is under way",
    "CHERRY_PICK_HEAD": "a cherry-pick is under way",
    "REVERT_HEAD": "a revert is under way",
}
"""What lies in the git directory while files on disk are neither the old nor the new commit's."""

_OPTIONS = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "LC_ALL": "C",
    "LANGUAGE": "",
}
_TIMEOUT_S = 10.0
_RETRY_S = 30.0

Signature = tuple[tuple[int, int, int] | None, ...]
"""mtime_ns, size and inode of each file that tells that a repository moved; None where there is none."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The fleet's files in one commit: path relative to the fleet's root → blob id, in hex.

    `links` are symbolic links; their blob is what the link says.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GitFacts:
    """What HEAD is. `revision` is None before the first commit, without a repository, and where `problem` says why."""

    revision: str | None = None
    tree: Tree = field(default_factory=Tree)
    object_format: str = "sha1"
    problem: str = ""

    def blob_id(self, data: bytes) -> str:
        """The id that git gives these bytes, in hex."""
        return hashlib.new(self.object_format, b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


NO_REPOSITORY = GitFacts()


@dataclass(frozen=True, slots=True)
class State:
    """Where a repository stands at one moment: `position` changes whenever HEAD moves or the index is rewritten.

    `under_way` is what git is in the middle of, as a sentence; empty where it is at rest.
    """

    position: Signature
    under_way: str

    def doubts(self, after: State) -> list[str]:
        """Why files read between this state and `after` may be of no one commit."""
        moved = "the repository moved while the files were read" if self.position != after.position else ""
        return [doubt for doubt in (self.under_way, moved, after.under_way) if doubt]


class Repository:
    """The repository that a fleet lies in. Not thread-safe."""

    def __init__(self, root: Path, where: Whereabouts, clock: Clock) -> None:
        self.where = where
        self._root = root
        self._clock = clock
        self._facts: GitFacts | None = None
        self._facts_from: Signature = ()
        self._retry_at_s = 0.0
        self._ref_from: Signature = ()
        self._ref: Path | None = None

    @classmethod
    def discover(cls, root: Path, clock: Clock, known: Repository | None = None) -> Repository | None:
        """The repository around `root`, or None: `known` itself where it still is that. Git is not run."""
        where = locate(root)
        if where is None:
            return None
        return known if known is not None and known.where == where else cls(root, where, clock)

    def facts(self) -> GitFacts:
        """What HEAD is: the same object for as long as the repository stays where it is.

        Where git failed, its reason is in `problem`; it is asked again when the repository moves, and after 30 s.
        """
        signature = self._head_signature()
        is_fresh = self._facts is not None and signature == self._facts_from
        if self._facts is None or not is_fresh or self._is_retry_due():
            self._facts = self._ask_git(self._facts)
            self._facts_from = signature
        return self._facts

    def state(self) -> State:
        """A few stats; git is not run."""
        under_way = next(
            (f"{what} ({self.where.git_dir / name} exists)" for name, what in UNDER_WAY.items() if self._has(name)), ""
        )
        return State((*self._head_signature(), _signature(self.where.git_dir / "index")), under_way)

    def _has(self, name: str) -> bool:
        return os.path.lexists(self.where.git_dir / name)

    def resolve(self, revision: str) -> str | None:
        """The commit id that `revision` names, None where it names none. Raises SourceError where git cannot say."""
        answer = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", ok=(0, 1))
        return answer.strip() or None

    def tree(self, commit: str) -> Tree:
        """The fleet's files in `commit`. Raises SourceError where git cannot say."""
        prefix = self.where.prefix
        wanted = (f"{prefix}{INSTANCES}", f"{prefix}{STRATEGIES}")
        listing = self._git("ls-tree", "-r", "-z", "--full-tree", commit, "--", *wanted)
        files: dict[str, str] = {}
        links: dict[str, str] = {}
        for line in filter(None, listing.split("\0")):
            about, _, path = line.partition("\t")
            mode, kind, blob_id = about.split()
            if kind == "blob":
                (links if mode == "120000" else files)[path.removeprefix(prefix)] = blob_id
        return Tree(files, links)

    def _ask_git(self, known: GitFacts | None) -> GitFacts:
        self._retry_at_s = self._clock.monotonic() + _RETRY_S
        try:
            object_format = "sha256" if self._git("rev-parse", "--show-object-format").strip() == "sha256" else "sha1"
            revision = self.resolve("HEAD")
            if known is not None and known.revision == revision and not known.problem:
                return known
            tree = Tree() if revision is None else self.tree(revision)
        except SourceError as error:
            problem = str(error)
            if known is not None and known.problem == problem:
                return known
            return GitFacts(problem=problem)
        return GitFacts(revision, tree, object_format)

    def _is_retry_due(self) -> bool:
        return self._facts is not None and bool(self._facts.problem) and self._clock.monotonic() >= self._retry_at_s

    def _head_signature(self) -> Signature:
        git_dir, common_dir = self.where.git_dir, self.where.common_dir
        head = (_signature(git_dir / "HEAD"),)
        if head != self._ref_from:
            self._ref, self._ref_from = _ref_file(self.where), head
        return (
            *head,
            None if self._ref is None else _signature(self._ref),
            _signature(git_dir / "logs" / "HEAD"),
            _signature(common_dir / "packed-refs"),
            _signature(git_dir / "reftable" / "tables.list"),
            _signature(common_dir / "reftable" / "tables.list"),
        )

    def _git(self, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
        """What git answers. Raises SourceError in one sentence, with the mend where there is a known one."""
        try:
            done = subprocess.run(
                ("git", *_OPTIONS, "-C", str(self._root), *arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TIMEOUT_S,
                env=_environment(),
                check=False,
            )
        except FileNotFoundError:
            raise SourceError("git is not installed, so nothing counts as committed") from None
        except subprocess.TimeoutExpired:
            raise SourceError(f"git {arguments[0]} took longer than {_TIMEOUT_S:g} s") from None
        if done.returncode in ok:
            return os.fsdecode(done.stdout)
        raise SourceError(_reason(arguments[0], os.fsdecode(done.stderr), self.where.top))


def _ref_file(where: Whereabouts) -> Path | None:
    head = first_line(where.git_dir / "HEAD")
    return where.common_dir / head.removeprefix("ref: ") if head.startswith("ref: ") else None


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _environment() -> dict[str, str]:
    """This process's, without what would point git at another repository (`GIT_DIR` and its like)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    configuration = {name: value for name, value in os.environ.items() if name.startswith("GIT_CONFIG_")}
    return kept | configuration | _ENVIRONMENT


def _reason(command: str, stderr: str, top: Path) -> str:
    said = next((line.removeprefix("fatal: ") for line in stderr.splitlines() if line.startswith("fatal: ")), "")
    if "dubious ownership" in said:
        return f"git refuses {top}, which another user owns: run `git config --global --add safe.directory {top}`"
    return f"git {command} failed: {said or stderr.strip() or 'it said nothing'}"
