"""`positions`, `logs`, `wait` and one order whole: what people ask for by name."""

from __future__ import annotations

import json
import socket
from decimal import Decimal
from typing import Any

import pytest

from reconciler.cli import operate, place
from reconciler.clock import SystemClock
from reconciler.orders.order import OrderNews, OrderState, Outcome, Side
from tests.cli.conftest import START_S, FakeEngine, Fleet, an_order, live_item


def test_positions_are_what_each_instance_holds_and_what_it_earned(trading: Fleet) -> None:
    result = trading.run("positions")
    assert (result.exit_code, result.stderr) == (0, "")
    head, row = (line.split("  ") for line in result.stdout.splitlines())
    assert [word.strip() for word in head if word.strip()][:3] == ["INSTANCE", "SYMBOL", "POSITION"]
    assert [word.strip() for word in row if word.strip()] == [
        "a", "BTC/USD", "0.1", "60000", "-1 USD", "-", "1 USD", "main",
    ]  # fmt: skip
    (item,) = json.loads(trading.run("positions", "--format", "json").stdout)["items"]
    assert (item["instance_id"], item["account_id"], item["quantity"], item["unrealised"]) == ("a", "main", "0.1", None)
    assert trading.run("positions", "b").stderr == "nothing is held by b\n"
    assert trading.run("positions", "nope").exit_code == 1


def test_a_quotient_is_as_short_as_on_the_page_and_whole_for_machines(trading: Fleet) -> None:
    with trading.store() as store:
        store.ledger.append(an_order("x2", Outcome.PENDING, START_S))
        store.ledger.settle(
            "x2",
            OrderNews(
                outcome=Outcome.ACCEPTED,
                state=OrderState.FILLED,
                filled_quantity=Decimal("0.2"),
                average_price=Decimal(60_001),
                fee=Decimal(1),
            ),
        )
    assert "  60000.6666666667  " in trading.run("positions").stdout
    (item,) = json.loads(trading.run("positions", "--format", "json").stdout)["items"]
    assert item["average_price"].startswith("60000.66666666666666")


def test_what_holds_nothing_any_more_is_shown_where_asked_for(trading: Fleet) -> None:
    with trading.store() as store:
        sold = an_order("x2", Outcome.PENDING, START_S)
        request = type(sold.request)(Side.SELL, sold.request.type, sold.request.quantity, Decimal(61_000))
        store.ledger.append(type(sold)(**{**_fields(sold), "request": request}))
        store.ledger.settle(
            "x2",
            OrderNews(
                outcome=Outcome.ACCEPTED,
                state=OrderState.FILLED,
                filled_quantity=Decimal("0.1"),
                average_price=Decimal(61_000),
                fee=Decimal(1),
            ),
        )
    assert trading.run("positions").stderr == "nothing is held\n"
    assert "  98 USD  " in trading.run("positions", "--all").stdout


def _fields(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in type(value).__slots__}


def test_what_a_removed_instance_held_is_still_there(trading: Fleet) -> None:
    (trading.root / "instances" / "a.yaml").unlink()
    trading.apply("a")
    assert "BTC/USD  0.1" in trading.run("positions").stdout


def test_a_position_in_doubt_is_said_to_be(trading: Fleet) -> None:
    with trading.store() as store:
        store.ledger.append(an_order("x2", Outcome.UNKNOWN, START_S))
    result = trading.run("positions")
    assert "0.1 (not known)" in result.stdout
    assert result.stderr == "a: nobody knows yet what became of x2: what it holds may be more or less\n"


def test_a_running_engine_adds_what_closing_would_bring(trading: Fleet, engine: FakeEngine) -> None:
    held = {
        "symbol": "BTC/USD",
        "shadow": False,
        "quantity": "0.1",
        "average_price": "60000",
        "realised": "-1",
        "fees": "1",
        "other_fees": {"BNB": "0.02"},
        "unrealised": "12.5",
        "currency": "USD",
    }
    engine.items = [{**live_item("a"), "holdings": [{**held, "shadow": True, "unrealised": "7"}, held]}]
    assert "  12.5 USD  " in trading.run("positions").stdout


LINES = [{"at": f"2026-01-31T12:00:0{n}.000Z", "level": "info", "message": f"line {n}"} for n in (3, 2, 1)]


def test_logs_are_the_newest_lines_with_the_newest_last(trading: Fleet, engine: FakeEngine) -> None:
    engine.items = [{**live_item("a"), "logs": LINES}, {**live_item("b"), "logs": []}]
    assert trading.run("logs", "a", "--limit", "2").stdout.splitlines() == [
        "2026-01-31T12:00:02.000Z  info     line 2",
        "2026-01-31T12:00:03.000Z  info     line 3",
    ]
    assert json.loads(trading.run("logs", "a", "--format", "json").stdout)["items"] == LINES[::-1]
    assert trading.run("logs", "b").stderr == "b has logged nothing since it was loaded\n"
    assert trading.run("logs", "nope").exit_code == 1


@pytest.mark.parametrize("words", [("logs", "a"), ("events", "a")])
def test_lines_on_a_narrow_terminal_break_between_words_and_begin_with_a_time(
    trading: Fleet, engine: FakeEngine, words: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "the file instances/majors/btc-usd-grid.yaml was\n2026-01-01T00:00:00.000Z  by some-instance-of-that-name"
    at = "2026-11-30T10:30:22.137Z"
    engine.items = [{**live_item("a"), "logs": [{"at": at, "level": "info", "message": message}]}]
    with trading.store() as store:
        store.events.record("a", "Normal", "Told", message)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("reconciler.cli.output.is_terminal", lambda: True)
    lines = trading.run(*words).stdout.splitlines()
    told = lines[max(number for number, line in enumerate(lines) if not line.startswith("    ")) :]
    assert "the file" in told[0]
    assert max(map(len, told)) <= 60
    assert {"instances/majors/btc-usd-grid.yaml", "some-instance-of-that-name"} <= {*" ".join(told).split()}
    assert r"was\n2026-01-01T00:00:00.000Z" in " ".join(told)


def test_logs_need_an_engine_and_say_so(trading: Fleet) -> None:
    result = trading.run("logs", "a")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "no engine is running here, and what instances log is kept in its memory\n"


def test_following_logs_prints_what_is_new(trading: Fleet, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.items = [{**live_item("a"), "logs": LINES[1:]}]
    looks = iter([LINES, LINES])

    def waited(*arguments: object) -> bool:
        logs = next(looks, None)
        if logs is None:
            raise KeyboardInterrupt
        engine.items = [{**live_item("a"), "logs": logs}]
        return False

    monkeypatch.setattr(SystemClock, "wait", waited)
    result = trading.run("logs", "a", "--follow")
    assert result.exit_code == 130
    assert [line.split()[-1] for line in result.stdout.splitlines()] == ["1", "2", "3"]


class Patience:
    """The time that a command sees: each wait passes at once, and what happens meanwhile is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 0.0
        self.meanwhile: list[Any] = []
        monkeypatch.setattr(SystemClock, "monotonic", lambda clock: self.now_s)
        monkeypatch.setattr(SystemClock, "wait", self._wait)

    def _wait(self, event: object, seconds: float) -> bool:
        self.now_s += seconds
        if self.meanwhile:
            self.meanwhile.pop(0)()
        return False


def well(id_: str, **fields: Any) -> dict[str, Any]:
    return {**live_item(id_), "health": "Healthy", "sync": "Synced", **fields}


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Patience:
    return Patience(monkeypatch)


def test_waiting_ends_once_all_are_as_they_should_be(trading: Fleet, engine: FakeEngine, patience: Patience) -> None:
    engine.items = [well("a"), live_item("b")]
    patience.meanwhile = [lambda: None, lambda: None, lambda: engine.items.__setitem__(1, well("b"))]
    result = trading.run("wait", "a", "b")
    assert (result.exit_code, result.stdout) == (0, "a: Healthy\nb: Healthy\n")
    assert patience.now_s == 1.5
    assert engine.calls == [("full_pass",)], "what was just saved counts"


def test_what_was_well_before_the_engine_looked_again_does_not_count(
    trading: Fleet, engine: FakeEngine, patience: Patience
) -> None:
    engine.items = [well("a")]
    assert trading.run("wait", "a").exit_code == 0
    assert patience.now_s == 1.0


def test_waiting_in_vain_says_what_is_missing(trading: Fleet, engine: FakeEngine, patience: Patience) -> None:
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "HookFailed",
        "message": "on_tick: ValueError",
        "last_transition_at": "",
    }
    engine.items = [well("a"), well("b", health="Degraded", conditions=[ready])]
    result = trading.run("wait", "a", "b", "nope", "--for", "Healthy", "--for", "Ready", "--timeout", "3")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "a: expected Ready, is not",
        "b: expected Healthy, is Degraded: Ready HookFailed: on_tick: ValueError",
        "b: expected Ready, is not: Ready HookFailed: on_tick: ValueError",
        "nope: expected Healthy, Ready, there is no such instance yet",
        "nope: there is no such instance; all there are: reconciler status",
    ]


@pytest.mark.parametrize("id", ["\x1b[31m", "a?b#c", "%41", "\u202e"])
@pytest.mark.parametrize("command", ["status", "logs"])
def test_whatever_is_typed_for_an_id_is_no_instance(trading: Fleet, engine: FakeEngine, command: str, id: str) -> None:
    engine.items = [well("a"), well("A")]
    result = trading.run(command, id)
    assert result.exit_code == 1
    assert "there is no such instance" in result.stderr
    assert "\x1b" not in result.stderr


def test_an_engine_that_does_not_answer_holds_nobody_beyond_the_timeout(
    trading: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "SETTLE_S", 0.05)
    monkeypatch.setattr(place, "READ_S", 0.05)
    monkeypatch.setattr(place, "TIMEOUT_S", 0.05)
    trading.control_socket.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as frozen:
        frozen.bind(str(trading.control_socket))
        frozen.listen(8)
        waiting = trading.run("wait", "a", "--timeout", "0")
        looking = trading.run("status")
        pausing = trading.run("pause", "a", "--reason", "why")
    assert (waiting.exit_code, looking.exit_code, pausing.exit_code) == (1, 1, 1)
    first, why = waiting.stderr.splitlines()
    assert first == "a: expected Healthy, is not known"
    assert why.startswith("the engine did not answer within 0.05 s: it is stopped, or far too busy; look at its log")
    assert (
        looking.stderr == "the engine did not answer within 0.05 s: it is stopped, or far too busy; look at its log\n"
    )
    assert "it may still do it when it goes on" in pausing.stderr


def test_waiting_without_an_engine_is_in_vain(trading: Fleet) -> None:
    result = trading.run("wait", "a")
    assert (result.exit_code, result.stderr) == (1, "no engine is running here: nothing will change by waiting\n")


def test_one_order_is_told_whole(trading: Fleet) -> None:
    result = trading.run("orders", "x1")
    assert result.exit_code == 0
    told = {line.partition(":")[0]: line.partition(":")[2].strip() for line in result.stdout.splitlines()}
    assert told["order"] == "x1"
    assert told["asked for"] == "buy 0.1 BTC/USD limit limit 60000, gtc"
    assert told["outcome"] == "filled"
    assert told["filled"] == "0.1 of 0.1, on average at 60000"
    assert told["instance"] == "a"
    assert told["commit"] == "not committed"
    assert told["generation"].startswith("1, since 2023-11-14T22:13:20.000Z: ")
    assert any(line.startswith("fill ") and "0.1 at 60000, fee 1" in line for line in result.stdout.splitlines())
    assert "What is not committed of them now: git status --short -- instances/a.yaml" in result.stderr
    whole = json.loads(trading.run("orders", "x1", "--format", "json").stdout)
    assert (whole["client_order_id"], whole["origin"]["generation"], len(whole["fills"])) == ("x1", 1, 1)


def test_an_instance_of_that_name_wins_over_an_order(trading: Fleet) -> None:
    with trading.store() as store:
        store.ledger.append(an_order("b", Outcome.ACCEPTED, START_S))
    assert trading.run("orders", "b").stdout.splitlines()[0].startswith("CREATED")
