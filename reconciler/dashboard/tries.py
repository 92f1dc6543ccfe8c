"""Tries at the token, slowed: wrong ones wait, one after the other for each address. Belongs to the event loop."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from reconciler.clock import Clock
from reconciler.dashboard.query import QueryRefusal

FREE = 3
"""So many wrong ones are answered at once: people mistype."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 4.0
WAITING = 8
"""Tries of one address that wait at a time; more are refused unread."""
FORGOTTEN_AFTER_S = 300.0
_ADDRESSES = 1_000


@dataclass(slots=True)
class _Address:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    wrong: int = 0
    last_wrong_s: float = 0.0


class Tries:
    """Those of one page. Whoever has the right token waits only where his address has just tried wrong ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    async def is_right(self, client: str, judge: Callable[[], bool]) -> bool:
        """What `judge` says, when it is this try's turn. Raises Refusal 429 where too many wait already."""
        known = self._known(_network(client))
        if known.waiting >= WAITING:
            wait_s = round(WAITING * LONGEST_DELAY_S)
            message = f"too many wrong tokens from {client or 'here'}: try again in {wait_s} s"
            raise QueryRefusal(429, message, headers={"retry-after": str(wait_s)})
        known.waiting += 1
        try:
            async with known.turn:
                if judge():
                    known.wrong = 0
                    return True
                known.wrong += 1
                known.last_wrong_s = self._clock.monotonic()
                if known.wrong > FREE:
                    delay_s = FIRST_DELAY_S * 2.0 ** min(known.wrong - FREE - 1, 10)
                    await self._clock.sleep(min(delay_s, LONGEST_DELAY_S))
                return False
        finally:
            known.waiting -= 1

    def _known(self, network: str) -> _Address:
        known = self._addresses.pop(network, None) or _Address()
        if known.wrong and self._clock.monotonic() - known.last_wrong_s > FORGOTTEN_AFTER_S:
            known.wrong = 0
        self._addresses[network] = known
        if len(self._addresses) > _ADDRESSES:
            idle = next((name for name, one in self._addresses.items() if not one.waiting), None)
            if idle is not None and idle != network:
                del self._addresses[idle]
        return known


def _network(client: str) -> str:
    """The address; of IPv6 the network, for whoever has one address there has 2⁶⁴ of them."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return str(address) if address.version == 4 else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
