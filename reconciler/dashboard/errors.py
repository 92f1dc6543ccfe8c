"""The one error shape: JSON where a path speaks JSON, a page otherwise. Knows nothing of the engine's state."""

from __future__ import annotations

import json

from starlette.responses import Response

from reconciler.dashboard.refusal import Refusal
from reconciler.dashboard.render import HTML, JSON, render

MACHINE_PATHS = ("/livez", "/readyz", "/metrics")


def error_response(path: str, refusal: Refusal) -> Response:
    """The response that says `refusal` to whoever asked for `path`. Small enough for the event loop."""
    if path.startswith("/api/") or path in MACHINE_PATHS:
        error = {"error": {"code": refusal.code, "message": refusal.message}}
        body, media_type = json.dumps(error, ensure_ascii=False).encode(errors="backslashreplace"), JSON
    else:
        body, media_type = render("error.html", refusal=refusal), HTML
    headers = {**refusal.headers, "cache-control": "no-store"}
    return Response(body, refusal.status, headers, media_type)
