"""The catalogue: every strategy of a snapshot, loaded once per version. `loading` imports; this remembers."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import PurePosixPath

from reconciler.errors import Problem
from reconciler.records.evaluation import DefinitionFacts
from reconciler.records.snapshot import SourceFile
from reconciler.strategy.definition import Definition
from reconciler.strategy.loading import forget, load


class Catalogue:
    """What the strategy files say now, and older versions that still run.

    One thread refreshes; any may read. `code_digest` is the source file's digest, its git blob id.
    """

    def __init__(self) -> None:
        self._files: tuple[SourceFile, ...] = ()
        self._current: dict[str, tuple[SourceFile, DefinitionFacts]] = {}
        self._loaded: dict[tuple[str, str], Definition | tuple[Problem, ...]] = {}

    def refresh(self, files: tuple[SourceFile, ...]) -> None:
        """Take the strategy files of a snapshot; only versions not seen before are imported."""
        if files is self._files:
            return
        current: dict[str, tuple[SourceFile, DefinitionFacts]] = {}
        for file in files:
            name = PurePosixPath(file.path)
            if name.suffix == ".py" and not name.name.startswith(("_", ".")):
                known = self._current.get(name.stem)
                unchanged = known is not None and known[0] == file
                current[name.stem] = known if known and unchanged else (file, self._facts(name.stem, file))
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

    def _facts(self, strategy_type: str, file: SourceFile) -> DefinitionFacts:
        loaded = self._load(strategy_type, file)
        if isinstance(loaded, Definition):
            return DefinitionFacts(strategy_type, file.path, file.digest, loaded.config_schema, file.committed)
        return DefinitionFacts(strategy_type, file.path, file.digest, {}, file.committed, loaded)

    def _load(self, strategy_type: str, file: SourceFile) -> Definition | tuple[Problem, ...]:
        if file.data is None:
            return (
                Problem(file.path, 0, 0, "", f"expected a readable file, was: {file.error}", rule="code-unreadable"),
            )
        key = (strategy_type, file.digest)
        if key not in self._loaded:
            self._loaded[key] = load(strategy_type, file.data, file.path, file.digest)
        return self._loaded[key]
