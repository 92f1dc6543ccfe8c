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
