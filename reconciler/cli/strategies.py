"""`reconciler strategies`."""

from __future__ import annotations

from typing import Any

import click

from reconciler.cli.failure import Failure
from reconciler.cli.output import print_items, print_json, print_table, say
from reconciler.cli.place import Place
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.describe import config_reference


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
    catalogue = Catalogue()
    catalogue.refresh(place.snapshot().strategies)
    if strategy_type is None:
        _print_all([_item(catalogue, name) for name in catalogue.types()], form)
        return
    if strategy_type not in catalogue.types():
        raise Failure(f"{strategy_type}: expected one of {', '.join(catalogue.types()) or 'none'}")
    item = _item(catalogue, strategy_type)
    if item["problems"]:
        raise Failure("\n".join(item["problems"]))
    if form == "json":
        print_json(item)
    else:
        _print_one(item)


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
        [(i["strategy_type"], i["tick_minutes"], i["path"], i["description"].partition("\n")[0]) for i in items],
    )
    for item in items:
        for problem in item["problems"]:
            say(problem)


def _print_one(item: dict[str, Any]) -> None:
    click.echo(f"{item['strategy_type']}  {item['path']}, ticks every {item['tick_minutes']:g} minutes")
    click.echo(f"\n{item['description'].strip()}\n")
    print_table(
        ("CONFIG", "TYPE", "DEFAULT", "RULES", "MEANING"),
        [
            (f["name"], f["type"], "required" if f["required"] else f["default"], _rules(f), f["description"])
            for f in item["config"]
        ],
    )


def _rules(field: dict[str, Any]) -> str:
    secret = ["a secret: {env: NAME} or {file: PATH}"] if field["secret"] else []
    return "; ".join([*field["constraints"], *secret])
