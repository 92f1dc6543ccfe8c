"""The outline: a plan as titled blocks of items, the same for every way of printing it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.errors import Problem
from reconciler.review.plan import wording
from reconciler.review.plan.change import Change, Section
from reconciler.review.plan.fleet_plan import CodeChange, FleetPlan, Refused
from reconciler.review.plan.phrase import Phrase, phrase


@dataclass(frozen=True, slots=True)
class Item:
    """One line and what stands below it. `sign` is one of `! + - ~ ·`; `name` comes from a file, if only an id.

    `is_strong`: real money is at stake here. `details` may be folded away or cut, `facts` only after them.
    `config` is what it would run with, cut before all else; `link` an address that shows more.
    """

    sign: str
    name: str
    about: Phrase
    warnings: tuple[Phrase, ...] = ()
    facts: tuple[Phrase, ...] = ()
    details: tuple[Phrase, ...] = ()
    config: tuple[Phrase, ...] = ()
    link: str = ""
    is_strong: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """Items of one kind, under a title of ours. `weight`: where not all can be told, the lightest is left out first."""

    title: str
    items: tuple[Item, ...]
    weight: int = 1


GRAVE = 2
"""The weight of what trades, or did."""


def outline(plan: FleetPlan) -> tuple[Block, ...]:
    """The blocks that have something to say, the gravest first."""
    blocks = [
        Block(
            wording.WORDS[section].title,
            tuple(map(_item, plan.of(section))),
            GRAVE if section in wording.TELLING else 0,
        )
        for section in Section
    ]
    blocks += [
        Block("Not applied", tuple(map(_refused, plan.refused))),
        Block("Removals held", tuple(_held(plan))),
        Block("Strategy code", tuple(map(_code, plan.code))),
        Block("Halts", tuple(_halts(plan))),
        Block("Settings", tuple(_settings(plan))),
    ]
    return tuple(block for block in blocks if block.items)


def _item(change: Change) -> Item:
    sign = wording.WORDS[change.section].sign
    if change.section is Section.MOVED:
        return Item(sign, change.id, wording.moved(change))
    return Item(
        sign,
        change.id,
        wording.who(change),
        tuple(wording.warnings(change)),
        tuple(wording.facts(change)),
        tuple(map(wording.difference, change.differences)),
        tuple(map(wording.setting, change.config)),
        is_strong=change.real_money and change.section in (Section.START, Section.ACTIVE),
    )


def _refused(found: Refused) -> Item:
    return Item("!", found.path, wording.refused(found), details=tuple(_problems(found.problems)))


def _problems(problems: tuple[Problem, ...]) -> Iterator[Phrase]:
    for problem in problems[: wording.FIRST]:
        yield phrase("{}", str(problem))
        if problem.hint:
            yield phrase("hint: {}", problem.hint)
    if len(problems) > wording.FIRST:
        yield phrase(f"and {len(problems) - wording.FIRST:,} more; all of them: {{}}", "reconciler validate")


def _held(plan: FleetPlan) -> Iterator[Item]:
    for one in plan.held.too_many:
        yield Item("-", one.id, wording.standing("its file is gone, it", one))
    if plan.held.too_many:
        words = (
            f"{len(plan.held.too_many):,} removals at once are held; confirm exactly these, when the engine holds them"
        )
        yield Item("!", f"reconciler prune --confirm {plan.held.digest}", phrase(words))
    for one in plan.held.protected:
        yield Item("-", one.id, wording.standing("protected: its file is gone, it", one))
    for one in plan.held.waiting:
        yield Item("-", one.id, wording.standing("its file is not to be seen, a folder cannot be read; it", one))


def _code(found: CodeChange) -> Item:
    facts = []
    if found.reloads:
        facts.append(wording.names("reloads", found.reloads))
    if found.keeps:
        facts.append(wording.names("stay on the old code, their files being invalid with the new:", found.keeps))
    warnings = (phrase("The old code is lost at the next restart: then nothing runs of what stays on it"),)
    digests = phrase("{} → {}", wording.short(found.old), wording.short(found.new))
    name = f"strategies/{found.strategy_type}.py"
    is_address = wording.is_address(found.link)
    if found.link and not is_address:
        facts.append(phrase("the difference: {}", found.link))
    shown = warnings if found.keeps else ()
    return Item("~", name, digests, shown, tuple(facts), link=found.link if is_address else "")


def _halts(plan: FleetPlan) -> Iterator[Item]:
    for found in plan.halts:
        yield Item("+" if found.kind == "lifted" else "!", wording.halted(found), wording.halt(found))


def _settings(plan: FleetPlan) -> Iterator[Item]:
    if plan.settings.changed or plan.settings.accounts:
        yield Item("~", "reconciler.yaml", phrase("changed: it takes effect when the engine restarts"))
    for found in plan.settings.accounts:
        yield Item("!" if found.kind == "removed" else "~", f"account {found.account_id}", wording.account(found))
