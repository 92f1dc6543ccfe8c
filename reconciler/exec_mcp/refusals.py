"""What failures say: of an order, that it was refused, or nobody knows; of a server, that it was asked too often.

The one place that knows servers' words, and pure but for `RateLimits`, which keeps who is let alone, and how long.

A refusal is what names why the exchange did not take the order. All else that a failure may say leaves it open: texts
of broken lines, of parsers, of crashes, of time-outs, of rate limits; there is no end of them, so they are not listed.
That our own id is there already proves that the exchange has it, whoever sent it a second time.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from reconciler.clock import Clock, iso

_WHAT: Final = r"(?:symbol|market|asset|instrument|contract|(?:currency |trading )?pair|product|ticker)"
_NAMED: Final = rf"\b{_WHAT}(?: (?-i:[^a-z ])\S*)?(?: is| was| does)?(?: currently| temporarily)?"
"""One of them, and perhaps its name, which is no plain word."""
_SIZE: Final = (
    r"\b(?:price|quantity|qty|amount|volume|notional|cost basis|leverage|(?:order|lot|trade|position)[ _](?:size|value)"
    r"|order (?:total|quantity|amount|price|count|cost))"
)
_MEANS: Final = (
    r"(?:fund|balance|margin|money|buying|cash|position|quantit|qty|asset|share|coin|collateral|equity|holding"
    r"|liquidity|permission)"
)
_SOME: Final = r"(?: \w+){0,3}"
_LESS: Final = (
    r"(?:exceed\w*|(?:is |are |was )?(?:below|above|under|over|outside|too \w+|out of)|(?:less|lower|more) than)"
)

_REFUSED: Final = re.compile(
    "|".join(
        (
            # What it would take.
            rf"insufficient\W*(?!data|info|memory|time|resource)(?:\w+\W+){{0,2}}?_?{_MEANS}",
            rf"not enough (?:\w+ )?{_MEANS}|\bno (?:funds|money)\b|not enough for new order",
            rf"{_MEANS}\w*{_SOME} (?:too low|insufficient|not (?:enough|sufficient))",
            rf"exceed\w* (?:(?:the|your|available|current|allowed|max\w*) )*{_MEANS}",
            # Price and size.
            r"filter failure|MIN_NOTIONAL|LOT_SIZE|PRICE_FILTER|PERCENT_PRICE|\bMAX_NUM_\w*ORDERS|order minimum",
            r"(?:\b|_)min(?:imum|imal)?[ _-](?:\w+ ){0,2}?(?:order|price|quantit|qty|amount|size|notional|cost|value)"
            r"|(?:below|under|less than) (?:the )?min(?:imum)?\b",
            rf"{_SIZE}{_SOME} {_LESS}|{_SIZE}{_SOME} (?:must|should|can(?:not|'t)) be|minimum pricing",
            r"\bprecision (?:is )?(?:over|too|exceed)|too many (?:decimals|open orders)|\b(?:tick|lot)[ _-]?size\b",
            r"(?:order|position|price|risk|quantity|amount)s?[ _]limit\b|order (?:is )?too (?:small|large|big)",
            rf"(?:invalid|wrong|incorrect)[ _](?:\w+[ _]){{0,2}}(?:{_SIZE[2:]}|{_WHAT}|side|order[ _]?type)\b",
            # The market.
            rf"(?:unknown|no such|unsupported) {_WHAT}\b|\bBadSymbol\b|\b{_WHAT} (?:is )?not permitted",
            rf"{_NAMED} (?:not (?:found|exist|active|trad\w+|supported|open)|delisted|halted|suspended|disabled|closed"
            r"|paused)",
            rf"trading{_SOME} (?:halted|suspended|disabled|closed|paused|prohibited|not (?:allowed|open))",
            r"outside (?:of )?(?:\w+ )?(?:trading|market) hours|\bMarketClosed\b",
            # The order as such, and whose it is.
            r"would (?:cross|(?:trigger )?immediately|take liquidity)|wash trade|Order(?:Not|Immediately)Fillable",
            r"(?:post|reduce)[ _-]?only\b.{0,30}?\b(?:would|reject|mode|cross|not|increase)",
            r"order[ _]?type\b.{0,40}not (?:supported|allowed|valid)",
            r"\bAuthenticationError\b|\bPermissionDenied\b|\bAccount(?:NotEnabled|Suspended)\b",
            r"(?:not |un)authori[sz]ed|account (?:is )?(?:blocked|suspended|restricted|frozen|not enabled)",
            r"(?:invalid|wrong|expired|missing) (?:\w+-)?(?:api[ _-]?)?(?:key|signature|secret|passphrase)\b",
            r"credentials (?:are )?not set|(?:^|\n|: )\W*order (?:was )?rejected\b",
        )
    ),
    re.IGNORECASE,
)
"""Known words of refusals."""

_IN_DOUBT: Final = re.compile(
    # The line, and whoever is on it.
    r"tim(?:ed?|ing)[ _-]?out|deadline|time limit|network|connect|socket|reset by|broken pipe|unreachable|\bEOF\b"
    r"|ECONN|EPIPE|EAI_|fetch failed|abort|terminat|unavailable|bad gateway|gateway time|hang ?up|redirect"
    r"|\bretr(?:y|ies)|attempts|rate[ _]limit|too many requests|too frequent|request limit"
    r"|internal (?:server )?error|\b5\d\d (?:server|error)|<html|<!doctype"
    r"|(?:://\S+|\bHTTP\S*|\bstatus(?: code)?|\berror(?: code)?|\bcode|\banswered)\W{1,3}(?:408|5\d\d)\b"
    # The answer that could not be read, and the program that tripped over it.
    r"|status (?:is )?unknown|unknown status|being processed|\bparse|\bdecod|\bJSON\b|payload|\bbody\b|\bbytes\b"
    r"|\bheaders?\b|validation (?:error|fail)|\bschema\b|\boutput\b|\bin (?:the )?(?:response|answer|reply)\b"
    r"|(?:must|should) be (?:an? )?(?:valid )?(?:str|num|int|bool|obj|arr|null|decimal|float)"
    r"|(?:invalid|bad|malformed|empty|unexpected) (?:response|answer|reply)|\berrno\b|traceback"
    # What had happened before it went wrong.
    r"|\border (?:\S+ )?(?:was |is |has been |already )?(?:placed|submitted|created|sent|accepted|executed|filled)\b"
    r"|\bfetch(?:ing)?[ _A-Z]|\bafter (?:plac|submit|creat|send)",
    re.IGNORECASE,
)
"""What lies between the server and the exchange, or is the server's own: beside it, no word of a refusal counts."""

_TAKEN: Final = re.compile(
    r"duplicat|already[ _-]?exist|already (?:(?:been|in) )?(?:used?|taken|present|registered|submitted|sent|placed"
    r"|received|processed)|(?:id|order)\w* (?:is )?already\b|must be unique|(?:not|non)[ -]unique|n't unique"
    r"|\bid\b.{0,20}\brepeated|order_id.{0,20}\brepeated|\bre-?used\b|\b40010001\b|\b51016\b|-4116\b",
    re.IGNORECASE,
)
"""That our id is there already: in words, and in the codes of Alpaca, OKX and Binance."""

_CALL: Final = re.compile(
    r"(?:invalid|unknown|missing|unexpected|bad|no such) (?:request )?(?:param|argument|tool|input|name)"
    r"|input validation|tool \S+ (?:not found|disabled|does not exist)",
    re.IGNORECASE,
)
"""What the JSON-RPC error of wrong parameters says where the call was turned away; some make it of a bad answer."""
_LONGEST: Final = 4_000
"""What is longer is a page or a dump, and no reason."""

_TELLING: Final = frozenset(
    {"error", "errors", "err", "code", "message", "msg", "reason", "detail", "details", "description", "exception"}
    | {"name", "type", "title", "label", "cause", "smsg", "scode", "retmsg", "errmsg", "errorcode", "errorname"}
    | {"errormessage", "errortype", "errordescription", "errordetail", "statusmessage", "rejectreason"}
)
"""The members of an answer that tell why it failed, in small letters and without signs. Others may be anything."""


_NUMBERED: Final = frozenset(
    {"code", "status", "httpstatus", "httpcode", "statuscode", "errorcode", "scode", "retcode"}
)
"""Those of them whose value may be a number: 503, say."""


def says_refused(text: str) -> bool:
    """True where `text` names why the exchange did not take the order, and nothing in it leaves that open."""
    return _REFUSED.search(text[:_LONGEST]) is not None and not leaves_open(text)


def says_taken(text: str) -> bool:
    """True where `text` says that there is an order of this client_order_id already."""
    return _TAKEN.search(text[:_LONGEST]) is not None


def says_call_refused(text: str) -> bool:
    """True where the JSON-RPC error of wrong parameters says that these were a call's own: its tool never ran."""
    return _CALL.search(text[:_LONGEST]) is not None and re.search(r"(?i)\boutput|structured", text) is None


def leaves_open(text: str) -> bool:
    """True where `text` speaks of what lies between the server and the exchange, or of an id that is taken."""
    return len(text) > _LONGEST or _IN_DOUBT.search(text) is not None or says_taken(text)


def told(answer: Any) -> str:
    """All that an answer that tells of a failure says of it, in one text."""
    return "\n".join(_texts(answer, is_telling=not isinstance(answer, (dict, list))))


def _texts(value: Any, *, is_telling: bool) -> Iterator[str]:
    match value:
        case Mapping():
            for key, inner in value.items():
                spelled = str(key).lower().replace("_", "").replace("-", "")
                if spelled in _NUMBERED and str(inner).lstrip("-").isdecimal():
                    yield f"code {inner}"
                    continue
                deeper = isinstance(inner, (Mapping, list))
                yield from _texts(inner, is_telling=spelled in _TELLING or (is_telling and deeper))
        case list():
            for inner in value:
                yield from _texts(inner, is_telling=is_telling)
        case bool() | None:
            return
        case _ if is_telling:
            yield str(value)


_FIRST_S: Final = 1.0
_LONGEST_S: Final = 60.0
_LONGEST_ASKED_S: Final = 3_600.0
"""However long a server asks to be let alone: it is asked again then."""
_SAID: Final = re.compile(
    r"(?i)^429\b|(?:http\S*|status|code|error|answered)\W{1,4}(?:is )?(?:429|50011|-1015)\b|request weight|\bthrottl"
    r"|\btoo[ _-]?many[ _-]?(?:new )?(?:requests|visits)|too many new orders|rate[ _-]?limit"
    r"|requests? (?:rate|frequency)"
)
"""How failures say it."""
_AFTER: Final = re.compile(
    r"(?i)(?:retry|try again|wait)\W+(?:(?:after|in|for)\W+)?(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?)?\b"
)
_UNITS_S: Final = {"ms": 0.001, "m": 60.0}


def says_too_often(text: str) -> bool:
    """True where a failure says that there were too many requests."""
    return _SAID.search(text) is not None


def asked_s(text: str) -> float | None:
    """How long a failure's words ask to wait, in seconds; None where they do not say."""
    found = _AFTER.search(text)
    if found is None:
        return None
    unit = (found[2] or "s").lower()
    name = "ms" if unit.startswith(("ms", "mil")) else unit[0]
    return float(found[1]) * _UNITS_S.get(name, 1.0)


def retry_after_s(header: str, now_s: float) -> float | None:
    """What the header `Retry-After` says, seconds or a date, in seconds from now; None where it makes no sense."""
    text = header.strip()
    if text.isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    at = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max(0.0, (at - datetime.fromtimestamp(now_s, UTC)).total_seconds())


@dataclass(frozen=True, slots=True)
class _Hold:
    why: str
    until_s: float
    until_at_s: float
    step_s: float


class RateLimits:
    """Of one server. Thread-safe. A hold is of an account's new orders, or, as `DATA`, of the server's data."""

    def __init__(self, clock: Clock) -> None:
        self.on_hold: Callable[[str, str], None] | None = None
        """Told, with the account and the reason, whenever a hold begins, and not when it is prolonged."""
        self._clock = clock
        self._lock = threading.Lock()
        self._holds: dict[str, _Hold] = {}

    def hit(self, account_id: str, why: str, wait_s: float | None) -> None:
        """It was said. `wait_s` is how long it asks to wait, None where it does not say."""
        now_s = self._clock.monotonic()
        with self._lock:
            known = self._holds.get(account_id)
            if known is not None and now_s < known.until_s and wait_s is None:
                return  # of calls that were under way together, one counts
            step_s = _FIRST_S if known is None else min(known.step_s * 2, _LONGEST_S)
            hold_s = min(step_s if wait_s is None else max(wait_s, _FIRST_S), _LONGEST_ASKED_S)
            until_s = max(now_s + hold_s, 0.0 if known is None else known.until_s)
            self._holds[account_id] = _Hold(why, until_s, self._clock.time() + (until_s - now_s), step_s)
        if known is None and self.on_hold is not None:
            self.on_hold(account_id, why)

    def passed(self, account_id: str) -> None:
        """A call of the kind went through: what comes after it begins anew."""
        if account_id in self._holds:
            with self._lock:
                self._holds.pop(account_id, None)

    def told(self, account_id: str) -> str:
        """Why, and until when, the account's new orders wait; empty where they do not."""
        hold = self._holds.get(account_id)
        if hold is None or self._clock.monotonic() >= hold.until_s:
            return ""
        return f"too many requests, says the other side: {hold.why}; the next may leave at {iso(hold.until_at_s)}"

    def accounts(self) -> list[str]:
        """The accounts whose new orders wait."""
        return [account_id for account_id in tuple(self._holds) if account_id != DATA and self.told(account_id)]

    def data_told(self) -> str:
        """Why, and until when, the server is not asked for data."""
        return self.told(DATA)


DATA: Final = ""
"""Stands in an account's place for the data of the whole server."""
