"""A folder as last seen: reads again only the files whose stat changed, and keeps the rest as the same objects.

The loop over unchanged entries is nearly the whole cost of a pass over an unchanged fleet: one stat and one
lookup per file, relative to the folder's descriptor.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from reconciler.records.snapshot import NO_RECORD
from reconciler.sources.layout import Rules
from reconciler.visible import is_printable

Signature = tuple[int, int, int, int]
"""mtime_ns, ctime_ns, size in bytes, inode: while these stay, so does the content, if they are old enough."""

_ATTEMPTS = 3
_READING_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Reading(NamedTuple):
    """What reading gave: bytes and the signature they had, or None and the `error` that says why.

    `settled` is False where the file moved meanwhile, `is_unfinished` where somebody has it open for writing.
    """

    data: bytes | None
    signature: Signature | None
    error: str = ""
    settled: bool = True
    is_unfinished: bool = False


VANISHED = Reading(None, None, "vanished while it was being read", settled=False)
_RESTLESS = Reading(None, None, "kept changing while it was being read", settled=False)


def read(name: str, folder_fd: int | None, limit_bytes: int) -> Reading:
    """The bytes of the regular file `name`, relative to `folder_fd` if given; at most `limit_bytes` + 1 of them.

    Its stat is the same before, through the descriptor, and after, through the path; where it is not, the
    file is read again, a few times. Links are not followed and nothing but a regular file is read.
    """
    for _ in range(_ATTEMPTS):
        try:
            reading = _read_once(name, folder_fd, limit_bytes)
        except FileNotFoundError:
            return VANISHED
        except OSError as error:
            return Reading(None, None, why(error))
        if reading is not None:
            return reading
    return _RESTLESS


def _read_once(name: str, folder_fd: int | None, limit_bytes: int) -> Reading | None:
    fd = os.open(name, _READING_FLAGS, dir_fd=folder_fd)
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            return Reading(None, None, not_a_file(before.st_mode))
        expected_bytes = min(before.st_size, limit_bytes + 1)
        is_unfinished = _is_open_for_writing(fd)
        data = os.read(fd, expected_bytes + 1)[: limit_bytes + 1]
    finally:
        os.close(fd)
    there = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    was = signature(before)
    is_still = was == signature(there) and before.st_dev == there.st_dev
    return Reading(data, was, is_unfinished=is_unfinished) if is_still and len(data) == expected_bytes else None


def _is_open_for_writing(fd: int) -> bool:
    """True where somebody has the file open for writing; False also where that cannot be told.

    A lease for reading is given to nobody while there is a writer (fcntl(2), Linux alone, for one's own files). It is
    given back at once; whoever opens the file for writing meanwhile waits so long. What the system would tell of that
    is sent as a signal that does nothing by default, instead of one that ends the process.
    """
    if sys.platform != "linux":
        return False
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def signature(status: os.stat_result) -> Signature:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def why(error: OSError) -> str:
    """The message of a file or folder that the system would not let us read."""
    return f"could not be read: {error.strerror or error}"


def not_a_file(mode: int) -> str:
    """The message of a thing that carries a file's name but is none."""
    kinds = (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISCHR, "a device"),
    )
    was = next((kind for is_kind, kind in kinds if is_kind(mode)), "something else")
    return f"expected a file, was {was}"


DEPTH_LIMIT = 32

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW

Identity = tuple[int, int]
"""Device and inode: the folder itself, whatever it is called."""

Stamp = tuple[int, int, int, int]
"""mtime_ns, ctime_ns, device, inode of a folder: while these stay, no name appeared in it or left it."""


@dataclass(frozen=True, slots=True)
class Link:
    """How a file was reached that does not itself lie at its path.

    `text` is what the link says and `target` the file's real path, relative to the fleet's root;
    `is_direct` is False where there is more than this one link on the way.
    """

    text: str
    target: str
    is_direct: bool


class Found(NamedTuple):
    """What stands at `path`, relative to the fleet's root: bytes, or the reason why there are none."""

    path: str
    data: bytes | None
    error: str = ""
    link: Link | None = None
    is_unfinished: bool = False


@dataclass(slots=True)
class FolderWalk:
    """One pass over one tree of folders: what it needs to know, and what it learns.

    `name` is what the fleet calls the folder and `top` its real path, which links must not leave. Files
    whose ctime is not older than `racy_from_ns` may change once more without showing it, and are read
    again next time. `faults` says why the pass cannot vouch for what is absent; `stamps` holds the
    folders it went through, by real path.
    """

    name: str
    top: str
    limit_bytes: int
    racy_from_ns: int
    changed: bool = False
    faults: list[str] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)

    def identity(self, real: str) -> Identity:
        """Of a folder that this pass went through."""
        return self.stamps[real][2:]

    def doubts(self) -> list[str]:
        """Why what this pass did not find may yet be there: its faults, and whether names came or went meanwhile."""
        try:
            has_stood_still = all(stamp(os.lstat(real)) == was for real, was in self.stamps.items())
        except OSError:
            has_stood_still = False
        return (
            self.faults
            if has_stood_still
            else [*self.faults, f"{os.path.basename(self.top)}/ changed while it was read"]
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """An open folder: its descriptor, its real path, and itself with all folders around it."""

    fd: int
    real: str
    around: frozenset[Identity]


class Folder:
    """One folder and those below it. `path` is relative to the fleet's root, with `/`."""

    __slots__ = ("_folders", "_found", "_rules", "_seen", "path")

    def __init__(self, path: str, rules: Rules) -> None:
        self.path = path
        self._rules = rules
        self._found: dict[str, Found] = {}
        self._folders: dict[str, Folder] = {}
        self._seen: dict[str, Signature | None] = {}  # every name in the two above; None: look again

    def __iter__(self) -> Iterator[Found]:
        """All that was found here and below, in no particular order."""
        yield from self._found.values()
        for folder in self._folders.values():
            yield from folder

    def read(self, real: str, walk: FolderWalk, around: frozenset[Identity] = frozenset()) -> None:
        """Bring this folder up to date from the one at `real`, its real path, which lies in those `around` it.

        Raises OSError where the folder itself cannot be read; what is wrong further down is found, not raised.
        """
        fd = os.open(real, _FLAGS)
        try:
            status = os.fstat(fd)
            identity = (status.st_dev, status.st_ino)
            if identity in around:
                raise OSError(errno.ELOOP, "a link leads back to a folder around it")
            walk.stamps[real] = stamp(status)
            self._read_entries(_Place(fd, real, around | {identity}), walk)
        finally:
            os.close(fd)

    def _read_entries(self, place: _Place, walk: FolderWalk) -> None:
        gone = self._seen.copy()
        others: list[os.DirEntry[str]] = []
        with os.scandir(place.fd) as entries:
            for entry in entries:
                known = gone.pop(entry.name, None)
                if known:
                    try:
                        now = entry.stat(follow_symlinks=False)
                    except OSError:
                        now = None  # looked at below, where the reason becomes a finding
                    if now and known == (now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino):
                        continue
                others.append(entry)
        for entry in others:
            self._look(entry, place, walk)
        for name in gone:
            self._forget(name, walk)

    def _look(self, entry: os.DirEntry[str], place: _Place, walk: FolderWalk) -> None:
        """Bring one entry up to date that is new, changed, a folder, a link, or none of ours."""
        name = entry.name
        try:
            if entry.is_symlink():
                self._look_through_link(name, place, walk)
            elif self._rules.takes(name):
                is_file = entry.is_file(follow_symlinks=False)
                self._keep(name, read(name, place.fd, walk.limit_bytes) if is_file else _no_file(entry), walk)
            elif entry.is_dir(follow_symlinks=False) and (rules := self._rules.opens(name)):
                self._enter(name, f"{place.real}/{name}", rules, place, walk)
            elif self._rules.strangers(name) and entry.is_file(follow_symlinks=False):
                self._keep(name, _refused(NO_RECORD), walk)
            else:
                self._forget(name, walk)
        except OSError as error:
            if self._rules.takes(name):
                self._keep(name, VANISHED if isinstance(error, FileNotFoundError) else _refused(why(error)), walk)
            else:
                self._shut(name, why(error), walk)

    def _look_through_link(self, name: str, place: _Place, walk: FolderWalk) -> None:
        text = os.readlink(name, dir_fd=place.fd)
        takes = self._rules.takes(name)
        try:
            real = os.path.realpath(f"{place.real}/{name}", strict=True)
            status = os.stat(real)
        except OSError:
            if takes:
                self._keep(name, _refused(f"is a link to {text}, which leads nowhere"), walk)
            else:
                self._forget(name, walk)
            return
        rules = self._rules.opens(name) if stat.S_ISDIR(status.st_mode) and not takes else None
        leaves = real != walk.top and not real.startswith(walk.top + "/")
        if not takes and rules is None:
            if self._rules.strangers(name) and stat.S_ISREG(status.st_mode):
                self._keep(name, _refused(NO_RECORD), walk)
            else:
                self._forget(name, walk)
        elif leaves:
            refusal = f"is a link to {text}, which leaves {os.path.basename(walk.top)}/"
            self._keep(name, _refused(refusal), walk) if takes else self._shut(name, refusal, walk)
        elif rules is not None:
            self._enter(name, real, rules, place, walk)
        elif not stat.S_ISREG(status.st_mode):
            self._keep(name, _refused(f"is a link to {text}: {not_a_file(status.st_mode)}"), walk)
        else:
            is_direct = os.path.normpath(f"{place.real}/{text}") == real
            link = Link(text, f"{walk.name}{real[len(walk.top) :]}", is_direct)
            known = self._found.get(name)
            if known is None or known.link != link or self._seen[name] != signature(status):
                self._keep(name, read(real, None, walk.limit_bytes), walk, link)

    def _enter(self, name: str, real: str, rules: Rules, place: _Place, walk: FolderWalk) -> None:
        if not is_printable(name):
            self._shut(name, "has a name that cannot be printed", walk)
        elif len(place.around) >= DEPTH_LIMIT:
            self._shut(name, f"is nested deeper than {DEPTH_LIMIT} folders", walk)
        else:
            folder = self._folders.get(name) or Folder(f"{self.path}/{name}", rules)
            try:
                folder.read(real, walk, place.around)
            except OSError as error:
                self._shut(name, why(error), walk)
            else:
                walk.changed |= self._found.pop(name, None) is not None or self._folders.get(name) is not folder
                self._folders[name] = folder
                self._seen[name] = None

    def _shut(self, name: str, error: str, walk: FolderWalk) -> None:
        """A folder that was not read: a finding of its own, and nothing can be said of what is missing below it."""
        self._keep(name, _refused(error), walk)
        walk.faults.append(f"{self._found[name].path} {error}")

    def _keep(self, name: str, reading: Reading, walk: FolderWalk, link: Link | None = None) -> None:
        path = f"{self.path}/{name}"
        if not is_printable(path):
            path, reading = repr(path)[1:-1], _refused("has a name that cannot be printed")
        if not reading.settled:
            walk.faults.append(f"{path} {reading.error}")
        is_racy = reading.signature is not None and reading.signature[1] >= walk.racy_from_ns
        self._seen[name] = None if is_racy or reading.is_unfinished else reading.signature
        found = Found(path, reading.data, reading.error, link, reading.is_unfinished)
        if self._folders.pop(name, None) is not None or self._found.get(name) != found:
            self._found[name] = found
            walk.changed = True

    def _forget(self, name: str, walk: FolderWalk) -> None:
        self._seen.pop(name, None)
        found, folder = self._found.pop(name, None), self._folders.pop(name, None)
        if found is not None or folder is not None:
            walk.changed = True


def stamp(status: os.stat_result) -> Stamp:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino)


def _no_file(entry: os.DirEntry[str]) -> Reading:
    return _refused(not_a_file(entry.stat(follow_symlinks=False).st_mode))


def _refused(error: str) -> Reading:
    return Reading(None, None, error)
