"""A folder as last seen: reads again only the files whose stat changed, and keeps the rest as the same objects.

The loop over unchanged entries is the whole cost of a pass over an unchanged fleet: one stat and one
lookup per file, relative to the folder's descriptor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from reconciler.sources.layout import Rules
from reconciler.sources.reading import NEVER, VANISHED, Reading, Signature, not_a_file, read, signature, why

DEPTH_LIMIT = 32
FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

Identity = tuple[int, int]
"""Device and inode: the folder itself, whatever it is called."""

Stamp = tuple[int, int, int, int]
"""mtime_ns, ctime_ns, device, inode of a folder: while these stay, no name appeared in it or left it."""


@dataclass(frozen=True, slots=True)
class Link:
    """How a file was reached that is not there itself. `text` is what the link says.

    `target` is the file it names, relative to the fleet's root; None where the way there is longer than
    this one link.
    """

    text: str
    target: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at `path`, relative to the fleet's root: bytes, or the reason why there are none."""

    path: str
    data: bytes | None
    error: str = ""
    link: Link | None = None


@dataclass(slots=True)
class Walk:
    """One pass over a fleet: what it needs to know, and what it learns.

    `top` is the real path of the folder that links must not leave, `root` that of the fleet. Files whose
    ctime is not older than `racy_from_ns` may change once more without showing it, and are read again next
    time. `faults` says why the pass cannot vouch for what is absent; `stamps` holds the folders it went
    through, by real path.
    """

    root: str
    top: str
    limit_bytes: int
    racy_from_ns: int
    changed: bool = False
    faults: list[str] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)


def stamp(status: os.stat_result) -> Stamp:
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_dev, status.st_ino)


class Folder:
    """One folder and those below it. `path` is relative to the fleet's root, with `/`."""

    __slots__ = ("_folders", "_found", "_rules", "_seen", "linked", "path")

    def __init__(self, path: str, rules: Rules, *, linked: bool = False) -> None:
        self.path = path
        self.linked = linked
        self._rules = rules
        self._seen: dict[str, Signature | tuple[()]] = {}
        self._found: dict[str, Found] = {}
        self._folders: dict[str, Folder] = {}

    def __iter__(self) -> Iterator[Found]:
        """All that was found here and below, in no particular order."""
        yield from self._found.values()
        for folder in self._folders.values():
            yield from folder

    def read(self, fd: int, real: str, walk: Walk, above: frozenset[Identity] = frozenset()) -> None:
        """Bring this folder up to date from its descriptor. `real` is its real path, `above` the folders around it.

        Raises OSError where the folder itself cannot be read; what is wrong further down is found, not raised.
        """
        status = os.fstat(fd)
        walk.stamps[real] = stamp(status)
        gone = self._seen.copy()
        others: list[os.DirEntry[str]] = []
        with os.scandir(fd) as entries:
            for entry in entries:
                known = gone.pop(entry.name, None)
                if known:
                    try:
                        now = entry.stat(follow_symlinks=False)
                    except OSError:
                        pass  # looked at again below, where the reason becomes a finding
                    else:
                        if known == (now.st_mtime_ns, now.st_ctime_ns, now.st_size, now.st_ino):
                            continue
                others.append(entry)
        around = above | {(status.st_dev, status.st_ino)}
        for entry in others:
            self._look(entry, fd, real, walk, around)
        for name in gone:
            self._forget(name, walk)

    def _look(self, entry: os.DirEntry[str], fd: int, real: str, walk: Walk, around: frozenset[Identity]) -> None:
        """Bring one entry up to date that is new, changed, a folder, a link, or none of ours."""
        name = entry.name
        try:
            if entry.is_symlink():
                self._look_through_link(name, fd, real, walk, around)
            elif self._rules.takes(name):
                status = entry.stat(follow_symlinks=False)
                is_file = entry.is_file(follow_symlinks=False)
                reading = read(name, fd, walk.limit_bytes) if is_file else _refused(not_a_file(status.st_mode))
                self._keep(name, reading, walk, linked=self.linked)
            elif entry.is_dir(follow_symlinks=False) and (rules := self._rules.opens(name)) is not None:
                self._enter(name, os.open(name, FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=fd), f"{real}/{name}", rules, walk, around)
            else:
                self._forget(name, walk)
        except FileNotFoundError:
            self._keep(name, VANISHED, walk)
        except OSError as error:
            self._keep(name, _refused(why(error)), walk)

    def _look_through_link(self, name: str, fd: int, real: str, walk: Walk, around: frozenset[Identity]) -> None:
        ...
