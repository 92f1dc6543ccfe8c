"""The way of orders: what the settings say of the account and the server they go through, and what differs. Pure.

Nothing that may be a secret leaves this module: of headers and variables only references are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.records.accounts import Account, Accounts
from reconciler.records.pointer import spell
from reconciler.review.plan.difference import ABSENT, Difference, Hidden, LimitChange, plain_differences

_LIMIT: Final = "max_orders_per_minute"
_MAY_HOLD_SECRETS: Final = ("headers", "env")
_URL_SECRETS: Final = re.compile(r"(?<=//)[^/@]*(?=@)|(?<=[?#]).*")


@dataclass(frozen=True, slots=True)
class Way:
    """The server of an account, how it is reached and spoken to, and how many orders may go there."""

    account: Account | None = None
    server: Mapping[str, Any] = field(default_factory=dict)


NOWHERE: Final = Way()


def way_of(account_id: str, accounts: Accounts) -> Way:
    """The way there; NOWHERE where the settings do not know the account."""
    account = accounts.get(account_id)
    return NOWHERE if account is None else Way(account, accounts.servers.get(account.server, {}))


def way_differences(old: Way, new: Way) -> tuple[Difference, ...]:
    """Every key of it that differs, as it stands in the settings; money and the server's name are not among them."""
    if old.account is None or new.account is None or (old.account == new.account and old.server is new.server):
        return ()
    server = ("exec_mcp", new.account.server)
    found = [
        Difference(spell((*server, *path)), was, now)
        for path, was, now in plain_differences(_guarded(old.server), _guarded(new.server))
    ]
    return (*found, *_limit(old.account, new.account))


def _limit(old: Account, new: Account) -> Iterator[Difference]:
    was, now = old.max_orders_per_minute, new.max_orders_per_minute
    if was != now:
        change: LimitChange = "wider"
        if was is None or now is None:
            change = "added" if was is None else "removed"
        elif now < was:
            change = "tighter"
        pointer = spell(("exec_mcp", new.server, "accounts", new.account_id, _LIMIT))
        yield Difference(pointer, ABSENT if was is None else was, ABSENT if now is None else now, limit=change)


def _guarded(server: Mapping[str, Any]) -> dict[str, Any]:
    """The entry with everything hidden that may be a secret."""
    transport = dict(server.get("transport", {}))
    for key in _MAY_HOLD_SECRETS:
        if key in transport:
            transport[key] = {
                name: Hidden(value) if isinstance(value, str) else value for name, value in transport[key].items()
            }
    url = transport.get("url")
    if isinstance(url, str) and _URL_SECRETS.search(url):
        transport["url"] = _URL_SECRETS.sub("…", url)
        transport["url_credentials"] = Hidden("\n".join(_URL_SECRETS.findall(url)))
    return {**server, **({"transport": transport} if transport else {})}
