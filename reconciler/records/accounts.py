"""The accounts an instance may name, and whether their money is real. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Money = Literal["real", "paper"]


@dataclass(frozen=True, slots=True)
class DeclaredAccount:
    """One account_id: the exec-mcp server that reaches it, and whether its money is real."""

    account_id: str
    server: str
    real_money: bool
    max_orders_per_minute: int | None = None

    @property
    def money(self) -> Money:
        return "real" if self.real_money else "paper"


@dataclass(frozen=True, slots=True)
class Accounts:
    """Every declared account. With none declared, one paper server takes any account_id."""

    declared: Mapping[str, DeclaredAccount] = field(default_factory=dict)
    any_on: str | None = "paper"
    """The server that takes undeclared accounts, with paper money; None where all must be declared."""
    servers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """How each server is reached and spoken to, as the settings say it, but for its accounts. Secrets are references,
    yet a text may be one all the same: for comparing, not for showing."""

    def get(self, account_id: str) -> DeclaredAccount | None:
        """The account of that id, or None where the settings do not know it."""
        found = self.declared.get(account_id)
        if found is None and self.any_on is not None:
            return DeclaredAccount(account_id, self.any_on, real_money=False)
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
