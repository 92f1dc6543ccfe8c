"""The plan: desired rows × running instances → actions. A pure function; the small loop everyone can recite.

Load what is wanted and not running, unload what is running and not wanted, reload what changed. An
instance on its way (loading, unloading, stuck) is left alone until it arrives, except that its mode is
lowered at once: the gate closes first, the rest follows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from reconciler.records.mode import Mode, descent, lowers
from reconciler.records.record import Row


class Phase(StrEnum):
    """Where a running instance is on its way. FAILED: its last load did not succeed, nothing is loaded."""

    LOADING = "loading"
    RUNNING = "running"
    UNLOADING = "unloading"
    STUCK = "stuck"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LoadKey:
    """What a running instance was made from; a change of any part of it reloads."""

    mode: Mode
    config_digest: str
    code_digest: str
    data_markets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Running:
    """What the plan must know of a running instance.

    `mode` is what is in force, at or below `key.mode`. `row` is the row it was last given, for telling
    an in-place change by identity. `retry_at_s` (monotonic) is when a FAILED load is due again. `paused`
    and `failing` (its last tick or load failed) are for whoever judges its health; the plan ignores them.
    """

    id: str
    phase: Phase
    mode: Mode
    key: LoadKey
    row: Row
    retry_at_s: float = 0.0
    paused: bool = False
    failing: bool = False

    def is_made_from(self, row: Row) -> bool:
        """True where it is what `row` would be loaded as: its key is that of the row, with nothing made to compare."""
        key = self.key
        same_digests = key.config_digest == row.config_digest and key.code_digest == row.code_digest
        return same_digests and key.mode is row.mode and key.data_markets == row.record.data_markets


@dataclass(frozen=True, slots=True)
class Load:
    row: Row
    reason: str


@dataclass(frozen=True, slots=True)
class Unload:
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Reload:
    row: Row
    reason: str


@dataclass(frozen=True, slots=True)
class SetMode:
    """Close the gate down to `mode`, at once, whatever else goes on."""

    id: str
    mode: Mode
    reason: str


@dataclass(frozen=True, slots=True)
class Update:
    """Description, labels, limits, open_orders, protect, path or provenance changed: applied in place."""

    row: Row


Action = Load | Unload | Reload | SetMode | Update


def load_key(row: Row) -> LoadKey:
    """What an instance made from this row now would be made from."""
    return LoadKey(row.mode, row.config_digest, row.code_digest, row.record.data_markets)


def _may_always(row: Row) -> bool:
    return True


def plan(
    desired: Mapping[str, Row],
    running: Mapping[str, Running],
    can_load: Callable[[Row], bool],
    now_s: float,
    may_rise: Callable[[Row], bool] = _may_always,
) -> tuple[Action, ...]:
    """The actions that make `running` match `desired`, lowered modes first, then by id.

    `desired` maps ids to rows, tombstones included. `can_load` is False where the code a row was
    validated against is not at hand; such a row is neither loaded nor does it disturb what runs. What is in force may
    be lower than the row says, where a lowering was obeyed that could not be written down: it is made anew, by way of a
    reload as ever, where `may_rise` says that the row is what is wanted by now.
    Planning again after the actions are done yields nothing.
    """
    lowering: list[SetMode] = []
    rest: list[Action] = []
    for instance_id, row in desired.items():
        view = running.get(instance_id)
        wanted = row.removed_at is None and row.mode is not Mode.OFF
        if view is None:
            if wanted and can_load(row):
                rest.append(Load(row, "wanted and not running"))
            continue
        if view.row is row and view.phase is Phase.RUNNING and wanted and view.mode is row.mode:
            continue
        lowering.extend(_descent(view, row, wanted))
        rest.extend(_change(view, row, wanted, can_load, may_rise, now_s))
    for instance_id, view in running.items():
        if instance_id not in desired:
            lowering.extend(SetMode(instance_id, mode, "no longer desired") for mode in descent(view.mode, Mode.OFF))
            if view.phase in (Phase.RUNNING, Phase.FAILED):
                rest.append(Unload(instance_id, "no longer desired"))
    rest.sort(key=_id_of)
    return (*lowering, *rest)


def _descent(view: Running, row: Row, wanted: bool) -> list[SetMode]:
    target = row.mode if wanted else Mode.OFF
    if not lowers(view.mode, target):
        return []
    reason = f"mode {view.mode} → {target}" if row.removed_at is None else "removed"
    return [SetMode(view.id, mode, reason) for mode in descent(view.mode, target)]


def _change(
    view: Running,
    row: Row,
    wanted: bool,
    can_load: Callable[[Row], bool],
    may_rise: Callable[[Row], bool],
    now_s: float,
) -> list[Action]:
    if view.phase not in (Phase.RUNNING, Phase.FAILED):
        return []
    if not wanted:
        return [Unload(view.id, "removed" if row.removed_at is not None else "mode is off")]
    key = load_key(row)
    if view.phase is Phase.FAILED:
        due = view.key != key or now_s >= view.retry_at_s
        return [Load(row, "retry after a failed load")] if due and can_load(row) else []
    if view.key != key:
        return [Reload(row, _difference(view.key, key))] if can_load(row) else []
    if lowers(row.mode, view.mode) and may_rise(row) and can_load(row):
        return [Reload(row, f"mode in force {view.mode} → {row.mode}")]
    return [Update(row)] if view.row is not row and view.row != row else []


def _difference(old: LoadKey, new: LoadKey) -> str:
    parts = []
    if old.mode is not new.mode:
        parts.append(f"mode {old.mode} → {new.mode}")
    if old.config_digest != new.config_digest:
        parts.append("config changed")
    if old.code_digest != new.code_digest:
        parts.append("strategy code changed")
    if old.data_markets != new.data_markets:
        parts.append("data markets changed")
    return ", ".join(parts)


def _id_of(action: Action) -> str:
    match action:
        case Load(row=row) | Reload(row=row) | Update(row=row):
            return row.id
        case Unload(id=instance_id) | SetMode(id=instance_id):
            return instance_id
