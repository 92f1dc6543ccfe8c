"""The query string of a list: filters, `limit`, `offset`. Everything in it is expected, or refused by name.

What is refused, and every other error, is answered in one shape.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from urllib.parse import urlencode

from starlette.responses import Response

from reconciler.dashboard.render import HTML, JSON, render


class QueryRefusal(Exception):
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


def no_such(what: str, name: str, where: str) -> QueryRefusal:
    """404 for a thing that is named and not there, with where to find those that are."""
    return QueryRefusal(404, f"there is no {what} {name!r}; {where} lists those there are")


DEFAULT_LIMIT = 100
HIGHEST_LIMIT = 1_000
HIGHEST_OFFSET = 1_000_000_000
LONGEST_FILTER = 200
MONEYS = ("real", "paper")

Filters = Mapping[str, tuple[str, ...] | Callable[[str], object] | None]
"""The filters a list understands: the words each one takes, what else it must be understood by (a function that
raises ValueError), or None where it takes any text."""


@dataclass(frozen=True, slots=True)
class Query:
    """What was asked for; hashable, so that two spellings of one question share one answer."""

    filters: tuple[tuple[str, str], ...] = ()
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    fault: str = ""
    """Why it cannot be answered, where what was typed is shown once more."""

    def get(self, name: str) -> str:
        """The value of a filter, empty where it was not given."""
        return next((value for key, value in self.filters if key == name), "")

    def at(self, offset: int) -> Query:
        """The same question, another page of it."""
        return replace(self, offset=max(0, offset))

    def to_url(self, path: str) -> str:
        """The address that asks this, without what is default."""
        pairs: list[tuple[str, str]] = list(self.filters)
        if self.limit != DEFAULT_LIMIT:
            pairs.append(("limit", str(self.limit)))
        if self.offset:
            pairs.append(("offset", str(self.offset)))
        return f"{path}?{urlencode(pairs)}" if pairs else path


def parse(pairs: Iterable[tuple[str, str]], filters: Filters, *, paged: bool) -> Query:
    """The query that `pairs` spell. Raises `Refusal` 400 naming everything that is wrong with it.

    A filter given empty, as an untouched form field is, is no filter.
    """
    known = (*filters, "limit", "offset") if paged else tuple(filters)
    given: dict[str, str] = {}
    faults: list[str] = []
    for name, value in pairs:
        if name not in known:
            faults.append(_unknown(name, known))
        elif name in given:
            faults.append(f"{name}: expected it once, was given more than once")
        else:
            given[name] = value
    limit = _whole(given, "limit", 1, HIGHEST_LIMIT, DEFAULT_LIMIT, faults)
    offset = _whole(given, "offset", 0, HIGHEST_OFFSET, 0, faults)
    wanted = tuple((name, given[name]) for name in filters if given.get(name))
    faults.extend(fault for name, value in wanted if (fault := _bad_filter(name, value, filters[name])))
    if faults:
        raise QueryRefusal(400, "; ".join(faults), code="bad_query")
    return Query(wanted, limit, offset)


def typed(pairs: Iterable[tuple[str, str]], filters: Filters, fault: str) -> Query:
    """What was typed into the form of a list, as far as it is of it, with what is wrong with it."""
    given = dict(pairs)
    return Query(tuple((name, given[name]) for name in filters if given.get(name)), fault=fault)


def _whole(given: Mapping[str, str], name: str, low: int, high: int, default: int, faults: list[str]) -> int:
    text = given.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) <= len(str(high)) and low <= int(text) <= high:
        return int(text)
    faults.append(f"{name}: expected a whole number from {low} to {high}, was {_shown(text)}")
    return default


def _bad_filter(name: str, value: str, words: tuple[str, ...] | Callable[[str], object] | None) -> str | None:
    if len(value) > LONGEST_FILTER:
        return f"{name}: expected at most {LONGEST_FILTER} characters, was {len(value)}"
    if words is None:
        return None
    if not isinstance(words, tuple):
        try:
            words(value)
        except ValueError as error:
            return f"{name}: {error}"
        return None
    if value in words:
        return None
    return f"{name}: expected one of {', '.join(words)}, was {_shown(value)}{_meant(value, words)}"


def _unknown(name: str, known: tuple[str, ...]) -> str:
    expected = f"expected one of {', '.join(known)}" if known else "expected none"
    return f"unknown parameter {_shown(name)}: {expected}{_meant(name, known)}"


def _meant(text: str, words: tuple[str, ...]) -> str:
    by_folded = {word.casefold(): word for word in words}
    close = difflib.get_close_matches(text[:LONGEST_FILTER].casefold(), by_folded, n=1)
    return f" (did you mean {by_folded[close[0]]}?)" if close else ""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:59] + "…")


MACHINE_PATHS = ("/livez", "/readyz", "/metrics")


def error_response(path: str, refusal: QueryRefusal) -> Response:
    """The response that says `refusal` to whoever asked for `path`. Small enough for the event loop."""
    if path.startswith("/api/") or path in MACHINE_PATHS:
        error = {"error": {"code": refusal.code, "message": refusal.message}}
        body, media_type = json.dumps(error, ensure_ascii=False).encode(errors="backslashreplace"), JSON
    else:
        body, media_type = render("error.html", refusal=refusal), HTML
    headers = {**refusal.headers, "cache-control": "no-store"}
    return Response(body, refusal.status, headers, media_type)
