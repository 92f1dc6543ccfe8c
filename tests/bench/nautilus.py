"""The rule of crossing averages in NautilusTrader: run by a Python of its own, for it wants an older pandas than we do.

    .bench/nautilus/bin/python tests/bench/nautilus.py FILE LENGTH UNITS

FILE is candles as `reconciler backtest` reads them, LENGTH how long each is, such as 1-HOUR. Prints JSON: what it
took, and of each fill the bar, the side and the price. Nothing of ours is imported here.

NautilusTrader hands a bar over once it has closed, and its book stands at that close: what is decided there is filled
there and then, not with the open of the next bar.
"""

from __future__ import annotations

import csv
import json
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from time import process_time
from typing import Any

from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model.currencies import EUR, USD
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CurrencyPair
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

FAST, SLOW, DIGITS = 5, 20, 5
VENUE = Venue("SIM")
LENGTHS = {"1-HOUR": timedelta(hours=1), "1-DAY": timedelta(days=1)}


class Crossing(Strategy):  # type: ignore[misc]
    """Holds while the fast average is above the slow one."""

    def __init__(self, bars: BarType, pair: CurrencyPair, units: int) -> None:
        super().__init__()
        self.bars, self.pair, self.units = bars, pair, Quantity.from_int(units)
        self.fast, self.slow = SimpleMovingAverage(FAST), SimpleMovingAverage(SLOW)
        self.number = -1
        self.fills: list[tuple[int, str, float]] = []

    def on_start(self) -> None:
        for average in (self.fast, self.slow):
            self.register_indicator_for_bars(self.bars, average)
        self.subscribe_bars(self.bars)

    def on_bar(self, bar: Bar) -> None:
        self.number += 1
        if not self.slow.initialized:
            return
        rises, held = self.fast.value > self.slow.value, self.portfolio.is_net_long(self.pair.id)
        if rises != held:
            side = OrderSide.BUY if rises else OrderSide.SELL
            self.submit_order(self.order_factory.market(self.pair.id, side, self.units))

    def on_order_filled(self, event: Any) -> None:
        side = "buy" if event.order_side == OrderSide.BUY else "sell"
        self.fills.append((self.number, side, float(event.last_px)))


def main(path: str, length: str, units: int) -> None:
    free = {"maker_fee": Decimal(0), "taker_fee": Decimal(0), "margin_init": Decimal(0), "margin_maint": Decimal(0)}
    symbol, step = Symbol("EUR/USD"), Price(10**-DIGITS, DIGITS)
    pair = CurrencyPair(
        InstrumentId(symbol, VENUE), symbol, EUR, USD, DIGITS, 0, step, Quantity.from_int(1), 0, 0, **free
    )
    kind = BarType.from_str(f"EUR/USD.SIM-{length}-LAST-EXTERNAL")
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(VENUE, OmsType.NETTING, AccountType.CASH, [Money(100_000, USD), Money(0, EUR)])
    engine.add_instrument(pair)
    bars = []
    with open(path, encoding="utf-8") as file:
        for row in csv.DictReader(file):
            closed_ns = int((datetime.fromisoformat(row["time"]) + LENGTHS[length]).timestamp()) * 10**9
            prices = (Price(float(row[name]), DIGITS) for name in ("open", "high", "low", "close"))
            bars.append(Bar(kind, *prices, Quantity.from_int(1_000_000), closed_ns, closed_ns))
    engine.add_data(bars)
    strategy = Crossing(kind, pair, units)
    engine.add_strategy(strategy)
    began_s = process_time()
    engine.run()
    print(json.dumps({"took_s": process_time() - began_s, "bars": len(bars), "fills": strategy.fills}))
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
