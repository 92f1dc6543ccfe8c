"""`reconciler strategies` and `schema`: what may stand in files, for people and for their editors."""

from __future__ import annotations

import os
import stat
import textwrap
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

import click

from reconciler.cli.init import write_over
from reconciler.cli.output import Failure, print_items, print_json, print_table, say, tell
from reconciler.cli.place import Place
from reconciler.errors import Problem
from reconciler.records.snapshot import Snapshot
from reconciler.review.editor import FOLDER, differences, exported, is_ours
from reconciler.settings import SCHEMA
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.definition import Definition
from reconciler.strategy.describe import ConfigField, config_reference
from reconciler.visible import visible

_WIDTH: Final = 80


@click.command(
    epilog="""\b
Examples:
  reconciler strategies
  reconciler strategies grid
  reconciler strategies grid --format json"""
)
@click.argument("strategy_type", metavar="[TYPE]", required=False)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def strategies(place: Place, strategy_type: str | None, form: str) -> None:
    """List the strategy definitions in strategies/, or show what may stand under one's config."""
    catalogue = place.catalogue()
    catalogue.refresh(place.snapshot().strategies)
    if strategy_type is None:
        _print_all([_item(catalogue, name) for name in catalogue.types()], form)
        return
    if strategy_type not in catalogue.types():
        raise Failure(f"{strategy_type}: expected one of {', '.join(catalogue.types()) or 'none'}")
    item = _item(catalogue, strategy_type)
    if item["problems"]:
        raise Failure(*item["problems"])
    if form == "json":
        print_json(item)
    else:
        facts = catalogue.facts(strategy_type)
        _print_one(item, config_reference(facts.config_schema) if facts else ())


def _item(catalogue: Catalogue, strategy_type: str) -> dict[str, Any]:
    facts = catalogue.facts(strategy_type)
    assert facts is not None
    definition = catalogue.definition(strategy_type, facts.code_digest)
    return {
        "strategy_type": strategy_type,
        "path": facts.path,
        "tick_minutes": definition.tick_minutes if definition else None,
        "cadence_steps": definition.cadence_steps if definition else None,
        "description": definition.description if definition else "",
        "config": [field.to_json() for field in config_reference(facts.config_schema)],
        "problems": [str(problem) for problem in facts.problems],
    }


def _print_all(items: list[dict[str, Any]], form: str) -> None:
    if form == "json":
        print_items(items)
        return
    print_table(
        ("TYPE", "TICK MINUTES", "FILE", "DESCRIPTION"),
        [
            (
                i["strategy_type"],
                i["tick_minutes"],
                i["path"],
                i["description"].partition("\n")[0],
            )
            for i in items
        ],
    )
    for item in items:
        for problem in item["problems"]:
            say(problem)


def _print_one(item: dict[str, Any], config: tuple[ConfigField, ...]) -> None:
    tell(f"{item['strategy_type']}  {item['path']}, ticks every {item['tick_minutes']:g} minutes", "")
    for paragraph in filter(None, item["description"].split("\n\n")):
        is_prose = not any(line.startswith((" ", "-", "*")) for line in paragraph.splitlines())
        tell(*(_wrapped(paragraph) if is_prose else paragraph.splitlines()), "")
    tell("config:" if config else "config: {}")
    for field in config:
        tell(*_row(field))


def _row(field: ConfigField) -> list[str]:
    """One key: what may stand there, what it means, and how it looks where no default shows that."""
    patterns = [rule for rule in field.constraints if rule.startswith("matches ")]
    facts = [field.type, *(rule for rule in field.constraints if rule not in patterns)]
    facts += ["required"] if field.required else []
    facts += [f"default {field.default}"] if field.default else []
    lines = _wrapped(f"{field.name}: {', '.join(facts)}", "  ", "      ")
    if field.meaning or field.title:
        lines += _wrapped(f"{(field.meaning or field.title).rstrip('.')}.", "      ", "      ")
    if field.secret:
        lines.append("      Written as {env: NAME} or {file: PATH}.")
    lines += [f"      It {pattern}" for pattern in patterns]
    if field.examples and not field.default:
        lines += _wrapped(f"For example {', '.join(field.examples)}", "      ", "      ")
    return lines


def _wrapped(text: str, first: str = "", rest: str = "") -> list[str]:
    """The text in lines that any terminal holds; a word is never broken."""
    return textwrap.wrap(
        visible(" ".join(text.split())),
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


@click.command(
    epilog="""\b
Examples:
  reconciler schema
  reconciler schema --check

\b
Exit codes:
  0  the schemas are current
  1  they are not (--check), or could not be made: a strategy is broken"""
)
@click.option("--check", is_flag=True, help="Write nothing; fail where a file is missing, stale or left over.")
@click.pass_context
def schema(ctx: click.Context, check: bool) -> None:
    """Write the JSON Schemas that editors and CI use into schemas/: of instances, templates, settings and halts, and
    one for each strategy.

    They are generated from the strategies; commit them. Where a strategy is broken nothing is written: without it,
    the schema would take whatever its instances say. Files that it did not write are never touched.
    """
    place: Place = ctx.obj
    wanted = exported(_definitions(place, place.snapshot()), SCHEMA)
    found = _found(place.root(), wanted)
    foreign = [path for path in wanted if path in found and not is_ours(found[path])]
    if foreign:
        raise Failure(
            *(f"{path}: expected a file that this command wrote, was another; move it away" for path in foreign)
        )
    different = dict(differences(wanted, found))
    if not check:
        _write(place.root(), wanted, different)
    for path, state in different.items():
        tell(f"{path}: {state if check else 'removed' if state == 'left over' else 'written'}")
    say(_summary(len(wanted), len(different), check))
    ctx.exit(1 if check and different else 0)


def _definitions(place: Place, snapshot: Snapshot) -> list[Definition]:
    """Every strategy of the fleet; Failure naming all that are broken."""
    catalogue = place.catalogue()
    catalogue.refresh(snapshot.strategies)
    problems = [
        Problem(f.path, 0, 0, "", f"expected to be readable: {f.error}") for f in snapshot.strategies if f.data is None
    ]
    known: list[Definition] = []
    for facts in filter(None, map(catalogue.facts, catalogue.types())):
        definition = catalogue.definition(facts.strategy_type, facts.code_digest)
        problems += () if definition else facts.problems
        known += [definition] if definition else []
    if problems:
        lines = [str(problem) for problem in dict.fromkeys(problems)]
        raise Failure(*lines, "no schema was written: mend the strategies first")
    return known


def _found(root: Path, wanted: Mapping[str, str]) -> dict[str, str]:
    """The schemas that are there, by their path from the root. Links are not followed; Failure where one is in the way.

    What else is named like a schema, and is no file that can be read, is somebody else's.
    """
    _refuse_links(root, wanted)
    found = {}
    for folder, _, names in os.walk(root / FOLDER):
        for name in sorted(names):
            file = Path(folder, name)
            if name.endswith(".schema.json") and stat.S_ISREG(file.lstat().st_mode):
                path = file.relative_to(root).as_posix()
                found[path] = file.read_text(encoding="utf-8", errors="replace")
    return found


def _refuse_links(root: Path, wanted: Mapping[str, str]) -> None:
    folders = {folder.as_posix() for path in wanted for folder in PurePosixPath(path).parents} - {"."}
    for path in sorted({FOLDER, *folders}):
        if (root / path).is_symlink():
            raise Failure(f"{path}/: expected a folder of the fleet, was a link: nothing is written through links")
    for path in wanted:
        file = root / path
        if os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode):
            raise Failure(f"{path}: expected a file that this command wrote, was no file; move it away")


def _write(root: Path, wanted: Mapping[str, str], different: Mapping[str, str]) -> None:
    for path in different:
        if path in wanted:
            write_over(root, path, wanted[path])
            continue
        try:
            (root / path).unlink()
        except OSError as error:
            raise Failure(f"{path}: expected to be able to remove it: {error.strerror}") from error


def _summary(number: int, different: int, check: bool) -> str:
    if not different:
        return f"{number} schemas are current"
    return f"{different} to be brought up to date: reconciler schema" if check else f"{number} schemas are current now"
