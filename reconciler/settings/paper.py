"""The section `paper`: the paper exchange that the engine embeds, and that `reconciler paper` serves alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reconciler.records.pointer import Path as Pointer

if TYPE_CHECKING:
    from reconciler.execution.servers import PaperSite

Section = Mapping[str, Any]
"""The section, valid by its schema, defaults filled in."""


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """Money as exact decimals. `prices` is the CSV file to replay, absolute, None for the example rates.

    `markets` are the rules of each symbol, `faults` what `FaultRule.read` understands. `step_seconds` is None
    where prices hold for a heartbeat.
    """

    seed: str
    maker_fee: Decimal
    taker_fee: Decimal
    fees_in: Literal["quote", "received"]
    shorts: bool
    balances: Mapping[str, Decimal]
    default_balance: Decimal
    markets: Mapping[str, Mapping[str, Decimal]]
    faults: tuple[Mapping[str, Any], ...]
    begin_s: float
    prices: Path | None
    speed: float | None
    step_seconds: float | None

    def site(self, heartbeat_s: float, journals: Path | None) -> PaperSite:
        """The options of the exchange; it keeps its state below `journals`, or forgets it."""
        from reconciler.execution.paper.faults import FaultRule
        from reconciler.execution.paper.options import FeedOptions, PaperOptions
        from reconciler.execution.paper.rules import MarketRules, Markets
        from reconciler.execution.servers import PaperSite

        return PaperSite(
            step_s=self.step_seconds or heartbeat_s,
            options=PaperOptions(
                maker_fee=self.maker_fee,
                taker_fee=self.taker_fee,
                fees_in=self.fees_in,
                starting=self.balances,
                default_starting=self.default_balance,
                shorts=self.shorts,
                markets=Markets({symbol: MarketRules(**rules) for symbol, rules in self.markets.items()}),
            ),
            feed=FeedOptions(self.prices, self.seed, self.speed, self.begin_s),
            faults=tuple(map(FaultRule.read, self.faults)),
            journals=journals,
        )


def paper_settings(root: Path, section: Section) -> PaperSettings:
    """The section as a value; paths are relative to `root`."""
    return PaperSettings(
        seed=section["seed"],
        maker_fee=Decimal(section["maker_fee"]),
        taker_fee=Decimal(section["taker_fee"]),
        fees_in=section["fees_in"],
        shorts=section["shorts"],
        balances=_decimals(section["balances"]),
        default_balance=Decimal(section["default_balance"]),
        markets={symbol: _decimals(rules) for symbol, rules in section["markets"].items()},
        faults=tuple(section["faults"]),
        begin_s=_moment_s(section["begin"]),
        prices=root / section["prices"] if "prices" in section else None,
        speed=float(section["speed"]) if "speed" in section else None,
        step_seconds=float(section["step_seconds"]) if "step_seconds" in section else None,
    )


def problems(root: Path, section: Section) -> Iterator[tuple[Pointer, str, str, str]]:
    """What the schema alone cannot see: the path of the value, what is wrong, how to mend it, the rule."""
    prices = section.get("prices")
    if prices is not None and not (root / prices).is_file():
        message = f"expected a file, found none at {prices}"
        yield ("paper", "prices"), message, "the path is relative to the settings", "paper-prices"
    try:
        _moment_s(section["begin"])
    except ValueError:
        message = f"expected a time such as 2026-01-31T12:00:00Z, was {section['begin']!r}"
        yield ("paper", "begin"), message, "", "schema-format"
    for index, fault in enumerate(section["faults"]):
        if fault["kind"] == "down" and fault.get("tool", "*") != "*":
            message = f"expected no tool, for the server is down as a whole, was {fault['tool']!r}"
            yield ("paper", "faults", index, "tool"), message, "leave it out", "settings-value"


def _decimals(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in texts.items()}


def _moment_s(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time, UTC where it does not say. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return (time.replace(tzinfo=UTC) if time.tzinfo is None else time).timestamp()
