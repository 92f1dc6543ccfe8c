"""How money, quantities and prices are written in a config: as quoted decimals, for the `pattern` of a schema."""

from __future__ import annotations

from typing import Final

AMOUNT: Final = r"^(0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*(\.[0-9]+)?)$"
"""A positive decimal in plain digits, `"0.05"` or `"1000"`: read it with `Decimal`, never with `float`."""

FRACTION: Final = r"^0\.[0-9]*[1-9][0-9]*$"
"""A decimal between 0 and 1, `"0.005"` for half a percent."""
