"""What differs between two applied records, key by key, and where each side was written. Pure.

Nothing that a schema calls secret leaves this module, unless it is a reference (`{env: NAME}`, `{file: PATH}`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple

from reconciler.documents import wording as literals
from reconciler.documents.pointer import Path, spell
from reconciler.records.evaluation import Evaluation
from reconciler.records.record import Limits, Row
from reconciler.validation.schema_tree import Schema
from reconciler.validation.secrets import secret_places

DEFAULT: Final = "default"


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
