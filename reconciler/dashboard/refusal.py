"""What the dashboard answers where it has no answer: a status, a stable code, one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus


class Refusal(Exception):
    """Raised anywhere below a route; becomes `{"error": {"code", "message"}}` or a page saying the same."""

    def __init__(self, status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or code_of(status)
        self.message = message
        self.headers = dict(headers or {})


def code_of(status: int) -> str:
    """`not_found` for 404, `method_not_allowed` for 405: the standard phrase as an identifier."""
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def no_such(what: str, name: str, where: str) -> Refusal:
    """404 for a thing that is named and not there, with where to find those that are."""
    return Refusal(404, f"there is no {what} {name!r}; {where} lists those there are")
