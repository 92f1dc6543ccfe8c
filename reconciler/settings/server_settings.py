"""The section `exec_mcp`: servers, the accounts they reach, and how they are spoken to, cross-checked.

And the secrets that the settings refer to: read late, held to what can be used where they go, never shown.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reconciler.documents.document import Document, Mark
from reconciler.documents.wording import Path as Pointer
from reconciler.documents.wording import spell
from reconciler.errors import Problem, SettingsError
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.settings.schema import SCHEMA
from reconciler.settings.scope_settings import above, account_bounds
from reconciler.validation.config_schema import defaults

if TYPE_CHECKING:
    from reconciler.exec_mcp.words import ServerWords


SHORTEST_TOKEN = 16
"""Characters of the page's token."""


_ONE_SECRET = {"writeOnly": True}
"""The schema of a value that is a secret itself."""


@dataclass(frozen=True, slots=True)
class Secret:
    """`{env: NAME}` or `{file: PATH}`, unread, and where it stands."""

    reference: Mapping[str, str]
    place: Problem

    def read(self, root: Path, environ: Mapping[str, str]) -> str:
        """What it refers to, a relative file looked up under `root`; SettingsError where that leads nowhere.

        It is read by the one rule that holds for the secrets of instances, too.
        """
        from reconciler.runtime.performer import SecretUnavailable, resolver

        try:
            _, (secret,) = resolver(root, environ)(dict(self.reference), _ONE_SECRET)
        except SecretUnavailable as error:
            _, _, message = str(error).partition(": ")  # what comes before says where, as `place` does better
            raise SettingsError((replace(self.place, message=message),)) from None
        return secret

    def read_header(self, root: Path, environ: Mapping[str, str]) -> str:
        """The same, for a header of HTTP: SettingsError, which does not hold it, where none can carry it."""
        return self._fit(self.read(root, environ), header_fault, "an HTTP header can carry")

    def read_token(self, root: Path, environ: Mapping[str, str]) -> str:
        """The same, for the page: one that can be guessed keeps nobody out."""
        return self._fit(self.read(root, environ), _token_fault, f"is at least {SHORTEST_TOKEN} characters long")

    def read_variable(self, root: Path, environ: Mapping[str, str]) -> str:
        """The same, for an environment variable."""
        return self._fit(self.read(root, environ), _variable_fault, "an environment variable can hold")

    def _fit(self, secret: str, fault_of: Callable[[str], str], wanted: str) -> str:
        if not (fault := fault_of(secret)):
            return secret
        ((kind, name),) = self.reference.items()
        raise SettingsError((replace(self.place, message=f"{{{kind}: {name}}}: expected what {wanted}, {fault}"),))


def header_fault(value: str) -> str:
    """Why no HTTP header can carry `value`, without saying any of it; empty where one can."""
    if "\n" in value or "\r" in value:
        return "had a line break"
    if not value.isascii():
        return "had a character that is not ASCII"
    if not value.isprintable():
        return "had a control character"
    where = "beginning" if value.startswith(" ") else "end" if value.endswith(" ") else ""
    return f"had a space at its {where}" if where else ""


def _token_fault(value: str) -> str:
    return f"had {len(value)}" if len(value) < SHORTEST_TOKEN else ""


def _variable_fault(value: str) -> str:
    return "had a NUL" if "\0" in value else ""


_MAPPING = ("mapping", "bind", "tools")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET_NAME = re.compile(
    r"auth|cookie|token|secret|key|passw|passphrase|passcode|pwd|credential|private|mnemonic", re.IGNORECASE
)

Servers = Mapping[str, Any]
"""The section as written, valid by its schema."""


def problems(servers: Servers, document: Document) -> Iterator[Problem]:
    """What the schema alone cannot see."""
    seen: dict[str, Mark] = {}
    for name, server in servers.items():
        here: Pointer = ("exec_mcp", name)
        for key in ("headers", "env"):
            yield from _literal_secrets(server["transport"].get(key, {}), (*here, "transport", key), document)
        for path, const in constants(server):
            yield from _literal_secrets(const, (*here, *path), document)
        yield from _unsendable(server["transport"].get("headers", {}), (*here, "transport", "headers"), document)
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
        yield from _mapping_problems(server, here, document)


def _literal_secrets(values: Any, path: Pointer, document: Document, *, within: bool = False) -> Iterator[Problem]:
    """Texts and numbers under a name that secrets have, or `within` what is called so."""
    if isinstance(values, dict) and not _referred(values):
        for name, value in values.items():
            called = within or _SECRET_NAME.search(name) is not None
            yield from _literal_secrets(value, (*path, name), document, within=called)
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from _literal_secrets(value, (*path, index), document, within=within)
    elif within and isinstance(values, (str, int, float)) and not isinstance(values, bool):
        what = "a text" if isinstance(values, str) else "a number"
        message = f"expected {{env: NAME}} or {{file: PATH}}, was {what}: this file is committed"
        yield _problem(document.place(path), path, message, "keep the secret elsewhere", "secret-literal")


def constants(server: Mapping[str, Any]) -> Iterator[tuple[Pointer, Mapping[str, Any]]]:
    """Every `const` of a server's tools, and its path below the server."""

    def within(written: Any, path: Pointer) -> Iterator[tuple[Pointer, Mapping[str, Any]]]:
        if isinstance(written, list):
            for index, one in enumerate(written):
                yield from within(one, (*path, index))
        elif isinstance(written, dict):
            for key, value in written.items():
                if key == "const" and isinstance(value, dict):
                    yield (*path, key), value
                elif isinstance(value, (dict, list)):
                    yield from within(value, (*path, key))

    yield from within(server.get("tools", {}), ("tools",))


def _referred(value: Any) -> tuple[str, str] | None:
    from reconciler.exec_mcp.words import reference

    return reference(value)


def _references(value: Any, path: Pointer) -> Iterator[tuple[Pointer, Mapping[str, str]]]:
    """Every `{env: NAME}` and `{file: PATH}` within a constant."""
    if _referred(value):
        yield path, value
    elif isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _references(inner, (*path, key))


def _unsendable(headers: Mapping[str, Any], path: Pointer, document: Document) -> Iterator[Problem]:
    for name, value in headers.items():
        where = (*path, name)
        if not _HEADER_NAME.fullmatch(name):
            message = f"expected a name for an HTTP header, was {name!r}"
            yield _problem(document.key_place(where), where, message, "", "header")
        if isinstance(value, str) and (fault := header_fault(value)):
            message = f"expected what an HTTP header can carry, {fault}"
            yield _problem(document.place(where), where, message, "", "header")


def _mapping_problems(server: Mapping[str, Any], here: Pointer, document: Document) -> Iterator[Problem]:
    if not any(key in server for key in _MAPPING):
        return
    from reconciler.exec_mcp.written import BadMapping

    if server["transport"]["kind"] == "paper":
        path = (*here, next(key for key in _MAPPING if key in server))
        message = "expected nothing here: the paper exchange speaks the contract's own words"
        yield _problem(document.key_place(path), path, message, "remove it", "mapping")
        return
    try:
        words(server)
    except BadMapping as bad:
        for where, message in bad.faults:
            path = (*here, *where)
            yield _problem(document.key_place(path), path, message, "", "mapping")


def _problem(place: Mark, path: Pointer, message: str, hint: str, rule: str) -> Problem:
    return Problem(place.path, place.line, place.column, spell(path), message, hint, rule)


def words(server: Mapping[str, Any]) -> ServerWords:
    """How the server spells the contract: its ready-made mapping, and what is written on top. Raises BadMapping."""
    from reconciler.exec_mcp.options import ready
    from reconciler.exec_mcp.written import merged, read

    return read(merged(ready(server["mapping"]) if "mapping" in server else {}, server))


def mapping_id(settings: ServerSettings) -> str:
    """Another text for another mapping or another address: changing either is somebody's doing."""
    from reconciler.exec_mcp.options import ready
    from reconciler.exec_mcp.written import merged

    written = settings.mapping
    spoken = merged(ready(written["mapping"]) if "mapping" in written else {}, written)
    told = json.dumps([settings.kind, settings.url, settings.command, spoken], sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def server_settings(servers: Servers, document: Document) -> tuple[ServerSettings, ...]:
    """The servers, in the order they are written."""

    def readable(values: Mapping[str, Any], path: Pointer) -> dict[str, str | Secret]:
        return {name: secret(v, (*path, name), document) if isinstance(v, dict) else v for name, v in values.items()}

    def server(name: str, written: Mapping[str, Any]) -> ServerSettings:
        transport = written["transport"]
        path: Pointer = ("exec_mcp", name, "transport")
        return ServerSettings(
            name,
            transport["kind"],
            float(written["timeout_s"]),
            float(written["start_timeout_s"]),
            url=transport.get("url", ""),
            headers=readable(transport.get("headers", {}), (*path, "headers")),
            command=tuple(transport.get("command", ())),
            env=readable(transport.get("env", {}), (*path, "env")),
            accounts=tuple(written.get("accounts", {})),
            mapping={key: written[key] for key in _MAPPING if key in written},
            secrets={
                kept: secret(one, ("exec_mcp", name, *where), document)
                for path, const in constants(written)
                for where, one in _references(const, path)
                if (kept := _referred(one))
            },
        )

    filled = {name: defaults(written, SCHEMA["$defs"]["server"], SCHEMA) for name, written in servers.items()}
    return tuple(server(name, written) for name, written in filled.items())


def secret(reference: Mapping[str, str], path: Pointer, document: Document) -> Secret:
    """The reference at `path`, with its place for whoever finds that it leads nowhere."""
    return Secret(reference, _problem(document.place(path), path, "", "", "secret-unavailable"))


def accounts(values: Mapping[str, Any]) -> Accounts:
    """Every declared account, and what bounds them; with no server declared, the paper exchange takes any.

    `values` are all the settings.
    """
    servers: Servers = values["exec_mcp"]
    if not servers:
        return Accounts(**above(values))
    declared = {
        account_id: DeclaredAccount(
            account_id,
            name,
            account["money"] == "real",
            account.get("max_orders_per_minute"),
            **account_bounds(account),
        )
        for name, server in servers.items()
        for account_id, account in server.get("accounts", {}).items()
    }
    reached = {name: _reached(server) for name, server in servers.items()}
    return Accounts(declared, any_on=None, servers=reached, **above(values))


def _reached(server: Mapping[str, Any]) -> Mapping[str, Any]:
    """What holds for all of its accounts, defaults filled in."""
    filled = defaults(server, SCHEMA["$defs"]["server"], SCHEMA)
    return {key: value for key, value in filled.items() if key != "accounts" and not key.startswith("x-")}


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One exec-mcp server. `headers` and `env` hold texts and unread secrets.

    `accounts` are the ids declared under it, `mapping` what is written of `mapping`, `bind` and `tools`, `secrets`
    those that constants there refer to.
    """

    name: str
    kind: Literal["http", "stdio", "paper"]
    timeout_s: float
    start_timeout_s: float
    url: str = ""
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    env: Mapping[str, str | Secret] = field(default_factory=dict)
    accounts: tuple[str, ...] = ()
    mapping: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[tuple[str, str], Secret] = field(default_factory=dict)
