"""Plain files are read as the parser reads them, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yaml._yaml import CParser

from reconciler.clock import SystemClock
from reconciler.documents.document import Document, Walk, parse
from reconciler.documents.scalars import values_of
from reconciler.documents.syntax import loose_problems
from tests.drawing import drawn

ROOT = Path(__file__).parents[2]
CORPUS = sorted(
    path for folder in ("instances", "tests/cases") for path in (ROOT / folder).rglob("*.y*ml") if path.is_file()
)
INSTANCE = """\
# yaml-language-server: $schema=../schemas/instance.schema.json
id: btc-grid-1                # the file's name
strategy_type: grid
account:
  account_id: main

  client_id: 'desk a'
market: BTC/USD
mode: off
labels: {team: majors, region: "e u",  level: 010 }
config:
  levels: 5
  spacing: 0.5
  ladder:   # of two
    up: -3
    down: true
  nothing:
x-notes: {}
description: It's a grid, (on the pair); 50% of it
"""

WORDS = """
x off true null ~ 1 -1 +1 010 0x1F 0o7 1e3 .5 5. -.5 1.5.1 .inf -.inf .nan 99999999999999999999 1e999 2026-01-31 1:30:00
a:b a#b x\\y x%y (x) x;y x/y+z_w it's a' a" -- --- ... x... - ? : | > >- |2 &a *a !x %x @x ` [ [] { } {} {a} {a:b} 'a "
"""
PHRASES = [
    *("", " ", "a: b", "a :b", "a #b", "# b", "x # b", "x  y", "x, y", "x - y", "x -", "- x", "? x", ": x", "&a x"),
    *("!!str x", "'it''s'", "'a' b", '"a" b', '"a\\n"', '"a\tb"', "''", '""', '"#"', "'# a'", "|\n  x", "[a, b]"),
    *("{ }", "{a: }", "{a: b}", "{a: b,}", "{a: b, a: c}", "{a: b, c: {d: e}}", "{a: [b]}", "{a: b c, d: 'e'}"),
    *("{true: x}", "{a: b} ", "{a: b} # c", "{a: b} c", "{a: b #c}", "{a: 'b,c', d: 1}", "{a: b, c: .nan}"),
    *("é", "x\u0085y", "x\u2028y", "\ufeff", "x\x00", "x\x7f", "x\t", "\tx", "x\r"),
]
ALONE = ["", "  ", "# comment", "   # comment", "---", "...", "%YAML 1.2", "- a", "  - a: b", "\t", "#\x01"]
KEYS = st.sampled_from(
    ["a", "b", "c-d", "_e", "f", "x9", "true", "null", "no", "9", "-a", "a b", "<<", "?", '"q"', "Ñ"]
)
COLONS = st.sampled_from([": ", ": ", ":", ":  ", " : "])
INDENTATIONS = st.sampled_from(["", "", "  ", "  ", "    ", " ", "   "])
VALUES = st.sampled_from([*WORDS.split(), *PHRASES])
LINES = (
    st.tuples(INDENTATIONS, KEYS, COLONS, VALUES).map("".join)
    | st.tuples(INDENTATIONS, VALUES).map("".join)
    | st.sampled_from(ALONE)
)
TEXTS = st.builds(lambda lines, end: "\n".join(lines) + end, st.lists(LINES, max_size=12), st.sampled_from(["", "\n"]))


def assert_alike(data: bytes) -> bool:
    """True where the file is plain; then the parser says the same, and no other reader anything else."""
    values = values_of(data)
    if values is None:
        return False
    document = parse(data, "instances/a.yaml")
    assert isinstance(document, Document), document
    assert json.dumps(values) == json.dumps(document.values)  # `==` would take 1 for 1.0 and True
    walk = Walk()
    walk.run(CParser(data).get_event)
    assert not list(loose_problems(data.decode(), walk.events, "instances/a.yaml")), "the parser is not asked for them"
    return True


@given(TEXTS)
@settings(max_examples=drawn(1_000))
@example("a: x\n  y: z\n")
@example("a: |\n\nb: x\n")
@example("a:\n  b: x\n c: y\n")
@example("a: 'x'\nb: 'y\n'\n")
@example("  a: x\n")
@example("a: x\n...\nb: y\n")
@example("a: x\n---\nb: y\n")
def test_any_lines(text: str) -> None:
    assert_alike(text.encode("utf-8", "surrogatepass"))


@given(st.data())
@settings(max_examples=drawn(1_000))
def test_an_instance_in_which_something_was_changed(data: st.DataObject) -> None:
    text = INSTANCE
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text)))
        gone = data.draw(st.integers(0, 3))
        put = data.draw(st.one_of(VALUES, st.sampled_from(list(" \n:#-{},'\"\t&*!|>%@`?[]\\")), st.just("\n  ")))
        text = text[:at] + put + text[at + gone :]
    assert_alike(text.encode("utf-8", "surrogatepass"))


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    assert_alike(data)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_the_corpus(path: Path) -> None:
    assert_alike(path.read_bytes())


def test_what_instance_files_are_made_of_is_plain() -> None:
    assert assert_alike(INSTANCE.encode())
    assert assert_alike(INSTANCE.rstrip("\n").encode())
    assert all(assert_alike(path.read_bytes()) for path in (ROOT / "instances").glob("*.yaml"))


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "[]\n", "a\n", "a: x\r\nb: y\r\n", "a: é\n", "a: x\na: y\n"])
def test_the_rest_is_left_to_the_parser(text: str) -> None:
    assert values_of(text.encode()) is None


def test_what_is_large_or_deep_is_left_to_the_parser() -> None:
    def nested(depth: int) -> bytes:
        return "".join(f"{' ' * n}a:\n" for n in range(depth)).encode()

    assert assert_alike(nested(17))
    assert values_of(nested(18)) is None
    assert assert_alike(b"a: x\n" + b"#" * 16_000)
    assert values_of(b"a: x\n" + b"#" * 16_384) is None


@pytest.mark.parametrize(
    "text",
    ["#" * 16_000 + "\x01", "a: b" + " " * 8_000 + "c" + " " * 8_000 + ":", "a: {" + "a: b, " * 2_600, "a:" * 8_000],
    ids=["comment", "spaces", "mapping", "keys"],
)
def test_that_a_file_is_not_plain_is_found_in_linear_time(text: str) -> None:
    began = SystemClock().monotonic()
    assert values_of(text.encode()) is None
    assert SystemClock().monotonic() - began < 0.5
