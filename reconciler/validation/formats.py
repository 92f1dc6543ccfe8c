"""Formats: whether a text is what a schema's `format` says. Pure. What stands here is checked; there is no other.

JSON Schema 2020-12, validation, section 7.3, and the standards that it names. A format is an assertion here, not a
note: an author who writes one means it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date
from functools import cache
from typing import Final

_DATE: Final = r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})"
_TIME: Final = (
    r"(?P<clock>[0-9]{2}:[0-9]{2}):(?P<seconds>[0-9]{2})(?:\.[0-9]+)?"
    r"(?:[Zz]|(?P<sign>[+-])(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}))"
)
_FULL_TIME: Final = re.compile(_TIME)
_DATE_TIME: Final = re.compile(f"{_DATE}[Tt]{_TIME}")
_PART: Final = r"(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S)"
_DAYS: Final = r"(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)"
_DURATION: Final = re.compile(rf"P(?:[0-9]+W|{_DAYS}(?:T{_PART})?|T{_PART})")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LONGEST_HOSTNAME: Final = 253
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL: Final = re.compile(rf'(?:{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])*")')
_ESCAPES: Final = re.compile(r"\\(?:[^A-Za-z]|[bBcdDfknpPrsStuvwWx]|(.))", re.DOTALL)
"""Those of ECMA 262, and in the group all others."""
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_POINTER: Final = r"(?:/(?:[^/~]|~[01])*)*"
_JSON_POINTER: Final = re.compile(_POINTER, re.DOTALL)
_RELATIVE_POINTER: Final = re.compile(rf"(?:0|[1-9][0-9]*)(?:#|{_POINTER})", re.DOTALL)
_BEYOND_ASCII: Final = (
    "\u00a0-\ud7ff\uf900-\ufdcf\ufdf0-\uffef\U00010000-\U0001fffd\U00020000-\U0002fffd\U00030000-\U0003fffd"
    "\U00040000-\U0004fffd\U00050000-\U0005fffd\U00060000-\U0006fffd\U00070000-\U0007fffd\U00080000-\U0008fffd"
    "\U00090000-\U0009fffd\U000a0000-\U000afffd\U000b0000-\U000bfffd\U000c0000-\U000cfffd\U000d0000-\U000dfffd"
    "\U000e1000-\U000efffd"
)
_VARIABLE: Final = r"(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2})(?:\.?(?:[A-Za-z0-9_]|%[0-9A-Fa-f]{2}))*(?::[1-9][0-9]{0,3}|\*)?"
_TEMPLATE: Final = re.compile(
    rf"""(?:[^\x00-\x20\x7f"'%<>\\^`{{|}}]|%[0-9A-Fa-f]{{2}}|\{{[+#./;?&=,!@|]?{_VARIABLE}(?:,{_VARIABLE})*\}})*"""
)


@cache
def _references(beyond: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """RFC 3986, appendix A, and with `beyond` RFC 3987: with a scheme, and relative to something. Made when asked for:
    the two are most of what importing this would take."""
    one = rf"(?:[A-Za-z0-9._~!$&'()*+,;=:@{beyond}-]|%[0-9A-Fa-f]{{2}})"
    user = rf"(?:[A-Za-z0-9._~!$&'()*+,;=:{beyond}-]|%[0-9A-Fa-f]{{2}})*"
    name = rf"(?:[A-Za-z0-9._~!$&'()*+,;={beyond}-]|%[0-9A-Fa-f]{{2}})*"
    literal = r"\[(?:(?P<v6>[0-9A-Fa-f:.]+)|[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+)\]"
    authority = rf"(?:{user}@)?(?:{literal}|{name})(?::[0-9]*)?"
    below = rf"(?://{authority}(?:/{one}*)*|/(?:{one}+(?:/{one}*)*)?"
    no_colon = one.replace(":@", "@")
    rest = rf"(?:\?(?:{one}|[/?])*)?(?:\#(?:{one}|[/?])*)?"
    absolute = rf"[A-Za-z][A-Za-z0-9+.-]*:{below}|(?:{one}+(?:/{one}*)*)?){rest}"
    relative = rf"{below}|(?:{no_colon}+(?:/{one}*)*)?){rest}"
    return re.compile(absolute), re.compile(relative)


def _fits(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text) is not None


def _is_date(text: str) -> bool:
    return re.fullmatch(_DATE, text) is not None and _day(text) is not None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _is_time(text: str) -> bool:
    match = _FULL_TIME.fullmatch(text)
    return match is not None and _is_moment(match, date(2000, 1, 1))


def _is_date_time(text: str) -> bool:
    match = _DATE_TIME.fullmatch(text)
    day = None if match is None else _day(match["day"])
    return match is not None and day is not None and _is_moment(match, day)


def _is_moment(match: re.Match[str], day: date) -> bool:
    """True where there is such a time of the day. Second 60 is one where it ends the day in UTC (RFC 3339, 5.7)."""
    hour, minute = map(int, match["clock"].split(":"))
    hours, minutes = int(match["hours"] or 0), int(match["minutes"] or 0)
    if hour > 23 or minute > 59 or hours > 23 or minutes > 59 or int(match["seconds"]) > 60:
        return False
    if match["seconds"] != "60":
        return True
    ahead = (60 * hours + minutes) * (-1 if match["sign"] == "-" else 1)
    return (60 * hour + minute - ahead) % (24 * 60) == 24 * 60 - 1


def _is_hostname(text: str) -> bool:
    return len(text) <= _LONGEST_HOSTNAME and _HOSTNAME.fullmatch(text) is not None and _are_encoded(text)


def _are_encoded(text: str) -> bool:
    """True where each label that says it was encoded can be decoded: `xn--` begins nothing else."""
    return not any(label[2:4] == "--" and not _is_idn_hostname(label) for label in text.split("."))


def _is_idn_hostname(text: str) -> bool:
    import idna

    try:
        return bool(idna.encode(text)) and len(idna.encode(text)) <= _LONGEST_HOSTNAME
    except idna.IDNAError:
        return False


def _is_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    return bool(at) and len(local) <= 64 and _LOCAL.fullmatch(local) is not None and _is_mail_domain(domain)


def _is_mail_domain(domain: str) -> bool:
    if domain.startswith("[") and domain.endswith("]"):
        literal = domain[1:-1]
        return _is_ipv6(literal[5:]) if literal[:5].lower() == "ipv6:" else _is_ipv4(literal)
    return _is_hostname(domain)


def _is_idn_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    plain = "".join(c if c.isascii() else "x" for c in local)
    return bool(at) and _LOCAL.fullmatch(plain) is not None and (_is_mail_domain(domain) or _is_idn_hostname(domain))


def _is_ipv4(text: str) -> bool:
    try:
        return text.isascii() and bool(ipaddress.IPv4Address(text))
    except ValueError:
        return False


def _is_ipv6(text: str) -> bool:
    try:
        return text.isascii() and "%" not in text and ipaddress.IPv6Address(text) is not None
    except ValueError:
        return False


def _is_regex(text: str) -> bool:
    if any(match[1] for match in _ESCAPES.finditer(text)):
        return False
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _refers(beyond: str, *, relative: bool) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        for pattern in _references(beyond)[: 2 if relative else 1]:
            match = pattern.fullmatch(text)
            if match is not None and (match["v6"] is None or _is_ipv6(match["v6"])):
                return True
        return False

    return fits


CHECKS: Final[Mapping[str, Callable[[str], bool]]] = {
    "date": _is_date,
    "date-time": _is_date_time,
    "time": _is_time,
    "duration": _fits(_DURATION),
    "email": _is_email,
    "idn-email": _is_idn_email,
    "hostname": _is_hostname,
    "idn-hostname": _is_idn_hostname,
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "uri": _refers("", relative=False),
    "uri-reference": _refers("", relative=True),
    "iri": _refers(_BEYOND_ASCII, relative=False),
    "iri-reference": _refers(_BEYOND_ASCII, relative=True),
    "uri-template": _fits(_TEMPLATE),
    "json-pointer": _fits(_JSON_POINTER),
    "relative-json-pointer": _fits(_RELATIVE_POINTER),
    "regex": _is_regex,
    "uuid": _fits(_UUID),
}
"""Each format, and whether a text is of it."""

WORDS: Final[Mapping[str, str]] = {
    "date": "a date like 2026-01-31",
    "date-time": "a time like 2026-01-31T12:00:00Z",
    "time": "a time of day with its offset, like 12:00:00Z",
    "duration": "a duration like P1DT12H",
    "email": "an e-mail address",
    "idn-email": "an e-mail address",
    "hostname": "a host name",
    "idn-hostname": "a host name",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "uri": "a URI with its scheme, like https://example.com/",
    "uri-reference": "a URI or a part of one",
    "iri": "an IRI with its scheme, like https://example.com/",
    "iri-reference": "an IRI or a part of one",
    "uri-template": "a URI template",
    "json-pointer": "a JSON pointer like /a/0",
    "relative-json-pointer": "a relative JSON pointer like 1/a",
    "regex": "a regular expression",
    "uuid": "a UUID",
}
"""Each format, as a message names it."""
