"""Where the repository around a folder is, found on disk by the rules of gitrepository-layout(5). Runs no git."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Where a repository is. `top` is the work tree, `prefix` the way from there to the fleet (`""` or `a/b/`).

    `git_dir` belongs to this work tree alone, `common_dir` to all work trees of the repository.
    """

    top: Path
    prefix: str
    git_dir: Path
    common_dir: Path


def locate(root: Path) -> Whereabouts | None:
    """Where the repository around `root` is; None where there is none.

    `.git` may be a file that names the git directory (linked work trees, submodules).
    """
    real = Path(os.path.realpath(root))
    for top in (real, *real.parents):
        git_dir = _git_dir(top / ".git")
        if git_dir is not None:
            below = "" if top == real else f"{real.relative_to(top).as_posix()}/"
            return Whereabouts(top, below, git_dir, _common_dir(git_dir))
    return None


def _git_dir(marker: Path) -> Path | None:
    named = first_line(marker)
    git_dir = marker.parent / named.removeprefix("gitdir: ") if named.startswith("gitdir: ") else marker
    return Path(os.path.realpath(git_dir)) if os.path.lexists(git_dir / "HEAD") else None


def _common_dir(git_dir: Path) -> Path:
    return Path(os.path.realpath(git_dir / first_line(git_dir / "commondir")))


def first_line(path: Path) -> str:
    """Empty where there is no such file, or it is a folder."""
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").split("\n", 1)[0].strip()
    except OSError:
        return ""
