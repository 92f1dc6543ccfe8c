"""The state of one live instance on one side of a comparison: what its orders meet there. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.records.accounts import Accounts
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.review.plan.change import Money
from reconciler.review.plan.way import NOWHERE, Way, way_differences, way_of


@dataclass(frozen=True, slots=True)
class State:
    """What holds for it: its row, its money and the server that reaches it, the halts that cover it, the way its
    orders go."""

    row: Row
    money: Money
    server: str
    halts: tuple[Halt, ...]
    way: Way = NOWHERE

    @property
    def is_active(self) -> bool:
        return self.row.mode is Mode.ACTIVE

    @property
    def is_halted_in_full(self) -> bool:
        return any(halt.full for halt in self.halts)

    @property
    def awaits_commit(self) -> bool:
        """True where it is active on real money, but not wholly committed: its gate is closed."""
        return self.is_active and self.money == "real" and not self.row.committed


def state_of(row: Row | None, accounts: Accounts, halts: Iterable[Halt]) -> State | None:
    if row is None or not row.is_live:
        return None
    account_id = row.record.identity.account_id
    account = accounts.get(account_id)
    server = "" if account is None else account.server
    forbidding = tuple(halt for halt in halts if halt.forbids(account_id, row.id))
    return State(row, money_of(row, accounts), server, forbidding, way_of(account_id, accounts))


def money_of(row: Row, accounts: Accounts) -> Money:
    account = accounts.get(row.record.identity.account_id)
    if account is None:
        return "unknown"
    return "real" if account.real_money else "paper"


def goes_elsewhere(old: State, new: State) -> bool:
    """True where its orders go to other money, through another server, or on another way."""
    return (old.money, old.server) != (new.money, new.server) or bool(way_differences(old.way, new.way))
