"""Templates and how values are written in them. Autoescape is on and nothing is ever marked safe."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from reconciler.clock import from_iso
from reconciler.orders.order import decimal_text
from reconciler.records.cadence import duration as spelled
from reconciler.records.mode import Mode
from reconciler.records.status import Condition, Health, InstanceStatus, Sync, TradingCaveat, TradingReason
from reconciler.visible import visible_json, visible_lines

HTML = "text/html; charset=utf-8"
JSON = "application/json"

TONES: Mapping[str, str] = {
    **dict.fromkeys((Health.STUCK, Health.DEGRADED, Sync.INVALID, Sync.REFUSED), "bad"),
    **dict.fromkeys((Health.PAUSED, Sync.HELD), "warn"),
    **dict.fromkeys((Health.PROGRESSING, Sync.OUT_OF_SYNC, Mode.OBSERVE), "info"),
    **dict.fromkeys((Health.HEALTHY, Sync.SYNCED), "ok"),
    Mode.ACTIVE: "active",
}
REASONS: Mapping[str, str] = {
    TradingReason.UNKNOWN_ORDER: "order in doubt",
    TradingReason.EXEC_DOWN: "exec-mcp down",
    TradingCaveat.ORDER_MISSING: "order denied",
    TradingCaveat.REFUSED_AGAIN: "refused again and again",
    TradingReason.RATE_LIMITED: "rate limited",
}
WELL = ("Open", "Applied", "Loaded", "Ticking")
"""Why a condition is true where all is well with it; any other reason has something to say."""
_DASH = "–"
_DIGITS = 10


def plain(value: object) -> Any:
    """The JSON form of what json does not know: read-only mappings and exact decimals. TypeError otherwise."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"expected a plain value, was {type(value).__name__}")


def to_json(value: object) -> bytes:
    """Compact JSON, nothing hidden in it. NaN and infinities, which JSON does not have, are a ValueError."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain)
    return visible_json(text).encode()


def duration(seconds: float | None) -> str:
    """How long, as people say it; a dash where it is not known."""
    return _DASH if seconds is None else spelled(seconds)


def moment(iso: str | None) -> str:
    """An ISO 8601 UTC time to the second, `2026-01-31 12:00:00Z`; a dash where there is none."""
    if not iso:
        return _DASH
    day, _, time = iso.partition("T")
    return f"{day} {time[:8]}Z" if len(time) >= 8 else iso


def ago(iso: str | None, now: str) -> str:
    """How long before `now` that was, `3 s ago`, or will be, `in 3 s`; a dash where there is none."""
    return aged(iso, now, None).text


def _whole(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else "0 s"


def is_older(iso: str | None, now: str, age_s: float) -> bool:
    """True where that was more than `age_s` before `now`."""
    try:
        return iso is not None and from_iso(now) - from_iso(iso) > age_s
    except ValueError:
        return False


class Age(NamedTuple):
    """How long ago, as `ago` says it, and whether that is longer than it should be."""

    text: str
    is_late: bool


@lru_cache(1_000)
def aged(iso: str | None, now: str, late_s: float | None) -> Age:
    """`ago` and `is_older` in one, for lists: each time is read once. Never late where `late_s` is None or 0."""
    if not iso:
        return Age(_DASH, False)
    try:
        seconds = from_iso(now) - from_iso(iso)
    except ValueError:
        return Age(iso, False)
    text = f"in {_whole(-seconds)}" if seconds < 0 else f"{_whole(seconds)} ago"
    return Age(text, bool(late_s) and seconds > (late_s or 0))


def moment_at(iso: str | None, now: str) -> str:
    """As `moment`, without the date where it is that of `now`."""
    text = moment(iso)
    return text[11:] if iso and iso[:10] == now[:10] and len(text) > 11 else text


def short(revision: str | None) -> str:
    """A revision as people quote it."""
    return revision[:10] if revision else _DASH


def written(value: object) -> str:
    """A value as one line of JSON, a string as itself."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=plain)


def pretty(value: object) -> str:
    """A value as indented JSON."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=plain)


def amount(value: Decimal | None) -> str:
    """A number for people: exact where it is short, else to ten digits behind the point; a dash where there is none."""
    if value is None:
        return _DASH
    is_long = value.as_tuple().exponent < -_DIGITS  # type: ignore[operator]
    return decimal_text(round(value, _DIGITS) if is_long else value)


def tone(word: str) -> str:
    """The colour of a mode, health or sync, as the style sheet names it; colour repeats what the word says."""
    return TONES.get(word, "off")


class GateWord(NamedTuple):
    """Whether orders may leave, as a row says it; `tone` is empty where there is no more to be said."""

    word: str
    tone: str
    reasons: tuple[str, ...]


def gate(instance: InstanceStatus) -> GateWord:
    """Whether the orders of an instance may leave, and what keeps them. What only observes is closed by its mode."""
    condition = next((one for one in instance.conditions if one.type == "Trading"), None)
    if condition is None:
        return GateWord("not known", "warn", ())
    if condition.status:
        return (
            GateWord("open", "ok", ())
            if condition.reason == "Open"
            else GateWord("open", "warn", (_spelled(condition.reason),))
        )
    found = [one.reason for one in instance.obstacles] or [condition.reason]
    reasons = tuple(dict.fromkeys(_spelled(one) for one in found if one != TradingReason.MODE))
    grave = instance.effective_mode is Mode.ACTIVE or TradingReason.UNKNOWN_ORDER in found
    return GateWord("closed", ("bad" if grave else "warn") if reasons else "", reasons)


_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _spelled(reason: str) -> str:
    """`UnknownOrder` as people say it."""
    return REASONS.get(reason) or _WORDS.sub(" ", reason).lower()


def condition_tone(condition: Condition) -> str:
    """A gate that mode alone closes is as the file wants it; what is true, but not all well, is no green."""
    if condition.status:
        return "ok" if condition.reason in WELL else "warn"
    return "off" if condition.reason in (TradingReason.MODE, "Off", "NotLoaded") else "warn"


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    return quote(text, safe="")


def _shown(value: Any) -> Any:
    """What stands on a page: a text that others wrote turns nothing around and hides nothing. Its lines stay."""
    return visible_lines(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_shown,
    )
    for how in (
        aged,
        ago,
        amount,
        condition_tone,
        duration,
        gate,
        is_older,
        moment,
        moment_at,
        short,
        written,
        pretty,
        segment,
        tone,
    ):
        environment.filters[how.__name__] = how
    return environment


_ENVIRONMENT = _environment()


def render(template: str, **values: object) -> bytes:
    """The page that `template` makes of `values`. A name the template uses and nobody gave is an error.

    Lone surrogates, which UTF-8 cannot hold, are shown escaped: no text takes a page down.
    """
    return _ENVIRONMENT.get_template(template).render(values).encode(errors="backslashreplace")


def compile_templates() -> threading.Thread:
    """Compile every template, on a thread of its own, which is returned: whoever looks first does not wait for it.

    Compiling one keeps everybody out of the interpreter, for up to ten milliseconds: better before anybody looks.
    """

    def compile_all() -> None:
        for name in _ENVIRONMENT.list_templates():
            _ENVIRONMENT.get_template(name)

    thread = threading.Thread(target=compile_all, name="templates", daemon=True)
    thread.start()
    return thread


_PIECES = 10_000
_LONG = 2_000
"""Of so many characters a name is not kept: names are bounded in number, and so should be what they take."""


@lru_cache(1)
def _row_template() -> Any:
    return _ENVIRONMENT.get_template("fleet_row.html").module


@lru_cache(_PIECES)
def _row_name(*said: Hashable) -> Any:
    return _row_template().name(*said)


@lru_cache(_PIECES)
def _row_state(*said: Hashable) -> Any:
    return _row_template().state(*said)


@lru_cache(_PIECES)
def _row_ticking(*said: Hashable) -> Any:
    return _row_template().ticking(*said)


def fleet_row(one: InstanceStatus, is_real: bool, now: str, heartbeat_s: float) -> Any:
    """An instance's row in the fleet, as a piece of the page, put together of pieces that are rendered once each.

    Of how instances are there are few ways, whatever their number, and those that share a cadence ticked at the same
    moments: a page that nobody has seen yet costs their names. All that a piece is made of is what it is kept by, so it
    is never older than what is asked for.
    """
    labels = tuple(one.labels.items())
    is_live = is_real and one.effective_mode is Mode.ACTIVE
    length = len(one.description) + sum(len(key) + len(value) for key, value in labels)
    name = _row_name if length <= _LONG else _row_template().name
    ticks = one.ticks
    every_s, good_at = ticks.every_s, ticks.last_good_at
    may_be_late = every_s and (ticks.next_at or one.health is Health.STUCK)
    late_s = every_s + 2 * heartbeat_s if every_s and may_be_late else None
    return (
        name(one.id, one.description, one.frozen_with_exposure, labels, is_live)
        + _row_state(
            one.strategy_type,
            one.market,
            one.account_id,
            one.client_id,
            is_real,
            is_live,
            one.mode,
            one.effective_mode,
            one.paused,
            gate(one),
            one.sync,
            one.health,
        )
        + _row_ticking(
            ticks.last_at is not None,
            good_at,
            aged(good_at, now, late_s),
            late_s,
            every_s,
            ticks.errors,
            ticks.errors_last_hour,
            ticks.missed,
            ticks.missed_last_hour,
        )
    )


def fleet_rows(
    items: Iterable[InstanceStatus], is_real_money: Callable[[str], bool], now: str, heartbeat_s: float
) -> list[Any]:
    """The rows of these instances at `now`, ISO 8601."""
    return [fleet_row(one, is_real_money(one.account_id), now, heartbeat_s) for one in items]


_ENVIRONMENT.globals["fleet_rows"] = fleet_rows


def lasting(page: bytes) -> bytes:
    """What of a page is no age: two pages that are equal in it say the same, one later than the other.

    No regular expression: one over a whole page would keep the interpreter from the event loop for as long as it takes.
    """
    first, *others = page.split(b"<time ")
    kept = [first]
    for part in others:
        if not part.startswith(b"data-now"):
            kept.append(part[: part.index(b">")])
        kept.append(part[part.index(b"<") :])
    return b"".join(kept)
