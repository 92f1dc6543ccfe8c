"""The catalogue: every strategy of a snapshot, loaded once per version. `loading` imports; this remembers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from reconciler.errors import Problem
from reconciler.records.evaluation import DefinitionFacts
from reconciler.records.snapshot import SourceFile
from reconciler.strategy.definition import Definition
from reconciler.strategy.loading import IMPORT_DEADLINE_S, Version, forget, load_all


class Catalogue:
    """What the strategy files say now, and older versions that still run.

    One thread refreshes; any may read. `code_digest` is the source file's digest, its git blob id.
    """

    def __init__(self, import_deadline_s: float = IMPORT_DEADLINE_S) -> None:
        self._import_deadline_s = import_deadline_s
        self._files: tuple[SourceFile, ...] = ()
        self._current: dict[str, tuple[SourceFile, DefinitionFacts]] = {}
        self._loaded: dict[tuple[str, str], Definition | tuple[Problem, ...]] = {}

    def refresh(self, files: tuple[SourceFile, ...]) -> None:
        """Take the strategy files of a snapshot; only versions not seen before are imported, within one deadline."""
        if files is self._files:
            return
        named: dict[str, SourceFile] = {}
        for file in files:
            name = PurePosixPath(file.path)
            if name.suffix == ".py" and not name.name.startswith(("_", ".")):
                named[name.stem] = file
        self._load(named)
        current: dict[str, tuple[SourceFile, DefinitionFacts]] = {}
        for strategy_type, file in named.items():
            known = self._current.get(strategy_type)
            unchanged = known is not None and known[0] == file
            current[strategy_type] = known if known and unchanged else (file, self._facts(strategy_type, file))
        self._current = current
        self._files = files

    def types(self) -> tuple[str, ...]:
        """The strategy types there are, broken ones included, by name."""
        return tuple(sorted(self._current))

    def facts(self, strategy_type: str) -> DefinitionFacts | None:
        """What validation must know of a type; the same object for as long as its file is unchanged."""
        known = self._current.get(strategy_type)
        return None if known is None else known[1]

    def definition(self, strategy_type: str, code_digest: str) -> Definition | None:
        """One version, current or older; None where it is not at hand or could not be loaded."""
        loaded = self._loaded.get((strategy_type, code_digest))
        return loaded if isinstance(loaded, Definition) else None

    def keep(self, digests: Collection[str]) -> None:
        """Drop every older version whose digest is not in `digests`, those that instances still run."""
        wanted = {*digests, *(facts.code_digest for _, facts in self._current.values())}
        for key in [key for key in self._loaded if key[1] not in wanted]:
            loaded = self._loaded.pop(key)
            if isinstance(loaded, Definition):
                forget(loaded)

    def _load(self, named: Mapping[str, SourceFile]) -> None:
        versions = [
            Version(strategy_type, file.data, file.path, file.digest)
            for strategy_type, file in named.items()
            if file.data is not None and (strategy_type, file.digest) not in self._loaded
        ]
        for version, loaded in zip(versions, load_all(versions, deadline_s=self._import_deadline_s), strict=True):
            self._loaded[version.strategy_type, version.digest] = loaded

    def _facts(self, strategy_type: str, file: SourceFile) -> DefinitionFacts:
        if file.data is None:
            message = f"expected a readable file, was: {file.error}"
            unreadable = Problem(file.path, 0, 0, "", message, rule="code-unreadable")
            return DefinitionFacts(strategy_type, file.path, file.digest, {}, file.committed, (unreadable,))
        loaded = self._loaded[strategy_type, file.digest]
        if isinstance(loaded, Definition):
            return DefinitionFacts(strategy_type, file.path, file.digest, loaded.config_schema, file.committed)
        return DefinitionFacts(strategy_type, file.path, file.digest, {}, file.committed, loaded)
