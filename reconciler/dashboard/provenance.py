"""How to find out in git who wrote and reviewed what an order was placed by. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from reconciler.records.record import Row
from reconciler.records.snapshot import TEMPLATES_FOLDER


def git_command(order: Mapping[str, Any], values: Mapping[str, Any], row: Row | None) -> str:
    """What to type where the fleet's files are: the last commit that changed the record, its template or its strategy.

    An order's revision is the commit that was checked out, which may have changed anything: of what stood in it, this
    tells the change that counted. `values` is the record as its file had it; `row` knows the file's place. Empty for
    an order that came from no commit.
    """
    if not order["revision"]:
        return ""
    instance_id, template = order["instance_id"], values.get("template")
    paths = [row.path if row is not None else f"instances/{instance_id}.yaml"]
    if row is not None and row.template_path:
        paths.append(row.template_path)
    elif template:
        paths.append(f"instances/{TEMPLATES_FOLDER}/{template}.yaml")
    if strategy_type := values.get("strategy_type") or (row.record.strategy_type if row is not None else ""):
        paths.append(f"strategies/{strategy_type}.py")
    return f"git log -1 --stat {shlex.quote(order['revision'])} -- {shlex.join(paths)}"
