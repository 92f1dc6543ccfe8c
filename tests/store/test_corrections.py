"""Books put right by a person: what they hold then, what is kept of it, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import FakeClock
from reconciler.errors import StoreError
from reconciler.orders.news import Correction
from reconciler.orders.order import Order, OrderNews, OrderState, Side
from reconciler.records.record import Row, RowChange
from reconciler.store import Reader, Store
from reconciler.store.books import holding_columns, holding_from

MakeOrder = Callable[..., Order]
MakeRow = Callable[..., Row]
BTC = "BTC/USD"


def right(quantity: str, price: str) -> Correction:
    return Correction(Decimal(quantity), Decimal(price), "as the exchange has it", "uid 7")


@pytest.fixture
def bought(store: Store, make_order: MakeOrder, make_row: MakeRow) -> Store:
    """`dca` bought 1 at 100; there is a row of `other`, too."""
    store.desired.apply([RowChange(make_row("dca"), "created", "")])
    store.desired.apply([RowChange(make_row("other"), "created", "")])
    buy(store, make_order, "one", "100")
    return store


def buy(store: Store, make_order: MakeOrder, id: str, price: str | None, side: Side = Side.BUY) -> None:
    average = None if price is None else Decimal(price)
    store.ledger.append(
        make_order(id, side=side, state=OrderState.FILLED, filled_quantity=Decimal(1), average_price=average)
    )


def test_it_is_in_force_at_once_and_after_a_restart(bought: Store, path: Path, clock: FakeClock) -> None:
    before, after = bought.ledger.correct({"dca": right("0.999", "100.1")})["dca"]
    assert (before.quantity, after.quantity) == (Decimal(1), Decimal("0.999"))
    assert bought.ledger.holding("dca", BTC, False) == after
    assert bought.ledger.position("dca", BTC, False).quantity == Decimal("0.999")
    assert bought.ledger.held("main") == {BTC: Decimal("0.999")}
    bought.close()
    with Store.open(path, clock) as again:
        assert again.ledger.holding("dca", BTC, False) == after


def test_who_is_put_right_to_nothing_is_exposed_no_more_and_the_other_way_round(bought: Store) -> None:
    assert bought.ledger.exposed() == {"dca"}
    bought.ledger.correct({"dca": right("0", "0"), "other": right("-2", "90")})
    assert bought.ledger.exposed() == {"other"}
    assert bought.ledger.held("main") == {BTC: Decimal(-2)}


def test_all_of_them_or_none(bought: Store, reader: Reader) -> None:
    with pytest.raises(StoreError, match="nobody: expected an instance, there is and was none of that id"):
        bought.ledger.correct({"dca": right("5", "1"), "nobody": right("1", "1")})
    with pytest.raises(StoreError, match="dca: price: expected what one of what is held cost"):
        bought.ledger.correct({"dca": right("5", "0")})
    assert bought.ledger.held("main") == {BTC: Decimal(1)}
    assert [item["kind"] for item in reader.history("dca")[0]] == ["created"]


def test_it_stands_in_history_and_export_where_it_was_made(
    bought: Store, reader: Reader, make_order: MakeOrder
) -> None:
    bought.ledger.correct({"dca": replace(right("0.5", "100"), fee=Decimal("0.1"), fee_currency="BNB")})
    buy(bought, make_order, "two", "120")
    newest = reader.history("dca")[0][0]
    assert (newest["kind"], newest["generation"]) == ("corrected", 1)
    assert newest["summary"] == "holds 1 BTC/USD → 0.5 at 100, fee 0.1 BNB: as the exchange has it (uid 7)"
    generation = reader.generation("dca", 1)
    assert generation is not None
    assert generation["kind"] == "created", "where the record came from, it does not change"
    rows = [(r["exchange_fill_id"], r["side"], r["quantity"], r["fee"], r["fee_currency"]) for r in exported(reader)]
    assert rows == [
        ("to-1", "buy", "1", None, None),
        ("correction-1", "sell", "0.5", "0.1", "BNB"),
        ("to-1", "buy", "1", None, None),
    ]
    assert exported(reader)[1]["correction"] == "as the exchange has it (uid 7)"
    assert exported(reader, "other") == []


def exported(reader: Reader, instance_id: str = "") -> list[dict[str, object]]:
    return list(reader.exported("fills", instance_id))


def test_what_is_told_later_of_fills_before_it_does_not_undo_it(bought: Store, make_order: MakeOrder) -> None:
    buy(bought, make_order, "unpriced", None)
    buy(bought, make_order, "sold", "110", Side.SELL)
    bought.ledger.correct({"dca": right("2", "90")})
    bought.ledger.settle("unpriced", OrderNews(average_price=Decimal(500)))
    assert bought.ledger.position("dca", BTC, False).average_price == Decimal(90)
    # What is filled after it, at a price that comes later, is added to what it says.
    buy(bought, make_order, "late", None)
    bought.ledger.settle("late", OrderNews(average_price=Decimal(30)))
    held = bought.ledger.holding("dca", BTC, False)
    assert (held.quantity, held.average_price) == (Decimal(3), Decimal(70))


def test_the_loss_of_the_day_outlives_a_restart_and_a_correction(
    bought: Store, path: Path, clock: FakeClock, make_order: MakeOrder
) -> None:
    today = bought.ledger.holding("dca", BTC, False).day
    assert today is not None
    bought.ledger.correct({"dca": right("0", "100")})
    bought.close()
    with Store.open(path, clock) as again:
        held = again.ledger.holding("dca", BTC, False)
        assert held.loss_on(today, Decimal(60), Decimal(60)) == 40, "at 60, what was held would have lost so much"


def resolved(store: Store, **news: Any) -> Order:
    return store.ledger.resolve("one", "order one resolved: looked (uid 7)", lambda _: OrderNews(**news)).after


def test_what_a_person_takes_back_of_an_order_is_a_fill_of_its_own(bought: Store, reader: Reader) -> None:
    order = resolved(bought, state=OrderState.CANCELLED, filled_quantity=Decimal("0.9"))
    assert (order.state, order.filled_quantity, order.average_price) == ("cancelled", Decimal("0.9"), Decimal(100))
    held = bought.ledger.holding("dca", BTC, False)
    assert (held.quantity, held.average_price, held.realised) == (Decimal("0.9"), Decimal(100), Decimal(0))
    assert [(one.exchange_fill_id, one.quantity, one.price) for one in bought.ledger.fills("one")] == [
        ("to-1", Decimal(1), Decimal(100)),
        ("less-2", Decimal("-0.1"), Decimal(100)),
    ]
    newest = reader.history("dca")[0][0]
    assert (newest["kind"], newest["summary"]) == ("corrected", "order one resolved: looked (uid 7)")
    assert [item["quantity"] for item in reader.exported("fills")] == ["1", "-0.1"]


def test_all_of_it_may_be_taken_back_and_more_than_was_ordered_be_booked(bought: Store) -> None:
    order = resolved(bought, state=OrderState.CANCELLED, filled_quantity=Decimal(0))
    assert (order.filled_quantity, order.average_price) == (Decimal(0), None)
    assert bought.ledger.holding("dca", BTC, False).quantity == 0
    assert not bought.ledger.exposed()
    more = resolved(bought, state=OrderState.FILLED, filled_quantity=Decimal("1.1"), average_price=Decimal(90))
    assert (more.filled_quantity, bought.ledger.holding("dca", BTC, False).quantity) == (Decimal("1.1"), Decimal("1.1"))


def test_taking_back_a_loss_lowers_no_loss_of_the_day(bought: Store, make_order: MakeOrder) -> None:
    buy(bought, make_order, "out", "60", Side.SELL)
    before = bought.ledger.holding("dca", BTC, False)
    assert before.day is not None
    assert before.loss_on(before.day, Decimal(60), Decimal(60)) == 40
    resolved(bought, state=OrderState.CANCELLED, filled_quantity=Decimal(0))
    after = bought.ledger.holding("dca", BTC, False)
    assert after.loss_on(before.day, Decimal(60), Decimal(60)) == 40
    assert after.quantity == -1


def test_the_same_word_again_writes_nothing(bought: Store, reader: Reader) -> None:
    resolved(bought, filled_quantity=Decimal("0.9"))
    resolved(bought, filled_quantity=Decimal("0.9"))
    assert len(bought.ledger.fills("one")) == 2
    assert [item["kind"] for item in reader.history("dca")[0]] == ["corrected", "created"]


def test_what_an_older_version_kept_of_a_book_is_read_as_it_was(bought: Store) -> None:
    held = bought.ledger.holding("dca", BTC, False)
    older = {name: value for name, value in holding_columns(held).items() if name not in ("other_fees", "corrected")}
    assert holding_from({**older, "symbol": BTC}) == held
