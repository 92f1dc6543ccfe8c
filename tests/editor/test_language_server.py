"""What an editor shows of instance files: told by the schemas as committed, shown by the real language server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reconciler.review.editor import INSTANCE, exported
from reconciler.strategy import Strategy
from reconciler.strategy.definition import Definition
from tests.editor.conftest import MODELINE, ROOT, Open
from tests.editor.language_server import Diagnostic, LanguageServer

TEXT = """\
id: a
strategy_type: grid
account: {account_id: main, client_id: desk-a}
market: BTC/USD
mode: off
config:
  quantity: "0.01"
  levels: 5
"""
QUANTITY = '  quantity: "0.01"\n'
ON_TEMPLATE = TEXT.replace("mode: off", "mode: off\ntemplate: grid-majors").replace(QUANTITY, "")


def with_(old: str, new: str) -> str:
    return MODELINE + TEXT.replace(old, new)


EXAMPLES = {f"instances/{path.name}": path.read_text(encoding="utf-8") for path in (ROOT / "instances").glob("*.yaml")}
RIGHT = {
    **EXAMPLES,
    "instances/unquoted-off.yaml": MODELINE + TEXT,
    "instances/config-from-a-template.yaml": MODELINE + ON_TEMPLATE,
    "instances/_templates/grid.yaml": "config: {levels: 5}\n",
    "instances/_halt.yml": "- {scope: all, reason: so}\n",
    "instances/_notes.yaml": "anything: goes\n",
    "other.yaml": "anything: goes\n",
}
NOT_A_MODE = 'Value is not accepted. Valid values: "off", "observe", "active".'
SHIPPED = ["dca", "grid", "market_maker", "mean_reversion", "rebalance", "sma_cross"]
NOT_A_STRATEGY = f"Value is not accepted. Valid values: {', '.join(map(json.dumps, SHIPPED))}."
WRONG = {
    "instances/on.yaml": (with_("mode: off", "mode: on"), 6, 7, NOT_A_MODE),
    "instances/type.yaml": (with_("levels: 5", "levels: five"), 9, 11, 'Incorrect type. Expected "integer".'),
    "instances/range.yaml": (with_("levels: 5", "levels: 51"), 9, 11, "Value is above the maximum of 50."),
    "instances/unknown.yaml": (with_("levels: 5", "lvels: 5"), 9, 3, "Property lvels is not allowed."),
    "instances/unknown-above.yaml": (with_("mode:", "protct: true\nmode:"), 6, 1, "Property protct is not allowed."),
    "instances/missing.yaml": (with_(QUANTITY, ""), 7, 1, 'Missing property "quantity".'),
    "instances/no-config.yaml": (MODELINE + TEXT.partition("config")[0], 2, 1, 'Missing property "config".'),
    "instances/no-market.yaml": (with_("market: BTC/USD\n", ""), 2, 1, 'Missing property "market".'),
    "instances/strategy.yaml": (with_("grid", "grd"), 3, 16, NOT_A_STRATEGY),
    "instances/templated.yaml": (
        MODELINE + ON_TEMPLATE.replace("levels: 5", "levels: five"), 9, 11, 'Incorrect type. Expected "integer".'
    ),
    "instances/no-modeline.yaml": (TEXT.replace("levels", "lvels"), 8, 3, "Property lvels is not allowed."),
    "instances/no-modeline.yml": (TEXT.replace("levels", "lvels"), 8, 3, "Property lvels is not allowed."),
    "instances/majors/fast/deep.yaml": (TEXT.replace("levels", "lvels"), 8, 3, "Property lvels is not allowed."),
    "instances/_templates/mode.yaml": ("mode: off\n", 1, 1, "Property mode is not allowed."),
    "instances/_templates/key.yml": ("config: {lvels: 5}\n", 1, 10, "Property lvels is not allowed."),
    "instances/_halt.yaml": ("- {scope: all}\n", 1, 3, 'Missing property "reason".'),
    "reconciler.yaml": ("heartbeat_seconds: 6\nheartbeat: 6\n", 2, 1, "Property heartbeat is not allowed."),
}  # fmt: skip
"""Path → text, and line, column and message of what is wrong with it."""

Diagnosed = dict[str, tuple[Diagnostic, ...]]


@pytest.fixture(scope="module")
def diagnosed(language_server: LanguageServer) -> Diagnosed:
    """Everything that is underlined in each document. All are opened at once: the server takes its time for each."""
    texts = {**RIGHT, **{path: text for path, (text, *_) in WRONG.items()}}
    windows = {path: language_server.open(path, text) for path, text in texts.items()}
    return {path: window.diagnostics() for path, window in windows.items()}


@pytest.mark.parametrize("path", RIGHT)
def test_nothing_is_underlined_in_what_is_right(diagnosed: Diagnosed, path: str) -> None:
    assert diagnosed[path] == ()


@pytest.mark.parametrize("path", WRONG)
def test_what_is_wrong_is_underlined_where_it_stands(diagnosed: Diagnosed, path: str) -> None:
    assert diagnosed[path] == (Diagnostic(*WRONG[path][1:]),)


def test_completion_offers_the_config_of_the_strategy_that_is_named(window: Open) -> None:
    offered = window(TEXT + "  |\n").completions()
    assert set(offered) == {"spacing", "centre", "recentre_after", "price_step", "quantity_step", "changes_per_tick"}
    assert offered["recentre_after"]["insertText"] == "recentre_after: ${1:5}"
    assert offered["spacing"]["documentation"].startswith("From one rung to the next, as a fraction of the price")
    other = window(TEXT.replace("grid", "sma_cross") + "  |\n").completions()
    assert {"fast", "slow"} <= set(other)
    assert "spacing" not in other


def test_completion_offers_nothing_of_a_strategy_whose_name_only_begins_alike(
    language_server: LanguageServer, tmp_path: Path
) -> None:
    def defined(strategy_type: str, key: str) -> Definition:
        schema = {"type": "object", "properties": {key: {"type": "integer"}, "size": {"type": "integer"}}}
        return Definition(strategy_type, "", "", Strategy, "", 1.0, 10, False, schema)

    schema = tmp_path / "instance.schema.json"
    schema.write_text(exported([defined("grid", "levels"), defined("grid_2", "rungs")], {})[INSTANCE], encoding="utf-8")
    head = f"# yaml-language-server: $schema={schema.as_uri()}\nid: a\nconfig:\n  size: 5\n  |\n"
    of_grid = language_server.open("instances/grid.yaml", f"{head}strategy_type: grid\n").completions()
    assert set(of_grid) == {"levels"}
    of_grid_2 = language_server.open("instances/grid-2.yaml", f"{head}strategy_type: grid_2\n").completions()
    assert set(of_grid_2) == {"rungs"}


def test_completion_offers_every_strategy_and_says_what_it_does(window: Open) -> None:
    offered = window(TEXT.replace("strategy_type: grid", "strategy_type: |")).completions()
    assert list(offered) == SHIPPED
    assert offered["grid"]["documentation"].startswith("Keeps a ladder of limit orders around a centre")


def test_hovering_tells_the_meaning_what_may_stand_there_and_the_default(window: Open) -> None:
    told = window(TEXT.replace("levels", "lev|els")).hover()
    meaning = "#### Levels\n\nRungs on each side of the centre.\n\ninteger, ≥ 1, ≤ 50, default 5\n\n"
    assert told.startswith(f"{meaning}Source: [instance.schema.json]")
    told = window(TEXT.replace("quantity", "quan|tity")).hover()
    assert '\n\nstring, required\n\nExample:\n\n```yaml\n"0.01"\n```' in told


def test_hovering_over_config_and_strategy_tells_which_strategy_it_is(window: Open) -> None:
    assert (
        window(TEXT.replace("config", "con|fig"))
        .hover()
        .startswith("#### Config\n\nKeeps a ladder of limit orders around a centre")
    )
    told = window(TEXT.replace("strategy_type", "strategy|_type")).hover()
    assert "* `grid`: Keeps a ladder of limit orders around a centre" in told
