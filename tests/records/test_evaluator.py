from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import Problem
from reconciler.records import evaluator
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.evaluator import evaluate, is_valid
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, Limits, digest
from reconciler.records.snapshot import SourceFile
from reconciler.records.template import templates_by_name

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["levels"],
    "properties": {"levels": {"type": "integer"}, "spacing": {"default": "0.5"}, "key": {"writeOnly": True}},
}
GRID = DefinitionFacts("grid", "strategies/grid.py", "c0de", SCHEMA, committed=True)
MAJORS = "instances/_templates/majors.yaml"
TEXT = """\
id: a
strategy_type: grid
account: {account_id: main, client_id: desk}
market: BTC/USD
mode: observe
config: {levels: 5}
"""


def judge(
    text: str | bytes | None = TEXT,
    *,
    path: str = "instances/a.yaml",
    grid: DefinitionFacts | None = GRID,
    accounts: Accounts | None = None,
    committed: bool = True,
    error: str = "",
    template: str | None = None,
    is_template_committed: bool = True,
) -> Evaluation:
    """`template` is what the template `majors` holds. Both ways of judging must agree."""
    data = text.encode() if isinstance(text, str) else text
    file = SourceFile(path, data, "f11e", committed, error)
    texts = [] if template is None else [template]
    templates = templates_by_name(SourceFile(MAJORS, t.encode(), "d1ce", is_template_committed) for t in texts)
    by = {"grid": grid}.get, accounts or Accounts(), ["dca", "grid"], templates
    evaluation = evaluate(file, *by)
    assert is_valid(file, *by) is (evaluation.problems == ())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "values_of", lambda data: None)
        assert evaluate(file, *by) == evaluation, "as the parser has it"
    return evaluation


def said(evaluation: Evaluation) -> list[str]:
    return [f"{str(p).removeprefix(p.path + ':')}" for p in evaluation.problems]


def test_a_valid_file_becomes_a_record() -> None:
    text = TEXT + (
        "labels: {team: majors}\nopen_orders: keep\nprotect: true\ndescription: A grid\nx-note: 1\n"
        'limits: {max_order_notional: "500.50", max_open_orders: 10, x-why: so}\n'
    )
    evaluation = judge(text)
    record = evaluation.record
    assert evaluation.problems == ()
    assert record is not None
    assert (record.id, record.mode) == ("a", Mode.OBSERVE)
    assert record.identity == Identity("grid", "main", "desk", "BTC/USD")
    assert record.config == {"levels": 5}
    assert record.effective_config == {"levels": 5, "spacing": "0.5"}
    assert record.labels == {"team": "majors"}
    assert (record.open_orders, record.protect, record.description) == ("keep", True, "A grid")
    assert record.limits == Limits(max_order_notional=Decimal("500.50"), max_open_orders=10)
    assert record.values["x-note"] == 1
    assert evaluation.values_digest == digest(record.values)
    assert evaluation.config_digest == digest({"spacing": "0.5", "levels": 5})
    assert (evaluation.code_digest, evaluation.file_digest) == ("c0de", "f11e")


def test_what_a_file_leaves_out_is_as_the_record_says() -> None:
    record = judge().record
    assert record is not None
    assert (record.open_orders, record.protect, record.description, record.labels) == ("keep", False, "", {})
    assert record.limits == Limits()


@pytest.mark.parametrize(
    ("written", "limits"),
    [
        ("max_quote_age_seconds: 5", Limits(max_quote_age_seconds=5)),
        ("max_quote_age_seconds: null", Limits(takes_any_quote=True)),
        ("max_open_orders: 1", Limits(max_open_orders=1)),
    ],
)
def test_that_any_quote_will_do_is_said_by_null_and_by_nothing_else(written: str, limits: Limits) -> None:
    record = judge(UPON + f"limits: {{{written}}}\n", template="config: {levels: 5}").record
    assert record is not None
    assert record.limits == limits


def test_comments_and_the_order_of_keys_change_no_digest() -> None:
    other = judge("# so\n" + "\n".join(reversed(TEXT.splitlines())))
    assert (other.values_digest, other.config_digest) == (judge().values_digest, judge().config_digest)


def test_a_default_that_changes_in_the_schema_changes_the_config_digest_only() -> None:
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "spacing": {"default": "0.7"}}}
    other = judge(grid=DefinitionFacts("grid", "strategies/grid.py", "c0de", schema, committed=True))
    assert other.values_digest == judge().values_digest
    assert other.config_digest != judge().config_digest


def test_a_record_holds_the_reference_and_never_the_secret() -> None:
    record = judge(TEXT.replace("levels: 5", "levels: 5, key: {env: TOKEN}")).record
    assert record is not None
    assert record.effective_config["key"] == {"env": "TOKEN"}


def test_it_is_committed_only_where_file_and_code_both_are() -> None:
    dirty = DefinitionFacts("grid", "strategies/grid.py", "c0de", SCHEMA, committed=False)
    assert judge().committed
    assert not judge(committed=False).committed
    assert not judge(grid=dirty).committed
    assert not judge(grid=None).committed


def test_a_file_that_cannot_be_read_is_a_problem_and_claims_nothing() -> None:
    evaluation = judge(None, error="permission denied")
    expected = Problem(
        "instances/a.yaml", 0, 0, "", "expected a readable file: permission denied", "", "file-unreadable"
    )
    assert evaluation.problems == (expected,)
    assert (evaluation.claimed_id, evaluation.claimed_mode, evaluation.record) == (None, None, None)


def test_a_file_that_does_not_parse_claims_nothing() -> None:
    evaluation = judge(TEXT + "mode: off\n")
    assert said(evaluation) == ['7:1: mode: duplicate key "mode": it is on line 5 already']
    assert (evaluation.claimed_id, evaluation.claimed_mode) == (None, None)
    assert evaluation.place("mode") == ("instances/a.yaml", 1, 1)


def test_a_file_that_is_invalid_elsewhere_still_claims_its_id_and_mode() -> None:
    evaluation = judge(TEXT.replace("observe", "off").replace("levels: 5", "levels: five"))
    assert said(evaluation) == ['6:18: config.levels: expected an integer, was "five"']
    assert (evaluation.claimed_id, evaluation.claimed_mode) == ("a", Mode.OFF)
    assert evaluation.record is None


@pytest.mark.parametrize(
    ("old", "new"), [("id: a", "id: 5"), ("id: a", "id: A"), ("id: a", "id: 'a\n\n '"), ("id: a", "x-id: a")]
)
def test_an_id_that_is_not_of_its_form_claims_nothing(old: str, new: str) -> None:
    evaluation = judge(TEXT.replace(old, new))
    assert evaluation.claimed_id is None
    assert evaluation.claimed_mode is Mode.OBSERVE
    assert evaluation.problems


@pytest.mark.parametrize("mode", ["on", "true", "[off]", "OFF", "paused"])
def test_a_mode_that_is_none_claims_nothing(mode: str) -> None:
    evaluation = judge(TEXT.replace("observe", mode))
    assert (evaluation.claimed_id, evaluation.claimed_mode) == ("a", None)
    assert evaluation.problems[0].pointer == "mode"


@pytest.mark.parametrize("path", ["instances/a.yaml", "instances/a.yml", "instances/deep/er/a.yaml", "a.yaml"])
def test_the_id_is_the_name_of_the_file_in_any_folder(path: str) -> None:
    assert judge(path=path).problems == ()


def test_an_id_other_than_the_file_s_name_is_shown_where_it_stands() -> None:
    evaluation = judge(path="instances/b.yaml")
    assert said(evaluation) == ['1:5: id: expected "b", the file\'s name, was "a"']
    assert evaluation.problems[0].hint == "rename the file to a.yaml, or change the id"
    assert evaluation.claimed_id == "a"


def test_an_unknown_strategy_is_named_with_the_nearest_and_all_there_are() -> None:
    evaluation = judge(TEXT.replace("grid", "gird"))
    assert said(evaluation) == ['2:16: strategy_type: unknown strategy "gird"']
    assert evaluation.problems[0].hint == 'did you mean "grid"? there are: dca, grid'


def test_what_is_wrong_with_a_definition_is_a_problem_of_its_instances() -> None:
    broken = Problem("strategies/grid.py", 3, 1, "TICK_MINUTES", "expected a number, was None", "say how often")
    evaluation = judge(grid=DefinitionFacts("grid", "strategies/grid.py", "c0de", {}, True, (broken,)))
    assert said(evaluation) == [
        "2:16: strategy_type: strategies/grid.py:3:1: TICK_MINUTES: expected a number, was None"
    ]
    assert evaluation.problems[0].hint == "say how often"
    assert evaluation.problems[0].rule == "definition-broken"


def test_an_account_that_the_settings_do_not_declare_is_refused_unless_any_will_do() -> None:
    accounts = Accounts({"mainland": DeclaredAccount("mainland", "kraken", real_money=True)}, any_on=None)
    evaluation = judge(accounts=accounts)
    assert said(evaluation) == ['3:23: account.account_id: unknown account "main"']
    assert evaluation.problems[0].hint == 'did you mean "mainland"? the settings declare: mainland'
    assert judge(accounts=Accounts(accounts.declared, any_on="paper")).problems == ()


def test_open_orders_may_be_cancelled_or_kept() -> None:
    for word in ("cancel", "keep"):
        record = judge(TEXT + f"open_orders: {word}\n").record
        assert record is not None
        assert record.open_orders == word
    evaluation = judge(TEXT + "open_orders: sell\n")
    assert said(evaluation) == ['7:14: open_orders: expected one of keep, cancel, was "sell"']


def test_a_literal_that_looks_like_a_key_is_refused_wherever_it_stands_and_never_shown() -> None:
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    text = TEXT.replace("mode: observe", f"mode: {key} # {key}") + f"{key}: {key}\n"
    evaluation = judge(text)
    assert key not in repr(evaluation.problems)
    assert [(p.line, p.column) for p in evaluation.problems if p.rule == "secret-literal"] == [
        (5, 7),
        (5, 30),
        (7, 1),
        (7, 23),
    ]
    broken = judge(f"x: [{key}")
    assert [p.rule for p in broken.problems] == ["secret-literal", "yaml-syntax"]


def test_every_problem_is_reported_at_once() -> None:
    text = TEXT.replace("levels: 5", "levels: five, lvels: 1").replace("main", "mian").replace("grid", "grid ")
    accounts = Accounts({"main": DeclaredAccount("main", "paper", real_money=False)}, any_on=None)
    assert said(judge(text + "extra: 1\n", path="instances/b.yaml", accounts=accounts)) == [
        '1:5: id: expected "b", the file\'s name, was "a"',
        '3:23: account.account_id: unknown account "mian"',
        '6:18: config.levels: expected an integer, was "five"',
        '6:24: config.lvels: unknown key "lvels"',
        '7:1: extra: unknown key "extra"',
    ]


UPON = TEXT.replace("config: {levels: 5}", "template: majors")


def test_a_record_is_what_its_file_says_upon_its_template() -> None:
    template = 'config: {levels: 5, spacing: "0.7"}\nlimits: {max_open_orders: 10}\nlabels: {a: b}\nx-note: so\n'
    evaluation = judge(UPON + 'config: {spacing: "0.9"}\nlimits: {max_position: "2"}\n', template=template)
    record = evaluation.record
    assert evaluation.problems == ()
    assert record is not None
    assert record.template == "majors"
    assert record.config == {"levels": 5, "spacing": "0.9"}
    assert record.limits == Limits(max_position=Decimal(2), max_open_orders=10)
    assert record.labels == {"a": "b"}
    assert list(record.values) == [
        "id", "strategy_type", "account", "market", "mode", "template", "config", "limits", "labels"
    ]  # fmt: skip
    assert evaluation.values_digest == digest(record.values)
    assert (evaluation.template_path, evaluation.template_digest) == (MAJORS, "d1ce")
    assert evaluation.claimed_template == "majors"


def test_without_a_template_there_is_no_trace_of_one() -> None:
    evaluation = judge(template="config: {spacing: 7}")
    assert (evaluation.template_path, evaluation.template_digest, evaluation.template) == ("", "", None)
    assert evaluation.record is not None
    assert evaluation.record.template is None


def test_it_is_committed_only_where_its_template_is_too() -> None:
    assert judge(UPON, template="config: {levels: 5}").committed
    assert not judge(UPON, template="config: {levels: 5}", is_template_committed=False).committed
    assert judge(template="config: {levels: 5}", is_template_committed=False).committed


def test_a_secret_may_be_named_in_a_template() -> None:
    record = judge(UPON, template="config: {levels: 5, key: {env: TOKEN}}").record
    assert record is not None
    assert record.effective_config["key"] == {"env": "TOKEN"}
    evaluation = judge(UPON, template="config: {levels: 5, key: hunter2}")
    assert [str(problem) for problem in evaluation.problems] == [
        f"{MAJORS}:1:26: config.key: expected {{env: NAME}} or {{file: PATH}}, was a string"
    ]


def test_an_instance_may_keep_a_secret_elsewhere_than_its_template_says() -> None:
    record = judge(UPON + "config: {key: {file: /run/key}}\n", template="config: {levels: 5, key: {env: A}}").record
    assert record is not None
    assert record.config["key"] == {"file": "/run/key"}


def test_a_template_may_have_open_orders_cancelled_and_an_instance_keep_its_own() -> None:
    template = "config: {levels: 5}\nopen_orders: cancel\n"
    kept = judge(UPON + "open_orders: keep\n", template=template).record
    cancelled = judge(UPON, template=template).record
    assert kept is not None
    assert cancelled is not None
    assert (cancelled.open_orders, kept.open_orders) == ("cancel", "keep")


def test_an_unknown_template_is_told_at_its_name_and_of_the_config_only_what_it_says_itself() -> None:
    evaluation = judge(UPON.replace("majors", "major") + "config: {levels: five, lvls: 1, key: {}}\n", template="{}")
    assert said(evaluation) == [
        '6:11: template: unknown template "major"',
        '7:18: config.levels: expected an integer, was "five"',
        '7:24: config.lvls: unknown key "lvls"',
    ]
    assert evaluation.problems[0].hint == 'did you mean "majors"? there are: majors'
    assert (evaluation.claimed_mode, evaluation.template_path) == (Mode.OBSERVE, "")


def test_a_key_that_neither_file_has_is_missing_in_the_instance_file() -> None:
    (problem,) = judge(UPON, template="config: {spacing: x}").problems
    assert str(problem) == 'instances/a.yaml:6:1: config: missing key "levels"'
    assert problem.hint == f"neither this file nor {MAJORS} has it"
    assert said(judge(UPON, template="labels: {}")) == ['1:1: missing key "config"']


def test_a_template_that_cannot_be_used_invalidates_the_record_which_can_still_lower_its_mode() -> None:
    for template in ("config: [", "- 5", "config: 5", "config: {levels: 5}\nmode: off"):
        evaluation = judge(UPON.replace("observe", "off"), template=template)
        assert {problem.path for problem in evaluation.problems} == {MAJORS}
        assert (evaluation.record, evaluation.claimed_id, evaluation.claimed_mode) == (None, "a", Mode.OFF)


def test_places_name_the_file_a_value_comes_from() -> None:
    evaluation = judge(UPON + "config: {}\n", template="config:\n  levels: 5\n")
    assert evaluation.place("config.levels") == (MAJORS, 2, 11)
    assert evaluation.place("template") == ("instances/a.yaml", 6, 11)
    assert evaluation.place("config") == ("instances/a.yaml", 7, 9)


def test_positions_are_found_for_problems_that_only_a_comparison_shows() -> None:
    evaluation = judge()
    assert evaluation.place("mode") == ("instances/a.yaml", 5, 7)
    assert evaluation.place("account.client_id") == ("instances/a.yaml", 3, 40)
    assert evaluation.place("account") == ("instances/a.yaml", 3, 10)
    assert evaluation.place("protect") == ("instances/a.yaml", 1, 1)


@pytest.mark.parametrize(
    "text", ["5\n", "- a\n", "~\n", "a: b\n", "{}\n", "config: 5\n", "account: 5\nid: [a]\nstrategy_type: {a: b}\n"]
)
def test_a_file_of_any_other_shape_has_problems(text: str) -> None:
    evaluation = judge(text)
    assert evaluation.problems
    assert evaluation.record is None


# fmt: off
WORDS = st.sampled_from([
    "id", "a", "mode", "off", "config", "levels", "account", "account_id", "strategy_type", "grid", "limits", "x-",
    "5", "~", "[", "]", "{", "}", ":", ": ", "\n", "\n  ", ", ", "'", "-",
])
# fmt: on


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=80), st.lists(WORDS, max_size=40).map(lambda words: "".join(words).encode())))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    evaluation = judge(data)
    assert (evaluation.record is None) == bool(evaluation.problems)


def test_a_valid_file_needs_neither_jsonschema_nor_anything_slower() -> None:
    code = f"""
import sys
from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import DefinitionFacts
from reconciler.records.evaluator import evaluate
from reconciler.records.snapshot import SourceFile
facts = DefinitionFacts("grid", "strategies/grid.py", "c0de", {SCHEMA!r}, True)
file = SourceFile("instances/a.yaml", {TEXT!r}.encode(), "f11e", True)
assert evaluate(file, {{"grid": facts}}.get, Accounts(), ["grid"], {{}}).problems == ()
slow = {{"jsonschema", "referencing", "mcp", "rich", "starlette", "uvicorn", "httpx", "asyncio"}} & set(sys.modules)
assert not slow - {{"asyncio"}}, slow
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_what_the_engine_fails_on_is_a_problem_of_that_file_which_can_still_lower_its_mode(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def failing(strategy_type: str) -> DefinitionFacts | None:
        raise ZeroDivisionError(f"by {strategy_type} \ud800")

    file = SourceFile("instances/a.yaml", TEXT.encode(), "f11e", True)
    evaluation = evaluate(file, failing, Accounts(), ["grid"], {})
    (problem,) = evaluation.problems
    assert (problem.line, problem.column, problem.rule) == (0, 0, "engine-fault")
    assert problem.message == "the engine failed on it: ZeroDivisionError: by grid \\ud800"
    assert (evaluation.claimed_id, evaluation.claimed_mode, evaluation.record) == ("a", Mode.OBSERVE, None)
    assert evaluation.source == TEXT.encode()
    assert caplog.messages == ["the engine failed on a file"]
    assert not is_valid(file, failing, Accounts(), ["grid"], {})
    assert len(caplog.messages) == 1, "it is told once"


def test_defaults_without_end_are_a_problem_of_that_file() -> None:
    loop = {"default": {}, "type": "object", "properties": {"n": {"$ref": "#/properties/n"}}}
    schema = {"type": "object", "properties": {"levels": {}, "n": loop}}
    evaluation = judge(grid=DefinitionFacts("grid", "strategies/grid.py", "c0de", schema, committed=True))
    assert [problem.rule for problem in evaluation.problems] == ["engine-fault"]


def test_a_blank_that_only_looks_like_a_space_is_named_where_it_is_part_of_a_key_or_a_value() -> None:
    key = judge(TEXT.replace("{levels: 5}", "{levels: 5, \u00a0spacing: x}"))
    assert "(with U+00A0 no-break space)" in said(key)[0]
    value = judge(TEXT.replace("levels: 5", "levels: 5\u2003"))
    assert said(value) == ['6:18: config.levels: expected an integer, was "5\u2003" (with U+2003 em space)']


def test_an_integral_float_is_handed_over_as_the_integer_that_the_schema_promised() -> None:
    text = TEXT.replace("{levels: 5}", "{levels: 5.0}") + "limits: {max_open_orders: 3.0}\n"
    record = judge(text).record
    assert record is not None
    assert repr(record.config["levels"]) == "5.0"
    assert repr(record.effective_config["levels"]) == "5"
    assert repr(record.limits.max_open_orders) == "3"
    upon = TEXT.replace("config: {levels: 5}", "template: majors\nconfig: {}")
    from_template = judge(upon, template="config: {levels: 7e0}\n")
    assert from_template.record is not None
    assert repr(from_template.record.effective_config["levels"]) == "7"


def test_a_default_that_is_an_integral_float_is_an_integer_too() -> None:
    schema = {"type": "object", "properties": {"levels": {"type": "integer", "default": 5.0}}}
    grid = DefinitionFacts("grid", "strategies/grid.py", "c0de", schema, committed=True)
    record = judge(TEXT.replace("{levels: 5}", "{}"), grid=grid).record
    assert record is not None
    assert repr(record.effective_config) == "{'levels': 5}"


def test_an_integer_that_is_written_as_a_float_and_too_large_is_refused() -> None:
    evaluation = judge(TEXT.replace("levels: 5", "levels: 1e300"))
    assert said(evaluation) == ["6:18: config.levels: expected an integer of at most 64 bits, was 1e+300"]


def test_other_markets_to_read_are_named_in_the_file_each_once_and_never_in_a_template() -> None:
    record = judge(TEXT + "data_markets: [ETH/USD, SOL/USD]\n").record
    assert record is not None
    assert record.data_markets == ("ETH/USD", "SOL/USD")
    assert said(judge(TEXT + "data_markets: ETH/USD\n")) == ['7:15: data_markets: expected a list, was "ETH/USD"']
    assert judge(TEXT + "data_markets: [ETH/USD, ETH/USD]\n").record is None
    evaluation = judge(UPON, template="config: {levels: 5}\ndata_markets: [ETH/USD]\n")
    assert evaluation.record is None
    assert "data_markets" in said(evaluation)[0]
