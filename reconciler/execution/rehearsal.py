"""One tiny order on request: placed far from the market, looked up, cancelled, looked up again.

It passes no gateway and is in no ledger: whoever asks for it has been asked whether they mean it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable
from reconciler.execution import answers
from reconciler.execution.client import ExecServer
from reconciler.execution.subject import Subject
from reconciler.records import exact
from reconciler.records.order import OrderState, Side, decimal_text

_FAR = Decimal("0.5")
"""The price it bids, as a part of the market's own bid."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The order to try. `price` None is half of what the market bids."""

    account_id: str
    client_id: str
    symbol: str
    quantity: Decimal
    client_order_id: str
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried, and what came of it."""

    what: str
    outcome: str
    ok: bool

    def to_json(self) -> dict[str, Any]:
        return {"what": self.what, "outcome": self.outcome, "ok": self.ok}


async def rehearse(server: ExecServer, trial: Trial) -> tuple[Step, ...]:
    """Every step, in order. Whatever may have been placed is cancelled; the last look-up says what became of it."""
    who = {"account_id": trial.account_id, "client_id": trial.client_id}
    ours: dict[str, Any] = {**who, "client_order_id": trial.client_order_id, "symbol": trial.symbol}
    subject = Subject(trial.client_order_id, trial.symbol, Side.BUY, trial.quantity)
    price = trial.price
    steps: list[Step] = []

    async def tried(what: str, work: Callable[[], Awaitable[str]]) -> bool:
        """Do it and note what came of it; True where it may have had an effect."""
        try:
            steps.append(Step(what, await work(), True))
        except (ExecError, CapabilityUnavailable) as error:
            steps.append(Step(what, str(error), False))
            return not isinstance(error, (ExecRejected, ExecUnavailable, CapabilityUnavailable))
        return True

    async def quote() -> str:
        nonlocal price
        read = answers.quote(await server.call("get_quote", {**who, "symbol": trial.symbol}), trial.symbol)
        half = exact.multiply(read.bid, _FAR)
        price = exact.rounded(half, read.bid, ROUND_DOWN) or half
        return f"bid {decimal_text(read.bid)}, ask {decimal_text(read.ask)}"

    async def place() -> str:
        assert price is not None
        order = {"side": "buy", "type": "limit", "quantity": decimal_text(trial.quantity)}
        answer = await server.call("place_order", {**ours, **order, "limit_price": decimal_text(price)})
        return _told(subject.report(answer))

    async def look_up() -> str:
        return _told(subject.report(await server.call("get_order", ours)))

    async def cancel() -> str:
        await server.call("cancel_order", ours)
        return "taken"

    async def ended() -> str:
        report = subject.report(await server.call("get_order", ours))
        if report.state is not OrderState.CANCELLED:
            raise ExecError(f"expected cancelled, was {_told(report)}: look at the account")
        return _told(report)

    if price is None and (not await tried("quote", quote) or not price):
        return tuple(steps)
    at = f"buy {decimal_text(trial.quantity)} {trial.symbol} at {decimal_text(price or Decimal(0))}"
    if await tried(f"place {trial.client_order_id}: {at}", place):
        await tried("look it up", look_up)
        await tried("cancel it", cancel)
        await tried("look it up again", ended)
    return tuple(steps)


def _told(report: answers.OrderReport) -> str:
    if report.refusal:
        raise ExecRejected(report.refusal)
    return f"{report.state}, {decimal_text(report.filled_quantity)} filled, the exchange's id is {report.order_id}"
