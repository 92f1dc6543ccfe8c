"""Orders: what a strategy asks for, and what became of it. Frozen values, exact decimals. Pure.

And the client_order_id: what ties an order at the exchange to its instance, for ever. Pure but for its entropy.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from reconciler.clock import Clock
from reconciler.records.mode import Mode

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
PREFIX_LENGTH = 6
_TAG_LENGTH = 4
_TIME_LENGTH = 8
LENGTH = PREFIX_LENGTH + _TAG_LENGTH + _TIME_LENGTH
_ID = re.compile(f"[a-z0-9]{{{LENGTH}}}")


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"


class TimeInForce(StrEnum):
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"
    DAY = "day"


class Outcome(StrEnum):
    """What became of the sending. Apart from it, `OrderState` is what became of the order."""

    SHADOW = "shadow"
    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class OrderState(StrEnum):
    """The exchange's word on an accepted order."""

    OPEN = "open"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_final(self) -> bool:
        """True where nothing more can happen to the order."""
        return self not in (OrderState.OPEN, OrderState.PARTIALLY_FILLED)


class RejectedBy(StrEnum):
    GATEWAY = "gateway"
    EXCHANGE = "exchange"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """What a strategy asks for: all that it may say. `price` fields are in the quote currency."""

    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where an order came from: enough to answer who let it trade, with what, and when.

    `revision` is the git commit the record came from, None where it was never committed.
    """

    instance_id: str
    account_id: str
    client_id: str
    symbol: str
    mode: Mode
    generation: int
    config_digest: str
    code_digest: str
    revision: str | None
    beat: int
    is_by_operator: bool = False
    """True of an order that closes a position for an operator; its mode is active, whatever its record says."""


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order. `price` and `fee` are None where they were not told.

    `fee_currency` is None where it was not told: it is taken for the quote currency then.
    `is_made_up` where the exchange told only totals: then it is the difference between two of them. Fills of a
    shadow order are made up, too.
    """

    client_order_id: str
    exchange_fill_id: str
    quantity: Decimal
    price: Decimal | None
    fee: Decimal | None
    at: datetime
    is_made_up: bool = False
    fee_currency: str | None = None


class Trade(NamedTuple):
    """A fill, and whose it is."""

    instance_id: str
    account_id: str
    symbol: str
    shadow: bool
    fill: Fill


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the ledger knows it. `reason` says why where it was rejected or is unknown.

    `is_triggered` is True for a shadow stop whose price was reached; what real stops do, their exchange knows.
    `money` is the account's when the order was placed, None where that was not known. `quote_at` is the exchange's time
    of the quote it saw.
    """

    client_order_id: str
    provenance: Provenance
    request: OrderRequest
    outcome: Outcome
    created_at: datetime
    updated_at: datetime
    state: OrderState | None = None
    filled_quantity: Decimal = Decimal(0)
    average_price: Decimal | None = None
    fee: Decimal | None = None
    fee_currency: str | None = None
    exchange_order_id: str | None = None
    reason: str = ""
    rejected_by: RejectedBy | None = None
    quote_bid: Decimal | None = None
    quote_ask: Decimal | None = None
    is_triggered: bool = False
    money: Literal["paper", "real"] | None = None
    quote_at: datetime | None = None

    @property
    def side(self) -> Side:
        return self.request.side

    @property
    def type(self) -> OrderType:
        return self.request.type

    @property
    def quantity(self) -> Decimal:
        return self.request.quantity

    @property
    def limit_price(self) -> Decimal | None:
        return self.request.limit_price

    @property
    def instance_id(self) -> str:
        return self.provenance.instance_id

    @property
    def is_shadow(self) -> bool:
        """Which of its instance's books it is in: the shadow book, where it was not, and could not be, sent.

        What an observing instance was refused is part of it. The table's column `shadow` says the same in SQL.
        """
        is_refused = self.outcome is Outcome.REJECTED and self.provenance.mode is not Mode.ACTIVE
        return self.outcome is Outcome.SHADOW or is_refused

    @property
    def is_open(self) -> bool:
        """True while something may still happen to it at the exchange, as far as is known."""
        if self.outcome in (Outcome.PENDING, Outcome.UNKNOWN):
            return True
        return self.outcome in (Outcome.ACCEPTED, Outcome.SHADOW) and (self.state is None or not self.state.is_final)


def will_be_shadow(order: Order) -> bool:
    """True where it is in the shadow book, or will be: also of a draft, of which nothing was decided yet."""
    return order.outcome is Outcome.SHADOW or order.provenance.mode is not Mode.ACTIVE


@dataclass(frozen=True, slots=True)
class OrderNews:
    """What became known of an order. None, and no fills, leave what is known as it is.

    `fills` are the order's executions where they are told apart, known ones among them.
    """

    outcome: Outcome | None = None
    state: OrderState | None = None
    filled_quantity: Decimal | None = None
    average_price: Decimal | None = None
    fee: Decimal | None = None
    fee_currency: str | None = None
    exchange_order_id: str | None = None
    reason: str | None = None
    rejected_by: RejectedBy | None = None
    is_triggered: bool | None = None
    fills: Sequence[Fill] = ()

    def told(self) -> dict[str, Any]:
        """What is told, by the names that `Order` has for it; without the fills."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "fills"}
        return {name: value for name, value in values.items() if value is not None}


class OrderChanges:
    """Changes of one instance's orders that it was not told of yet: each the order as it was after one.

    One thread takes, any add. Beyond `length`, the oldest are lost: nobody asks who waits for so many.
    """

    __slots__ = ("__weakref__", "_changes")

    def __init__(self, length: int = 10_000) -> None:
        self._changes: deque[Order] = deque(maxlen=length)

    def add(self, order: Order) -> None:
        self._changes.append(order)

    def take(self) -> Order | None:
        """The oldest change, once; None where there is none."""
        return self._changes.popleft() if self._changes else None


def decimal_text(value: Decimal) -> str:
    """The one way money is written: plain digits, no exponent, no trailing zeros. `1E+3` gives `1000`."""
    # Not `normalize()`: that rounds to the context's 28 digits.
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


AMOUNT_DIGITS = 30
"""More than these, before or after the point, no quantity, price or fee has that a person types."""


def to_amount(value: str | Decimal | int, name: str = "value") -> Decimal:
    """As `to_decimal`, of something that may be booked. Raises ValueError for what no market has, `1E999999999`."""
    number = to_decimal(value, name)
    if number and (number.adjusted() >= AMOUNT_DIGITS or int(number.as_tuple().exponent) < -AMOUNT_DIGITS):
        was = repr(str(value)[:40])
        raise ValueError(f"{name}: expected at most {AMOUNT_DIGITS} digits before and after the point, was {was}")
    return number if number else Decimal(0)


def to_decimal(value: str | Decimal | int, name: str = "value") -> Decimal:
    """An exact, finite Decimal. Raises TypeError for a float (it is not what was typed), ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (str, Decimal, int)):
        raise TypeError(f"{name}: expected str or Decimal, was {type(value).__name__}; write it as a string, '0.1'")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{name}: expected a decimal number, was {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"{name}: expected a finite number, was {value!r}")
    return number


@lru_cache(maxsize=16_384)
def prefix(instance_id: str) -> str:
    """Six characters of `[a-z0-9]` that all orders of an instance begin with, the same in every database."""
    return _base36(int.from_bytes(hashlib.sha256(instance_id.encode()).digest()[:8], "big"), PREFIX_LENGTH)


class OrderIds:
    """Makes ids of 18 characters of `[a-z0-9]`: prefix, the database's tag, milliseconds since the epoch.

    Eight base-36 digits of milliseconds last until the year 2059. They never repeat within one `OrderIds`, whatever the
    clock does, and are later than those of `known`, the last ids that the database knows. The tag tells databases
    apart; without one it is random, for who has no database. Thread-safe.
    """

    def __init__(
        self,
        clock: Clock,
        tag: str = "",
        known: Iterable[str] = (),
        random_below: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._clock = clock
        self._tag = tag or str(random_below(10)) + _base36(random_below(36**3), 3)
        self._last_ms = max((made_ms(id) for id in known if tag_of(id) is not None), default=0)
        self._lock = threading.Lock()

    def make(self, instance_id: str) -> str:
        """A new id for an order of `instance_id`; no two calls give the same."""
        with self._lock:
            self._last_ms = max(int(self._clock.time() * 1000), self._last_ms + 1)
            moment_ms = self._last_ms
        return prefix(instance_id) + self._tag + _base36(moment_ms, _TIME_LENGTH)


def tag_of(client_order_id: str) -> str | None:
    """The tag of the database that made the id; None where it is none of ours.

    Ids of before there were tags have none, and a letter, of their time, where tags begin with a digit: it is empty.
    """
    if not _ID.fullmatch(client_order_id):
        return None
    tag = client_order_id[PREFIX_LENGTH : PREFIX_LENGTH + _TAG_LENGTH]
    return tag if tag[0].isdecimal() else ""


def made_ms(client_order_id: str) -> int:
    """When an id of ours was made, in milliseconds since the epoch, or later: of many at a time, each has its own."""
    start = PREFIX_LENGTH + (_TAG_LENGTH if tag_of(client_order_id) else 0)
    return int(client_order_id[start : start + _TIME_LENGTH], 36)


def _base36(number: int, length: int) -> str:
    """The last `length` base-36 digits of `number`, zeros in front."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 36)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
