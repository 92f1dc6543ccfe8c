"""`reconciler paper`: a real process, spoken to by a plain client of the official SDK."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TextIO

import pytest
import yaml
from click.testing import CliRunner
from mcp.client.stdio import StdioServerParameters, stdio_client

from reconciler.cli import main
from reconciler.settings import load
from tests.paper.clients import BUY, WHO, PlainClient, connected

LOOK = {**WHO, "client_order_id": "o1"}
_PATIENCE_S = 30


@contextmanager
def exchange(folder: Path, *options: str, port: str = "0") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the snippet it printed. It is killed where it still runs at the end."""
    command = [sys.executable, "-m", "reconciler", "paper", "--port", port, *options]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        late = threading.Timer(_PATIENCE_S, process.kill)
        late.start()
        try:
            assert process.stdout is not None
            yield process, "".join(process.stdout.readline() for _ in range(5))
        finally:
            late.cancel()
            process.kill()


def url_in(snippet: str) -> str:
    url: str = yaml.safe_load(snippet)["exec_mcp"]["paper"]["transport"]["url"]
    return url


@asynccontextmanager
async def served(folder: Path, *options: str) -> AsyncIterator[tuple[PlainClient, subprocess.Popen[str]]]:
    with exchange(folder, *options) as (process, snippet):
        async with connected(url_in(snippet)) as client:
            yield client, process


def test_what_it_prints_points_an_engine_at_it(tmp_path: Path) -> None:
    with exchange(tmp_path) as (process, snippet):
        (tmp_path / "reconciler.yaml").write_text(snippet)
        settings = load(tmp_path, {})
        (server,) = settings.server_options({})
        assert (server.kind, server.url) == ("http", url_in(snippet))
        assert settings.accounts.get("main") is not None
        process.send_signal(signal.SIGTERM)
        _, talk = process.communicate()
    assert process.returncode == 0
    assert "forgotten when it stops" in talk
    assert "Traceback" not in talk


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_answered_outlives_the_process(tmp_path: Path, number: signal.Signals) -> None:
    async def run() -> None:
        async with served(tmp_path, "--state", "paper.journal") as (client, process):
            placed = await client.call("place_order", **BUY)
            balances = await client.call("get_balances", **WHO)
            process.send_signal(number)
            process.wait(_PATIENCE_S)
        async with served(tmp_path, "--state", "paper.journal") as (client, _):
            assert await client.call("place_order", **BUY) == placed
            assert await client.call("get_balances", **WHO) == balances

    asyncio.run(run())


def test_options_win_over_the_settings_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "instances").mkdir()
    (tmp_path / "rates.csv").write_text("date,AAA/USD\n2026-01-01,5\n2026-01-02,5\n")
    (tmp_path / "reconciler.yaml").write_text(
        'paper: {maker_fee: "0.5", taker_fee: "0.5", markets: {"*": {min_quantity: "0.5"}}}\n'
    )

    async def run() -> None:
        options = ("--taker-fee", "0.25", "--prices", "rates.csv", "--speed", "3600", "--begin", "now", "--shorts")
        async with served(tmp_path, *options) as (client, _):
            order = {**BUY, "symbol": "AAA/USD", "side": "sell"}
            sold = await client.call("place_order", **order)  # short
            assert (sold["average_price"], sold["fee"]) == ("4.9", "0.6125")
            refused = await client.result("place_order", **{**order, "client_order_id": "o2", "quantity": "0.4"})
            assert refused.is_error

    asyncio.run(run())


def test_faults_are_asked_for_by_option_or_by_tool(tmp_path: Path) -> None:
    async def run() -> None:
        options = ("--fault", "error,tool=place_order,times=1", "--fault-tools")
        async with served(tmp_path, *options) as (client, _):
            assert (await client.result("place_order", **BUY)).is_error
            assert not (await client.result("place_order", **BUY)).is_error
            await client.call("set_fault", kind="error", tool="get_order", times=1)
            assert (await client.result("get_order", **LOOK)).is_error

    asyncio.run(run())


def test_over_stdio_stdout_is_the_protocol_s_alone(tmp_path: Path) -> None:
    arguments = ["-m", "reconciler", "paper", "--stdio", "--state", str(tmp_path / "paper.journal")]
    parameters = StdioServerParameters(command=sys.executable, args=arguments, cwd=tmp_path)

    async def placed(talk: TextIO) -> dict[str, Any]:
        async with connected(stdio_client(parameters, errlog=talk)) as client:
            return await client.call("place_order", **BUY)

    with open(os.devnull, "w", encoding="utf-8") as talk:
        first = asyncio.run(placed(talk))
        assert asyncio.run(placed(talk)) == first


def test_over_stdio_it_stops_when_it_is_told_to_though_nobody_says_anything(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "reconciler", "paper", "--stdio"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        late = threading.Timer(_PATIENCE_S, process.kill)
        late.start()
        assert process.stderr is not None
        while "money: paper" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
        late.cancel()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--fault", "meteor"], "Invalid value for --fault: meteor: kind: expected one of slow, drop,"),
        (
            ["--fault", "drop,tool=place_ordr"],
            "tool: expected a tool of the exchange, was 'place_ordr'; did you mean \"place_order\"?",
        ),
        (["--speed", "nan"], "--speed: paper.speed: expected a finite number, was nan"),
        (["--step-seconds", "nan"], "--step-seconds: paper.step_seconds: expected a finite number, was nan"),
        (["--fault", "slow,tool"], "Invalid value for --fault: slow,tool: expected KEY=VALUE, was 'tool'"),
        (["--maker-fee", "2"], "--maker-fee: paper.maker_fee: expected text matching"),
        (["--speed", "0"], "--speed: paper.speed: expected"),
        (["--begin", "yesterday!"], "--begin: paper.begin: expected a time such as 2026-01-31T12:00:00Z"),
        (["--prices", "none.csv"], "--prices: paper.prices: expected a file, found none at"),
        (["--prices", "bad.csv"], "bad.csv: line 3: BTC/USD: expected a positive number of at most"),
        (["--state", "bad.csv"], "bad.csv:1: expected an order of the paper exchange"),
        (["--state", "/proc/none/state"], "/proc/none"),
    ],
)
def test_what_it_cannot_serve_it_says_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("date,BTC/USD\n1,1\n2,-2\n")
    result = CliRunner().invoke(main, ["paper", "--port", "0", *options])
    assert result.exit_code in (1, 2)
    assert problem in result.stderr
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)


def test_a_port_or_a_state_that_is_taken_is_told(tmp_path: Path) -> None:
    def failed(*options: str) -> str:
        command = [sys.executable, "-m", "reconciler", "paper", *options]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=_PATIENCE_S)
        assert done.returncode == 1
        return done.stderr

    with exchange(tmp_path, "--state", "paper.journal") as (_, snippet):
        port = url_in(snippet).rpartition(":")[2].removesuffix("/mcp")
        assert f"port {port}: Address already in use; choose another with --port" in failed("--port", port)
        talk = failed("--port", "0", "--state", "paper.journal")
        assert "paper.journal: another paper exchange uses it; stop that one, or name another" in talk


def test_a_root_that_is_none_is_not_passed_over(tmp_path: Path) -> None:
    result: Any = CliRunner().invoke(main, ["--root", str(tmp_path), "paper"])
    assert result.exit_code == 1
    assert "expected a folder instances/" in result.stderr
