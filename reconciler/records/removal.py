"""When a missing file means unload: the guard against taking a slip, or a half-read folder, for a wish. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from reconciler.records.record import Row, digest


@dataclass(frozen=True, slots=True)
class Removal:
    """What becomes of the live ids whose files are missing; each is in exactly one of the tuples, sorted.

    `remove`: seen missing twice, unprotected, few enough: unload and tombstone. `waiting`: to be looked
    for once more. `protected`: run on, whatever happens to the file. `held`: too many at once; they run on
    until somebody confirms `held_digest`, which stands for exactly this set; `held_why` says what they are too many of.
    """

    remove: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    held_digest: str = ""
    held_why: str = ""


def too_many(missing: int, live: int) -> bool:
    """True where so many missing of so many live records must be confirmed: all, or over max(3, 20 %)."""
    return missing > 0 and (missing >= live or missing > max(3, live * 0.2))


def removal_digest(ids: Iterable[str]) -> str:
    """What stands for exactly this set of ids, where somebody confirms that they may go."""
    return digest(sorted(ids))[:12]


def _why(missing: int, gone: int, live: int) -> str:
    if missing == live:
        return "it is the only one" if live == 1 and not gone else "nothing would be left"
    others = f"{missing} of {live} are missing"
    return f"{others}, and {gone} went within the last ten minutes" if gone else f"{others} at once"


def judge_removal(
    missing: frozenset[str],
    rows: Mapping[str, Row],
    whole: bool,
    settled: frozenset[str],
    confirmed_digest: str,
    recent: Collection[str] = (),
) -> Removal:
    """Decide for each missing id. Whether they are too many is judged on all of them, looked for twice or not, and on
    `recent` ones, which went a short while ago: what deletes slowly deletes all the same."""
    if not missing:
        return Removal()
    if not whole:
        return Removal(waiting=tuple(sorted(missing)))
    protected = tuple(sorted(i for i in missing if rows[i].record.protect))
    open_to_removal = tuple(sorted(missing.difference(protected)))
    live = sum(1 for row in rows.values() if row.is_live)
    gone = sum(1 for i in recent if i in rows and not rows[i].is_live)
    if too_many(len(open_to_removal) + gone, live + gone):
        held_digest = removal_digest(open_to_removal)
        if held_digest != confirmed_digest or not settled.issuperset(open_to_removal):
            why = _why(len(open_to_removal), gone, live)
            return Removal(protected=protected, held=open_to_removal, held_digest=held_digest, held_why=why)
    return Removal(
        remove=tuple(i for i in open_to_removal if i in settled),
        waiting=tuple(i for i in open_to_removal if i not in settled),
        protected=protected,
    )
