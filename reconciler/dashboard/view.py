"""A view: from a request to a response. Checks the query, has the body built elsewhere, honours a copy at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from reconciler.dashboard.answers import Answer, Answers, Page
from reconciler.dashboard.errors import error_response
from reconciler.dashboard.query import Filters, parse, typed
from reconciler.dashboard.refusal import Refusal
from reconciler.dashboard.render import HTML

UNKEPT = {"cache-control": "no-store"}

Build = Callable[..., bytes | Page]
"""Takes the `Query` and the path's parameters by name; runs on a worker thread; may raise `Refusal`."""


@dataclass(frozen=True, slots=True)
class View:
    """One address, whole in itself: its route serves as well within another application.

    `kept` is for what the status tells; what the database tells is built anew each time.
    """

    answers: Answers
    build: Build
    media_type: str
    filters: Filters
    paged: bool
    kept: bool

    async def respond(self, request: Request) -> Response:
        path, pairs = request.scope["path"], request.query_params.multi_items()
        try:
            query = parse(pairs, self.filters, paged=self.paged)
        except Refusal as refusal:
            if self.media_type != HTML or not self.filters:
                return error_response(path, refusal)
            again = typed(pairs, self.filters, refusal.message)
            answer = await self.answers.fresh(partial(self.build, again, **request.path_params))
            return Response(answer.body, refusal.status, {**answer.headers, **UNKEPT}, self.media_type)
        try:
            build = partial(self.build, query, **request.path_params)
            answer = await (self.answers.kept((path, query), build) if self.kept else self.answers.fresh(build))
        except Refusal as refusal:
            return error_response(path, refusal)
        return conditional(request, answer, self.media_type)


def conditional(request: Request, answer: Answer, media_type: str) -> Response:
    """The body, or 304 where the asker already has it.

    A page tells ages: no browser keeps it, and only who knows that they grow (our own script) asks by its etag.
    """
    keeping = UNKEPT if media_type == HTML else {"cache-control": "no-cache"}
    headers = {"etag": answer.etag, **answer.headers, **keeping}
    had = (one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(","))
    if answer.etag.removeprefix("W/") in had:
        return Response(status_code=304, headers=headers)
    if answer.packed:
        headers["vary"] = "accept-encoding"
        if takes_gzip(request.headers.get("accept-encoding", "")):
            return Response(answer.packed, headers={**headers, "content-encoding": "gzip"}, media_type=media_type)
    return Response(answer.body, headers=headers, media_type=media_type)


def takes_gzip(accepted: str) -> bool:
    """True where an Accept-Encoding header names gzip, and does not forbid it."""
    for one in accepted.split(","):
        name, _, weight = one.partition(";")
        if name.strip().lower() == "gzip":
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
