"""Makers of the values that reports are made from."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st

from reconciler.errors import Problem
from reconciler.records.evaluation import Evaluation
from reconciler.records.snapshot import Snapshot, SourceFile
from reconciler.review.validate.report import Report

STRATEGY = b"""\
from reconciler.strategy import Strategy


class Drift(Strategy):
    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {"type": "object", "properties": {"levels": {"type": "integer"}}}

    def on_tick(self):
        pass
"""


@pytest.fixture
def evaluation() -> Callable[..., Evaluation]:
    def make(path: str, *problems: Problem) -> Evaluation:
        return Evaluation(path, "", None, None, None, "", "", "", problems)

    return make


@pytest.fixture
def snapshot() -> Callable[..., Snapshot]:
    """A snapshot of these files, paths → bytes, beside one good strategy, `drift`."""

    def make(files: dict[str, bytes], halt: bytes | None = None) -> Snapshot:
        def source(path: str, data: bytes) -> SourceFile:
            return SourceFile(path, data, f"digest of {path}", committed=False)

        files = {**files, "strategies/drift.py": STRATEGY}
        return Snapshot(
            instances=tuple(source(p, d) for p, d in sorted(files.items()) if p.startswith("instances/")),
            templates=(),
            strategies=tuple(source(p, d) for p, d in sorted(files.items()) if p.startswith("strategies/")),
            halt=None if halt is None else source("instances/_halt.yaml", halt),
            revision=None,
            clean=False,
            whole=True,
        )

    return make


RUNNER = ("\n::error::x", "::add-mask::y", "##[add-path]/z", "%0A::", "%25", ": ,")
MARKUP = ("](https://a.example)", "![](b)", "<script>", "`", "``` `", "|---|", "@everyone", "#1", "\r\n# c", "\\")
DATA = ("]]>", "&lt;", "{0}", "'", '"', ", was ", "  hint: ", " ")
UNSEEN = ("\x1b[31m", "\u202e", "\u2028", "\ud800", "\ufffe", "\x00")
HOSTILE = st.sampled_from((*RUNNER, *MARKUP, *DATA, *UNSEEN))
ANY_TEXT = st.lists(HOSTILE | st.text(st.characters(exclude_categories=()), max_size=4), max_size=4).map("".join)
PLACES = st.just((0, 0)) | st.tuples(st.integers(1, 9_999), st.integers(1, 999))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    path = draw(ANY_TEXT.filter(bool) | st.sampled_from(["instances/a.yaml", "strategies/grid.py"]))
    rule = draw(st.sampled_from(["", "mode-step", "secret-literal", "schema-type", "of-tomorrow"]))
    return Problem(path, *draw(PLACES), draw(ANY_TEXT), draw(ANY_TEXT), draw(ANY_TEXT), rule)


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Reports on any text, some with more problems than any server shows."""
    found = draw(st.lists(problems(), max_size=14))
    folder = draw(st.sampled_from(["", "desk/fleet/"]))
    valid = dict.fromkeys(draw(st.sets(ANY_TEXT.filter(bool), max_size=3)), ())
    own = {problem.path: (problem,) for problem in found[::2]}
    return Report(tuple(sorted(set(found))), {**valid, **own}, folder)


st.register_type_strategy(Report, reports())
"""So that a test that is `@given(...)` a report gets any report."""
