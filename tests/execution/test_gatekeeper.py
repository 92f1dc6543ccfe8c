"""The gatekeeper's cost. What it lets through is tested with the gateway."""

from __future__ import annotations

from datetime import datetime

import pytest

from reconciler.orders.order import Outcome
from reconciler.records.record import Limits
from tests.execution.standins import Desk, StandInGate


@pytest.mark.parametrize(("most", "reads"), [(None, 0), (10, 2)])
def test_the_orders_of_the_last_minute_are_counted_only_where_they_are_limited(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, most: int | None, reads: int
) -> None:
    """Else every order would cost more than the one before, twice, and busy instances would slow themselves down."""
    passed, asked = desk.store.ledger.passed, list[str]()

    def counted(instance_id: str, shadow: bool, since: datetime, but: str) -> int:
        asked.append(but)
        return passed(instance_id, shadow, since, but)

    monkeypatch.setattr(desk.store.ledger, "passed", counted)
    order = desk.buy(StandInGate(limits=Limits(max_orders_per_minute=most)))
    assert order.outcome is Outcome.ACCEPTED
    assert len(asked) == reads
