"""`reconciler init` and `new`: what people begin with; and how files are written that may be there already."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

import click

from reconciler.cli.output import Failure, say, tell
from reconciler.cli.place import Place
from reconciler.documents.document import Document, parse
from reconciler.documents.wording import did_you_mean
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts
from reconciler.records.instance_schema import ID_PATTERN
from reconciler.records.snapshot import Snapshot
from reconciler.review.scaffold import Draft, Wanted, instance_file
from reconciler.review.validate.check import check
from reconciler.sources.folder import DEPTH_LIMIT
from reconciler.sources.git import first_line, locate
from reconciler.sources.layout import INSTANCES, STRATEGIES, counts, is_template
from reconciler.strategy.catalogue import Catalogue
from reconciler.visible import is_printable, is_storable


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


@click.command(
    epilog="""\b
Examples:
  reconciler new grid btc-grid-1
  reconciler new grid btc-grid-1 --account main --client desk-a --market BTC/USD
  reconciler new dca eur-dca-1 --folder majors"""
)
@click.argument("strategy_type", metavar="STRATEGY")
@click.argument("instance_id", metavar="ID")
@click.option("--account", metavar="ID", help="The account it trades on; by default the one that the settings declare.")
@click.option("--client", metavar="ID", help="Whose orders these are.")
@click.option("--market", metavar="SYMBOL", help="The symbol it trades.")
@click.option("--folder", default="", metavar="NAME", help="The folder below instances/ that it goes into.")
@click.pass_obj
def new(
    place: Place,
    strategy_type: str,
    instance_id: str,
    account: str | None,
    client: str | None,
    market: str | None,
    folder: str,
) -> None:
    """Write the file of a new instance: commented, with every default of its strategy, mode off.

    Nothing is ever overwritten. Prints the path; says what is still to be filled in.
    """
    snapshot = place.snapshot()
    accounts = place.settings().accounts
    inside = "/".join(filter(None, folder.split("/")))
    wanted = Wanted(instance_id, strategy_type, _account(account, accounts), client, market, folder=inside)
    _refuse_unusable(wanted, snapshot, place)
    draft = _draft(wanted, snapshot)
    if not write_new(place.root(), draft.path, draft.text, INSTANCES):
        raise Failure(f"{draft.path}: expected no such file, found one; it was left as it is")
    tell(draft.path)
    _say_what_is_left(draft, check(place.snapshot(), accounts, [draft.path]).problems)


def _account(asked: str | None, accounts: Accounts) -> str | None:
    """The account to write; None where any will do. One of several is never guessed: their money may be real."""
    declared = sorted(accounts.declared)
    if asked is None:
        if len(declared) > 1:
            raise Failure(f"--account: expected one of {', '.join(declared)}, was left out")
        return declared[0] if declared else None
    if accounts.get(asked) is None:
        near = did_you_mean(asked, declared)
        raise Failure(f"--account: expected one of {', '.join(declared)}, was {asked}{f'; {near}' if near else ''}")
    return asked


def _refuse_unusable(wanted: Wanted, snapshot: Snapshot, place: Place) -> None:
    """Failure where the id or the folder is none, or the id is or was another's."""
    if re.fullmatch(ID_PATTERN, wanted.id) is None:
        raise Failure(
            f"{wanted.id}: expected an id of small letters, digits and hyphens, at most 63 of them, "
            "that begins with a letter or digit, like btc-grid-1"
        )
    if not counts(wanted.path) or is_template(wanted.path):
        raise Failure(
            f"--folder: expected a folder whose files count, without . or _ before its name, was {wanted.folder}"
        )
    if not is_printable(wanted.path) or wanted.path.count("/") > DEPTH_LIMIT:
        raise Failure(
            f"--folder: expected a name that can be printed, at most {DEPTH_LIMIT} folders deep, was {wanted.folder}"
        )
    for name, text in (("--client", wanted.client_id), ("--market", wanted.market)):
        if text is not None and not is_storable(text):
            raise Failure(f"{name}: expected text that a file can hold, was {text}")
    for path, id_ in _claims(snapshot):
        if id_ == wanted.id:
            raise Failure(f"{wanted.id}: expected an id that is free, it is that of {path}")
    if not place.database().exists():
        return
    reader = place.reader()
    try:
        row = reader.row(wanted.id)
    finally:
        reader.close()
    if row is not None:
        raise Failure(
            f"{wanted.id}: expected an id that is free, it is known to the engine"
            + (f": removed at {row.removed_at}, and ids are never used again" if row.removed_at else "")
        )


def _claims(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """Every record file and each id it may be said to have: by its name, and by what it says."""
    for file in snapshot.instances:
        yield file.path, PurePosixPath(file.path).stem
        document = None if file.data is None else parse(file.data, file.path)
        if isinstance(document, Document) and isinstance(document.values, dict):
            yield file.path, str(document.values.get("id"))


def _draft(wanted: Wanted, snapshot: Snapshot) -> Draft:
    catalogue = Catalogue()
    catalogue.refresh(snapshot.strategies)
    facts = catalogue.facts(wanted.strategy_type)
    if facts is None:
        near = did_you_mean(wanted.strategy_type, catalogue.types())
        known = f"expected one of {', '.join(catalogue.types()) or 'none: strategies/ has no definition'}"
        raise Failure(f"strategy {wanted.strategy_type}: {known}{f'; {near}' if near else ''}")
    definition = catalogue.definition(wanted.strategy_type, facts.code_digest)
    if definition is None:
        raise Failure(*map(str, facts.problems))
    return instance_file(wanted, definition.description, definition.config_schema)


def _say_what_is_left(draft: Draft, problems: tuple[Problem, ...]) -> None:
    if draft.gaps:
        say(f"to be filled in: {', '.join(draft.gaps)}")
    for problem in problems:
        if problem.pointer not in draft.gaps:
            say(str(problem))
    if draft.assumed:
        say(f"only an example, and fixed for ever once merged: {', '.join(draft.assumed)}")
    say(f"then: reconciler validate {draft.path}")
