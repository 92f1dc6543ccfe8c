"""Values with line and column, per file, against plain `yaml.load` of the same file on the same C parser."""

from __future__ import annotations

import time
from collections.abc import Callable

import yaml

from reconciler.documents.document import Document, parse
from tests.bench.result import Result

GOAL = 0.6
ROUNDS = 25
CALLS = 200

INSTANCE = b"""\
# yaml-language-server: $schema=../schemas/instance.schema.json
id: btc-grid-1                # the file's name
strategy_type: grid
account:
  account_id: main            # declared in the settings
  client_id: desk-a
market: BTC/USD
mode: observe                 # off | observe | active
config:
  levels: 5
  spacing: 0.5
  quantity: "0.01"
  centre: sma
  window: 20
description: Grid on the spot pair
labels: {team: majors, region: eu}
open_orders: keep
protect: false
limits:
  max_order_notional: "500"
  max_position: "2"
  max_open_orders: 10
  max_orders_per_minute: 6
  max_daily_loss: "100"
  max_price_deviation: "0.05" # from the quote, as a fraction
"""


def measure() -> Result:
    """The best of many short rounds, the two taking turns, so that a busy machine disturbs both alike."""
    document = parse(INSTANCE, "instances/btc-grid-1.yaml")
    assert isinstance(document, Document)
    assert document.values == yaml.load(INSTANCE, Loader=yaml.CSafeLoader)
    rounds = [(_seconds(_ours), _seconds(_theirs)) for _ in range(ROUNDS)]
    ours_s, theirs_s = min(ours for ours, _ in rounds), min(theirs for _, theirs in rounds)
    ratio = ours_s / theirs_s
    return Result(
        work="values with line and column, per file",
        to_reach=f"≤ {GOAL} × plain yaml.load",
        figure=f"{ours_s * 1e6:.1f} µs",
        ok=ratio <= GOAL,
        peer=f"yaml.load, CSafeLoader: {theirs_s * 1e6:.1f} µs",
        ratio=ratio,
        note="every position included; a valid file, of which nobody asks for one, takes a fifth less",
    )


def _ours() -> None:
    document = parse(INSTANCE, "instances/btc-grid-1.yaml")
    assert isinstance(document, Document)
    document.place(("limits", "max_price_deviation"))  # finds the places of all values on the way


def _theirs() -> None:
    yaml.load(INSTANCE, Loader=yaml.CSafeLoader)


def _seconds(call: Callable[[], None]) -> float:
    """Seconds a call, over one round."""
    begin = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - begin) / CALLS


if __name__ == "__main__":
    print(measure())
