"""Everything on the calling thread: coroutines that never really wait, and an exchange that is called as a function.

`InlineBridge` carries what the engine does with servers out where it is asked for; `PaperVenue` is the paper exchange
in the same process, without MCP and without sockets. Neither begins a thread.
"""

from __future__ import annotations

import asyncio
from asyncio import events, tasks
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from concurrent.futures import Future
from decimal import Decimal
from typing import Any, TypeVar

from reconciler.clock import Clock, iso
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable
from reconciler.exec_mcp.bridge import Bridge, Claims, Handover
from reconciler.exec_mcp.contract import LOOK_UP
from reconciler.exec_mcp.market_data import MarketData
from reconciler.exec_mcp.refusals import RateLimits
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import ServerStatus
from reconciler.orders.market import TIMEFRAMES_S, Candle, Quote
from reconciler.orders.order import decimal_text
from reconciler.paper import told
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.paper_order import OrderRefused, read_ticket
from reconciler.ports import EventLog

T = TypeVar("T")


class InlineLoop:
    """An event loop without time, files or threads: what is ready runs, in its order, while somebody completes a task.

    What is given to an executor is done at once. Tasks, futures, `gather` and semaphores work as in any other loop.
    """

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._depth = 0

    def complete(self, work: Awaitable[T]) -> T:
        """Run `work` to its end, and what it set off. Raises RuntimeError where it waits for what never comes.

        May be called from within what runs here: a hook of an executor's job may ask for more.
        """
        loop: Any = self  # all that tasks and futures ask of one is here
        before, task = events._get_running_loop(), asyncio.current_task(loop) if self._depth else None
        events._set_running_loop(loop)
        if task is not None:
            tasks._leave_task(loop, task)
        self._depth += 1
        try:
            result = self._driven(work.__await__())
            while self._depth == 1 and self._ready:
                self._step()
            return result
        finally:
            self._depth -= 1
            if task is not None:
                tasks._enter_task(loop, task)
            events._set_running_loop(before)

    def _driven(self, steps: Generator[Any, Any, T]) -> T:
        while True:
            try:
                awaited = steps.send(None)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if awaited is None:  # it lets others go first
                self._step()
                continue
            awaited._asyncio_future_blocking = False
            while not awaited.done():
                if not self._step():
                    steps.close()
                    raise RuntimeError("inline, nothing can be waited for that does not come by itself")

    def _step(self) -> bool:
        if not self._ready:
            return False
        handle = self._ready.popleft()
        if not handle.cancelled():
            handle._run()
        return True

    # What tasks and futures ask of a loop.

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        loop: Any = self
        handle = asyncio.Handle(callback, args, loop, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def create_future(self) -> asyncio.Future[Any]:
        loop: Any = self
        return asyncio.Future(loop=loop)

    def create_task(
        self, work: Coroutine[Any, Any, T], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[T]:
        loop: Any = self
        return asyncio.Task(work, loop=loop, name=name, context=context)

    def run_in_executor(self, executor: Any, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Done at once, whatever it was to be done by."""
        future = self.create_future()
        try:
            future.set_result(work(*args))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody waits for must not be lost here: there is no log that a test would look at."""
        error = context.get("exception")
        raise error if isinstance(error, BaseException) else RuntimeError(context.get("message"))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._depth > 0

    def is_closed(self) -> bool:
        return False


class InlineBridge:
    """Implements `Bridge` on the calling thread: whatever is started has ended on return, so no time can pass in it."""

    def __init__(self) -> None:
        self._loop = InlineLoop()
        self._is_closed = False
        self._claims = Claims()

    @property
    def claims(self) -> Claims:
        return self._claims

    def start(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """As `Bridge.start` says; it is done on return."""
        future: Future[T] = Future()
        try:
            future.set_result(self.call(work))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if self._is_closed:
                raise
            future.set_exception(error)
        return future

    def call(self, work: Callable[[], Awaitable[T]], timeout_s: float = 0.0) -> T:
        """As `Bridge.call` says; it takes no time."""
        if self._is_closed:
            raise ExecUnavailable("the engine is stopping")
        return self._loop.complete(work())

    def result(self, future: Future[T]) -> T:
        """As `Bridge.result` says; it is there."""
        return future.result(0)

    async def within(self, work: Awaitable[T], timeout_s: float) -> T:
        """As `Bridge.within` says; it takes no time."""
        return await work

    def close(self) -> None:
        """As `Bridge.close` says."""
        self._is_closed = True


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
            "get_quote": lambda asked: told.quote_answer(exchange.get_quote(asked["symbol"])),
            "get_candles": self._candles,
            "get_rules": lambda asked: told.rules_answer(exchange.get_rules(asked["symbol"])),
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

    def _place(self, asked: Mapping[str, Any]) -> told.OrderAnswer:
        priced_in = self._exchange.priced_in(asked["symbol"])
        return told.order_answer(self._exchange.place_order(read_ticket(**asked, priced_in=priced_in)))

    def _cancel(self, asked: Mapping[str, Any]) -> told.OrderAnswer:
        return told.order_answer(self._exchange.cancel_order(*_whose(asked), asked["symbol"]))

    def _order(self, asked: Mapping[str, Any]) -> told.OrderAnswer:
        return told.order_answer(self._exchange.get_order(*_whose(asked)))

    def _orders(self, asked: Mapping[str, Any]) -> told.OrdersAnswer:
        account_id, client_id = asked["account_id"], asked["client_id"]
        found = self._exchange.list_orders(account_id, client_id, asked.get("status", "open"), asked.get("symbol"))
        return {"orders": [told.order_answer(order) for order in found]}

    def _positions(self, asked: Mapping[str, Any]) -> told.PositionsAnswer:
        return {"positions": [told.position_answer(p) for p in self._exchange.get_positions(asked["account_id"])]}

    def _balances(self, asked: Mapping[str, Any]) -> told.BalancesAnswer:
        return {"balances": [told.balance_answer(b) for b in self._exchange.get_balances(asked["account_id"])]}

    def _candles(self, asked: Mapping[str, Any]) -> told.CandlesAnswer:
        found = self._exchange.get_candles(asked["symbol"], asked["timeframe"], asked["limit"])
        return {"candles": [told.candle_answer(candle) for candle in found]}


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
