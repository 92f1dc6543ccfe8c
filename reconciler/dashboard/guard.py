"""The guard in front of everything, as pure ASGI: method, host, token; and the headers behind which all is sent.

Wrong tokens are slowed, one after the other for each address. Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from reconciler.clock import Clock
from reconciler.dashboard.query import QueryRefusal, error_response
from reconciler.records.accounts import Accounts

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class DashboardOptions:
    """`token` None asks nobody who they are, which is for loopback only; the settings see to that.

    `allowed_hosts` are the names a request's Host header may carry, without port; empty allows any. Loopback
    needs the check: without it any web page can point a name of its own at 127.0.0.1 and read this one.
    `accounts` says whose money is real.
    """

    token: str | None = field(default=None, repr=False)
    allowed_hosts: tuple[str, ...] = LOOPBACK_HOSTS
    accounts: Accounts = field(default_factory=Accounts)


COOKIE = "reconciler_session"
METHODS = ("GET", "HEAD")
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
LOGIN = "/login"
PUBLIC_PATHS = ("/livez", "/readyz", LOGIN)
"""What needs no token: probes, which say no more than well or not, and the way to show one."""

_HOST = re.compile(r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[a-z0-9._-]*))(?::[0-9]{0,5})?", re.ASCII)


class Guard:
    """Refuses what is not a reader's request, and puts `SECURITY_HEADERS` on every response, refusals included."""

    def __init__(self, app: ASGIApp, options: DashboardOptions, tries: Tries) -> None:
        self._app = app
        self._options = options
        self._tries = tries
        self._session = None if options.token is None else session_of(options.token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bodiless = scope["method"] == "HEAD"

        async def guarded_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                if scope["path"] == LOGIN:  # a browser says where its form comes from only to whom it may
                    headers["referrer-policy"] = "same-origin"
                if "cache-control" not in headers:
                    headers["cache-control"] = "no-store"
            elif bodiless and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        refusal = await self._refusal(scope)
        app = self._app if refusal is None else error_response(scope["path"], refusal)
        await app(scope, receive, guarded_send)

    async def _refusal(self, scope: Scope) -> QueryRefusal | None:
        allowed = (*METHODS, "POST") if self._session is not None and scope["path"] == LOGIN else METHODS
        if scope["method"] not in allowed:
            expected = "GET or HEAD" if allowed is METHODS else "GET, HEAD or POST"
            return QueryRefusal(
                405, f"this page only reads: expected {expected}", headers={"allow": ", ".join(allowed)}
            )
        headers = Headers(scope=scope)
        given = headers.get("host", "")
        if self._options.allowed_hosts and host_name(given) not in self._options.allowed_hosts:
            expected = ", ".join(self._options.allowed_hosts)
            return QueryRefusal(400, f"expected the Host to be one of {expected}, was {given[:100]!r}", code="bad_host")
        if self._session is None or _is_public(scope["path"]):
            return None
        try:
            if await self._knows(headers, scope):
                return None
        except QueryRefusal as refusal:
            return refusal
        return QueryRefusal(
            401,
            "a token is needed: send it as `Authorization: Bearer …`, or sign in at /login",
            headers={"www-authenticate": "Bearer"},
        )

    async def _knows(self, headers: Headers, scope: Scope) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            client = scope.get("client") or ("",)
            return await self._tries.is_right(client[0], lambda: is_token(token.strip(), self._options))
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and self._session is not None and _same(morsel.value, self._session)


def is_token(given: str, options: DashboardOptions) -> bool:
    """True where `given` is the token; takes the same time however much of it is right."""
    return options.token is not None and _same(given, options.token)


def session_of(token: str) -> str:
    """What the cookie holds: proof of the token, not the token."""
    return hmac.new(token.encode(), b"reconciler dashboard session", hashlib.sha256).hexdigest()


def host_name(host: str) -> str:
    """The name in a Host header, without its port and the brackets of an IPv6 address; empty where it is none."""
    found = _HOST.fullmatch(host.strip().lower())
    return "" if found is None else found["address"] or found["name"].removesuffix(".")


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


def _is_public(path: str) -> bool:
    return path in PUBLIC_PATHS or path.startswith("/static/")


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
