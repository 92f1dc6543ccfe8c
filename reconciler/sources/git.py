"""The facts of a git repository: what HEAD and other commits hold, and whether git is at work.

Finding the repository and noticing that it moved take a few stats; git itself runs only after it moved.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.clock import Clock
from reconciler.errors import SourceError
from reconciler.records.snapshot import MergedChange
from reconciler.sources.command import Git
from reconciler.sources.layout import INSTANCES, STRATEGIES
from reconciler.sources.raw_commit import LIMIT_BYTES, parsed


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a repository is. `top` is the work tree, `prefix` the way from there to the fleet (`""` or `a/b/`).

    `git_dir` belongs to this work tree alone, `common_dir` to all work trees of the repository.
    """

    top: Path
    prefix: str
    git_dir: Path
    common_dir: Path


def locate(root: Path) -> Whereabouts | None:
    """Where the repository around `root` is; None where there is none.

    `.git` may be a file that names the git directory (linked work trees, submodules).
    """
    real = Path(os.path.realpath(root))
    for top in (real, *real.parents):
        git_dir = _git_dir(top / ".git")
        if git_dir is not None:
            below = "" if top == real else f"{real.relative_to(top).as_posix()}/"
            return Whereabouts(top, below, git_dir, _common_dir(git_dir))
    return None


def locate_bare(root: Path) -> Whereabouts | None:
    """The same where `root` itself is a repository without a work tree."""
    real = Path(os.path.realpath(root))
    is_one = (real / "HEAD").is_file() and (real / "objects").is_dir() and (real / "refs").is_dir()
    return Whereabouts(real, "", real, _common_dir(real)) if is_one else None


def _git_dir(marker: Path) -> Path | None:
    named = first_line(marker)
    git_dir = marker.parent / named.removeprefix("gitdir: ") if named.startswith("gitdir: ") else marker
    return Path(os.path.realpath(git_dir)) if os.path.lexists(git_dir / "HEAD") else None


def _common_dir(git_dir: Path) -> Path:
    return Path(os.path.realpath(git_dir / first_line(git_dir / "commondir")))


def first_line(path: Path) -> str:
    """Empty where there is no such file, or it is a folder."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").split("\n", 1)[0].strip()
    except OSError:
        return ""


UNDER_WAY = {
    "index.lock": ("git is changing the index", "remove it if no git runs"),
    "MERGE_HEAD": ("a merge is under way", "commit it, or run `git merge --abort`"),
    "rebase-merge": ("a rebase is under way", "run `git rebase --continue` or `--abort`"),
    "rebase-apply": ("a rebase is under way", "run `git rebase --continue` or `--abort`, of patches `git am`"),
    "CHERRY_PICK_HEAD": ("a cherry-pick is under way", "commit it, or run `git cherry-pick --abort`"),
    "REVERT_HEAD": ("a revert is under way", "commit it, or run `git revert --abort`"),
}
"""What lies in the git directory while files on disk are neither the old nor the new commit's, and how to end it."""

_LEFT_BEHIND_S = 60.0
"""What is older than this is told with its age and its end: whoever began it may be gone."""

CONVERTING = ("filter", "working-tree-encoding", "ident")
"""The attributes by which a file on disk has other bytes than its blob. Ends of line are another matter."""
EOL = "eol"

_AFTER_A_REF = re.compile(r"[~^:]|@\{")
"""What no name of a ref holds: with it begins the way from there to a commit."""

_RETRY_S = 30.0

Signature = tuple[tuple[int, int, int] | None, ...]
"""mtime_ns, size and inode of each file that tells that a repository moved; None where there is none."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The fleet's files in one commit: path relative to the fleet's root → blob id, in hex.

    `links` are symbolic links; their blob is what the link says. `submodules` are folders whose files lie in
    other repositories.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    submodules: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class GitFacts:
    """What HEAD is. `revision` is None before the first commit, without a repository, and where `problem` says why."""

    revision: str | None = None
    tree: Tree = field(default_factory=Tree)
    object_format: str = "sha1"
    problem: str = ""
    head: MergedChange | None = None

    def blob_id(self, data: bytes) -> str:
        """The id that git gives these bytes, in hex."""
        return id_of_blob(data, self.object_format)


def id_of_blob(data: bytes, object_format: str = "sha1") -> str:
    return hashlib.new(object_format, b"blob %d\0%b" % (len(data), data), usedforsecurity=False).hexdigest()


NO_REPOSITORY = GitFacts()


@dataclass(frozen=True, slots=True)
class GitState:
    """Where a repository stands at one moment: `position` changes whenever HEAD moves or the index is rewritten.

    `under_way` is what git is in the middle of, as a sentence; empty where it is at rest.
    """

    position: Signature
    under_way: str

    def doubts(self, after: GitState) -> list[str]:
        """Why files read between this state and `after` may be of no one commit."""
        moved = "the repository moved while the files were read" if self.position != after.position else ""
        return [doubt for doubt in (self.under_way, moved, after.under_way) if doubt]


class Repository:
    """The repository that a fleet lies in. Not thread-safe."""

    def __init__(
        self, where: Whereabouts, clock: Clock, places: Mapping[str, str] | None = None, git: Git | None = None
    ) -> None:
        """`places` are the fleet's folders from the top, where these are links that lead here."""
        self.where = where
        self._places = places
        self.git = git or Git(where.top)
        self._clock = clock
        self._converts: dict[str, str] = {}
        self._facts: GitFacts | None = None
        self._facts_from: Signature = ()
        self._retry_at_s = 0.0
        self._ref_from: Signature = ()
        self._ref: Path | None = None

    @classmethod
    def discover(cls, root: Path, clock: Clock, known: Repository | None = None) -> Repository | None:
        """The repository around `root`, or None: `known` itself where it still is that. Git is not run.

        Where `instances/` is a link, it is the one around the folder that it leads to.
        """
        records = root / INSTANCES
        is_link = records.is_symlink() and records.is_dir()
        where = locate(records if is_link else root)
        if where is None:
            return None
        places = _places(root, where) if is_link else None
        is_known = known is not None and known.where == where and known._places == places
        return known if is_known else cls(where, clock, places)

    def facts(self) -> GitFacts:
        """What HEAD is: the same object for as long as the repository stays where it is.

        Where git failed, its reason is in `problem`; it is asked again when the repository moves, and after 30 s.
        """
        signature = self._head_signature()
        is_fresh = self._facts is not None and signature == self._facts_from
        if self._facts is None or not is_fresh or self._is_retry_due():
            self._facts = self._ask_git(self._facts)
            self._converts.clear()
            self._facts_from = signature
        return self._facts

    def state(self) -> GitState:
        """A few stats; git is not run."""
        under_way = next(filter(None, (self._under_way(name, *told) for name, told in UNDER_WAY.items())), "")
        return GitState((*self._head_signature(), _signature(self.where.git_dir / "index")), under_way)

    def _under_way(self, name: str, what: str, mend: str) -> str:
        path = self.where.git_dir / name
        try:
            age_s = self._clock.time() - os.lstat(path).st_mtime
        except OSError:
            return ""
        if age_s < _LEFT_BEHIND_S:
            return f"{what} ({path} exists)"
        return f"{what} ({path} exists, for {_age(age_s)}; {mend})"

    @property
    def is_linked_to(self) -> bool:
        """True where the fleet lies elsewhere, and `instances/` alone leads here."""
        return self._places is not None

    def place(self, path: str) -> str:
        """Where a file of the fleet is from the top of the repository."""
        folder, _, below = path.partition("/")
        place = f"{self.where.prefix}{folder}" if self._places is None else self._places.get(folder, folder)
        return f"{place}/{below}".strip("/")

    def conversions(self, paths: Iterable[str]) -> dict[str, str]:
        """What git makes of these files, from the fleet's root, when it takes them: `EOL` where of ends of line its own
        and of nothing else; the attribute (`ident`, `filter=lfs`) by which it keeps other bytes; empty where nothing.

        Asked once for each, for as long as HEAD stays where it is; empty where git cannot say.
        """
        there = {path: self.place(path) for path in paths}
        unknown = [place for place in there.values() if place not in self._converts]
        if unknown:
            try:
                self._converts |= self._ask_conversions(unknown)
            except SourceError:
                return {}
        return {path: self._converts[place] for path, place in there.items()}

    def _ask_conversions(self, paths: Sequence[str]) -> dict[str, str]:
        """gitattributes(5): `text` and `eol` decide, then `core.autocrlf`. What a filter or an encoding changes besides
        is another matter, and nobody's here."""
        setting = self.git.text("config", "--get", "--default", "false", "core.autocrlf").strip().lower()
        by_default = setting in ("true", "input", "yes", "on", "1")
        told = "".join(f"{path}\0" for path in paths)
        answers = iter(self.git.text("check-attr", "--stdin", "-z", "text", "eol", *CONVERTING, told=told).split("\0"))
        attributes: dict[str, dict[str, str]] = {}
        for path, attribute, value in zip(answers, answers, answers, strict=False):
            attributes.setdefault(path, {})[attribute] = value
        return {path: _conversion(attributes.get(path, {}), by_default) for path in paths}

    def resolve(self, revision: str) -> str | None:
        """The commit id that `revision` names, None where it names none, or more than one. Raises SourceError where
        git cannot say."""
        answer = self.git.text(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", ok=(0, 1)
        ).strip()
        return answer if answer.isalnum() else None

    def refs(self, revision: str) -> tuple[str, ...]:
        """The full names of all refs that may be meant by `revision`, the one that git takes first: a tag before a
        branch, a branch before that of a remote. Raises SourceError."""
        name = _AFTER_A_REF.split(revision, maxsplit=1)[0]
        places = ("refs/", "refs/tags/", "refs/heads/", "refs/remotes/")
        meant = [name] if name.startswith("refs/") else []
        meant += [*(f"{place}{name}" for place in places), f"refs/remotes/{name}/HEAD"]
        found = self.git.text("for-each-ref", "--format=%(refname)", *meant).splitlines() if name else []
        return tuple(one for one in meant if one in found)

    def entry(self, commit: str, path: str) -> tuple[str, str] | None:
        """Mode and id of what stands at `path`, from the top, in `commit`; None where nothing does."""
        told = self.git.text("ls-tree", "-z", "--full-tree", commit, "--", path)
        about, _, found = told.rstrip("\0").partition("\t")
        if found != path:
            return None
        mode, _, object_id = about.split()
        return mode, object_id

    def tree(self, commit: str, *others: str) -> Tree:
        """The fleet's files in `commit`, and `others`, paths from the fleet's root. Raises SourceError."""
        places = self._places or {path: f"{self.where.prefix}{path}" for path in (INSTANCES, STRATEGIES)}
        places = {**places, **{path: f"{self.where.prefix}{path}" for path in others}}
        wanted = () if "" in places.values() else ("--", *places.values())
        listing = self.git.text("ls-tree", "-r", "-z", "--full-tree", commit, *wanted)
        files: dict[str, str] = {}
        links: dict[str, str] = {}
        submodules: list[str] = []
        for line in filter(None, listing.split("\0")):
            about, _, path = line.partition("\t")
            mode, kind, object_id = about.split()
            here = next((_at_home(path, *one) for one in places.items() if _is_at(path, one[1])), None)
            if here is None:
                continue
            if kind == "blob":
                (links if mode == "120000" else files)[here] = object_id
            else:
                submodules.append(here)
        return Tree(files, links, frozenset(submodules))

    def _ask_git(self, known: GitFacts | None) -> GitFacts:
        self._retry_at_s = self._clock.monotonic() + _RETRY_S
        try:
            object_format = (
                "sha256" if self.git.text("rev-parse", "--show-object-format").strip() == "sha256" else "sha1"
            )
            revision = self.resolve("HEAD")
            if known is not None and known.revision == revision and not known.problem:
                return known
            tree = Tree() if revision is None else self.tree(revision)
        except SourceError as error:
            problem = str(error)
            if known is not None and known.problem == problem:
                return known
            return GitFacts(problem=problem)
        return GitFacts(revision, tree, object_format, head=None if revision is None else self._said(revision))

    def _said(self, revision: str) -> MergedChange | None:
        """What a commit says of itself; None where it cannot be read: nothing depends on it."""
        try:
            with self.git.blobs() as objects:
                data = next((data for _, data in objects.read([revision], LIMIT_BYTES + 1)), None)
            return None if data is None else parsed(revision, data).change(None)
        except SourceError:
            return None

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


def _age(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def _places(root: Path, where: Whereabouts) -> dict[str, str]:
    """Where the fleet's folders are from the top of that repository; only those that lie in it."""
    found = {}
    for name in (INSTANCES, STRATEGIES):
        real = Path(os.path.realpath(root / name))
        if real.is_relative_to(where.top):
            found[name] = real.relative_to(where.top).as_posix().removeprefix(".")
    return found


def _conversion(attributes: Mapping[str, str], by_default: bool) -> str:
    for name in CONVERTING:
        value = attributes.get(name, "unspecified")
        if value not in ("unspecified", "unset"):
            return name if value == "set" else f"{name}={value}"
    text = attributes.get("text", "unspecified")
    if text == "unspecified":
        return EOL if by_default or attributes.get("eol", "unspecified") in ("lf", "crlf") else ""
    return EOL if text != "unset" else ""


def _at_home(path: str, name: str, place: str) -> str:
    """What the fleet calls the file at `path` from the top: within `name`, which is `place` there."""
    return name + (path[len(place) :] if place else f"/{path}")


def _is_at(path: str, place: str) -> bool:
    return not place or path == place or path.startswith(f"{place}/")


def _ref_file(where: Whereabouts) -> Path | None:
    head = first_line(where.git_dir / "HEAD")
    return where.common_dir / head.removeprefix("ref: ") if head.startswith("ref: ") else None


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size, status.st_ino)
