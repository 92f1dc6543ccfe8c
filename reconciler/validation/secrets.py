"""Secrets: `{env: NAME}` and `{file: PATH}` where a schema says `writeOnly: true`. Pure; resolves nothing itself."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote, quote_plus

from reconciler.documents.wording import Path, spell
from reconciler.validation.schema_tree import Schema, applied, of_item, of_property, rewritten


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is kept: in the environment variable `name`, or in the file `name`."""

    kind: Literal["env", "file"]
    name: str


_REFERENCE: Final = {
    "type": "object",
    "properties": {
        "env": {
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "description": "The environment variable that holds the secret.",
            "examples": ["KRAKEN_TOKEN"],
        },
        "file": {"type": "string", "minLength": 1, "description": "A file that holds nothing but the secret."},
    },
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}
_KEPT: Final = ("title", "description", "deprecated", "writeOnly")


def with_references(schema: Schema) -> Schema:
    """The schema that a written config must meet: each `writeOnly` place takes a reference and nothing else."""

    def reference(part: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if part.get("writeOnly") is not True:
            return None
        return {**{keyword: part[keyword] for keyword in _KEPT if keyword in part}, **_REFERENCE}

    return rewritten(schema, reference)


def secret_places(values: Any, schema: Schema) -> Iterator[tuple[Path, Any]]:
    """Path and value of everything in `values` that stands where `schema` says `writeOnly`."""
    waiting: list[tuple[Path, Any, list[Schema]]] = [((), values, [schema])]
    while waiting:
        path, value, schemas = waiting.pop()
        parts = [part for one in schemas for part in applied(one, schema)]
        if any(part.get("writeOnly") is True for part in parts):
            yield path, value
        elif isinstance(value, Mapping):
            for key, child in value.items():
                waiting.append(((*path, key), child, [s for part in parts for s in of_property(part, key)]))
        elif isinstance(value, list):
            for index, child in enumerate(value):
                waiting.append(((*path, index), child, [s for part in parts for s in of_item(part, index)]))


def secret_references(values: Any, schema: Schema) -> Iterator[tuple[str, SecretReference]]:
    """Pointer and reference of every secret that valid `values` name, for the runtime to resolve at load."""
    for path, value in secret_places(values, schema):
        if isinstance(value, Mapping) and len(value) == 1:
            (kind, name), *_ = value.items()
            if kind in ("env", "file") and isinstance(name, str):
                yield spell(path), SecretReference(kind, name)


def with_secrets(values: Any, resolved: Mapping[str, str]) -> Any:
    """`values` with the secrets in place: `resolved` maps pointers, as `secret_references` gave them, to secrets."""
    return _filled(values, (), resolved) if resolved else values


def _filled(value: Any, path: Path, resolved: Mapping[str, str]) -> Any:
    secret = resolved.get(spell(path))
    if secret is not None:
        return secret
    if isinstance(value, Mapping):
        return {key: _filled(child, (*path, key), resolved) for key, child in value.items()}
    if isinstance(value, list):
        return [_filled(child, (*path, index), resolved) for index, child in enumerate(value)]
    return value


HIDDEN: Final = "•••"
_TELLING: Final = 8
"""A word or line of a secret that is this long is a secret itself, and is looked for in whatever form."""
_CUT: Final = "…"
_BETWEEN: Final = re.compile(r"(?:[\s:;,_\-]|\\+(?:[nrtx]|u00)?|%(?:25)*(?:0[ad]|20)|0x|&\#x)+")
"""What may stand within base64 and hex: ends of lines, escaped or not, and what tells bytes apart, `\\x`, `0x`."""
_LOWER: Final = {capital: capital + 32 for capital in range(ord("A"), ord("Z") + 1)}


def parts(secrets: Iterable[str]) -> tuple[str, ...]:
    """The secrets, and their lines and words: somebody may say back only one of them."""
    found = {secret: None for secret in secrets if secret}
    whole = tuple(found)
    lines = (line.strip() for secret in whole for line in secret.splitlines())
    words = (word for secret in whole for word in secret.split())
    return tuple(found | dict.fromkeys(piece for piece in (*lines, *words) if len(piece) >= _TELLING))


def scrub(text: str, secrets: tuple[str, ...]) -> str:
    """`text` with every secret hidden, in whatever form. Secrets of less than eight characters only as they are."""
    return _look(secrets).hide(text)


def scrub_values(value: Any, secrets: tuple[str, ...]) -> Any:
    """The same for every string within JSON-ready values, keys included."""
    match value:
        case str():
            return scrub(value, secrets)
        case Mapping():
            return {scrub(key, secrets): scrub_values(item, secrets) for key, item in value.items()}
        case list() | tuple():
            return type(value)(scrub_values(item, secrets) for item in value)
    return value


class _Look(NamedTuple):
    """What is looked for, all of it at once. The cheap question comes first: nearly always there is nothing."""

    exact: tuple[str, ...]
    folded: tuple[str, ...]
    packed: tuple[str, ...]
    pattern: re.Pattern[str] | None

    def hide(self, text: str) -> str:
        for form in self.exact:
            text = text.replace(form, HIDDEN)
        lower = text.lower()
        if self.pattern is not None and any(form in lower for form in self.folded):
            text = self.pattern.sub(HIDDEN, text)
        if self.packed:
            text = self._hide_apart(text)
        return self._hide_cut(text) if _CUT in text else text

    def _hide_apart(self, text: str) -> str:
        """What is packed, with something between its characters."""
        lower = text.translate(_LOWER)  # as long as the text, which `lower` need not be
        together = _BETWEEN.sub("", lower)
        found = sorted(_spans(together, self.packed))
        if not found:
            return text
        within = {place for gap in _BETWEEN.finditer(lower) for place in range(*gap.span())}
        places = [place for place in range(len(lower)) if place not in within]
        pieces, done = [], 0
        for first, last in found:
            begin, end = places[first], places[last] + 1
            if begin >= done:
                pieces += [text[done:begin], HIDDEN]
            done = max(done, end)
        return "".join((*pieces, text[done:]))

    def _hide_cut(self, text: str) -> str:
        """What a cut left of a form: its beginning before a `…`, or its end behind one."""
        pieces = text.split(_CUT)
        for index, piece in enumerate(pieces):
            before = piece
            if index < len(pieces) - 1:
                blank = len(before) - len(before.rstrip(" "))
                kept = before[: len(before) - blank]
                length = max((_overlap(kept, form) for form in self.folded), default=0)
                before = f"{kept[: len(kept) - length]}{HIDDEN}{' ' * blank}" if length else before
            if index > 0:
                kept = before.lstrip(" ")
                length = max((_overlap(form, kept) for form in self.folded), default=0)
                before = f"{before[: len(before) - len(kept)]}{HIDDEN}{kept[length:]}" if length else before
            pieces[index] = before
        return _CUT.join(pieces)


def _spans(text: str, forms: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Where each of the forms stands in the text: its first and its last character."""
    for form in forms:
        at = text.find(form)
        while at >= 0:
            yield at, at + len(form) - 1
            at = text.find(form, at + 1)


def _overlap(first: str, second: str) -> int:
    """How much of the end of one text is the beginning of the other, at least `_TELLING` characters, else 0."""
    first, second = first.lower(), second.lower()
    longest = min(len(first), len(second))
    return next((n for n in range(longest, _TELLING - 1, -1) if first.endswith(second[:n])), 0)


@lru_cache(maxsize=1024)
def _look(secrets: tuple[str, ...]) -> _Look:
    """Exact forms of all secrets, the longest first; and of those that are long enough all others."""
    found = sorted(parts(secrets), key=len, reverse=True)
    exact = dict.fromkeys(form for secret in found for form in (secret, repr(secret)[1:-1]))
    telling = [secret for secret in found if len(secret) >= _TELLING]
    forms = sorted({form for secret in telling for form in _forms(secret)}, key=len, reverse=True)
    packed = sorted({form for secret in telling for form in _packed(secret)}, key=len, reverse=True)
    return _Look(
        tuple(exact),
        tuple({form.lower(): None for form in (*forms, *packed)}),
        tuple({_BETWEEN.sub("", form.lower()): None for form in packed}),
        _any_of(map(re.escape, (*forms, *packed))),
    )


def _any_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    together = "|".join(patterns)
    return re.compile(together, re.IGNORECASE) if together else None


def _forms(secret: str) -> Iterator[str]:
    """How libraries write a text, and what others make of that: JSON within JSON, the `repr` of a `repr`."""
    data = _bytes(secret)
    yield from (secret, html.escape(secret), secret.encode("ascii", "xmlcharrefreplace").decode())
    for text in {secret, *_written(secret)}:
        for again in {text, *_written(text)}:
            yield from (again, again.replace("/", "\\/"), *_written(again))
    for safe in ("/", "", "/:@+=", ":@!$&'()*+,;="):
        yield from (quote(data, safe=safe), quote(quote(data, safe=safe), safe=""))
    yield quote_plus(data)
    yield "".join(f"%{byte:02x}" for byte in data)
    pairs = secret.encode("utf-16-be", "surrogatepass").hex(" ", 2).split()
    yield "".join(f"\\u{pair}" for pair in pairs)
    yield "".join(f"&#{ord(character)};" for character in secret)


def _written(text: str) -> Iterator[str]:
    """How a text stands within one in JSON, and within the `repr` of one, which escapes one kind of quotes or none."""
    yield from (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1])
    for form in (repr(text)[1:-1], ascii(text)[1:-1], repr(_bytes(text))[2:-1]):
        bare = form.replace("\\'", "'")
        yield from (bare, bare.replace("'", "\\'"))


def _packed(secret: str) -> Iterator[str]:
    """Its bytes as hex, and as base64 wherever they begin within a group of three: `user:secret` is one text there."""
    data = _bytes(secret)
    yield data.hex()
    for before, first in ((0, 0), (1, 2), (2, 3)):
        shifted = bytes(before) + data
        last = len(shifted) * 8 // 6  # what follows has a say in the next
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            text = encode(shifted).decode()[first:last]
            yield from (text, quote(text, safe=""))


def _bytes(secret: str) -> bytes:
    return secret.encode(errors="surrogatepass")
