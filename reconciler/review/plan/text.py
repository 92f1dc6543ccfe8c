"""A plan for the terminal. Reads without colour and in narrow windows; bold only adds to the words. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from reconciler.review.plan import sentences as wording
from reconciler.review.plan.differences import Phrase
from reconciler.review.plan.model import FleetPlan
from reconciler.review.plan.sentences import Block, Item, outline
from reconciler.visible import visible

_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_NARROWEST = 40
_WIDEST_NAME = 32


def render(plan: FleetPlan, width: int | None = None, bold: bool = False) -> str:
    """The plan, its counts on the last line. `width` is the terminal's, None where lines may be of any length.

    `bold` allows the escape codes for it; without, no control character is ever in the text, whatever files say.
    """
    return "\n".join(_Text(width, bold).lines(plan))


class _Text:
    def __init__(self, width: int | None, bold: bool) -> None:
        self._width = None if width is None else max(width, _NARROWEST)
        self._bold = bold

    def lines(self, plan: FleetPlan) -> Iterator[str]:
        yield from self._wrapped(_said(wording.compared(plan)))
        for said in plan.basis:
            yield from self._wrapped(_said(said))
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
        head = f"{item.sign} {visible(item.name):<{column}}  {_said(item.about)}"
        yield from self._wrapped(head, below=" " * 6, is_strong=item.is_strong)
        for warning in item.warnings:
            yield from self._wrapped(f"! {_said(warning)}", " " * 4)
        for fact in item.facts:
            yield from self._wrapped(_said(fact), " " * 4)
        if item.link:
            yield " " * 4 + f"the difference: {item.link}"
        for detail in item.details:
            yield from self._wrapped(_said(detail), " " * 6)
        if item.config:
            yield from self._wrapped(item.runs, " " * 4)
        for one in item.config:
            yield from self._wrapped(_said(one), " " * 6)

    def _wrapped(self, line: str, indent: str = "", below: str = "", is_strong: bool = False) -> Iterator[str]:
        lines = [indent + line]
        if self._width is not None and len(lines[0]) > self._width:
            further = below or f"{indent}  "
            lines = textwrap.wrap(
                line, self._width, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False
            )
        for text in lines:
            yield f"{_BOLD}{text}{_PLAIN}" if is_strong and self._bold else text


def _said(phrase: Phrase) -> str:
    return phrase.render(visible)
