"""An amount as an option: exactly as it is typed, never a float."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import click


class Money(click.ParamType[Decimal]):
    """A decimal above zero; `zero_too`: or zero."""

    name = "decimal"

    def __init__(self, *, zero_too: bool = False) -> None:
        self._zero_too = zero_too

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        from reconciler.records.order import to_amount

        try:
            number = to_amount(value)
        except ValueError as error:
            self.fail(str(error).removeprefix("value: "), param, ctx)
        if number < 0 or (number == 0 and not self._zero_too):
            self.fail(f"expected {'zero or more' if self._zero_too else 'more than zero'}, was {value}", param, ctx)
        return number


class Fee(click.ParamType[tuple[Decimal, str | None]]):
    """An amount, zero or more, and its currency, where one is named: `0.001:BTC`."""

    name = "fee"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Decimal, str | None]:
        if isinstance(value, tuple):
            return value
        amount, _, currency = str(value).partition(":")
        return Money(zero_too=True).convert(amount, param, ctx), currency.strip() or None


class Held(click.ParamType[tuple[Decimal, Decimal]]):
    """A quantity, negative where short, and a price, zero or more: `0.999@60000`."""

    name = "held"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Decimal, Decimal]:
        from reconciler.records.order import to_amount

        if isinstance(value, tuple):
            return value
        quantity, at, price = str(value).partition("@")
        if not at:
            self.fail(f"expected QUANTITY@PRICE, such as 0.999@60000, or 0@0 to write it off, was {value}", param, ctx)
        try:
            return to_amount(quantity.strip()), Money(zero_too=True).convert(price.strip(), param, ctx)
        except ValueError as error:
            self.fail(str(error).removeprefix("value: "), param, ctx)
