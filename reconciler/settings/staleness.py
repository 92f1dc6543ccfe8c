"""Staleness: whether the settings on disk are still those the engine was started with."""

from __future__ import annotations

from pathlib import Path

from reconciler.settings.loading import FILE

CHANGED = f"{FILE} has changed since the engine started: restart it to apply that"


class Staleness:
    """Made when the settings are loaded. Asked for every page: the file is read only where its stat is another."""

    def __init__(self, root: Path) -> None:
        self._path = root / FILE
        self._began_as = self._bytes()
        self._looked = (self._stat(), "")

    def note(self) -> str:
        """What to tell people, empty where nothing changed. What cannot be read has changed."""
        stat = self._stat()
        if stat != self._looked[0]:
            self._looked = (stat, "" if self._bytes() == self._began_as else CHANGED)
        return self._looked[1]

    def _stat(self) -> tuple[int, ...]:
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _bytes(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:
            return None
