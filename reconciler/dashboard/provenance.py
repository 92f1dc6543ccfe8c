"""How to find out in git who wrote, merged and so reviewed what an order was placed by. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from reconciler.records.record import Row
from reconciler.records.snapshot import TEMPLATES_FOLDER


class Trace(NamedTuple):
    """A question, and the command that answers it where the fleet's files are."""

    question: str
    command: str


def traces(order: Mapping[str, Any], values: Mapping[str, Any], row: Row | None) -> tuple[Trace, ...]:
    """What to type about the record, its template and its strategy.

    An order's revision is the commit that was checked out, which may have changed anything: of what stood in it, this
    tells the change that counted, and the step of the main line that brought it (the merge, where it was merged; the
    change itself, where it was squashed or pushed). An order that came from no commit has files that may be committed
    by now, or changed again: all that git can tell is how they stand today. `values` is the record as its file had
    it; `row` knows the file's place.
    """
    paths = shlex.join(_paths(order, values, row))
    if not order["revision"]:
        return (
            Trace("What is not committed of them now", f"git status --short -- {paths}"),
            Trace("What differs from the last commit now", f"git diff HEAD -- {paths}"),
            Trace("What was committed of them last", f"git log -1 --stat -- {paths}"),
        )
    revision = shlex.quote(order["revision"])
    return (
        Trace("Who wrote it, and in which change", f"git log -1 --stat {revision} -- {paths}"),
        Trace(
            "Who merged it; a pull request that it names holds the review",
            f"git log -1 --first-parent -m --stat {revision} -- {paths}",
        ),
    )


def _paths(order: Mapping[str, Any], values: Mapping[str, Any], row: Row | None) -> list[str]:
    instance_id, template = order["instance_id"], values.get("template")
    paths = [row.path if row is not None else f"instances/{instance_id}.yaml"]
    if row is not None and row.template_path:
        paths.append(row.template_path)
    elif template:
        paths.append(f"instances/{TEMPLATES_FOLDER}/{template}.yaml")
    if strategy_type := values.get("strategy_type") or (row.record.strategy_type if row is not None else ""):
        paths.append(f"strategies/{strategy_type}.py")
    return paths
