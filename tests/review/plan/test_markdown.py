"""The comment on a pull request: harmless whatever the files say, bounded, and the gravest first."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from reconciler.review.plan.model import FleetPlan, Point
from reconciler.review.plan.plan_formats import LARGEST, MARKER, as_markdown, span
from tests.drawing import drawn
from tests.review.plan.conftest import World, fleet, instance, planned
from tests.review.plan.hostile import MARK, PLANS, WORDS

PARSER = MarkdownIt("commonmark", {"html": True})
OURS = {
    *("paragraph_open", "paragraph_close", "heading_open", "heading_close", "inline"),
    *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
    *("text", "softbreak", "code_inline", "strong_open", "strong_close", "html_block"),
}
HTML = re.compile(r"<!-- reconciler plan -->|<details><summary>[0-9,]+ [a-z]+</summary>|</details>")
WORDING = re.compile(r"[\w ,;:.()→–-]*")


def tokens(markdown: str) -> Iterator[Token]:
    for token in PARSER.parse(markdown):
        yield token
        yield from token.children or ()


@settings(max_examples=drawn(40))
@given(plan=PLANS)
def test_what_files_say_stands_in_code_spans_and_nowhere_else(plan: FleetPlan) -> None:
    """So no mention, link, image, HTML, heading or list of theirs: what is outside is words of ours."""
    for token in tokens(as_markdown(plan)):
        assert token.type in OURS
        if token.type == "html_block":
            for line in token.content.splitlines():
                assert HTML.fullmatch(line.strip()) or not line.strip()
        elif token.type == "text":
            assert MARK not in token.content
            assert WORDING.fullmatch(token.content), token.content
        elif token.type == "code_inline":
            assert token.content.isprintable()


@given(words=WORDS | st.text() | st.text("` "))
def test_a_code_span_holds_exactly_what_it_was_given(words: str) -> None:
    children = [token for token in tokens(f"- before {span(words)} after") if token.type in OURS - {"inline"}]
    (code,) = [token for token in children if token.type == "code_inline"]
    if words.isprintable() and words.strip():
        assert code.content == words


@settings(max_examples=drawn(40))
@given(plan=PLANS, largest=st.integers(3_000, 6_000))
def test_it_is_never_larger_than_it_may_be_and_counts_what_it_leaves_out(plan: FleetPlan, largest: int) -> None:
    assert len(as_markdown(plan, largest).encode()) <= max(largest, 4_500)


def test_it_begins_with_the_marker_and_one_line_that_sums_it_up() -> None:
    lines = as_markdown(planned(World(fleet(instance("a"))), World(fleet(instance("a", "active"))))).splitlines()
    assert lines[:4] == [
        MARKER,
        "**Plan: 1 starts trading (1 real money)**",
        "",
        "`HEAD` at `feedfeedfeed`, compared with `origin/main (merge base 1a2b3c4d)`",
    ]


def test_what_starts_to_trade_real_money_comes_first_and_in_bold() -> None:
    old = fleet(instance("a", config="levels: 1"), instance("b", account="play"), instance("z"))
    new = fleet(instance("a", config="levels: 2"), instance("b", "active", account="play"), instance("z", "active"))
    body = as_markdown(planned(World(old), World(new)))
    assert "#### Starts to trade: **REAL MONEY**\n\n- **`z`** **REAL MONEY** on account `main` as `desk-a`" in body
    assert body.index("`z`") < body.index("\n- `b` paper money") < body.index("#### Reloads") < body.index("`a`")


def test_real_money_is_in_bold_where_it_is_traded_with_already() -> None:
    old, new = fleet(instance("a", "active", "levels: 1")), fleet(instance("a", "active", "levels: 2"))
    body = as_markdown(planned(World(old), World(new)))
    assert "#### Changes while active: **REAL MONEY**\n\n- **`a`** **REAL MONEY** on account `main`" in body


def test_nothing_to_do_is_said() -> None:
    body = as_markdown(FleetPlan(Point("origin/main"), Point("HEAD")))
    assert body == f"{MARKER}\n**Plan: nothing to do**\n\n`HEAD`, compared with `origin/main`\n"


def test_many_differences_are_folded_away() -> None:
    note = ", ".join(f"k{n}: {{}}" for n in range(20))
    plan = planned(
        World(fleet(instance("a", config=f"note: {{{note.format(*['1'] * 20)}}}"))),
        World(fleet(instance("a", config=f"note: {{{note.format(*['2'] * 20)}}}"))),
    )
    body = as_markdown(plan)
    assert "<details><summary>20 differences</summary>" in body
    assert [t.content.strip() for t in tokens(body) if t.type == "html_block"][-1] == "</details>"
    assert "`config.note.k19`: `1` → `2`" in body


@pytest.mark.parametrize("count", [300, 1_200])
def test_of_too_much_the_gravest_stays_and_the_rest_is_counted(count: int) -> None:
    ids = [f"bot-{number:04}" for number in range(count)]
    old = {**fleet(*map(instance, ids)), **fleet(instance("zz-real"))}
    new = {**fleet(*(instance(i, config="levels: 6") for i in ids)), **fleet(instance("zz-real", "active"))}
    plan = planned(World(old), World(new))
    body = as_markdown(plan)
    assert len(body.encode()) <= LARGEST
    assert "**`zz-real`** **REAL MONEY**" in body
    assert "mode observe → active (`instances/zz-real.yaml:5`)" in body
    shown = len(re.findall(r"^- `bot-", body, re.M))
    left_out = re.findall(r"and ([0-9,]+) more, not shown here", body)
    assert shown + (int(left_out[0].replace(",", "")) if left_out else 0) == count
    assert (count == 1_200) == bool(left_out)


def test_of_whom_details_are_left_out_is_counted() -> None:
    ids = [f"bot-{number:03}" for number in range(400)]
    old = {**fleet(*map(instance, ids)), **fleet(*(instance(f"z{n}") for n in range(3)))}
    new = {**fleet(*(instance(i, "active") for i in ids)), **fleet(*(instance(f"z{n}", "off") for n in range(3)))}
    body = as_markdown(planned(World(old), World(new)))
    start = body[body.index("#### Starts to trade") : body.index("#### Unloads")]
    assert len(re.findall(r"^- \*\*`bot-", start, re.M)) == 400
    (told,) = re.findall(r"^- details of ([0-9]+) left out for length: all are in the JSON", start, re.M)
    assert 0 < int(told) == 400 - len(re.findall("why: ", start))
    assert "left out" not in as_markdown(planned(World(fleet(instance("a"))), World(fleet(instance("a", "active")))))


def test_a_value_that_is_very_long_is_cut_where_it_differs() -> None:
    plan = planned(
        World(fleet(instance("a", config=f"note: {'x' * 5000}old"))),
        World(fleet(instance("a", config=f"note: {'x' * 5000}new"))),
    )
    body = as_markdown(plan)
    assert len(body) < 1_000
    assert 'xold"`' in body
    assert 'xnew"`' in body
