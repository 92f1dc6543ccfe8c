"""Which files of a fleet count, decided by their names alone, on disk and in a commit alike. Pure.

instances/            records, in subfolders of any depth
instances/_halt.yaml  the kill switch
instances/_templates/ templates, not in subfolders
strategies/           definitions, not in subfolders
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import NamedTuple

from reconciler.records.snapshot import HALT_FILES, TEMPLATES_FOLDER, SourceFile, is_meant_as_record

INSTANCES = "instances"
STRATEGIES = "strategies"
SETTINGS = "reconciler.yaml"
HALT_PATHS = tuple(f"{INSTANCES}/{name}" for name in HALT_FILES)
TEMPLATES_PATH = f"{INSTANCES}/{TEMPLATES_FOLDER}"

_EDITOR_TEMPORARY = re.compile(
    r"~$|^#.*#$|^\.#|\.sw[a-px]$|\.kate-swp$|\.tmp$|^4913$|___jb_(tmp|old)___$|^\.goutputstream-"
    r"|_(BACKUP|BASE|LOCAL|REMOTE)_\d+\.ya?ml$"
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What counts in one folder: which files it `takes`, which `strangers` look as if they were meant to count, and the
    rules of the subfolder that it `opens`, if any."""

    takes: Callable[[str], bool]
    strangers: Callable[[str], bool]
    opens: Callable[[str], Rules | None]


def is_editor_temporary(name: str) -> bool:
    """Swap files, backups, what editors write before they rename, and what `git mergetool` lays beside a conflict."""
    return _EDITOR_TEMPORARY.search(name) is not None


def _is_set_aside(name: str) -> bool:
    return name.startswith(("_", ".", "~", "#"))


def _is_record(name: str) -> bool:
    is_one = name.endswith((".yaml", ".yml")) and not _is_set_aside(name)
    # Asked for each file on each pass. No id holds an underscore, so of few names more is to be asked.
    return is_one and not ("_" in name and is_editor_temporary(name))


def _is_record_or_halt(name: str) -> bool:
    return _is_record(name) or name in HALT_FILES


def _is_strategy(name: str) -> bool:
    return name.endswith(".py") and not _is_set_aside(name)


def _is_stranger(name: str) -> bool:
    is_kept_aside = name.startswith((".", "~", "#")) or (name[:1] == "_" and name[:5].lower() != "_halt")
    return not is_kept_aside and not is_editor_temporary(name) and is_meant_as_record(name)


def _nothing(name: str) -> bool:
    return False


def _closed(name: str) -> Rules | None:
    return None


def _record_folder(name: str) -> Rules | None:
    return None if _is_set_aside(name) or _is_record(name) else _RECORDS


def _instances_folder(name: str) -> Rules | None:
    return _TEMPLATES if name == TEMPLATES_FOLDER else _record_folder(name)


def _fleet_folder(name: str) -> Rules | None:
    return {INSTANCES: INSTANCE_RULES, STRATEGIES: STRATEGY_RULES}.get(name)


_RECORDS = Rules(_is_record, _is_stranger, _record_folder)
_TEMPLATES = Rules(_is_record, _is_stranger, _closed)
INSTANCE_RULES = Rules(_is_record_or_halt, _is_stranger, _instances_folder)
STRATEGY_RULES = Rules(_is_strategy, _nothing, _closed)
_FLEET = Rules(_nothing, _nothing, _fleet_folder)


def counts(path: str) -> bool:
    """True where the file at `path`, relative to the fleet's root, is a record, template, definition or the halt."""
    *folders, name = path.split("/")
    rules: Rules | None = _FLEET
    for folder in folders:
        if rules is None:
            return False
        rules = rules.opens(folder)
    return rules is not None and rules.takes(name)


def is_template(path: str) -> bool:
    """True for what lies in `instances/_templates/`, and for that folder itself where it could not be read."""
    return path == TEMPLATES_PATH or path.startswith(TEMPLATES_PATH + "/")


def is_strategy(path: str) -> bool:
    """True for what lies in `strategies/`, and for that folder itself where it could not be read."""
    return path == STRATEGIES or path.startswith(STRATEGIES + "/")


class FolderParts(NamedTuple):
    """The files of a fleet by what they are, each list sorted by path."""

    instances: list[SourceFile]
    templates: list[SourceFile]
    strategies: list[SourceFile]
    halt: SourceFile | None


def parts(files: Iterable[SourceFile]) -> FolderParts:
    """Sort files into what they are. Of two halt files nobody knows which is meant: they cannot be understood."""
    found = FolderParts([], [], [], None)
    halts: dict[str, SourceFile] = {}
    for file in sorted(files, key=attrgetter("path")):
        if is_strategy(file.path):
            found.strategies.append(file)
        elif is_template(file.path):
            found.templates.append(file)
        elif file.path in HALT_PATHS:
            halts[file.path] = file
        else:
            found.instances.append(file)
    return found._replace(halt=the_halt([halts[path] for path in HALT_PATHS if path in halts]))


def the_halt(files: Sequence[SourceFile]) -> SourceFile | None:
    """The halt file out of those that there are, in the order of HALT_PATHS."""
    if len(files) < 2:
        return files[0] if files else None
    error = f"there is another halt file, {files[1].path}, and nobody knows which is meant: remove one of the two"
    # Without a digest: once it is the only one, it is another file than this.
    return replace(files[0], data=None, digest="", error=error)
