"""`/login`: trades the token for a cookie, so that a browser need not send a header. Only where there is a token."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from reconciler.dashboard.guard import COOKIE, is_token, session_of
from reconciler.dashboard.options import DashboardOptions
from reconciler.dashboard.render import HTML, render


class Login:
    """The form, and its answer. It changes nothing but the browser that asks."""

    def __init__(self, options: DashboardOptions) -> None:
        self._options = options

    async def respond(self, request: Request) -> Response:
        given = request.query_params.get("token")
        if given is None:
            return Response(render("login.html", wrong=False), 200, media_type=HTML)
        if self._options.token is None or not is_token(given, self._options):
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
