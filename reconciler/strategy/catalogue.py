"""The catalogue: every strategy of a snapshot, loaded once per version. `loading` imports; this remembers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath

from reconciler.errors import Problem
from reconciler.records.evaluation import DefinitionFacts
from reconciler.records.snapshot import SourceFile
from reconciler.strategy.definition import Definition
from reconciler.strategy.importing import Importer, Importing
from reconciler.strategy.module_loading import IMPORT_DEADLINE_S, Result, Version, forget, load_all

_MOMENT_S = 0.1
"""Most code is there in less: then one look at the files is enough."""


class Catalogue:
    """What the strategy files say now, and older versions that still run.

    One thread refreshes; any may read. `code_digest` is the source file's digest, its git blob id.

    With an `importer` a refresh waits a moment and no longer: what is not there yet has facts that say so, and whoever
    refreshes is told by the importer when to look again. Without one it waits until all is there, or is given up.
    """

    def __init__(self, import_deadline_s: float = IMPORT_DEADLINE_S, importer: Importer | None = None) -> None:
        self._import_deadline_s = import_deadline_s
        self._importer = importer
        self._files: tuple[SourceFile, ...] = ()
        self._current: dict[str, tuple[SourceFile, DefinitionFacts]] = {}
        self._loaded: dict[tuple[str, str], Result] = {}

    @property
    def has_news(self) -> bool:
        """True where code has come, or failed to, since the last refresh."""
        return self._importer is not None and self._importer.has_news

    @property
    def is_loading(self) -> bool:
        """True while code is being imported, and has not failed yet."""
        return self._importer is not None and self._importer.is_busy

    def importing(self, strategy_type: str) -> Importing | None:
        """Why the code that stands in the file of a type is not at hand; None where it is, or cannot be."""
        known = self._current.get(strategy_type)
        if known is None or self._importer is None:
            return None
        return self._importer.state((strategy_type, known[1].code_digest))

    def refresh(self, files: tuple[SourceFile, ...]) -> None:
        """Take the strategy files of a snapshot; only versions not seen before are imported."""
        if files is self._files and not self.has_news:
            return
        named: dict[str, SourceFile] = {}
        for file in files:
            name = PurePosixPath(file.path)
            if name.suffix == ".py" and not name.name.startswith(("_", ".")):
                named[name.stem] = file
        self._load(named, wait=files is not self._files)
        current: dict[str, tuple[SourceFile, DefinitionFacts]] = {}
        for strategy_type, file in named.items():
            known, now = self._current.get(strategy_type), (file, self._facts(strategy_type, file))
            current[strategy_type] = known if known == now else now
        self._current = current
        self._files = files

    def close(self) -> None:
        """Import nothing more."""
        if self._importer is not None:
            self._importer.stop()

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

    def _load(self, named: Mapping[str, SourceFile], wait: bool) -> None:
        if self._importer is not None:
            self._loaded.update(self._importer.take())
        versions = [
            Version(strategy_type, file.data, file.path, file.digest)
            for strategy_type, file in named.items()
            if file.data is not None and (strategy_type, file.digest) not in self._loaded
        ]
        if self._importer is not None:
            self._importer.want(versions)
            if wait:
                self._importer.settle(_MOMENT_S)
            self._loaded.update(self._importer.take())
            return
        for version, loaded in zip(versions, load_all(versions, deadline_s=self._import_deadline_s), strict=True):
            self._loaded[version.strategy_type, version.digest] = loaded

    def _facts(self, strategy_type: str, file: SourceFile) -> DefinitionFacts:
        if file.data is None:
            message = f"expected a readable file, was: {file.error}"
            unreadable = Problem(file.path, 0, 0, "", message, rule="code-unreadable")
            return DefinitionFacts(strategy_type, file.path, file.digest, {}, file.committed, (unreadable,))
        loaded = self._loaded.get((strategy_type, file.digest))
        if isinstance(loaded, Definition):
            return DefinitionFacts(strategy_type, file.path, file.digest, loaded.config_schema, file.committed)
        if loaded is None:
            state = None if self._importer is None else self._importer.state((strategy_type, file.digest))
            problems = () if state is None else state.problems
            waiting = "" if problems else f"{file.path} is being imported"
            return DefinitionFacts(strategy_type, file.path, file.digest, {}, file.committed, problems, waiting)
        return DefinitionFacts(strategy_type, file.path, file.digest, {}, file.committed, loaded)
