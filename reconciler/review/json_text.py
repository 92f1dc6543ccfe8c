"""JSON as every parser takes it and every terminal shows it: UTF-8, nothing hidden in it. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from reconciler.visible import visible_json

_LONE: Final = re.compile("[\ud800-\udfff]")


def json_text(document: Any, indent: int | None = None) -> str:
    r"""`document` on one line, or indented; a lone surrogate in a text is read back as the six characters `\ud800`."""
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    return visible_json(_LONE.sub(lambda found: f"\\{ascii(found[0])[1:-1]}", text))
