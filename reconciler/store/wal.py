"""The log of a database (`-wal`) and its index (`-shm`), read beside SQLite: whether anybody cut or wrote over them.

SQLite trusts what it has once written: it goes on reading pages out of a log that was emptied, and writes a damaged one
back into the database. The index says how far the log reaches and how much of it was written back
(https://www.sqlite.org/walformat.html); what stands in it is remembered as a checksum.

Nothing may be closed here before SQLite has closed it: closing a file gives up all locks that this process holds on it.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import NamedTuple

_INDEX = struct.Struct("=4x4x4xBBHI4x8x8s8x")
"""One of the two copies of the index's head: is it valid, byte order, size of a page, frames, and the log's salt."""
_BACK = struct.Struct("=I28xI")
"""Frames that were written back, and those that were being written back, behind both copies."""
_BACK_AT = 2 * _INDEX.size
_LOG_HEAD, _FRAME_HEAD = 32, 24
_SALT = slice(16, 24)
_MAGIC = 0x377F_0682
_READ_BYTES = 1024 * 1024
_AT_A_TIME_BYTES = 256 * 1024
"""So much of the log may be read again for each commit, on average."""


class Reach(NamedTuple):
    """How far the log reaches. `back` frames of it are in the database; more are being written there."""

    salt: bytes
    frames: int
    frame_bytes: int
    back: int
    going_back: int

    @property
    def end(self) -> int:
        return _LOG_HEAD + self.frames * self.frame_bytes if self.frames else 0


class Wal:
    """The log, as it is from when this is made on. Every method may raise OSError."""

    def __init__(self, log: str, index: str) -> None:
        self._log = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._index = os.open(index, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._log)
            raise
        self._salt = b""
        self._end = 0
        """Up to here its content is known by its checksum."""
        self._checksum = 0
        self._unread_bytes = 0

    def reach(self) -> Reach | None:
        """None where the index cannot be read: it is being written, or is none."""
        for _ in range(3):
            told = os.pread(self._index, _BACK_AT + _BACK.size, 0)
            first, second = told[: _INDEX.size], told[_INDEX.size : _BACK_AT]
            if len(told) == _BACK_AT + _BACK.size and first == second:
                is_valid, _, page_bytes, frames, salt = _INDEX.unpack(first)
                back, going_back = _BACK.unpack(told[_BACK_AT:])
                page_bytes = 65_536 if page_bytes == 1 else page_bytes
                return Reach(salt, frames, page_bytes + _FRAME_HEAD, back, going_back) if is_valid else None
        return None

    def is_damaged(self, thorough: bool = False) -> bool:
        """Whether it is not what was written into it. All of it is read now and then, or where that is asked for."""
        reach = self.reach()
        if reach is None or not reach.frames:
            self._forget()
            return False
        head = os.pread(self._log, _LOG_HEAD, 0)
        if head[_SALT] != reach.salt or os.fstat(self._log).st_size < reach.end:
            return True
        if reach.salt != self._salt or reach.end < self._end:
            self._forget()  # it begins anew, or something of it was taken back
            self._salt = reach.salt
        self._unread_bytes += _AT_A_TIME_BYTES
        if thorough or self._unread_bytes >= self._end:
            self._unread_bytes = 0
            if self._end and self._read(0, self._end, 0) != self._checksum:
                return True
        self._checksum = self._read(self._end, reach.end, self._checksum)
        self._end = reach.end
        return False

    def close(self) -> None:
        """Once all connections of this process to the database are closed."""
        os.close(self._index)
        os.close(self._log)

    def _forget(self) -> None:
        self._salt, self._end, self._checksum = b"", 0, 0

    def _read(self, start: int, end: int, checksum: int) -> int:
        while start < end:
            piece = os.pread(self._log, min(_READ_BYTES, end - start), start)
            if not piece:
                break
            checksum = zlib.crc32(piece, checksum)
            start += len(piece)
        return checksum


class Break(NamedTuple):
    """Where a log that was left is damaged, and how many transactions stand behind that: they are lost."""

    at: int
    transactions: int

    def __str__(self) -> str:
        return f"its log is damaged at byte {self.at}, and the {self.transactions} transactions behind that are lost"


def broken(log: str) -> Break | None:
    """Where a log that an engine left, as a killed one does, is damaged in its middle: SQLite reads as far as that, and
    says nothing. None where it is whole, or was cut off within its last transaction, which nobody waited for.

    Raises OSError where it is there and cannot be read.
    """
    try:
        with open(log, "rb") as file:
            head = file.read(_LOG_HEAD)
            if len(head) < _LOG_HEAD:
                return None
            magic, _, page_bytes = struct.unpack(">3I", head[:12])
            if magic & ~1 != _MAGIC or page_bytes & (page_bytes - 1) or not 512 <= page_bytes <= 65_536:
                return None
            words = struct.Struct(">2I" if magic & 1 else "<2I")
            sums, at, broke_at, behind = _checksum(words, head[:24], (0, 0)), _LOG_HEAD, 0, 0
            if sums != struct.unpack(">2I", head[24:]):
                return None
            while len(frame := file.read(_FRAME_HEAD + page_bytes)) == _FRAME_HEAD + page_bytes:
                is_ours, ends = frame[8:16] == head[_SALT], frame[4:8] != bytes(4)
                if not broke_at:
                    sums = _checksum(words, frame[_FRAME_HEAD:], _checksum(words, frame[:8], sums))
                    if not is_ours or sums != struct.unpack(">2I", frame[16:24]):
                        broke_at = at
                behind += bool(broke_at and is_ours and ends)
                at += len(frame)
    except FileNotFoundError:
        return None
    # One alone may have been cut off by a loss of power.
    return Break(broke_at, behind) if behind > 1 else None


def _checksum(words: struct.Struct, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    one, two = sums
    for first, second in words.iter_unpack(data):
        one = (one + first + two) & 0xFFFF_FFFF
        two = (two + second + one) & 0xFFFF_FFFF
    return one, two
