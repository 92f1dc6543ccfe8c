"""Writes what is generated from definitions, so that no rule stands in two places: `make docs`.

`tests/test_docs.py` fails where a committed file is not what this would write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reconciler.settings import SCHEMA, scalars, schema
from reconciler.strategy.describe import ConfigField, config_reference

ROOT = Path(__file__).parent.parent

SETTINGS_HEAD = """\
# Settings

`reconciler.yaml` stands beside `instances/`. All of it is optional: without the file the engine reads the
work tree, trades on the embedded paper exchange and shows its page on http://127.0.0.1:8080. It is committed,
so it holds no secret: where one is needed, write `{env: NAME}` or `{file: PATH}`.

```yaml
# yaml-language-server: $schema=schemas/reconciler.schema.json
heartbeat_seconds: 6
dashboard:
  port: 8080
paper:
  fee: "0.001"
```

A flag of `reconciler run` wins over the environment, the environment over the file, the file over the default.
What is wrong with any of them is said with line and column, everything at once, and the engine does not start.

## Every setting

"""

SERVERS_HEAD = """
## exec_mcp: the servers that execute orders

Without this section there is one server, the embedded paper exchange, and it takes any `account_id`. With it,
every account that an instance names must be declared, once, under the server that reaches it. Accounts and
money stand only in this file, never in the environment: a change to them is reviewed.

```yaml
exec_mcp:
  kraken:                                   # any name
    transport: {kind: http, url: "http://127.0.0.1:9000/mcp", headers: {Authorization: {env: KRAKEN_TOKEN}}}
    timeout_s: 5
    accounts:
      main: {money: real}
  desk:
    transport: {kind: stdio, command: [desk-mcp, --quiet], env: {DESK_TOKEN: {file: /run/secrets/desk}}}
    accounts:
      desk-a: {money: real}
  practice:
    transport: {kind: paper}
    accounts:
      paper-1: {money: paper}
```

Each server, below `exec_mcp.NAME`:

"""

SERVERS_TAIL = """
`bind`, `tools` and `max_orders_per_minute` are understood but not supported by this version. They are refused
rather than ignored: a server must speak the contract's own words for now.
"""


def settings_page() -> str:
    """docs/settings.md."""
    variables = {scalar.name: f"`{scalar.variable}`" for scalar in scalars()}
    shown = [field for field in config_reference(SCHEMA) if field.name in (*variables, "dashboard.token")]
    settings = _table(
        ("setting", "environment", "default", "rules", "meaning"),
        [(f"`{f.name}`", variables.get(f.name, ""), _code(f.default), _rules(f), f.description) for f in shown],
    )
    servers = _table(("key", "type", "default", "meaning"), _servers())
    return SETTINGS_HEAD + settings + SERVERS_HEAD + servers + SERVERS_TAIL


def _rules(field: ConfigField) -> str:
    return "; ".join(rule for rule in field.constraints if rule != "at least 1 characters")


def _servers() -> Iterator[tuple[str, ...]]:
    for field in config_reference(_server_schema()):
        default = "required" if field.required else _code(field.default)
        yield f"`{field.name}`", field.type, default, field.description


def _server_schema() -> Mapping[str, Any]:
    definitions = SCHEMA["$defs"]
    return {**definitions["server"], "$defs": definitions}


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text and text != "{}" else ""


def generated() -> dict[Path, str]:
    """Every generated file of this repository: its path and what it should hold."""
    return {
        ROOT / "docs" / "settings.md": settings_page(),
        ROOT / "schemas" / "reconciler.schema.json": schema.PATH.read_text(encoding="utf-8"),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
