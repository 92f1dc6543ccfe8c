"""Limits above the instance that a change of the settings moves, and what a change of a record means for them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from reconciler.documents.pointer import spell
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.records.scopes import Ceilings, Scope, Throttle, Turnover
from reconciler.review.plan.differences import ABSENT, Difference, LimitChange, Phrase, phrase

_FLOOR: Final = "min_equity"


def account_bounds(old: DeclaredAccount, new: DeclaredAccount) -> tuple[Difference, ...]:
    """What bounds all that is on an account and differs, as it stands in the settings."""
    here = ("exec_mcp", new.server, "accounts", new.account_id)
    if old == new:
        return ()
    found = [*_differing(old.ceilings, new.ceilings, (*here, "limits"))]
    found += _moved(old.max_orders_per_minute, new.max_orders_per_minute, (*here, "max_orders_per_minute"))
    found += _moved(old.throttle, new.throttle, (*here, "throttle"))
    for name, was, now in (
        ("currency", old.currency, new.currency),
        ("count_as", _plain(old.count_as), _plain(new.count_as)),
        ("markets", dict(old.markets), dict(new.markets)),
    ):
        if was != now:
            found.append(Difference(spell((*here, name)), was or ABSENT, now or ABSENT))
    return tuple(found)


def above_bounds(old: Accounts, new: Accounts) -> tuple[Difference, ...]:
    """The same of labels, of all instances, and of what records must have."""
    was, now = ({_named(scope): scope for scope in one.above} for one in (old, new))
    found: list[Difference] = []
    for name in dict.fromkeys((*was, *now)):
        before, after = was.get(name), now.get(name)
        here = ("limits", name)
        found += _differing(
            Ceilings() if before is None else before.ceilings, Ceilings() if after is None else after.ceilings, here
        )
        if before is not None and after is not None and before.currency != after.currency:
            found.append(Difference(spell((*here, "currency")), before.currency, after.currency))
    found += _moved(old.throttle, new.throttle, ("throttle",))
    if old.requirement != new.requirement:
        asked = [None if one.requirement is None else one.requirement for one in (old, new)]
        texts = [ABSENT if one is None else f"{one.money}: {', '.join(one.of)}" for one in asked]
        lacks = set() if asked[0] is None else set(asked[0].of)
        has = set() if asked[1] is None or (asked[0] and asked[0].money != asked[1].money) else set(asked[1].of)
        change: LimitChange = "removed" if asked[1] is None else "wider" if lacks - has else "tighter"
        found.append(Difference("require_limits", texts[0], texts[1], limit=change if asked[0] else "added"))
    return tuple(found)


def bound_warnings(old: Row | None, new: Row | None, accounts: Accounts) -> Iterator[Phrase]:
    """What a change of a record means for the limits above it: a label that it leaves, limits that it lacks."""
    before = {} if old is None else old.record.labels
    after = {} if new is None else new.record.labels
    if old is not None and new is not None:
        for scope in accounts.above:
            if scope.kind == "label" and scope.covers("", before) and not scope.covers("", after):
                yield phrase("leaves the limits of {}: they bind it until it is flat", str(scope))
    if new is not None and new.is_live and new.mode is Mode.ACTIVE:
        identity = new.record.identity
        if lacking := accounts.lacking(identity.account_id, identity.market, new.record.limits):
            names = ", ".join("{}" for _ in lacking)
            yield Phrase(f"lacks {names}, which require_limits asks for: it opens nothing", lacking)


def declared_paper(accounts: Accounts, rows: Iterable[Row]) -> Iterator[Phrase]:
    """Accounts of these rows of which only the settings say that their money is paper."""
    used = sorted({row.record.identity.account_id for row in rows if row.is_live})
    for account_id in filter(accounts.is_declared_paper, used):
        yield phrase("account {} is declared paper: its server is not the embedded exchange", account_id)


def _differing(old: Ceilings, new: Ceilings, here: tuple[str, ...]) -> Iterator[Difference]:
    was, now = dict(old.each()), dict(new.each())
    for name in dict.fromkeys((*was, *now)):
        limit, _, market = name.removesuffix("]").partition("[")
        yield from _moved(was.get(name), now.get(name), (*here, limit, *([market] if market else ())))


def _moved(was: Any, now: Any, path: tuple[str, ...]) -> Iterator[Difference]:
    if was == now:
        return
    change: LimitChange = "added" if was is None else "removed" if now is None else "tighter"
    if was is not None and now is not None and _lets_more_through(was, now, path[-1]):
        change = "wider"
    yield Difference(
        spell(path), ABSENT if was is None else _shown(was), ABSENT if now is None else _shown(now), limit=change
    )


def _lets_more_through(was: Any, now: Any, name: str) -> bool:
    """In doubt it does: more at once, though over longer, is more at once."""
    if isinstance(was, Turnover):
        return bool(now.amount > was.amount or now.within_minutes < was.within_minutes)
    if isinstance(was, Throttle):
        return bool(now.same_orders > was.same_orders or now.within_minutes < was.within_minutes)
    return bool(now < was) if name == _FLOOR else bool(now > was)


def _shown(value: Any) -> Any:
    if isinstance(value, Throttle):
        return f"{value.same_orders} in {value.within_minutes} min"
    if isinstance(value, Turnover):
        return str(value)
    return f"{value:f}" if isinstance(value, Decimal) else value


def _plain(factors: Mapping[str, Mapping[str, Decimal]]) -> dict[str, dict[str, str]]:
    return {name: {other: f"{one:f}" for other, one in others.items()} for name, others in factors.items()}


def _named(scope: Scope) -> str:
    return scope.id or scope.kind
