"""Reading one file so that its bytes are those of one moment, or saying why that could not be. Never blocks."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import sys
from typing import NamedTuple

Signature = tuple[int, int, int, int]
"""mtime_ns, ctime_ns, size in bytes, inode: while these stay, so does the content, if they are old enough."""

_ATTEMPTS = 3
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


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
    fd = os.open(name, _FLAGS, dir_fd=folder_fd)
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
