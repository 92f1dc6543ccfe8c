"""What the paper exchange says, in the contract's words: decimals are text, times UTC. Pure, and without the SDK."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from typing_extensions import TypedDict

from reconciler.clock import iso
from reconciler.orders.market import Balance, Candle, Position, Quote
from reconciler.orders.order import decimal_text
from reconciler.paper.paper_order import MarketRules, PaperFill, PaperOrder


class FillAnswer(TypedDict):
    """One execution; `liquidity` is maker or taker."""

    fill_id: str
    quantity: str
    price: str
    fee: str
    fee_currency: str
    liquidity: str
    at: str


class OrderAnswer(TypedDict):
    """`status` is open, partially_filled, filled, cancelled or expired; `reason` says why it ended unasked."""

    order_id: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    quantity: str
    limit_price: str | None
    stop_price: str | None
    time_in_force: str
    reduce_only: bool
    status: str
    reason: str
    filled_quantity: str
    average_price: str | None
    fee: str
    fee_currency: str
    fills: list[FillAnswer]
    created_at: str
    updated_at: str


class OrdersAnswer(TypedDict):
    orders: list[OrderAnswer]


class CancelledAnswer(TypedDict):
    """The client_order_ids."""

    cancelled: list[str]


class ArmedAnswer(TypedDict):
    account_id: str
    seconds: int


class RulesAnswer(TypedDict):
    """What a market lets through; null where it has no such rule. Quantities are in the base currency."""

    price_step: str | None
    quantity_step: str | None
    min_quantity: str | None
    min_notional: str | None
    contract_size: str


class PositionAnswer(TypedDict):
    symbol: str
    quantity: str
    average_price: str | None


class PositionsAnswer(TypedDict):
    positions: list[PositionAnswer]


class BalanceAnswer(TypedDict):
    asset: str
    total: str
    available: str


class BalancesAnswer(TypedDict):
    balances: list[BalanceAnswer]


class QuoteAnswer(TypedDict):
    symbol: str
    bid: str
    ask: str
    last: str
    as_of: str


class CandleAnswer(TypedDict):
    opened_at: str
    open: str
    high: str
    low: str
    close: str
    volume: str


class CandlesAnswer(TypedDict):
    candles: list[CandleAnswer]


def order_answer(order: PaperOrder) -> OrderAnswer:
    request = order.request
    return {
        "order_id": order.order_id,
        "client_order_id": order.ticket.client_order_id,
        "symbol": order.ticket.symbol,
        "side": request.side.value,
        "type": request.type.value,
        "quantity": decimal_text(request.quantity),
        "limit_price": _optional(request.limit_price),
        "stop_price": _optional(request.stop_price),
        "time_in_force": request.time_in_force.value,
        "reduce_only": request.reduce_only,
        "status": order.state.value,
        "reason": order.reason,
        "filled_quantity": decimal_text(order.filled_quantity),
        "average_price": _optional(order.average_price),
        "fee": decimal_text(order.fee),
        "fee_currency": order.fee_currency,
        "fills": [_fill(fill, order) for fill in order.fills],
        "created_at": _time(order.created_at),
        "updated_at": _time(order.updated_at),
    }


def position_answer(position: Position) -> PositionAnswer:
    return {
        "symbol": position.symbol,
        "quantity": decimal_text(position.quantity),
        "average_price": _optional(position.average_price),
    }


def balance_answer(balance: Balance) -> BalanceAnswer:
    return {
        "asset": balance.asset,
        "total": decimal_text(balance.total),
        "available": decimal_text(balance.available),
    }


def quote_answer(quote: Quote) -> QuoteAnswer:
    return {
        "symbol": quote.symbol,
        "bid": decimal_text(quote.bid),
        "ask": decimal_text(quote.ask),
        "last": decimal_text(quote.last),
        "as_of": _time(quote.as_of),
    }


def candle_answer(candle: Candle) -> CandleAnswer:
    return {
        "opened_at": _time(candle.opened_at),
        "open": decimal_text(candle.open),
        "high": decimal_text(candle.high),
        "low": decimal_text(candle.low),
        "close": decimal_text(candle.close),
        "volume": decimal_text(candle.volume),
    }


def _fill(fill: PaperFill, order: PaperOrder) -> FillAnswer:
    return {
        "fill_id": fill.fill_id,
        "quantity": decimal_text(fill.quantity),
        "price": decimal_text(fill.price),
        "fee": decimal_text(fill.fee),
        "fee_currency": fill.fee_currency or order.ticket.quote,
        "liquidity": fill.liquidity.value,
        "at": _time(fill.at),
    }


def _optional(number: Decimal | None) -> str | None:
    return None if number is None else decimal_text(number)


def _time(moment: datetime) -> str:
    return iso(moment.timestamp())


def rules_answer(rules: MarketRules) -> RulesAnswer:
    def text(value: Decimal | None) -> str | None:
        return None if value is None else decimal_text(value)

    return {
        "price_step": text(rules.price_step),
        "quantity_step": text(rules.quantity_step),
        "min_quantity": text(rules.min_quantity),
        "min_notional": text(rules.min_notional),
        "contract_size": "1",
    }
