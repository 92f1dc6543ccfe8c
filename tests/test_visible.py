"""Nothing that others wrote acts on whoever reads it: on a terminal, in the log, in JSON."""

from __future__ import annotations

import ast
import json
import logging
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reconciler.cli
from reconciler.cli.output import Failure, print_json, print_json_line, print_table, say, tell
from reconciler.logfmt import LogFormatter, foreign_code_told
from reconciler.visible import is_printable, visible, visible_json, visible_lines

EVIL = "\x1b]0;TITLE\x07 \x1b[31mRED\x9b31m\u202e\u2066\x7f\r\nFORGED 2026-01-01 unhalted\u2028x"
ESCAPED = r"\x1b]0;TITLE\x07 \x1b[31mRED\x9b31m\u202e\u2066\x7f\r\nFORGED 2026-01-01 unhalted\u2028x"
PRINTERS = ("output.py", "failure.py")
"""Who writes to stdout or stderr itself."""

texts = st.text(st.characters(exclude_categories=()))


def is_seen(text: str) -> bool:
    return is_printable(text)


@given(texts)
def test_no_text_has_anything_hidden_or_a_line_of_its_own(text: str) -> None:
    assert is_seen(visible(text))
    assert visible(visible(text)) == visible(text)
    assert visible_lines(text).count("\n") == text.count("\n")
    assert is_seen(visible_lines(text).replace("\n", "").replace("\t", ""))


@given(texts, st.sampled_from([None, 2]))
def test_json_hides_nothing_and_reads_back_as_it_was(text: str, indent: int | None) -> None:
    written = visible_json(json.dumps({text: [text]}, ensure_ascii=False, indent=indent))
    assert is_seen(written.replace("\n", ""))
    assert json.loads(written) == {text: [text]}


@pytest.mark.parametrize(
    "printed",
    [
        lambda: say(EVIL),
        lambda: say(EVIL, alarming=True),
        lambda: tell(EVIL),
        lambda: Failure(EVIL).show(),
        lambda: print_table(("A", "B"), [("a", EVIL)]),
        lambda: print_json({EVIL: EVIL}),
        lambda: print_json_line({EVIL: EVIL}),
    ],
)
def test_whatever_a_command_prints_has_lines_of_ours_only(
    printed: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    printed()  # type: ignore[operator]
    captured = capsys.readouterr()
    shown = captured.out + captured.err
    for bad in ("\x1b]", "\x1b[31mRED", "\x9b", "\u202e", "\u2066", "\x7f", "\u2028", "\r", "\nFORGED"):
        assert bad not in shown, repr(bad)


def test_several_lines_are_said_as_several() -> None:
    assert str(Failure("one", f"two{EVIL}")) == f"one\ntwo{ESCAPED}"


def test_no_command_prints_past_the_one_place_that_escapes() -> None:
    folder = Path(reconciler.cli.__file__).parent
    found = [
        (path.name, node.lineno)
        for path in folder.glob("*.py")
        if path.name not in PRINTERS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "click.echo", "click.secho")
    ]
    assert found == []


def test_a_line_of_the_log_is_one_line_and_a_traceback_stands_indented() -> None:
    try:
        raise ValueError(EVIL)
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "it failed: %s", (EVIL,), sys.exc_info())
    record.error = EVIL
    first, *rest = LogFormatter().format(record).split("\n")
    assert f"ERROR it failed: {ESCAPED} error=" in first
    assert is_seen("".join((first, *rest)))
    assert len(rest) > 3
    assert all(line.startswith("  ") for line in rest)


@pytest.mark.parametrize("name", ["majors", "größe", "👩‍💻", "👩🏽‍🚀 crew", "❤️‍🔥", "🙂‍↔️.yaml", "🏳️‍🌈"])
def test_what_is_put_together_to_an_emoji_can_be_printed(name: str) -> None:
    assert is_printable(name)


@pytest.mark.parametrize(
    "name",
    [
        "a\u200db",
        "\u200d👩",
        "👩\u200d",
        "👩\u200da",
        "a\u202eb",
        "👩\u200f💻",
        "a\tb",
        "👩\u200d\u200d💻",
        "a\u200bb",
        "\udcff",
    ],
)
def test_what_hides_or_turns_text_around_can_not(name: str) -> None:
    assert not is_printable(name)


def test_what_foreign_code_prints_raises_and_warns_of_is_told_and_acts_on_no_terminal(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError(EVIL)

    before = sys.stdout
    with foreign_code_told():
        print(EVIL)
        print("half a", end="")
        print(" line\nand one")
        thread = threading.Thread(target=fail, name="own")
        thread.start()
        thread.join()
    assert sys.stdout is before
    shown = capfd.readouterr().out.replace("\r\n", "\n")
    assert all(line.startswith("| ") for line in shown.splitlines())
    assert "| half a line\n| and one\n" in shown
    assert is_seen(shown.replace("\n", ""))
    (record,) = caplog.records
    assert record.getMessage() == "a thread ended"
    assert vars(record)["named"] == "own"
