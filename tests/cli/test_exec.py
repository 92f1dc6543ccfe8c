"""`reconciler exec check`: what it says of servers, and the order it sends only where it is asked to, and may."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from reconciler.cli import main
from reconciler.cli.exec import check
from reconciler.clock import FakeClock
from reconciler.records.accounts import KnownTools
from reconciler.settings import load
from reconciler.store import Reader, Store
from tests.cli.conftest import FakeEngine, Fleet

ROOT = Path(__file__).parent.parent.parent
OKX = f"""\
exec_mcp:
  okx:
    transport:
      kind: stdio
      command: [{sys.executable}, -m, tests.exec_mcp.stubs.okx]
      env: {{PYTHONPATH: {ROOT}}}
    timeout_s: 20
    mapping: okx
    accounts: {{main: {{money: real}}}}
"""
NOWHERE = """\
  nowhere:
    transport: {kind: http, url: "http://127.0.0.1:1/mcp"}
    accounts: {lost: {money: real}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "instances").mkdir()
    return tmp_path


def asked(folder: Path, words: str, settings: str = OKX) -> Result:
    (folder / "reconciler.yaml").write_text(settings)
    return CliRunner().invoke(main, ["--root", str(folder), "exec", "check", *shlex.split(words)])


def test_it_has_help_and_an_example_of_each_option() -> None:
    for parameter in check.params:
        if isinstance(parameter, click.Option):
            assert parameter.help
            assert parameter.opts[0] in (check.epilog or "")


def test_without_settings_the_paper_exchange_is_fine_and_nothing_is_left_behind(folder: Path) -> None:
    result = asked(folder, "", "{}")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("paper: fine\n  it has 11 tools; of the contract's it can do: place_order, ")
    assert not (folder / ".reconciler").exists()


def test_a_server_that_is_not_reached_is_not_fine_and_says_whose_gate_stays_closed(folder: Path) -> None:
    result = asked(folder, "--format json", OKX + NOWHERE)
    assert result.exit_code == 1
    okx, nowhere = json.loads(result.stdout)["items"]
    assert (okx["server"], okx["fine"], okx["mismatches"], okx["closed"]) == ("okx", True, [], {})
    assert (nowhere["reachable"], nowhere["fine"]) == (False, False)
    assert nowhere["closed"]["lost"].startswith("ConnectError")
    alone = asked(folder, "nowhere", OKX + NOWHERE)
    assert alone.exit_code == 1
    assert alone.stdout.startswith("nowhere: not reachable\n  ConnectError")


def test_what_a_server_wrote_is_shown_where_it_fails_and_left_out_where_all_is_well(folder: Path) -> None:
    broken = OKX.replace(f"[{sys.executable}, -m, tests.exec_mcp.stubs.okx]", "PROGRAM")
    program = json.dumps([sys.executable, "-S", "-E", "-c", "raise SystemExit('no key in the environment')"])
    result = asked(folder, "", broken.replace("PROGRAM", program))
    assert result.exit_code == 1
    assert "\n  okx wrote: no key in the environment\n" in result.stdout
    assert result.stderr == ""
    loud = json.dumps(["/bin/sh", "-c", f"echo BANNER >&2; exec {sys.executable} -m tests.exec_mcp.stubs.okx"])
    result = asked(folder, "", broken.replace("PROGRAM", loud))
    assert (result.exit_code, "BANNER" in result.output) == (0, False)


def test_a_server_that_does_not_fit_is_not_fine_and_says_why(folder: Path) -> None:
    result = asked(folder, "", OKX + "    tools: {get_order: {name: spot_get_ordre}}\n")
    assert result.exit_code == 1
    said = "the server has no tool 'spot_get_ordre'; did you mean 'spot_get_order'?"
    assert f"  mismatch: get_order: {said}\n" in result.stdout
    assert (
        "  its tools: account_get_balance, market_get_candles, market_get_instruments, market_get_ticker, "
        in result.stdout
    )
    assert f"  closed: account main: get_order: {said}\n" in result.stdout


PLACE = "--place --account main --market BTC-USDT --quantity 0.001"


def test_real_money_needs_a_yes(folder: Path) -> None:
    refused = asked(folder, PLACE)
    assert refused.exit_code == 1
    assert refused.stderr == "main: its money is real; to send the order all the same, add --yes\n"
    done = asked(folder, f"{PLACE} --yes --reason 'new keys'")
    assert done.exit_code == 0, done.output
    assert "buy 0.001 BTC-USDT at 49.7: open" in done.stdout
    assert done.stdout.endswith("look it up again: cancelled, 0 filled, the exchange's id is x-1\n")


def test_while_trading_is_halted_nothing_is_placed(folder: Path) -> None:
    (folder / "instances" / "_halt.yaml").write_text("- {scope: all, reason: stop}\n")
    halted = asked(folder, f"{PLACE} --yes --reason why")
    assert (halted.exit_code, halted.stderr) == (1, "instances/_halt.yaml halts trading: remove it first\n")


def test_a_halt_in_the_database_counts_too(folder: Path) -> None:
    (folder / "reconciler.yaml").write_text(OKX)
    runner = CliRunner()
    halt = runner.invoke(main, ["--root", str(folder), "halt", "--account", "main", "--reason", "margin call"])
    assert "the halt is in the database" in halt.output
    halted = asked(folder, f"{PLACE} --yes --reason why")
    assert (halted.exit_code, halted.stderr) == (
        1,
        "trading is halted: margin call; end it first: reconciler unhalt\n",
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("--place --account main", 2, "--place: expected --account, --market and --quantity, too"),
        (f"{PLACE} --quantity -1", 2, "expected more than zero, was -1"),
        (f"{PLACE} --quantity abc", 2, "expected a decimal number, was 'abc'"),
        (f"{PLACE} --account mine", 1, "mine: expected an account of reconciler.yaml, one of main"),
        (f"kraken {PLACE} --yes", 1, "kraken: expected okx, the server of account main"),
        ("kraken", 1, "kraken: expected a server of reconciler.yaml, one of okx"),
    ],
)
def test_what_makes_no_sense_is_refused(folder: Path, words: str, code: int, said: str) -> None:
    result = asked(folder, words)
    assert (result.exit_code, said in result.stderr) == (code, True), result.output


def test_changed_tools_are_accepted_through_the_engine(fleet: Fleet, engine: FakeEngine) -> None:
    result = fleet.run("exec", "accept", "kraken", "--reason", "looked")
    assert (result.exit_code, result.stdout) == (0, "kraken: its tools are accepted\n")
    assert engine.calls == [("accept_tools", "kraken", "looked")]


def test_without_an_engine_nothing_is_accepted(fleet: Fleet) -> None:
    result = fleet.run("exec", "accept", "kraken", "--reason", "looked")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no engine is running here: start it, no order leaves through the server until" in result.stderr


def test_what_an_account_holds_is_settled_through_the_engine(fleet: Fleet, engine: FakeEngine) -> None:
    words = ["--assign", "a=-0.5@100", "--assign", "b=1@58000.5", "--outside", "ETH/USD=2", "--reason", "restored"]
    result = fleet.run("exec", "settle", "main", *words)
    assert (result.exit_code, result.stdout) == (0, "main: settled\n")
    ((_, account, shares),) = engine.calls
    assert (account, str(shares)) == ("main", "a holds -0.5 at 100, b holds 1 at 58000.5, 2 ETH/USD is outside")
    assert shares.reason == "restored"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--assign", "a=1"], "expected ID=QTY@PRICE, was 'a=1'"),
        (["--assign", "1@2"], "expected ID=QTY@PRICE, was '1@2'"),
        (["--outside", "ETH/USD"], "expected SYMBOL=QTY, was 'ETH/USD'"),
    ],
)
def test_what_is_settled_in_no_form_is_a_wrong_usage(
    fleet: Fleet, engine: FakeEngine, words: list[str], said: str
) -> None:
    result = fleet.run("exec", "settle", "main", *words, "--reason", "restored")
    assert (result.exit_code, said in result.stderr, engine.calls) == (2, True, [])


def test_a_quantity_that_is_none_is_refused_by_the_engine(fleet: Fleet, engine: FakeEngine) -> None:
    result = fleet.run("exec", "settle", "main", "--assign", "a=x@1", "--reason", "restored")
    assert (result.exit_code, "quantity: expected a decimal number, was 'x'" in result.stderr) == (1, True)


def test_without_an_engine_nothing_is_settled(fleet: Fleet) -> None:
    result = fleet.run("exec", "settle", "main", "--reason", "restored")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no engine is running here: start it, it compares the account and lets nothing leave" in result.stderr


def test_tools_that_an_engine_found_changed_are_not_fine(folder: Path) -> None:
    (folder / "reconciler.yaml").write_text(OKX)
    (okx,) = load(folder, {}).server_options({})
    with Store.open(folder / ".reconciler" / "reconciler.db", FakeClock()) as store:
        store.tools.keep("okx", KnownTools(okx.mapping_id, {"spot_get_order": {}}))
    result = asked(folder, "--format json")
    assert result.exit_code == 1, result.output
    (item,) = json.loads(result.stdout)["items"]
    assert "spot_get_order is new" in item["changed"]
    said = asked(folder, "").stdout
    assert "  changed: " in said
    assert "closed: account main: place_order: its tools changed, and nobody has looked: " in said
    with Store.open(folder / ".reconciler" / "reconciler.db", FakeClock()) as store:
        known = store.tools.known("okx")
        assert known is not None
        assert known.changed == ""  # to look is not to write


def operations(folder: Path) -> list[tuple[str, str, str]]:
    with contextlib.closing(Reader.open(folder / ".reconciler" / "reconciler.db")) as reader:
        items, _ = reader.operations()
    return [(item["action"], item["scope"], item["reason"]) for item in items]


def test_an_order_that_is_placed_is_recorded_before_with_its_id_and_a_reason(folder: Path) -> None:
    refused = asked(folder, f"{PLACE} --yes")
    assert (refused.exit_code, "--place: expected --reason, too: it is recorded" in refused.stderr) == (2, True)
    done = asked(folder, f"{PLACE} --yes --reason 'new keys' --format json")
    assert done.exit_code == 0, done.output
    _, place, *_ = json.loads(done.stdout)["steps"]
    id_ = place["what"].split()[1].rstrip(":")
    assert operations(folder) == [("place", "account main", f"{id_}, buy 0.001 BTC-USDT: new keys")]


def test_with_an_engine_the_order_is_recorded_by_it(fleet: Fleet, engine: FakeEngine) -> None:
    (fleet.root / "reconciler.yaml").write_text(OKX)
    done = fleet.run("exec", "check", *shlex.split(f"{PLACE} --yes --reason looked --format json"))
    assert done.exit_code == 0, done.output
    ((called, account, order, reason),) = engine.calls
    assert (called, account, reason) == ("note_placing", "main", "looked")
    assert order.endswith(", buy 0.001 BTC-USDT")


def test_where_it_cannot_be_recorded_nothing_is_placed(fleet: Fleet, engine: FakeEngine) -> None:
    (fleet.root / "reconciler.yaml").write_text(OKX)
    engine.failed = (("main", "the disk is full"),)
    done = fleet.run("exec", "check", *shlex.split(f"{PLACE} --yes --reason looked"))
    assert (done.exit_code, done.stderr) == (1, "main: the disk is full\n")
    assert "place " not in done.stdout


def test_the_embedded_exchange_of_a_check_is_a_throw_away_one_and_that_is_said(folder: Path) -> None:
    settings = "exec_mcp: {practice: {transport: {kind: paper}, accounts: {paper-1: {money: paper}}}}"
    done = asked(folder, "--place --account paper-1 --market BTC/USD --quantity 0.001", settings)
    assert done.exit_code == 0, done.output
    assert done.stderr == (
        "the paper exchange of a check is its own: it begins with nothing, "
        "and the engine's knows nothing of the order\n"
    )
    assert not (folder / ".reconciler").exists()
