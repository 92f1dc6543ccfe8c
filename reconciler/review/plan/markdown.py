"""A plan as a comment on a pull request: GitHub-flavoured markdown, bounded, with a marker to find it again. Pure.

Everything that comes from files stands in code spans, where nothing is a mention, a link, an image or HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from reconciler.review.plan import sentences as wording
from reconciler.review.plan.differences import Phrase
from reconciler.review.plan.model import FleetPlan
from reconciler.review.plan.sentences import GRAVE, Block, Item, outline
from reconciler.review.validate.text import code_span
from reconciler.visible import visible

MARKER: Final = "<!-- reconciler plan -->"
"""The first line: whoever keeps one comment up to date finds it by this."""
LARGEST: Final = 60_000
"""Of at most 65,536 characters that GitHub takes; counted in bytes of UTF-8, to be safe anywhere."""
_UNFOLDED: Final = 6
"""So many details are shown without being folded away."""


def render(plan: FleetPlan, largest: int = LARGEST) -> str:
    """The whole comment, of at most `largest` bytes.

    Where that is too little, details are left out first, then facts, then items from the end, and their number told.
    """
    count = wording.count_line(plan)
    head = f"{MARKER}\n**Plan: {count}**\n\n{_said(wording.compared(plan))}\n"
    head += "".join(f"\n{_said(said)}\n" for said in plan.basis)
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


def _said(phrase: Phrase) -> str:
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
    brief = f"- {span(item.name)} {_said(item.about)}\n"
    if item.is_strong:
        brief = f"- **{span(item.name)}** {_said(item.about).replace(wording.REAL, f'**{wording.REAL}**', 1)}\n"
    brief += "".join(f"  - **{_said(warning)}**\n" for warning in item.warnings)
    facts = "".join(f"  - {_said(fact)}\n" for fact in item.facts)
    details = "".join(f"  - {_said(detail)}\n" for detail in item.details)
    if len(item.details) > _UNFOLDED:
        summary = f"<details><summary>{len(item.details):,} differences</summary>"
        details = f"\n  {summary}\n\n{details}\n  </details>\n\n"
    if item.link:
        facts += f"  - [the difference]({item.link})\n"
    config = "".join(f"  - {_said(one)}\n" for one in item.config)
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
