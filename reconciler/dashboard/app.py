"""The application: which address is answered by what. Every route only reads."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from reconciler.clock import Clock
from reconciler.dashboard.answers import Answer, Answers
from reconciler.dashboard.api import Api, is_moment
from reconciler.dashboard.assets import load_assets
from reconciler.dashboard.errors import error_response
from reconciler.dashboard.guard import LOGIN, Guard
from reconciler.dashboard.login import Login
from reconciler.dashboard.metrics import MEDIA_TYPE, Metrics
from reconciler.dashboard.options import DashboardOptions
from reconciler.dashboard.pages import Pages
from reconciler.dashboard.probes import Probes
from reconciler.dashboard.query import MONEYS, Filters
from reconciler.dashboard.reader import EVENT_TYPES, OrdersReader
from reconciler.dashboard.refusal import Refusal
from reconciler.dashboard.render import HTML, JSON
from reconciler.dashboard.survey import Surveyor
from reconciler.dashboard.tries import Tries
from reconciler.dashboard.view import Build, View, conditional
from reconciler.ports import StatusReader
from reconciler.records.mode import Mode
from reconciler.records.order import OrderState, Outcome
from reconciler.records.status import Health, Sync

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


def create_app(status: StatusReader, reader: OrdersReader, clock: Clock, options: DashboardOptions) -> Starlette:
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
        except Refusal as refusal:
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
    return error_response(path, Refusal(error.status_code, f"there is nothing at {path}", headers=error.headers))


async def _crashed(request: Request, error: Exception) -> Response:
    """The last resort. Starlette raises the error again behind the response, so the server logs it."""
    return error_response(request.url.path, Refusal(500, "this could not be shown; the engine's log says why"))
