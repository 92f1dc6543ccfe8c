"""Writes the pages that are generated from definitions, so that no rule stands in two places: `make docs`.

The schemas are written by `reconciler schema`, which `make docs` calls, too.

`tests/test_docs.py` fails where a committed file is not what this would write.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reconciler import strategy
from reconciler.records.event import EventReason
from reconciler.records.instance_schema import instance_schema
from reconciler.settings import SCHEMA, scalars
from reconciler.strategy import (
    Balance,
    Candle,
    InstrumentRules,
    Order,
    OrderState,
    OrderType,
    Outcome,
    Position,
    Quote,
    RejectedBy,
    Side,
    TimeInForce,
    base,
)
from reconciler.strategy.describe import ConfigField, config_reference

_TOOL = "#/$defs/tool"
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
  taker_fee: "0.002"
```

A flag of `reconciler run` wins over the environment, the environment over the file, the file over the default.
What is wrong with any of them is said with line and column, everything at once, and the engine does not start.
While it runs, [limits above the instance](limits.md) take effect with the next pass; all else waits for a start. Where
the file is gone, says nothing, cannot be used or is still being written, limits stay as they were. Page and `status`
say so: half of a file has no limits. A `reconciler.yml`, or another file that was meant as the settings by
its name, is refused: it sets nothing.

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
      main: {money: real, max_orders_per_minute: 60, currency: USD, limits: {max_daily_loss: "1000"}}
    mapping: ccxt                           # how it spells things, see exec-mcp
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
Two accounts that nothing tells apart at the exchange are a problem: those of servers of one transport whose `bind`
sends no `account_id`. A desk's account is declared once.

How servers that spell things differently are mapped, with `mapping`, `bind` and `tools`: [exec-mcp](exec-mcp.md).
Secrets are read whenever a server is connected to.
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

## Templates

Sixty instances need no sixty copies. What they share stands once, in `instances/_templates/grid-majors.yaml`:

```yaml
config:
  levels: 5
  quantity: "0.01"
limits:
  max_order_notional: "500"
labels: {team: majors}
```

and each of them names it, and says what is its own:

```yaml
id: btc-grid-1
strategy_type: grid
account: {account_id: main, client_id: desk-a}
market: BTC/USD
mode: observe
template: grid-majors
config:
  levels: 7
```

- A template holds `config`, `limits`, `labels` and `open_orders`, and notes of yours; nothing that names, places or
  raises an instance. It builds on no other template, and there are no expressions.
- Mappings merge key by key, lists are replaced, and the instance wins. A reference to a secret is one value.
- A key that is required may stand in either file. Where it stands in neither, the instance's file lacks it.
- Changing a template changes every record upon it, as if each of their files had been changed: a new `config`
  reloads them, `limits` and `labels` apply in place. The history says that it came through the template.
- `reconciler show btc-grid-1` and the instance's page name the file and line that each value comes from;
  `reconciler blame btc-grid-1` the commit since which it has been as it is, with author, time and subject.
- What is wrong in a template is told once, at its own line, with the records it breaks. Those keep running as
  they were applied, and can still be lowered in their own files. A template that nobody uses is checked, too, but
  for its `config`: which strategy it is meant for is not known.
- On real money, active needs the template to be committed as well.

## Working with it

- **Immutable** keys never change. To change one, add a file with a new id and remove the old one.
- **mode** rises one step at a time: off → observe → active. It falls any distance, at once. A new file starts
  from off, so it may say off or observe, not active.
- A file that is wrong changes nothing that runs, with one exception: if its `mode` can be read and is lower,
  the mode is lowered.
- Removing a file unloads the instance and keeps its id for ever. A file of that id that comes back starts from
  off, with the same identity.
- Moving a file to another folder below `instances/` is nothing but a move.
- Names that begin with `_` or `.` are no instances. `_halt.yaml` is the [kill switch](operations.md#halted) from git,
  `_templates/` holds templates.

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

EVENTS_HEAD = """\
# Events

What happened, for people: `reconciler events`, an instance's page, `/api/v1/events`. The log of the engine is
about the engine itself. An event has an instance or, told of the engine, none; a type, Normal or Warning; a reason,
which is one of these words; and a message, which says what it was. What repeats an instance's last event is counted
there. What to do about one: [what to do when](operations.md).

"""


def events_page() -> str:
    """docs/events.md."""
    return EVENTS_HEAD + _table(("reason", "what it says"), [(f"`{one}`", one.meaning) for one in EventReason])


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
    shown = [
        field
        for field in config_reference(_told_once())
        if field.name in (*variables, "dashboard.token") or field.name.startswith(("paper.", *_ABOVE))
    ]
    settings = _table(
        ("setting", "environment", "default", "rules", "meaning"),
        [(f"`{f.name}`", variables.get(f.name, ""), _code(f.default), _rules(f), f.description) for f in shown],
    )
    servers = _table(("key", "type", "default", "rules", "meaning"), _servers())
    return SETTINGS_HEAD + settings + SERVERS_HEAD + servers + SERVERS_TAIL


_ABOVE = ("limits", "require_limits", "throttle")


def _rules(field: ConfigField) -> str:
    return "; ".join(rule for rule in field.constraints if rule != "not empty")


def _servers() -> Iterator[tuple[str, ...]]:
    for field in config_reference(_server_schema()):
        default = "required" if field.required else _code(field.default)
        yield f"`{field.name}`", field.type, default, _rules(field), field.description


def _server_schema() -> Mapping[str, Any]:
    definitions = _told_once()["$defs"]
    return {**definitions["server"], "$defs": definitions}


def _told_once() -> Mapping[str, Any]:
    """The schema without what lies within itself: a tool may hold tools, whose keys are told where the first one is."""
    definitions = SCHEMA["$defs"]
    tool = definitions["tool"]
    inner = {name: {**rule, "type": "object"} for name, rule in tool["properties"].items() if rule.get("$ref") == _TOOL}
    for rule in inner.values():
        del rule["$ref"]
    return {**SCHEMA, "$defs": {**definitions, "tool": {**tool, "properties": {**tool["properties"], **inner}}}}


def _table(head: tuple[str, ...], rows: Any) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text and text != "{}" else ""


REFERENCE = "<!-- reference: what follows is generated by `make docs` -->\n"


def strategies_page() -> str:
    """docs/strategies.md: the guide, as it was written, and below it what the docstrings say."""
    guide, marker, _ = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8").partition(REFERENCE)
    return guide + marker + "\n## Reference\n\n" + "\n".join(_reference())


def _reference() -> Iterator[str]:
    for title, protocol in (
        ("context", base.Context),
        ("context.instance", base.InstanceInfo),
        ("context.market", base.Market),
        ("context.account", base.Account),
        ("context.orders", base.Orders),
        ("context.log", base.Log),
    ):
        yield f"### `{title}`\n"
        yield f"{_told(protocol)}\n"
        yield _table(
            ("", ""), [(f"`{name}{_signature(member)}`", _told(member)) for name, member in _members(protocol)]
        )
    for value in (Quote, Candle, InstrumentRules, Position, Balance, Order):
        yield f"### `{value.__name__}`\n"
        yield f"{_told(value)}\n"
        yield _table(("field", "type"), [(f"`{name}`", f"`{hint}`") for name, hint in _fields(value)])
    yield "### Words\n"
    words = (Side, OrderType, TimeInForce, Outcome, OrderState, RejectedBy)
    yield _table(("", ""), [(f"`{one.__name__}`", " ".join(f"`{word}`" for word in one)) for one in words])
    yield "### Widgets\n"
    widgets = (strategy.metric, strategy.badge, strategy.progress, strategy.table, strategy.line, strategy.bar)
    more = (strategy.candles, strategy.log, strategy.text, strategy.keyvalue)
    yield _table(("", ""), [(f"`{one.__name__}{_signature(one)}`", _told(one)) for one in (*widgets, *more)])


def _members(protocol: type) -> Iterator[tuple[str, Any]]:
    return ((name, member) for name, member in vars(protocol).items() if not name.startswith("_"))


def _fields(value: type) -> Iterator[tuple[str, str]]:
    """Fields as they were written, then what is derived from them."""
    for field in dataclasses.fields(value):
        yield field.name, str(field.type)
    for name, member in vars(value).items():
        if isinstance(member, property):
            assert member.fget is not None
            yield name, str(member.fget.__annotations__["return"])


def _signature(member: Any) -> str:
    if isinstance(member, property):
        assert member.fget is not None
        return f": {member.fget.__annotations__['return']}"
    spelled = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(member)))
    return re.sub(r"\(self(, )?", "(", spelled).removesuffix(" -> Widget")


def _told(thing: Any) -> str:
    """A docstring in one line."""
    return " ".join((inspect.getdoc(thing) or "").split())


def generated() -> dict[Path, str]:
    """Every generated page of this repository: its path and what it should hold."""
    return {
        ROOT / "docs" / "events.md": events_page(),
        ROOT / "docs" / "instance-file.md": instance_page(),
        ROOT / "docs" / "settings.md": settings_page(),
        ROOT / "docs" / "strategies.md": strategies_page(),
    }


if __name__ == "__main__":
    for path, text in generated().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
