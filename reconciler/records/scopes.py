"""What bounds money above the instance: scopes, their ceilings, throttles, and the limits that records must have. Pure.

A scope is an account, all instances of a label, or all of them. Amounts are exact, in the currency of the scope.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

ScopeKind = Literal["all", "account", "label"]


@dataclass(frozen=True, slots=True)
class Turnover:
    """How much may be traded within any so many minutes."""

    amount: Decimal
    within_minutes: int

    def __str__(self) -> str:
        return f"{self.amount:f} in {self.within_minutes} min"


@dataclass(frozen=True, slots=True)
class Throttle:
    """So many orders that are the same may leave within any so many minutes: the next one is one too many."""

    same_orders: int
    within_minutes: int


REAL_MONEY_THROTTLE: Final = Throttle(60, 5)
"""Of an account of real money that says nothing else."""


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a scope may come to; None means no limit. `max_position` is in units, by market; `min_equity` is a floor."""

    max_gross_notional: Decimal | None = None
    max_daily_loss: Decimal | None = None
    max_drawdown: Decimal | None = None
    max_open_orders: int | None = None
    max_position: Mapping[str, Decimal] = field(default_factory=dict)
    max_turnover: Turnover | None = None
    min_equity: Decimal | None = None

    def __bool__(self) -> bool:
        return any(True for _ in self.each())

    def each(self) -> Iterator[tuple[str, Any]]:
        """Every limit that there is, by name; one of each market for `max_position`."""
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Mapping):
                yield from ((f"{one.name}[{market}]", most) for market, most in value.items())
            elif value is not None:
                yield one.name, value

    @property
    def needs_currency(self) -> bool:
        """True where something of it is money."""
        return any(name in OF_MONEY for name, _ in self.each())


OF_MONEY: Final = ("max_gross_notional", "max_daily_loss", "max_drawdown", "max_turnover", "min_equity")


@dataclass(frozen=True, slots=True)
class Scope:
    """What `ceilings` bound together: `id` is an account_id, a label as `key=value`, empty for all."""

    kind: ScopeKind
    id: str
    currency: str
    ceilings: Ceilings

    def __str__(self) -> str:
        return f"{self.kind} {self.id}" if self.id else self.kind

    def covers(self, account_id: str, labels: Mapping[str, str]) -> bool:
        """True where an instance with these labels on that account belongs to it."""
        if self.kind == "label":
            key, _, value = self.id.partition("=")
            return labels.get(key) == value
        return self.kind == "all" or self.id == account_id


@dataclass(frozen=True, slots=True)
class Requirement:
    """The limits without which no record rises to active on that money."""

    money: Literal["real", "paper"]
    of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScopeMemory:
    """What a scope must know across restarts. `bases` are results at the time at which an instance began to count.

    `high` is the highest result since a person last lifted the drawdown, None before the first; `folded` what those
    made who count no more; `fallen_at` (ISO 8601) when the drawdown was reached, `lost_on` the day whose loss was.
    """

    high: Decimal | None = None
    folded: Decimal = Decimal(0)
    bases: Mapping[str, Decimal] = field(default_factory=dict)
    fallen_at: str = ""
    lost_on: date | None = None
