"""`export`: all there is, exact, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.clock import utc
from reconciler.orders.order import (
    Fill,
    Order,
    OrderNews,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    Provenance,
    Side,
)
from reconciler.records.mode import Mode
from reconciler.store.reader import columns
from tests.cli.conftest import START_S, Fleet

DAY_S = 86_400.0
DOCS = Path(__file__).parents[2] / "docs" / "orders.md"


def an_order(client_order_id: str, at_s: float = START_S, **changes: object) -> Order:
    order = Order(
        client_order_id=client_order_id,
        provenance=Provenance("a", "main", "desk-a", "BTC/USD", Mode.ACTIVE, 1, "c", "d", None, 5),
        request=OrderRequest(Side.SELL, OrderType.LIMIT, Decimal("0.10"), limit_price=Decimal("60000.123456789")),
        outcome=Outcome.ACCEPTED,
        created_at=utc(at_s),
        updated_at=utc(at_s),
        state=OrderState.OPEN,
    )
    return replace(order, **changes)  # type: ignore[arg-type]


@pytest.fixture
def traded(fleet: Fleet) -> Fleet:
    """Two orders a day apart, the second one filled in two pieces, its fee a rebate."""
    fleet.write("a")
    fleet.apply()
    with fleet.store() as store:
        store.ledger.append(an_order("first", reason="=HYPERLINK(1)", outcome=Outcome.REJECTED, state=None))
        store.ledger.append(an_order("second", START_S + DAY_S))
        at = utc(START_S + DAY_S)
        half = Decimal("0.05")
        store.ledger.settle(
            "second",
            OrderNews(
                state=OrderState.FILLED,
                filled_quantity=Decimal("0.1"),
                average_price=Decimal("60000.5"),
                fee=Decimal("-0.02"),
                exchange_order_id="-X77",
                fills=[
                    Fill("second", "f1", half, Decimal(60000), Decimal("-0.01"), at),
                    Fill("second", "f2", half, Decimal(60001), Decimal("-0.01"), at),
                ],
            ),
        )
    return fleet


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_orders_are_written_oldest_first_exact_and_in_utc(traded: Fleet) -> None:
    result = traded.run("export", "orders")
    assert (result.exit_code, result.stderr) == (0, "")
    first, second = table(result.stdout)
    assert [first["client_order_id"], second["client_order_id"]] == ["first", "second"]
    assert (second["quantity"], second["limit_price"], second["filled_quantity"]) == ("0.1", "60000.123456789", "0.1")
    assert second["created_at"] == "2023-11-15T22:13:20.000000Z"
    assert (second["shadow"], second["revision"]) == ("false", "")


def test_a_text_that_a_spreadsheet_would_run_is_made_harmless_and_numbers_are_left_alone(traded: Fleet) -> None:
    first, second = table(traded.run("export", "orders").stdout)
    assert first["reason"] == "'=HYPERLINK(1)"
    assert second["exchange_order_id"] == "'-X77"
    assert second["fee"] == "-0.02"


@pytest.mark.parametrize(
    ("reason", "cell"),
    [
        ("bad\r=1+1", r"bad\r=1+1"),
        ("bad\n=1+1", r"bad\n=1+1"),
        ("bad\r\n=1+1,2", r"bad\r\n=1+1,2"),
        ("\r=1+1", r"'\r=1+1"),
        (" =1+1", "' =1+1"),
        ("\u00a0\t@x", r"'\xa0\t@x"),
        ("\ufeff=1+1", r"'\ufeff=1+1"),
        ("\u200b+1+1", r"'\u200b+1+1"),
        ("\x1b[31mred\u202e\x00", r"\x1b[31mred\u202e\x00"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("\uff0b1", "'\uff0b1"),
        ("-1+1", "'-1+1"),
        ("-12.5", "-12.5"),
        ("a = b", "a = b"),
        ("", ""),
    ],
)
def test_no_text_breaks_its_row_or_hides_a_formula(fleet: Fleet, reason: str, cell: str) -> None:
    fleet.write("a")
    fleet.apply()
    with fleet.store() as store:
        store.ledger.append(an_order("first", reason=reason, outcome=Outcome.REJECTED, state=None))
    written = fleet.run("export", "orders").stdout_bytes.decode()
    # As a program reads it that ends a line at every CR, LF or CR LF outside of quotes.
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert [len(row) for row in rows] == [len(columns("orders"))] * 2
    assert rows[1][columns("orders").index("reason")] == cell
    assert written.startswith("instance_id,")
    assert written.count("\n") == 2  # a row is a line
    assert written.endswith("\n")
    assert all(character.isprintable() for character in written.replace("\n", ""))


def test_fills_say_whose_they_are(traded: Fleet) -> None:
    found = table(traded.run("export", "fills").stdout)
    assert [(fill["exchange_fill_id"], fill["price"], fill["fee"]) for fill in found] == [
        ("f1", "60000", "-0.01"),
        ("f2", "60001", "-0.01"),
    ]
    assert {(fill["instance_id"], fill["symbol"], fill["side"], fill["made_up"]) for fill in found} == {
        ("a", "BTC/USD", "sell", "false")
    }


def test_history_keeps_its_values_as_json(traded: Fleet) -> None:
    (generation,) = table(traded.run("export", "history").stdout)
    assert (generation["instance_id"], generation["generation"], generation["kind"]) == ("a", "1", "created")
    assert json.loads(generation["values"])["config"] == {"levels": 5}
    (item,) = json.loads(traded.run("export", "history", "--format", "json").stdout)["items"]
    assert item["values"]["config"] == {"levels": 5}


def test_json_is_a_list_as_every_list_is_and_keeps_texts_as_they_are(traded: Fleet) -> None:
    items = json.loads(traded.run("export", "orders", "--format", "json").stdout)["items"]
    assert [item["reason"] for item in items] == ["=HYPERLINK(1)", ""]
    assert list(items[0]) == columns("orders")
    assert items[0]["shadow"] is False


def test_it_is_narrowed_by_time_and_instance(traded: Fleet) -> None:
    def ids(*options: str) -> list[str]:
        return [row["client_order_id"] for row in table(traded.run("export", "orders", *options).stdout)]

    assert ids("--since", "2023-11-15T22:13:20") == ["second"]
    assert ids("--until", "2023-11-15T22:13:20") == ["first"]
    assert ids("--since", "2023-11-15", "--until", "2023-11-16") == ["second"]
    assert ids("--instance", "a") == ["first", "second"]
    assert table(traded.run("export", "fills", "--until", "2023-11-15").stdout) == []
    assert len(table(traded.run("export", "history", "--since", "2023-11-14").stdout)) == 1


@pytest.mark.parametrize("what", ["orders", "fills", "history"])
def test_an_empty_ledger_has_its_columns_and_an_empty_list(fleet: Fleet, what: str) -> None:
    fleet.store().close()
    assert fleet.run("export", what).stdout.splitlines()[0].split(",")[0] == "instance_id"
    assert table(fleet.run("export", what).stdout) == []
    assert json.loads(fleet.run("export", what, "--format", "json").stdout) == {"items": []}


def test_more_than_one_piece_is_whole(fleet: Fleet) -> None:
    fleet.write("a")
    fleet.apply()
    many = 2_001
    with fleet.store() as store:
        for number in range(many):
            store.ledger.append(an_order(f"o{number}"))
    found = [row["client_order_id"] for row in table(fleet.run("export", "orders").stdout)]
    assert found == [f"o{number}" for number in range(many)]


def test_an_unknown_instance_and_a_strange_time_are_refused(traded: Fleet) -> None:
    result = traded.run("export", "orders", "--instance", "nope")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "nope: there is no such instance; all there are: reconciler status\n"
    result = traded.run("export", "orders", "--since", "yesterday")
    assert result.exit_code == 2
    assert "expected a day, a time or how long ago (2026-01-31, 2026-01-31T12:00, 24h, 7d), was 'yes" in result.stderr


@pytest.mark.parametrize("what", ["orders", "fills", "history"])
def test_every_column_is_documented(what: str) -> None:
    page = DOCS.read_text(encoding="utf-8")
    for name in columns(what):  # type: ignore[arg-type]
        assert f"`{name}`" in page, name
