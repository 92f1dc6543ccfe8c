"""The work tree source: the files on disk, read whole, and whether each is committed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from reconciler.clock import Clock
from reconciler.records.snapshot import HALT_FILES, NO_RECORD, Snapshot, SourceFile
from reconciler.sources.folder import Folder, FolderWalk, Found, Identity, why
from reconciler.sources.git import EOL, NO_REPOSITORY, GitFacts, Repository, locate
from reconciler.sources.layout import (
    INSTANCE_RULES,
    INSTANCES,
    STRATEGIES,
    STRATEGY_RULES,
    Rules,
    counts,
    is_strategy,
    is_template,
    parts,
)

_NOTHING = Snapshot(instances=(), templates=(), strategies=(), halt=None, revision=None, clean=False, whole=False)


@dataclass(frozen=True, slots=True)
class WorktreeOptions:
    """Sizes in bytes, times in seconds.

    Of an instance file larger than `instance_limit_bytes` one byte more than that is read, for the parser
    to refuse. A definition larger than `strategy_limit_bytes` is refused here: half a module must not run.
    A file changed less than `racy_s` before it was read is read again next time, as git does: it may have
    changed once more within the same tick of the file system's clock. Without `asks_git` there might as well be
    no repository: nothing counts as committed, and what is not code has no digest.
    """

    instance_limit_bytes: int = 256 * 1024
    strategy_limit_bytes: int = 1024 * 1024
    racy_s: float = 0.05
    asks_git: bool = True


class _Known(NamedTuple):
    """What was found, by which facts of git it was judged, and the file that came of it."""

    found: Found
    facts: GitFacts
    file: SourceFile
    is_converted: bool


class Worktree:
    """The fleet at `root`, which holds `instances/` and `strategies/`. Paths are relative to it.

    Not thread-safe: one thread reads at a time.
    """

    def __init__(self, root: Path, clock: Clock, options: WorktreeOptions) -> None:
        self._root = Path(os.path.abspath(root))
        self._clock = clock
        self._options = options
        self._instances = _Tree(INSTANCES, INSTANCE_RULES, options.instance_limit_bytes, is_required=True)
        self._strategies = _Tree(STRATEGIES, STRATEGY_RULES, options.strategy_limit_bytes, is_required=False)
        self._repository: Repository | None = None
        self._around: Repository | None = None
        self._facts = NO_REPOSITORY
        self._expected: frozenset[str] = frozenset()  # the paths that HEAD has
        self._known: dict[str, _Known] = {}
        self._converted: frozenset[str] = frozenset()
        self._kept_otherwise = ""
        self._strays: tuple[SourceFile, ...] = ()
        self._last = _NOTHING

    def read(self) -> Snapshot:
        """The files of this moment. Raises nothing: what cannot be read is in the snapshot, as a fact of its own.

        `instances/` that is missing or cannot be opened is one `SourceFile` with an error, and the halt is then
        the one last seen: losing sight of a halt does not lift it.
        """
        if self._options.asks_git:
            self._repository = Repository.discover(self._root, self._clock, self._repository)
        repository = self._repository
        before = None if repository is None else repository.state()
        facts = NO_REPOSITORY if repository is None else repository.facts()

        root = os.path.realpath(self._root)
        self._instances.may_leave = self._may_leave(root)
        racy_from_ns = int((self._clock.time() - self._options.racy_s) * 1e9)
        walks = [tree.read(root, racy_from_ns) for tree in (self._instances, self._strategies)]

        doubts = [doubt for walk in walks for doubt in walk.doubts()]
        if repository is not None and before is not None:
            doubts += before.doubts(repository.state())
        has_strays = self._look_for_strays(root)
        if facts is not self._facts or self._last is _NOTHING or has_strays or any(walk.changed for walk in walks):
            self._last = self._compose(facts)
        not_whole = "; ".join(dict.fromkeys(doubts))
        if self._last.not_whole != not_whole or self._last.whole is bool(not_whole):
            self._last = replace(self._last, whole=not not_whole, not_whole=not_whole)
        return self._last

    def _look_for_strays(self, root: str) -> bool:
        """True where other halts lie beside `instances/` than before: there they halt nothing, which is to be told."""
        there = tuple(name for name in HALT_FILES if os.path.lexists(f"{root}/{name}"))
        if there == tuple(file.path for file in self._strays):
            return False
        self._strays = tuple(SourceFile(name, None, "", False, NO_RECORD) for name in there)
        return True

    def _may_leave(self, root: str) -> bool:
        """Whether `instances/` may be a link that leaves the repository around the fleet: as somebody set it up who
        may write here, not as a commit has it, which anybody may ask for."""
        where = locate(Path(root)) if os.path.islink(f"{root}/{INSTANCES}") else None
        if where is None or Path(os.path.realpath(f"{root}/{INSTANCES}")).is_relative_to(where.top):
            return True
        if self._around is None or self._around.where != where:
            self._around = Repository(where, self._clock)
        facts = self._around.facts()
        return not facts.problem and INSTANCES not in facts.tree.links

    def _compose(self, facts: GitFacts) -> Snapshot:
        """What the trees hold now, with every object of the last snapshot that is still true."""
        if facts is not self._facts:
            self._facts = facts
            self._expected = frozenset(filter(counts, (*facts.tree.files, *facts.tree.links)))
        found = [one for tree in (self._instances, self._strategies) for one in tree]
        self._converted = self._told_converted(found)
        self._known = known = {one.path: self._recall(one) for one in found}
        files = parts(one.file for one in known.values())
        last = self._last
        return replace(
            last,
            instances=_kept(last.instances, [*self._strays, *files.instances]),
            templates=_kept(last.templates, files.templates),
            strategies=_kept(last.strategies, files.strategies),
            halt=last.halt if self._instances.lost else files.halt,
            lost=f"{INSTANCES}/ {self._instances.lost}" if self._instances.lost else "",
            revision=facts.revision,
            head=facts.head,
            git_problem=facts.problem,
            git_note=self._git_note(known.keys()),
            clean=facts.revision is not None
            and self._expected <= known.keys()
            and all(one.file.committed or one.file.error == NO_RECORD for one in known.values()),
        )

    def _git_note(self, found: Collection[str]) -> str:
        if not self._options.asks_git:
            return ""
        if self._repository is None:
            return f"no repository around {self._root}, so nothing counts as committed"
        expected = [path for path in self._expected if path.startswith(f"{INSTANCES}/") and not is_template(path)]
        if expected and not any(path.startswith(f"{INSTANCES}/") for path in found):
            return f"HEAD has {len(expected):,} records, and none is checked out"
        return self._kept_otherwise

    def _told_converted(self, found: Iterable[Found]) -> frozenset[str]:
        """The paths of files that differ from HEAD by nothing but ends of line that git converts.

        The first that git keeps otherwise by an attribute is noted: what runs of it, no commit holds.
        """
        files, facts, self._kept_otherwise = self._facts.tree.files, self._facts, ""
        if self._repository is None or not files:
            return frozenset()
        differing = {
            one.path: one.data
            for one in found
            if one.data is not None and one.link is None and files.get(one.path) not in (None, facts.blob_id(one.data))
        }
        conversions = self._repository.conversions(differing) if differing else {}
        other = next((path for path in sorted(conversions) if conversions[path] not in ("", EOL)), None)
        if other is not None:
            self._kept_otherwise = (
                f"git keeps other bytes of {other} than are on disk, by the attribute {conversions[other]}; "
                "keep the fleet's files free of it"
            )
        return frozenset(
            path
            for path, data in differing.items()
            if conversions.get(path) == EOL and b"\r\n" in data and files.get(path) == facts.blob_id(_with_lf(data))
        )

    def _recall(self, found: Found) -> _Known:
        """What was found as a source file: the same object as before where it is still true."""
        before = self._known.get(found.path)
        is_same = before is not None and before.found is found and before.facts is self._facts
        if before is not None and is_same and before.is_converted is (found.path in self._converted):
            return before
        file = self._source(found)
        if before is not None and found.is_unfinished and is_strategy(found.path):
            file = replace(
                before.file, is_unfinished=True
            )  # what runs goes on; the other half of the module is on its way
        file = before.file if before is not None and before.file == file else file
        return _Known(found, self._facts, file, found.path in self._converted)

    def _source(self, found: Found) -> SourceFile:
        if found.data is None:
            return SourceFile(found.path, None, "", False, found.error)
        if is_strategy(found.path) and len(found.data) > self._options.strategy_limit_bytes:
            error = f"is larger than {self._options.strategy_limit_bytes // 1024} KiB"
            return SourceFile(found.path, None, "", False, error)
        if not self._options.asks_git and not is_strategy(found.path):
            return SourceFile(found.path, found.data, "", False)
        if found.is_unfinished and is_strategy(found.path):
            return SourceFile(found.path, None, "", False, "is still open for writing")
        data = _with_lf(found.data) if found.path in self._converted else found.data
        digest = self._facts.blob_id(data)
        is_committed = self._is_committed(found, digest)
        return SourceFile(found.path, found.data, digest, is_committed, is_unfinished=found.is_unfinished)

    def _is_committed(self, found: Found, digest: str) -> bool:
        """True where HEAD has these bytes at this path; of a linked file, where it has the link and its target.

        What is reached by more than one link counts as not committed.
        """
        tree, link = self._facts.tree, found.link
        if link is None:
            return tree.files.get(found.path) == digest
        is_link_committed = link.is_direct and tree.links.get(found.path) == self._facts.blob_id(os.fsencode(link.text))
        return is_link_committed and tree.files.get(link.target) == digest


class _Tree:
    """One of the fleet's two folders, and whether it is there at all.

    `lost` says why nothing is known of it; iterating then yields that as the one thing found.
    """

    def __init__(self, path: str, rules: Rules, limit_bytes: int, *, is_required: bool) -> None:
        self.lost = ""
        self.may_leave = True
        self._path = path
        self._limit_bytes = limit_bytes
        self._is_required = is_required
        self._is_there = False
        self._identity: Identity | None = None
        self._folder = Folder(path, rules)

    def __iter__(self) -> Iterator[Found]:
        if self._is_there:
            yield from self._folder
        elif self.lost:
            yield Found(self._path, None, self.lost)

    def read(self, root: str, racy_from_ns: int) -> FolderWalk:
        """Bring the tree up to date. `root` is the real path of the fleet. The folder itself may be a link, as tools
        that swap whole checkouts make it; then its target is what links within must not leave."""
        top = f"{root}/{self._path}"
        if os.path.islink(top) and self.may_leave and os.path.isdir(top):
            top = os.path.realpath(top)
        walk = FolderWalk(self._path, top, self._limit_bytes, racy_from_ns)
        was = (self._is_there, self.lost)
        try:
            self._folder.read(walk.top, walk)
        except OSError as error:
            self._is_there, self.lost = False, self._why_lost(walk.top, error)
            walk.changed = False  # of what is out of sight, nothing shows
            walk.stamps.clear()
            if self.lost:
                walk.faults.append(f"{self._path}/ {self.lost}")
        else:
            self._is_there, self.lost = True, ""
            identity = walk.identity(walk.top)
            if self._identity not in (None, identity):
                walk.faults.append(f"{self._path}/ was replaced since it was last read")
            self._identity = identity
        walk.changed |= was != (self._is_there, self.lost)
        return walk

    def _why_lost(self, top: str, error: OSError) -> str:
        if os.path.islink(top):
            if not self.may_leave:
                return "is a link that a commit has and that leaves the repository; expected a folder"
            return "is a link that leads to no folder"
        if isinstance(error, FileNotFoundError):
            return "is missing" if self._is_required else ""
        return why(error)


def _with_lf(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _kept(last: tuple[SourceFile, ...], files: Sequence[SourceFile]) -> tuple[SourceFile, ...]:
    """`last` itself where it holds the very same objects."""
    is_same = len(last) == len(files) and all(old is new for old, new in zip(last, files, strict=True))
    return last if is_same else tuple(files)
