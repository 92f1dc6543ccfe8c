from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reconciler.documents.document import Document, Mark, parse
from reconciler.documents.scalars import resolve
from reconciler.errors import Problem


def read(text: str | bytes) -> Document:
    document = parse(text if isinstance(text, bytes) else text.encode(), "a.yaml")
    assert isinstance(document, Document), document
    return document


def refused(text: str | bytes) -> list[Problem]:
    problems = parse(text if isinstance(text, bytes) else text.encode(), "a.yaml")
    assert isinstance(problems, tuple), problems
    return list(problems)


def lines(text: str | bytes) -> list[str]:
    return [str(problem).removeprefix("a.yaml:") for problem in refused(text)]


def test_mappings_lists_and_scalars_become_plain_values() -> None:
    text = "a: off\nb: [1, 2.5, {c: ~}]\nd:\n  - x\n  -\n    - true\ne: |\n  two\n  lines\n'f': \"10\"\n"
    expected = {"a": "off", "b": [1, 2.5, {"c": None}], "d": ["x", [True]], "e": "two\nlines\n", "f": "10"}
    assert read(text).values == expected


def test_a_quoted_scalar_is_text_whatever_it_looks_like() -> None:
    assert read("a: 'null'\nb: \"010\"\nc: '<<'\n'1': x\n'<<': y\n").values == {
        "a": "null",
        "b": "010",
        "c": "<<",
        "1": "x",
        "<<": "y",
    }


def test_every_value_and_key_knows_its_line_and_column() -> None:
    document = read("# first\naccount:\n  id:   main\nlist: [a, {b: 1}]\nempty:\n")
    assert document.place(()) == Mark("a.yaml", 2, 1)
    assert document.place(("account",)) == Mark("a.yaml", 3, 3)
    assert document.key_place(("account",)) == Mark("a.yaml", 2, 1)
    assert document.place(("account", "id")) == Mark("a.yaml", 3, 9)
    assert document.key_place(("account", "id")) == Mark("a.yaml", 3, 3)
    assert document.place(("list", 0)) == document.key_place(("list", 0)) == Mark("a.yaml", 4, 8)
    assert document.key_place(("list", 1, "b")) == Mark("a.yaml", 4, 12)
    assert document.place(("list", 1, "b")) == Mark("a.yaml", 4, 15)
    assert document.place(("empty",)) == Mark("a.yaml", 5, 7)


def test_what_stands_nowhere_is_placed_at_its_nearest_ancestor() -> None:
    document = read("a:\n  b: 1\n")
    assert document.place(("a", "c", "d")) == Mark("a.yaml", 2, 3)
    assert document.place(("z",)) == Mark("a.yaml", 1, 1)


def test_columns_count_characters_not_bytes() -> None:
    assert read("{é中😀: x, b: y}").key_place(("b",)) == Mark("a.yaml", 1, 10)


def test_a_position_tells_the_path_of_what_stands_there() -> None:
    document = read("a:\n  key: some text\n  list: [x, y]\n# a comment\n")
    assert document.path_at(2, 8) == ("a", "key")
    assert document.path_at(2, 12) == ("a", "key")
    assert document.path_at(2, 3) == ("a", "key")
    assert document.path_at(3, 13) == ("a", "list", 1)
    assert document.path_at(4, 3) == ()


def test_a_byte_order_mark_and_crlf_change_nothing() -> None:
    document = read(b"\xef\xbb\xbfa: 1\r\nb:\r\n  c: off\r\n")
    assert document.values == {"a": 1, "b": {"c": "off"}}
    assert document.place(("a",)) == Mark("a.yaml", 1, 4)
    assert document.place(("b", "c")) == Mark("a.yaml", 3, 6)


NOT_FINITE = "expected a finite number, was "
NO_KEY = "expected a string as key, was "
CONTROL = "expected no control characters, was "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3\n", ['3:1: a: duplicate key "a": it is on line 1 already']),
        ("x:\n  a: 1\n  a: 2\n", ['3:3: x.a: duplicate key "a": it is on line 2 already']),
        ('a: 1\n"a": 2\n', ['2:1: a: duplicate key "a": it is on line 1 already']),
        ("l: [{a: 1, a: 2}]\n", ['1:12: l[0].a: duplicate key "a": it is on line 1 already']),
        ("1: a\n", ["1:1: expected a string as key, was 1"]),
        ("a: {true: b}\n", ["1:5: a: expected a string as key, was true"]),
        ("~: b\n", ["1:1: expected a string as key, was null"]),
        ("? [a, b]\n: c\n", ["1:3: expected a string as key, was a list"]),
        ("? {a: b}\n: {c: d}\ne: .inf\n", ["1:3: " + NO_KEY + "a mapping", "3:4: e: " + NOT_FINITE + ".inf"]),
        ("<<: {a: 1}\n", ["1:1: expected no merge key, was <<"]),
        ("a: &x 1\n", ["1:4: a: expected no anchor"]),
        ("a: &x [1]\n", ["1:4: a: expected no anchor"]),
        ("a: *x\n", ["1:4: a: expected a value, was an alias"]),
        ("a: [*x, .nan]\n", ["1:5: a[0]: expected a value, was an alias", "1:9: a[1]: " + NOT_FINITE + ".nan"]),
        ("a: !!str 5\n", ["1:4: a: expected no tag"]),
        ("a: ! 5\n", ["1:4: a: expected no tag"]),
        ("!x\na: 5\n", ["1:1: expected no tag"]),
        ("a: 1\n---\nb: 2\n", ["2:1: expected one document, was a second"]),
        ("a: 1\n...\nb: 2\n", ["3:1: expected the end of the file"]),
        ("a: 1e999\n", ["1:4: a: expected a number below 1.8e308"]),
        ("a: " + "9" * 5000, ["1:4: a: expected an integer of at most 64 bits"]),
        ("", ["1:1: expected a document, was an empty file"]),
        ("# nothing\n", ["1:1: expected a document, was an empty file"]),
        ("---\n", ["1:1: expected a document, was an empty file"]),
        ("\t", ["1:1: expected spaces, was a tab"]),
        ("a:\n\tb: 1\n", ["2:1: expected spaces, was a tab"]),
        ("a: |\n\tb\n  c", ["2:1: expected spaces, was a tab"]),
        ("a: b: c\n", ['1:5: expected no ":" here']),
        ("a: 1\n b: 2\n", ['2:3: expected no ":" here']),
        ("a: 1\nb\nc: 2\n", ['2:1: expected ":" after this key']),
        ("a: {b: c", ['1:9: expected "," or "}"']),
        ("a: [b, c\n\n", ['3:1: expected "," or "]"']),
        ("a: 'b\nc: d\n", ["1:4: expected a closing quote, was the end of the file"]),
        ("a: @b\n", ['1:4: expected a value, was "@"']),
        ('a: "\\q"\n', ["1:5: expected a known escape after the backslash"]),
        ("- a\nb: 1\n", ['2:1: expected an item beginning with "- "']),
        ("%YAML 1.1\n---\na: off\n", ["1:1: expected YAML 1.2, was 1.1"]),
        ('a: "\\x07"\n', ["1:4: a: expected text without control characters"]),
        ("a: 1\nb: \x00\nc: \x1b[31m\n", ["2:4: " + CONTROL + "U+0000", "3:4: " + CONTROL + "U+001B"]),
        ("a: b\u2028c: d\n", ["1:5: " + CONTROL + "U+2028"]),
        (b"a: 1\nb: \xff\n", ["2:4: expected UTF-8, was 0xff"]),
        (b"\xef\xbb\xbfa: \xe9\n", ["1:4: expected UTF-8, was 0xe9"]),
        ("é: 1".encode("utf-16"), ["1:1: expected UTF-8, was 0xff"]),
    ],
)  # fmt: skip
def test_what_yaml_allows_but_nobody_should_write_is_refused_by_line_and_column(
    text: str | bytes, expected: list[str]
) -> None:
    assert lines(text) == expected


def test_every_problem_of_a_file_is_reported_in_order_of_line() -> None:
    text = "a: .inf\n2: x\na: !t 1\nb: {<<: *y, c: 1, c: 2}\n\td: 1\n"
    assert lines(text) == [
        "1:4: a: expected a finite number, was .inf",
        "2:1: expected a string as key, was 2",
        '3:1: a: duplicate key "a": it is on line 1 already',
        "3:4: a: expected no tag",
        "4:5: b: expected no merge key, was <<",
        "4:9: b: expected a value, was an alias",
        '4:19: b.c: duplicate key "c": it is on line 4 already',
        "5:1: expected spaces, was a tab",
    ]


def test_utf_16_is_named_in_the_hint() -> None:
    assert refused("a: 1".encode("utf-16"))[0].hint == "save it as UTF-8, not as UTF-16"
    assert refused("a: 1".encode("utf-16-le"))[0].hint == "save it as UTF-8, not as UTF-16"


def test_what_is_wrong_everywhere_for_one_reason_is_told_once() -> None:
    assert len(refused("a: 1\nb: 2\nc: 3\n".encode("utf-16-le"))) == 1
    (lost,) = refused(b"\0" * 4096)
    assert (lost.line, lost.column) == (1, 1)
    assert lost.message == "expected YAML, was nothing but 4,096 bytes of zero, as a crash of the machine leaves files"
    assert lost.hint.startswith("restore it, from git: git checkout HEAD -- ")


def test_a_first_document_marker_and_yaml_1_2_are_fine() -> None:
    assert read("%YAML 1.2\n---\na: 1\n...\n").values == {"a": 1}


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


def test_32_levels_are_read_and_33_are_refused_at_the_bracket_that_is_too_many() -> None:
    assert isinstance(read(nested(32)).values, list)
    assert lines(nested(33)) == ["1:33: expected at most 32 levels"]
    assert lines("- " * 33 + "a") == ["1:65: expected at most 32 levels"]


@pytest.mark.parametrize(
    "text", ["[" * 50_000, "{a: " * 50_000, "- " * 50_000, "? " * 50_000, "[" * 25_000 + "]" * 25_000]
)
def test_fifty_thousand_brackets_are_refused_without_a_crash(text: str) -> None:
    assert [problem.message for problem in refused(text)][-1] == "expected at most 32 levels"


def test_20000_nodes_are_read_and_one_more_is_refused_where_it_stands() -> None:
    assert len(read("[" + "1," * 19_998 + "1]").values) == 19_999
    assert lines("[" + "1," * 19_999 + "1]") == [
        "1:40000: expected at most 20,000 values and keys, were 20,001 or more"
    ]


def test_256_kib_are_read_and_one_more_byte_is_refused() -> None:
    full = "a: " + "x" * (256 * 1024 - 3)
    assert isinstance(read(full).values, dict)
    assert [str(problem) for problem in refused(full + "x")] == ["a.yaml: expected at most 256 KiB, was 262,145 bytes"]


def test_thousands_of_duplicates_are_each_reported() -> None:
    assert len(refused("a: 1\n" * 5000)) == 4999


def test_a_key_that_looks_like_a_credential_is_never_shown() -> None:
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    (problem,) = refused(f"{key}: 1\n{key}: 2\n")
    assert key not in repr(problem)
    assert (problem.line, problem.column) == (2, 1)


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\xff\xfe")
@example(b"%\n")
@example(b"&")
@example(b"!<")
def test_no_bytes_make_it_raise(data: bytes) -> None:
    assert isinstance(parse(data, "a.yaml"), (Document, tuple))


# fmt: off
FRAGMENTS = (
    "a", "b", ":", ": ", "- ", "\n", "  ", "\t", "[", "]", "{", "}", ",", "? ", "&x ", "*x", "!t ", "<<", "'", '"',
    "|", ">", "#", "---\n", "...\n", "%YAML 1.1\n", "0", "-1", ".inf", "~", "é", "\\", "\r\n", "\ufeff",
)
# fmt: on


@settings(deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40))
def test_no_shuffled_yaml_makes_it_raise_and_every_problem_is_within_the_file(fragments: list[str]) -> None:
    text = "".join(fragments)
    found = parse(text.encode(), "a.yaml")
    if isinstance(found, tuple):
        assert found
        last = text.count("\n") + 1
        assert all(1 <= problem.line <= last and problem.column >= 1 for problem in found), found
    else:
        assert found.place(()).line >= 1


WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), max_size=8).filter(
    lambda word: isinstance(resolve(word), str)  # PyYAML writes 08 without quotes, since YAML 1.1 takes it for text
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(-1e300, 1e300), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES, st.sampled_from([None, False, True]))
def test_it_agrees_with_pyyaml_on_what_yaml_1_1_and_1_2_read_alike(values: Any, flow: bool | None) -> None:
    text = yaml.dump(values, Dumper=yaml.CSafeDumper, default_flow_style=flow, allow_unicode=True, default_style=None)
    written = yaml.load(text, Loader=yaml.CSafeLoader)
    found = parse(text.encode(), "a.yaml")
    assert isinstance(found, Document), (text, found)
    assert found.values == written == values


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{ ?id: a }\n", ['1:3: expected a space after this "?"']),
        ("[?x]\n", ['1:2: expected a space after this "?"']),
        ('{ ?"a": b }\n', ['1:3: expected a space after this "?"']),
        ("a: [-]\n", ['1:5: a[0]: expected a value, was a lone "-"']),
        ("- {a: -, b: c}\n", ['1:7: [0].a: expected a value, was a lone "-"']),
        ('a: "b"# c\n', ["1:7: expected a space before this #"]),
        ("a: [b]# c\n", ["1:7: expected a space before this #"]),
        ("a: [b,#c\n  d]\n", ["1:7: expected a space before this #"]),
        ("a: ># c\n  b\n", ["1:5: expected a space before this #"]),
        ("a: [b,\nc]\n", ["2:1: expected more than 0 spaces before this, were 0"]),
        ('a:\n  b: "c\n  d"\n', ["3:3: expected more than 2 spaces before this, were 2"]),
        ('a: "b\n\tc"\n', ["2:1: expected more than 0 spaces before this, were 0"]),
        ("- [\n\ta,\n b\n ]\n", ["2:1: expected more than 0 spaces before this, were 0"]),
        ("a: >\n   \n # c\n", ["2:1: expected at most 1 spaces in this empty line, were 3"]),
    ],
)
def test_what_other_readers_refuse_or_read_otherwise_is_refused_at_its_place(text: str, told: list[str]) -> None:
    assert lines(text) == told


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("?id: a\n", {"?id": "a"}),
        ("a: what?yes#no\n", {"a": "what?yes#no"}),
        ("a: '?x #y'#z: 1\n".replace("#z", " #z"), {"a": "?x #y"}),
        ("a: [b, # c#d\n  e]\n", {"a": ["b", "e"]}),
        ("a: [\n  b,\n# c\n\n  d\n]\n", {"a": ["b", "d"]}),
        ("a: {\n  b: c\n}\n", {"a": {"b": "c"}}),
        ("[\na,\nb\n]\n", ["a", "b"]),
        ('a: "b\n\n  c"\n', {"a": "b\nc"}),
        ("a: |\n  b#c\n  #d\n", {"a": "b#c\n#d\n"}),
        ("a: |1\n  \n b\n", {"a": " \nb\n"}),
        ("a: |\n  b\n   ", {"a": "b\n \n"}),
        ("- -\n", [[None]]),
    ],
)
def test_what_only_looks_like_it_is_read(text: str, values: Any) -> None:
    assert read(text).values == values


def test_what_git_leaves_of_a_merge_is_called_a_conflict() -> None:
    text = "id: a\n<<<<<<< ours\nmode: off\n||||||| base\nmode: active\n=======\nmode: observe\n>>>>>>> theirs\nb: c\n"
    (problem,) = refused(text)
    assert str(problem) == "a.yaml:2:1: expected a merged file, was a conflict: git's markers stand on lines 2 to 8"
    assert problem.hint.startswith("keep what is right of both sides")
    twice = "\n".join((text, text)).replace("\n", "\r\n")
    assert [problem.line for problem in refused(twice)] == [2, 12]
    assert [str(problem) for problem in refused("<<<<<<< ours\na: b\n")] == [
        "a.yaml:1:1: expected a merged file, was a conflict marker of git"
    ]


def test_a_conflict_in_what_is_yaml_all_the_same_is_one() -> None:
    assert [problem.rule for problem in refused("<<<<<<< ours\na\n=======\nb\n>>>>>>> theirs\n")] == ["conflict"]
    assert read("a: |\n  <<<<<<< ours\n  b\n").values == {"a": "<<<<<<< ours\nb\n"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id: a\nmode\uff1a active\n", '2:5: expected ":" here, was U+FF1A fullwidth colon'),
        ("id: a\nmode:\u00a0active\nb: c\n", "2:6: expected a space here, was U+00A0 no-break space"),
        ("a:\n\u3000b: c\n  d: e\n", "2:1: expected a space here, was U+3000 ideographic space"),
        ("a: [b\uff3d\n", '1:6: expected "]" here, was U+FF3D fullwidth right square bracket'),
        ("a:\n- b\n\u2013 c\n", '3:1: expected "-" here, was U+2013 en dash'),
    ],
)
def test_a_character_that_only_looks_like_the_one_meant_is_named(text: str, told: str) -> None:
    (problem,) = refused(text)
    assert str(problem) == f"a.yaml:{told}"
    assert "which only looks like it" in problem.hint


def test_a_pointer_of_git_lfs_is_called_that() -> None:
    (problem,) = refused("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    assert str(problem) == "a.yaml:1:1: expected the file itself, was what git LFS keeps in its place"
    assert problem.hint.startswith("run `git lfs pull`")
