"""`reconciler export`: all there is, for spreadsheets, scripts and tax advisers. Column names stay as they are."""

from __future__ import annotations

import csv
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.parameters import between
from reconciler.cli.place import Place, require_known
from reconciler.visible import json_text, visible

if TYPE_CHECKING:
    from reconciler.store.reader import Export

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
"""A minus in front of one is no formula."""
STARTS_FORMULA = frozenset("=+-@")
_OVERLOOKED = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
"""Control characters, invisible ones and spaces, as Unicode sorts them: some spreadsheets read on behind them."""


@click.command(
    epilog="""\b
Examples:
  reconciler export orders
  reconciler export fills --since 2026-01-01 --until 2027-01-01
  reconciler export fills --instance btc-grid-1 --format json
  reconciler export history --since 7d"""
)
@click.argument("what", metavar="orders|fills|history", type=click.Choice(["orders", "fills", "history"]))
@between
@click.option("--instance", "instance_id", metavar="ID", default="", help="Only what is of this instance.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "json"]), default="csv", help="For spreadsheets, or for machines."
)
@click.pass_obj
def export(
    place: Place, what: Export, since: datetime | None, until: datetime | None, instance_id: str, form: str
) -> None:
    """Write the whole ledger or history to stdout, oldest first: real and simulated, never only a part.

    Numbers are exact decimals and times are UTC. In csv a text that a spreadsheet would take for a formula gets an
    apostrophe in front, and what cannot be seen is escaped, line breaks too: a row is a line. Json is as it is.
    """
    from reconciler.store.reader import columns

    reader = place.reader()
    try:
        if instance_id:
            require_known(reader, instance_id)
        items = reader.exported(what, instance_id, since, until)
        if form == "json":
            _write_json(items)
        else:
            _write_csv(columns(what), items)
    finally:
        reader.close()


def _write_json(items: Iterator[Mapping[str, Any]]) -> None:
    """As every list is written, but an item a line."""
    between_items = ""
    sys.stdout.write('{"items": [')
    for item in items:
        sys.stdout.write(f"{between_items}\n{json_text(item)}")
        between_items = ","
    sys.stdout.write("\n]}\n")


def _write_csv(names: Sequence[str], items: Iterator[Mapping[str, Any]]) -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(names)
    out.writerows([_cell(item[name]) for name in names] for item in items)


def _cell(value: Any) -> Any:
    """A value as a spreadsheet may read it: what would be taken for a formula is text, numbers are left alone."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return json_text(value)
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if _is_formula(value) else value)


def _is_formula(text: str) -> bool:
    """True where a spreadsheet might take `text` for one: also behind spaces, and written in full width."""
    if NUMBER.fullmatch(text):
        return False
    first = next((one for one in text if unicodedata.category(one) not in _OVERLOOKED), "")
    return not STARTS_FORMULA.isdisjoint(unicodedata.normalize("NFKC", first)[:1])
