"""What the dashboard is told when it is made. Frozen; the settings decide, this folder only obeys."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.records.accounts import Accounts

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class DashboardOptions:
    """`token` None asks nobody who they are, which is for loopback only; the settings see to that.

    `allowed_hosts` are the names a request's Host header may carry, without port; empty allows any. Loopback
    needs the check: without it any web page can point a name of its own at 127.0.0.1 and read this one.
    `accounts` says whose money is real.
    """

    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    accounts: Accounts = field(default_factory=Accounts)
