"""Files, written whole or not at all: aside, then under their name. What leads out of the fleet is never followed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from reconciler.cli.failure import Failure


def write_new(root: Path, path: str, text: str, within: str = "") -> bool:
    """Write `text` at `path`, relative to `root`; False, and nothing is touched, where something is there already.

    Failure where the path leads out of `root`, or its folder `within`, by a link, or cannot be written to.
    """
    if os.path.lexists(root / path):
        return False
    try:
        _write(root, path, text, os.link, within)
    except FileExistsError:
        return False
    return True


def write_over(root: Path, path: str, text: str) -> None:
    """Write `text` at `path`, relative to `root`, in the place of what is there. Failure as with `write_new`."""
    _write(root, path, text, os.replace)


def _write(root: Path, path: str, text: str, put: Callable[[str, Path], None], within: str = "") -> None:
    file = root / path
    _refuse_to_leave(root, path, within)
    try:
        data = text.encode()
        file.parent.mkdir(parents=True, exist_ok=True)
        number, aside = tempfile.mkstemp(prefix=".reconciler-", suffix=".tmp", dir=file.parent)
    except (OSError, UnicodeEncodeError) as error:
        raise _refused(file, error) from error
    try:
        with open(number, "wb") as opened:
            opened.write(data)
        os.chmod(aside, 0o666 & ~_umask())
        put(aside, file)
    except FileExistsError:
        raise
    except OSError as error:
        raise _refused(file, error) from error
    finally:
        with suppress(OSError):
            os.unlink(aside)


def _refuse_to_leave(root: Path, path: str, within: str) -> None:
    """Before a folder is made: Failure where one that is there already is a link out of `root/within`."""
    inside = os.path.realpath(root / within)
    for folder in [*(root / path).parents][: path.count("/")]:
        if not folder.is_relative_to(root / within):
            break
        real = os.path.realpath(folder)
        if real != inside and not real.startswith(f"{inside}{os.sep}"):
            raise Failure(f"{path}: expected a place within {root / within}, was a link that leads out of it")


def _refused(file: Path, error: OSError | UnicodeEncodeError) -> Failure:
    why = error.strerror if isinstance(error, OSError) else "its text is none that a file can hold"
    return Failure(f"{file}: expected to be able to write it, was refused: {why}")


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
