"""The accounts an instance may name, whether their money is real, and the limits of what is on them. Pure.

And what bounds money above the instance: scopes, their ceilings, throttles, and the limits that records must have. A
scope is an account, all instances of a label, or all of them. Amounts are exact, in the currency of the scope.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from reconciler.records.record import Limits

ScopeKind = Literal["all", "account", "label"]
Money = Literal["real", "paper"]


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


@dataclass(frozen=True, slots=True)
class DeclaredAccount:
    """One account_id: the exec-mcp server that reaches it, whether its money is real, and what bounds what is on it.

    Money of `ceilings` is in `currency`, empty where none is told. `count_as` says what one of a currency counts as in
    others (`{"USDT": {"USD": 1.02}}`), `markets` what markets are priced in that do not name it. No `throttle`: none.
    """

    account_id: str
    server: str
    real_money: bool
    max_orders_per_minute: int | None = None
    currency: str = ""
    ceilings: Ceilings = field(default_factory=Ceilings)
    count_as: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)
    markets: Mapping[str, str] = field(default_factory=dict)
    throttle: Throttle | None = None

    @property
    def money(self) -> Money:
        return "real" if self.real_money else "paper"


@lru_cache(1_024)
def _undeclared(account_id: str, server: str) -> DeclaredAccount:
    """Asked for several times for each instance of a page, so it is not made anew."""
    return DeclaredAccount(account_id, server, real_money=False)


@dataclass(frozen=True, slots=True)
class Accounts:
    """Every declared account. With none declared, one paper server takes any account_id."""

    declared: Mapping[str, DeclaredAccount] = field(default_factory=dict)
    any_on: str | None = "paper"
    """The server that takes undeclared accounts, with paper money; None where all must be declared."""
    servers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """How each server is reached and spoken to, as the settings say it, but for its accounts. Secrets are references,
    yet a text may be one all the same: for comparing, not for showing."""
    above: tuple[Scope, ...] = ()
    """What bounds labels, and all of it, as declared beside the accounts."""
    throttle: Throttle | None = None
    """Of all accounts together."""
    requirement: Requirement | None = None

    def get(self, account_id: str) -> DeclaredAccount | None:
        """The account of that id, or None where the settings do not know it."""
        found = self.declared.get(account_id)
        if found is None and self.any_on is not None:
            return _undeclared(account_id, self.any_on)
        return found

    def money(self, account_id: str) -> Money | None:
        """Whose money an account trades; None where the settings do not know it: then nothing is sent at all.

        The one place that decides it. What asks more of real money asks here.
        """
        account = self.get(account_id)
        return None if account is None else account.money

    def is_real(self, account_id: str) -> bool:
        """True where the account's money is real."""
        return self.money(account_id) == "real"

    def is_declared_paper(self, account_id: str) -> bool:
        """True where only the settings say that its money is paper: its server is not the embedded exchange."""
        account = self.declared.get(account_id)
        if account is None or account.money != "paper":
            return False
        transport = self.servers.get(account.server, {}).get("transport", {})
        return bool(transport.get("kind", "paper") != "paper")

    def scopes(self) -> Iterator[Scope]:
        """Every scope that something bounds: accounts first."""
        for account in self.declared.values():
            if account.ceilings:
                yield Scope("account", account.account_id, account.currency, account.ceilings)
        yield from self.above

    def lacking(self, account_id: str, market: str, limits: Limits) -> tuple[str, ...]:
        """The limits without which a record of that account and market must not rise to active; empty where it may.

        Those of its account count for it. The one place that judges it.
        """
        wanted, account = self.requirement, self.get(account_id)
        if wanted is None or account is None or account.money != wanted.money:
            return ()
        positions = account.ceilings.max_position

        def has(name: str) -> bool:
            if getattr(limits, name, None) is not None:
                return True
            if name == "max_position":
                return market in positions
            return getattr(account.ceilings, name, getattr(account, name, None)) is not None

        return tuple(name for name in wanted.of if not has(name))

    def bounded_as(self, other: Accounts) -> Accounts:
        """These accounts and servers with the limits of `other`, as far as it declares the same accounts."""
        return replace(
            self,
            declared={
                id_: replace(
                    account,
                    max_orders_per_minute=now.max_orders_per_minute,
                    currency=now.currency,
                    ceilings=now.ceilings,
                    count_as=now.count_as,
                    markets=now.markets,
                    throttle=now.throttle,
                )
                if (now := other.declared.get(id_)) is not None
                else account
                for id_, account in self.declared.items()
            },
            above=other.above,
            throttle=other.throttle,
            requirement=other.requirement,
        )

    @property
    def any_is_real(self) -> bool:
        """True where some declared account's money is real."""
        return any(map(self.is_real, self.declared))


Shape: TypeAlias = Mapping[str, Mapping[str, str]]
"""By the server's name of a tool: what is known of it, each fact with a digest. A tool that is not there has none."""


@dataclass(frozen=True, slots=True)
class KnownTools:
    """`mapping` identifies what they are used by: under another mapping, or at another address, they are not known.

    `changed` says how they were found changed, empty where they were not, or somebody has looked since.
    """

    mapping: str
    shape: Shape
    changed: str = ""


LACKING = "require_limits"
"""What begins the sentence that a record lacks limits: the one reason `Limit` that is about the record itself."""


def told_lacking(names: tuple[str, ...], money: str) -> str:
    """That a record lacks limits, in words."""
    return f"{LACKING}: active on {money} money needs {', '.join(names)}, in the record or of its account"
