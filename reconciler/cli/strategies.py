"""`reconciler strategies`."""

from __future__ import annotations

import textwrap
from typing import Any, Final

import click

from reconciler.cli.output import Failure, print_items, print_json, print_table, say, tell
from reconciler.cli.place import Place
from reconciler.strategy.catalogue import Catalogue
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
