"""The signatures of a range of commits: which of them somebody signed who was allowed to, and why the others are not.

Every commit that the range brings in must be signed, those that a merge brings in as well: by a key that the signers
before its step and those of the newest commit both allow, at the time at which the engine first saw it. What a commit
says of its own time counts for nothing, nor do tags, replace refs, grafts, or any configuration.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from reconciler.clock import Clock
from reconciler.documents.wording import some
from reconciler.errors import SourceError
from reconciler.records.snapshot import SignedBy
from reconciler.sources.command import Git
from reconciler.sources.raw_commit import LIMIT_BYTES, RawCommit, parsed
from reconciler.sources.signers import UNCHECKED, AllowedSigners, ForgeKey, is_openpgp, ssh_signature
from reconciler.visible import is_printable

_AT_ONCE: Final = 4
_FILE_BYTES: Final = 1024 * 1024
_TOLD: Final = 3
_ENOUGH: Final = 20
"""After so many that lack a signature, the range is held however many others are signed: whoever may push is not to
keep the engine busy with what nobody signed."""


@dataclass(frozen=True, slots=True)
class SigningRules:
    """`signatures` of the settings. Both are paths from the top of the repository; no `forge` allows no forge."""

    allowed_signers: str
    forge: str = ""

    @classmethod
    def below(cls, prefix: str, allowed_signers: str, forge: str) -> Self:
        """Where the settings name paths from the fleet's root, which is at `prefix`."""
        return cls(f"{prefix}{allowed_signers}", f"{prefix}{forge}" if forge else "")


@dataclass(frozen=True, slots=True)
class SignedCommit:
    """One commit of a range. `step` is the commit of the branch itself by which it came in, itself where it is one.
    `why_not` says why `signed_by` is None, in words that go on with "commit …"."""

    raw: RawCommit
    step: str
    signed_by: SignedBy | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class SignedRange:
    """What leads from `applied` to `new`.

    `steps` are the branch's own commits, the oldest first; `commits` are these and all that their merges brought in,
    each step's own last. `astray` says why there is no such way along first parents.
    """

    applied: str
    new: str
    steps: tuple[str, ...] = ()
    commits: tuple[SignedCommit, ...] = ()
    astray: str = ""

    @property
    def held(self) -> str:
        """Why none of it may be applied where signatures are required, and what mends it; empty where it may be."""
        if self.astray:
            return self.astray
        unsigned = [one for one in self.commits if one.signed_by is None]
        return some([f"commit {one.raw.commit[:12]} {one.why_not}" for one in unsigned], _TOLD, "; ")

    @property
    def is_certain(self) -> bool:
        """False where a tool was missing or took too long: to be asked again."""
        return not any(UNCHECKED in one.why_not for one in self.commits)

    def signed_by(self, commit: str) -> SignedBy | None:
        return next((one.signed_by for one in self.commits if one.raw.commit == commit), None)


class Signatures:
    """The signatures of one repository. Not thread-safe. `git` is to be one that no configuration but the repository's
    own reaches."""

    def __init__(self, git: Git, rules: SigningRules) -> None:
        self._git = git
        self._rules = rules
        self._seen: dict[str, float] = {}
        self._known: dict[_Asked, SignedBy | str] = {}
        """What was found out of the commits of the last range: a longer one, or another try, goes on from there."""

    def check(
        self,
        applied: str | None,
        new: str,
        seen: Mapping[str, float],
        now: float,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> SignedRange:
        """Judge what leads from `applied` to `new`, both ids of commits. `seen` tells when the engine first saw each
        commit, in seconds since the epoch; what is not in it, nor was looked at by this one before, it sees `now`.

        Where nothing is applied yet, `new` alone is judged, by its own signers. Once it is not wanted any more it looks
        at no other commit. Raises SourceError where git cannot say: an object that is missing or damaged, a shallow
        clone.
        """
        listed = self._listed(applied, new)
        self._seen = {commit: seen.get(commit, self._seen.get(commit, now)) for commit in listed}
        seen = self._seen
        commits = self._read(listed)
        _refuse_shallow(listed, commits)
        steps, astray = ((new,), "") if applied is None else _steps(applied, new, commits)
        if astray:
            return SignedRange(applied or "", new, astray=astray)
        brought = dict(_brought(steps, commits))
        before = {step: new if applied is None else commits[step].parents[0] for step in steps}
        judged = self._judged(brought, before, new, commits, seen, now, _ENOUGH, is_wanted)
        return SignedRange(applied or "", new, steps, judged)

    def of_proposal(self, base: str, head: str, now: float) -> tuple[SignedCommit, ...]:
        """Judge what `head` has beyond `base`, the oldest first, as one step that is to be merged into it.

        An unsigned merge onto the base is left out: it is one on trial, as forges make it for their checks. Raises
        SourceError.
        """
        listed = self._listed(base, head)
        commits = self._read(listed)
        _refuse_shallow(listed, commits)
        brought = dict.fromkeys(reversed(listed), head)
        if head in commits and commits[head].parents[:1] == (base,) and len(commits[head].parents) > 1:
            brought = {commit: head for commit in brought if commit != head or commits[commit].signature}
        return self._judged(brought, {head: base}, head, commits, {}, now)

    def _judged(
        self,
        brought: Mapping[str, str],
        before: Mapping[str, str],
        new: str,
        commits: Mapping[str, RawCommit],
        seen: Mapping[str, float],
        now: float,
        enough: int | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> tuple[SignedCommit, ...]:
        """Each commit, by the signers of the commit before the step that brought it in, and those of `new`; after
        `enough` that lack a signature no more are asked about."""
        with tempfile.TemporaryDirectory(prefix="signatures-") as folder:
            versions = self._versions({new, *before.values()}, Path(folder))

            lacking: list[str] = []
            known, self._known = self._known, {}

            def judged(commit: str) -> SignedCommit:
                raw, step = commits[commit], brought[commit]
                if enough is not None and len(lacking) >= enough:
                    return SignedCommit(raw, step, None, f"was not looked at: {enough} others are held already")
                if not is_wanted():
                    return SignedCommit(raw, step, None, f"{UNCHECKED}: it was given up")
                asked = tuple(dict.fromkeys((versions[before[step]], versions[new])))
                at_s = seen.get(commit, now)
                key = (commit, tuple(one.texts for one in asked), at_s)
                found = known[key] if key in known else _whose(raw, asked, at_s)
                if isinstance(found, SignedBy) or UNCHECKED not in found:
                    self._known[key] = found
                if isinstance(found, str):
                    lacking.append(commit)
                    return SignedCommit(raw, step, None, found)
                return SignedCommit(raw, step, found)

            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="signatures") as pool:
                return tuple(pool.map(judged, brought))

    def _listed(self, applied: str | None, new: str) -> dict[str, tuple[str, ...]]:
        """Each commit of the range with its parents, as git tells them: the newest first."""
        wanted = ("--max-count=1", new) if applied is None else (new, f"^{applied}")
        told = self._git.text("rev-list", "--parents", "--topo-order", *wanted, "--")
        lines = (line.split() for line in told.splitlines())
        return {commit: tuple(parents) for commit, *parents in lines}

    def _read(self, commits: Iterable[str]) -> dict[str, RawCommit]:
        found: dict[str, RawCommit] = {}
        with self._git.blobs() as objects:
            for commit, data in objects.read(tuple(commits), LIMIT_BYTES + 1):
                if data is None:
                    raise SourceError(f"commit {commit[:12]} is missing; run `git fsck`, and fetch it again")
                found[commit] = parsed(commit, data)
        return found

    def _versions(self, commits: Iterable[str], folder: Path) -> dict[str, _Version]:
        """The files of signers in each of these commits; the same object where they have the same texts."""
        paths = [path for path in (self._rules.allowed_signers, self._rules.forge) if path]
        readable = [path for path in paths if is_printable(path)]
        asked = {f"{commit}:{path}": (commit, path) for commit in sorted(commits) for path in readable}
        texts: dict[tuple[str, str], bytes | None] = {}
        with self._git.blobs() as objects:
            for name, data in objects.read(tuple(asked), _FILE_BYTES + 1):
                texts[asked[name]] = None if data is None or len(data) > _FILE_BYTES else data
        made: dict[tuple[bytes | None, ...], _Version] = {}
        found = {}
        for commit in sorted(commits):
            held = tuple(texts.get((commit, path)) for path in paths)
            if held not in made:
                made[held] = self._version(commit, held, folder / str(len(made)))
            found[commit] = made[held]
        return found

    def _version(self, commit: str, texts: Sequence[bytes | None], folder: Path) -> _Version:
        for one in (folder, folder / "ssh", folder / "gpg"):
            one.mkdir(mode=0o700)
        allowed = AllowedSigners(texts[0], self._rules.allowed_signers, commit, folder / "ssh")
        forge = ForgeKey(texts[1], self._rules.forge, commit, folder / "gpg") if self._rules.forge else None
        return _Version(allowed, forge, tuple(texts))


@dataclass(frozen=True, slots=True, eq=False)
class _Version:
    """What it was made of are `texts`: two of the same texts say the same of every commit."""

    signers: AllowedSigners
    forge: ForgeKey | None
    texts: tuple[bytes | None, ...]


_Asked = tuple[str, tuple[tuple[bytes | None, ...], ...], float]
"""A commit, the texts of the signers who were to allow it, the time as of which they were asked."""

MOMENT_S: Final = 0.25
"""Most ranges are a merge or two, and checked in less: then one look at the branch is enough."""


class _Check:
    """One range on its way to be judged."""

    def __init__(self, applied: str | None, new: str) -> None:
        self.applied, self.new = applied, new
        self.done = threading.Event()
        self.is_wanted, self.is_late = True, False
        self.found: SignedRange | None = None
        self.fault: Exception | None = None
        self.thread: threading.Thread | None = None


class CheckedBeside:
    """Signatures that are checked on a thread of their own: nobody waits longer than a moment for a thousand of them.

    One thread uses it. `changed` is called, on another one, when there is something to ask for again.
    """

    def __init__(self, signatures: Signatures, clock: Clock, changed: Callable[[], object]) -> None:
        self._signatures = signatures
        self._clock = clock
        self._changed = changed
        self._under_way: _Check | None = None

    def check(self, applied: str | None, new: str, seen: Mapping[str, float], now: float) -> SignedRange | None:
        """As `Signatures.check`; None where it is under way. What it came to is told once."""
        check = self._under_way
        if check is None or (check.applied, check.new) != (applied, new):
            before = None if check is None else check.thread
            self.stop(0)
            check = self._under_way = _Check(applied, new)
            asked = (check, before, dict(seen), now)
            check.thread = threading.Thread(target=self._run, args=asked, name="signatures", daemon=True)
            check.thread.start()
            self._clock.wait(check.done, MOMENT_S)
        if not check.done.is_set():
            check.is_late = True
            if not check.done.is_set():  # it may have ended before it could know that it is waited for
                return None
        self._under_way = None
        if check.fault is not None:
            raise check.fault
        return check.found

    def stop(self, deadline_s: float = 1.0) -> None:
        """Check nothing more of what is under way, and wait until it ends with the commit that it is at."""
        check, self._under_way = self._under_way, None
        if check is not None and check.thread is not None:
            check.is_wanted = False
            check.thread.join(deadline_s)

    def _run(self, check: _Check, before: threading.Thread | None, seen: Mapping[str, float], now: float) -> None:
        """What the one before knows by then is known to this one."""
        if before is not None:
            before.join()
        try:
            check.found = self._signatures.check(check.applied, check.new, seen, now, lambda: check.is_wanted)
        except Exception as error:  # noqa: BLE001 - it is raised where it is asked for
            check.fault = error
        check.done.set()
        if check.is_late:
            self._changed()


def _whose(raw: RawCommit, versions: Sequence[_Version], at_s: float) -> SignedBy | str:
    """Whose signature it is, as the oldest of these versions has it; or why not all of them allow it."""
    if raw.fault:
        return raw.fault
    if not raw.signature:
        return f"is not signed{_shape(raw)}"
    found: list[SignedBy] = []
    for version in versions:
        said = _by_version(raw, version, at_s)
        if isinstance(said, str):
            return said
        found.append(said)
    return found[0]


def _by_version(raw: RawCommit, version: _Version, at_s: float) -> SignedBy | str:
    if is_openpgp(raw.signature):
        if version.forge is None:
            return (
                "is signed by OpenPGP, as a forge signs what its merge button makes, and no forge's key is named; "
                "put its public key into the repository and name it in source.signatures.forge"
            )
        return version.forge.judge(raw.signature, raw.payload, at_s)
    signature = ssh_signature(raw.signature)
    if signature is None:
        return "is signed in a form that is not checked here; expected one SSH signature, of `git -c gpg.format=ssh`"
    return version.signers.judge(signature, raw.payload, raw.committer.email, at_s)


def _shape(raw: RawCommit) -> str:
    """How such a commit comes about, and who signs it then: forges make commits that nobody signs."""
    if len(raw.parents) > 1:
        return ", a merge; merge with a forge's button whose key is named, or by hand with `git merge -S`"
    if raw.author.email != raw.committer.email:
        by = f", and committed by {raw.change(None).committer} for another author, as a forge's"
        if raw.pull_request:
            return (
                f"{by} squash does where the forge signs nothing; merge with one that does and name its key, or by hand"
            )
        return f"{by} rebase button does, which drops signatures; merge with a merge commit or squash, or by hand"
    return "; sign it with `git commit -S`"


def _refuse_shallow(listed: Mapping[str, Sequence[str]], commits: Mapping[str, RawCommit]) -> None:
    for commit, parents in listed.items():
        if tuple(parents) != commits[commit].parents and not commits[commit].fault:
            raise SourceError(
                f"commit {commit[:12]}: its parents are not all here, as in a shallow clone; "
                "run `git fetch --unshallow`"
            )


def _steps(applied: str, new: str, commits: Mapping[str, RawCommit]) -> tuple[tuple[str, ...], str]:
    """The branch's own commits from `applied` to `new`, the oldest first; or why there is no such way."""
    steps: list[str] = []
    at = new
    while at != applied:
        raw = commits.get(at)
        if raw is None or not raw.parents:
            return (), f"{new[:12]} does not lead on from {applied[:12]} along first parents"
        steps.append(at)
        at = raw.parents[0]
    return tuple(reversed(steps)), ""


def _brought(steps: Iterable[str], commits: Mapping[str, RawCommit]) -> Iterator[tuple[str, str]]:
    """Each commit of the range with the step that brought it in: what a merge brings before the merge itself."""
    known: set[str] = set()
    for step in steps:
        found: list[str] = []
        left = [step]
        while left:
            at = left.pop()
            if at in commits and at not in known:
                known.add(at)
                found.append(at)
                left += commits[at].parents
        yield from ((commit, step) for commit in reversed(found))
