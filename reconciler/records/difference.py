"""What differs between two records, as people read it: `config.levels: 5 → 7`. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from reconciler.records.record import Identity, Row

_LONGEST = 60
_MOST = 12
_ABSENT: Any = object()


def differences(old: Any, new: Any, pointer: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Each changed leaf as (pointer, old, new), in the order of keys; lists are leaves."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(k for k in new if k not in old)]:
            yield from differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{pointer}.{key}" if pointer else key)
    elif old is _ABSENT or new is _ABSENT or type(old) is not type(new) or old != new:
        yield pointer, old, new


def identity_differences(old: Identity, new: Identity) -> tuple[tuple[str, str, str], ...]:
    """The changed parts of an identity as (pointer in the file, old, new)."""
    parts = (
        ("strategy_type", old.strategy_type, new.strategy_type),
        ("account.account_id", old.account_id, new.account_id),
        ("account.client_id", old.client_id, new.client_id),
        ("market", old.market, new.market),
    )
    return tuple(part for part in parts if part[1] != part[2])


def summarise(old: Row, new: Row) -> str:
    """One line naming what changed from one row to the next."""
    changed = differences(dict(old.record.values), dict(new.record.values))
    parts = [f"{pointer}: {shown(was)} → {shown(now)}" for pointer, was, now in changed]
    if len(parts) > _MOST:
        parts = [*parts[:_MOST], f"and {len(parts) - _MOST} more"]
    parts.extend(_through_template(old, new, has_changes=bool(parts)))
    if not old.is_live:
        parts.insert(0, "restored after removal")
    if old.mode_override is not None and new.mode_override is None and old.mode is not new.mode:
        parts.append(f"mode in force: {old.mode} → {new.mode}")
    if old.code_digest != new.code_digest:
        parts.append(f"strategy code: {old.code_digest[:12]} → {new.code_digest[:12]}")
    if old.path != new.path:
        parts.append(f"path: {old.path} → {new.path}")
    if old.committed != new.committed:
        parts.append(f"committed as {new.revision[:12]}" if new.revision else "no longer committed")
    return "; ".join(parts) or "rewritten without a change of values"


def _through_template(old: Row, new: Row, *, has_changes: bool) -> Iterator[str]:
    """Whether what changed came from the template; where both files changed, only that it did, too."""
    if not new.template_path or new.template_digest == old.template_digest:
        return
    if old.template_path != new.template_path and old.template_path:
        yield f"template: {old.template_path} → {new.template_path}"
    elif old.template_path:
        if not has_changes:
            yield f"{new.template_path} rewritten without a change of values"
        elif old.file_digest == new.file_digest:
            yield f"through {new.template_path}"
        else:
            yield f"{new.template_path} changed as well"


def shown(value: Any) -> str:
    """A value as JSON, shortened; `–` where there is none."""
    if value is _ABSENT:
        return "–"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
