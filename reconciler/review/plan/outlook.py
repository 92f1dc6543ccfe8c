"""The outlook: what an instance would run with, and what it and its account have at stake already. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from reconciler.documents.wording import spell
from reconciler.records.evaluation import leaves
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.review.plan.differences import Compared, Hidden, Phrase, phrase
from reconciler.validation.schema_tree import Schema

_SUMMED: Final = ("max_order_notional", "max_daily_loss")
"""The limits that are sums of money, and can be added up."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of the effective config: `value` is plain or `Hidden`, `origin` as in `Difference`."""

    pointer: str
    value: Any
    origin: str


def config_of(side: Compared, secrets: tuple[Schema, ...], hidden: Container[str]) -> tuple[Setting, ...]:
    """All that a strategy would be handed, templates' and defaults' values too. Lists are one value.

    What any of the schemas `secrets` calls secret is not shown, nor what stands at the pointers `hidden`.
    """
    found = []
    for path, value in leaves(side.values(secrets)["config"]):
        pointer = spell(("config", *path))
        if path:
            shown = Hidden(value) if pointer in hidden else value
            found.append(Setting(pointer, shown, side.origin(("config", *path))))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Stake:
    """What an instance holds and has open now, and what that is worth at the last price known: quantities in units,
    money in `currency`. `largest` is the quantity of the largest order it placed, shadow orders too.

    `account` is what all instances of its account hold, by currency, at the last prices known; `unpriced` are those of
    them of which none is known.
    """

    position: Decimal
    open_orders: int
    open_quantity: Decimal
    largest: Decimal
    currency: str
    price: Decimal | None = None
    price_at: str = ""
    account: Mapping[str, Decimal] = field(default_factory=dict)
    unpriced: tuple[str, ...] = ()

    def worth(self, quantity: Decimal) -> Decimal | None:
        return None if self.price is None else abs(quantity) * self.price


def stake_facts(stake: Stake, account_id: str) -> Iterator[Phrase]:
    """The stake, as sentences."""
    holds = _amount(stake, stake.position)
    orders = f"{stake.open_orders:,} open order{'' if stake.open_orders == 1 else 's'}"
    yield (
        Phrase(f"holds {holds.words} now, {orders}", holds.values)
        if stake.position
        else phrase(f"holds nothing now, {orders}")
    )
    if stake.open_orders:
        open_ = _amount(stake, stake.open_quantity)
        yield Phrase(f"open orders: {open_.words}", open_.values)
    if stake.largest:
        largest = _amount(stake, stake.largest)
        yield Phrase(f"its largest order so far: {largest.words}", largest.values)
    if stake.price is not None:
        yield phrase("at the last price known, {} of {}", f"{stake.price:f}", stake.price_at)
    summed = [(f"{amount:,.2f}", currency) for currency, amount in sorted(stake.account.items())]
    if summed:
        words = ", ".join("{} {}" for _ in summed)
        known = f", not counting {len(stake.unpriced):,} without a known price" if stake.unpriced else ""
        values = (account_id, *(word for one in summed for word in one))
        yield Phrase(f"all of account {{}} holds {words}{known}", values)


def account_sum(row: Row, rows: Iterable[Row]) -> Phrase:
    """What bounds all that is active on the account of `row`, which is one of `rows`, together."""
    account_id = row.record.identity.account_id
    active = [
        one for one in rows if one.is_live and one.mode is Mode.ACTIVE and one.record.identity.account_id == account_id
    ]
    words, values = ["{} active on account {} then"], [f"{len(active):,}", account_id]
    for name in _SUMMED:
        sums: defaultdict[str, Decimal] = defaultdict(Decimal)
        unbounded = 0
        for one in active:
            limit = getattr(one.record.limits, name)
            if limit is None:
                unbounded += 1
            else:
                sums[currency_of(one.record.identity.market)] += limit
        amounts = ", ".join("{} {}" for _ in sums)
        without = f"{' and ' if sums else ''}{unbounded:,} without" if unbounded else ""
        words.append(f"{{}} together {amounts}{without}" if sums else f"{{}}: {without}")
        values += [name, *(word for currency, amount in sorted(sums.items()) for word in (f"{amount:,f}", currency))]
    return Phrase("; ".join(words), tuple(values))


def currency_of(market: str) -> str:
    """What prices of that market are in, as far as its name tells."""
    return market.partition("/")[2] or market


def _amount(stake: Stake, quantity: Decimal) -> Phrase:
    worth = stake.worth(quantity)
    if worth is None:
        return phrase("{}, at no price known", f"{quantity:f}")
    return phrase("{}, worth {} {}", f"{quantity:f}", f"{worth:,.2f}", stake.currency)
