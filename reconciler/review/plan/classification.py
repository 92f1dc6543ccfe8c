"""The classification: what the engine would do with one instance → the `Change` a reviewer reads. Pure.

What is applied, refused and held is the engine's own judgement, from the comparison; here it is only told apart.
In doubt a change stands in the graver section.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from reconciler.records.evaluation import Evaluation
from reconciler.records.mode import Mode
from reconciler.records.plan import Action, Load, Reload, SetMode, Unload, Update
from reconciler.records.record import Attempt, Row
from reconciler.review.plan.comparison import Comparison
from reconciler.review.plan.differences import (
    Compared,
    Difference,
    Hidden,
    Phrase,
    account_bounds,
    bound_warnings,
    differences,
    phrase,
)
from reconciler.review.plan.model import Change, Effect, Section, State, goes_elsewhere, state_of, way_differences
from reconciler.review.plan.outlook import Setting, account_sum, config_of
from reconciler.validation.schema_tree import Schema


def starts(change: Change, old: State | None, new: State | None) -> tuple[Phrase, ...]:
    """Why it starts to trade, or to trade real money; empty where it does not."""
    if new is None or not new.is_active:
        return ()
    if old is None or not old.is_active:
        return (mode_step(change),)
    reasons = []
    if new.money == "real" and old.money != "real":
        reasons.append(_turns(old, new))
    if old.halts and not new.halts:
        reasons.append(phrase("its halt is lifted"))
    elif old.is_halted_in_full and not new.is_halted_in_full:
        reasons.append(phrase("its halt is narrowed: cancels and reductions pass again"))
    if old.awaits_commit and not new.awaits_commit and new.money == "real":
        reasons.append(phrase("committed at last: until now its gate was closed"))
    return tuple(reasons)


def reasons(change: Change, old: State | None, new: State | None, was: Row | None) -> Iterator[Phrase]:
    if new is None:
        yield phrase(f"its file was removed, mode was {change.mode_before}")
        return
    if old is None:
        yield phrase(f"{'a new file' if was is None else 'its id comes back after a removal'}, mode {new.row.mode}")
        return
    if old.row.mode is not new.row.mode:
        yield mode_step(change)
    if new.row.mode_override is not None and new.row.mode_override is not old.row.mode_override:
        yield phrase("its file is invalid otherwise: only the mode is lowered")
    if parts := change.parts:
        templates = tuple(dict.fromkeys(_template_paths(change)))
        through = f" through {_listed('{}' for _ in templates)}" if templates else ""
        yield phrase(f"{_listed('{}' for _ in parts)} changed{through}", *parts, *templates)
    if change.code is not None:
        yield phrase("the code of {} changed", new.row.record.strategy_type)
    if old.money != new.money and new.money != "real":
        yield _turns(old, new)
    if old.server != new.server:
        account_id = new.row.record.identity.account_id
        yield phrase("account {} is reached through {}, was {}", account_id, new.server or "–", old.server or "–")
    if new.awaits_commit and not old.awaits_commit and old.row.committed:
        yield phrase("no longer committed as it stands")
    if new.halts and not old.halts:
        yield phrase("halted")
    elif new.is_halted_in_full and not old.is_halted_in_full:
        yield phrase("its halt is in full now: cancels and reductions stop too")
    if old.row.path != new.row.path:
        yield phrase("moved from {}", old.row.path)


def returns(has_code_again: bool) -> Phrase:
    """Why it comes to run though its row wanted it all along."""
    if has_code_again:
        return phrase("its code is back: an engine that was started without it runs nothing of it")
    return phrase("until now the engine does not run it")


def unapplied(attempt: Attempt, label: str) -> Phrase:
    """That its file was not applied before either, as it stood."""
    return phrase(
        f"{{}} is {str(attempt.sync).lower()} in {{}}, and not applied as it stands there", attempt.path, label
    )


def mode_step(change: Change) -> Phrase:
    step = f"mode {change.mode_before or Mode.OFF} → {change.mode_after}"
    return phrase(f"{step} ({{}})", change.mode_place) if change.mode_place else phrase(step)


def _turns(old: State, new: State) -> Phrase:
    return phrase(
        f"the money of account {{}} turns from {old.money} to {new.money}", new.row.record.identity.account_id
    )


def _template_paths(change: Change) -> Iterator[str]:
    """The other files that changed values were written in."""
    for difference in change.differences:
        for origin, row in ((difference.new_origin, change.after), (difference.old_origin, change.before)):
            path, colon, _ = origin.rpartition(":")
            if colon and row is not None and path != row.path:
                yield path


def evidence(change: Change) -> Iterator[Phrase]:
    """What speaks for letting it trade."""
    if change.rises and change.mode_before is Mode.OBSERVE and not change.code and not change.differences:
        yield phrase("config and code stay those it observes with, code {}", change.row.code_digest[:12])


def warnings(change: Change, old: State | None, new: State | None) -> Iterator[Phrase]:
    if change.rises and change.mode_before is Mode.OBSERVE and (change.code or change.differences):
        parts = (*change.parts, *(["code"] if change.code else []))
        yield phrase(f"not what was observed: {_listed('{}' for _ in parts)} changes in the same step", *parts)
    if any(difference.opens for difference in change.differences):
        yield phrase("limits are wider, or removed")
    if new is None or not new.is_active:
        return
    for halt in new.halts:
        how = "halted in full" if halt.full else "halted"
        if halt.reason.startswith(f"{halt.by} cannot be understood"):  # why is told once, with the halts
            yield phrase(how + ": {} cannot be understood", halt.by)
            continue
        yield phrase(how + " by {}, until that is lifted: {}", halt.by, halt.reason)
    if new.awaits_commit:
        yield phrase("not committed: on real money it trades only once its file, template and code are")
    if old is not None and old.is_active and goes_elsewhere(old, new):
        yield phrase("takes effect when the engine restarts")


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


SchemaOf = Callable[[Row], Schema]
"""The CONFIG_SCHEMA of a row's strategy; `True` where nobody knows."""


def classify(comparison: Comparison, schema_of: SchemaOf) -> tuple[Change, ...]:
    """Every instance that changes, by section, real money first, then by id."""
    return _Classification(comparison, schema_of).changes()


class _Classification:
    def __init__(self, comparison: Comparison, schema_of: SchemaOf) -> None:
        self._comparison = comparison
        self._schema_of = schema_of
        self._effects = _effects(comparison.actions)
        self._unapplied = {one.id: one for one in comparison.before.unapplied if one.id is not None}
        self._files = {file.claimed_id: file for file in comparison.evaluations if file.claimed_id is not None}

    def changes(self) -> tuple[Change, ...]:
        found = (self._change(id_) for id_ in self._comparison.after.keys() | self._comparison.before.rows.keys())
        return tuple(sorted((change for change in found if change is not None), key=_rank))

    def _change(self, id_: str) -> Change | None:
        comparison, before = self._comparison, self._comparison.before
        old = state_of(before.rows.get(id_), before.accounts, before.halts)
        new = state_of(comparison.after.get(id_), comparison.accounts, comparison.halts)
        state = new or old
        if state is None:
            return None
        was = old
        if old is not None and id_ in before.idle and self._effects.get(id_) == "load":
            old = replace(old, row=old.row.lowered(Mode.OFF))
        differing = (*self._differences(id_, old, new), *_differing_way(old, new))
        change = Change(
            section=Section.OFF,
            effect=self._effects.get(id_, "none"),
            before=None if old is None else old.row,
            after=None if new is None else new.row,
            money=state.money,
            differences=differing,
            mode_place=self._mode_place(id_, new),
        )
        beginning = starts(change, old, new)
        section = Section.START if beginning else _section(change, old, new)
        if section is None:
            return None
        why = dict.fromkeys((*beginning, *reasons(change, old, new, before.rows.get(id_))))
        if was is not old:
            why = {returns(id_ in comparison.back): None} | why
            if was is not None and new is not None and was.row.mode is new.row.mode:
                del why[mode_step(change)]
        if (found := self._unapplied.get(id_)) is not None:
            why[unapplied(found, before.label)] = None
        return replace(
            change,
            section=section,
            server=state.server,
            config=self._config(id_, change, new) if section in _RUNS_OR_WOULD else (),
            account=account_sum(change.row, comparison.after.values()) if section in _TRADING else None,
            reasons=tuple(why),
            evidence=tuple(evidence(change)),
            warnings=(
                *warnings(change, old, new),
                *bound_warnings(change.before, change.after, comparison.accounts),
            ),
        )

    def _differences(self, id_: str, old: State | None, new: State | None) -> tuple[Difference, ...]:
        if old is None or new is None:
            return ()
        if _digests(old.row) == _digests(new.row) and old.row.record == new.row.record:
            return ()  # the digests tell true from 1
        before = Compared(old.row, self._comparison.before.evaluations.get(id_), self._schema_of(old.row))
        return differences(before, Compared(new.row, self._files.get(id_), self._schema_of(new.row)))

    def _config(self, id_: str, change: Change, new: State | None) -> tuple[Setting, ...]:
        """What it would run with, where that is not what it runs with already."""
        if new is None or not (change.before is None or change.rises or change.code or change.differences):
            return ()
        schemas = tuple(self._schema_of(row) for row in (change.before, new.row) if row is not None)
        hidden = {one.pointer for one in change.differences if isinstance(one.new, Hidden)}
        return config_of(Compared(new.row, self._files.get(id_), schemas[-1]), schemas, hidden)

    def _mode_place(self, id_: str, new: State | None) -> str:
        file = self._files.get(id_)
        return "" if new is None or file is None else _place(file, "mode")


def _section(change: Change, old: State | None, new: State | None) -> Section | None:
    """The section of what does not start to trade; None where nothing changes that anybody needs to know."""
    if old is not None and old.is_active:
        if new is None or not new.is_active or (new.halts and not old.halts):
            return Section.STOP
        if change.differences or change.effect == "reload" or _stands_otherwise(old, new):
            return Section.ACTIVE
    match change.effect:
        case "reload":
            return Section.RELOAD
        case "load":
            return Section.LOAD
        case "unload":
            return Section.UNLOAD
    if change.before is None or change.after is None or change.differences or change.code:
        return Section.IN_PLACE if change.effect == "in-place" else Section.OFF
    return Section.MOVED if change.before.path != change.after.path else None


def _differing_way(old: State | None, new: State | None) -> tuple[Difference, ...]:
    """What the settings change of the way of its orders; of one that places none, the settings tell it alone."""
    if old is None or new is None or not (old.is_active or new.is_active):
        return ()
    bounds = account_bounds(old.way.account, new.way.account) if old.way.account and new.way.account else ()
    return (*way_differences(old.way, new.way), *bounds)


def _stands_otherwise(old: State, new: State) -> bool:
    """True where what its orders meet is another, though its record is the same."""
    return (
        goes_elsewhere(old, new)
        or old.is_halted_in_full != new.is_halted_in_full
        or (new.awaits_commit and not old.awaits_commit)
    )


def _effects(actions: Iterable[Action]) -> Mapping[str, Effect]:
    """What is done with what runs, by id. A gate that closes first is part of what follows it."""
    effects: dict[str, Effect] = {}
    for action in actions:
        match action:
            case Load(row=row):
                effects[row.id] = "load"
            case Reload(row=row):
                effects[row.id] = "reload"
            case Update(row=row):
                effects[row.id] = "in-place"
            case Unload(id=id_):
                effects[id_] = "unload"
            case SetMode():
                pass
    return effects


def _digests(row: Row) -> tuple[str, str]:
    return row.values_digest, row.config_digest


def _place(file: Evaluation, pointer: str) -> str:
    place = file.place(pointer)
    return f"{place.path}:{place.line}"


def _rank(change: Change) -> tuple[int, bool, str]:
    return _ORDER[change.section], not change.real_money, change.id


_RUNS_OR_WOULD: Final = (Section.START, Section.ACTIVE, Section.RELOAD, Section.LOAD, Section.OFF)
_TRADING: Final = (Section.START, Section.ACTIVE)
_ORDER: Final = {section: number for number, section in enumerate(Section)}
