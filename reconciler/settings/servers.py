"""The section `exec_mcp`: servers and the accounts they reach, cross-checked. What is not done yet is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.errors import Problem
from reconciler.records.accounts import Account, Accounts
from reconciler.records.defaults import defaults
from reconciler.records.document import Document, Place
from reconciler.records.pointer import Path, spell
from reconciler.settings.schema import SCHEMA
from reconciler.settings.values import Secret, ServerSettings

_SECRET_NAME = re.compile(r"auth|cookie|token|secret|key|passw", re.IGNORECASE)

Servers = Mapping[str, Any]
"""The section as written, valid by its schema."""


def problems(servers: Servers, document: Document) -> Iterator[Problem]:
    """What the schema alone cannot see."""
    seen: dict[str, Place] = {}
    for name, server in servers.items():
        here: Path = ("exec_mcp", name)
        yield from _literal_secrets(server["transport"], (*here, "transport"), document)
        for account_id, account in server.get("accounts", {}).items():
            path = (*here, "accounts", account_id)
            place = document.key_place(path)
            if account_id in seen:
                first = seen[account_id]
                message = f"expected every account once, was declared at {first.path}:{first.line} already"
                yield _problem(place, path, message, "declare it under the one server that reaches it", "account-twice")
            seen.setdefault(account_id, place)
            if server["transport"]["kind"] == "paper" and account["money"] == "real":
                message = "expected paper, was real: the paper exchange holds no real money"
                yield _problem(document.place((*path, "money")), (*path, "money"), message, "", "account-money")
        for key in ("bind", "tools"):
            if key in server:
                yield _not_yet((*here, key), "mappings onto a server's own words", document)


def _literal_secrets(transport: Mapping[str, Any], path: Path, document: Document) -> Iterator[Problem]:
    for key in ("headers", "env"):
        for name, value in transport.get(key, {}).items():
            if isinstance(value, str) and _SECRET_NAME.search(name):
                where = (*path, key, name)
                message = "expected {env: NAME} or {file: PATH}, was a text: this file is committed"
                yield _problem(document.place(where), where, message, "keep the secret elsewhere", "secret-literal")


def _not_yet(path: Path, what: str, document: Document) -> Problem:
    message = f"expected nothing here: {what} are not supported by this version, and would not be obeyed"
    return _problem(document.key_place(path), path, message, "remove it", "not-yet")


def _problem(place: Place, path: Path, message: str, hint: str, rule: str) -> Problem:
    return Problem(place.path, place.line, place.column, spell(path), message, hint, rule)


def server_settings(servers: Servers, document: Document) -> tuple[ServerSettings, ...]:
    """The servers, in the order they are written."""

    def readable(values: Mapping[str, Any], path: Path) -> dict[str, str | Secret]:
        return {name: secret(v, (*path, name), document) if isinstance(v, dict) else v for name, v in values.items()}

    def server(name: str, written: Mapping[str, Any]) -> ServerSettings:
        transport = written["transport"]
        path: Path = ("exec_mcp", name, "transport")
        return ServerSettings(
            name,
            transport["kind"],
            float(written["timeout_s"]),
            url=transport.get("url", ""),
            headers=readable(transport.get("headers", {}), (*path, "headers")),
            command=tuple(transport.get("command", ())),
            env=readable(transport.get("env", {}), (*path, "env")),
        )

    filled = {name: defaults(written, SCHEMA["$defs"]["server"], SCHEMA) for name, written in servers.items()}
    return tuple(server(name, written) for name, written in filled.items())


def secret(reference: Mapping[str, str], path: Path, document: Document) -> Secret:
    """The reference at `path`, with its place for whoever finds that it leads nowhere."""
    return Secret(reference, _problem(document.place(path), path, "", "", "secret-unavailable"))


def accounts(servers: Servers) -> Accounts:
    """Every declared account; with no server declared, the paper exchange takes any."""
    if not servers:
        return Accounts()
    declared = {
        account_id: Account(account_id, name, account["money"] == "real", account.get("max_orders_per_minute"))
        for name, server in servers.items()
        for account_id, account in server.get("accounts", {}).items()
    }
    return Accounts(declared, any_on=None)
