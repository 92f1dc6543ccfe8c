"""Tables on terminals of any width: numbers are never cut, and what is left out is named."""

from __future__ import annotations

import sys

import click
import pytest

from reconciler.cli.output import Failure, hanging, laid_out, print_table, say

COLUMNS = ("ID", "STRATEGY", "TICKS", "REASON")
REASON = "a reason that goes on and on, and on, and on, and then for a while longer"
ROWS = [["btc-usd-grid", "grid", "1234567", "-"], ["eur-usd-dca", "sma_cross", "8", REASON]]
LEAST = ("STRATEGY", "ID")


@pytest.mark.parametrize(
    ("width", "kept"),
    [
        (200, COLUMNS),
        (58, COLUMNS),
        (57, ("ID", "TICKS", "REASON")),
        (46, ("TICKS", "REASON")),
        (5, ("TICKS", "REASON")),
    ],
)
def test_the_least_important_columns_go_first_and_only_as_many_as_must(width: int, kept: tuple[str, ...]) -> None:
    assert tuple(COLUMNS[index] for index in laid_out(COLUMNS, ROWS, LEAST, (), width).beside) == kept


def shown(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], str]:
    """The lines that a terminal of that width shows, colours left out; and what is said beside them."""
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(COLUMNS, ROWS, LEAST)
    captured = capsys.readouterr()
    return click.unstyle(captured.out).splitlines(), captured.err


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_nothing_is_ever_cut(width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    lines, _ = shown(width, capsys, monkeypatch)
    assert max(map(len, lines)) <= width
    assert any("1234567" in line for line in lines)
    begins = lines[0].index("REASON")
    assert " ".join(line[begins:].strip() for line in lines[2:]) == REASON


def test_where_no_table_fits_each_row_is_a_block_and_no_id_is_broken(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines, told = shown(24, capsys, monkeypatch)
    assert lines[:6] == [
        "id:       btc-usd-grid",
        "strategy: grid",
        "ticks:    1234567",
        "reason:   -",
        "",
        "id:       eur-usd-dca",
    ]
    assert lines[8:10] == ["reason:   a reason that", " " * 10 + "goes on and"]
    assert " ".join(line[10:] for line in lines[8:]) == REASON
    assert max(map(len, lines)) <= 24
    assert told == ""


def test_a_long_last_column_stands_below_its_row_and_leaves_the_room_to_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "instances/majors/btc-usd.yaml:17:11:"
    rows = [*ROWS, ["c", "grid", "9", f"{path} expected an integer"]]
    monkeypatch.setenv("COLUMNS", "44")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(COLUMNS, rows, ("REASON", *LEAST), beneath=("REASON",))
    captured = capsys.readouterr()
    assert [line.rstrip() for line in click.unstyle(captured.out).splitlines()] == [
        "ID            STRATEGY   TICKS",
        "btc-usd-grid  grid       1234567",
        "eur-usd-dca   sma_cross  8",
        "    a reason that goes on and on, and on,",
        "    and on, and then for a while longer",
        "c             grid       9",
        f"    {path}",
        "    expected an integer",
    ]
    assert captured.err == ""
    print_table(COLUMNS, [["a", "grid", "1", "short"]], ("REASON", *LEAST), beneath=("REASON",))
    assert "grid      1      short" in click.unstyle(capsys.readouterr().out)


@pytest.mark.parametrize("width", [60, 80])
def test_behind_a_name_no_word_is_broken(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    value = f"True  Applied  {REASON}  (since 2026-11-30T10:30:22.137Z)"
    assert hanging("Accepted:   ", value) == [f"Accepted:   {value}"]
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    first, *others = hanging("Accepted:   ", value)
    assert first.startswith("Accepted:   True  Applied  a reason")
    assert others
    assert all(line.startswith(" " * 12) for line in others)
    assert max(len(line) for line in (first, *others)) <= width
    assert {*f"{first} {' '.join(others)}".split()} == {"Accepted:", *value.split()}


def test_words_have_colours_where_a_terminal_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_table(("A", "B"), [["Stuck", "x"]], styles={"Stuck": "red"})
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(("A", "B"), [["Stuck", "x"]], styles={"Stuck": "red"})
    assert "\x1b[31mStuck\x1b[0m" in capsys.readouterr().out


def test_who_wants_colours_in_a_pipe_gets_them_in_cells_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_table(("A", "B"), [["Stuck", "x"]], styles={"Stuck": "red"})
    assert "\x1b[31mStuck\x1b[0m" in capsys.readouterr().out


def test_what_is_left_out_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(200, capsys, monkeypatch)[1] == ""
    told = shown(40, capsys, monkeypatch)[1]
    assert told == "left out for want of room: ID, STRATEGY; widen the terminal, or pipe this through: less -S\n"


def test_a_pipe_gets_everything_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(COLUMNS, ROWS, LEAST)
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    assert REASON in captured.out
    assert captured.err == ""


ORDERS = ("CREATED", "INSTANCE", "ORDER", "SIDE", "FILLED", "REASON")
ORDER_ROWS = [
    ["2026-11-30T14:59:22Z", "btc-usd-grid", "8fl267loyw3v28l39j", "buy", "0.0025", "-"],
    ["2026-11-30T14:59:23Z", "eur-usd-dca", "8fl267loyw3v28l39k", "sell", "0", REASON],
]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (
            68,
            [
                "CREATED               INSTANCE      ORDER               SIDE  FILLED",
                "2026-11-30T14:59:22Z  btc-usd-grid  8fl267loyw3v28l39j  buy   0.0025",
            ],
        ),
        (
            60,
            [
                "CREATED               INSTANCE      SIDE  FILLED",
                "    ORDER",
                "2026-11-30T14:59:22Z  btc-usd-grid  buy   0.0025",
                "    8fl267loyw3v28l39j",
                "2026-11-30T14:59:23Z  eur-usd-dca   sell  0",
                "    8fl267loyw3v28l39k",
                "    a reason that goes on and on, and on, and on, and then",
                "    for a while longer",
            ],
        ),
        (
            40,
            [
                "CREATED               SIDE  FILLED",
                "    INSTANCE      ORDER",
                "2026-11-30T14:59:22Z  buy   0.0025",
                "    btc-usd-grid  8fl267loyw3v28l39j",
                "2026-11-30T14:59:23Z  sell  0",
                "    eur-usd-dca   8fl267loyw3v28l39k",
                "    a reason that goes on and on, and",
                "    on, and on, and then for a while",
                "    longer",
            ],
        ),
        (
            30,
            [
                "SIDE  FILLED",
                "    CREATED INSTANCE ORDER",
                "buy   0.0025",
                "    2026-11-30T14:59:22Z",
                "    btc-usd-grid",
                "    8fl267loyw3v28l39j",
            ],
        ),
    ],
)
def test_what_gives_way_stands_in_a_second_line_and_no_id_or_time_is_broken(
    width: int, expected: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    least = ("REASON", "ORDER", "INSTANCE", "CREATED")
    print_table(ORDERS, ORDER_ROWS, least, beneath=least)
    captured = capsys.readouterr()
    lines = [line.rstrip() for line in click.unstyle(captured.out).splitlines()]
    assert lines[: len(expected)] == expected
    assert captured.err == ""


def test_a_second_line_has_the_colours_of_the_first(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(
        ("ID", "SYNC", "NOTES"),
        [["btc-usd-grid-1", "Invalid", "-"]],
        ("NOTES", "SYNC"),
        {"Invalid": "red"},
        beneath=("SYNC",),
    )
    assert "    \x1b[31mInvalid\x1b[0m" in capsys.readouterr().out


def test_what_is_said_is_broken_between_words_on_a_terminal_and_one_line_in_a_pipe(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = "instances/majors/btc-usd.yaml:17:11: config.levels: expected an integer, was a text"
    monkeypatch.setenv("COLUMNS", "50")
    say(problem)
    Failure("no", problem).show()
    assert capsys.readouterr().err.splitlines() == [problem, "no", problem]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    say(problem, "  hint: write 5, which is what the schema of this strategy says")
    Failure("no", problem).show()
    broken = ["instances/majors/btc-usd.yaml:17:11:", "  config.levels: expected an integer, was a text"]
    hint = ["  hint: write 5, which is what the schema of this", "    strategy says"]
    assert click.unstyle(capsys.readouterr().err).splitlines() == [*broken, *hint, "no", *broken]
