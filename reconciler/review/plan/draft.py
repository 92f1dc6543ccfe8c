"""The draft: a comparison → the `FleetPlan` that is printed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Final, Literal

from reconciler.documents.wording import some
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.records.status import Sync
from reconciler.review.plan import sentences as wording
from reconciler.review.plan.classification import SchemaOf, classify
from reconciler.review.plan.comparison import Before, Comparison
from reconciler.review.plan.differences import (
    Difference,
    Phrase,
    above_bounds,
    account_bounds,
    declared_paper,
    lacking_of,
    phrase,
)
from reconciler.review.plan.model import (
    AccountChange,
    Change,
    CodeChange,
    FleetPlan,
    HaltChange,
    HeldRemoval,
    Point,
    Refused,
    RunsOn,
    Section,
    SettingsChange,
    money_of,
    way_differences,
    way_of,
)
from reconciler.review.plan.outlook import Stake


def plan_of(
    comparison: Comparison,
    now: Point,
    settings: bytes | None = None,
    schema_of: SchemaOf = lambda row: True,
    basis: Iterable[Phrase] = (),
) -> FleetPlan:
    """What merging would do. `now` names the files compared, `settings` is the reconciler.yaml beside them, `basis`
    says what the comparison rests on."""
    before = comparison.before
    return FleetPlan(
        before=Point(before.label, before.revision),
        after=now,
        changes=classify(comparison, schema_of),
        refused=tuple(sorted(_refused(comparison), key=_gravity)),
        held=_held(comparison),
        code=tuple(_code(comparison)),
        halts=tuple(_halts(before.halts, comparison.halts)),
        settings=_settings(comparison, settings),
        basis=(
            *basis,
            *_unapplied(before),
            *_newly_lacking(comparison),
            *declared_paper(comparison.accounts, comparison.after.values()),
        ),
    )


def _unapplied(before: Before) -> Iterator[Phrase]:
    files = before.unapplied
    if files:
        held = f"holds {len(files):,} file{'' if len(files) == 1 else 's'} that {'is' if len(files) == 1 else 'are'}"
        names = some(["{}"] * len(files), wording.FIRST)
        paths = (file.path for file in files[: wording.FIRST])
        yield phrase(
            f"{{}} itself {held} not applied as {'it stands' if len(files) == 1 else 'they stand'}: {names}",
            before.label,
            *paths,
        )


def _newly_lacking(comparison: Comparison) -> Iterator[Phrase]:
    """Active instances that no file changes, and that settings alone would have open nothing."""
    found: dict[tuple[str, ...], list[str]] = {}
    before = comparison.before
    for id_, row in comparison.after.items():
        if before.rows.get(id_) != row or lacking_of(row, before.accounts):
            continue
        if lacking := lacking_of(row, comparison.accounts):
            found.setdefault(lacking, []).append(id_)
    for lacking, ids in found.items():
        names, one = ", ".join("{}" for _ in lacking), len(ids) == 1
        who = some(["{}"] * len(ids), wording.FIRST)
        yield Phrase(
            f"{who} {'lacks' if one else 'lack'} {names}, which require_limits asks for:"
            f" {'it opens' if one else 'they open'} nothing",
            (*ids[: wording.FIRST], *lacking),
        )


def with_shadow_orders(plan: FleetPlan, orders_of: Callable[[str], int]) -> FleetPlan:
    """The plan with one more piece of evidence for what rises to active: how many orders it would have placed."""

    def seen(change: Change) -> Change:
        if not change.rises:
            return change
        count, command = orders_of(change.id), f"reconciler orders {change.id} --shadow"
        shadow = phrase(f"{count:,} shadow order{'' if count == 1 else 's'} so far, to see with {{}}", command)
        return replace(change, evidence=(*change.evidence, shadow))

    return replace(plan, changes=tuple(map(seen, plan.changes)))


def with_stakes(plan: FleetPlan, stake_of: Callable[[Row], Stake]) -> FleetPlan:
    """The plan with what each that trades, did or will holds now, and what that is worth."""

    def seen(change: Change) -> Change:
        is_told = change.section in wording.TELLING or change.section in (Section.RELOAD, Section.LOAD)
        return replace(change, stake=stake_of(change.row)) if is_told else change

    return replace(plan, changes=tuple(map(seen, plan.changes)))


def with_code_links(plan: FleetPlan, link: Callable[[CodeChange], str]) -> FleetPlan:
    """The plan with a link to what differs in each strategy, or the command that shows it."""
    return replace(plan, code=tuple(replace(one, link=link(one)) for one in plan.code))


def _refused(comparison: Comparison) -> Iterator[Refused]:
    for attempt in comparison.admission.attempts:
        kind = _KINDS.get(attempt.sync)
        if kind is not None:
            row = None if attempt.id is None else comparison.after.get(attempt.id)
            runs_on = _standing(row, comparison.accounts) if row is not None and row.is_live else None
            yield Refused(attempt.path, attempt.id, kind, attempt.message, attempt.problems, runs_on)


def _gravity(refused: Refused) -> tuple[bool, bool, str]:
    """Of active ones first, then of those whose file is sound but may not be applied."""
    is_active = refused.runs_on is not None and refused.runs_on.mode is Mode.ACTIVE
    return not is_active, refused.kind != "refused", refused.path


def _held(comparison: Comparison) -> HeldRemoval:
    removal = comparison.admission.removal

    def standing(ids: Iterable[str]) -> tuple[RunsOn, ...]:
        return _active_first(_standing(comparison.after[id_], comparison.accounts) for id_ in ids)

    return HeldRemoval(
        standing(removal.protected), standing(removal.held), standing(removal.waiting), digest=removal.held_digest
    )


def _standing(row: Row, accounts: Accounts) -> RunsOn:
    return RunsOn(row.id, row.mode, row.record.identity.account_id, money_of(row, accounts))


def _active_first(found: Iterable[RunsOn]) -> tuple[RunsOn, ...]:
    return tuple(sorted(found, key=lambda one: (-one.mode.rank, one.money != "real", one.id)))


def _code(comparison: Comparison) -> Iterator[CodeChange]:
    before, after = comparison.before.rows, comparison.after
    reloads: dict[tuple[str, str, str], list[RunsOn]] = {}
    keeps: dict[tuple[str, str, str], list[RunsOn]] = {}
    for id_, row in after.items():
        old = before.get(id_)
        if old is not None and old.is_live and row.is_live and old.code_digest != row.code_digest:
            version = (row.record.strategy_type, old.code_digest, row.code_digest)
            running = Mode.OFF not in (old.mode, row.mode)
            reloads.setdefault(version, []).extend([_standing(row, comparison.accounts)] if running else [])
    for file in comparison.evaluations:
        was = None if file.claimed_id is None else before.get(file.claimed_id)
        if file.record is None and was is not None and was.is_live and file.code_digest not in ("", was.code_digest):
            version = (was.record.strategy_type, was.code_digest, file.code_digest)
            keeps.setdefault(version, []).append(_standing(after[was.id], comparison.accounts))
    for version in sorted(reloads.keys() | keeps.keys()):
        yield CodeChange(*version, _active_first(reloads.get(version, ())), _active_first(keeps.get(version, ())))


def _halts(old: tuple[Halt, ...], new: tuple[Halt, ...]) -> Iterator[HaltChange]:
    def said(halt: Halt) -> tuple[str, str, bool, str]:
        return halt.scope, halt.id, halt.full, halt.reason

    was, now = {said(halt): halt for halt in old}, {said(halt): halt for halt in new}
    gone = {key[:2]: halt for key, halt in was.items() if key not in now}
    for key in sorted(now.keys() - was.keys()):
        replaced = gone.pop(key[:2], None)
        yield HaltChange("declared" if replaced is None else "changed", now[key], replaced)
    for scope in sorted(gone):
        yield HaltChange("lifted", gone[scope])


def _settings(comparison: Comparison, settings: bytes | None) -> SettingsChange:
    before = comparison.before
    live = [row for row in comparison.after.values() if row.is_live]
    return SettingsChange(
        changed=_knows_settings(before) and before.settings != settings,
        accounts=tuple(_account_changes(before.accounts, comparison.accounts, live)),
        limits=above_bounds(before.accounts, comparison.accounts),
    )


def _knows_settings(before: Before) -> bool:
    """A revision knows its settings, where there are none too; a database does not."""
    return before.revision is not None


def _account_changes(accounts_before: Accounts, accounts: Accounts, live: Iterable[Row]) -> Iterator[AccountChange]:
    old, new = accounts_before.declared, accounts.declared
    users: dict[str, list[str]] = {}
    for row in live:
        users.setdefault(row.record.identity.account_id, []).append(row.id)
    for account_id in sorted(old.keys() | new.keys()):
        was, now = old.get(account_id), new.get(account_id)
        way = way_differences(way_of(account_id, accounts_before), way_of(account_id, accounts))
        way += account_bounds(was, now) if was is not None and now is not None else ()
        if was == now and not way:
            continue
        used_by = tuple(sorted(users.get(account_id, ())))
        if was is None and now is not None:
            yield AccountChange(account_id, "added", (phrase("{} money, through {}", now.money, now.server),), used_by)
        elif now is None:
            yield AccountChange(account_id, "removed", (), used_by)
        elif was is not None:
            yield AccountChange(account_id, "changed", tuple(_account_details(was, now, way)), used_by)


def _account_details(old: DeclaredAccount, new: DeclaredAccount, way: Iterable[Difference]) -> Iterator[Phrase]:
    for key, was, now in (("money", old.money, new.money), ("server", old.server, new.server)):
        if was != now:
            yield phrase("{}: {} → {}", key, was, now)
    yield from map(wording.difference, way)


_KINDS: Final[Mapping[Sync, Literal["refused", "invalid", "waiting"]]] = {
    Sync.REFUSED: "refused",
    Sync.INVALID: "invalid",
    Sync.OUT_OF_SYNC: "waiting",
}
