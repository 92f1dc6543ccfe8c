"""Which accounts may trade on the connection that there is: those that were compared with the ledger on it."""

from __future__ import annotations

from collections.abc import Collection

from reconciler.errors import ExecUnavailable
from reconciler.execution.connection import ServerStatus
from reconciler.execution.servers import Servers


class Readiness:
    """Changed on the main loop, read by any thread.

    A connection nobody has looked at yet makes every account of its server wait; then those wait that have anything
    to compare, each until it was.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._seen: dict[str, int] = {}
        self._waiting: dict[str, str] = {}

    def pending(self, account_id: str) -> str:
        """Why no order of the account may leave yet, empty where it may, or where nothing reaches it anyway."""
        try:
            status = self._servers.reaching(account_id).status
        except ExecUnavailable:
            return ""
        failed = self._waiting.get(account_id)
        if failed is None and self.has_seen(status):
            return ""
        why = f"comparing the orders and positions of account {account_id} after (re)connecting to {status.name!r}"
        return f"{why}: {failed}" if failed else why

    def is_pending(self) -> bool:
        """True where an account of a connected server may have to wait."""
        connected = [status for status in self._servers.statuses() if status.connected]
        return bool(self._waiting) or not all(self.has_seen(status) for status in connected)

    def is_pending_for(self, status: ServerStatus) -> bool:
        """The same of the accounts of one server."""
        if not self.has_seen(status):
            return True
        accounts = [self._servers.account(account_id) for account_id in tuple(self._waiting)]
        return any(account is not None and account.server == status.name for account in accounts)

    def has_seen(self, status: ServerStatus) -> bool:
        return self._seen.get(status.name, 0) == status.connections

    def begin(self, status: ServerStatus, account_ids: Collection[str]) -> None:
        """A connection was looked at: these of its accounts wait to be compared."""
        self._waiting.update((account_id, "") for account_id in account_ids)
        self._seen[status.name] = status.connections

    def waits(self, account_id: str) -> bool:
        return account_id in self._waiting

    def failed(self, account_id: str, why: str) -> None:
        """It could not be compared: where it waits, it waits on."""
        if account_id in self._waiting:
            self._waiting[account_id] = why

    def compared(self, account_id: str, status: ServerStatus) -> None:
        """It was compared on the connection that `status` is of."""
        if self.has_seen(status):
            self._waiting.pop(account_id, None)
