"""When a missing file means unload: the guard against taking a slip, or a half-read folder, for a wish. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.records.record import Row, digest


@dataclass(frozen=True, slots=True)
class Removal:
    """What becomes of the live ids whose files are missing; each is in exactly one of the tuples, sorted.

    `remove`: seen missing twice, unprotected, few enough: unload and tombstone. `waiting`: to be looked
    for once more. `protected`: run on, whatever happens to the file. `held`: too many at once; they run on
    until somebody confirms `held_digest`, which stands for exactly this set.
    """

    remove: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    held_digest: str = ""


def too_many(missing: int, live: int) -> bool:
    """True where so many missing of so many live records must be confirmed: all, or over max(3, 20 %)."""
    return missing > 0 and (missing >= live or missing > max(3, live * 0.2))


def judge_removal(
    missing: frozenset[str],
    rows: Mapping[str, Row],
    whole: bool,
    settled: frozenset[str],
    confirmed_digest: str,
) -> Removal:
    """Decide for each missing id. Whether they are too many is judged on all of them, looked for twice or not."""
    if not missing:
        return Removal()
    if not whole:
        return Removal(waiting=tuple(sorted(missing)))
    protected = tuple(sorted(i for i in missing if rows[i].record.protect))
    open_to_removal = tuple(sorted(missing.difference(protected)))
    live = sum(1 for row in rows.values() if row.is_live)
    if too_many(len(open_to_removal), live):
        held_digest = digest(list(open_to_removal))[:12]
        if held_digest != confirmed_digest or not settled.issuperset(open_to_removal):
            return Removal(protected=protected, held=open_to_removal, held_digest=held_digest)
    return Removal(
        remove=tuple(i for i in open_to_removal if i in settled),
        waiting=tuple(i for i in open_to_removal if i not in settled),
        protected=protected,
    )
