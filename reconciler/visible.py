r"""Text that others wrote, made so that it cannot act on whoever reads it: on a terminal, in a log, a table or a page.

No line break that begins a line of ours, no control sequence, no mark that turns the text around. What cannot be seen
is written as Python would, `\n`, `\x1b`, `\u202e`, and so is told rather than lost. Pure.
"""

from __future__ import annotations

import json
import re
import traceback
import unicodedata
from typing import Any, Final

_INVISIBLE: Final = "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef"
"""What shows nothing although Unicode calls it a letter, a mark or a symbol; all else that does is unprintable."""
_PERHAPS_HIDDEN: Final = re.compile("[^ -~]")
_INVISIBLES: Final = re.compile(f"[{_INVISIBLE}]")
_JOINER: Final = "\u200d"
_EMOJI_STYLE: Final = "\ufe0f"
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)


def visible(text: str) -> str:
    r"""`text` on one line that can be written anywhere: what cannot be seen is escaped, `\n`, `\x1b`, `\u202e`.

    Control characters and line breaks, what turns text around or joins it, spaces other than the one, what no font
    has or shows, and what UTF-8 or XML cannot hold.
    """
    if text.isascii() and text.isprintable():
        return text
    return _PERHAPS_HIDDEN.sub(_seen, text)


def visible_lines(text: str) -> str:
    r"""As `visible`, for a text of several lines in a place of its own: `\n` ends a line, and `\r\n` too; tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return _PERHAPS_HIDDEN.sub(_seen_or_laid_out, text.replace("\r\n", "\n"))


def visible_json(text: str) -> str:
    """JSON that reads back as the same values and shows what it holds: what hides is escaped, as JSON does it."""
    return text if text.isascii() and "\x7f" not in text else _PERHAPS_HIDDEN.sub(_seen_in_json, text)


def is_printable(text: str) -> bool:
    """True where all of it can be seen: no control character, no mark of direction, nothing invisible but what
    puts an emoji together."""
    if text.isprintable():
        return True
    return all(c.isprintable() or _joins_emoji(text, i) for i, c in enumerate(text))


def _is_seen(match: re.Match[str]) -> bool:
    is_seen = match[0].isprintable() and _INVISIBLES.match(match[0]) is None
    return is_seen or _joins_emoji(match.string, match.start())


def _seen(match: re.Match[str]) -> str:
    return match[0] if _is_seen(match) else ascii(match[0])[1:-1]


def _seen_or_laid_out(match: re.Match[str]) -> str:
    return match[0] if match[0] in "\n\t" else _seen(match)


def _seen_in_json(match: re.Match[str]) -> str:
    character = match[0]
    if character in "\n\r\t" or _is_seen(match):  # outside of strings these are JSON's own, inside there are none
        return character
    return json.dumps(character)[1:-1]


def _joins_emoji(text: str, at: int) -> bool:
    """True where the character there, itself invisible, is part of an emoji: it joins two, or asks for the picture."""
    if not 0 < at < len(text):
        return False
    before, after = text[at - 1], text[at + 1 : at + 2]
    if text[at] == _EMOJI_STYLE:
        return unicodedata.category(before) in ("So", "Sm")
    is_emoji = unicodedata.category(before) == "So" or before == _EMOJI_STYLE or ord(before) in _SKIN_TONES
    return text[at] == _JOINER and is_emoji and after != "" and unicodedata.category(after) in ("So", "Sm")


_LONE: Final = re.compile("[\ud800-\udfff]")


def json_text(document: Any, indent: int | None = None) -> str:
    r"""`document` on one line, or indented; a lone surrogate in a text is read back as the six characters `\ud800`."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    return visible_json(_LONE.sub(lambda found: f"\\{ascii(found[0])[1:-1]}", text))


_LONGEST: Final = 300


def is_storable(text: str) -> bool:
    """True where UTF-8 can hold `text`: no lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable(text: str) -> str:
    """`text` with what UTF-8 cannot hold escaped: exceptions, servers' answers and file names may contain it."""
    return text if is_storable(text) else text.encode("utf-8", "backslashreplace").decode()


def said(error: BaseException) -> str:
    """`ValueError: message` on one line, storable, bounded; an exception that cannot be printed says so."""
    text = storable(" ".join(traceback.format_exception_only(type(error), error)[-1].split()))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}…"
