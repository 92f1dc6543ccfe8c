"""A file, opened: its document or why there is none, and what in it looks like a key. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reconciler.errors import Problem
from reconciler.records import literals
from reconciler.records.document import Document, parse
from reconciler.records.pointer import spell
from reconciler.records.snapshot import NO_RECORD, SourceFile

_REVOKE: Final = "revoke it, it may have been seen; name a secret, {env: NAME} or {file: PATH}, and keep it elsewhere"


_COUNTS_BY: Final = "a record's name ends in .yaml; begin it with _ or . where it is only kept"
_HALTS_BY: Final = "it halts nothing: call it instances/_halt.yaml"


def document_of(file: SourceFile) -> Document | tuple[Problem, ...]:
    """The document, or every problem that keeps it from being one; what looks like a key is then among them."""
    if file.error == NO_RECORD:
        is_halt = file.path.rpartition("/")[2].lower().startswith("_halt")
        expected, hint = ("the halt file", _HALTS_BY) if is_halt else ("a record", _COUNTS_BY)
        return (Problem(file.path, 0, 0, "", f"expected {expected}, {NO_RECORD}", hint, "no-record"),)
    if file.data is None:
        return (Problem(file.path, 0, 0, "", f"expected a readable file: {file.error}", "", "file-unreadable"),)
    document = parse(file.data, file.path)
    return document if isinstance(document, Document) else (*document, *leaks(file, None))


def leaks(file: SourceFile, document: Document | None) -> Iterator[Problem]:
    """Everything in the file, comments included, that looks like a key; `document` names the values it is in."""
    text = (file.data or b"").decode(errors="replace").removeprefix("\ufeff")
    for what, line, column in literals.find(text):
        pointer = "" if document is None else spell(document.path_at(line, column))
        message = f"expected no secrets, was what looks like {what}"
        yield Problem(file.path, line, column, pointer, message, _REVOKE, "secret-literal")
