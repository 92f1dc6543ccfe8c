"""What differs between two applied records, key by key, and where each side was written. Pure.

Nothing that a schema calls secret leaves this module, unless it is a reference (`{env: NAME}`, `{file: PATH}`).

And limits above the instance that a change of the settings moves, and what a change of a record means for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from reconciler.documents import wording as literals
from reconciler.documents.wording import Path, spell
from reconciler.records.accounts import Accounts, Ceilings, DeclaredAccount, Scope, Throttle, Turnover
from reconciler.records.evaluation import Evaluation
from reconciler.records.mode import Mode
from reconciler.records.record import Limits, Row
from reconciler.validation.schema_tree import Schema
from reconciler.validation.secrets import secret_places

DEFAULT: Final = "default"
_FLOOR: Final = "min_equity"


class Absent:
    """No value there. One object, `ABSENT`."""


ABSENT: Final = Absent()


@dataclass(frozen=True, slots=True, repr=False)
class Hidden:
    """A value that is not shown. Two are equal where what they hide is."""

    value: Any

    def __repr__(self) -> str:
        return "Hidden(…)"


LimitChange = Literal["wider", "removed", "tighter", "added"]
OPENING: Final = ("wider", "removed")
"""The changes of a limit that let more through."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what it was. `old` and `new` are plain, or ABSENT, or hold `Hidden`.

    `old_origin` and `new_origin` say where it is written, `path:line` or `default`; empty where nobody knows.
    `limit` says what it does to the risk envelope, None where it is no limit.
    """

    pointer: str
    old: Any
    new: Any
    old_origin: str = ""
    new_origin: str = ""
    limit: LimitChange | None = None

    @property
    def opens(self) -> bool:
        """True where a limit lets more through than before."""
        return self.limit in OPENING


@dataclass(frozen=True, slots=True)
class Compared:
    """One of the two records: its row, the file it came from where that is at hand, its strategy's schema."""

    row: Row
    file: Evaluation | None = None
    schema: Schema = True

    def values(self, secrets: tuple[Schema, ...]) -> dict[str, Any]:
        """Everything that holds for it, defaults filled in; what any of `secrets` calls secret is hidden."""
        record = self.row.record
        written = {key: _hidden(value, (key,), frozenset()) for key, value in record.values.items()}
        return {**written, "config": _guarded(record.effective_config, secrets)}

    def origin(self, path: Path) -> str:
        """`path:line` of the value there, `default` where the schema filled it in, empty where nobody knows."""
        if path[0] == "config" and not _is_written(self.row.record.values, path):
            return DEFAULT
        if self.file is None:
            return ""
        place = self.file.place(spell(path))
        return f"{place.path}:{place.line}"


def differences(old: Compared, new: Compared) -> tuple[Difference, ...]:
    """Every value that differs, but for the mode, in the order of the file. Lists are compared whole."""
    secrets = (old.schema, new.schema)
    found = _differences(old.values(secrets), new.values(secrets), ())
    return tuple(
        Difference(
            spell(path),
            was,
            now,
            "" if was is ABSENT else old.origin(path),
            "" if now is ABSENT else new.origin(path),
            _limit_change(path, was, now),
        )
        for path, was, now in found
        if path != ("mode",)
    )


def plain_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[Path, Any, Any]]:
    """Every value that differs between two that no schema describes, what looks like a key hidden."""
    return _differences(_hidden(old, (), frozenset()), _hidden(new, (), frozenset()), ())


def _differences(old: Any, new: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    old = {} if old is ABSENT and isinstance(new, dict) and new else old
    new = {} if new is ABSENT and isinstance(old, dict) and old else new
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(key, ABSENT), new.get(key, ABSENT), (*path, key))
    elif not _is_same(old, new):
        hide_old, hide_new = _is_reference(new) and _is_scalar(old), _is_reference(old) and _is_scalar(new)
        yield path, Hidden(old) if hide_old else old, Hidden(new) if hide_new else new


def _is_same(old: Any, new: Any) -> bool:
    """Equal, and of one type all the way down: true is not 1, 1 is not 1.0."""
    if type(old) is not type(new):
        return False
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_is_same, old, new))
    if isinstance(old, dict):
        return old.keys() == new.keys() and all(_is_same(value, new[key]) for key, value in old.items())
    if isinstance(old, Hidden):
        return _is_same(old.value, new.value)
    return bool(old == new)


def _limit_change(path: Path, old: Any, new: Any) -> LimitChange | None:
    if len(path) != 2 or path[0] != "limits" or path[1] not in _LIMITS:
        return None
    if new is ABSENT:
        return "removed"
    if old is ABSENT:
        return "added"
    if _amount(new) == _amount(old):
        return None
    return "wider" if _amount(new) > _amount(old) else "tighter"


def _amount(limit: Any) -> Decimal:
    return Decimal(str(limit))


def _is_written(values: Mapping[str, Any], path: Path) -> bool:
    at: Any = values
    for step in path:
        if not isinstance(at, Mapping) or step not in at:
            return False
        at = at[step]
    return True


def _guarded(config: Mapping[str, Any], schemas: tuple[Schema, ...]) -> Any:
    places = (found for schema in schemas for found in secret_places(config, schema))
    return _hidden(config, (), frozenset(path for path, value in places if not _is_reference(value)))


def _hidden(value: Any, path: Path, secret: frozenset[Path]) -> Any:
    if path in secret or (isinstance(value, str) and literals.find(value)):
        return Hidden(value)
    if isinstance(value, Mapping):
        return {key: _hidden(inner, (*path, key), secret) for key, inner in value.items()}
    if isinstance(value, list):
        return [_hidden(inner, (*path, index), secret) for index, inner in enumerate(value)]
    return value


def _is_reference(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) == 1
        and all(kind in ("env", "file") and isinstance(name, str) for kind, name in value.items())
    )


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float))


_LIMITS: Final = frozenset(field.name for field in fields(Limits))


class Phrase(NamedTuple):
    """`words` are ours, with `{}` where each of the foreign `values` belongs. No foreign text is ever in `words`."""

    words: str
    values: tuple[str, ...] = ()

    def render(self, safe: Callable[[str], str]) -> str:
        """The sentence, each foreign value as `safe` gives it."""
        return self.words.format(*map(safe, self.values))

    def __str__(self) -> str:
        return self.render(str)


def phrase(words: str, *values: str) -> Phrase:
    """`phrase("moved from {}", path)`"""
    return Phrase(words, values)


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
    if new is not None and (lacking := lacking_of(new, accounts)):
        names = ", ".join("{}" for _ in lacking)
        yield Phrase(f"lacks {names}, which require_limits asks for: it opens nothing", lacking)


def lacking_of(row: Row, accounts: Accounts) -> tuple[str, ...]:
    """What it must have, and has not; of what is not active, nothing."""
    if not row.is_live or row.mode is not Mode.ACTIVE:
        return ()
    identity = row.record.identity
    return accounts.lacking(identity.account_id, identity.market, row.record.limits)


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
