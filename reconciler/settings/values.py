"""The settings as one frozen value, checked and complete; and the options it makes for the parts that are wired."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reconciler.errors import Problem, SettingsError
from reconciler.records.accounts import Accounts
from reconciler.settings.paper import PaperSettings

if TYPE_CHECKING:
    from reconciler.dashboard.options import DashboardOptions
    from reconciler.execution.options import ServerOptions
    from reconciler.execution.servers import PaperSite
    from reconciler.runtime.options import HostOptions


Read: TypeAlias = Callable[["Secret", Path, Mapping[str, str]], str]

SHORTEST_TOKEN = 16
"""Characters of the page's token."""
_ONE_SECRET = {"writeOnly": True}
"""The schema of a value that is a secret itself."""


STATE_DIR = ".reconciler"
"""The default of `state_dir`."""
DATABASE = "reconciler.db"
CONTROL_SOCKET = "control.sock"


@dataclass(frozen=True, slots=True)
class Secret:
    """`{env: NAME}` or `{file: PATH}`, unread, and where it stands."""

    reference: Mapping[str, str]
    place: Problem

    def read(self, root: Path, environ: Mapping[str, str]) -> str:
        """What it refers to, a relative file looked up under `root`; SettingsError where that leads nowhere.

        It is read by the one rule that holds for the secrets of instances, too.
        """
        from reconciler.runtime.secrets import SecretUnavailable, resolver

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


@dataclass(frozen=True, slots=True)
class SourceSettings:
    kind: Literal["worktree", "git"]
    branch: str


@dataclass(frozen=True, slots=True)
class ReconcileSettings:
    interval_seconds: float


@dataclass(frozen=True, slots=True)
class DashboardSettings:
    host: str
    port: int
    token: Secret | None = None

    @property
    def is_loopback(self) -> bool:
        """True where only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    workers: int
    max_workers: int
    import_deadline_seconds: float
    init_deadline_seconds: float
    tick_deadline_seconds: float
    render_deadline_seconds: float
    unload_deadline_seconds: float
    shutdown_deadline_seconds: float


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


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it, checked, defaults filled in. `root` holds `instances/`; paths are absolute.

    `shadow_fee` is a fraction of the notional.
    """

    root: Path
    state_dir: Path
    heartbeat_seconds: float
    source: SourceSettings
    reconcile: ReconcileSettings
    dashboard: DashboardSettings
    runtime: RuntimeSettings
    shadow_fee: Decimal
    paper: PaperSettings
    servers: tuple[ServerSettings, ...]
    accounts: Accounts

    @property
    def database(self) -> Path:
        return self.state_dir / DATABASE

    @property
    def control_socket(self) -> Path:
        return self.state_dir / CONTROL_SOCKET

    def host_options(self) -> HostOptions:
        from reconciler.runtime.options import HostOptions

        return HostOptions(
            workers=self.runtime.workers,
            max_workers=self.runtime.max_workers,
            init_deadline_s=self.runtime.init_deadline_seconds,
            tick_deadline_s=self.runtime.tick_deadline_seconds,
            render_deadline_s=self.runtime.render_deadline_seconds,
            unload_deadline_s=self.runtime.unload_deadline_seconds,
        )

    def paper_site(self) -> PaperSite:
        return self.paper.site(self.heartbeat_seconds, self.state_dir)

    def dashboard_options(self, environ: Mapping[str, str]) -> DashboardOptions:
        """Reads the token. On loopback only names of loopback are answered to."""
        from reconciler.dashboard.options import LOOPBACK_HOSTS, DashboardOptions

        hosts = tuple(dict.fromkeys((*LOOPBACK_HOSTS, self.dashboard.host))) if self.dashboard.is_loopback else ()
        token = self.dashboard.token
        return DashboardOptions(None if token is None else token.read_token(self.root, environ), hosts, self.accounts)

    def server_options(self, environ: Mapping[str, str]) -> tuple[ServerOptions, ...]:
        """The servers; the embedded paper exchange where none is declared. Their secrets are read when they connect."""
        from reconciler.execution.options import ServerOptions, Value, embedded
        from reconciler.settings.servers import mapping_id, words

        def values(written: Mapping[str, str | Secret], read: Read) -> dict[str, Value]:
            return {
                name: partial(read, value, self.root, environ) if isinstance(value, Secret) else value
                for name, value in written.items()
            }

        return tuple(
            ServerOptions(
                server.name,
                server.kind,
                server.url,
                server.command,
                env=values(server.env, Secret.read_variable),
                headers=values(server.headers, Secret.read_header),
                timeout_s=server.timeout_s,
                start_timeout_s=server.start_timeout_s,
                words=words(server.mapping),
                secrets={where: partial(kept.read, self.root, environ) for where, kept in server.secrets.items()},
                mapping_id=mapping_id(server),
                accounts=server.accounts,
            )
            for server in self.servers
        ) or (embedded(),)
