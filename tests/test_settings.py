"""The settings: where a value comes from, and every way in which one can be refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.dashboard.guard import DashboardOptions
from reconciler.errors import SettingsError
from reconciler.exec_mcp.contract import TOOLS
from reconciler.exec_mcp.options import embedded, names, ready, resolved
from reconciler.exec_mcp.words import Target
from reconciler.exec_mcp.written import read
from reconciler.execution.shadow_book import DEFAULT_FEE
from reconciler.paper.account import PaperOptions
from reconciler.paper.faults import Fault, FaultRule
from reconciler.paper.paper_order import MarketRules
from reconciler.ports import CONTRACT_TOOLS
from reconciler.records.accounts import REAL_MONEY_THROTTLE, Accounts, DeclaredAccount
from reconciler.records.followed import Pinned
from reconciler.runtime.protocol import HostOptions
from reconciler.settings import FILE, SCHEMA, Settings, accounts_in, load, scalars
from reconciler.settings.loading import Committed
from reconciler.settings.schema import Scalar
from reconciler.settings.values import SignatureSettings
from reconciler.validation.validator import check
from tests.full_mapping import FULL_MAPPING

NOTHING: Mapping[str, str] = {}

SERVERS = """\
exec_mcp:
  kraken:
    transport:
      kind: http
      url: http://127.0.0.1:9000/mcp
      headers: {Authorization: {env: KRAKEN_TOKEN}, User-Agent: reconciler}
    timeout_s: 2.5
    accounts:
      main: {money: real, max_orders_per_minute: 60}
      spare: {money: paper}
  desk:
    transport: {kind: stdio, command: [desk-mcp, --quiet], env: {DESK_TOKEN: {file: desk.token}}}
    accounts:
      desk-a: {money: real}
  practice:
    transport: {kind: paper}
    accounts: {paper-1: {money: paper}}
"""


def written(
    root: Path, text: str, environ: Mapping[str, str] = NOTHING, flags: Mapping[str, Any] = NOTHING
) -> Settings:
    (root / FILE).write_text(text, encoding="utf-8")
    return load(root, environ, flags)


def refused(root: Path, text: str, environ: Mapping[str, str] = NOTHING) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        written(root, text, environ)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("text", [None, "", "# heartbeat_seconds: 6\n\n", "{}\n"])
def test_without_settings_everything_has_a_default(tmp_path: Path, text: str | None) -> None:
    settings = load(tmp_path, NOTHING) if text is None else written(tmp_path, text)
    assert settings.heartbeat_seconds == 6
    assert settings.source.kind == "worktree"
    assert settings.reconcile.interval_seconds == 30
    assert (settings.dashboard.host, settings.dashboard.port, settings.dashboard.token) == ("127.0.0.1", 8080, None)
    assert settings.database == tmp_path / ".reconciler" / "reconciler.db"
    assert settings.control_socket == tmp_path / ".reconciler" / "control.sock"
    assert settings.accounts == Accounts()
    assert settings.server_options(NOTHING) == (embedded(),)


def test_settings_faults_and_mappings_name_the_tools_of_the_contract_and_no_others() -> None:
    server = SCHEMA["$defs"]["server"]["properties"]
    fault = SCHEMA["properties"]["paper"]["properties"]["faults"]["items"]["properties"]
    assert set(TOOLS) == set(CONTRACT_TOOLS)
    assert server["tools"]["propertyNames"] == {"enum": list(CONTRACT_TOOLS)}
    assert fault["tool"]["enum"] == ["*", *CONTRACT_TOOLS]


def test_the_defaults_are_those_of_the_parts(tmp_path: Path) -> None:
    settings = load(tmp_path, NOTHING)
    assert settings.host_options() == HostOptions()
    assert settings.paper_site().options == PaperOptions()
    assert settings.shadow_fee == DEFAULT_FEE
    assert settings.dashboard_options(NOTHING) == DashboardOptions()


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file, environ, flags = "dashboard: {port: 1}", {"RECONCILER_DASHBOARD_PORT": "2"}, {"dashboard.port": 3}
    assert written(tmp_path, file).dashboard.port == 1
    assert written(tmp_path, file, environ).dashboard.port == 2
    assert written(tmp_path, file, environ, flags).dashboard.port == 3


def test_every_scalar_is_an_environment_variable(tmp_path: Path) -> None:
    variables = {scalar.variable for scalar in scalars()}
    assert {"RECONCILER_HEARTBEAT_SECONDS", "RECONCILER_DASHBOARD_PORT", "RECONCILER_STATE_DIR"} <= variables
    assert not any("EXEC_MCP" in variable for variable in variables)
    settings = load(tmp_path, {"RECONCILER_HEARTBEAT_SECONDS": "0.5", "RECONCILER_STATE_DIR": "/run/fleet"})
    assert settings.heartbeat_seconds == 0.5
    assert settings.database == Path("/run/fleet/reconciler.db")


def test_an_empty_environment_variable_says_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, {"RECONCILER_DASHBOARD_PORT": ""}).dashboard.port == 8080


def test_the_paper_exchange_replays_the_file_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("date,A/B\n1,2\n2,3\n")
    feed = written(tmp_path, "paper: {prices: prices.csv, seed: other}").paper_site().feed
    assert (feed.prices, feed.seed) == (tmp_path / "prices.csv", "other")


def test_every_paper_server_keeps_a_journal_of_its_own(tmp_path: Path) -> None:
    text = "exec_mcp: {one: {transport: {kind: paper}}, two: {transport: {kind: paper}}}"
    settings = written(tmp_path, text)
    journals = [settings.paper_site().journal(server.name) for server in settings.server_options(NOTHING)]
    assert journals == [tmp_path / ".reconciler" / f"paper-{name}.journal" for name in ("one", "two")]
    assert settings.paper_site().journal(embedded().name) == tmp_path / ".reconciler" / "paper.journal"


def test_prices_that_are_not_there_are_a_problem_where_they_are_named(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "paper: {prices: nowhere.csv}")
    assert "1:17: paper.prices: expected a file" in problem


def test_money_of_the_paper_exchange_is_exact(tmp_path: Path) -> None:
    text = """
paper:
  maker_fee: "0.1"
  taker_fee: "0.000000000001"
  shorts: true
  balances: {USD: "0.10"}
  default_balance: "7"
  markets:
    "*": {min_notional: "5"}
    BTC/USD: {price_step: "0.1", quantity_step: "0.001", min_quantity: "0.010", depth: "2"}
"""
    options = written(tmp_path, text).paper_site().options
    assert (options.maker_fee, options.taker_fee) == (Decimal("0.1"), Decimal("0.000000000001"))
    assert (dict(options.starting), options.default_starting, options.shorts) == (
        {"USD": Decimal("0.1")},
        Decimal(7),
        True,
    )
    assert options.markets.of("ETH/USD") == MarketRules(min_notional=Decimal(5))
    rules = options.markets.of("BTC/USD")
    assert rules == MarketRules(Decimal("0.1"), Decimal("0.001"), Decimal("0.01"), None, Decimal(2))


def test_the_paper_exchange_replays_at_the_speed_and_with_the_faults_it_is_given(tmp_path: Path) -> None:
    assert written(tmp_path, "heartbeat_seconds: 2").paper_site().step_s == 2
    text = """
paper:
  speed: 3600
  begin: 2026-01-31T12:00:00Z
  step_seconds: 0.5
  faults: [{kind: slow, tool: place_order, probability: 0.25, seconds: 2, times: 3}, {kind: down}]
"""
    site = written(tmp_path, text).paper_site()
    assert (site.step_s, site.feed.speed, site.feed.begin_s) == (0.5, 3600, 1_769_860_800)
    assert site.faults == (FaultRule(Fault.SLOW, "place_order", 0.25, 2, 3), FaultRule(Fault.DOWN))


def test_a_flag_of_yes_or_no_is_an_environment_variable_too(tmp_path: Path) -> None:
    assert load(tmp_path, {"RECONCILER_PAPER_SHORTS": "true"}).paper.shorts is True
    assert load(tmp_path, {"RECONCILER_PAPER_SHORTS": "false"}).paper.shorts is False
    with pytest.raises(
        SettingsError, match=r"RECONCILER_PAPER_SHORTS: paper\.shorts: expected true or false, was \"maybe\""
    ):
        load(tmp_path, {"RECONCILER_PAPER_SHORTS": "maybe"})


def test_servers_and_accounts_are_read_with_their_secrets(tmp_path: Path) -> None:
    (tmp_path / "desk.token").write_text("desk-secret\n")
    settings = written(tmp_path, SERVERS)
    assert settings.accounts.any_on is None
    assert settings.accounts.get("nobody") is None
    assert settings.accounts.get("main") == DeclaredAccount(
        "main", "kraken", True, max_orders_per_minute=60, throttle=REAL_MONEY_THROTTLE
    )
    assert settings.accounts.get("spare") == DeclaredAccount("spare", "kraken", real_money=False)
    kraken, desk, practice = settings.server_options({"KRAKEN_TOKEN": "kraken-secret"})
    assert (kraken.name, kraken.kind, kraken.url, kraken.timeout_s) == (
        "kraken",
        "http",
        "http://127.0.0.1:9000/mcp",
        2.5,
    )
    assert resolved(kraken.headers) == {"Authorization": "kraken-secret", "User-Agent": "reconciler"}
    assert (desk.kind, desk.command) == ("stdio", ("desk-mcp", "--quiet"))
    assert resolved(desk.env) == {"DESK_TOKEN": "desk-secret"}
    assert (kraken.accounts, desk.accounts, practice.accounts) == (("main", "spare"), ("desk-a",), ("paper-1",))
    assert (practice.kind, practice.timeout_s) == ("paper", 5)


KEYED = """
exec_mcp:
  desk:
    transport: {kind: http, url: "http://127.0.0.1:9000/mcp"}
    tools:
      place_order:
        const: {exchange: binance, apiKey: {env: DESK_KEY}, params: {auth: {passphrase: {file: desk.phrase}}}}
"""


def test_secrets_that_constants_refer_to_are_read_at_each_connecting_and_never_shown(tmp_path: Path) -> None:
    (tmp_path / "desk.phrase").write_text("hush-phrase\n")
    settings = written(tmp_path, KEYED)
    environ = {"DESK_KEY": "hush-key"}
    (desk,) = settings.server_options(environ)
    assert "hush" not in repr((settings, desk))
    opened, hidden = desk.opened()
    placing = opened.words.tool("place_order")
    assert placing is not None
    assert placing.const == {
        "exchange": "binance",
        "apiKey": "hush-key",
        "params": {"auth": {"passphrase": "hush-phrase"}},
    }
    assert set(hidden) == {"hush-key", "hush-phrase"}
    environ.clear()
    with pytest.raises(SettingsError, match=r"yaml:7:44: exec_mcp\.desk\.tools\.place_order\.const\.apiKey: {env: "):
        desk.opened()


@pytest.mark.parametrize(
    ("const", "column"),
    [
        ("{apiKey: abc123}", 82),
        ("{params: {Secret: topsecretvalue42}}", 91),
        ("{auth: {user: [me]}}", 88),
        ("{passphrase: 123456}", 86),
    ],
)
def test_a_literal_secret_among_constants_is_a_problem(tmp_path: Path, const: str, column: int) -> None:
    text = f"exec_mcp: {{k: {{transport: {{kind: stdio, command: [x]}}, tools: {{place_order: {{const: {const}}}}}}}}}"
    (problem,) = refused(tmp_path, text)
    assert "expected {env: NAME} or {file: PATH}, was a " in problem
    assert problem.startswith(f"reconciler.yaml:1:{text.index(const) + 1 + column - 73}: ")


def test_constants_that_are_no_secrets_are_taken(tmp_path: Path) -> None:
    text = "exec_mcp: {k: {transport: {kind: stdio, command: [x]}, tools: {place_order: {const: {privateOnly: true}}}}}"
    (server,) = written(tmp_path, text).server_options(NOTHING)
    assert server.secrets == {}


def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    (tmp_path / "desk.token").write_text("hush-desk\n")
    settings = written(tmp_path, SERVERS + "dashboard: {token: {env: KRAKEN_TOKEN}}\n")
    environ = {"KRAKEN_TOKEN": "hush-kraken-hush"}
    shown = repr((settings, settings.server_options(environ), settings.dashboard_options(environ)))
    assert "hush" not in shown


def connecting(settings: Settings, environ: dict[str, str]) -> None:
    """What connecting reads."""
    for server in settings.server_options(environ):
        resolved({**server.headers, **server.env})


def test_secrets_are_read_at_each_connecting_so_that_they_may_change_and_a_missing_one_says_where_it_is_named(
    tmp_path: Path,
) -> None:
    settings = written(tmp_path, SERVERS)
    with pytest.raises(SettingsError) as caught:
        connecting(settings, {})
    assert str(caught.value) == (
        "reconciler.yaml:6:32: exec_mcp.kraken.transport.headers.Authorization: "
        "{env: KRAKEN_TOKEN}: expected an environment variable with a secret, was not set"
    )
    with pytest.raises(SettingsError, match=r"yaml:12:78: .*: {file: desk\.token}: .*, was refused: No such file"):
        connecting(settings, {"KRAKEN_TOKEN": "x"})
    environ = {"KRAKEN_TOKEN": "old"}
    kraken, *_ = settings.server_options(environ)
    environ["KRAKEN_TOKEN"] = "new"
    assert resolved(kraken.headers)["Authorization"] == "new"


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"x" * 65_537, "at most 65,536 bytes"), (b"\xff", "expected UTF-8"), (b"\n", "was an empty file")],
)
def test_secrets_of_the_settings_are_read_as_those_of_instances(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "desk.token").write_bytes(content)
    with pytest.raises(SettingsError, match=rf"yaml:12:78: exec_mcp\.desk.*: {{file: desk\.token}}: .*{said}"):
        connecting(written(tmp_path, SERVERS), {"KRAKEN_TOKEN": "k"})


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("Bearer s3cr3t\n", "had a line break"),
        ("Bearer s3\r\ncr3t", "had a line break"),
        ("Bearer s3cr3t ", "had a space at its end"),
        (" Bearer s3cr3t", "had a space at its beginning"),
        ("Bearer s3\tcr3t", "had a control character"),
        ("Bearer s3\x00cr3t", "had a control character"),
        ("Bearer s3crét", "had a character that is not ASCII"),
    ],
)
def test_a_secret_that_no_http_header_can_carry_is_refused_and_never_told(
    tmp_path: Path, secret: str, said: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        connecting(written(tmp_path, SERVERS), {"KRAKEN_TOKEN": secret})
    assert str(caught.value) == (
        "reconciler.yaml:6:32: exec_mcp.kraken.transport.headers.Authorization: "
        f"{{env: KRAKEN_TOKEN}}: expected what an HTTP header can carry, {said}"
    )


@pytest.mark.parametrize("content", [b"Bearer s3cr3t", b"Bearer s3cr3t\n", b"Bearer s3cr3t\r\n"])
def test_one_line_break_at_the_end_of_a_file_is_no_part_of_its_secret(tmp_path: Path, content: bytes) -> None:
    settings = written(tmp_path, SERVERS.replace("{env: KRAKEN_TOKEN}", "{file: token}"))
    (tmp_path / "token").write_bytes(content)
    kraken, *_ = settings.server_options({})
    assert resolved(kraken.headers)["Authorization"] == "Bearer s3cr3t"
    (tmp_path / "token").write_bytes(content + b"\n\n")
    with pytest.raises(
        SettingsError, match=r"\{file: token\}: expected what an HTTP header can carry, had a line break$"
    ):
        resolved(kraken.headers)


def test_a_secret_with_a_nul_is_no_environment_variable(tmp_path: Path) -> None:
    (tmp_path / "desk.token").write_bytes(b"s3\x00cr3t")
    with pytest.raises(SettingsError) as caught:
        connecting(written(tmp_path, SERVERS), {"KRAKEN_TOKEN": "k"})
    said = "{file: desk.token}: expected what an environment variable can hold, had a NUL"
    assert str(caught.value) == f"reconciler.yaml:12:78: exec_mcp.desk.transport.env.DESK_TOKEN: {said}"


def test_a_header_that_no_request_can_carry_is_a_problem_of_the_file(tmp_path: Path) -> None:
    text = "exec_mcp: {k: {transport: {kind: http, url: 'http://x', headers: {Agent: ü, 'a b': c}}}}"
    assert refused(tmp_path, text) == [
        "reconciler.yaml:1:74: exec_mcp.k.transport.headers.Agent: "
        "expected what an HTTP header can carry, had a character that is not ASCII",
        "reconciler.yaml:1:77: exec_mcp.k.transport.headers[\"a b\"]: expected a name for an HTTP header, was 'a b'",
    ]


def test_an_address_others_can_reach_needs_a_token(tmp_path: Path) -> None:
    assert refused(tmp_path, "dashboard:\n  host: 0.0.0.0\n") == [
        "reconciler.yaml:2:9: dashboard.host: expected a token, or a loopback address, was 0.0.0.0 without one"
    ]
    assert refused(tmp_path, "", {"RECONCILER_DASHBOARD_HOST": "desk.example"}) == [
        "RECONCILER_DASHBOARD_HOST: dashboard.host: "
        "expected a token, or a loopback address, was desk.example without one"
    ]
    settings = written(tmp_path, "dashboard: {host: 0.0.0.0, token: {env: TOKEN}}")
    assert settings.dashboard_options({"TOKEN": "t" * 16}).token == "t" * 16
    with pytest.raises(SettingsError, match=r"\{env: TOKEN\}: expected what is at least 16 characters long, had 15"):
        settings.dashboard_options({"TOKEN": "t" * 15})
    assert settings.dashboard_options({"TOKEN": "t" * 16}).allowed_hosts == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_loopback_needs_no_token_and_answers_only_to_names_of_loopback(tmp_path: Path, host: str) -> None:
    options = written(tmp_path, f'dashboard: {{host: "{host}"}}').dashboard_options(NOTHING)
    assert options.token is None
    assert host in options.allowed_hosts


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("heartbeat_seconds: fast", "1:20: heartbeat_seconds: expected a number, was \"fast\""),
        ("heartbeat_seconds: 0", "1:20: heartbeat_seconds: expected at least 0.05, was 0"),
        ("dashboard:\n  prot: 1", '2:3: dashboard.prot: unknown key "prot"'),
        ("source: {kind: svn}", "1:16: source.kind: expected one of worktree, git, was \"svn\""),
        ("dashboard: {token: abc}", "1:20: dashboard.token: expected {env: NAME} or {file: PATH}, was a string"),
        ("paper: {taker_fee: 0.1}", "1:20: paper.taker_fee: expected a string, was 0.1"),
        (
            "paper: {begin: yesterday!}",
            "1:16: paper.begin: expected a time such as 2026-01-31T12:00:00Z, was 'yesterday!'",
        ),
        (
            "paper: {faults: [{kind: down, tool: get_quote}]}",
            "1:37: paper.faults[0].tool: expected no tool, for the server is down as a whole, was 'get_quote'",
        ),
        ("exec_mcp: {k: {}}", '1:12: exec_mcp.k: missing key "transport"'),
        ("exec_mcp: {k: {transport: {kind: http}}}", '1:16: exec_mcp.k.transport: missing key "url"'),
        ("exec_mcp: {k: {transport: {kind: stdio}}}", '1:16: exec_mcp.k.transport: missing key "command"'),
        (
            "exec_mcp: {k: {transport: {kind: paper, url: x}}}",
            '1:41: exec_mcp.k.transport.url: unknown key "url"',
        ),
        (
            "exec_mcp: {k: {transport: {kind: paper}, accounts: {a: {}}}}",
            '1:53: exec_mcp.k.accounts.a: missing key "money"',
        ),
        (
            "exec_mcp: {k: {transport: {kind: paper}, accounts: {a: {money: real}}}}",
            "1:64: exec_mcp.k.accounts.a.money: expected paper, was real: the paper exchange holds no real money",
        ),
        (
            "exec_mcp: {k: {transport: {kind: http, url: 'http://x', headers: {X-Api-Key: abc}}}}",
            "1:78: exec_mcp.k.transport.headers.X-Api-Key: "
            "expected {env: NAME} or {file: PATH}, was a text: this file is committed",
        ),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_with_line_and_column(tmp_path: Path, text: str, problem: str) -> None:
    assert refused(tmp_path, text) == [f"reconciler.yaml:{problem}"]


def test_an_account_stands_under_one_server(tmp_path: Path) -> None:
    text = SERVERS.replace("paper-1", "main")
    assert refused(tmp_path, text) == [
        "reconciler.yaml:17:16: exec_mcp.practice.accounts.main: "
        "expected every account once, was declared at reconciler.yaml:9 already"
    ]


def committed(root: Path, text: str, environ: Mapping[str, str] = NOTHING, **flags: Any) -> Settings:
    """The settings of a commit that holds `text`, whatever is on disk."""
    (root / FILE).write_text("nonsense: [")
    at = Committed("c0ffee", text.encode(), Pinned("git", None, "main"), root / ".reconciler")
    return load(root, environ, {name.replace("__", "."): value for name, value in flags.items()}, at)


def test_the_settings_of_a_commit_are_read_and_the_file_on_disk_is_not(tmp_path: Path) -> None:
    found = committed(tmp_path, "source: {fetch_seconds: 3, signatures: {forge: f}}\nreconcile: {interval_seconds: 7}")
    assert (found.source.kind, found.source.branch, found.source.remote) == ("git", "main", None)
    assert (found.source.fetch_seconds, found.reconcile.interval_seconds) == (3.0, 7)
    assert found.source.signatures == SignatureSettings(forge="f")
    assert committed(tmp_path, "").state_dir == tmp_path / ".reconciler"


def test_beside_a_commit_the_host_sets_what_is_the_host_s_and_nothing_else(tmp_path: Path) -> None:
    environ = {"RECONCILER_DASHBOARD_PORT": "9000", "RECONCILER_RUNTIME_WORKERS": "3", "RECONCILER_SOURCE_BRANCH": "x"}
    found = committed(tmp_path, "dashboard: {port: 1}", environ, heartbeat_seconds=2.0)
    assert (found.dashboard.port, found.runtime.workers, found.heartbeat_seconds) == (9000, 3, 2.0)
    assert found.source.branch == "main", "what is pinned counts"
    with pytest.raises(SettingsError) as refused:
        committed(tmp_path, "", {"RECONCILER_SHADOW_FEE": "0.1", "RECONCILER_RECONCILE_INTERVAL_SECONDS": "9"})
    assert [(one.path, one.rule) for one in refused.value.problems] == [
        ("RECONCILER_RECONCILE_INTERVAL_SECONDS", "host-setting"),
        ("RECONCILER_SHADOW_FEE", "host-setting"),
    ]
    assert "commits are the source" in refused.value.problems[0].message


def another(scalar: Scalar) -> str:
    """A value that the schema takes, and that is not the default."""
    said = scalar.schema
    if "enum" in said:
        return str(next(one for one in said["enum"] if one != said.get("default")))
    if said["type"] == "boolean":
        return str(not said.get("default", False)).lower()
    if said["type"] in ("integer", "number"):
        return str(max(said.get("minimum", 1), said.get("default", 1)) + 1)
    return "0.25" if check("x", said) else "elsewhere"


def beyond_the_host(settings: Settings) -> tuple[Any, ...]:
    """Servers, commands, URLs, accounts, money, limits, and whatever else decides what is traded and how."""
    source = (settings.source.pinned, settings.source.fetch_seconds, settings.source.signatures)
    rest = (settings.reconcile, settings.shadow_fee, settings.paper)
    return (settings.servers, settings.accounts, *source, *rest)


@pytest.mark.parametrize("scalar", list(scalars()), ids=lambda one: one.name)
@pytest.mark.parametrize("how", ["variable", "flag"])
def test_nothing_that_the_host_sets_beside_a_commit_changes_what_is_traded_and_how(
    tmp_path: Path, scalar: Scalar, how: str
) -> None:
    value = another(scalar)
    environ = {scalar.variable: value} if how == "variable" else {}
    flags = {scalar.name: scalar.read(value)} if how == "flag" else {}
    said = f"{SERVERS}dashboard: {{token: {{env: T}}}}\n"  # it listens to others only with a token
    at = Committed("c0ffee", said.encode(), Pinned("git", None, "main"), tmp_path / ".reconciler")
    plain = load(tmp_path, NOTHING, {}, at)
    may_be_set = {"state_dir", "heartbeat_seconds", "dashboard", "runtime"}
    looks = {"source.kind", "source.branch", "source.remote"}
    if scalar.path[0] in may_be_set or scalar.name in looks:
        assert beyond_the_host(load(tmp_path, environ, flags, at)) == beyond_the_host(plain)
        return
    with pytest.raises(SettingsError) as refused:
        load(tmp_path, environ, flags, at)
    assert "host-setting" in [one.rule for one in refused.value.problems]


def test_no_variable_reaches_servers_accounts_or_limits(tmp_path: Path) -> None:
    """There are none by these names; and what a library would take from the environment is not asked for either."""
    at = Committed("c0ffee", SERVERS.encode(), Pinned("git", None, "main"), tmp_path / ".reconciler")
    names = ("EXEC_MCP", "EXEC_MCP_KRAKEN_TRANSPORT_URL", "EXEC_MCP_KRAKEN_ACCOUNTS_MAIN_MONEY", "LIMITS", "ACCOUNTS")
    environ = {f"RECONCILER_{name}": "paper" for name in names}
    assert beyond_the_host(load(tmp_path, environ, {}, at)) == beyond_the_host(load(tmp_path, NOTHING, {}, at))


def test_signatures_are_required_of_commits_and_not_of_files_that_nobody_could_sign(tmp_path: Path) -> None:
    required = "signatures: {required: true}"
    assert refused(tmp_path, f"source: {{{required}}}") == [
        "reconciler.yaml:1:33: source.signatures.required: "
        "expected kind: git beside it, was worktree: files on disk are signed by nobody"
    ]
    assert written(tmp_path, f"source: {{kind: git, {required}}}").source.signatures.required
    assert committed(tmp_path, f"source: {{{required}}}").source.signatures.required, "what is pinned says git"
    variable = {"RECONCILER_SOURCE_SIGNATURES_REQUIRED": "false"}
    with pytest.raises(SettingsError, match="commits are the source"):
        committed(tmp_path, f"source: {{{required}}}", variable)


def test_prices_come_from_the_commit_too(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("what is checked out is not read")
    copy = tmp_path / "copy.csv"
    copy.write_text("time,symbol,bid,ask\n")

    def settings(found: Path | None) -> Settings:
        at = Committed(
            "c0ffee", b"paper: {prices: prices.csv}", Pinned("git", None, "main"), tmp_path, lambda path: found
        )
        return load(tmp_path, NOTHING, {}, at)

    assert settings(copy).paper.prices == copy
    with pytest.raises(SettingsError, match="expected a file, found none"):
        settings(None)


def test_no_commit_moves_the_state(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no commit can move it"):
        committed(tmp_path, "state_dir: elsewhere")
    assert committed(tmp_path, "state_dir: .reconciler").database == tmp_path / ".reconciler" / "reconciler.db"


def test_a_whole_mapping_is_read_into_the_words_of_its_server(tmp_path: Path) -> None:
    (kraken,) = written(tmp_path, FULL_MAPPING).server_options(NOTHING)
    place = kraken.words.tool("place_order")
    assert place is not None
    assert place.name == "createOrder"
    assert place.targets("account_id") == (Target(("accountName",)),)
    assert (place.targets("client_id"), place.targets("reduce_only")) == ((), ())
    assert place.targets("quantity") == (Target(("amount",), "number"),)
    assert place.targets("client_order_id") == (Target(("params", "clientOrderId")),)
    assert kraken.words.tool("get_positions") is None
    quote = kraken.words.tool("get_quote")
    assert quote is not None
    assert quote.targets("account_id") == ()


def test_a_ready_made_mapping_is_named_and_what_is_written_beside_it_comes_on_top(tmp_path: Path) -> None:
    ours = "tools: {get_quote: {const: {exchangeId: kraken}}, get_candles: null}"
    text = f"exec_mcp: {{k: {{transport: {{kind: http, url: 'http://x'}}, mapping: ccxt, {ours}}}}}"
    (server,) = written(tmp_path, text).server_options(NOTHING)
    quote = server.words.tool("get_quote")
    assert quote is not None
    assert (quote.name, quote.const) == ("fetchTicker", {"exchangeId": "kraken"})
    assert server.words.tool("get_candles") is None


@pytest.mark.parametrize(
    ("mapping", "problem"),
    [
        ("mapping: cctx", '67: exec_mcp.k.mapping: expected one of alpaca, bybit, ccxt, mcp-okx, okx, was "cctx"'),
        (
            "tools: {place_order: {args: {quantiti: amount}}}",
            "87: exec_mcp.k.tools.place_order.args.quantiti: expected an argument of place_order, one of account_id, "
            "client_id, client_order_id, symbol, side, type, quantity, limit_price, stop_price, time_in_force, "
            "reduce_only, was 'quantiti'; did you mean 'quantity'?",
        ),
        (
            "tools: {get_quote: {result: {bid: $.b..c}}}",
            '87: exec_mcp.k.tools.get_quote.result.bid: expected .name, [0], ["name"], [argument] or .* at '
            "'..c', in '$.b..c'",
        ),
        (
            "tools: {get_order: {states: {done: finished}}}",
            "87: exec_mcp.k.tools.get_order.states.done: expected a state, one of open, partially_filled, filled, "
            "cancelled, expired, rejected, was 'finished'",
        ),
        (
            "tools: {get_order: {error_when: [{path: $.e, matches: '('}]}}",
            "103: exec_mcp.k.tools.get_order.error_when[0].matches: expected a regular expression, was none: "
            "missing ), unterminated subpattern at position 0",
        ),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_with_line_and_column(tmp_path: Path, mapping: str, problem: str) -> None:
    text = f"exec_mcp: {{k: {{transport: {{kind: http, url: 'http://x'}}, {mapping}}}}}"
    assert refused(tmp_path, text) == [f"reconciler.yaml:1:{problem}"]


def test_the_paper_exchange_needs_no_mapping(tmp_path: Path) -> None:
    assert refused(tmp_path, "exec_mcp: {k: {transport: {kind: paper}, bind: {account_id: a}}}") == [
        "reconciler.yaml:1:42: exec_mcp.k.bind: "
        "expected nothing here: the paper exchange speaks the contract's own words"
    ]


def test_the_schema_knows_every_ready_made_mapping_and_each_of_them_meets_it() -> None:
    server = SCHEMA["$defs"]["server"]["properties"]
    assert tuple(server["mapping"]["enum"]) == names()
    for name in names():
        for key in ("bind", "tools"):
            assert list(check(ready(name)[key], {**server[key], "$defs": SCHEMA["$defs"]})) == []
        read(ready(name))


def test_every_problem_is_told_at_once_wherever_it_stands(tmp_path: Path) -> None:
    environ = {"RECONCILER_DASHBOARD_PORT": "99999", "RECONCILER_HEARTBEAT_SECONDS": "abc"}
    assert refused(tmp_path, "sorce: {}\nreconcile:\n  interval_seconds: 0\n", environ) == [
        "RECONCILER_DASHBOARD_PORT: dashboard.port: expected at most 65535, was 99999",
        'RECONCILER_HEARTBEAT_SECONDS: heartbeat_seconds: expected a number, was "abc"',
        'reconciler.yaml:1:1: sorce: unknown key "sorce"',
        "reconciler.yaml:3:21: reconcile.interval_seconds: expected at least 1, was 0",
    ]


@pytest.mark.parametrize("name", ["reconciler.yml", "Reconciler.yaml", "reconciler.YAML", "reconciler.yaml.txt"])
@pytest.mark.parametrize("beside", [False, True])
def test_a_file_that_was_meant_as_the_settings_is_no_start_without_them(
    tmp_path: Path, name: str, beside: bool
) -> None:
    (tmp_path / name).write_text(SERVERS)
    if beside:
        (tmp_path / FILE).write_text("heartbeat_seconds: 6\n")
    with pytest.raises(SettingsError, match=f"{name}: expected reconciler.yaml, was a file that sets nothing"):
        load(tmp_path, NOTHING)


@pytest.mark.parametrize("name", ["reconciler.yaml.example", "reconciler.yaml~", ".reconciler.yaml.swp", "reconciler"])
def test_other_files_may_lie_beside_the_settings(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("never: read\n")
    assert written(tmp_path, "heartbeat_seconds: 7\n").heartbeat_seconds == 7


def test_the_settings_may_have_another_name_too(tmp_path: Path) -> None:
    (tmp_path / "reconciler.yml").write_text("heartbeat_seconds: 7\n")
    (tmp_path / FILE).symlink_to("reconciler.yml")
    assert load(tmp_path, NOTHING).heartbeat_seconds == 7


def test_a_file_that_does_not_parse_says_where(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "dashboard:\n  port: 1\n  port: 2\n")
    assert problem.startswith("reconciler.yaml:3:3: dashboard.port: ")


def test_the_schema_is_a_schema_and_its_defaults_meet_it() -> None:
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(json.loads(json.dumps(SCHEMA)))
    for scalar in scalars():
        assert scalar.schema.get("description"), scalar.name
        if "default" in scalar.schema:
            Draft202012Validator(scalar.schema).validate(scalar.schema["default"])


@pytest.mark.parametrize(
    ("text", "accounts"),
    [
        ("", Accounts()),
        ("# exec_mcp: {}\n", Accounts()),
        ("paper: {prices: nowhere.csv}\n", Accounts()),
        (
            "exec_mcp: {k: {transport: {kind: http, url: 'http://x/mcp'}, accounts: {main: {money: real}}}}\n",
            Accounts(
                {"main": DeclaredAccount("main", "k", real_money=True, throttle=REAL_MONEY_THROTTLE)}, any_on=None
            ),
        ),
        ("exec_mcp: [\n", None),
        ("exec_mcp: {k: {}}\n", None),
        ("exec_mcp: {k: {transport: {kind: paper}, accounts: {main: {money: real}}}}\n", None),
    ],
)
def test_accounts_can_be_told_from_the_bytes_of_a_file_that_lies_nowhere(text: str, accounts: Accounts | None) -> None:
    found = accounts_in(text.encode())
    assert (None if found is None else replace(found, servers={})) == accounts
