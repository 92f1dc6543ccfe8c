"""An order for a drill of the kill switch: small, on paper money alone, in the name of an operator. Blocks.

It goes the way of all orders, and leaves only while no halt forbids it: sent before a halt and after it, it tells
whether the halt holds.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from reconciler import exact
from reconciler.errors import CannotDrill, CapabilityUnavailable, ExecError
from reconciler.exec_mcp.bridge import Bridge
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.flattening import limit_price
from reconciler.execution.order_steps import OrderSteps
from reconciler.execution.sending import Dispatch
from reconciler.orders.market import InstrumentRules, Quote
from reconciler.orders.order import Order, OrderRequest, OrderType, Provenance, Side
from reconciler.ports import MarketData
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.store.store import Store

_RESTS_BELOW = Decimal("0.3")
"""So far below the quote, as a fraction, an order rests that is not to fill."""
_TAKES_WITHIN = Decimal("0.05")


class DrillOrders:
    """Called on worker threads."""

    def __init__(
        self, store: Store, servers: Servers, market: MarketData, steps: OrderSteps, dispatch: Dispatch, bridge: Bridge
    ) -> None:
        self._store = store
        self._servers = servers
        self._market = market
        self._steps = steps
        self._dispatch = dispatch
        self._bridge = bridge

    def place(self, account_id: str, beat: int, *, takes: bool) -> Order:
        """As small a purchase as the market takes: one that fills at once, or one that rests far below the quote.

        Whatever became of it. Raises CannotDrill.
        """
        if self._servers.accounts.is_real(account_id):
            raise CannotDrill(f"account {account_id} is real money: a drill places orders, on paper alone")
        row = self._bearer(account_id)
        symbol = row.record.identity.market
        try:
            quote = self._market.quote(account_id, symbol, beat)
        except (ExecError, CapabilityUnavailable) as error:
            raise CannotDrill(f"{symbol} has no quote to place an order by: {error}") from error
        rules = self._rules(account_id, symbol)
        request = _request(quote, rules, takes=takes)
        origin = Provenance(
            row.id, account_id, row.record.identity.client_id, symbol, Mode.ACTIVE, row.generation, row.config_digest,
            row.code_digest, row.revision, beat, is_by_operator=True,
        )  # fmt: skip
        order = replace(
            self._steps.closing(origin, request), quote_bid=quote.bid, quote_ask=quote.ask, quote_at=quote.as_of
        )
        look = self._steps.last_look_at_closing(order, lambda: self._halted(account_id, row.id))
        return self._bridge.result(self._dispatch.order(order, look))

    def _halted(self, account_id: str, instance_id: str) -> str:
        halts = (halt for halt in self._store.halts.active() if halt.forbids(account_id, instance_id))
        return next((f"{halt.target} is halted: {halt.reason}" for halt in halts), "")

    def _bearer(self, account_id: str) -> Row:
        rows = self._store.desired.rows().values()
        found = sorted(
            (row for row in rows if row.is_live and row.record.identity.account_id == account_id),
            key=lambda row: (row.mode is not Mode.ACTIVE, row.id),
        )
        if not found:
            raise CannotDrill(f"no instance trades on account {account_id}: there is nothing to place an order for")
        return found[0]

    def _rules(self, account_id: str, symbol: str) -> InstrumentRules:
        try:
            return self._market.rules(account_id, symbol)
        except (ExecError, CapabilityUnavailable):
            return InstrumentRules()


def _request(quote: Quote, rules: InstrumentRules, *, takes: bool) -> OrderRequest:
    if takes:
        price = limit_price(Side.BUY, quote, _TAKES_WITHIN, rules.price_step)
    else:
        far = exact.multiply(quote.bid, exact.subtract(Decimal(1), _RESTS_BELOW))
        digits = Decimal(1).scaleb(min(0, int(quote.bid.as_tuple().exponent)))
        price = exact.multiple(far, rules.price_step or digits, ROUND_FLOOR)
    quantity = rules.min_quantity or rules.quantity_step or Decimal(1)
    if rules.min_notional is not None and exact.multiply(quantity, price) < rules.min_notional:
        quantity = exact.share(rules.min_notional, Decimal(1), price)
    quantity = exact.multiple(quantity, rules.quantity_step or Decimal("1E-8"), ROUND_CEILING)
    return OrderRequest(Side.BUY, OrderType.LIMIT, quantity, price)
