"""The accounts an instance may name, whether their money is real, and the limits of what is on them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from reconciler.records.record import Limits
from reconciler.records.scopes import Ceilings, Requirement, Scope, Throttle

Money = Literal["real", "paper"]


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
