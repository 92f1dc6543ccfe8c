"""The application: which address is answered by what. Every route only reads, and reads on a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from reconciler.clock import Clock
from reconciler.dashboard import metrics
from reconciler.dashboard.answers import Answer, Answers
from reconciler.dashboard.api import Api
from reconciler.dashboard.assets import load_assets
from reconciler.dashboard.errors import error_response
from reconciler.dashboard.guard import Guard
from reconciler.dashboard.login import Login
from reconciler.dashboard.options import DashboardOptions
from reconciler.dashboard.pages import Pages
from reconciler.dashboard.probes import Probes
from reconciler.dashboard.query import Filters, Query, parse
from reconciler.dashboard.reader import OrdersReader
from reconciler.dashboard.refusal import Refusal
from reconciler.dashboard.render import HTML, JSON
from reconciler.dashboard.survey import Surveyor
from reconciler.ports import StatusReader
from reconciler.records.mode import Mode
from reconciler.records.order import OrderState, Outcome
from reconciler.records.status import Health, Sync

Endpoint = Callable[[Request], "Response | object"]
Build = Callable[..., bytes]

NO_FILTERS: Filters = {}
INSTANCE_FILTERS: Filters = {
    "q": None,
    "label": None,
    "mode": tuple(Mode),
    "health": tuple(Health),
    "sync": tuple(Sync),
    "strategy_type": None,
}
ORDER_FILTERS: Filters = {"instance_id": None, "outcome": tuple(Outcome), "state": tuple(OrderState)}
EVENT_FILTERS: Filters = {"instance_id": None, "type": None}


class Dashboard(Starlette):
    """Starlette with the guard around all of it, its own last resort for crashes included."""

    def __init__(self, routes: list[Route], options: DashboardOptions) -> None:
        super().__init__(routes=routes, exception_handlers={Exception: _crashed, HTTPException: _http, Refusal: _refused})
        self.router.redirect_slashes = False
        self._options = options

    def build_middleware_stack(self) -> ASGIApp:
        return Guard(super().build_middleware_stack(), self._options)


def create_app(status: StatusReader, reader: OrdersReader, clock: Clock, options: DashboardOptions) -> Starlette:
    """The dashboard as an ASGI application. `status` and `reader` are called on worker threads, but for
    `status.revision()`, which the event loop calls too and which must therefore never wait.
    """
    answers = Answers(status.revision, clock)
    surveyor = Surveyor(status, options.accounts)
    api = Api(status, reader)
    pages = Pages(status, reader, surveyor, options.accounts, clock)
    probes = Probes(status, clock)

    def view(path: str, build: Build, media_type: str, filters: Filters, *, paged: bool, kept: bool = True) -> Route:
        return Route(path, _View(answers, build, media_type, filters, paged=paged, kept=kept).respond)

    def twins(path: str, page: Build, json: Build, filters: Filters, *, paged: bool, kept: bool = True) -> list[Route]:
        json_path = "/api/v1/instances" if path == "/" else f"/api/v1{path}"
        return [
            view(path, page, HTML, filters, paged=paged, kept=kept),
            view(json_path, json, JSON, filters, paged=paged, kept=kept),
        ]

    routes = [
        *twins("/", pages.fleet, api.instances, INSTANCE_FILTERS, paged=True),
        *twins("/instances/{instance_id}", pages.instance, api.instance, NO_FILTERS, paged=False, kept=False),
        *twins("/strategies", pages.strategies, api.strategies, NO_FILTERS, paged=True),
        *twins("/strategies/{strategy_type}", pages.strategy, api.strategy, NO_FILTERS, paged=False),
        *twins("/problems", pages.problems, api.problems, NO_FILTERS, paged=True),
        *twins("/orders", pages.orders, api.orders, ORDER_FILTERS, paged=True, kept=False),
        *twins("/events", pages.events, api.events, EVENT_FILTERS, paged=True, kept=False),
        view("/api/v1/engine", api.engine, JSON, NO_FILTERS, paged=False),
        view("/metrics", _Scrape(metrics.Metrics(status, surveyor, clock)), metrics.MEDIA_TYPE, NO_FILTERS, paged=False),
        Route("/livez", partial(_probe, answers, probes.live)),
        Route("/readyz", partial(_probe, answers, probes.ready)),
        Route("/static/{name}", _Static().respond),
        # `/api/v1/stream`, the server-sent events, goes here.
    ]
    if options.token is not None:
        routes.append(Route("/login", Login(options).respond))
    return Dashboard(routes, options)
