"""A fleet on real parts: files, git, SQLite and worker threads. Only the clock and the exchange are fakes."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import FakeClock, utc
from reconciler.control.board import Parts, StatusBoard
from reconciler.control.chronicle import Bookkeeping
from reconciler.control.controller import Controller, ControllerOptions
from reconciler.control.follower import Follower
from reconciler.control.heartbeat import Heartbeat
from reconciler.control.observer import Observer
from reconciler.control.operator import Operator
from reconciler.control.trail import Signing, Trail, distrusted, judging
from reconciler.errors import CannotDrill, ExecUnavailable
from reconciler.orders.market import Balance, Candle, InstrumentRules, Position, Quote
from reconciler.orders.news import Correction, Shares, Verdict
from reconciler.orders.order import Order, OrderChanges, OrderRequest
from reconciler.ports import Cancellation, GateState, InstanceFilter
from reconciler.records.accounts import Accounts
from reconciler.records.crosscheck import Basis, EvaluationCache, evaluate_all
from reconciler.records.evaluation import Evaluation
from reconciler.records.followed import Pinned
from reconciler.records.plan import Action, Phase, Running
from reconciler.records.snapshot import Snapshot
from reconciler.records.status import InstanceStatus, Obstacle
from reconciler.runtime.host import ThreadHost
from reconciler.runtime.performer import Performer, no_secrets, resolver
from reconciler.runtime.protocol import HostOptions, World
from reconciler.settings import accounts_in
from reconciler.settings.live_settings import LiveLimits
from reconciler.sources.branch import Branch
from reconciler.sources.signatures import CheckedBeside, Signatures
from reconciler.sources.worktree import Worktree, WorktreeOptions
from reconciler.store.store import Store
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.importing import Importer

PROBE = """
from reconciler.strategy import Strategy, text

class Probe(Strategy):
    '''Does what its config says.'''
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {
        "type": "object",
        "properties": {"levels": {"type": "integer", "default": 5}, "fail": {"enum": ["init", "tick", ""]}},
        "additionalProperties": False,
    }

    def init(self):
        if self.config.get("fail") == "init":
            raise RuntimeError("no luck in init")

    def on_tick(self):
        if self.config.get("fail") == "tick":
            raise RuntimeError("no luck in tick")

    def render(self):
        return [text("note", "Note", "VERSION")]
"""

NOTHING = Decimal(0)


class NoOrders:
    """A gateway for strategies that place none."""

    def place(self, gate: GateState, request: OrderRequest, beat: int) -> Order:
        raise AssertionError("no strategy of these tests places an order")

    def cancel(self, gate: GateState, client_order_id: str) -> Order:
        raise KeyError(client_order_id)

    def drill(self, account_id: str, *, takes: bool) -> Order:
        raise CannotDrill("no strategy of these tests places an order")

    def cancel_by_hand(self, client_order_id: str) -> tuple[Order | None, str]:
        return None, "there is no such order"

    def cancellations(self) -> Sequence[Cancellation]:
        return ()

    def written(self, instance_id: str = "") -> None:
        """Nothing ever is."""

    def open(self, instance_id: str, *, shadow: bool) -> Sequence[Order]:
        return ()

    def recent(self, instance_id: str, limit: int, *, shadow: bool) -> Sequence[Order]:
        return ()

    def position(self, instance_id: str, symbol: str, *, shadow: bool) -> Position:
        return Position(symbol, NOTHING)

    def listen(self, instance_id: str) -> OrderChanges:
        return OrderChanges()

    def resolve(self, client_order_id: str, verdict: Verdict) -> str:
        return "" if client_order_id == "known" else "the ledger knows no such order"

    def correct(self, instance_id: str, correction: Correction) -> str:
        return "" if instance_id == "a" else "there is and was no such instance"

    def mark(self, instance_id: str, price: Decimal, reason: str, by: str) -> str:
        return self.correct(instance_id, Correction(Decimal(0), price, reason, by))

    def lift(self, scope: str) -> str:
        return "" if scope == "account main" else f"{scope} has no max_drawdown: there is nothing to lift"

    def settle(self, account_id: str, shares: Shares) -> str:
        if account_id == "gone":
            raise ExecUnavailable("it is not connected")
        return "" if account_id == "main" else "its ledger is not behind: there is nothing to settle"

    obstructions: tuple[Obstacle, ...] = ()

    braked: frozenset[str] = frozenset()
    """The instances whose orders are held back."""
    hushed: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
    """The accounts, and the servers, that were asked too often."""

    def caveats(self, instance_id: str, account_id: str) -> Sequence[Obstacle]:
        return [Obstacle("RefusedAgain", "buy orders are held back")] if instance_id in self.braked else []

    def held_back(self) -> frozenset[str]:
        return self.braked

    def limited(self) -> tuple[frozenset[str], frozenset[str]]:
        return self.hushed

    def blocked(self, instance_id: str, account_id: str) -> tuple[str, str] | None:
        return next(iter(self.obstructions), None)

    def obstacles(self, instance_id: str, account_id: str) -> Sequence[Obstacle]:
        return self.obstructions


class NoMarket:
    """Market data nobody looks at."""

    def quote(self, account_id: str, symbol: str, beat: int) -> Quote:
        return Quote(symbol, Decimal(1), Decimal(1), Decimal(1), utc(0))

    def candles(self, account_id: str, symbol: str, timeframe: str, limit: int, beat: int) -> Sequence[Candle]:
        return ()

    def rules(self, account_id: str, symbol: str) -> InstrumentRules:
        return InstrumentRules()

    def positions(self, account_id: str, client_id: str, beat: int) -> Sequence[Position]:
        return ()

    def balances(self, account_id: str, client_id: str, beat: int) -> Sequence[Balance]:
        return ()


class Fleet:
    """An engine without its loops: the test takes every turn itself.

    Not as `assembled` makes it: there is no order side. What it would say of trading is said by `NoOrders`, as each
    test wants it; whole engines are in `tests/proof` and `tests/test_inline.py`.
    """

    def __init__(
        self,
        root: Path,
        clock: FakeClock,
        adopt: bool = False,
        accounts: Accounts | None = None,
        imports_beside: bool = False,
        follows: str = "",
        is_signed: bool = False,
        checks_beside: bool = False,
        by_settings: bool = False,
        trust: str = "",
        rules: str = "those of these tests",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`follows` is a branch: then its commits are the source. `is_signed`: signatures are required of them, and
        `checks_beside`: checked beside the passes.
        `by_settings`: accounts are those that their settings declare. `rules` stands for what the engine judges by,
        secrets are found in `environment`."""
        self.root = root
        self.clock = clock
        self.store = Store.open(root / ".reconciler" / "reconciler.db", clock, busy_timeout_s=0.2)
        self.importer = Importer(clock, lambda: self.controller.hint()) if imports_beside else None
        self.catalogue = Catalogue(importer=self.importer)
        judged = EvaluationCache(basis=Basis(rules))
        accounts = accounts or Accounts()
        orders = NoOrders()
        self.trading = orders
        self.awaited: frozenset[str] = frozenset()
        self.unheard: frozenset[str] = frozenset()
        self.denials: list[dict[str, Any]] = []
        self.differences: list[dict[str, Any]] = []
        self.host = ThreadHost(
            World(clock, NoMarket(), 6.0),
            orders,
            HostOptions(workers=2),
            lambda r: self.controller.on_report(r),
            partial(Performer, resolve=no_secrets if environment is None else resolver(root, environment)),
        )
        branch = Branch(root, follows, None, clock) if follows else None
        of_commit = branch.settings if by_settings and branch is not None else None
        limits = LiveLimits(accounts, root, of_commit)

        def evaluate(snapshot: Snapshot, catalogue: Catalogue) -> tuple[Evaluation, ...]:
            limits.follow(snapshot.revision)
            files, facts, known = snapshot.instances, catalogue.facts, limits.judging if by_settings else accounts
            return evaluate_all(files, snapshot.templates, facts, known, catalogue.types(), judged)

        parts = (
            self.catalogue,
            evaluate,
            self.store,
            self.host,
            adopt,
        )
        if branch is not None:
            signatures: Signing | None = branch.signatures("allowed_signers") if is_signed else None
            if isinstance(signatures, Signatures) and checks_beside:
                signatures = CheckedBeside(signatures, clock, lambda: self.controller.hint())
            pinned = Pinned("git", None, follows)
            judge = judging(accounts, accounts_in if by_settings else None)
            kept = self.store.following
            trail = Trail(branch, kept, judge, pinned, signatures=signatures)
            observer: Observer = Follower(trail, clock, *parts)
        else:
            observer = Observer(clock, Worktree(root, clock, WorktreeOptions(racy_s=-1)), *parts)
        judged.recall(observer.fleet.rows.values(), self.store.desired.judged_by)
        self.found = dict(observer.fleet.rows)
        observer.distrusted = partial(distrusted, accounts, trust)
        self.controller = Controller(clock, ControllerOptions(), observer, self.store.halts, self.host)
        self.heartbeat = heartbeat = Heartbeat(clock, 6.0, self.store.beats, self.host.beat)
        self.board = StatusBoard(
            Parts(
                clock,
                self.controller,
                self.catalogue,
                self.host,
                heartbeat,
                6.0,
                "worktree",
                orders,
                self.store.ledger,
                self.store.halts.active,
                lambda: (),
                lambda: self.store.fault,
                lambda: "",
                accounts,
                denials=lambda: self.denials,
                differences=lambda: self.differences,
                awaited=lambda: self.awaited,
                unheard=lambda: self.unheard,
            )
        )
        self.controller.touched = self.board.look_at
        self.operator = Operator(
            self.controller,
            self.host,
            self.store.halts,
            orders,
            lambda server: "" if server == "kraken" else "there is no such server",
            Bookkeeping(self.store),
            self.heartbeat,
        )
        self.host.start()

    def write(self, instance_id: str, mode: str = "observe", folder: str = "instances", **more: Any) -> Path:
        """Write an instance file; keyword arguments are further keys, in flow style."""
        lines = [
            f"id: {instance_id}",
            "strategy_type: probe",
            "account: {account_id: main, client_id: desk}",
            f"market: {more.pop('market', 'EUR/USD')}",
            f"mode: {mode}",
            f"config: {more.pop('config', '{}')}",
            *(f"{key}: {value}" for key, value in more.items()),
        ]
        path = self.root / folder / f"{instance_id}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
        return path

    def write_code(self, version: str, body: str = PROBE) -> None:
        (self.root / "strategies" / "probe.py").write_text(body.replace("VERSION", version))

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str = "Change", key: Path | None = None) -> str:
        """Commit all that is written, signed with that key. Gives the commit."""
        self.git("add", "-A")
        signing = () if key is None else ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}")
        sign = () if key is None else ("-S",)
        self.git(*signing, "commit", "-q", *sign, "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def settle(self) -> list[Action]:
        """Look again, and take turns until everything has arrived. Returns all that was done."""
        self.controller.hint()
        done: list[Action] = []
        pause = threading.Event()
        for _ in range(5_000):
            actions = self.controller.run_pass()
            done.extend(actions)
            arrived = all(v.phase in (Phase.RUNNING, Phase.FAILED, Phase.STUCK) for v in self.views().values())
            if not actions and arrived and not self.controller.has_reports:
                return done
            pause.wait(0.001)
        raise AssertionError(f"never arrived: {dict(self.views())}")

    def settle_twice(self) -> list[Action]:
        """Two looks more than a second apart: what is missing from both counts as removed."""
        done = self.settle()
        self.clock.advance(1.5)
        return [*done, *self.settle()]

    @staticmethod
    def wait_until(condition: Callable[[], object]) -> None:
        """Wait for what worker threads do, ten seconds at most."""
        pause = threading.Event()
        for _ in range(10_000):
            if condition():
                return
            pause.wait(0.001)
        raise AssertionError("waited in vain")

    def recalled(self) -> list[str]:
        """The ids whose files were not judged anew: their records are the very objects that were in the database."""
        evaluations = self.controller.fleet.evaluations
        records = {one.record.id: one.record for one in evaluations if one.record is not None}
        return sorted(i for i, record in records.items() if i in self.found and self.found[i].record is record)

    def views(self) -> dict[str, Running]:
        return dict(self.host.views())

    def status(self, instance_id: str) -> InstanceStatus:
        status = self.board.instance(instance_id)
        assert status is not None, f"no instance {instance_id}"
        return status

    def ids(self) -> list[str]:
        return [status.id for status in self.board.instances(InstanceFilter(), 1000, 0)[0]]

    def events(self) -> list[tuple[str, str]]:
        self.store.flush()
        from reconciler.store.reader import Reader

        reader = Reader.open(self.root / ".reconciler" / "reconciler.db")
        try:
            return [(item["instance_id"], item["reason"]) for item in reader.events(limit=1000)[0]]
        finally:
            reader.close()

    def told(self) -> list[tuple[str, str]]:
        """Reason and message of every event, newest first."""
        self.store.flush()
        from reconciler.store.reader import Reader

        reader = Reader.open(self.root / ".reconciler" / "reconciler.db")
        try:
            return [(item["reason"], item["message"]) for item in reader.events(limit=1000)[0]]
        finally:
            reader.close()

    def operations(self) -> list[Any]:
        """What operators did, newest first."""
        from reconciler.store.reader import Reader

        reader = Reader.open(self.root / ".reconciler" / "reconciler.db")
        try:
            return list(reader.operations()[0])
        finally:
            reader.close()

    def close(self) -> None:
        self.host.stop(5.0)
        self.store.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make_fleet(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., Fleet]]:
    """Starts an engine on one and the same folder; call it again after `close` for a restart."""
    fleets: list[Fleet] = []

    def make(**options: Any) -> Fleet:
        fleets.append(Fleet(tmp_path, clock, **options))
        return fleets[-1]

    (tmp_path / "instances").mkdir()
    (tmp_path / ".gitignore").write_text(".reconciler/\n")  # the store writes there while git looks
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "probe.py").write_text(PROBE)
    yield make
    for fleet in fleets:
        fleet.close()


@pytest.fixture
def fleet(make_fleet: Callable[..., Fleet]) -> Fleet:
    return make_fleet()
