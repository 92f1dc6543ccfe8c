"""The paper exchange as a venue in the same process: called as a function, without MCP, sockets or threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from reconciler.clock import Clock, iso
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable
from reconciler.exec_mcp.bridge import Bridge, Handover
from reconciler.exec_mcp.contract import LOOK_UP
from reconciler.exec_mcp.market_data import MarketData
from reconciler.exec_mcp.refusals import RateLimits
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import ServerStatus
from reconciler.orders.market import TIMEFRAMES_S, Candle, Quote
from reconciler.orders.order import decimal_text
from reconciler.paper import paper_answers
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.paper_order import OrderRefused, read_ticket
from reconciler.ports import EventLog

T = TypeVar("T")


_NO_ORDER = "order not found"
"""How the exchange begins to say that it knows no such order."""


class PaperVenue:
    """Implements `Venue`: the paper exchange in the same process. It is connected to by `connect`, and stays so."""

    def __init__(self, exchange: PaperExchange, clock: Clock, name: str = "paper") -> None:
        self.name = name
        self.limits = RateLimits(clock)
        self.timeout_s = self.starting_s = 1.0
        self.murmur = ()
        self.on_connected: Callable[[], None] | None = None
        self._exchange = exchange
        self._seen = -1
        self._tools: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
            "place_order": self._place,
            "cancel_order": self._cancel,
            "get_order": self._order,
            "list_orders": self._orders,
            "get_positions": self._positions,
            "get_balances": self._balances,
            "get_quote": lambda asked: paper_answers.quote_answer(exchange.get_quote(asked["symbol"])),
            "get_candles": self._candles,
            "get_rules": lambda asked: paper_answers.rules_answer(exchange.get_rules(asked["symbol"])),
        }
        self._clock = clock
        self.status = ServerStatus(name, False, iso(clock.time()), (), "not connected yet")

    def connect(self) -> None:
        """From now on it is there. On the loop."""
        tools = tuple(self._tools)
        self.status = ServerStatus(self.name, True, iso(self._clock.time()), tools, "", offered=tools, connections=1)
        if self.on_connected is not None:
            self.on_connected()

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        handover: Handover | None = None,
    ) -> dict[str, Any]:
        """As `Venue.call` says. Nothing is unknown here: what raised was not done."""
        try:
            if not self.status.connected:
                raise ExecUnavailable(f"exec-mcp server {self.name!r} is not connected: {self.status.last_error}")
            does = self._tools.get(tool)
            if does is None:
                raise CapabilityUnavailable(tool, self.name)
            if handover is not None and not handover.claim():
                raise ExecUnavailable("given up before it was sent")
            answer: dict[str, Any] = does(arguments)
            return answer
        except OrderRefused as refused:
            raise _refusal(tool, str(refused)) from None
        except OSError as error:
            raise ExecRejected(f"nothing was done, for it cannot be recorded: {error.strerror or error}") from error
        finally:
            if handover is not None:
                handover.finish()

    def has_news(self) -> bool:
        """True where anything has happened to any order since this was last asked."""
        self._exchange.look()
        seen, self._seen = self._seen, self._exchange.changes
        return seen != self._seen

    def accept(self) -> None:
        """Its tools come with this very program: they never change."""

    def _place(self, asked: Mapping[str, Any]) -> paper_answers.OrderAnswer:
        priced_in = self._exchange.priced_in(asked["symbol"])
        return paper_answers.order_answer(self._exchange.place_order(read_ticket(**asked, priced_in=priced_in)))

    def _cancel(self, asked: Mapping[str, Any]) -> paper_answers.OrderAnswer:
        return paper_answers.order_answer(self._exchange.cancel_order(*_whose(asked), asked["symbol"]))

    def _order(self, asked: Mapping[str, Any]) -> paper_answers.OrderAnswer:
        return paper_answers.order_answer(self._exchange.get_order(*_whose(asked)))

    def _orders(self, asked: Mapping[str, Any]) -> paper_answers.OrdersAnswer:
        account_id, client_id = asked["account_id"], asked["client_id"]
        found = self._exchange.list_orders(account_id, client_id, asked.get("status", "open"), asked.get("symbol"))
        return {"orders": [paper_answers.order_answer(order) for order in found]}

    def _positions(self, asked: Mapping[str, Any]) -> paper_answers.PositionsAnswer:
        return {
            "positions": [paper_answers.position_answer(p) for p in self._exchange.get_positions(asked["account_id"])]
        }

    def _balances(self, asked: Mapping[str, Any]) -> paper_answers.BalancesAnswer:
        return {"balances": [paper_answers.balance_answer(b) for b in self._exchange.get_balances(asked["account_id"])]}

    def _candles(self, asked: Mapping[str, Any]) -> paper_answers.CandlesAnswer:
        found = self._exchange.get_candles(asked["symbol"], asked["timeframe"], asked["limit"])
        return {"candles": [paper_answers.candle_answer(candle) for candle in found]}


class PaperMarket(MarketData):
    """Market data of the paper exchange in this process: what it says of prices is not written out and read again.

    For one thread. What it hands out is to the digit what comes over MCP. Candles that have closed do not change, so
    each is asked for once.
    """

    def __init__(
        self, exchange: PaperExchange, clock: Clock, servers: Servers, bridge: Bridge, events: EventLog | None = None
    ) -> None:
        super().__init__(servers, bridge, events)
        self._exchange = exchange
        self._clock = clock
        self._quotes: dict[str, tuple[int, Quote, Quote]] = {}
        """By symbol: the beat, the quote, and what it was made of."""
        self._candles: dict[tuple[str, str], tuple[int, list[Candle]]] = {}
        """By symbol and timeframe: when the last of them closed, in seconds since the epoch, and they themselves."""

    def quote(self, account_id: str, symbol: str, beat: int) -> Quote:
        known = self._quotes.get(symbol)
        if known is not None and known[0] == beat:
            return known[1]
        self._servers.requiring(account_id, "get_quote")
        try:
            told = self._exchange.get_quote(symbol)
        except OrderRefused as refused:
            raise _refusal("get_quote", str(refused)) from None
        if known is not None and known[2] is told:  # it still holds
            found = known[1]
        else:
            found = Quote(symbol, _digits(told.bid), _digits(told.ask), _digits(told.last), told.as_of)
        self._quotes[symbol] = (beat, found, told)
        return found

    def last_quote(self, account_id: str, symbol: str) -> Quote | None:
        known = self._quotes.get(symbol)
        return None if known is None else known[1]

    def candles(self, account_id: str, symbol: str, timeframe: str, limit: int, beat: int) -> Sequence[Candle]:
        length_s = TIMEFRAMES_S.get(timeframe)
        if length_s is None or limit < 1:
            return super().candles(account_id, symbol, timeframe, limit, beat)  # which says what is wrong
        closed_s = int(self._clock.time() // length_s) * length_s
        known_s, known = self._candles.get((symbol, timeframe), _NO_CANDLES)
        missing = min((closed_s - known_s) // length_s, _MOST_CANDLES)
        if len(known) < limit or missing >= len(known):
            missing, known = limit, []
        if missing:
            self._servers.requiring(account_id, "get_candles")
            try:
                closed = self._exchange.get_candles(symbol, timeframe, missing)
            except OrderRefused as refused:
                raise _refusal("get_candles", str(refused)) from None
            newer = closed if not known else [one for one in closed if one.opened_at > known[-1].opened_at]
            known.extend(map(_candle, newer))
            if len(known) > 2 * _MOST_CANDLES:
                del known[:-_MOST_CANDLES]
            self._candles[symbol, timeframe] = (closed_s, known)
        return tuple(known[-limit:])


_MOST_CANDLES = 1_000
_NO_CANDLES: tuple[int, list[Candle]] = (0, [])


def _candle(told: Candle) -> Candle:
    prices = map(_digits, (told.open, told.high, told.low, told.close, told.volume))
    return Candle(told.opened_at, *prices)


def _digits(number: Decimal) -> Decimal:
    """The number as it is when it was written out and read: no zeros at its end."""
    text = str(number)
    return number if text[-1] != "0" and "E" not in text else Decimal(decimal_text(number))


def _whose(asked: Mapping[str, Any]) -> tuple[str, str, str]:
    return asked["account_id"], asked["client_id"], asked["client_order_id"]


def _refusal(tool: str, why: str) -> ExecError:
    """In the words, and of the kind, that it is read in where it comes over MCP."""
    if tool == LOOK_UP and why.startswith(_NO_ORDER):
        return OrderNotFound(why)
    return ExecRejected(why)
