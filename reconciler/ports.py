"""The protocols by which stages know each other without importing each other. No behaviour.

runtime  → OrderGateway, MarketData   (execution provides)
execution → GateState                  (runtime provides)
dashboard, cli → StatusReader          (control provides)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from reconciler.errors import Problem
from reconciler.orders.market import Balance, Candle, InstrumentRules, Position, Quote
from reconciler.orders.order import Order, OrderChanges, OrderRequest, Provenance
from reconciler.records.event import EventReason, EventType
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Limits, Row
from reconciler.records.status import Health, InstanceStatus, Obstacle, Sync, Ticks

CONTRACT_TOOLS: Final = (
    *("place_order", "cancel_order", "cancel_all", "cancel_all_after", "get_order", "list_orders"),
    *("get_positions", "get_balances", "get_quote", "get_candles", "get_rules"),
)
"""The tools of the exec-mcp contract: what the paper exchange has, what engines ask for, what the settings may name.

`exec_mcp.contract` says of each what it takes and gives.
"""


class GateState(Protocol):
    """What the gateway must know of an instance at the moment of sending.

    One object lives as long as the instance's id is loaded in this process. Whoever lowers the mode, pauses or halts
    does so first, and then has the gateway wait for what was claimed before: `OrderGateway.written`.
    """

    @property
    def mode(self) -> Mode:
        """The mode in force: never above the running record's, lowered at once."""
        ...

    @property
    def paused(self) -> bool: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def committed(self) -> bool:
        """True where record, template and code are committed; real money asks for it."""
        ...

    def provenance(self, beat: int) -> Provenance:
        """Identity and origin of an order placed now, `mode` as in force."""
        ...


class OrderGateway(Protocol):
    """The only way an order leaves. Called on worker threads; blocks until there is an outcome."""

    def place(self, gate: GateState, request: OrderRequest, beat: int) -> Order:
        """Place an order, or explain why not; returns an `Order` for every outcome."""
        ...

    def written(self, instance_id: str = "") -> None:
        """Return once nothing that was claimed before, for that instance or any, is still being written.

        What was closed before is heeded from then on. Whoever calls holds no lock, and is not the main loop.
        """
        ...

    def cancel(self, gate: GateState, client_order_id: str) -> Order:
        """Cancel one of the instance's own orders; possible in every mode, paused and halted too.

        Raises KeyError where the order is not this instance's.
        """
        ...

    def open(self, instance_id: str, *, shadow: bool) -> Sequence[Order]:
        """The instance's own open orders, oldest first."""
        ...

    def recent(self, instance_id: str, limit: int, *, shadow: bool) -> Sequence[Order]:
        """The instance's own orders, newest first, across reloads and restarts."""
        ...

    def position(self, instance_id: str, symbol: str, *, shadow: bool) -> Position:
        """What the instance's own fills add up to."""
        ...

    def listen(self, instance_id: str) -> OrderChanges:
        """What becomes of the instance's orders from now on, while the caller keeps it; ends an earlier one."""
        ...


class MarketData(Protocol):
    """Market and account data, fetched once per server, symbol, timeframe and beat. Blocks its worker thread."""

    def quote(self, account_id: str, symbol: str, beat: int) -> Quote: ...

    def candles(self, account_id: str, symbol: str, timeframe: str, limit: int, beat: int) -> Sequence[Candle]:
        """The last `limit` closed candles, oldest first."""
        ...

    def rules(self, account_id: str, symbol: str) -> InstrumentRules:
        """What the market lets through, asked for once a connection."""
        ...

    def positions(self, account_id: str, client_id: str, beat: int) -> Sequence[Position]: ...

    def balances(self, account_id: str, client_id: str, beat: int) -> Sequence[Balance]: ...


@dataclass(frozen=True, slots=True)
class Cancellation:
    """How far a halt that cancels is: which open orders are still to be cancelled, and which could not be, with why."""

    halt: Halt
    left: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    flat: tuple[str, ...] = ()
    """Where it closes what is held: how far each market of each account is, in words."""
    is_closed: bool = False
    """Whether in all of these nothing more is done: they are flat, or what is left is less than the smallest order."""

    def to_json(self) -> dict[str, Any]:
        failed = [{"client_order_id": id_, "message": why} for id_, why in self.failed]
        return {"left": list(self.left), "failed": failed, "flattening": list(self.flat), "closed": self.is_closed}


class TradingStatus(Protocol):
    """Why the gate of an instance is closed beyond its mode and pause. execution provides, control reads."""

    def cancellations(self) -> Sequence[Cancellation]:
        """How far each halt is that cancels something. From memory."""
        ...

    def blocked(self, instance_id: str, account_id: str) -> tuple[str, str] | None:
        """The first of its obstacles, or None where nothing blocks. Cheap enough for a whole fleet."""
        ...

    def obstacles(self, instance_id: str, account_id: str) -> Sequence[Obstacle]:
        """Everything that blocks, the strongest first; empty where nothing does."""
        ...

    def caveats(self, instance_id: str, account_id: str) -> Sequence[Obstacle]:
        """What keeps some of its orders back, though its gate is open."""
        ...

    def held_back(self) -> frozenset[str]:
        """The instances of which some orders are held back."""
        ...

    def limited(self) -> tuple[frozenset[str], frozenset[str]]:
        """The accounts whose new orders wait, and the servers that are not asked for data, for it was too often."""
        ...


@dataclass(frozen=True, slots=True)
class InstanceFilter:
    """What a list of instances is narrowed to; empty strings match everything.

    `q` matches within id, market, strategy type and description; `label` is `key` or `key=value`; `mode` is what the
    record says, `effective_mode` what is in force; `account` is an account_id, `money` is `real` or `paper`.
    """

    q: str = ""
    label: str = ""
    mode: str = ""
    health: str = ""
    sync: str = ""
    strategy_type: str = ""
    account: str = ""
    money: str = ""
    effective_mode: str = ""

    def matches(
        self,
        row: Row,
        effective_mode: Mode,
        sync: Sync,
        health: Health,
        is_real_money: Callable[[], bool],
    ) -> bool:
        """True where a list narrowed to this holds the instance; whose money it is, is asked only where it matters."""
        record = row.record
        if self.mode and self.mode != row.mode:
            return False
        if self.effective_mode and self.effective_mode != effective_mode:
            return False
        if self.account and self.account != record.identity.account_id:
            return False
        if self.money and self.money != ("real" if is_real_money() else "paper"):
            return False
        if self.strategy_type and self.strategy_type != record.strategy_type:
            return False
        if self.sync and self.sync != sync:
            return False
        if self.health and self.health != health:
            return False
        if self.label:
            key, has_value, value = self.label.partition("=")
            if key not in record.labels or (has_value and record.labels[key] != value):
                return False
        haystack = (record.id, record.identity.market, record.strategy_type, record.description)
        return not self.q or self.q.casefold() in " ".join(haystack).casefold()

    def matches_file(self, attempt: Attempt) -> bool:
        """True where a list narrowed to this tells of a file that stands for no instance: of that, only its place and
        its sync are known."""
        if self != InstanceFilter(q=self.q, sync=self.sync):
            return False
        return self.sync in ("", attempt.sync) and self.q.casefold() in f"{attempt.id or ''} {attempt.path}".casefold()


@dataclass(frozen=True, slots=True)
class StrategySummary:
    """One strategy definition as pages and the command line show it."""

    strategy_type: str
    description: str
    path: str
    code_digest: str
    tick_minutes: float | None
    cadence_steps: int | None
    config_schema: Mapping[str, Any]
    instances: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """The engine itself. Times ISO 8601; `heartbeat_age_s` is how long ago the last beat fired."""

    version: str
    started_at: str
    source: str
    revision: str | None
    clean: bool
    heartbeat_s: float
    last_beat: int | None
    heartbeat_age_s: float | None
    beats_lost: int
    clock_behind_s: float
    source_error: str
    source_notes: tuple[str, ...]
    """What keeps the files from being watched, vouched for or told committed, while they can be read."""
    database_error: str
    prune_held: tuple[str, ...]
    prune_digest: str
    halts: tuple[Mapping[str, Any], ...]
    exec_servers: tuple[Mapping[str, Any], ...]
    counts: Mapping[str, int]
    """Instances by health, keys as `Health` spells them, plus `total`, `problems` and `active`."""
    head: Mapping[str, Any] | None = None
    """Who changed what `revision` is, when, and what was said of it; None where that is not known."""
    is_held: bool = False
    """True where a commit of the branch is not applied, for a reason."""
    unreachable_s: float = 0.0
    """For how long the remote has not answered."""
    observed: bool = True
    """False until the files have been looked at once: nothing can be said of them before."""
    no_beat: str = ""
    """Why no beat has fired for three heartbeats, so that nothing ticks; empty where beats fire."""
    descriptors_note: str = ""
    """That no file descriptor is left but the reserve; empty where there are some."""
    heartbeat_ended: str = ""
    """Why no beat will fire again until the process is started anew; empty where one may."""
    source_blocked_s: float = 0.0
    """For how long nothing but lowering is applied, since git is at work or files cannot be vouched for."""
    git_note: str = ""
    """What else is to be said of git: that there is no repository, or that nothing of HEAD is checked out."""
    settings_note: str = ""
    """That the settings on disk are not those the engine runs with; empty where they are."""


@dataclass(frozen=True, slots=True)
class FleetSummary:
    """Counts over all instances; of modes, those in force."""

    total: int
    by_mode: Mapping[Mode, int]
    by_sync: Mapping[Sync, int]
    by_health: Mapping[Health, int]
    real_money_active: int
    active_accounts: frozenset[str] | None = None
    """The accounts on which an instance is active; None where nobody says."""


@dataclass(frozen=True, slots=True)
class AccountView:
    """What an exchange last said of an account, as far as anybody asked it since the start. Times ISO 8601.

    `positions` and `balances` are None where nobody asked. `difference` says what the account's positions differ in
    from the instances' own fills, empty where they add up; `compared_at` is None where they were not compared.
    """

    positions: Sequence[Position] | None = None
    positions_at: str | None = None
    balances: Sequence[Balance] | None = None
    balances_at: str | None = None
    compared_at: str | None = None
    difference: str = ""


class StatusReader(Protocol):
    """What the page and the command line may know. Thread-safe; changes nothing."""

    def revision(self) -> int:
        """Rises whenever anything below may have changed."""
        ...

    def engine(self) -> EngineStatus: ...

    def instances(self, wanted: InstanceFilter, limit: int, offset: int) -> tuple[Sequence[InstanceStatus], int]:
        """One page of matching instances by id, and how many match in all."""
        ...

    def instance(self, instance_id: str) -> InstanceStatus | None: ...

    def troubled(self) -> Sequence[InstanceStatus]:
        """Every instance that may need attention, by id. Cheap where few do, however large the fleet."""
        ...

    def summary(self) -> FleetSummary:
        """Cheap, however large the fleet."""
        ...

    def ticks(self) -> Ticks:
        """The ticks of all instances there have been in this process: counts, which only ever rise."""
        ...

    def widgets(self, instance_id: str) -> Sequence[Mapping[str, Any]]:
        """What the instance last rendered, as JSON-ready widgets."""
        ...

    def logs(self, instance_id: str) -> Sequence[Mapping[str, Any]]:
        """The instance's last log lines, newest first: `at`, `level`, `message`."""
        ...

    def origins(self, instance_id: str) -> Mapping[str, str]:
        """Where each value that was written stands, by its pointer: `instances/a.yaml:7`, or a line of its template.

        Empty where the files say something else by now than what is applied.
        """
        ...

    def account(self, account_id: str, client_id: str) -> AccountView:
        """What is known of an account, without asking anybody."""
        ...

    def quote(self, account_id: str, symbol: str) -> Quote | None:
        """The last quote that strategies saw there, None where none did of late. Asks nobody."""
        ...

    def orphans(self) -> Sequence[Mapping[str, Any]]:
        """Open orders that exchanges list and the ledger does not know.

        Items with `account_id client_order_id exchange_order_id symbol side quantity state seen_at`.
        """
        ...

    def doubts(self) -> Sequence[Mapping[str, Any]]:
        """Orders in doubt: whether they were placed, or what became of them, is not known.

        Items with `client_order_id instance_id message needs_somebody`.
        """
        ...

    def denials(self) -> Sequence[Mapping[str, Any]]:
        """Open orders that their exchanges took and now say they do not know: somebody must say what became of them.

        Items with `client_order_id instance_id account_id message seen_at`.
        """
        ...

    def differences(self) -> Sequence[Mapping[str, Any]]:
        """Accounts whose positions are not what the instances' own fills add up to, and those whose ledger is behind.

        Items with `account_id difference at behind`; `difference` is empty where only orders tell of lost rows,
        `behind` says of a ledger that is what is wrong, empty where the account trades on.
        """
        ...

    def limits(self) -> Sequence[Mapping[str, Any]]:
        """Every limit above the instances, on each kind of money: how much of it is used, and by whom.

        Items with `scope kind id money limit currency most used left near reached why by`; `used` is None where it
        cannot be measured, `by` are `instance_id used`, the most first.
        """
        ...

    def problems(self, instance_id: str = "") -> Sequence[Problem]:
        """Every problem of every file; or those that keep an instance's file from being applied."""
        ...

    def without_instance(self) -> Sequence[Attempt]:
        """What was attempted with files that have a problem and stand for no instance, by path."""
        ...

    def strategies(self) -> Sequence[StrategySummary]: ...


class EventLog(Protocol):
    """Where what people should read is written. Neither waits nor raises."""

    def record(self, instance_id: str | None, type: EventType, reason: EventReason, message: str) -> None: ...
