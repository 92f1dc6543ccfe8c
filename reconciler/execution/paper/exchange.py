"""The paper exchange: accounts, orders and their fills against a price feed. No MCP, no files, no waiting.

Balances and positions belong to the account_id; the client_id tags orders, and only those with the same
tag are found again. Time passes when it is looked at: every call first tries open orders against the
prices since the last look, so that nothing in between is missed. Belongs to one thread.

Rules: a market order fills at once at bid or ask; a limit order that crosses at once fills at bid or ask,
one that rests fills at its limit when the market trades through it. Fills are whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from reconciler.clock import Clock, utc
from reconciler.execution.paper.account import PaperAccount, PaperFill, PaperOrder, fee_on
from reconciler.execution.paper.feed import SYMBOL, Prices
from reconciler.execution.paper.resting import crossing, has_expired, next_move
from reconciler.records.market import Balance, Candle, Position, Quote
from reconciler.records.order import OrderState, OrderType, Side, TimeInForce, to_decimal

_PLACES = 12
_MAGNITUDE = 12
_CANDLES = 1_000

E = TypeVar("E", bound=StrEnum)


class Refused(Exception):
    """The exchange says no, and why: nothing happened."""


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """What the exchange charges and gives. Money as exact decimals.

    Every account begins with `starting` of each currency named there, and with `default_starting` of any
    other that it first trades against.
    """

    fee_rate: Decimal = Decimal("0.001")
    default_starting: Decimal = Decimal(100_000)
    starting: Mapping[str, Decimal] = field(
        default_factory=lambda: {c: Decimal(100_000) for c in ("USD", "EUR", "GBP", "CHF", "JPY", "USDT", "USDC")}
    )


class PaperExchange:
    """The exchange. `record` is told every order that is new or changed, in order: enough to restore from."""

    def __init__(
        self,
        prices: Prices,
        clock: Clock,
        options: PaperOptions | None = None,
        record: Callable[[PaperOrder], None] = lambda order: None,
    ) -> None:
        self._prices = prices
        self._clock = clock
        self._options = options or PaperOptions()
        self._record = record
        self._accounts: dict[str, PaperAccount] = {}
        self._orders: dict[tuple[str, str], PaperOrder] = {}
        self._looked_at = prices.step_at(clock.time())
        self._number = 0

    def restore(self, orders: list[PaperOrder]) -> None:
        """Take up where an exchange that recorded `orders` stopped: only before any other call."""
        for order in orders:
            account = self._account(order.account_id, order.quote)
            for fill in order.fills:
                account.settle(order, fill)
            self._keep(order)
            self._number = max(self._number, int(order.order_id.removeprefix("paper-")))
        if orders:
            last = max(order.updated_at for order in orders)
            self._looked_at = min(self._looked_at, self._prices.step_at(last.timestamp()))

    def place_order(
        self,
        account_id: str,
        client_id: str,
        client_order_id: str,
        symbol: str,
        side: str,
        type: str,
        quantity: str,
        limit_price: str | None = None,
        stop_price: str | None = None,
        time_in_force: str = "gtc",
        reduce_only: bool = False,
    ) -> PaperOrder:
        """Place an order, or find the one already placed under this client_order_id. Raises Refused."""
        self._look()
        order = self._parsed(
            account_id, client_id, client_order_id, symbol, side, type, quantity, limit_price, stop_price,
            time_in_force, reduce_only,
        )  # fmt: skip
        known = self._orders.get((account_id, client_order_id))
        if known is not None:
            return self._same(known, order)
        account = self._account(account_id, order.quote)
        quote = self._prices.quote(symbol, self._looked_at)
        at_once = crossing(order, quote)
        self._check_funds(account, order, at_once)
        self._number += 1
        order = replace(order, order_id=f"paper-{self._number}")
        if at_once is not None:
            return self._fill(order, at_once, order.created_at)
        if order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK):
            return self._keep(order.ended(OrderState.CANCELLED, order.created_at), record=True)
        return self._keep(order, record=True)

    def cancel_order(self, account_id: str, client_id: str, client_order_id: str, symbol: str) -> PaperOrder:
        """Cancel an open order; one that is already final stays what it is. Raises Refused for an unknown one."""
        order = self.get_order(account_id, client_id, client_order_id)
        if order.symbol != symbol:
            raise Refused(f"order {client_order_id} is on {order.symbol}, not on {symbol}")
        if order.state.is_final:
            return order
        return self._keep(order.ended(OrderState.CANCELLED, utc(self._clock.time())), record=True)

    def get_order(self, account_id: str, client_id: str, client_order_id: str) -> PaperOrder:
        """Raises Refused where this client of the account has no such order."""
        self._look()
        order = self._orders.get((account_id, client_order_id))
        if order is None or order.client_id != client_id:
            raise Refused(f"order not found: {client_order_id}")
        return order

    def list_orders(self, account_id: str, client_id: str, status: str, symbol: str | None = None) -> list[PaperOrder]:
        """The client's orders, oldest first. `status` is open, closed or all. Raises Refused."""
        if status not in ("open", "closed", "all"):
            raise Refused(f"status: expected open, closed or all, was {status!r}")
        self._look()
        return [
            order
            for (account, _), order in self._orders.items()
            if account == account_id
            and order.client_id == client_id
            and symbol in (None, order.symbol)
            and status in ("all", "closed" if order.state.is_final else "open")
        ]

    def get_positions(self, account_id: str) -> list[Position]:
        self._look()
        return self._account(account_id).positions()

    def get_balances(self, account_id: str) -> list[Balance]:
        self._look()
        return self._account(account_id).balances()

    def get_quote(self, symbol: str) -> Quote:
        """The quote of this step. Raises Refused."""
        return self._prices.quote(_known(symbol), self._prices.step_at(self._clock.time()))

    def get_candles(self, symbol: str, timeframe: str, limit: int) -> list[Candle]:
        """Closed candles, oldest first; at most 1,000. Raises Refused. May run on any thread."""
        if not 1 <= limit <= _CANDLES:
            raise Refused(f"limit: expected 1 to {_CANDLES}, was {limit}")
        try:
            return self._prices.candles(_known(symbol), timeframe, limit, self._clock.time())
        except KeyError as error:
            raise Refused(f"timeframe: expected 1m, 5m, 15m, 30m, 1h, 4h or 1d, was {error}") from None

    def _parsed(
        self, account_id: str, client_id: str, client_order_id: str, symbol: str, side: str, type: str,
        quantity: str, limit_price: str | None, stop_price: str | None, time_in_force: str, reduce_only: bool,
    ) -> PaperOrder:  # fmt: skip
        """The order that was asked for, not yet placed. Raises Refused."""
        if not client_order_id:
            raise Refused("client_order_id: expected a text of your own, was empty")
        kind = _choice(OrderType, type, "type")
        if kind in (OrderType.STOP, OrderType.STOP_LIMIT) or stop_price is not None:
            raise Refused("stop orders are not supported by the paper exchange: use market or limit")
        if kind is OrderType.LIMIT and limit_price is None:
            raise Refused("limit_price: a limit order needs one")
        if kind is OrderType.MARKET and limit_price is not None:
            raise Refused("limit_price: a market order takes none")
        now = utc(self._clock.time())
        return PaperOrder(
            order_id="",
            client_order_id=client_order_id,
            account_id=account_id,
            client_id=client_id,
            symbol=_known(symbol),
            side=_choice(Side, side, "side"),
            type=kind,
            quantity=_positive(quantity, "quantity"),
            limit_price=None if limit_price is None else _positive(limit_price, "limit_price"),
            time_in_force=_choice(TimeInForce, time_in_force, "time_in_force"),
            reduce_only=reduce_only,
            state=OrderState.OPEN,
            created_at=now,
            updated_at=now,
        )

    def _same(self, known: PaperOrder, asked: PaperOrder) -> PaperOrder:
        """The order already placed, where the same one is asked for again."""
        fixed = ("client_id", "symbol", "side", "type", "quantity", "limit_price", "time_in_force", "reduce_only")
        differing = [name for name in fixed if getattr(known, name) != getattr(asked, name)]
        if differing:
            raise Refused(f"client_order_id {known.client_order_id} was used for another order: {', '.join(differing)}")
        return known

    def _check_funds(self, account: PaperAccount, order: PaperOrder, price: Decimal | None) -> None:
        if order.reduce_only:
            held = account.position(order.symbol).quantity
            room = -held if order.side is Side.BUY else held
            if order.quantity > room:
                raise Refused(f"reduce_only: the position of {held} has no room for {order.side} {order.quantity}")
        asset, amount = account.need(order, price)
        available = account.available(asset)
        if amount > available:
            raise Refused(f"insufficient balance: needs {amount} {asset}, available {available}")

    def _look(self) -> None:
        """Try open orders against every price step since the last look."""
        now = self._prices.step_at(self._clock.time())
        if now <= self._looked_at:
            return
        resting: dict[str, list[PaperOrder]] = {}
        for account in self._accounts.values():
            for order in account.open_orders.values():
                resting.setdefault(order.symbol, []).append(order)
        for symbol, orders in resting.items():
            step = self._next_move(symbol, orders, self._looked_at + 1, now)
            while step is not None:
                orders = self._tried(symbol, step, orders)
                step = self._next_move(symbol, orders, step + 1, now)
        self._looked_at = now

    def _next_move(self, symbol: str, orders: Sequence[PaperOrder], first: int, last: int) -> int | None:
        return next_move(self._prices, symbol, orders, first, last)

    def _tried(self, symbol: str, step: int, orders: list[PaperOrder]) -> list[PaperOrder]:
        """Fill or expire what `step` fills or ends; those still open."""
        quote, left = self._prices.quote(symbol, step), []
        for order in orders:
            if has_expired(order, quote):
                self._keep(order.ended(OrderState.EXPIRED, _midnight(quote.as_of)), record=True)
            elif crossing(order, quote) is not None:
                assert order.limit_price is not None
                self._fill(order, order.limit_price, max(quote.as_of, order.created_at))
            else:
                left.append(order)
        return left

    def _fill(self, order: PaperOrder, price: Decimal, at: datetime) -> PaperOrder:
        account = self._accounts[order.account_id]
        fee = fee_on(order.quantity, price, account.fee_rate)
        fill = PaperFill(f"{order.order_id}-1", order.quantity, price, fee, at)
        account.settle(order, fill)
        return self._keep(order.filled(fill), record=True)

    def _keep(self, order: PaperOrder, *, record: bool = False) -> PaperOrder:
        self._orders[order.account_id, order.client_order_id] = order
        resting = self._accounts[order.account_id].open_orders
        if order.state.is_final:
            resting.pop(order.client_order_id, None)
        else:
            resting[order.client_order_id] = order
        if record:
            self._record(order)
        return order

    def _account(self, account_id: str, quote_currency: str | None = None) -> PaperAccount:
        account = self._accounts.get(account_id)
        if account is None:
            options = self._options
            account = PaperAccount(options.fee_rate, options.starting, options.default_starting)
            self._accounts[account_id] = account
        if quote_currency is not None:
            account.saw(quote_currency)
        return account


def _known(symbol: str) -> str:
    if not SYMBOL.fullmatch(symbol):
        raise Refused(f"unknown symbol {symbol!r}: expected BASE/QUOTE, such as BTC/USD")
    return symbol


def _positive(text: str, name: str) -> Decimal:
    """A positive decimal of at most twelve digits before the point and twelve after. Raises Refused."""
    try:
        number = to_decimal(text, name)
    except (TypeError, ValueError) as error:
        raise Refused(str(error)) from None
    if number <= 0:
        raise Refused(f"{name}: expected more than zero, was {text}")
    exponent = number.normalize().as_tuple().exponent
    if number.adjusted() >= _MAGNITUDE or not isinstance(exponent, int) or exponent < -_PLACES:
        raise Refused(f"{name}: expected at most {_MAGNITUDE} digits before and {_PLACES} after the point, was {text}")
    return number


def _choice(kind: type[E], text: str, name: str) -> E:
    """The member of the enumeration `kind` that `text` names. Raises Refused."""
    try:
        return kind(text)
    except ValueError:
        raise Refused(f"{name}: expected one of {', '.join(kind)}, was {text!r}") from None


def _midnight(moment: datetime) -> datetime:
    return datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
