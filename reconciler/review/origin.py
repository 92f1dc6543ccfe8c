"""Where each value of an applied record comes from: a line of its file, or a default of the strategy's schema. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reconciler.records import pointer
from reconciler.records.document import Document, parse
from reconciler.records.record import Row
from reconciler.records.scalars import resolve
from reconciler.sources.git import GitFacts

DEFAULT = "default"
_SHA256_DIGITS = 64


@dataclass(frozen=True, slots=True)
class Value:
    """One value: where it stands, how it is written, and `path:line` or `default`."""

    pointer: str
    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class Origins:
    """Every value of a record. Where `file_is_applied` is False, the file says something else by now."""

    values: tuple[Value, ...]
    file_is_applied: bool


def origins(row: Row, data: bytes | None) -> Origins:
    """The values of `row`, given the bytes that its file holds now (None where it is gone)."""
    document = _document_of(row, data)
    written = dict(_leaves(row.record.values))
    filled = {("config", *path): value for path, value in _leaves(row.record.effective_config)}
    values = [Value(pointer.spell(path), _text(value), _place(row, document, path)) for path, value in written.items()]
    values += [
        Value(pointer.spell(path), _text(value), DEFAULT) for path, value in filled.items() if path not in written
    ]
    return Origins(tuple(values), document is not None)


def _document_of(row: Row, data: bytes | None) -> Document | None:
    object_format = "sha256" if len(row.file_digest) == _SHA256_DIGITS else "sha1"
    if data is None or row.file_digest != GitFacts(object_format=object_format).blob_id(data):
        return None
    document = parse(data, row.path)
    return document if isinstance(document, Document) else None


def _place(row: Row, document: Document | None, path: pointer.Path) -> str:
    return row.path if document is None else f"{row.path}:{document.place(path).line}"


def _leaves(value: Any, path: pointer.Path = ()) -> Iterator[tuple[pointer.Path, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path, value


def _text(value: Any) -> str:
    """As it would be written: text bare, quoted only where it would be read as something else."""
    is_bare = isinstance(value, str) and isinstance(resolve(value), str)
    return value if is_bare else json.dumps(value, ensure_ascii=False)
