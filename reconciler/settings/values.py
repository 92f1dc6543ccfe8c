"""The settings as one frozen value, checked and complete; and the options it makes for the parts that are wired."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reconciler.errors import Problem, SettingsError
from reconciler.records.accounts import Accounts

if TYPE_CHECKING:
    from reconciler.dashboard.options import DashboardOptions
    from reconciler.execution.options import ServerOptions
    from reconciler.execution.servers import PaperSite
    from reconciler.runtime.options import HostOptions


@dataclass(frozen=True, slots=True)
class Secret:
    """`{env: NAME}` or `{file: PATH}`, unread, and where it stands."""

    reference: Mapping[str, str]
    place: Problem

    def read(self, root: Path, environ: Mapping[str, str]) -> str:
        """What it refers to, a relative file looked up under `root`; SettingsError where that leads nowhere."""
        match self.reference:
            case {"env": name}:
                secret = environ.get(name, "")
                if not secret:
                    raise self._unavailable(f"expected the environment variable {name}, was not set")
            case {"file": path}:
                try:
                    secret = (root / path).read_text(encoding="utf-8").rstrip("\r\n")
                except (OSError, UnicodeDecodeError) as error:
                    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
                    raise self._unavailable(f"expected the file {path} with a secret, was refused: {reason}") from None
                if not secret:
                    raise self._unavailable(f"expected the file {path} with a secret, was empty")
            case _:
                raise self._unavailable("expected {env: NAME} or {file: PATH}")
        return secret

    def _unavailable(self, message: str) -> SettingsError:
        return SettingsError((replace(self.place, message=message),))


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
    init_deadline_seconds: float
    tick_deadline_seconds: float
    render_deadline_seconds: float
    unload_deadline_seconds: float
    shutdown_deadline_seconds: float


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """`prices` is the CSV file to replay, absolute, None for the example rates; `fee` a fraction of the notional."""

    seed: str
    fee: Decimal
    prices: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One exec-mcp server. `headers` and `env` hold texts and unread secrets."""

    name: str
    kind: Literal["http", "stdio", "paper"]
    timeout_s: float
    url: str = ""
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    env: Mapping[str, str | Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """All of it, checked, defaults filled in. `root` holds `instances/`; paths are absolute."""

    root: Path
    state_dir: Path
    heartbeat_seconds: float
    source: SourceSettings
    reconcile: ReconcileSettings
    dashboard: DashboardSettings
    runtime: RuntimeSettings
    paper: PaperSettings
    servers: tuple[ServerSettings, ...]
    accounts: Accounts

    @property
    def database(self) -> Path:
        return self.state_dir / "reconciler.db"

    @property
    def control_socket(self) -> Path:
        return self.state_dir / "control.sock"

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
        from reconciler.execution.paper.exchange import PaperOptions
        from reconciler.execution.paper.server import FeedOptions
        from reconciler.execution.servers import PaperSite

        return PaperSite(
            step_s=self.heartbeat_seconds,
            options=PaperOptions(fee_rate=self.paper.fee),
            feed=FeedOptions(self.paper.prices, self.paper.seed),
            journal=self.state_dir / "paper.journal",
        )

    def dashboard_options(self, environ: Mapping[str, str]) -> DashboardOptions:
        """Reads the token. On loopback only names of loopback are answered to."""
        from reconciler.dashboard.options import LOOPBACK_HOSTS, DashboardOptions

        hosts = tuple(dict.fromkeys((*LOOPBACK_HOSTS, self.dashboard.host))) if self.dashboard.is_loopback else ()
        token = self.dashboard.token
        return DashboardOptions(None if token is None else token.read(self.root, environ), hosts, self.accounts)

    def server_options(self, environ: Mapping[str, str]) -> tuple[ServerOptions, ...]:
        """The servers with their secrets read; the embedded paper exchange where none is declared."""
        from reconciler.execution.options import ServerOptions, embedded

        def read(values: Mapping[str, str | Secret]) -> dict[str, str]:
            return {name: v.read(self.root, environ) if isinstance(v, Secret) else v for name, v in values.items()}

        return tuple(
            ServerOptions(
                s.name, s.kind, s.url, s.command, env=read(s.env), headers=read(s.headers), timeout_s=s.timeout_s
            )
            for s in self.servers
        ) or (embedded(),)
