"""`reconciler init`; and how files are written that may be there already."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import click

from reconciler.cli.output import Failure, say, tell
from reconciler.cli.place import Place
from reconciler.sources.git import first_line, locate
from reconciler.sources.layout import INSTANCES, STRATEGIES, counts


def write_new(root: Path, path: str, text: str, within: str = "") -> bool:
    """Write `text` at `path`, relative to `root`; False, and nothing is touched, where something is there already.

    Failure where the path leads out of `root`, or its folder `within`, by a link, or cannot be written to.
    """
    if os.path.lexists(root / path):
        return False
    try:
        _writing_write(root, path, text, os.link, within)
    except FileExistsError:
        return False
    return True


def write_over(root: Path, path: str, text: str) -> None:
    """Write `text` at `path`, relative to `root`, in the place of what is there. Failure as with `write_new`."""
    _writing_write(root, path, text, os.replace)


def _writing_write(root: Path, path: str, text: str, put: Callable[[str, Path], None], within: str = "") -> None:
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


@click.command(
    epilog="""\b
Examples:
  reconciler init
  reconciler init ~/fleet
  reconciler init ~/fleet --deploy"""
)
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--deploy",
    is_flag=True,
    help="Also deploy/: a systemd unit, a container, and alert rules, for a machine that runs it.",
)
def init(folder: Path | None, deploy: bool) -> None:
    """Begin a fleet repository: an example strategy with its test, an instance that observes, settings, schemas for
    editors, checks before each commit and on each pull request.

    What is there already is kept as it is, and named. A folder that has instances or strategies of its own gets no
    example, only what is missing around them. Runs no git; says what to do next.
    """
    root = (folder or Path.cwd()).resolve()
    _refuse_within_a_fleet(root)
    repository = locate(root)
    nested = repository is not None and repository.prefix != ""
    written = _write(root, _wanted(root, nested, deploy))
    written += _write_schemas(root)
    for path in written:
        tell(path)
    if nested and repository is not None:
        say(f"no CI workflow and no pre-commit configuration: these belong at the top of {repository.top}")
    if deploy and nested and repository is not None:
        say(f"in deploy/, the fleet is at the top of its clone: let --root lead to {repository.prefix} there")
    _say_what_is_next(folder, repository is None)


def _refuse_within_a_fleet(root: Path) -> None:
    for above in root.parents:
        if (above / INSTANCES).is_dir():
            raise Failure(f"{root}: expected a folder outside of any fleet, was one within that of {above}")


def _wanted(root: Path, nested: bool, deploy: bool) -> dict[str, str]:
    from reconciler.review import scaffold

    example = scaffold.example()
    own = [path for path in _fleet_files(root) if path not in example]
    return {
        **({} if own else example),
        **scaffold.surroundings(_branch(root)),
        **({} if nested else scaffold.at_the_top()),
        **(scaffold.deployment() if deploy else {}),
    }


def _branch(root: Path) -> str:
    """The branch of the repository around `root`, where it is on one."""
    repository = locate(root)
    head = "" if repository is None else first_line(repository.git_dir / "HEAD")
    found = head.removeprefix("ref: refs/heads/")
    return found if found != head and found.isprintable() else "main"


def _fleet_files(root: Path) -> list[str]:
    """Every record, template and definition that is there, readable or not."""
    files = (file for name in (INSTANCES, STRATEGIES) for file in (root / name).rglob("*"))
    return [path for path in (file.relative_to(root).as_posix() for file in files) if counts(path)]


def _write(root: Path, wanted: Mapping[str, str]) -> list[str]:
    """Write what is not there yet, name what is kept; returns what was written."""
    written = []
    for path, text in wanted.items():
        if write_new(root, path, text):
            written.append(path)
        else:
            say(f"kept: {path}{_missing_from(root, path)}")
    return written


def _missing_from(root: Path, path: str) -> str:
    from reconciler.review.scaffold import NEEDED

    line = NEEDED.get(path)
    if line is None or line.partition("==")[0] in _text(root / path):
        return ""
    return f"; add the line {line}"


def _text(file: Path) -> str:
    """What is in it; nothing where it is no file that can be read, a link into nowhere or a folder."""
    try:
        return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    except OSError:
        return ""


def _write_schemas(root: Path) -> list[str]:
    from reconciler.review.editor import exported
    from reconciler.settings import SCHEMA
    from reconciler.strategy.catalogue import Catalogue

    if os.path.realpath(root / INSTANCES) != os.path.join(os.path.realpath(root), INSTANCES):
        raise Failure(f"{root / INSTANCES}: expected a folder of the fleet, was a link")
    _make_folder(root / INSTANCES)
    catalogue = Catalogue()
    catalogue.refresh(Place(root).snapshot().strategies)
    facts = list(filter(None, map(catalogue.facts, catalogue.types())))
    definitions = [catalogue.definition(one.strategy_type, one.code_digest) for one in facts]
    known = [definition for definition in definitions if definition is not None]
    if len(known) < len(facts):
        say("no schemas: a strategy is broken; once it is mended: reconciler schema")
        return []
    return _write(root, exported(known, SCHEMA))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise Failure(f"{folder}: expected a folder, was something else: {error.strerror}") from error


def _say_what_is_next(folder: Path | None, needs_git: bool) -> None:
    go = [f"cd {shlex.quote(str(folder))}"] if folder else []
    git = ["git init --initial-branch=main"] if needs_git else []
    say("next:")
    for line in [*go, *git, "git add . && git commit -m 'Begin the fleet'", "reconciler run"]:
        say(f"  {line}")
    say("only commits run: what is edited afterwards does once it is committed")
