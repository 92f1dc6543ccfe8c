from __future__ import annotations

from collections.abc import Callable

import pytest

from reconciler.records.accounts import Accounts
from reconciler.records.crosscheck import EvaluationCache, evaluate_all, template_problems
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.mode import Mode
from reconciler.records.snapshot import SourceFile

GRID = DefinitionFacts("grid", "strategies/grid.py", "c0de", {"type": "object"}, committed=True)
TEXT = """\
id: {id}
strategy_type: {type}
account: {{account_id: main, client_id: desk}}
market: BTC/USD
mode: observe
config: {{}}
"""


def file(path: str, id: str, type: str = "grid") -> SourceFile:
    return SourceFile(f"instances/{path}", TEXT.format(id=id, type=type).encode(), "f11e", committed=True)


class World:
    """Facts, accounts and types as one caller keeps them from pass to pass; counts what was asked."""

    def __init__(self) -> None:
        self.facts: dict[str, DefinitionFacts] = {"grid": GRID}
        self.accounts = Accounts()
        self.cache = EvaluationCache()
        self.asked: list[str] = []
        self.templates: tuple[SourceFile, ...] = ()

    def judge(self, *files: SourceFile) -> tuple[Evaluation, ...]:
        def ask(strategy_type: str) -> DefinitionFacts | None:
            self.asked.append(strategy_type)
            return self.facts.get(strategy_type)

        return evaluate_all(files, self.templates, ask, self.accounts, sorted(self.facts), self.cache)


@pytest.fixture
def world() -> World:
    return World()


def upon(name: str, id: str, template: str = "grid", config: str = "{}") -> SourceFile:
    """A record that names a template."""
    text = TEXT.format(id=id, type="grid").replace("config: {}", f"config: {config}") + f"template: {template}\n"
    return SourceFile(f"instances/{name}", text.encode(), "f11e", committed=True)


def template(text: str, name: str = "grid.yaml") -> SourceFile:
    return SourceFile(f"instances/_templates/{name}", text.encode(), "d1ce", committed=True)


def said(evaluation: Evaluation) -> list[str]:
    return [str(problem) for problem in evaluation.problems]


def test_files_are_judged_in_the_order_of_the_snapshot(world: World) -> None:
    found = world.judge(file("b.yaml", "b"), file("a.yaml", "a"), file("c.yaml", "x"))
    assert [e.path for e in found] == ["instances/b.yaml", "instances/a.yaml", "instances/c.yaml"]
    assert [e.record is not None for e in found] == [True, True, False]


def test_two_files_that_claim_one_id_are_both_refused_each_naming_the_other(world: World) -> None:
    first, second, other = world.judge(file("a.yaml", "a"), file("sub/a.yml", "a"), file("b.yaml", "b"))
    assert said(first) == ["instances/a.yaml:1:5: id: also claimed by instances/sub/a.yml"]
    assert said(second) == ["instances/sub/a.yml:1:5: id: also claimed by instances/a.yaml"]
    assert first.record is None
    assert second.record is None
    assert (first.claimed_id, first.claimed_mode) == ("a", Mode.OBSERVE)
    assert other.problems == ()


def test_of_two_names_that_look_the_same_that_is_said(world: World) -> None:
    first, second = world.judge(file("caf\u00e9/a.yaml", "a"), file("cafe\u0301/a.yaml", "a"))
    for one in (first, second):
        (problem,) = one.problems
        assert problem.hint.startswith("two names that look the same, accents combined in one of them; an id belongs")


def test_an_invalid_file_refuses_the_other_claim_too(world: World) -> None:
    valid, misnamed = world.judge(file("a.yaml", "a"), file("b.yaml", "a"))
    assert said(valid) == ["instances/a.yaml:1:5: id: also claimed by instances/b.yaml"]
    assert len(said(misnamed)) == 2


def test_three_claims_name_both_others(world: World) -> None:
    first, _, _ = world.judge(file("a.yaml", "a"), file("x/a.yaml", "a"), file("y/a.yaml", "a"))
    assert [problem.message for problem in first.problems] == [
        "also claimed by instances/x/a.yaml, instances/y/a.yaml",
    ]


def test_of_many_claims_each_names_the_first_others_and_their_number(world: World) -> None:
    found = world.judge(*(file(f"{number:04}/a.yaml", "a") for number in range(2_000)))
    assert said(found[0]) == [
        "instances/0000/a.yaml:1:5: id: also claimed by "
        "instances/0001/a.yaml, instances/0002/a.yaml, instances/0003/a.yaml and 1,996 more"
    ]
    assert said(found[-1])[0].endswith(
        "instances/0000/a.yaml, instances/0001/a.yaml, instances/0002/a.yaml and 1,996 more"
    )
    assert max(len(one.problems) for one in found) == 1


def test_a_file_that_cannot_be_read_is_taken_to_claim_the_id_it_is_named_after(world: World) -> None:
    unreadable = SourceFile("instances/sub/a.yaml", None, "", False, "permission denied")
    readable, other, unread = world.judge(file("a.yaml", "a"), file("b.yaml", "b"), unreadable)
    assert said(readable) == [
        "instances/a.yaml:1:5: id: also claimed, as far as its name tells, by the unreadable instances/sub/a.yaml"
    ]
    assert other.problems == ()
    assert said(unread)[0] == "instances/sub/a.yaml: expected a readable file: permission denied"
    assert unread.claimed_id is None


def test_a_file_that_does_not_parse_claims_no_id(world: World) -> None:
    broken = SourceFile("instances/sub/a.yaml", b"id: a\nid: a\n", "", True)
    readable, _ = world.judge(file("a.yaml", "a"), broken)
    assert readable.problems == ()


def test_a_pass_over_unchanged_files_is_the_same_tuple(world: World) -> None:
    files = (file("a.yaml", "a"), file("b.yaml", "b"))
    first = world.judge(*files)
    world.asked.clear()
    assert world.judge(*files) is first
    assert world.asked == ["grid"], "each type is asked for once a pass"


def test_only_what_changed_is_judged_again(world: World) -> None:
    a, b = file("a.yaml", "a"), file("b.yaml", "b")
    first = world.judge(a, b)
    second = world.judge(a, file("b.yaml", "b", "dca"))
    assert second[0] is first[0]
    assert second[1].problems[0].message == 'unknown strategy "dca"'


def test_a_file_that_comes_or_goes_is_noticed(world: World) -> None:
    a, b = file("a.yaml", "a"), file("b.yaml", "b")
    first = world.judge(a)
    assert world.judge(a, b)[0] is first[0]
    assert world.judge(b)[0].path == "instances/b.yaml"
    assert world.judge() == ()


def test_a_duplicate_that_goes_away_frees_the_other(world: World) -> None:
    a, twin = file("a.yaml", "a"), file("sub/a.yaml", "a")
    assert world.judge(a, twin)[0].record is None
    assert world.judge(a)[0].record is not None


Change = Callable[[World], None]


def new_code(world: World) -> None:
    world.facts["grid"] = DefinitionFacts("grid", "strategies/grid.py", "newer", {"type": "object"}, committed=True)


def new_accounts(world: World) -> None:
    world.accounts = Accounts(any_on=None)


@pytest.mark.parametrize("change", [new_code, new_accounts])
def test_new_code_or_settings_judge_the_files_again(world: World, change: Change) -> None:
    a = file("a.yaml", "a")
    (first,) = world.judge(a)
    change(world)
    (second,) = world.judge(a)
    assert second is not first
    assert (second.code_digest, second.record is None) in (("newer", False), ("c0de", True))


def test_a_strategy_that_appears_frees_the_files_that_waited_for_it(world: World) -> None:
    a, b = file("a.yaml", "a", "dca"), file("b.yaml", "b")
    first = world.judge(a, b)
    world.facts["dca"] = DefinitionFacts("dca", "strategies/dca.py", "c0de", {"type": "object"}, committed=True)
    second = world.judge(a, b)
    assert second[0].record is not None
    assert second[1] is first[1]


def test_a_list_of_strategies_that_changed_mends_the_hint(world: World) -> None:
    a = file("a.yaml", "a", "dcaa")
    assert "dca," not in world.judge(a)[0].problems[0].hint
    world.facts["dca"] = GRID
    assert "dca, grid" in world.judge(a)[0].problems[0].hint


def test_a_fault_in_a_template_is_one_problem_of_all_the_records_it_breaks_and_names_them(world: World) -> None:
    facts = {"type": "object", "properties": {"levels": {"type": "integer"}}}
    world.facts["grid"] = DefinitionFacts("grid", "strategies/grid.py", "c0de", facts, committed=True)
    world.templates = (template("config:\n  levels: five\n"),)
    found = world.judge(
        *(upon(f"{id}.yaml", id) for id in ("e", "d", "c", "b", "a")),
        upon("mended.yaml", "mended", config="{levels: 5}"),
        file("apart.yaml", "apart"),
    )
    (problem,) = {problem for evaluation in found for problem in evaluation.problems}
    assert str(problem) == 'instances/_templates/grid.yaml:2:11: config.levels: expected an integer, was "five"'
    assert problem.hint == "breaks a, b, c and 2 more"
    assert [one.path[10:-5] for one in found if one.record is None] == ["e", "d", "c", "b", "a"]
    assert template_problems(world.templates, found) == (problem,)


def test_a_template_s_own_fault_breaks_every_record_that_names_it_and_keeps_its_hint(world: World) -> None:
    world.templates = (template("confg: {}\n"),)
    first, second = world.judge(upon("a.yaml", "a"), upon("b.yaml", "b"))
    assert first.problems == second.problems
    assert [str(p) for p in first.problems] == ['instances/_templates/grid.yaml:1:1: confg: unknown key "confg"']
    assert first.problems[0].hint == 'did you mean "config"?; breaks a, b'
    assert first.claimed_mode is Mode.OBSERVE


def test_a_template_nobody_uses_is_judged_too(world: World) -> None:
    world.templates = (template("confg: {}\n"), template("mode: off\n", "used.yaml"))
    found = world.judge(upon("a.yaml", "a", "used"))
    unused, used = template_problems(world.templates, found)
    assert str(unused) == 'instances/_templates/grid.yaml:1:1: confg: unknown key "confg"'
    assert unused.hint == 'did you mean "config"?'
    assert used in found[0].problems


def test_a_template_that_changes_judges_the_records_upon_it_again_and_no_other(world: World) -> None:
    a, b, c = upon("a.yaml", "a"), upon("b.yaml", "b", "other"), file("c.yaml", "c")
    other = template("config: {}", "other.yaml")
    world.templates = (template("config: {levels: 5}"), other)
    first = world.judge(a, b, c)
    assert world.judge(a, b, c) is first
    world.templates = (template("config: {levels: 6}"), other)
    second = world.judge(a, b, c)
    assert [new is old for new, old in zip(second, first, strict=True)] == [False, True, True]
    assert second[0].record is not None
    assert second[0].record.config == {"levels": 6}
    assert second[0].values_digest != first[0].values_digest


def test_a_template_that_comes_and_goes_is_noticed(world: World) -> None:
    a = upon("a.yaml", "a", "grdi")
    (found,) = world.judge(a)
    assert said(found) == ['instances/a.yaml:7:11: template: unknown template "grdi"']
    assert found.problems[0].hint == "there are none"
    world.templates = (template("config: {}"),)
    assert world.judge(a)[0].problems[0].hint == 'did you mean "grid"? there are: grid'
    world.templates = (template("config: {}", "grdi.yaml"),)
    assert world.judge(a)[0].record is not None
    world.templates = ()
    assert world.judge(a)[0].record is None


def test_what_was_mended_names_the_records_that_are_still_broken(world: World) -> None:
    world.templates = (template("config: []\n"),)
    a, b = upon("a.yaml", "a"), upon("b.yaml", "b")
    assert world.judge(a, b)[0].problems[0].hint == "breaks a, b"
    assert world.judge(a, file("b.yaml", "b"))[0].problems[0].hint == "breaks a"
