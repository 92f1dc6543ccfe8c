"""Limits above the instance: what `reconciler.yaml` says → scopes; and what is wrong with it beyond its schema."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from reconciler.documents.document import Document
from reconciler.documents.wording import Path as Pointer
from reconciler.documents.wording import spell
from reconciler.errors import Problem
from reconciler.orders.market import named_currency, usual
from reconciler.records.accounts import REAL_MONEY_THROTTLE, Ceilings, Requirement, Scope, Throttle, Turnover

Section = Mapping[str, Any]
"""Something as written, valid by its schema."""

_AMOUNTS: Final = ("max_gross_notional", "max_daily_loss", "max_drawdown", "min_equity")


def ceilings(written: Section) -> Ceilings:
    """The limits as exact values."""
    turnover = written.get("max_turnover")
    return Ceilings(
        **{name: Decimal(written[name]) for name in _AMOUNTS if name in written},
        max_open_orders=None if "max_open_orders" not in written else int(written["max_open_orders"]),
        max_position={market: Decimal(most) for market, most in written.get("max_position", {}).items()},
        max_turnover=None
        if turnover is None
        else Turnover(Decimal(turnover["amount"]), int(turnover["within_minutes"])),
    )


def throttle(written: Section | None) -> Throttle | None:
    return None if written is None else Throttle(int(written["same_orders"]), int(written["within_minutes"]))


def account_bounds(account: Section) -> dict[str, Any]:
    """What bounds an account, as fields of `DeclaredAccount`."""
    unasked = REAL_MONEY_THROTTLE if account["money"] == "real" else None
    return {
        "currency": account.get("currency", ""),
        "ceilings": ceilings(account.get("limits", {})),
        "count_as": {
            name: {other: Decimal(one) for other, one in others.items()}
            for name, others in account.get("count_as", {}).items()
        },
        "markets": dict(account.get("markets", {})),
        "throttle": throttle(account["throttle"]) if "throttle" in account else unasked,
    }


def above(values: Section) -> dict[str, Any]:
    """What bounds more than one account, as fields of `Accounts`. `values` are all the settings."""
    wanted = values.get("require_limits")
    return {
        "above": tuple(
            Scope("label" if "label" in one else "all", one.get("label", ""), one["currency"], ceilings(one))
            for one in values.get("limits", ())
        ),
        "throttle": throttle(values.get("throttle")),
        "requirement": None if wanted is None else Requirement(wanted["money"], tuple(wanted["of"])),
    }


def problems(values: Section, document: Document) -> Iterator[Problem]:
    """What the schema alone cannot see. `values` are all the settings."""
    measured_in = {usual(one["currency"]) for one in values["limits"]}
    for name, server in values["exec_mcp"].items():
        for account_id, account in server.get("accounts", {}).items():
            yield from _account_problems(account, ("exec_mcp", name, "accounts", account_id), measured_in, document)
    yield from _above_problems(values["limits"], document)
    yield from _one_account(values["exec_mcp"], document)


def _account_problems(account: Section, here: Pointer, above: set[str], document: Document) -> Iterator[Problem]:
    limits = account.get("limits", {})
    if ceilings(limits).needs_currency and "currency" not in account:
        what = next(name for name in limits if name in _AMOUNTS or name == "max_turnover")
        message = f"expected a currency beside limits, for {what} is money"
        yield _problem(
            document.key_place((*here, "limits")), (*here, "limits"), message, "add currency: USD", "currency"
        )
    measured_in = above | ({usual(account["currency"])} if "currency" in account else set())
    for currency, factors in account.get("count_as", {}).items():
        for into in factors:
            path = (*here, "count_as", currency, into)
            if usual(currency) == usual(into):
                message, hint = f"expected another currency than {currency}", "every currency counts as itself"
            elif usual(into) not in measured_in:
                message = f"expected a currency that limits are in, was {into}"
                hint = f"limits are in {', '.join(sorted(measured_in)) or 'none'}"
            else:
                continue
            yield _problem(document.key_place(path), path, message, hint, "count-as")
    for market, currency in account.get("markets", {}).items():
        named = named_currency(market) if "/" in market else ""
        if named and usual(currency) != named:
            path = (*here, "markets", market)
            message = f"expected {named}, as the market's name says, was {currency}"
            yield _problem(document.place(path), path, message, "leave it out", "market-currency")


def _above_problems(written: Sequence[Section], document: Document) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index, one in enumerate(written):
        here: Pointer = ("limits", index)
        if ("label" in one) == ("all" in one):
            message = f"expected label or all, {'were both' if 'label' in one else 'was neither'}"
            hint = "label: team=majors, or all: true; limits of an account stand with the account"
            yield _problem(document.place(here), here, message, hint, "limits-scope")
            continue
        name = one.get("label", "all")
        if not ceilings(one):
            message = "expected a limit, was none"
            yield _problem(document.place(here), here, message, 'max_daily_loss: "400"', "limits-empty")
        if name in seen:
            first = document.place(("limits", seen[name])).line
            message = f"expected every scope once, {name} stands at line {first} already"
            yield _problem(document.place(here), here, message, "put its limits together", "limits-twice")
        seen.setdefault(name, index)


def _one_account(servers: Section, document: Document) -> Iterator[Problem]:
    """Accounts that are one and the same at the exchange: nothing that is sent tells them apart."""
    reached: defaultdict[str, list[Pointer]] = defaultdict(list)
    for name, server in servers.items():
        if server["transport"]["kind"] != "paper" and _sends_no_account(server):
            transport = json.dumps(_plain(server["transport"]), sort_keys=True)
            reached[transport] += [("exec_mcp", name, "accounts", id_) for id_ in server.get("accounts", {})]
    for paths in reached.values():
        for path in paths if len(paths) > 1 else ():
            others = ", ".join(str(other[-1]) for other in paths if other != path)
            message = f"reaches the same account as {others}: bind sends no account_id over this transport"
            hint = "declare the account once, or bind account_id to the server's argument"
            yield _problem(document.key_place(path), path, message, hint, "account-shared")


def _sends_no_account(server: Section) -> bool:
    if not any(key in server for key in ("mapping", "bind", "tools")):
        return False
    from reconciler.exec_mcp.options import ready
    from reconciler.exec_mcp.written import merged

    bind = merged(ready(server["mapping"]) if "mapping" in server else {}, server)["bind"]
    return "account_id" in bind and bind["account_id"] is None


def _plain(transport: Section) -> dict[str, Any]:
    """What is the same wherever it is spelled otherwise."""
    url = transport.get("url")
    return dict(transport) if url is None else {**transport, "url": url.rstrip("/")}


def _problem(place: tuple[str, int, int], path: Pointer, message: str, hint: str, rule: str) -> Problem:
    return Problem(*place, spell(path), message, hint, rule)
