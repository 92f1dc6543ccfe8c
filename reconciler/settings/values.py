"""The settings as one frozen value, checked and complete; and the options it makes for the parts that are wired."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from reconciler.documents.wording import Path as Pointer
from reconciler.records.accounts import Accounts
from reconciler.records.followed import Pinned
from reconciler.settings.server_settings import Secret, ServerSettings

if TYPE_CHECKING:
    from reconciler.dashboard.guard import DashboardOptions
    from reconciler.exec_mcp.options import ServerOptions
    from reconciler.exec_mcp.servers import PaperSite
    from reconciler.runtime.protocol import HostOptions


Section = Mapping[str, Any]
"""The section, valid by its schema, defaults filled in."""


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """Money as exact decimals. `prices` is the CSV file to replay, absolute, None for the example rates.

    `markets` are the rules of each symbol, `faults` what `FaultRule.read` understands. `step_seconds` is None
    where prices hold for a heartbeat.
    """

    seed: str
    maker_fee: Decimal
    taker_fee: Decimal
    fees_in: Literal["quote", "received"]
    fills: Literal["at_once", "next"]
    shorts: bool
    balances: Mapping[str, Decimal]
    default_balance: Decimal
    markets: Mapping[str, Mapping[str, Decimal]]
    faults: tuple[Mapping[str, Any], ...]
    begin_s: float
    prices: Path | None
    speed: float | None
    step_seconds: float | None

    def site(self, heartbeat_s: float, journals: Path | None) -> PaperSite:
        """The options of the exchange; it keeps its state below `journals`, or forgets it."""
        from reconciler.exec_mcp.servers import PaperSite
        from reconciler.paper.account import PaperOptions
        from reconciler.paper.faults import FaultRule
        from reconciler.paper.feed import FeedOptions
        from reconciler.paper.paper_order import MarketRules, Markets

        return PaperSite(
            step_s=self.step_seconds or heartbeat_s,
            options=PaperOptions(
                maker_fee=self.maker_fee,
                taker_fee=self.taker_fee,
                fees_in=self.fees_in,
                fills=self.fills,
                starting=self.balances,
                default_starting=self.default_balance,
                shorts=self.shorts,
                markets=Markets({symbol: MarketRules(**rules) for symbol, rules in self.markets.items()}),
            ),
            feed=FeedOptions(self.prices, self.seed, self.speed, self.begin_s),
            faults=tuple(map(FaultRule.read, self.faults)),
            journals=journals,
        )


def paper_settings(root: Path, section: Section) -> PaperSettings:
    """The section as a value; paths are relative to `root`."""
    return PaperSettings(
        seed=section["seed"],
        maker_fee=Decimal(section["maker_fee"]),
        taker_fee=Decimal(section["taker_fee"]),
        fees_in=section["fees_in"],
        fills=section["fills"],
        shorts=section["shorts"],
        balances=_decimals(section["balances"]),
        default_balance=Decimal(section["default_balance"]),
        markets={symbol: _decimals(rules) for symbol, rules in section["markets"].items()},
        faults=tuple(section["faults"]),
        begin_s=_moment_s(section["begin"]),
        prices=root / section["prices"] if "prices" in section else None,
        speed=float(section["speed"]) if "speed" in section else None,
        step_seconds=float(section["step_seconds"]) if "step_seconds" in section else None,
    )


def problems(root: Path, section: Section) -> Iterator[tuple[Pointer, str, str, str]]:
    """What the schema alone cannot see: the path of the value, what is wrong, how to mend it, the rule."""
    prices = section.get("prices")
    if prices is not None and not (root / prices).is_file():
        message = f"expected a file, found none at {prices}"
        yield ("paper", "prices"), message, "the path is relative to the settings", "paper-prices"
    try:
        _moment_s(section["begin"])
    except ValueError:
        message = f"expected a time such as 2026-01-31T12:00:00Z, was {section['begin']!r}"
        yield ("paper", "begin"), message, "", "schema-format"
    for index, fault in enumerate(section["faults"]):
        if fault["kind"] == "down" and fault.get("tool", "*") != "*":
            message = f"expected no tool, for the server is down as a whole, was {fault['tool']!r}"
            yield ("paper", "faults", index, "tool"), message, "leave it out", "settings-value"


def _decimals(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in texts.items()}


def _moment_s(text: str) -> float:
    """Seconds since the epoch of an ISO 8601 time, UTC where it does not say. Raises ValueError."""
    time = datetime.fromisoformat(text)
    return (time.replace(tzinfo=UTC) if time.tzinfo is None else time).timestamp()


Read: TypeAlias = Callable[["Secret", Path, Mapping[str, str]], str]


STATE_DIR = ".reconciler"
"""The default of `state_dir`."""
DATABASE = "reconciler.db"
CONTROL_SOCKET = "control.sock"


@dataclass(frozen=True, slots=True)
class SignatureSettings:
    """`allowed_signers` and `forge` are paths from the fleet's root, in the repository; `forge` empty for none."""

    required: bool = False
    allowed_signers: str = "allowed_signers"
    forge: str = ""


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """`remote` is None where the branch is the repository's own."""

    kind: Literal["worktree", "git"]
    branch: str
    remote: str | None = None
    fetch_seconds: float = 10.0
    signatures: SignatureSettings = SignatureSettings()

    @property
    def pinned(self) -> Pinned:
        return Pinned("worktree") if self.kind == "worktree" else Pinned("git", self.remote, self.branch)


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
        from reconciler.runtime.protocol import HostOptions

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
        from reconciler.dashboard.guard import LOOPBACK_HOSTS, DashboardOptions

        hosts = tuple(dict.fromkeys((*LOOPBACK_HOSTS, self.dashboard.host))) if self.dashboard.is_loopback else ()
        token = self.dashboard.token
        return DashboardOptions(None if token is None else token.read_token(self.root, environ), hosts, self.accounts)

    def server_options(self, environ: Mapping[str, str]) -> tuple[ServerOptions, ...]:
        """The servers; the embedded paper exchange where none is declared. Their secrets are read when they connect."""
        from reconciler.exec_mcp.options import ServerOptions, Value, embedded
        from reconciler.settings.server_settings import mapping_id, words

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
