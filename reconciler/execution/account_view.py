"""The view of an account: what strategies and the comparison with the ledger have learned of it. Asks nobody."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reconciler.clock import iso
from reconciler.execution.comparing import Comparison
from reconciler.execution.market import MarketData
from reconciler.ports import AccountView
from reconciler.records.cadence import beat_time


class AccountViews:
    """Thread-safe. `comparisons` are asked anew each time."""

    def __init__(self, market: MarketData, comparisons: Callable[[], Sequence[Comparison]], heartbeat_s: float) -> None:
        self._market = market
        self._comparisons = comparisons
        self._heartbeat_s = heartbeat_s

    def view(self, account_id: str, client_id: str) -> AccountView:
        positions = self._market.last_positions(account_id, client_id)
        balances = self._market.last_balances(account_id, client_id)
        compared = next((one for one in self._comparisons() if one.account_id == account_id), None)
        return AccountView(
            positions=None if positions is None else positions[1],
            positions_at=None if positions is None else self._time_of(positions[0]),
            balances=None if balances is None else balances[1],
            balances_at=None if balances is None else self._time_of(balances[0]),
            compared_at=None if compared is None else compared.at,
            difference="" if compared is None else compared.difference,
        )

    def _time_of(self, beat: int) -> str:
        return iso(beat_time(beat, self._heartbeat_s))
