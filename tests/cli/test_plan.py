"""`reconciler plan`: a reviewer's cases, in a real repository; its exit codes; what it may not import."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.cli.plan import code_link
from reconciler.orders.order import Order, OrderNews, OrderRequest, OrderState, OrderType, Outcome, Provenance, Side
from reconciler.records.mode import Mode
from tests.cli.conftest import STRATEGY, FakeEngine, Fleet, live_item

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "plan.schema.json").read_text(encoding="utf-8"))
SETTINGS = """\
exec_mcp:
  kraken:
    transport: {kind: http, url: "http://127.0.0.1:9000/mcp"}
    accounts:
      main: {money: real}
      play: {money: paper}
"""


@dataclass(frozen=True, slots=True)
class Review:
    """A fleet in a repository; `main` is what was merged, the work tree is on a branch that left it."""

    fleet: Fleet

    def git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        done = subprocess.run(
            ("git", *identity, *arguments), cwd=self.fleet.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def write(
        self, id_: str, mode: str = "observe", *, account: str = "main", config: str = "levels: 5", rest: str = ""
    ) -> None:
        text = (
            f"id: {id_}\nstrategy_type: drift\naccount: {{account_id: {account}, client_id: desk-a}}\n"
            f"market: BTC/USD\nmode: {mode}\nconfig: {{{config}}}\n{rest}\n"
        )
        (self.fleet.root / "instances" / f"{id_}.yaml").write_text(text, encoding="utf-8")

    def put(self, path: str, text: str) -> None:
        file = self.fleet.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def remove(self, *ids: str) -> None:
        for id_ in ids:
            (self.fleet.root / "instances" / f"{id_}.yaml").unlink()

    def merged(self) -> None:
        """What stands in the work tree is merged; from here on it changes on a branch."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "As merged")
        self.git("checkout", "-q", "-B", "change")
        self.git("branch", "-q", "-f", "main")

    def plan(self) -> dict[str, Any]:
        """The plan of the branch as JSON, committed, held to the schema."""
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "Change")
        result = self.fleet.run("plan", "--base", "main", "--format", "json")
        assert result.exit_code == 0, result.stderr
        told: dict[str, Any] = json.loads(result.stdout)
        Draft202012Validator(SCHEMA).validate(told)
        return told

    def sections(self) -> dict[str, str]:
        return {change["id"]: change["section"] for change in self.plan()["changes"]}


@pytest.fixture
def review(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> Review:
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    found = Review(fleet)
    found.git("init", "-q", "-b", "main")
    found.put("reconciler.yaml", SETTINGS)
    for number in range(5):
        found.write(f"idle-{number}", "off")
    return found


def test_raising_to_active_on_real_money_is_told_first(review: Review) -> None:
    review.write("a", "active", account="play")
    review.write("b")
    review.merged()
    review.write("a", "active", account="play", config="levels: 6")
    review.write("b", "active")
    told = review.plan()
    assert (told["raises"], told["active_changes"]) == (["b"], ["a"])
    assert [(c["id"], c["section"], c["account"]["money"]) for c in told["changes"]] == [
        ("b", "start", "real"),
        ("a", "active", "paper"),
    ]
    assert told["changes"][0]["mode"] == {"before": "observe", "after": "active", "place": "instances/b.yaml:5"}


def test_a_new_file_a_removed_one_and_a_moved_one(review: Review) -> None:
    review.write("moved")
    review.write("gone", "active")
    review.merged()
    (review.fleet.root / "instances" / "desk").mkdir()
    (review.fleet.root / "instances" / "moved.yaml").rename(review.fleet.root / "instances" / "desk" / "moved.yaml")
    review.remove("gone")
    review.write("new")
    assert review.sections() == {"gone": "stop", "new": "load", "moved": "moved"}


def test_a_template_reloads_the_three_that_use_it_and_is_named(review: Review) -> None:
    review.put("instances/_templates/t.yaml", "config:\n  levels: 4\n")
    for id_ in ("a", "b", "c"):
        review.write(id_, config="pace: fast", rest="template: t")
    review.merged()
    review.put("instances/_templates/t.yaml", "config:\n  levels: 9\n")
    told = review.plan()
    assert [change["section"] for change in told["changes"]] == ["reload"] * 3
    for change in told["changes"]:
        assert change["differences"] == [
            {
                "pointer": "config.levels",
                "before": {"value": 4, "origin": "instances/_templates/t.yaml:2"},
                "after": {"value": 9, "origin": "instances/_templates/t.yaml:2"},
                "limit": None,
            }
        ]


WIDE, NARROW = ('limits: {max_order_notional: "90000"}', 'limits: {max_order_notional: "100"}')


def test_what_was_merged_though_invalid_is_not_taken_for_applied(review: Review) -> None:
    review.write("a", rest=NARROW)
    review.merged()
    review.write("a", "active", rest=f"{WIDE}\nunknown: 1")
    review.merged()
    review.write("a", "active", rest=WIDE)
    told = review.plan()
    assert told["raises"] == ["a"]
    (change,) = told["changes"]
    assert (change["section"], change["mode"]["before"], change["limits"]) == (
        "start",
        "observe",
        {"max_order_notional": "90000"},
    )
    assert [found["pointer"] for found in change["differences"]] == ["limits.max_order_notional"]


def test_a_step_that_was_merged_though_refused_was_never_made(review: Review) -> None:
    review.write("a", "off")
    review.merged()
    review.write("a", "active")
    review.merged()
    review.write("a", "observe")
    assert review.sections() == {"a": "load"}


def test_what_was_removed_by_the_dozen_comes_back_as_it_was(review: Review) -> None:
    ids = [f"i{number}" for number in range(9)]
    for id_ in ids:
        review.write(id_, "active")
    review.merged()
    review.remove(*ids)
    review.merged()
    for id_ in ids:
        review.write(id_, "active")
    told = review.plan()
    assert (told["changes"], told["refused"]) == ([], [])
    assert review.fleet.run("validate", "--base", "main").exit_code == 0


def test_code_that_comes_back_starts_what_a_restarted_engine_could_not_load(review: Review) -> None:
    """Merged past a red check: whether an engine still runs the old code, nobody but it knows."""
    review.write("a", "observe")
    review.write("b", "observe")
    review.merged()
    review.write("a", "active")
    review.merged()
    review.put("strategies/drift.py", "import nothing_that_is_installed\n" + STRATEGY)
    told = review.plan()
    assert told["code"][0]["keeps"][0]["id"] == "a"
    assert "lost at the next restart" in review.fleet.run("plan", "--base", "main").stdout
    review.merged()
    review.put("strategies/drift.py", STRATEGY)
    told = review.plan()
    assert told["raises"] == ["a"]
    assert {change["id"]: change["section"] for change in told["changes"]} == {"a": "start", "b": "load"}
    assert told["changes"][0]["reasons"][0].startswith("its code is back: ")
    assert "itself holds 7 files that are not applied as they stand" in told["basis"][0]


def test_main_s_own_refused_file_is_told_at_the_record(review: Review) -> None:
    review.write("a", "off")
    review.merged()
    review.write("a", "active")
    review.merged()
    review.write("a", "observe")
    told = review.plan()
    (reason,) = (text for text in told["changes"][0]["reasons"] if "refused" in text)
    assert reason.startswith("instances/a.yaml is refused in main (merge base ")
    assert told["basis"][0].endswith("itself holds 1 file that is not applied as it stands: instances/a.yaml")


def test_new_code_names_what_it_reloads(review: Review) -> None:
    review.write("a", "active")
    review.write("b")
    review.merged()
    review.put("strategies/drift.py", STRATEGY + "# changed\n")
    told = review.plan()
    (code,) = told["code"]
    assert [one["id"] for one in code["reloads"]] == ["a", "b"]
    assert code["before"] != code["after"]
    assert told["active_changes"] == ["a"]


def test_removals_are_protected_or_held(review: Review) -> None:
    review.write("kept", rest="protect: true")
    review.merged()
    review.remove("kept")
    assert [one["id"] for one in review.plan()["held"]["protected"]] == ["kept"]
    review.remove(*(f"idle-{number}" for number in range(5)))
    told = review.plan()
    assert len(told["held"]["too_many"]) == 5
    assert f"reconciler prune --confirm {told['held']['digest']}" in review.fleet.run("plan", "--base", "main").stdout


def test_a_changed_identity_and_a_step_too_high_are_refused(review: Review) -> None:
    review.write("a", "active")
    review.merged()
    review.write("a", "active", account="play")
    review.write("b", "active")
    told = review.plan()
    assert [(r["id"], r["kind"], r["problems"][0]["line"]) for r in told["refused"]] == [
        ("a", "refused", 3),
        ("b", "refused", 5),
    ]
    assert told["changes"] == []


def test_an_account_whose_money_turns_real_starts_what_is_active_on_it(review: Review) -> None:
    review.write("a", "active", account="play")
    review.merged()
    review.put("reconciler.yaml", SETTINGS.replace("play: {money: paper}", "play: {money: real}"))
    told = review.plan()
    assert (told["raises"], told["active_changes"]) == (["a"], [])
    assert [(c["id"], c["section"], c["account"]["money"]) for c in told["changes"]] == [("a", "start", "real")]
    assert told["settings"]["accounts"][0]["details"] == [
        "money: paper → real",
        'exec_mcp.kraken.accounts.play.throttle: none (no limit) → "60 in 5 min" added',
    ]
    assert told["settings"]["changed"]


def test_settings_of_the_base_that_cannot_be_used_do_not_keep_anybody_from_mending_them(review: Review) -> None:
    review.put("reconciler.yaml", "exec_mcp: broken\n")
    review.write("a", "active")
    review.merged()
    review.put("reconciler.yaml", SETTINGS)
    told = review.plan()
    assert (told["changes"], told["settings"]["changed"]) == ([], True)
    assert "cannot be used" in review.fleet.run("plan", "--base", "main").stderr


def test_a_halt_that_is_lifted_starts_what_it_covered(review: Review) -> None:
    review.write("a", "active")
    review.put("instances/_halt.yaml", "- {scope: all, reason: storm}\n")
    review.merged()
    review.put("instances/_halt.yaml", "[]\n")
    told = review.plan()
    assert [(c["id"], c["section"], c["reasons"]) for c in told["changes"]] == [("a", "start", ["its halt is lifted"])]
    assert [(halt["kind"], halt["reason"]) for halt in told["halts"]] == [("lifted", "storm")]


def test_what_is_not_committed_is_planned_too_and_said(review: Review) -> None:
    review.write("a")
    review.merged()
    review.write("a", "active")
    text = review.fleet.run("plan", "--base", "main").stdout
    assert text.startswith("the work tree at ")
    assert "! Not committed: on real money it trades only once its file, template and code are" in text


def test_the_base_is_where_the_branch_left_not_where_main_is_now(review: Review) -> None:
    review.write("a")
    review.merged()
    review.git("checkout", "-q", "main")
    review.write("a", "off")
    review.git("commit", "-qam", "Elsewhere")
    review.git("checkout", "-q", "change")
    assert review.sections() == {}


def test_markdown_begins_with_the_marker(review: Review) -> None:
    review.merged()
    result = review.fleet.run("plan", "--base", "main", "--format", "markdown")
    assert result.stdout.startswith("<!-- reconciler plan -->\n**Plan: nothing to do**\n")


def test_exit_codes_tell_changes_only_when_asked(review: Review) -> None:
    review.write("a")
    review.merged()
    assert review.fleet.run("plan", "--base", "main", "--detailed-exitcode").exit_code == 0
    review.write("a", config="levels: 6")
    assert review.fleet.run("plan", "--base", "main").exit_code == 0
    assert review.fleet.run("plan", "--base", "main", "--detailed-exitcode").exit_code == 2
    review.write("a", config="levels: five")
    assert review.fleet.run("plan", "--base", "main", "--detailed-exitcode").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [["--nonsense"], ["--format", "xml"], ["extra"], ["--base"], ["--base", "nowhere", "--detailed-exitcode"]],
)
def test_whatever_is_wrong_exits_1(review: Review, arguments: list[str]) -> None:
    review.merged()
    result = review.fleet.run("plan", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr


def test_without_a_base_it_compares_with_the_database_that_an_engine_left(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.write("b", mode="off")
    fleet.apply()
    assert fleet.run("plan", "--detailed-exitcode").exit_code == 0
    fleet.write("a", mode="active", levels=6)
    result = fleet.run("plan", "--detailed-exitcode")
    assert result.exit_code == 2
    assert result.stdout.splitlines() == [
        "the work tree, compared with the engine's database",
        "not compared: what the settings and instances/_halt.yaml change",
        "no engine answers: taken as running what the database holds",
        "",
        "STARTS TO TRADE",
        "! a  paper money on account main as desk-a, BTC/USD, strategy drift",
        "    ! Not what was observed: config changes in the same step",
        "    why: mode observe → active (instances/a.yaml:5); config changed",
        "    0 shadow orders so far, to see with reconciler orders a --shadow",
        "    server paper, paper money",
        "    limits: none, nothing bounds its orders",
        "    holds nothing now, 0 open orders",
        "    1 active on account main then; max_order_notional: 1 without; max_daily_loss: 1 without",
        "      config.levels: 5 → 6 (instances/a.yaml:7)",
        "    runs with",
        "      config.levels: 6 (instances/a.yaml:7)",
        '      config.pace: "slow" (default)',
        "",
        "1 starts trading",
    ]


def item(id_: str, mode: str, in_force: str, reason: str) -> dict[str, Any]:
    return {
        "id": id_,
        "mode": mode,
        "effective_mode": in_force,
        "conditions": [{"type": "Loaded", "reason": reason, "status": "False"}],
    }


def test_what_the_engine_could_not_load_starts_when_its_code_is_back(fleet: Fleet, engine: FakeEngine) -> None:
    for id_ in ("a", "b", "c", "d"):
        fleet.write(id_)
    fleet.apply()
    fleet.write("a", mode="active")
    fleet.apply()
    engine.items = [
        item("a", "active", "off", "CodeMissing"),
        item("b", "observe", "off", "CodeMissing"),
        item("c", "observe", "off", "InitFailed"),
        item("d", "observe", "observe", "Loaded"),
    ]
    told = json.loads(fleet.run("plan", "--format", "json").stdout)
    Draft202012Validator(SCHEMA).validate(told)
    assert told["before"]["label"] == "the engine, as it runs"
    assert [(c["id"], c["section"], c["effect"]) for c in told["changes"]] == [
        ("a", "start", "load"),
        ("b", "load", "load"),
    ]
    assert told["raises"] == ["a"]
    fleet.write("c", levels=6)
    told = json.loads(fleet.run("plan", "--format", "json").stdout)
    (change,) = (change for change in told["changes"] if change["id"] == "c")
    assert (change["section"], change["reasons"][0]) == ("load", "until now the engine does not run it")


def test_while_its_code_stays_away_nothing_starts(fleet: Fleet, engine: FakeEngine) -> None:
    fleet.write("a")
    fleet.apply()
    (fleet.root / "strategies" / "drift.py").write_text("import nothing_that_is_installed\n")
    engine.items = [item("a", "observe", "off", "CodeMissing")]
    told = json.loads(fleet.run("plan", "--format", "json").stdout)
    assert (told["changes"], [found["kind"] for found in told["refused"]]) == ([], ["invalid"])


def test_an_operator_s_halt_in_the_database_is_told_with_what_rises_under_it(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.apply()
    with fleet.store() as store:
        store.halts.add("all", "", False, "prices are wrong", "uid 1000")
    assert fleet.run("plan").stdout.endswith("nothing to do\n")
    fleet.write("a", mode="active")
    assert "! Halted by uid 1000, until that is lifted: prices are wrong" in fleet.run("plan").stdout


def test_without_a_database_it_says_how_to_get_one(fleet: Fleet) -> None:
    result = fleet.run("plan")
    assert result.exit_code == 1
    assert "start it once with: reconciler run" in result.stderr


def imported_by(root: Path, *arguments: str) -> list[str]:
    script = (
        "import json, sys\nfrom reconciler.cli import main\n"
        f"main(['--root', {str(root)!r}, 'plan', *{list(arguments)!r}], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded: list[str] = json.loads(done.stderr.splitlines()[-1])
    return loaded


@pytest.mark.parametrize("form", ["text", "json", "markdown"])
def test_planning_imports_neither_mcp_nor_rich_nor_the_dashboard_nor_the_database(review: Review, form: str) -> None:
    review.write("a")
    review.merged()
    review.write("a", "active")
    loaded = imported_by(review.fleet.root, "--base", "main", "--format", form)
    assert "reconciler.review.plan.comparison" in loaded
    slow = ("mcp", "rich", "starlette", "uvicorn", "httpx", "sqlite_utils", "sqlite3", "watchfiles", "jinja2")
    for name in (*slow, "reconciler.dashboard", "reconciler.app", "reconciler.store", "reconciler.execution"):
        assert name not in loaded


def test_against_the_database_it_imports_that_and_nothing_else_that_is_slow(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.apply()
    loaded = imported_by(fleet.root)
    assert "reconciler.store" in loaded
    for name in ("mcp", "rich", "starlette", "uvicorn", "httpx", "watchfiles", "jinja2", "reconciler.dashboard"):
        assert name not in loaded


def test_settings_of_the_base_that_cannot_be_used_are_a_note_in_the_plan(review: Review) -> None:
    review.put("reconciler.yaml", "exec_mcp: [\n")
    review.write("a")
    review.merged()
    review.put("reconciler.yaml", SETTINGS)
    (note,) = review.plan()["basis"]
    assert "cannot be used: its accounts are taken to be those of now" in note


def test_a_server_that_moves_is_a_change_of_what_is_active(review: Review) -> None:
    review.put("reconciler.yaml", SETTINGS)
    review.write("a", "active")
    review.merged()
    review.put("reconciler.yaml", SETTINGS.replace("127.0.0.1:9000", "evil.example"))
    told = review.plan()
    assert told["active_changes"] == ["a"]
    assert [one["pointer"] for one in told["changes"][0]["differences"]] == ["exec_mcp.kraken.transport.url"]


def test_where_a_strategy_s_code_differs_is_linked_on_the_server_it_runs_for() -> None:
    github = {"GITHUB_SHA": "beef", "GITHUB_REPOSITORY": "desk/fleet", "GITHUB_SERVER_URL": "https://github.com"}
    anchor = hashlib.sha256(b"fleets/one/strategies/dip.py").hexdigest()
    link = code_link(github, "c0ffee", "fleets/one/strategies/dip.py")
    assert link == f"https://github.com/desk/fleet/compare/c0ffee...beef#diff-{anchor}"
    gitlab = {"CI_PROJECT_URL": "https://gitlab.example/desk/fleet", "CI_COMMIT_SHA": "beef"}
    assert code_link(gitlab, "c0ffee", "strategies/dip.py").startswith(
        "https://gitlab.example/desk/fleet/-/compare/c0ffee...beef#"
    )
    assert code_link({}, "c0ffee", "strategies/dip.py") == "git diff c0ffee -- ':/strategies/dip.py'"


def test_what_it_holds_and_what_its_orders_are_worth_is_told_from_the_ledger(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.write("b", mode="off")
    fleet.apply()
    at = datetime(2026, 1, 31, tzinfo=UTC)
    origin = Provenance("a", "main", "desk-a", "BTC/USD", Mode.ACTIVE, 1, "c", "d", None, 7)
    first, second = (OrderRequest(Side.BUY, OrderType.MARKET, Decimal(quantity)) for quantity in (2, 3))
    with fleet.store() as store:
        store.ledger.append(Order("a-1", origin, first, Outcome.PENDING, at, at))
        store.ledger.settle("a-1", OrderNews(outcome=Outcome.ACCEPTED))
        store.ledger.settle(
            "a-1", OrderNews(state=OrderState.FILLED, filled_quantity=Decimal(2), average_price=Decimal(100))
        )
        store.ledger.append(Order("a-2", origin, second, Outcome.PENDING, at, at))
    fleet.write("a", mode="active")
    told = json.loads(fleet.run("plan", "--format", "json").stdout)
    (change,) = told["changes"]
    stake = change["stake"]
    assert (stake["position"], stake["open_orders"], stake["largest_order"]) == ("2", 1, "3")
    assert (stake["price"], stake["currency"], stake["position_worth"], stake["open_worth"]) == (
        "100",
        "USD",
        "200",
        "300",
    )
    assert stake["account_worth"] == {"USD": "200"}
    text = fleet.run("plan").stdout
    assert "    holds 2, worth 200.00 USD now, 1 open order" in text
    assert "    open orders: 3, worth 300.00 USD" in text
    assert "    all of account main holds 200.00 USD" in text


def test_beside_an_engine_a_proposal_says_what_it_holds_too(trading: Fleet, engine: FakeEngine) -> None:
    git = ("git", "-C", str(trading.root), "-c", "user.name=a", "-c", "user.email=a@b.c")
    (trading.root / ".gitignore").write_text(".reconciler/\n")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "as merged")):
        subprocess.run((*git, *words), check=True)
    trading.write("a", mode="active")
    subprocess.run((*git, "commit", "-qam", "raise it"), check=True)
    engine.items = [live_item("a")]
    text = trading.run("plan", "--base", "HEAD~1").stdout
    assert "STARTS TO TRADE" in text
    assert "    holds 0.1, worth 6,000.00 USD now, 0 open orders" in text


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_who_signed_what_would_be_merged_and_what_it_claims_is_told(review: Review, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)), check=True, capture_output=True)
    allowed = " ".join(key.with_name("key.pub").read_text().split()[:2])
    review.put(".gitignore", "key*\n")
    review.put("allowed/signers", f"ann@desk.example {allowed}\n")
    review.merged()
    signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={key}", "-c", "commit.gpgsign=true")
    review.git(*signing, "commit", "-q", "--allow-empty", "-m", "Raise it (#7)\n\nReviewed-by: Bo <bo@desk.example>")
    told = review.plan()
    assert [(one["signed_by"], one["lacking"]) for one in told["commits"]] == [(None, None), (None, None)]
    assert (told["commits"][0]["pull_request"], told["commits"][0]["claimed_approvals"]) == (
        "#7",
        ["Bo <bo@desk.example>"],
    )
    review.put("reconciler.yaml", f"{SETTINGS}source: {{signatures: {{allowed_signers: allowed/signers}}}}\n")
    review.merged()
    review.git(*signing, "commit", "-q", "--allow-empty", "-m", "Signed")
    signed, bare = review.plan()["commits"]
    assert (signed["signed_by"]["principal"], signed["signed_by"]["kind"]) == ("ann@desk.example", "ssh")
    assert (bare["signed_by"], bare["lacking"]) == (None, None)
    text = review.fleet.run("plan", "--base", "main").stdout
    assert "Signed by Test\n    signed by ann@desk.example (SHA256:" in text
    assert f"· {bare['commit'][:12]}" not in text, "nothing is to be said of it"


def test_what_would_be_held_for_want_of_a_signature_is_told_by_the_settings_of_the_base(review: Review) -> None:
    review.put("reconciler.yaml", f"{SETTINGS}source: {{signatures: {{required: true}}}}\n")
    review.merged()
    review.put("reconciler.yaml", SETTINGS)
    (told,) = review.plan()["commits"]
    assert told["lacking"].startswith("is not signed")
    assert "    ! Would be held: it is not signed" in review.fleet.run("plan", "--base", "main").stdout
