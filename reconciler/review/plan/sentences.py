"""The words of a plan, the same on a terminal and in a pull request: titles, facts, counts. Pure.

What comes from files stands in the values of phrases, never in their words.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.errors import Problem
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.review.plan.differences import ABSENT, Difference, Hidden, Phrase, phrase
from reconciler.review.plan.model import (
    AccountChange,
    Change,
    CodeChange,
    FleetPlan,
    HaltChange,
    Money,
    ProposedCommit,
    Refused,
    RunsOn,
    Section,
)
from reconciler.review.plan.outlook import Setting, stake_facts

REAL: Final = "REAL MONEY"
NOTHING: Final = "nothing to do"
LONGEST: Final = 100
"""How much of a value is shown, in characters; JSON has all of it."""
TELLING: Final = (Section.START, Section.ACTIVE, Section.STOP)
"""The sections of what trades, or did: whether with real money matters there."""
FIRST: Final = 3
"""How many problems of a file are shown."""


@dataclass(frozen=True, slots=True)
class _Words:
    title: str
    sign: str
    one: str
    many: str
    """What one or several of them do, for the count line."""


WORDS: Final = {
    Section.START: _Words("Starts to trade", "!", "starts trading", "start trading"),
    Section.ACTIVE: _Words("Changes while active", "!", "changes while active", "change while active"),
    Section.STOP: _Words("Stops trading", "-", "stops trading", "stop trading"),
    Section.RELOAD: _Words("Reloads", "~", "reloads", "reload"),
    Section.LOAD: _Words("Loads", "+", "loads", "load"),
    Section.UNLOAD: _Words("Unloads", "-", "unloads", "unload"),
    Section.IN_PLACE: _Words("Changes in place", "~", "changes in place", "change in place"),
    Section.OFF: _Words("Changes without running", "·", "changes without running", "change without running"),
    Section.MOVED: _Words("Moved", "·", "moves", "move"),
}


def compared(plan: FleetPlan) -> Phrase:
    """`the work tree, compared with origin/main (merge base 1a2b3c4d)`"""
    if plan.after.revision is None:
        return phrase("{}, compared with {}", plan.after.label, plan.before.label)
    return phrase("{} at {}, compared with {}", plan.after.label, short(plan.after.revision), plan.before.label)


def count_line(plan: FleetPlan) -> str:
    """`2 start trading (1 real money), 3 reload, 1 refused`, or `nothing to do`."""
    parts = []
    for section, words in WORDS.items():
        if changes := plan.of(section):
            part = f"{len(changes):,} {words.one if len(changes) == 1 else words.many}"
            real = sum(change.real_money for change in changes)
            parts.append(f"{part} ({real:,} real money)" if real and section in TELLING else part)
    kinds = Counter(refused.kind for refused in plan.refused)
    counts = (
        *((kinds[kind], kind, kind) for kind in ("refused", "invalid", "waiting")),
        (len(plan.held.too_many) + len(plan.held.waiting), "removal held", "removals held"),
        (len(plan.held.protected), "protected", "protected"),
        (len(plan.code), "strategy changed", "strategies changed"),
        (len(plan.halts), "halt changed", "halts changed"),
        (int(plan.settings.changed or bool(plan.settings.accounts)), "change of settings", ""),
    )
    parts += [f"{number:,} {one if number == 1 else many}" for number, one, many in counts if number]
    return ", ".join(parts) or NOTHING


def who(change: Change) -> Phrase:
    """Whose money on which account, market and strategy; not the id."""
    identity = change.row.record.identity
    words = f"{money(change.money, change.section in TELLING)} on account {{}} as {{}}, {{}}, strategy {{}}"
    return phrase(words, identity.account_id, identity.client_id, identity.market, identity.strategy_type)


def money(kind: Money, is_traded: bool) -> str:
    """Loud only where it is, or was, traded with."""
    return REAL if kind == "real" and is_traded else f"{kind} money"


def warnings(change: Change) -> Iterator[Phrase]:
    """What must not be overlooked, as sentences."""
    for warning in change.warnings:
        yield Phrase(f"{warning.words[0].upper()}{warning.words[1:]}", warning.values)


def facts(change: Change) -> Iterator[Phrase]:
    """What a reviewer must know of a change; its differences come apart."""
    words = "; ".join(reason.words for reason in change.reasons)
    values = tuple(value for reason in change.reasons for value in reason.values)
    yield Phrase(f"why: {words}", values)
    yield from change.evidence
    if change.server:
        yield phrase(f"server {{}}, {money(change.money, False)}", change.server)
    if change.section in (Section.START, Section.LOAD) or (change.section is Section.OFF and change.before is None):
        yield _limits(change.row)
    if change.stake is not None:
        yield from stake_facts(change.stake, change.row.record.identity.account_id)
    if change.account is not None:
        yield change.account
    if change.code is not None:
        yield phrase("code: {} → {}", *map(short, change.code))


def difference(found: Difference) -> Phrase:
    """`config.levels: 5 → 7 (a.yaml:9 → a.yaml:9)`, with what it does to a limit."""
    old, new = _abbreviated(_value(found.old, found), _value(found.new, found))
    words, values = "{}: {} → {}", [found.pointer, old, new]
    if found.limit is not None:
        words += {"wider": " WIDER", "removed": " REMOVED", "tighter": " tighter", "added": " added"}[found.limit]
    match found.old_origin, found.new_origin:
        case "", "":
            pass
        case (origin, "") | ("", origin):
            words, values = f"{words} ({{}})", [*values, origin]
        case was, now if was == now:
            words, values = f"{words} ({{}})", [*values, now]
        case was, now:
            words, values = f"{words} ({{}} → {{}})", [*values, was, now]
    return Phrase(words, tuple(values))


def setting(found: Setting) -> Phrase:
    """`config.levels: 5 (a.yaml:9)`"""
    value = _cut(_plain(found.value), 0)
    return (
        phrase("{}: {} ({})", found.pointer, value, found.origin)
        if found.origin
        else phrase("{}: {}", found.pointer, value)
    )


def _plain(value: Any) -> str:
    if isinstance(value, Hidden):
        return "… (not shown)"
    return json.dumps(value, ensure_ascii=False, default=lambda _: "…")


def moved(change: Change) -> Phrase:
    assert change.before is not None
    return phrase("from {} to {}", change.before.path, change.row.path)


def refused(found: Refused) -> Phrase:
    count = f"{len(found.problems):,} problem{'' if len(found.problems) == 1 else 's'}"
    why = phrase("waiting, {}", found.message) if found.kind == "waiting" else phrase(f"{found.kind}, {count}")
    if found.runs_on is None:
        return phrase(f"{why.words}; nothing of it is applied", *why.values)
    as_applied = f"{{}} stays as applied: {_mode_and_money(found.runs_on)}"
    return phrase(f"{why.words}; {as_applied}", *why.values, found.runs_on.id)


def standing(introduction: str, found: RunsOn) -> Phrase:
    return phrase(f"{introduction} runs on: {_mode_and_money(found)} on account {{}}", found.account_id)


def names(introduction: str, found: Sequence[RunsOn]) -> Phrase:
    """The ids, those that are active marked as such."""
    words = (f"{{}} ({_mode_and_money(one)})" if one.mode is Mode.ACTIVE else "{}" for one in found)
    return Phrase(f"{introduction} {', '.join(words)}", tuple(one.id for one in found))


def halt(found: HaltChange) -> Phrase:
    return phrase(f"{found.kind}{', in full' if found.halt.full else ''}: {{}}", found.halt.reason)


def halted(found: HaltChange) -> str:
    return "everything" if found.halt.scope == "all" else f"{found.halt.scope} {found.halt.id}"


def account(found: AccountChange) -> Phrase:
    parts = [found.kind, "; ".join(detail.words for detail in found.details)]
    users = ", ".join("{}" for _ in found.instances) or "none"
    values = (value for detail in found.details for value in detail.values)
    return Phrase(f"{': '.join(filter(None, parts))}; used by {users}", (*values, *found.instances))


def short(digest: str) -> str:
    """As much of a blob id or commit as people read."""
    return digest[:12] or "–"


def is_address(link: str) -> bool:
    """True for an address that can stand in markdown as it is, and act on nobody."""
    return _ADDRESS.fullmatch(link) is not None


_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9./_:#~%=?&-]+")


def _limits(row: Row) -> Phrase:
    written = row.record.values.get("limits", {})
    limits = [(key, str(value)) for key, value in written.items() if not key.startswith("x-")]
    if not limits:
        return phrase("limits: none, nothing bounds its orders")
    return Phrase(f"limits: {', '.join('{} {}' for _ in limits)}", tuple(word for limit in limits for word in limit))


def _mode_and_money(found: RunsOn) -> str:
    return f"{found.mode}, {money(found.money, found.mode is Mode.ACTIVE)}"


def _value(value: Any, found: Difference) -> str:
    if value is ABSENT:
        return "none (no limit)" if found.limit is not None else "not set"
    return _plain(value)


def _abbreviated(old: str, new: str) -> tuple[str, str]:
    """Both short enough to read, from where they begin to differ."""
    begin = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    begin = max(0, begin - LONGEST // 4) if max(len(old), len(new)) > LONGEST else 0
    return _cut(old, begin), _cut(new, begin)


def _cut(text: str, begin: int) -> str:
    shown = text[begin : begin + LONGEST]
    return f"{'…' if begin else ''}{shown}{'…' if begin + LONGEST < len(text) else ''}"


@dataclass(frozen=True, slots=True)
class Item:
    """One line and what stands below it. `sign` is one of `! + - ~ ·`; `name` comes from a file, if only an id.

    `is_strong`: real money is at stake here. `details` may be folded away or cut, `facts` only after them.
    `config` is what it would run with, cut before all else; `is_off` where nothing runs before its mode is raised.
    `link` is an address that shows more.
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
    is_off: bool = False

    @property
    def runs(self) -> str:
        """What `config` is, for a title."""
        return "would run with" if self.is_off else "runs with"


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
            WORDS[section].title,
            tuple(map(_item, plan.of(section))),
            GRAVE if section in TELLING else 0,
        )
        for section in Section
    ]
    blocks += [
        Block("Not applied", tuple(map(_refused, plan.refused))),
        Block("Removals held", tuple(_held(plan))),
        Block("Strategy code", tuple(map(_code, plan.code))),
        Block("Halts", tuple(_halts(plan))),
        Block("Settings", tuple(_settings(plan))),
        Block("Commits", tuple(filter(None, map(_commit, plan.commits))), 0),
    ]
    return tuple(block for block in blocks if block.items)


def _item(change: Change) -> Item:
    sign = WORDS[change.section].sign
    if change.section is Section.MOVED:
        return Item(sign, change.id, moved(change))
    return Item(
        sign,
        change.id,
        who(change),
        tuple(warnings(change)),
        tuple(facts(change)),
        tuple(map(difference, change.differences)),
        tuple(map(setting, change.config)),
        is_strong=change.real_money and change.section in (Section.START, Section.ACTIVE),
        is_off=change.section is Section.OFF,
    )


def _refused(found: Refused) -> Item:
    return Item("!", found.path, refused(found), details=tuple(_problems(found.problems)))


def _problems(problems: tuple[Problem, ...]) -> Iterator[Phrase]:
    for problem in problems[:FIRST]:
        yield phrase("{}", str(problem))
        if problem.hint:
            yield phrase("hint: {}", problem.hint)
    if len(problems) > FIRST:
        yield phrase(f"and {len(problems) - FIRST:,} more; all of them: {{}}", "reconciler validate")


def _held(plan: FleetPlan) -> Iterator[Item]:
    for one in plan.held.too_many:
        yield Item("-", one.id, standing("its file is gone, it", one))
    if plan.held.too_many:
        words = (
            f"{len(plan.held.too_many):,} removals at once are held; confirm exactly these, when the engine holds them"
        )
        yield Item("!", f"reconciler prune --confirm {plan.held.digest}", phrase(words))
    for one in plan.held.protected:
        yield Item("-", one.id, standing("protected: its file is gone, it", one))
    for one in plan.held.waiting:
        yield Item("-", one.id, standing("its file is not to be seen, a folder cannot be read; it", one))


def _code(found: CodeChange) -> Item:
    facts = []
    if found.reloads:
        facts.append(names("reloads", found.reloads))
    if found.keeps:
        facts.append(names("stay on the old code, their files being invalid with the new:", found.keeps))
    warnings = (phrase("The old code is lost at the next restart: then nothing runs of what stays on it"),)
    digests = phrase("{} → {}", short(found.old), short(found.new))
    name = f"strategies/{found.strategy_type}.py"
    leads = is_address(found.link)
    if found.link and not leads:
        facts.append(phrase("the difference: {}", found.link))
    shown = warnings if found.keeps else ()
    return Item("~", name, digests, shown, tuple(facts), link=found.link if leads else "")


def _commit(found: ProposedCommit) -> Item | None:
    """What is to be said of who stands behind it; None where nothing is."""
    change = found.change
    warnings = (phrase("Would be held: it {}", found.lacking),) if found.lacking else ()
    facts = []
    if change.signed_by is not None:
        made = ", which proves that the forge made it, and no more" if change.signed_by.kind == "forge" else ""
        facts.append(phrase(f"signed by {{}}{made}", str(change.signed_by)))
    if change.claimed_approvals:
        people = ", ".join("{}" for _ in change.claimed_approvals)
        facts.append(Phrase(f"claims to be approved by {people}", change.claimed_approvals))
    about = phrase("{} by {}", change.subject, change.author)
    return Item("·", short(change.commit), about, warnings, tuple(facts)) if warnings or facts else None


def _halts(plan: FleetPlan) -> Iterator[Item]:
    for found in plan.halts:
        yield Item("+" if found.kind == "lifted" else "!", halted(found), halt(found))


def _settings(plan: FleetPlan) -> Iterator[Item]:
    if plan.settings.changed or plan.settings.accounts:
        taken = "changed: limits take effect at once, all else when the engine restarts"
        yield Item("~", "reconciler.yaml", phrase(taken))
    for one in plan.settings.limits:
        yield Item("!" if one.opens else "~", "reconciler.yaml", difference(one))
    for found in plan.settings.accounts:
        yield Item("!" if found.kind == "removed" else "~", f"account {found.account_id}", account(found))
