"""A snapshot: the files of one moment, as values. `sources` takes it; everything later reads only this. Pure."""

from __future__ import annotations

from dataclasses import dataclass

HALT_FILES = ("_halt.yaml", "_halt.yml")
"""Either counts: a kill switch must not fail for a letter."""
TEMPLATES_FOLDER = "_templates"


def named_id(path: str) -> str:
    """The id that a file must hold, or the template it is, by its name: `btc` for `instances/majors/btc.yaml`."""
    return path.rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file. `path` is relative to the repository, with `/`; `digest` is its git blob id (SHA-1, hex).

    `data` is None exactly where `error` says why the file could not be read or was refused (a link that
    leaves the directory): unreadable is neither absent nor invalid.
    """

    path: str
    data: bytes | None
    digest: str
    committed: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All files of one moment, each tuple sorted by path.

    Unchanged files are the same objects from one snapshot to the next, and a tuple in which nothing
    changed is the same tuple: `is` answers "did anything change". `whole` is False where the read cannot
    prove that a missing file is really gone (`not_whole` says why); such a snapshot may only lower modes.
    `git_problem` says why git cannot tell what is committed, empty where it can or there is no repository.
    """

    instances: tuple[SourceFile, ...]
    templates: tuple[SourceFile, ...]
    strategies: tuple[SourceFile, ...]
    halt: SourceFile | None
    revision: str | None
    clean: bool
    whole: bool
    not_whole: str = ""
    git_problem: str = ""
    lost: str = ""
    """Why nothing can be said of the records at all, empty where it can: `instances/` is missing or shut."""
