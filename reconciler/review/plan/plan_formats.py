"""The formats of a plan: a comment on a pull request, text for a terminal, JSON for machines. Pure.

Markdown is GitHub-flavoured, bounded, with a marker to find the comment again; everything that comes from files stands
in code spans, where nothing is a mention, a link, an image or HTML. Text reads without colour and in narrow windows;
bold only adds to the words. JSON is as `schemas/plan.schema.json` describes it: values stay what they are, decimal
strings are strings, nothing is shortened, and secrets are left out.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.review.plan import sentences as wording
from reconciler.review.plan.differences import ABSENT, Difference, Hidden, Phrase
from reconciler.review.plan.model import Change, FleetPlan, HaltChange, Point, Refused, RunsOn
from reconciler.review.plan.outlook import Stake
from reconciler.review.plan.sentences import GRAVE, Block, Item, outline
from reconciler.review.validate.report import code_span
from reconciler.visible import storable, visible

MARKER: Final = "<!-- reconciler plan -->"
"""The first line: whoever keeps one comment up to date finds it by this."""
LARGEST: Final = 60_000
"""Of at most 65,536 characters that GitHub takes; counted in bytes of UTF-8, to be safe anywhere."""
_UNFOLDED: Final = 6
"""So many details are shown without being folded away."""
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_NARROWEST = 40
_WIDEST_NAME = 32
VERSION: Final = 1
"""Rises when what is there changes its meaning; new keys may come without."""


def as_markdown(plan: FleetPlan, largest: int = LARGEST) -> str:
    """The whole comment, of at most `largest` bytes.

    Where that is too little, details are left out first, then facts, then items from the end, and their number told.
    """
    count = wording.count_line(plan)
    head = f"{MARKER}\n**Plan: {count}**\n\n{_in_spans(wording.compared(plan))}\n"
    head += "".join(f"\n{_in_spans(said)}\n" for said in plan.basis)
    blocks = outline(plan)
    reserved = _size(head) + sum(
        _size(_title(block)) + _size(_more(len(block.items))) + _size(_shortened(len(block.items))) for block in blocks
    )
    versions = [(_versions(item), block.weight) for block in blocks for item in block.items]
    written = iter(zip(_fitting(versions, largest - reserved), versions, strict=True))
    parts = [head]
    for block in blocks:
        found = [next(written) for _ in block.items]
        missing = sum(not text for text, _ in found)
        shortened = sum(bool(text) and text not in versions[2:] for text, (versions, _) in found)
        parts += [_title(block), *(text for text, _ in found)]
        parts += [_shortened(shortened) if shortened else "", _more(missing) if missing else ""]
    return "".join(parts)


def span(text: str) -> str:
    """`text` as a code span that nothing in it can end: of one line, cut where it is very long."""
    text = visible(text)
    return code_span(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def _in_spans(phrase: Phrase) -> str:
    return phrase.render(span)


def _title(block: Block) -> str:
    real = any(item.is_strong for item in block.items)
    return f"\n#### {block.title}{f': **{wording.REAL}**' if real else ''}\n\n"


def _more(missing: int) -> str:
    return f"- and {missing:,} more, not shown here: `reconciler plan` shows them\n"


def _shortened(count: int) -> str:
    return f"- details of {count:,} left out for length: all are in the JSON, and `reconciler plan` shows them\n"


def _versions(item: Item) -> tuple[str, str, str, str]:
    """The item with nothing but its warnings, with its facts, with all of its details, and with what it runs with."""
    brief = f"- {span(item.name)} {_in_spans(item.about)}\n"
    if item.is_strong:
        brief = f"- **{span(item.name)}** {_in_spans(item.about).replace(wording.REAL, f'**{wording.REAL}**', 1)}\n"
    brief += "".join(f"  - **{_in_spans(warning)}**\n" for warning in item.warnings)
    facts = "".join(f"  - {_in_spans(fact)}\n" for fact in item.facts)
    details = "".join(f"  - {_in_spans(detail)}\n" for detail in item.details)
    if len(item.details) > _UNFOLDED:
        summary = f"<details><summary>{len(item.details):,} differences</summary>"
        details = f"\n  {summary}\n\n{details}\n  </details>\n\n"
    if item.link:
        facts += f"  - [the difference]({item.link})\n"
    config = "".join(f"  - {_in_spans(one)}\n" for one in item.config)
    if config:
        values = f"{len(item.config):,} value{'' if len(item.config) == 1 else 's'}"
        summary = f"<details><summary>{item.runs} {values}</summary>"
        config = f"\n  {summary}\n\n{config}\n  </details>\n\n"
    return brief, brief + facts, brief + facts + details, brief + facts + details + config


def _fitting(items: Sequence[tuple[Sequence[str], int]], largest: int) -> list[str]:
    """For each item, its versions and its weight, the longest version that fits; the empty text where none does.

    What is grave has its facts before anything else is told at all, and all is told in brief before any in full.
    """
    chosen = [""] * len(items)
    left = largest
    by_weight = sorted(range(len(items)), key=lambda index: -items[index][1])
    grave = [index for index in by_weight if items[index][1] >= GRAVE]
    rest = by_weight[len(grave) :]
    for group, level in ((grave, 0), (grave, 1), (rest, 0), (grave, 2), (rest, 1), (rest, 2), (grave, 3), (rest, 3)):
        for index in group:
            version = items[index][0][level]
            cost = _size(version) - _size(chosen[index])
            if level and not chosen[index]:
                break
            if cost <= left:
                chosen[index] = version
                left -= cost
            elif not level:
                break
    return chosen


def _size(text: str) -> int:
    return len(text.encode())


_LONGEST: Final = 300


def as_text(plan: FleetPlan, width: int | None = None, bold: bool = False) -> str:
    """The plan, its counts on the last line. `width` is the terminal's, None where lines may be of any length.

    `bold` allows the escape codes for it; without, no control character is ever in the text, whatever files say.
    """
    return "\n".join(_Text(width, bold).lines(plan))


class _Text:
    def __init__(self, width: int | None, bold: bool) -> None:
        self._width = None if width is None else max(width, _NARROWEST)
        self._bold = bold

    def lines(self, plan: FleetPlan) -> Iterator[str]:
        yield from self._wrapped(_visibly(wording.compared(plan)))
        for said in plan.basis:
            yield from self._wrapped(_visibly(said))
        for block in outline(plan):
            yield ""
            yield from self._block(block)
        yield ""
        yield from self._wrapped(wording.count_line(plan))

    def _block(self, block: Block) -> Iterator[str]:
        real = any(item.is_strong for item in block.items)
        yield from self._wrapped(f"{block.title.upper()}{f': {wording.REAL}' if real else ''}", is_strong=real)
        column = min(_WIDEST_NAME, max(len(visible(item.name)) for item in block.items))
        for item in block.items:
            yield from self._item(item, column)

    def _item(self, item: Item, column: int) -> Iterator[str]:
        head = f"{item.sign} {visible(item.name):<{column}}  {_visibly(item.about)}"
        yield from self._wrapped(head, below=" " * 6, is_strong=item.is_strong)
        for warning in item.warnings:
            yield from self._wrapped(f"! {_visibly(warning)}", " " * 4)
        for fact in item.facts:
            yield from self._wrapped(_visibly(fact), " " * 4)
        if item.link:
            yield " " * 4 + f"the difference: {item.link}"
        for detail in item.details:
            yield from self._wrapped(_visibly(detail), " " * 6)
        if item.config:
            yield from self._wrapped(item.runs, " " * 4)
        for one in item.config:
            yield from self._wrapped(_visibly(one), " " * 6)

    def _wrapped(self, line: str, indent: str = "", below: str = "", is_strong: bool = False) -> Iterator[str]:
        lines = [indent + line]
        if self._width is not None and len(lines[0]) > self._width:
            further = below or f"{indent}  "
            lines = textwrap.wrap(
                line, self._width, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False
            )
        for text in lines:
            yield f"{_BOLD}{text}{_PLAIN}" if is_strong and self._bold else text


def _visibly(phrase: Phrase) -> str:
    return phrase.render(visible)


def as_json(plan: FleetPlan) -> str:
    return storable(json.dumps(to_json(plan), indent=2, ensure_ascii=False))


def to_json(plan: FleetPlan) -> dict[str, Any]:
    return {
        "version": VERSION,
        "summary": wording.count_line(plan),
        "before": _point(plan.before),
        "after": _point(plan.after),
        "basis": [str(said) for said in plan.basis],
        "raises": list(plan.raises),
        "active_changes": list(plan.active_changes),
        "changes": [_change(change) for change in plan.changes],
        "refused": [_refused(found) for found in plan.refused],
        "held": {
            "protected": [_standing(one) for one in plan.held.protected],
            "too_many": [_standing(one) for one in plan.held.too_many],
            "waiting": [_standing(one) for one in plan.held.waiting],
            "digest": plan.held.digest or None,
        },
        "code": [
            {
                "strategy_type": found.strategy_type,
                "before": found.old,
                "after": found.new,
                "reloads": [_standing(one) for one in found.reloads],
                "keeps": [_standing(one) for one in found.keeps],
                "link": found.link,
            }
            for found in plan.code
        ],
        "halts": [_halt(found) for found in plan.halts],
        "commits": [{**found.change.to_json(), "lacking": found.lacking or None} for found in plan.commits],
        "settings": {
            "changed": plan.settings.changed,
            "limits": [_difference(found) for found in plan.settings.limits],
            "accounts": [
                {
                    "account_id": found.account_id,
                    "kind": found.kind,
                    "details": [str(detail) for detail in found.details],
                    "instances": list(found.instances),
                }
                for found in plan.settings.accounts
            ],
        },
    }


def _point(point: Point) -> dict[str, Any]:
    return {"label": point.label, "revision": point.revision}


def _change(change: Change) -> dict[str, Any]:
    identity = change.row.record.identity
    code = change.code
    return {
        "id": change.id,
        "section": str(change.section),
        "effect": change.effect,
        "strategy_type": identity.strategy_type,
        "account": {"account_id": identity.account_id, "client_id": identity.client_id, "money": change.money},
        "server": change.server,
        "market": identity.market,
        "mode": {"before": _mode(change.mode_before), "after": _mode(change.mode_after), "place": change.mode_place},
        "path": {"before": _path(change.before), "after": _path(change.after)},
        "committed": change.row.committed,
        "limits": _limits(change.row),
        "reasons": [str(reason) for reason in change.reasons],
        "evidence": [str(evidence) for evidence in change.evidence],
        "warnings": [str(warning) for warning in change.warnings],
        "differences": [_difference(found) for found in change.differences],
        "code": None if code is None else {"before": code[0], "after": code[1]},
        "config": [{"pointer": one.pointer, **_side(one.value, one.origin)} for one in change.config],
        "account_sum": None if change.account is None else str(change.account),
        "stake": None if change.stake is None else _stake(change.stake),
    }


def _stake(stake: Stake) -> dict[str, Any]:
    def money(value: Decimal | None) -> str | None:
        return None if value is None else f"{value:f}"

    return {
        "position": money(stake.position),
        "position_worth": money(stake.worth(stake.position)),
        "open_orders": stake.open_orders,
        "open_worth": money(stake.worth(stake.open_quantity)),
        "largest_order": money(stake.largest),
        "largest_worth": money(stake.worth(stake.largest)),
        "currency": stake.currency,
        "price": money(stake.price),
        "price_at": stake.price_at or None,
        "account_worth": {currency: money(amount) for currency, amount in stake.account.items()},
        "account_unpriced": list(stake.unpriced),
    }


def _limits(row: Row) -> dict[str, Any]:
    written = row.record.values.get("limits", {})
    return {key: value for key, value in written.items() if not key.startswith("x-")}


def _mode(mode: Mode | None) -> str | None:
    return None if mode is None else str(mode)


def _path(row: Row | None) -> str | None:
    return None if row is None else row.path


def _difference(found: Difference) -> dict[str, Any]:
    sides = (("before", found.old, found.old_origin), ("after", found.new, found.new_origin))
    written = {name: _side(value, origin) for name, value, origin in sides if value is not ABSENT}
    return {"pointer": found.pointer, **written, "limit": found.limit}


def _side(value: Any, origin: str) -> dict[str, Any]:
    if isinstance(value, Hidden):
        return {"hidden": True, "origin": origin}
    return {"value": _shown(value), "origin": origin}


def _shown(value: Any) -> Any:
    """The value, null for what is hidden inside of it."""
    if isinstance(value, dict):
        return {key: _shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner) for inner in value]
    return None if isinstance(value, Hidden) else value


def _refused(found: Refused) -> dict[str, Any]:
    return {
        "path": found.path,
        "id": found.id,
        "kind": found.kind,
        "message": found.message,
        "problems": [problem.to_json() for problem in found.problems],
        "runs_on": None if found.runs_on is None else _standing(found.runs_on),
    }


def _standing(found: RunsOn) -> dict[str, Any]:
    return {"id": found.id, "mode": str(found.mode), "account_id": found.account_id, "money": found.money}


def _halt(found: HaltChange) -> dict[str, Any]:
    halt = found.halt
    return {"kind": found.kind, "scope": halt.scope, "id": halt.id or None, "full": halt.full, "reason": halt.reason}
