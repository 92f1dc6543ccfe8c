"""The same outcome however a history is seen: by commit, at once, or by engines that are killed in between."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from tests.control.histories import STRATEGY, Engine, Files, Repository, Written, record

NAMES = ("a", "b", "c", "d", "e")
TEMPLATE = "instances/_templates/t.yaml"
CODE = "strategies/probe.py"
BEGIN = {CODE: STRATEGY.replace("KEY", "levels"), TEMPLATE: "limits: {max_open_orders: 1}\n"}

Edit = tuple[str, str, str]


def edited(files: Files, edit: Edit) -> dict[str, str]:
    """The files after one edit: `(what, name, how)`."""
    what, name, how = edit
    path, now = f"instances/{name}.yaml", dict(files)
    match what:
        case "mode":
            more = "template: t\n" if name in "ab" else ""
            now[path] = record(name, how, more=more)
        case "config":
            now[path] = record(name, "observe", config=how)
        case "identity":
            now[path] = record(name, "observe", market=how)
        case "broken":
            now[path] = record(name, how, more="unknown: 1\n")
        case "protect":
            now[path] = record(name, "observe", more=f"protect: {how}\n")
        case "text":
            now[path] = "{"
        case "remove":
            now.pop(path, None)
        case "move" if path in now:
            now[f"instances/desk/{name}.yaml"] = now.pop(path)
        case "back":
            now.pop(f"instances/desk/{name}.yaml", None)
            now[path] = record(name)
        case "rival":
            now[f"instances/desk/{name}.yaml"] = record(name, how)
        case "claim":
            now["instances/x.yaml"] = record("x", id=name)
        case "unclaim":
            now.pop("instances/x.yaml", None)
        case "template":
            now[TEMPLATE] = how
        case "code":
            now[CODE] = how
        case "clear":
            now = {one: text for one, text in now.items() if not one.startswith("instances/")}
    return now


MODES = ("off", "observe", "observe", "active")
TEMPLATES = (*(f"limits: {{max_open_orders: {number}}}\n" for number in range(1, 6)), "nonsense: 1\n")
CODES = (*(f"{BEGIN[CODE]}# {number}\n" for number in range(5)), STRATEGY.replace("KEY", "steps"), "nonsense(")
HOWS = {
    "mode": MODES,
    "config": ("{levels: 1}", "{levels: 3}", "{steps: 2}", "{levels: x}"),
    "identity": ("EUR/USD", "BTC/USD"),
    "broken": MODES,
    "protect": ("true", "false"),
    "rival": MODES,
    "template": TEMPLATES,
    "code": CODES,
}
OFTEN = ("mode",) * 10 + ("template", "code") * 3 + ("remove", "config", "back", "unclaim") * 2
WHATS = (*OFTEN, "identity", "broken", "protect", "text", "move", "rival", "claim", "clear")


def some_edit(chance: Random) -> Edit:
    what = chance.choice(WHATS)
    return what, chance.choice(NAMES), chance.choice(HOWS.get(what, ("",)))


def history(chance: Random) -> tuple[list[Written], list[int]]:
    """Commits, and those of them that are the branch's own: edits, merges of some commits, reverts, empty ones."""
    first = {**BEGIN, **{f"instances/{name}.yaml": record(name, chance.choice(MODES[:3])) for name in NAMES}}
    commits, mainline = [Written(first, None)], [0]
    for _ in range(chance.randint(6, 10)):
        tip = mainline[-1]
        files = dict(commits[tip].files)
        merges: tuple[int, ...] = ()
        kind = chance.choice(("edit", "edit", "edit", "merge", "merge", "revert", "empty"))
        if kind == "revert":
            files = dict(commits[chance.choice(mainline)].files)
        for number in range(chance.randint(1, 3) if kind in ("edit", "merge") else 0):
            files = edited(files, some_edit(chance))
            if kind == "merge":
                commits.append(Written(files, len(commits) - 1 if number else tip))
                merges = (len(commits) - 1,)
        commits.append(Written(files, tip, merges))
        mainline.append(len(commits) - 1)
    return commits, mainline


@pytest.mark.parametrize("seed", range(int(os.environ.get("HISTORIES", "12"))))
def test_what_a_history_leads_to_is_the_same_however_it_is_seen(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    commits, mainline = history(chance)
    repository = Repository(tmp_path / "fleet.git")
    repository.write(commits)
    ids = [repository.commits[number] for number in mainline]
    stepwise, at_once, killed = Engine(repository), Engine(repository), Engine(repository)
    for commit in ids:
        stepwise.see(commit)
    at_once.see(ids[0])
    at_once.see(ids[-1])
    killed.see(ids[0])
    for commit in sorted(chance.sample(ids[1:], 3), key=ids.index):
        killed.killed_while_it_writes(commit)
        if chance.random() < 0.5:
            killed.see(commit)
            killed.begin()
    killed.see(ids[-1])
    late = Engine(repository, late=chance)
    late.see(ids[0])
    late.look_until_all_code_is_there()  # a first commit is a beginning, not a step of a way
    for commit in sorted(chance.sample(ids[1:], 4), key=ids.index):
        (late.killed_while_it_writes if chance.random() < 0.3 else late.see)(commit)
        if chance.random() < 0.3:
            late.begin()
    late.see(ids[-1])
    late.look_until_all_code_is_there()
    assert at_once.outcome() == stepwise.outcome()
    assert killed.outcome() == stepwise.outcome()
    assert late.outcome() == stepwise.outcome()
    followed = late.store.following.followed()
    assert followed is not None
    assert not followed.behind
    before = stepwise.outcome()
    stepwise.begin()
    stepwise.see(ids[-1])
    assert stepwise.outcome() == before, "doing it twice changes nothing"
