"""The application: which address is answered by what. Every route only reads."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from reconciler.clock import Clock
from reconciler.dashboard.api import EVENT_TYPES, Api, is_moment
from reconciler.dashboard.attention import Surveyor, heartbeat_age_s
from reconciler.dashboard.bodies import Answer, Answers, Build, View, conditional
from reconciler.dashboard.guard import COOKIE, LOGIN, DashboardOptions, Guard, Tries, is_token, session_of
from reconciler.dashboard.metrics import MEDIA_TYPE, Metrics
from reconciler.dashboard.pages import Pages
from reconciler.dashboard.query import MONEYS, Filters, QueryRefusal, error_response
from reconciler.dashboard.render import HTML, JSON, render, to_json
from reconciler.orders.order import OrderState, Outcome
from reconciler.ports import StatusReader
from reconciler.records.mode import Mode
from reconciler.records.status import Health, Sync
from reconciler.store.reader import Reader

MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    body: bytes
    etag: str
    media_type: str


def load_assets() -> dict[str, Asset]:
    """Every file of `static/` by name."""
    folder = Path(__file__).parent / "static"
    return {path.name: _asset(path) for path in sorted(folder.iterdir()) if path.suffix in MEDIA_TYPES}


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    return Asset(body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"', MEDIA_TYPES[path.suffix])


FORM = "application/x-www-form-urlencoded"
LARGEST_BYTES = 1024


class Login:
    """The form, and its answer. It changes nothing but the browser that asks."""

    def __init__(self, options: DashboardOptions, tries: Tries) -> None:
        self._options = options
        self._tries = tries

    async def respond(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(render("login.html", wrong=False), 200, media_type=HTML)
        try:
            given = await self._given(request)
            client = request.client.host if request.client is not None else ""
            is_right = await self._tries.is_right(client, lambda: is_token(given, self._options))
        except QueryRefusal as refusal:
            return error_response(LOGIN, refusal)
        if self._options.token is None or not is_right:
            return Response(render("login.html", wrong=True), 401, media_type=HTML)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            session_of(self._options.token),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def _given(self, request: Request) -> str:
        """The token of the form. Raises Refusal where it is none, too long, or another site's."""
        if not is_same_origin(request.headers):
            raise QueryRefusal(403, "expected this page's own form, was sent from another site")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            raise QueryRefusal(415, f"expected {FORM}")
        body = b""
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_BYTES:
                    raise QueryRefusal(413, f"expected a form of at most {LARGEST_BYTES} bytes")
        except ClientDisconnect:
            raise QueryRefusal(400, "expected a whole form, was cut off") from None
        try:
            fields = parse_qs(body.decode("ascii"), max_num_fields=10, errors="strict")
        except ValueError:
            raise QueryRefusal(400, "expected a form with the field token") from None
        given = fields.get("token", [])
        if len(given) != 1:
            raise QueryRefusal(400, "expected a form with the field token, once")
        return given[0]


def is_same_origin(headers: Headers) -> bool:
    """True where a page of this very address sent it, or no browser did.

    A page that tells no referrer sends the origin `null`, its own forms too: then what the browser says of the site
    counts.
    """
    site = headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    if origin is None or (origin == "null" and site == "same-origin"):
        return True
    return urlsplit(origin).netloc.lower() == headers.get("host", "").strip().lower() != ""


BLOCKED_SAID_S: Final = 60.0
BLOCKED_S: Final = 600.0
"""For so long what was merged may wait for git to end what it does; then the source does not work."""


class Probes:
    """Each method is the body of one probe, or a `Refusal` 503. They answer anybody, so they tell no detail."""

    def __init__(self, status: StatusReader, clock: Clock) -> None:
        self._status = status
        self._clock = clock

    def live(self) -> bytes:
        """That this is answered at all says that the main loop turns."""
        engine, now_s = self._status.engine(), self._clock.time()
        if engine.heartbeat_ended:
            raise QueryRefusal(503, f"{engine.heartbeat_ended}: restart the engine", code="heartbeat_ended")
        return to_json({"status": "ok", "heartbeat_age_s": round(heartbeat_age_s(engine, now_s), 3)})

    def ready(self) -> bytes:
        engine = self._status.engine()
        blocked_s = engine.source_blocked_s
        source = engine.source_error or ("blocked" if blocked_s >= BLOCKED_S else "")
        checks = {"source": source, "database": engine.database_error, "heartbeat": engine.no_beat}
        faulty = [name for name, error in checks.items() if error]
        if faulty:
            raise QueryRefusal(503, f"{' and '.join(faulty)} faulty; the fleet page says why", code="not_ready")
        told = dict.fromkeys(checks, "ok") | ({"source": "blocked"} if blocked_s >= BLOCKED_SAID_S else {})
        return to_json({"status": "ok", "checks": told})


NO_FILTERS: Filters = {}
INSTANCE_FILTERS: Filters = {
    "q": None,
    "label": None,
    "mode": tuple(Mode),
    "health": tuple(Health),
    "sync": tuple(Sync),
    "strategy_type": None,
    "account": None,
    "money": MONEYS,
    "effective_mode": tuple(Mode),
}
ORDER_FILTERS: Filters = {
    "instance_id": None,
    "outcome": tuple(Outcome),
    "state": tuple(OrderState),
    "shadow": ("true", "false"),
    "since": is_moment,
    "until": is_moment,
}
EVENT_FILTERS: Filters = {"instance_id": None, "type": EVENT_TYPES}


def create_app(status: StatusReader, reader: Reader, clock: Clock, options: DashboardOptions) -> Starlette:
    """The dashboard as an ASGI application.

    `status` and `reader` are called on worker threads, but for `status.revision()`, which the event loop
    calls too: it must never wait.
    """
    answers = Answers(status.revision, clock)
    surveyor = Surveyor(status, options.accounts, clock)
    api = Api(status, reader, clock)
    pages = Pages(status, reader, surveyor, options.accounts, clock)
    metrics = Metrics(status, surveyor, clock)
    probes = Probes(status, clock)

    def twins(
        path: str, page: Build, json: Build, filters: Filters = NO_FILTERS, *, paged: bool, kept: bool = True
    ) -> list[Route]:
        json_path = "/api/v1/instances" if path == "/" else f"/api/v1{path}"
        return [
            Route(path, View(answers, page, HTML, filters, paged, kept).respond),
            Route(json_path, View(answers, json, JSON, filters, paged, kept).respond),
        ]

    routes = [
        *twins("/", pages.fleet, api.instances, INSTANCE_FILTERS, paged=True),
        *twins("/instances/{instance_id}", pages.instance, api.instance, paged=False, kept=False),
        *twins("/strategies", pages.strategies, api.strategies, paged=True),
        *twins("/strategies/{strategy_type}", pages.strategy, api.strategy, paged=False),
        *twins("/problems", pages.problems, api.problems, paged=True),
        *twins("/orders", pages.orders, api.orders, ORDER_FILTERS, paged=True, kept=False),
        Route("/api/v1/orders/orphans", View(answers, api.orphans, JSON, NO_FILTERS, paged=False, kept=False).respond),
        *twins("/orders/{client_order_id}", pages.order, api.order, paged=False, kept=False),
        *twins("/events", pages.events, api.events, EVENT_FILTERS, paged=True, kept=False),
        *twins("/limits", pages.limits, api.limits, paged=False),
        *twins("/source", pages.source, api.source, paged=False, kept=False),
        Route("/api/v1/engine", View(answers, api.engine, JSON, NO_FILTERS, paged=False, kept=True).respond),
        # `/api/v1/stream`, the server-sent events, goes here.
        Route("/metrics", View(answers, metrics.exposition, MEDIA_TYPE, NO_FILTERS, paged=False, kept=True).respond),
        Route("/livez", _Probe(answers, probes.live).respond),
        Route("/readyz", _Probe(answers, probes.ready).respond),
        Route("/static/{name}", _Static().respond),
    ]
    tries = Tries(clock)
    if options.token is not None:
        routes.append(Route(LOGIN, Login(options, tries).respond, methods=["GET", "POST"]))
    return _Dashboard(routes, options, tries)


def api_routes(dashboard: Starlette) -> list[Route]:
    """The JSON of a dashboard, for another application: each route answers its own refusals."""
    return [route for route in dashboard.routes if isinstance(route, Route) and route.path.startswith("/api/")]


class _Dashboard(Starlette):
    """Starlette with the guard around all of it, its last resort for crashes included."""

    def __init__(self, routes: list[Route], options: DashboardOptions, tries: Tries) -> None:
        super().__init__(routes=routes, exception_handlers={HTTPException: _not_found, Exception: _crashed})
        self.router.redirect_slashes = False
        self._options = options
        self._tries = tries

    def build_middleware_stack(self) -> ASGIApp:
        return Guard(super().build_middleware_stack(), self._options, self._tries)


class _Probe:
    def __init__(self, answers: Answers, build: Build) -> None:
        self._answers = answers
        self._build = build

    async def respond(self, request: Request) -> Response:
        try:
            answer = await self._answers.probe(self._build)
        except QueryRefusal as refusal:
            return error_response(request.url.path, refusal)
        return Response(answer.body, media_type=JSON)


class _Static:
    def __init__(self) -> None:
        self._assets = load_assets()

    async def respond(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        if asset is None:
            raise HTTPException(404)
        return conditional(request, Answer(asset.body, asset.etag), asset.media_type)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    return error_response(path, QueryRefusal(error.status_code, f"there is nothing at {path}", headers=error.headers))


async def _crashed(request: Request, error: Exception) -> Response:
    """The last resort. Starlette raises the error again behind the response, so the server logs it."""
    return error_response(request.url.path, QueryRefusal(500, "this could not be shown; the engine's log says why"))
