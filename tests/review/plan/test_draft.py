"""What surrounds the changes: refusals, what is held, code, halts, settings."""

from __future__ import annotations

from dataclasses import replace

from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.review.plan.draft import with_code_links
from reconciler.review.plan.plan_formats import as_markdown, as_text
from reconciler.review.plan.sentences import outline
from tests.review.plan.conftest import QUIET, REAL, World, fleet, instance, planned


def test_a_step_too_high_is_refused_and_nobody_s_raise() -> None:
    plan = planned(World(fleet(instance("a", "off"))), World(fleet(instance("a", "active"), instance("b", "active"))))
    assert [(r.path, r.kind, r.problems[0].rule, r.runs_on and r.runs_on.mode) for r in plan.refused] == [
        ("instances/a.yaml", "refused", "mode-step", "off"),
        ("instances/b.yaml", "refused", "mode-step", None),
    ]
    assert (plan.raises, plan.changes, plan.is_empty) == ((), (), False)
    assert (plan.refused[0].problems[0].line, plan.refused[0].problems[0].column) == (5, 7)


def test_an_identity_that_changes_is_refused() -> None:
    plan = planned(World(fleet(instance("a", "active"))), World(fleet(instance("a", "active", market="ETH/USD"))))
    (found,) = plan.refused
    assert found.problems[0].rule == "identity-changed"
    assert found.runs_on is not None
    assert (found.runs_on.mode, found.runs_on.money) == ("active", "real")


def test_what_is_active_comes_first_among_what_is_not_applied() -> None:
    old = fleet(instance("a"), instance("b", "active"), instance("c", "off"))
    new = fleet(instance("a", config="levels: x"), instance("b", "active", "levels: x"), instance("c", "active"))
    assert [(r.id, r.kind) for r in planned(World(old), World(new)).refused] == [
        ("b", "invalid"),
        ("c", "refused"),
        ("a", "invalid"),
    ]


def test_a_protected_instance_runs_on() -> None:
    plan = planned(World(fleet(*QUIET, instance("a", "active", rest="protect: true"))), World(fleet(*QUIET)))
    assert [(one.id, one.mode, one.money) for one in plan.held.protected] == [("a", "active", "real")]
    assert not plan.changes
    assert not plan.is_empty


def test_too_many_removals_are_held_with_the_digest_that_confirms_them() -> None:
    plan = planned(World(fleet(*QUIET, instance("a", "active"))), World(fleet(QUIET[0])))
    assert [one.id for one in plan.held.too_many] == ["a", "idle-2", "idle-3", "idle-4", "idle-5"]
    assert len(plan.held.digest) == 12
    assert not plan.changes


def test_files_in_a_folder_that_cannot_be_read_wait() -> None:
    before = World(fleet(*QUIET, instance("a")))
    now = World(fleet(*QUIET))
    assert planned(before, now).changes
    snapshot = now.snapshot()
    shut = replace(snapshot.instances[0], path="instances/desk", data=None, error="permission denied")
    comparison_files = (*snapshot.instances, shut)
    from reconciler.review.plan.comparison import compare
    from reconciler.review.plan.draft import plan_of
    from reconciler.review.plan.model import Point

    comparison = compare(before.before(), replace(snapshot, instances=comparison_files), now.evaluations(), REAL)
    plan = plan_of(comparison, Point("HEAD"), b"")
    assert [one.id for one in plan.held.waiting] == ["a"]
    assert not plan.changes


def test_code_names_what_it_reloads_active_ones_first_and_what_it_breaks() -> None:
    files = fleet(instance("a"), instance("b", "active"), instance("c", "off"), instance("d"))
    broken = {**files, "d": instance("d", config="levels: five")}
    (code,) = planned(World(files), World(broken, code={"grid": "b" * 40})).code
    assert (code.strategy_type, code.old, code.new) == ("grid", "a" * 40, "b" * 40)
    assert [one.id for one in code.reloads] == ["b", "a"]
    assert [one.id for one in code.keeps] == ["d"]


def test_halts_are_declared_lifted_and_worded_otherwise() -> None:
    files = fleet(instance("a"))
    old = "- {scope: all, reason: storm}\n- {scope: account, id: main, reason: wild}\n"
    new = "- {scope: all, full: true, reason: storm}\n- {scope: instance, id: a, reason: look}\n"
    halts = planned(World(files, halts=old), World(files, halts=new)).halts
    assert [(found.kind, found.halt.scope, found.halt.full) for found in halts] == [
        ("changed", "all", True),
        ("declared", "instance", False),
        ("lifted", "account", False),
    ]


def test_settings_and_accounts_that_change_are_told() -> None:
    files = fleet(instance("a"), instance("b", account="play"))
    now = Accounts(
        {"main": DeclaredAccount("main", "kraken", True, 60), "new": DeclaredAccount("new", "kraken", False)},
        any_on=None,
    )
    settings = planned(World(files), World(files, accounts=now, settings=b"new")).settings
    assert settings.changed
    assert [(a.account_id, a.kind, [str(d) for d in a.details], a.instances) for a in settings.accounts] == [
        (
            "main",
            "changed",
            ["exec_mcp.kraken.accounts.main.max_orders_per_minute: none (no limit) → 60 added"],
            ("a",),
        ),
        ("new", "added", ["paper money, through kraken"], ()),
        ("play", "removed", [], ("b",)),
    ]


def test_against_a_database_nobody_knows_whether_the_settings_changed() -> None:
    from reconciler.review.plan.comparison import compare, of_database
    from reconciler.review.plan.draft import plan_of
    from reconciler.review.plan.model import Point

    world = World(fleet(instance("a")))
    before = of_database(world.before().rows, (), REAL)
    plan = plan_of(compare(before, world.snapshot(), world.evaluations(), REAL), Point("HEAD"), b"heartbeat_seconds: 1")
    assert plan.is_empty


def test_what_a_new_or_changed_instance_would_run_with_is_told_with_its_origins() -> None:
    old = fleet(instance("a"), instance("b"))
    new = fleet(instance("a", config="{levels: 7}"), instance("b"), instance("c", "off"), instance("d", "off"))
    new["d"] = new["d"].replace("mode: off", "mode: off\ntemplate: t").replace("levels: 5", "note: x")
    plan = planned(World(old), World(new, templates={"t": "config: {levels: 9}\n"}))
    told = {change.id: [(one.pointer, one.value, one.origin) for one in change.config] for change in plan.changes}
    assert told["a"] == [("config.levels", 7, "instances/a.yaml:7"), ("config.pace", "slow", "default")]
    assert told["c"] == [("config.levels", 5, "instances/c.yaml:7"), ("config.pace", "slow", "default")]
    assert ("config.levels", 9, "instances/_templates/t.yaml:1") in told["d"]
    assert "b" not in told


def test_what_is_off_would_run_with_what_runs_with() -> None:
    for mode, said in (("off", "would run with"), ("observe", "runs with")):
        new = {**fleet(instance("a")), "c": fleet(instance("c", mode))["c"]}
        (block,) = outline(planned(World(fleet(instance("a"))), World(new)))
        (item,) = block.items
        assert (item.runs, len(item.config)) == (said, 2)
        assert any(fact.words.startswith("limits: none") for fact in item.facts)


def test_what_runs_upon_a_template_names_the_template_s_lines() -> None:
    old = fleet(instance("d", "off"))
    new = {"d": old["d"].replace("mode: off", "mode: observe\ntemplate: t").replace("levels: 5", "note: x")}
    (change,) = planned(World(old), World(new, templates={"t": "config: {levels: 9}\n"})).changes
    assert [(one.pointer, one.value, one.origin) for one in change.config] == [
        ("config.levels", 9, "instances/_templates/t.yaml:1"),
        ("config.note", "x", "instances/d.yaml:8"),
        ("config.pace", "slow", "default"),
    ]
    assert change.server == "kraken"


def test_a_secret_is_not_in_what_it_would_run_with() -> None:
    old = fleet(instance("a", config="{levels: 5}"))
    new = fleet(instance("a", config="{levels: 6, key: {env: NAME}}"))
    (change,) = planned(World(old), World(new)).changes
    assert [one.pointer for one in change.config] == ["config.levels", "config.key.env", "config.pace"]


def test_what_is_active_on_the_account_together_is_summed_by_currency() -> None:
    limits = 'limits: {max_order_notional: "500", max_daily_loss: "50"}\n'
    before = fleet(instance("a"), instance("b", "active"), instance("c", "active"))
    before["b"] += limits
    after = dict(before)
    after["a"] = before["a"].replace("mode: observe", "mode: active") + limits
    change = next(one for one in planned(World(before), World(after)).changes if one.id == "a")
    assert str(change.account) == (
        "3 active on account main then; max_order_notional together 1,000 USD and 1 without; "
        "max_daily_loss together 100 USD and 1 without"
    )


def test_the_difference_of_code_is_linked_where_there_is_an_address_and_a_command_elsewhere() -> None:
    plan = planned(World(fleet(instance("a"))), World(fleet(instance("a")), code={"grid": "b" * 40}))
    linked = with_code_links(plan, lambda code: f"https://example.com/compare#{code.strategy_type}")
    assert "[the difference](https://example.com/compare#grid)" in as_markdown(linked)
    assert "the difference: https://example.com/compare#grid" in as_text(linked)
    evil = with_code_links(plan, lambda code: "https://example.com/](javascript:x)")
    assert "[the difference]" not in as_markdown(evil)
    assert "the difference: `git diff c0ffee`" in as_markdown(with_code_links(plan, lambda code: "git diff c0ffee"))
