"""Plans in which every foreign word was written by somebody who means harm. Each such word has `MARK` in it."""

from __future__ import annotations

from hypothesis import strategies as st

from reconciler.errors import Problem
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row
from reconciler.records.snapshot import MergedChange, SignedBy
from reconciler.review.plan.differences import ABSENT, Difference, Hidden, phrase
from reconciler.review.plan.model import (
    AccountChange,
    Change,
    CodeChange,
    FleetPlan,
    HaltChange,
    HeldRemoval,
    Money,
    Point,
    ProposedCommit,
    Refused,
    RunsOn,
    Section,
    SettingsChange,
)

MARK = "Ω"

_MARKUP = "` `` ``` `` ` \\ \\` <b> </details> <!-- --> <script> &lt; @team #1 ](http://evil.example) ![x](y) [x]:y"
_WORSE = "https://evil.example www.evil.example ** __ ~~~ | $`x`$ :tada: {} {0} %s →"
_UNSEEN = ["\n", "\r\n", "\n\n# x", "\n- x", "\n```\n", " ", "\t", "\x1b[31m", "\u202e", "\u200b", "\u2028", "\ud800"]
_HARM = st.sampled_from([*_MARKUP.split(), *_WORSE.split(), *_UNSEEN])
_PART = st.lists(_HARM | st.characters(exclude_categories=()), max_size=3).map("".join)
WORDS = st.builds(lambda before, after: f"{before}{MARK}{after}", _PART, _PART)
IDS = st.sampled_from(["a", "btc-grid-1", "0"])
_MODES = st.sampled_from(Mode)
_MONEY: st.SearchStrategy[Money] = st.sampled_from(["real", "paper", "unknown"])
_VALUES = st.one_of(
    st.just(ABSENT),
    st.builds(Hidden, WORDS),
    WORDS,
    st.lists(WORDS, max_size=3),
    st.dictionaries(WORDS, WORDS, max_size=2),
)
_PHRASES = st.lists(st.builds(phrase, st.just("says {}, and {}"), WORDS, WORDS), max_size=2).map(tuple)
_DIFFERENCES = st.builds(
    Difference,
    WORDS.map(lambda words: f'config["{words!r}"]'.replace("\\", "")),
    _VALUES,
    _VALUES,
    WORDS | st.just(""),
    WORDS | st.just(""),
    st.sampled_from([None, "wider", "removed", "tighter", "added"]),
)
_STANDING = st.builds(RunsOn, IDS, _MODES, WORDS, _MONEY)
_STANDINGS = st.lists(_STANDING, max_size=2).map(tuple)
_PROBLEMS = st.lists(
    st.builds(Problem, WORDS, st.integers(0, 9), st.integers(1, 9), WORDS, WORDS, WORDS | st.just("")), max_size=5
)


@st.composite
def _rows(draw: st.DrawFn) -> Row:
    limits = draw(st.dictionaries(st.sampled_from(["max_position", "max_open_orders"]), WORDS, max_size=2))
    record = InstanceRecord(
        draw(IDS),
        Identity(draw(WORDS), draw(WORDS), draw(WORDS), draw(WORDS)),
        draw(_MODES),
        {},
        {},
        values={"limits": limits},
    )
    return Row(record, draw(WORDS), 1, "v", "c", "f", draw(WORDS), None, draw(st.booleans()), "")


@st.composite
def _changes(draw: st.DrawFn) -> Change:
    section, row = draw(st.sampled_from(Section)), draw(_rows())
    after = None if section in (Section.UNLOAD, Section.STOP) else row
    before = row if after is None or section is Section.MOVED else draw(st.none() | _rows())
    return Change(
        section,
        draw(st.sampled_from(["load", "unload", "reload", "in-place", "none"])),
        before,
        after,
        draw(_MONEY),
        draw(_PHRASES),
        draw(_PHRASES),
        draw(_PHRASES),
        tuple(draw(st.lists(_DIFFERENCES, max_size=8))),
        draw(WORDS),
    )


_HALTS = st.builds(Halt, st.just("account"), WORDS, st.booleans(), WORDS, WORDS, st.just(""))
_REFUSED = st.builds(
    Refused,
    WORDS,
    st.none() | IDS,
    st.sampled_from(["refused", "invalid", "waiting"]),
    WORDS,
    _PROBLEMS.map(tuple),
    st.none() | _STANDING,
)
_ACCOUNTS = st.builds(
    AccountChange,
    WORDS,
    st.sampled_from(["added", "removed", "changed"]),
    _PHRASES,
    st.lists(IDS, max_size=2).map(tuple),
)
_COMMITS = st.builds(
    MergedChange,
    *(WORDS for _ in range(6)),
    signed_by=st.none() | st.builds(SignedBy, WORDS, WORDS, st.sampled_from(["ssh", "forge"])),
    claimed_approvals=st.lists(WORDS, max_size=2).map(tuple),
)
PLANS = st.builds(
    FleetPlan,
    st.builds(Point, WORDS, st.none() | WORDS),
    st.builds(Point, WORDS, st.none() | WORDS),
    st.lists(_changes(), max_size=3, unique_by=lambda change: change.id).map(tuple),
    st.lists(_REFUSED, max_size=2).map(tuple),
    st.builds(HeldRemoval, _STANDINGS, _STANDINGS, _STANDINGS, WORDS),
    st.lists(st.builds(CodeChange, WORDS, WORDS, WORDS, _STANDINGS, _STANDINGS), max_size=2).map(tuple),
    st.lists(st.builds(HaltChange, st.sampled_from(["declared", "lifted", "changed"]), _HALTS), max_size=2).map(tuple),
    st.builds(SettingsChange, st.booleans(), st.lists(_ACCOUNTS, max_size=2).map(tuple)),
    commits=st.lists(st.builds(ProposedCommit, _COMMITS, WORDS), max_size=2).map(tuple),
)
