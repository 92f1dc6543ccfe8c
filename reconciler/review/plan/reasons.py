"""Why a change comes about, what speaks for it, and what must not be overlooked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Row
from reconciler.review.plan.change import Change
from reconciler.review.plan.phrase import Phrase, phrase
from reconciler.review.plan.state import State, goes_elsewhere


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
