"""Our ids in the forms that some servers ask for: the same bits, written as they want them. Pure, and reversible.

An id of up to 18 characters of `[a-z0-9]` is a number below 37¹⁸, which 94 bits hold. What is left of the 128 says that
it is one of ours, so that whoever reads orders of others by chance makes no id of ours of them.
"""

from __future__ import annotations

import uuid
from typing import Final, Literal

Form = Literal["uuid", "hex128"]

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_LONGEST: Final = 18
_BITS: Final = 96
_HEX_MARK: Final = 0x7265636F
_UUID_MARK: Final = 0x2C6563C
"""What stands before the number: 32 bits, or the 26 that a UUID of version 4 leaves."""
_VERSION: Final = 4
_VARIANT: Final = 0b10
_CLOCK_BITS: Final = 62


def formed(client_order_id: str, form: Form) -> str:
    """`client_order_id` in that form, always the same. Raises ValueError where it is none of ours."""
    if not 0 < len(client_order_id) <= _LONGEST or not set(client_order_id) <= set(_DIGITS):
        raise ValueError(f"expected at most {_LONGEST} characters of a-z and 0-9, was {client_order_id!r}")
    number = 0
    for character in client_order_id:
        number = number * 37 + _DIGITS.index(character) + 1
    if form == "hex128":
        return f"0x{(_HEX_MARK << _BITS) | number:032x}"
    bits = (_UUID_MARK << _BITS) | number
    high, low = bits >> (_CLOCK_BITS + 12), bits & ((1 << _CLOCK_BITS) - 1)
    middle = (bits >> _CLOCK_BITS) & 0xFFF
    written = (high << 80) | (_VERSION << 76) | (middle << 64) | (_VARIANT << _CLOCK_BITS) | low
    return str(uuid.UUID(int=written))


def unformed(told: str, form: Form) -> str | None:
    """Our id of what is told in that form, in whatever case and with or without what is written around the digits.

    None where it is none of ours.
    """
    digits = told.strip().lower().removeprefix("0x").replace("-", "")
    try:
        written = int(digits, 16) if len(digits) == 32 and digits.isalnum() else -1
    except ValueError:
        return None
    if written < 0:
        return None
    if form == "uuid":
        if (written >> 76) & 0xF != _VERSION or (written >> _CLOCK_BITS) & 0b11 != _VARIANT:
            return None
        middle = (written >> 64) & 0xFFF
        written = ((written >> 80) << (_CLOCK_BITS + 12)) | (middle << _CLOCK_BITS) | written & ((1 << _CLOCK_BITS) - 1)
    mark, number = written >> _BITS, written & ((1 << _BITS) - 1)
    return _spelled(number) if mark == (_HEX_MARK if form == "hex128" else _UUID_MARK) else None


def _spelled(number: int) -> str | None:
    characters = []
    while number:
        number, digit = divmod(number, 37)
        if not digit:
            return None
        characters.append(_DIGITS[digit - 1])
    return "".join(reversed(characters)) if 0 < len(characters) <= _LONGEST else None
