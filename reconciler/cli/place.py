"""Where a command works: the folder that holds `instances/`, its settings, and the engine that may run there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.cli.failure import Failure, of_settings
from reconciler.errors import SettingsError, StoreError

if TYPE_CHECKING:
    from reconciler.cli.engine import Engine
    from reconciler.records.snapshot import Snapshot
    from reconciler.settings import Settings
    from reconciler.store import Reader

INSTANCES = "instances"


class Place:
    """Found once per command. `asked` is what --root named, None for the current folder or the nearest above."""

    def __init__(self, asked: Path | None) -> None:
        self._asked = asked

    def root(self) -> Path:
        """The folder that holds `instances/`; Failure where there is none."""
        start = (self._asked or Path.cwd()).resolve()
        above = [] if self._asked else list(start.parents)
        for folder in (start, *above):
            if (folder / INSTANCES).is_dir():
                return folder
        raise Failure(
            f"{start}: expected a folder {INSTANCES}/ here{'' if self._asked else ' or above'}, found none; "
            "name the right place with --root DIR"
        )

    def settings(self, flags: Mapping[str, Any] | None = None) -> Settings:
        """What reconciler.yaml, the environment and `flags` (by dotted name) say; Failure where they cannot be used."""
        from reconciler.settings import load

        try:
            return load(self.root(), os.environ, flags or {})
        except SettingsError as error:
            raise of_settings(error) from error

    def snapshot(self) -> Snapshot:
        """The files of this moment, as they are on disk."""
        from reconciler.clock import SystemClock
        from reconciler.sources.worktree import Worktree, WorktreeOptions

        return Worktree(self.root(), SystemClock(), WorktreeOptions()).read()

    def engine(self) -> Engine:
        """The way to the engine that may be running here."""
        from reconciler.cli.engine import Engine

        return Engine(self.settings().control_socket)

    def reader(self) -> Reader:
        """The database, read-only; Failure where no engine has ever run here."""
        from reconciler.store import Reader

        path = self.settings().database
        if not path.exists():
            raise Failure(f"{path}: expected the engine's database, found none; start it once with: reconciler run")
        try:
            return Reader.open(path)
        except StoreError as error:
            raise Failure(str(error)) from error
