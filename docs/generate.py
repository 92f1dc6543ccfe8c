"""Writes what is generated from definitions, so that no rule stands in two places: `make docs`.

`tests/test_docs.py` fails where a committed file is not what this would write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reconciler.records.schema import instance_schema
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
      main: {money: real, max_orders_per_minute: 60}
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
What stands under an account, below `exec_mcp.NAME.accounts.ACCOUNT_ID`:

| key | default | meaning |
| --- | --- | --- |
| `money` | required | `real` or `paper`: whether the account's money is real. |
| `max_orders_per_minute` | none | The account's budget of orders, over all its instances. |

`bind` and `tools`, and `paper.prices` and `paper.seed` above, are understood but not supported by this version.
They are refused rather than ignored: a server must speak the contract's own words for now.
"""


INSTANCE_HEAD = """\
# The instance file

One deployed strategy is one YAML file anywhere below `instances/`. The file's name is the id. Everything in it
is checked before it is merged (`reconciler validate`), and again by the engine.

```yaml
id: btc-grid-1
strategy_type: grid
account: {account_id: main, client_id: desk-a}
market: BTC/USD
mode: observe
config:
  quantity: "0.01"
  levels: 5
limits:
  max_order_notional: "500"
```

## Every key

"""

INSTANCE_TAIL = """
What may stand under `config` is the strategy's own business: `reconciler strategies grid` prints it.

## Working with it

- **Immutable** keys never change. To change one, add a file with a new id and remove the old one.
- **mode** rises one step at a time: off → observe → active. It falls any distance, at once. A new file starts
  from off, so it may say off or observe, not active.
- A file that is wrong changes nothing that runs, with one exception: if its `mode` can be read and is lower,
  the mode is lowered.
- Removing a file unloads the instance and keeps its id for ever. A file of that id that comes back starts from
  off, with the same identity.
- Moving a file to another folder below `instances/` is nothing but a move.
- Names that begin with `_` or `.` are no instances.

## The YAML that is understood

YAML 1.2, core schema: `off` is the text off, `010` is ten, dates and `12:30:00` are texts. Money is a quoted
decimal, `"0.01"`. Refused, with line and column: duplicate keys, keys that are no texts, anchors and aliases,
merge keys, tags, a second document, NaN and infinities, more than 32 levels, 20,000 values or 256 KiB, and
anything that is not UTF-8. A key that begins with `x-` is a note of yours.

## Secrets

Where a strategy's schema marks a property as secret, write `{env: NAME}` or `{file: PATH}` and nothing else. It
is read when the instance is loaded, and never stored, printed or shown. Anything that looks like a key is
refused wherever it stands.
"""


def instance_page() -> str:
    """docs/instance-file.md."""
    rows = [
        (f"`{f.name}`", f.type, "required" if f.required else _code(f.default), _rules(f), f.description)
        for f in config_reference(instance_schema())
    ]
    return INSTANCE_HEAD + _table(("key", "type", "default", "rules", "meaning"), rows) + INSTANCE_TAIL


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


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text and text != "{}" else ""


def generated() -> dict[Path, str]:
    """Every generated file of this repository: its path and what it should hold."""
    return {
        ROOT / "docs" / "instance-file.md": instance_page(),
        ROOT / "docs" / "settings.md": settings_page(),
        ROOT / "schemas" / "instance.schema.json": _json(instance_schema()),
        ROOT / "schemas" / "reconciler.schema.json": schema.PATH.read_text(encoding="utf-8"),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
