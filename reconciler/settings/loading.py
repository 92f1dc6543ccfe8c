"""Loading: the file, the environment and flags → `Settings`, or every problem at once.

A flag wins over the environment, the environment over the file, the file over the default.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from reconciler.documents.document import Document, parse
from reconciler.documents.wording import Path as Pointer
from reconciler.documents.wording import spell
from reconciler.errors import Problem, SettingsError
from reconciler.records.accounts import Accounts
from reconciler.records.followed import Pinned
from reconciler.settings import scope_settings as scopes
from reconciler.settings import server_settings as servers
from reconciler.settings import values as paper
from reconciler.settings.schema import SCHEMA, Scalar, scalars
from reconciler.settings.values import (
    DashboardSettings,
    ReconcileSettings,
    RuntimeSettings,
    Settings,
    SignatureSettings,
    SourceSettings,
)
from reconciler.validation.config_schema import defaults, with_integers
from reconciler.validation.validator import check, compile_schema

FILE: Final = "reconciler.yaml"
_MEANT: Final = re.compile(r"reconciler\.ya?ml(?:\.txt)?", re.IGNORECASE)
_NOTHING: Final = b"{}"


@dataclass(frozen=True, slots=True)
class _Override:
    """A scalar that was set elsewhere than in the file; `origin` is the variable's or the flag's name."""

    scalar: Scalar
    value: Any
    origin: str

    def problem(self, message: str, hint: str = "", rule: str = "settings-value") -> Problem:
        return Problem(self.origin, 0, 0, self.scalar.name, message, hint, rule)


@dataclass(frozen=True, slots=True)
class Committed:
    """Settings that a commit holds: `data` is its reconciler.yaml, None where it has none. `pinned` is what is
    followed, whatever else it says, and `state_dir` where the state is, which no commit can move."""

    commit: str
    data: bytes | None
    pinned: Pinned
    state_dir: Path
    file: Callable[[str], Path | None] = lambda path: None
    """A copy of the file at that path, from the fleet's root, in the commit; None where it has none."""


OF_THE_HOST: Final = frozenset(("state_dir", "heartbeat_seconds", "dashboard", "runtime"))
"""The sections that may be set beside a commit; and what of `source` says where to look."""
_WHERE_TO_LOOK: Final = frozenset((("source", "kind"), ("source", "branch"), ("source", "remote")))


def load(
    root: Path,
    environ: Mapping[str, str],
    flags: Mapping[str, Any] | None = None,
    committed: Committed | None = None,
) -> Settings:
    """The settings of the fleet at `root`. `flags` are by dotted name (`dashboard.port`).

    They are those of the file on disk, or of a commit: beside that, little may be set. Raises SettingsError with every
    problem. Secrets are not read: checking a file asks for no secret.
    """
    root = root.absolute()  # not resolved: it may be a link that others replace
    document = _document(root) if committed is None else _understood(committed.data or _NOTHING)
    overrides = [*_from_environment(environ), *_from_flags(flags or {})]
    problems = list(compile_schema(SCHEMA).problems(document))
    problems += [problem for override in overrides for problem in _override_problems(override)]
    if committed is not None:
        problems += [_not_the_hosts(one) for one in overrides if not _is_the_hosts(one)]
        problems += _moves_state(root, committed, document)
    if not problems:
        values = _merged(with_integers(defaults(document.values, SCHEMA), SCHEMA), overrides)
        if committed is not None and (prices := values["paper"].get("prices")):
            values["paper"]["prices"] = str(committed.file(prices) or committed.state_dir / "nowhere" / prices)
        problems = list(_cross_problems(root, values, document, {o.scalar.path: o for o in overrides}))
        problems += _signed_by_nobody(values["source"], document) if committed is None else ()
    if problems:
        raise SettingsError(tuple(sorted(problems)))
    if committed is not None:
        values["state_dir"] = committed.state_dir
        followed = {"kind": committed.pinned.kind, "branch": committed.pinned.branch, "remote": committed.pinned.remote}
        values["source"] = {**values["source"], **followed}
    return _settings(root, values, document)


def _is_the_hosts(override: _Override) -> bool:
    return override.scalar.path[0] in OF_THE_HOST or override.scalar.path in _WHERE_TO_LOOK


def _not_the_hosts(override: _Override) -> Problem:
    message = "expected it in reconciler.yaml of the branch alone, where it is reviewed: commits are the source"
    return override.problem(message, f"commit it there, and unset {override.origin}", "host-setting")


def _signed_by_nobody(source: Mapping[str, Any], document: Document) -> Iterator[Problem]:
    if source["signatures"]["required"] and source["kind"] != "git":
        message = "expected kind: git beside it, was worktree: files on disk are signed by nobody"
        at = ("source", "signatures", "required")
        yield Problem(*document.place(at), spell(at), message, "say kind: git, or leave it out", "signatures-of-files")


def _moves_state(root: Path, committed: Committed, document: Document) -> Iterator[Problem]:
    said = document.values.get("state_dir") if isinstance(document.values, dict) else None
    if isinstance(said, str) and root / said != committed.state_dir:
        message = f"expected the place where the state is, {committed.state_dir}, was {said}: no commit can move it"
        hint = f"remove it, or set RECONCILER_STATE_DIR={said} on the host, where the database is"
        yield Problem(*document.place(("state_dir",)), "state_dir", message, hint, "host-setting")


def accounts_in(data: bytes) -> Accounts | None:
    """The accounts that a settings file of these bytes declares; None where it cannot be used."""
    document = parsed_settings(data)
    written = _written(document)
    if written is None or not isinstance(document, Document):
        return None
    is_wrong = any(servers.problems(written["exec_mcp"], document)) or any(scopes.problems(written, document))
    return None if is_wrong else servers.accounts(written)


def signatures_in(data: bytes) -> SignatureSettings | None:
    """Which signatures a settings file of these bytes requires; None where it cannot be used."""
    written = _written(parsed_settings(data))
    return None if written is None else SignatureSettings(**written["source"]["signatures"])


def _written(document: Document | tuple[Problem, ...]) -> dict[str, Any] | None:
    """All values of the settings, defaults filled in; None where the schema refuses them."""
    if not isinstance(document, Document) or compile_schema(SCHEMA).problems(document):
        return None
    values: dict[str, Any] = with_integers(defaults(document.values, SCHEMA), SCHEMA)
    return values


def _document(root: Path) -> Document:
    if strange := _strange(root):
        message = f"expected {FILE}, was a file that sets nothing by its name"
        hint = f"call it {FILE}" if not (root / FILE).exists() else f"put what it says into {FILE}, and remove it"
        raise SettingsError((Problem(strange, 0, 0, "", message, hint, "settings-name"),))
    try:
        data = (root / FILE).read_bytes()
    except FileNotFoundError:
        data = _NOTHING
    except OSError as error:
        message = f"expected a readable file, was refused: {error.strerror}"
        raise SettingsError((Problem(FILE, 0, 0, "", message, rule="settings-unreadable"),)) from None
    return _understood(data)


def _strange(root: Path) -> str:
    """The name of a file that was meant as the settings and is none; empty where there is no such file."""
    try:
        names = [name for name in os.listdir(root) if name != FILE and _MEANT.fullmatch(name)]
        one = next(iter(sorted(names)), "")
        is_other = one and not ((root / FILE).exists() and os.path.samefile(root / one, root / FILE))
    except OSError:  # whoever reads the fleet is told
        return ""
    return one if is_other else ""


def _understood(data: bytes) -> Document:
    parsed = parsed_settings(data)
    if not isinstance(parsed, Document):
        raise SettingsError(parsed)
    return parsed


def parsed_settings(data: bytes) -> Document | tuple[Problem, ...]:
    """The document; one in which everything is commented out says nothing."""
    return parse(_NOTHING if says_nothing(data) else data, FILE)


def says_nothing(data: bytes) -> bool:
    """True for a file with everything commented out, as a template is at first."""
    return all(not line.strip() or line.lstrip().startswith(b"#") for line in data.splitlines())


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Override]:
    for scalar in scalars():
        text = environ.get(scalar.variable, "")
        if text:
            yield _Override(scalar, scalar.read(text), scalar.variable)


def _from_flags(flags: Mapping[str, Any]) -> Iterator[_Override]:
    known = {scalar.name: scalar for scalar in scalars()}
    for name, value in flags.items():
        yield _Override(known[name], value, f"--{name.rpartition('.')[2].replace('_', '-')}")


def _override_problems(override: _Override) -> Iterator[Problem]:
    if isinstance(override.value, float) and not math.isfinite(override.value):
        yield override.problem(f"expected a finite number, was {override.value}", "", "schema-type")
        return
    for violation in check(override.value, override.scalar.schema):
        yield override.problem(violation.message, violation.hint, violation.rule)


def _merged(values: dict[str, Any], overrides: list[_Override]) -> dict[str, Any]:
    for override in overrides:
        inner = values
        *sections, key = override.scalar.path
        for section in sections:
            inner = inner[section]
        inner[key] = override.value
    return values


def _cross_problems(
    root: Path, values: Mapping[str, Any], document: Document, overrides: Mapping[Pointer, _Override]
) -> Iterator[Problem]:
    def problem(path: Pointer, message: str, hint: str, rule: str) -> Problem:
        if path in overrides:
            return overrides[path].problem(message, hint, rule)
        return Problem(*document.place(path), spell(path), message, hint, rule)

    for found in paper.problems(root, values["paper"]):
        yield problem(*found)
    dashboard = values["dashboard"]
    if "token" not in dashboard and not DashboardSettings(dashboard["host"], dashboard["port"]).is_loopback:
        message = f"expected a token, or a loopback address, was {dashboard['host']} without one"
        hint = "add dashboard.token: {env: NAME}, or leave host at 127.0.0.1"
        yield problem(("dashboard", "host"), message, hint, "dashboard-token")
    yield from servers.problems(values["exec_mcp"], document)
    yield from scopes.problems(values, document)


def _settings(root: Path, values: Mapping[str, Any], document: Document) -> Settings:
    """What the schema names and the dataclasses have as it stands, and here what becomes another value on the way."""
    token = values["dashboard"].get("token")
    plain = {scalar.path[0]: values[scalar.path[0]] for scalar in scalars() if len(scalar.path) == 1}
    made: dict[str, Any] = {
        "root": root,
        "state_dir": root / values["state_dir"],
        "heartbeat_seconds": float(values["heartbeat_seconds"]),
        "source": _source(values["source"]),
        "reconcile": ReconcileSettings(**values["reconcile"]),
        "dashboard": DashboardSettings(
            **values["dashboard"]
            | {"token": None if token is None else servers.secret(token, ("dashboard", "token"), document)}
        ),
        "runtime": RuntimeSettings(**values["runtime"]),
        "shadow_fee": Decimal(values["shadow"]["fee"]),
        "paper": paper.paper_settings(root, values["paper"]),
        "servers": servers.server_settings(values["exec_mcp"], document),
        "accounts": servers.accounts(values),
    }
    return Settings(**plain | made)


def _source(section: Mapping[str, Any]) -> SourceSettings:
    made = {"fetch_seconds": float(section["fetch_seconds"]), "signatures": SignatureSettings(**section["signatures"])}
    return SourceSettings(**{**section, **made})
