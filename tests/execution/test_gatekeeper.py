"""The gatekeeper's cost. What it lets through is tested with the gateway."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from reconciler.records.order import Order, Outcome
from reconciler.records.record import Limits
from tests.execution.standins import Desk, StandInGate


@pytest.mark.parametrize(("most", "reads"), [(None, 0), (10, 2)])
def test_the_orders_of_the_last_minute_are_read_only_where_they_are_limited(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, most: int | None, reads: int
) -> None:
    """Else every order would cost more than the one before, twice, and busy instances would slow themselves down."""
    recent, asked = desk.store.ledger.recent, list[int]()

    def counted(instance_id: str, limit: int, shadow: bool) -> Sequence[Order]:
        asked.append(limit)
        return recent(instance_id, limit, shadow)

    monkeypatch.setattr(desk.store.ledger, "recent", counted)
    order = desk.buy(StandInGate(limits=Limits(max_orders_per_minute=most)))
    assert order.outcome is Outcome.ACCEPTED
    assert len(asked) == reads
