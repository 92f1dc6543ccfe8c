"""Market and account data for strategies: fetched once per server and beat, however many threads ask.

Implements `ports.MarketData`. Whoever asks first fetches; the others wait for the same answer, also where
it is a failure. A later beat fetches anew.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar, cast

from reconciler.errors import ExecUnavailable
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.bridge import GRACE_S, Bridge
from reconciler.exec_mcp.contract import BALANCES, RULES
from reconciler.exec_mcp.request import names_another
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import Venue
from reconciler.orders.market import TIMEFRAMES_S, Balance, Candle, Equity, InstrumentRules, Position, Quote
from reconciler.ports import EventLog
from reconciler.records.event import EventReason

T = TypeVar("T")

_CANDLES = (100, 300, 500, 1_000)
"""How many candles are fetched for whoever asks for fewer. Servers often give no more than one of these numbers."""


@dataclass(frozen=True, slots=True)
class _Fetch(Generic[T]):
    """One answer, there or on its way. `size` is how much was asked for; a larger one serves a smaller."""

    beat: int
    size: int
    future: Future[T] = field(default_factory=Future)


class MarketData:
    """Blocks its worker thread; raises ExecError, or CapabilityUnavailable where the server lacks the tool."""

    def __init__(self, servers: Servers, bridge: Bridge, events: EventLog | None = None) -> None:
        self._servers = servers
        self._bridge = bridge
        self._events = events
        self._lock = threading.Lock()
        self._fetches: dict[tuple[str, ...], _Fetch[Any]] = {}
        self._newest = 0
        self._told: dict[tuple[str, str, str], tuple[int, Sequence[Any]]] = {}
        self._rules: dict[tuple[str, str], tuple[int, InstrumentRules]] = {}
        """By server and symbol: what was told, and on which of the server's connections."""
        self._equities: dict[tuple[str, str], Equity | None] = {}
        self._unreadable: dict[tuple[str, ...], str] = {}
        """What could not be read when it was last asked for: server, tool and subject, and why."""

    def quote(self, account_id: str, symbol: str, beat: int) -> Quote:
        arguments = {"account_id": account_id, "client_id": "", "symbol": symbol}
        return self._once(account_id, "get_quote", (symbol,), arguments, beat, lambda a: quote_of(symbol, a))

    def candles(self, account_id: str, symbol: str, timeframe: str, limit: int, beat: int) -> Sequence[Candle]:
        """Raises ValueError for a timeframe that is none, and for a limit below 1.

        Limits are rounded up, so that instances which differ a little share one fetch. Those that differ
        much do not, where the smaller asks first: at worst one fetch for every step of `_CANDLES` in a beat.
        """
        if timeframe not in TIMEFRAMES_S:
            raise ValueError(f"timeframe: expected one of {', '.join(TIMEFRAMES_S)}, was {timeframe!r}")
        if limit < 1:
            raise ValueError(f"limit: expected at least 1, was {limit}")
        subject = {"symbol": symbol, "timeframe": timeframe}
        # One to spare, for the candle that still runs is left out; but no more than what servers give at most.
        size = next((step for step in _CANDLES if limit < step), max(limit, _CANDLES[-1]))
        arguments = {"account_id": account_id, "client_id": "", **subject, "limit": size}
        key = tuple(subject.values())
        read = partial(answers.candles, timeframe=timeframe)
        return self._once(account_id, "get_candles", key, arguments, beat, read, size)[-limit:]

    def positions(self, account_id: str, client_id: str, beat: int) -> Sequence[Position]:
        arguments = {"account_id": account_id, "client_id": client_id}
        found = self._once(account_id, "get_positions", (account_id, client_id), arguments, beat, answers.positions)
        self._told["positions", account_id, client_id] = (beat, found)
        return found

    def balances(self, account_id: str, client_id: str, beat: int) -> Sequence[Balance]:
        arguments = {"account_id": account_id, "client_id": client_id}
        found, equity = self._once(account_id, BALANCES, (account_id, client_id), arguments, beat, _funds)
        self._told["balances", account_id, client_id] = (beat, found)
        self._equities[account_id, client_id] = equity
        return found

    def last_equity(self, account_id: str, client_id: str) -> Equity | None:
        """What the account was said to be worth when its balances were last told. Asks nobody."""
        return self._equities.get((account_id, client_id))

    def rules(self, account_id: str, symbol: str) -> InstrumentRules:
        """What the market lets through: asked for once a connection, and kept, failures for so long as a beat."""
        server = self._servers.reaching(account_id)
        connection = server.status.connections
        known = self._rules.get((server.name, symbol))
        if known is not None and known[0] == connection:
            return known[1]
        arguments = {"account_id": account_id, "client_id": "", "symbol": symbol}
        found = self._once(account_id, RULES, (symbol,), arguments, self._newest, answers.rules)
        self._rules[server.name, symbol] = (connection, found)
        return found

    def last_rules(self, account_id: str, symbol: str) -> InstrumentRules | None:
        """What was last told of the market, None where nothing was. Asks nobody."""
        try:
            known = self._rules.get((self._servers.reaching(account_id).name, symbol))
        except ExecUnavailable:
            return None
        return None if known is None else known[1]

    def last_quote(self, account_id: str, symbol: str) -> Quote | None:
        """The quote that was last told, None where none was asked for in this beat or the last. Asks nobody."""
        try:
            fetch = self._fetches.get((self._servers.reaching(account_id).name, "get_quote", symbol))
        except ExecUnavailable:
            return None
        if fetch is None or not fetch.future.done() or fetch.future.exception() is not None:
            return None
        return cast(Quote, fetch.future.result())

    def last_positions(self, account_id: str, client_id: str) -> tuple[int, Sequence[Position]] | None:
        """What was last told, and at which beat; None where nobody asked. Asks nobody."""
        return self._told.get(("positions", account_id, client_id))

    def last_balances(self, account_id: str, client_id: str) -> tuple[int, Sequence[Balance]] | None:
        """As `last_positions`."""
        return self._told.get(("balances", account_id, client_id))

    def _once(
        self,
        account_id: str,
        tool: str,
        subject: tuple[str, ...],
        arguments: Mapping[str, Any],
        beat: int,
        read: Callable[[Mapping[str, Any]], T],
        size: int = 1,
    ) -> T:
        server = self._servers.reaching(account_id)
        key = (server.name, tool, *subject)
        with self._lock:
            self._drop_older_than(beat)
            fetch = cast("_Fetch[T] | None", self._fetches.get(key))
            first = fetch is None or fetch.beat < beat or fetch.size < size
            if first:
                fetch = self._fetches[key] = _Fetch(beat, size)
        assert fetch is not None
        if first:
            self._fetch(fetch.future, server, tool, arguments, read)
            self._note(key, fetch.future.exception())
        try:
            return fetch.future.result(server.timeout_s + 2 * GRACE_S)
        except TimeoutError:
            raise ExecUnavailable(f"{tool}: no answer from {server.name!r}") from None

    def _fetch(
        self,
        future: Future[T],
        server: Venue,
        tool: str,
        arguments: Mapping[str, Any],
        read: Callable[[Mapping[str, Any]], T],
    ) -> None:
        """Settle `future` with the answer or its failure, whatever it is: others wait for it."""
        try:
            wait_s = server.timeout_s + GRACE_S
            future.set_result(read(self._bridge.call(lambda: server.call(tool, arguments), wait_s)))
        except BaseException as error:  # noqa: BLE001 - it is raised in every thread that waits, this one included
            future.set_exception(error)

    def _note(self, key: tuple[str, ...], error: BaseException | None) -> None:
        """Tell what was answered and cannot be, once for as long as it is the same."""
        why = str(error) if isinstance(error, answers.Unreadable) else ""
        if error is not None and not why:
            return  # that nothing was answered is told elsewhere
        with self._lock:
            before = self._unreadable.pop(key, "")
            if why:
                self._unreadable[key] = why
        if why and why != before and self._events is not None:
            server, tool, *subject = key
            told = f"{server}: {tool} of {', '.join(subject)}: an answer was not taken: {why}"
            self._events.record(None, "Warning", EventReason.ANSWER_UNREADABLE, told)

    def _drop_older_than(self, beat: int) -> None:
        """Forget, once per beat, what no later beat asked for again."""
        if beat <= self._newest:
            return
        self._fetches = {key: fetch for key, fetch in self._fetches.items() if fetch.beat >= self._newest}
        self._newest = beat


def quote_of(symbol: str, answer: Mapping[str, Any]) -> Quote:
    """`get_quote` of that symbol. Raises Unreadable, also where it plainly tells of another market."""
    told = answer.get("symbol")
    if isinstance(told, str) and told and names_another(symbol, told):
        raise answers.Unreadable(f"quote of {symbol}: expected that market, was {told:.80}")
    return answers.quote(answer, symbol)


def _funds(answer: Mapping[str, Any]) -> tuple[Sequence[Balance], Equity | None]:
    return answers.balances(answer), answers.equity(answer)
