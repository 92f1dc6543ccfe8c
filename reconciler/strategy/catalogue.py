"""The catalogue: every strategy of a snapshot, loaded once per version. `module_loading` imports; this remembers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any

from reconciler.errors import Problem
from reconciler.records.evaluation import DefinitionFacts
from reconciler.records.snapshot import SourceFile
from reconciler.strategy.definition import Definition
from reconciler.strategy.importing import Importer, Importing
from reconciler.strategy.module_loading import IMPORT_DEADLINE_S, Result, Version, forget, load_all

_MOMENT_S = 0.1
"""Most code is there in less: then one look at the files is enough."""
_FIRST_MOMENT_S = 0.5
"""That of a start, where nothing runs yet that could be held up, and a whole fleet would be looked at once more."""


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
        self._past: dict[tuple[str, str], Version] = {}
        self._arrived: set[str] = set()
        self.schemas: dict[tuple[str, str], Any] = {}
        """CONFIG_SCHEMA of versions, by type and digest, that are known without their code."""

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
        is_asked = self.is_asked
        if files is self._files and not self.has_news and not is_asked:
            return
        named = _named(files)
        self._load(named, wait=files is not self._files or is_asked)
        current: dict[str, tuple[SourceFile, DefinitionFacts]] = {}
        for strategy_type, file in named.items():
            known, now = self._current.get(strategy_type), (file, self._facts(strategy_type, file))
            current[strategy_type] = known if known == now else now
        self._current = current
        self._files = files

    def facts_at(self, files: Iterable[SourceFile]) -> dict[str, DefinitionFacts]:
        """What validation must know of the types that other files than those of now hold.

        Of code that nothing is known of the facts say that it is waited for; the next refresh has it imported. So they
        do of code whose import failed, or is slow, until it is given up: what a moment makes fail refuses no change.
        """
        found = {}
        for strategy_type, file in _named(files).items():
            known = self._current.get(strategy_type)
            key = (strategy_type, file.digest)
            state = None if self._importer is None else self._importer.state(key)
            if state is not None and not state.is_given_up:
                self.recall(strategy_type, file)  # or the next refresh would take it for one that nobody wants
                waiting = f"{file.path} is being imported"
                found[strategy_type] = DefinitionFacts(
                    strategy_type, file.path, file.digest, {}, file.committed, (), waiting
                )
            elif known is not None and known[1].code_digest == file.digest and not known[1].waiting:
                found[strategy_type] = known[1]
            elif key in self.schemas and key not in self._loaded:
                found[strategy_type] = DefinitionFacts(strategy_type, file.path, file.digest, self.schemas[key], True)
            else:
                self.recall(strategy_type, file)
                found[strategy_type] = self._facts(strategy_type, file)
        return found

    def recall(self, strategy_type: str, file: SourceFile) -> None:
        """Have a version imported that is not, or no more, what its file says."""
        if file.data is not None and (strategy_type, file.digest) not in self._loaded:
            self._past[strategy_type, file.digest] = Version(strategy_type, file.data, file.path, file.digest)

    @property
    def is_asked(self) -> bool:
        """True where a version is to be imported that no refresh has asked for yet."""
        return any(key not in self._loaded and not self._is_wanted(key) for key in self._past)

    def _is_wanted(self, key: tuple[str, str]) -> bool:
        return self._importer is not None and self._importer.state(key) is not None

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
        """Drop every older version whose digest is not in `digests`, those that instances still run, but for those that
        have just come: whoever waited for them is yet to look."""
        wanted = {*digests, *(facts.code_digest for _, facts in self._current.values()), *self._arrived}
        self._arrived.clear()
        self._past = {key: version for key, version in self._past.items() if key[1] in wanted}
        for key in [key for key in self._loaded if key[1] not in wanted]:
            loaded = self._loaded.pop(key)
            if isinstance(loaded, Definition):
                forget(loaded)

    def _load(self, named: Mapping[str, SourceFile], wait: bool) -> None:
        self._take_arrived()
        versions = [
            Version(strategy_type, file.data, file.path, file.digest)
            for strategy_type, file in named.items()
            if file.data is not None and (strategy_type, file.digest) not in self._loaded
        ]
        current = {version.digest for version in versions}
        versions += [v for key, v in self._past.items() if key not in self._loaded and v.digest not in current]
        if self._importer is not None:
            self._importer.want(versions)
            if wait:
                self._importer.settle(_MOMENT_S if self._files else _FIRST_MOMENT_S)
            self._take_arrived()
            return
        for version, loaded in zip(versions, load_all(versions, deadline_s=self._import_deadline_s), strict=True):
            self._loaded[version.strategy_type, version.digest] = loaded

    def _take_arrived(self) -> None:
        for key, result in ({} if self._importer is None else self._importer.take()).items():
            self._loaded[key] = result
            self._arrived.add(key[1])
            if isinstance(result, Definition):
                self.schemas.setdefault(key, result.config_schema)

    def _facts(self, strategy_type: str, file: SourceFile) -> DefinitionFacts:
        if file.data is None:
            message = f"expected a readable file, was: {file.error}"
            unreadable = Problem(file.path, 0, 0, "", message, rule="code-unreadable")
            return DefinitionFacts(strategy_type, file.path, file.digest, {}, file.committed, (unreadable,))
        loaded = self._loaded.get((strategy_type, file.digest))
        if isinstance(loaded, Definition):
            self.schemas.setdefault((strategy_type, file.digest), loaded.config_schema)
            return DefinitionFacts(strategy_type, file.path, file.digest, loaded.config_schema, file.committed)
        if loaded is None:
            state = None if self._importer is None else self._importer.state((strategy_type, file.digest))
            problems = () if state is None else state.problems
            waiting = "" if problems else f"{file.path} is being imported"
            return DefinitionFacts(strategy_type, file.path, file.digest, {}, file.committed, problems, waiting)
        return DefinitionFacts(strategy_type, file.path, file.digest, {}, file.committed, loaded)


def _named(files: Iterable[SourceFile]) -> dict[str, SourceFile]:
    """The file of each strategy type."""
    paths = ((PurePosixPath(file.path), file) for file in files)
    return {path.stem: file for path, file in paths if path.suffix == ".py" and not path.name.startswith(("_", "."))}
