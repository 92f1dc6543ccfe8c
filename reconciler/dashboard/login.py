"""`/login`: trades the token for a cookie, so that a browser need not send a header. Only where there is a token.

The token comes in the body of a form, never in an address: those stay in histories and logs.
"""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from reconciler.dashboard.errors import error_response
from reconciler.dashboard.guard import COOKIE, LOGIN, is_token, session_of
from reconciler.dashboard.options import DashboardOptions
from reconciler.dashboard.refusal import Refusal
from reconciler.dashboard.render import HTML, render
from reconciler.dashboard.tries import Tries

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
        except Refusal as refusal:
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
            raise Refusal(403, "expected this page's own form, was sent from another site")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
            raise Refusal(415, f"expected {FORM}")
        body = b""
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_BYTES:
                    raise Refusal(413, f"expected a form of at most {LARGEST_BYTES} bytes")
        except ClientDisconnect:
            raise Refusal(400, "expected a whole form, was cut off") from None
        try:
            fields = parse_qs(body.decode("ascii"), max_num_fields=10, errors="strict")
        except ValueError:
            raise Refusal(400, "expected a form with the field token") from None
        given = fields.get("token", [])
        if len(given) != 1:
            raise Refusal(400, "expected a form with the field token, once")
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
