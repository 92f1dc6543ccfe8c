"""The engine as a process of its own: real files, git, SQLite, MCP and signals. Nothing here is a fake."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.output import Failure
from reconciler.cli.place import Engine as Api
from reconciler.cli.place import NoEngine
from reconciler.clock import SystemClock, iso
from reconciler.store.reader import Reader

BUYER = '''
from reconciler.strategy import Strategy, metric

class Buyer(Strategy):
    """Buys a little at every tick."""
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {
        "type": "object",
        "properties": {"quantity": {"type": "string", "default": "1"}},
        "additionalProperties": False,
    }

    def on_tick(self):
        self.context.orders.place("buy", self.config["quantity"])

    def render(self):
        return [metric("orders", "Orders", len(self.context.orders.recent(500)))]
'''


class Engine:
    """`reconciler run` on a folder, asked through its control socket."""

    def __init__(self, root: Path) -> None:
        self.root = root
        environment = {**os.environ, "RECONCILER_HEARTBEAT_SECONDS": "0.2", "RECONCILER_DASHBOARD_PORT": "0"}
        self.log = (root / "engine.log").open("ab")
        command = [sys.executable, "-m", "reconciler", "--root", str(root), "run"]
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        self.api = Api(root / ".reconciler" / "control.sock")

    def get(self, path: str, query: dict[str, Any] | None = None) -> Any:
        return self.api.get(f"/api/v1{path}", query)

    def until(self, what: Callable[[], Any]) -> Any:
        """What `what` gives once it gives anything true; an engine that is not there yet gives nothing."""
        pause = threading.Event()
        for _ in range(6_000):
            try:
                if found := what():
                    return found
            except (NoEngine, Failure):
                pass
            assert self.process.poll() is None, (self.root / "engine.log").read_text()
            pause.wait(0.01)
        raise AssertionError((self.root / "engine.log").read_text())

    def instance(self, instance_id: str = "one") -> Any:
        return self.get(f"/instances/{instance_id}")

    def until_instance(self, is_so: Callable[[Any], object]) -> Any:
        return self.until(lambda: (item := self.instance()) and is_so(item) and item)

    def orders(self, **filters: Any) -> list[Any]:
        return list(self.get("/orders", {"limit": 1000, **filters})["items"])

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        self.log.close()
        return code


def write(root: Path, mode: str = "observe", quantity: str = "1") -> None:
    (root / "instances" / "one.yaml").write_text(
        f"id: one\nstrategy_type: buyer\naccount: {{account_id: main, client_id: desk}}\nmarket: EUR/USD\n"
        f'mode: {mode}\nconfig: {{quantity: "{quantity}"}}\n'
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "instances").mkdir()
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "buyer.py").write_text(BUYER)
    write(tmp_path)
    return tmp_path


@pytest.fixture
def start(root: Path) -> Iterator[Callable[[], Engine]]:
    engines: list[Engine] = []

    def start() -> Engine:
        engines.append(Engine(root))
        return engines[-1]

    yield start
    for engine in engines:
        engine.stop(signal.SIGKILL)


def test_the_journey_of_a_change(root: Path, start: Callable[[], Engine]) -> None:
    engine = start()
    observing = engine.until_instance(lambda item: item["ticks"]["count"] >= 2)
    assert (observing["effective_mode"], observing["sync"]) == ("observe", "Synced")
    assert observing["ticks"]["errors"] == 0, "until its server answered it waited"
    assert engine.until(lambda: engine.orders(outcome="shadow"))
    assert engine.orders(outcome="accepted") == []

    write(root, quantity="2")
    engine.until_instance(lambda item: item["observed_generation"] == 2)

    write(root, "active", quantity="2")
    engine.until_instance(lambda item: item["effective_mode"] == "active")
    filled = engine.until(lambda: engine.orders(outcome="accepted", state="filled"))
    order = filled[0]
    assert (order["account_id"], order["client_id"], order["mode"]) == ("main", "desk", "active")
    assert (order["quantity"], order["filled_quantity"], order["generation"]) == ("2", "2", 3)
    assert order["exchange_order_id"]

    (root / "instances" / "one.yaml").write_text("id: one\nmode: [\n")
    (problem,) = engine.until(lambda: engine.get("/problems")["items"])
    assert (problem["path"], problem["line"]) == ("instances/one.yaml", 3)
    assert engine.instance()["effective_mode"] == "active"

    write(root, "off", quantity="2")
    engine.until_instance(lambda item: item["effective_mode"] == "off" and item["health"] == "Off")
    assert engine.instance()["frozen_with_exposure"] is True
    assert engine.stop() == 0
    assert "Traceback" not in (root / "engine.log").read_text()


FLURRY = BUYER.replace(
    """        self.context.orders.place(""",
    """        for _ in range(12):
            self.context.orders.place(""",
)
"""So many orders a tick that there is hardly a moment without one under way."""


def ids(orders: list[Any]) -> set[str]:
    return {order["client_order_id"] for order in orders}


def at_exchange(root: Path) -> list[str]:
    """The client_order_ids in the exchange's own journal. Every order there is filled at once: one line each."""
    lines = (root / ".reconciler" / "paper.journal").read_text().splitlines(keepends=True)
    return [json.loads(line)["client_order_id"] for line in lines if line.endswith("\n")]


def until_more(engine: Engine, orders: int) -> None:
    """Wait until the exchange has that many more."""
    enough = len(at_exchange(engine.root)) + orders
    engine.until(lambda: len(at_exchange(engine.root)) >= enough)


def until_looked_up(engine: Engine) -> None:
    """Wait until no order that the exchange has is in doubt."""
    engine.until(lambda: not ids(engine.orders(outcome="unknown")) & set(at_exchange(engine.root)))


@pytest.mark.parametrize("seed", [1])
def test_invariant_9_kill_9_and_restart_loses_and_repeats_no_order(
    root: Path, start: Callable[[], Engine], seed: int
) -> None:
    luck = random.Random(seed)
    (root / "strategies" / "buyer.py").write_text(FLURRY)
    engine = start()
    engine.until_instance(lambda item: item["effective_mode"] == "observe")
    write(root, "active")
    engine.until(lambda: engine.orders(outcome="accepted"))
    for _ in range(3):
        until_more(engine, luck.randrange(1, 30))
        threading.Event().wait(luck.uniform(0, 0.01))  # any moment between one order and the next
        engine.stop(signal.SIGKILL)
        engine = start()
        engine.until_instance(lambda item: item["effective_mode"] == "active" and item["ticks"]["count"])
        until_looked_up(engine)
        if engine.orders(outcome="unknown"):
            # It never got there, and "not found" is no proof of that: until an operator says so, nothing is opened.
            engine.until_instance(lambda item: any(c["reason"] == "UnknownOrder" for c in item["conditions"]))
            break
    write(root, "observe")
    engine.until_instance(lambda item: item["effective_mode"] == "observe")
    engine.until(lambda: not engine.orders(outcome="pending"))

    accepted = engine.orders(outcome="accepted")
    assert sorted(ids(accepted)) == sorted(at_exchange(root)), "ledger and exchange differ"
    assert len({order["exchange_order_id"] for order in accepted}) == len(accepted)
    assert max(Counter(order["beat"] for order in accepted).values()) <= 12, "one beat bought twice"
    assert engine.stop() == 0


def test_sigterm_ends_the_engine_whatever_threads_a_strategy_left(root: Path, start: Callable[[], Engine]) -> None:
    leaves_a_thread = "    def init(self):\n        POOL.submit(threading.Event().wait)\n\n    def on_tick"
    pool = "import threading\nfrom concurrent.futures import ThreadPoolExecutor\nPOOL = ThreadPoolExecutor(1)\n"
    (root / "strategies" / "buyer.py").write_text(pool + BUYER.replace("    def on_tick", leaves_a_thread))
    engine = start()
    engine.until_instance(lambda item: item["health"] == "Healthy")
    assert engine.stop() == 0
    assert "abandoned" in (root / "engine.log").read_text()


def test_sigterm_ends_a_single_pass_that_waits(root: Path) -> None:
    hanging = BUYER.replace(
        "    def on_tick", "    def init(self):\n        threading.Event().wait()\n\n    def on_tick"
    )
    (root / "strategies" / "buyer.py").write_text("import threading\n" + hanging)
    (root / "reconciler.yaml").write_text("runtime: {shutdown_deadline_seconds: 1}\n")
    once = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "--root", str(root), "run", "--once"], stderr=subprocess.PIPE, text=True
    )
    pause = threading.Event()
    while not (root / ".reconciler" / "reconciler.db-wal").exists():
        pause.wait(0.01)
    pause.wait(1.0)
    once.terminate()
    assert once.communicate(timeout=60)[0] is None
    assert once.returncode != 0


ASKS_TO_END = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
ENDS_THE_HEARTBEAT = (
    "import ctypes, threading; beats = next(one for one in threading.enumerate() if one.name == 'heartbeat'); "
    "ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(beats.ident), ctypes.py_object(SystemExit))"
)


@pytest.mark.parametrize(
    ("does", "why"),
    [
        (ASKS_TO_END, "a strategy asked it to: os.kill at strategies/buyer.py:14 in on_tick"),
        (ENDS_THE_HEARTBEAT, "its heartbeat has ended: look whether a strategy changes threads"),
    ],
)
def test_an_engine_that_a_strategy_ended_is_to_be_started_again(
    root: Path, start: Callable[[], Engine], does: str, why: str
) -> None:
    places = 'self.context.orders.place("buy", self.config["quantity"])'
    (root / "strategies" / "buyer.py").write_text(BUYER.replace(places, does))
    engine = start()
    assert engine.process.wait(40) == 1
    assert f'error="{why}"' in (root / "engine.log").read_text()


def test_an_instance_that_ended_the_engine_twice_is_not_loaded_a_third_time(
    root: Path, start: Callable[[], Engine]
) -> None:
    places = 'self.context.orders.place("buy", self.config["quantity"])'
    (root / "strategies" / "buyer.py").write_text(BUYER.replace(places, "import os; os._exit(0)"))
    for _ in range(2):
        engine = start()
        assert engine.process.wait(40) == 1, "0 would say that somebody asked for it"
    found = start().until_instance(lambda item: item["health"] == "Paused")
    loaded = next(condition for condition in found["conditions"] if condition["type"] == "Loaded")
    assert loaded["reason"] == "Quarantined"
    assert loaded["message"].endswith(
        "ended 2 times while its code ran, by os._exit at strategies/buyer.py:14 in on_tick"
    )


def test_a_second_engine_on_the_same_database_is_refused(root: Path, start: Callable[[], Engine]) -> None:
    start().until(lambda: (root / ".reconciler" / "control.sock").exists())
    second = subprocess.run(
        [sys.executable, "-m", "reconciler", "--root", str(root), "run", "--once"], capture_output=True, text=True
    )
    assert second.returncode != 0
    assert "pid" in second.stderr


def test_once_applies_everything_and_says_whether_it_is_synced(root: Path) -> None:
    command = [sys.executable, "-m", "reconciler", "--root", str(root), "run", "--once"]
    first = subprocess.run(command, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    reader = Reader.open(root / ".reconciler" / "reconciler.db")
    assert list(reader.rows()) == ["one"]
    reader.close()
    write(root, quantity="2")
    (root / "instances" / "two.yaml").write_text("id: two\n")
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 1
    assert "instances/two.yaml" in second.stderr


def test_an_engine_whose_state_folder_is_removed_lets_nothing_leave_and_ends(
    root: Path, start: Callable[[], Engine]
) -> None:
    engine = start()
    engine.until_instance(lambda item: item["effective_mode"] == "observe")
    write(root, "active")
    engine.until(lambda: engine.orders(outcome="accepted"))
    (root / ".reconciler").rename(root / "elsewhere")
    assert engine.process.wait(timeout=60) == 1
    assert "was removed or replaced while the engine ran" in (root / "engine.log").read_text()
    placed = [json.loads(line) for line in (root / "elsewhere" / "paper.journal").read_text().splitlines()]
    reader = Reader.open(root / "elsewhere" / "reconciler.db")
    known = {item["client_order_id"] for item in reader.orders(limit=1000)[0]}
    reader.close()
    assert {order["client_order_id"] for order in placed} <= known


def test_a_condition_tells_when_it_changed_and_not_when_somebody_asked(root: Path, start: Callable[[], Engine]) -> None:
    engine = start()
    engine.until_instance(lambda item: item["effective_mode"] == "observe")
    write(root, "active")
    engine.until_instance(lambda item: item["effective_mode"] == "active")
    engine.api.post("/v1/halt", {"scope": "all", "reason": "a look"})
    halted_at_beat = engine.until(lambda: engine.get("/engine")["last_beat"])
    engine.until(lambda: engine.get("/engine")["last_beat"] >= halted_at_beat + 10)
    asked_at = iso(SystemClock().time())
    trading = next(one for one in engine.instance()["conditions"] if one["type"] == "Trading")
    assert trading["reason"] == "Halted"
    assert trading["last_transition_at"] < asked_at
    assert engine.stop() == 0


def test_open_orders_go_when_a_record_that_says_so_leaves_active(root: Path, start: Callable[[], Engine]) -> None:
    rests = 'place("buy", self.config["quantity"], type="limit", limit_price="0.01")'
    (root / "strategies" / "buyer.py").write_text(BUYER.replace('place("buy", self.config["quantity"])', rests))
    engine = start()
    engine.until_instance(lambda item: item["effective_mode"] == "observe")
    write(root, "active")
    engine.until(lambda: engine.orders(state="open"))
    with (root / "instances" / "one.yaml").open("a") as file:
        file.write("open_orders: cancel\n")
    engine.until_instance(lambda item: item["observed_generation"] == 3)
    assert engine.orders(state="open")
    (root / "instances" / "one.yaml").write_text(
        (root / "instances" / "one.yaml").read_text().replace("mode: active", "mode: off")
    )
    engine.until(lambda: engine.orders(state="cancelled") and not engine.orders(state="open", shadow="false"))
    assert engine.stop() == 0


def bounded(root: Path, most: str) -> None:
    """The settings bound what the account may hold; the timer would not look at them for an hour."""
    account = f'money: paper, currency: USD, limits: {{max_position: {{EUR/USD: "{most}"}}}}'
    (root / "reconciler.yaml").write_text(
        "reconcile: {interval_seconds: 3600}\n"
        f"exec_mcp: {{paper: {{transport: {{kind: paper}}, accounts: {{main: {{{account}}}}}}}}}\n"
    )


def test_limits_that_change_hold_at_once_though_nothing_else_has_changed(
    root: Path, start: Callable[[], Engine]
) -> None:
    bounded(root, "2")
    engine = start()
    engine.until_instance(lambda item: item["ticks"]["count"] >= 1)
    write(root, "active")

    def until_refused(why: str) -> None:
        engine.until(lambda: f"max_position[EUR/USD]: {why}" in (engine.orders()[0]["reason"] or ""))

    for most, why, held in (("2", "3 of 2", 2), ("4", "5 of 4", 4), ("1", "5 of 1", 4)):
        bounded(root, most)
        until_refused(why)
        assert len(engine.orders(outcome="accepted")) == held
    item = engine.until_instance(lambda item: any(one["reason"] == "Limit" for one in item["obstacles"]))
    assert "account main: max_position[EUR/USD]: 4 of 1 are used" in str(item["obstacles"])
    assert engine.get("/limits")["items"][0]["by"] == [{"instance_id": "one", "used": "4"}]


def test_a_drill_is_held_to_the_limits_above_its_instance_and_says_what_kept_it_from_trying(
    root: Path, start: Callable[[], Engine]
) -> None:
    bounded(root, "0.00001")
    engine = start()
    engine.until_instance(lambda item: item["ticks"]["count"] >= 1)
    command = [sys.executable, "-m", "reconciler", "--root", str(root), "drill", "--account", "main"]

    def drill() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    done = drill()
    assert done.returncode == 2, done.stdout + done.stderr
    assert "account main: max_position[EUR/USD]" in done.stdout + done.stderr
    assert [order for order in engine.orders(outcome="accepted") if order["provenance"] == "operator"] == []
    assert engine.get("/engine")["halts"] == []
    bounded(root, "1000")
    engine.until(lambda: engine.get("/limits")["items"][0]["most"] == "1000")
    done = drill()
    assert done.returncode == 0, done.stdout + done.stderr
    item = engine.until(lambda: next(one for one in engine.get("/limits")["items"] if one["money"] == "paper"))
    assert item["used"] == "0", "what it opened, it closed"


def test_a_drill_holds_while_a_strategy_trades(root: Path, start: Callable[[], Engine]) -> None:
    engine = start()
    engine.until_instance(lambda item: item["ticks"]["count"] >= 1)
    write(root, "active")
    assert engine.until(lambda: engine.orders(outcome="accepted", state="filled"))
    command = [sys.executable, "-m", "reconciler", "--root", str(root), "drill", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    report = json.loads(done.stdout)
    assert (done.returncode, report["held"]) == (0, True), done.stdout + done.stderr
    assert [step["name"] for item in report["items"] for step in item["steps"]] == [
        "place an order that fills",
        "place an order that rests",
        "halt",
        "nothing leaves under the halt",
        "halt in full, cancel all",
        "all is cancelled",
        "flatten",
        "all is closed",
        "no strategy's order left meanwhile",
        "lift the halt",
    ]
    (kept,) = (root / ".reconciler" / "drills").iterdir()
    assert json.loads(kept.read_text()) == report
    by_hand = {order["state"] for order in engine.orders() if order["provenance"] == "operator" and order["state"]}
    assert by_hand == {"filled", "cancelled"}
    assert engine.get("/engine")["halts"] == []
    nowhere = subprocess.run([*command, "--account", "nosuch"], capture_output=True, text=True, timeout=60, check=False)
    assert nowhere.returncode == 2, "there was nothing to try it on: that is no switch that failed"
