"""Limits above the instance in the settings: what they are read as, and every nonsense at its line."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.errors import SettingsError
from reconciler.records.accounts import REAL_MONEY_THROTTLE, Ceilings, Requirement, Scope, Throttle, Turnover
from reconciler.records.record import Limits
from reconciler.settings import FILE, Settings, load, scalars

WHOLE = """\
exec_mcp:
  kraken:
    transport: {kind: http, url: "http://127.0.0.1:9000/mcp"}
    accounts:
      main:
        money: real
        currency: USD
        limits: {max_gross_notional: "50000", max_daily_loss: "1000", max_drawdown: "3000", max_open_orders: 200,
                 max_position: {BTC/USD: "3"}, max_turnover: {amount: "20000", within_minutes: 5}, min_equity: "20000"}
        count_as: {USDT: {USD: "1.02"}}
        markets: {AAPL: USD}
        throttle: {same_orders: 20, within_minutes: 5}
      plain: {money: real}
      loose: {money: real, throttle: null}
      play: {money: paper}
limits:
  - {label: team=majors, currency: USD, max_daily_loss: "400"}
  - {all: true, currency: USD, max_daily_loss: "2000"}
require_limits: {money: real, of: [max_order_notional, max_position, max_daily_loss]}
throttle: {same_orders: 500, within_minutes: 10}
"""


def written(root: Path, text: str) -> Settings:
    (root / FILE).write_text(text, encoding="utf-8")
    return load(root, {})


def refused(root: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        written(root, text)
    return [str(problem).removeprefix("reconciler.yaml:") for problem in caught.value.problems]


def test_everything_is_read_exactly(tmp_path: Path) -> None:
    accounts = written(tmp_path, WHOLE).accounts
    main = accounts.declared["main"]
    assert main.ceilings == Ceilings(
        Decimal(50000), Decimal(1000), Decimal(3000), 200, {"BTC/USD": Decimal(3)}, Turnover(Decimal(20000), 5),
        Decimal(20000),
    )  # fmt: skip
    assert (main.currency, main.count_as, main.markets) == ("USD", {"USDT": {"USD": Decimal("1.02")}}, {"AAPL": "USD"})
    assert main.throttle == Throttle(20, 5)
    assert accounts.throttle == Throttle(500, 10)
    assert accounts.requirement == Requirement("real", ("max_order_notional", "max_position", "max_daily_loss"))
    assert [str(scope) for scope in accounts.scopes()] == ["account main", "label team=majors", "all"]
    assert accounts.above[1] == Scope("all", "", "USD", Ceilings(max_daily_loss=Decimal(2000)))


def test_real_money_has_a_throttle_unless_the_settings_say_that_it_has_none(tmp_path: Path) -> None:
    declared = written(tmp_path, WHOLE).accounts.declared
    assert declared["plain"].throttle == REAL_MONEY_THROTTLE == Throttle(60, 5)
    assert declared["loose"].throttle is None
    assert declared["play"].throttle is None


def test_nothing_of_it_can_be_set_elsewhere_than_in_the_file() -> None:
    names = {scalar.name for scalar in scalars()}
    assert not {name for name in names if name.startswith(("limits", "require_limits", "throttle", "exec_mcp"))}


def test_limits_of_the_account_count_for_what_a_record_must_have(tmp_path: Path) -> None:
    accounts = written(tmp_path, WHOLE).accounts
    own = Limits(max_order_notional=Decimal(1))
    assert accounts.lacking("main", "BTC/USD", own) == ()
    assert accounts.lacking("main", "ETH/USD", own) == ("max_position",)
    assert accounts.lacking("plain", "BTC/USD", Limits()) == ("max_order_notional", "max_position", "max_daily_loss")
    assert accounts.lacking("play", "BTC/USD", Limits()) == ()


ACCOUNT = "exec_mcp: {k: {transport: {kind: http, url: 'http://x'}, accounts: {a: {money: paper, %s}}}}"
AT = "exec_mcp.k.accounts.a"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (ACCOUNT % "currency: usd", f'1:97: {AT}.currency: expected text matching ^[A-Z0-9]{{2,12}}$, was "usd"'),
        (ACCOUNT % "limits: {}", f"1:95: {AT}.limits: expected at least 1 key, was 0"),
        (ACCOUNT % "limits: {max_loss: '1'}", f'1:96: {AT}.limits.max_loss: unknown key "max_loss"'),
        (ACCOUNT % "limits: {max_daily_loss: 5}", f"1:112: {AT}.limits.max_daily_loss: expected a string, was 5"),
        (
            ACCOUNT % "limits: {max_daily_loss: '5'}",
            f"1:87: {AT}.limits: expected a currency beside limits, for max_daily_loss is money",
        ),
        (ACCOUNT % "limits: {max_open_orders: 0}", f"1:113: {AT}.limits.max_open_orders: expected at least 1, was 0"),
        (
            ACCOUNT % "currency: USD, limits: {max_turnover: {amount: '5'}}",
            f'1:111: {AT}.limits.max_turnover: missing key "within_minutes"',
        ),
        (
            ACCOUNT % "currency: USD, count_as: {USD: {USD: '1'}}",
            f"1:119: {AT}.count_as.USD.USD: expected another currency than USD",
        ),
        (
            ACCOUNT % "currency: USD, count_as: {USDT: {EUR: '1'}}",
            f"1:120: {AT}.count_as.USDT.EUR: expected a currency that limits are in, was EUR",
        ),
        (
            ACCOUNT % "markets: {BTC/USD: EUR}",
            f'1:106: {AT}.markets["BTC/USD"]: expected USD, as the market\'s name says, was EUR',
        ),
        (
            ACCOUNT % "throttle: {same_orders: 0, within_minutes: 5}",
            f"1:111: {AT}.throttle.same_orders: expected at least 1, was 0",
        ),
        ("limits: [{currency: USD, max_daily_loss: '1'}]", "1:10: limits[0]: expected label or all, was neither"),
        (
            "limits: [{all: true, label: a=b, currency: USD, max_daily_loss: '1'}]",
            "1:10: limits[0]: expected label or all, were both",
        ),
        ("limits: [{all: true, currency: USD}]", "1:10: limits[0]: expected a limit, was none"),
        ("limits: [{all: true, max_daily_loss: '1'}]", '1:10: limits[0]: missing key "currency"'),
        (
            "limits:\n- {label: a=b, currency: USD, max_open_orders: 1}\n"
            "- {label: a=b, currency: EUR, max_open_orders: 2}",
            "3:3: limits[1]: expected every scope once, a=b stands at line 2 already",
        ),
        (
            "limits: [{label: majors, currency: USD, max_open_orders: 1}]",
            '1:18: limits[0].label: expected text matching ^[^=]+=.+$, was "majors"',
        ),
        (
            "limits: [{all: true, currency: USD, min_equity: '1'}]",
            '1:37: limits[0].min_equity: unknown key "min_equity"',
        ),
        ("require_limits: {money: real, of: []}", "1:35: require_limits.of: expected at least 1 item, was 0"),
        ("require_limits: {of: [max_position]}", '1:1: require_limits: missing key "money"'),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_a_problem_at_its_line(tmp_path: Path, text: str, problem: str) -> None:
    found = refused(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(problem), found


SHARED = """\
exec_mcp:
  one:
    transport: {kind: http, url: "http://127.0.0.1:9000/mcp"}
    accounts: {a: {money: real}}
    bind: {account_id: null, client_id: null}
  two:
    transport: {kind: http, url: "http://127.0.0.1:9000/mcp/"}
    accounts: {b: {money: paper}}
    bind: {account_id: null, client_id: null}
"""
WHY = "bind sends no account_id over this transport"


def test_two_accounts_that_are_one_at_the_exchange_are_a_problem_at_both_lines(tmp_path: Path) -> None:
    assert refused(tmp_path, SHARED) == [
        f"4:16: exec_mcp.one.accounts.a: reaches the same account as b: {WHY}",
        f"8:16: exec_mcp.two.accounts.b: reaches the same account as a: {WHY}",
    ]


def test_so_are_two_under_one_server_that_takes_no_account_by_its_mapping(tmp_path: Path) -> None:
    text = (
        "exec_mcp: {k: {transport: {kind: stdio, command: [m]}, mapping: alpaca, "
        "accounts: {a: {money: real}, b: {money: real}}}}"
    )
    assert [problem.partition(": ")[0] for problem in refused(tmp_path, text)] == ["1:84", "1:102"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("9000/mcp/", "9001/mcp"),
        ("{account_id: null, client_id: null}\n  two", "{account_id: accountName}\n  two"),
        ('url: "http://127.0.0.1:9000/mcp/"', 'url: "http://127.0.0.1:9000/mcp", headers: {K: {env: B_KEY}}'),
    ],
)
def test_what_tells_the_two_apart_is_enough(tmp_path: Path, old: str, new: str) -> None:
    assert old in SHARED
    written(tmp_path, SHARED.replace(old, new))


def test_the_embedded_exchange_keeps_its_accounts_apart(tmp_path: Path) -> None:
    written(tmp_path, "exec_mcp: {p: {transport: {kind: paper}, accounts: {a: {money: paper}, b: {money: paper}}}}")
