"""The lineage of a database: the tags that ids of its orders carry, and the file beside it that remembers which it is.

A tag is a digit and three characters of `[a-z0-9]`. A database has the one it began with, and one more from each
restore on; all of them are its own. The file, `reconciler.db.id`, holds the first: where the database is emptied, gone
or another one, it says so. It is no lock and no secret; without it, nothing is lost but that.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from sqlite_utils import Database

from reconciler.errors import StoreError

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_TAG = re.compile("[0-9][a-z0-9]{3}")


def make_tag() -> str:
    """A new one. With a digit in front, where ids of before there were tags have a letter, of their time."""
    return secrets.choice(_DIGITS[:10]) + "".join(secrets.choice(_DIGITS) for _ in range(3))


def seeded_tag(seed: str) -> str:
    """The same for the same seed, for a database that ends with its run: its orders are called the same again."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    letters = [_DIGITS[number // 36**place % 36] for place in range(3)]
    return _DIGITS[number % 10] + "".join(letters)


def add_tag(db: Database) -> str:
    """Give the database one more, within the caller's transaction: from now on its orders are others than before."""
    tag = make_tag()
    db.execute("INSERT INTO tags (tag) VALUES (?)", [tag])
    return tag


class Memory:
    """What the file beside the database at `path` says, which is asked before the database is opened."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError where an empty file stands in the place of a database that was there."""
        self._path = path
        self._file = path.with_name(f"{path.name}.id")
        self._remembered = self._read()
        is_there = path.exists()
        self.is_begun = not is_there or path.stat().st_size == 0
        """True where there is no database yet: whoever opens it begins one."""
        if self._remembered and is_there and self.is_begun:
            raise StoreError(
                f"{path}: expected the database {self._remembered}, was an empty file: restore a backup (reconciler"
                " restore FILE); or, to begin a new ledger, which knows no order and no position, move the file away"
            )

    @property
    def lost(self) -> str:
        """The tag of the database that was here and is gone; empty where none was, or it is here."""
        return self._remembered if self.is_begun else ""

    def compare(self, tag: str) -> None:
        """`tag` is the first of what was opened, and is remembered. Raises StoreError where it is another database."""
        if self._remembered and not self.is_begun and self._remembered != tag:
            raise StoreError(
                f"{self._path}: expected the database {self._remembered}, which was here before, was {tag}, another"
                f" ledger: put the right one back; or, where this one is meant, move {self._file.name} away"
            )
        if self._remembered != tag:
            self._write(tag)

    def _read(self) -> str:
        try:
            text = self._file.read_text("ascii").strip()
        except (OSError, ValueError):
            return ""
        return text if _TAG.fullmatch(text) else ""

    def _write(self, tag: str) -> None:
        aside = ""
        try:
            number, aside = tempfile.mkstemp(prefix=f"{self._file.name}.", dir=self._file.parent)
            with open(number, "w", encoding="ascii") as opened:
                opened.write(f"{tag}\n")
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(aside, self._file)
        except OSError as error:
            with suppress(OSError):
                os.unlink(aside)
            raise StoreError(f"{self._file}: cannot be written: {error.strerror}: check the disk") from error
