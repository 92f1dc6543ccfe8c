"""`instances/_halt.yaml`: halts that hold for as long as it says so. Unreadable, it halts everything in full. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from reconciler.errors import Problem
from reconciler.records.document import Document, parse
from reconciler.records.halt import Halt, shortened, stranger
from reconciler.records.pointer import spell
from reconciler.records.snapshot import SourceFile
from reconciler.records.validation import compile_schema
from reconciler.records.wording import did_you_mean

SCHEMA: Final[dict[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Halts",
    "description": "What must not trade, for as long as this file says so.",
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "scope": {"enum": ["all", "account", "instance"], "description": "What the halt covers."},
            "id": {"type": "string", "minLength": 1, "description": "The account_id or instance id; none for all."},
            "full": {"type": "boolean", "default": False, "description": "Also stops own cancels and reductions."},
            "reason": {"type": "string", "minLength": 1, "description": "Why, for whoever finds it halted."},
        },
        "required": ["scope", "reason"],
        "additionalProperties": False,
    },
}


def read_halts(file: SourceFile | None, at: str) -> tuple[tuple[Halt, ...], tuple[Problem, ...]]:
    """The halts a file asks for, and what is wrong with it. Anything wrong halts everything.

    `at` (ISO 8601) is when it was read. No file, and an empty list, halt nothing.
    """
    if file is None:
        return (), ()
    problems = _problems(file)
    if isinstance(problems, Document):
        return tuple(
            Halt(item["scope"], item.get("id", ""), item.get("full", False), shortened(item["reason"]), file.path, at)
            for item in problems.values
        ), ()
    # In full: it may have said so, and half of an edit must not let out what was held back.
    why = shortened(f"{file.path} cannot be understood: {problems[0]}")
    return (Halt("all", "", True, why, file.path, at),), problems


def strange_halts(
    file: SourceFile | None, instance_ids: Iterable[str], account_ids: Callable[[], Iterable[str]]
) -> tuple[Problem, ...]:
    """Entries that cover nothing, for no instance or account is called so: what was meant to be halted is not.

    They do not halt everything, as a file that cannot be understood does: an instance that is removed while its halt
    stays would stop the whole fleet. `account_ids` is asked only where an account is halted.
    """
    document = None if file is None else _problems(file)
    if not isinstance(document, Document):
        return ()
    ids = frozenset(instance_ids)
    found: list[Problem] = []
    for index, item in enumerate(document.values):
        known = account_ids() if item["scope"] == "account" else ids
        id_ = item.get("id", "")
        if what := stranger(item["scope"], id_, known, known, hint=False):
            place, hint = document.place((index, "id")), did_you_mean(id_, known)
            found.append(Problem(place.path, place.line, place.column, spell((index, "id")), what, hint, "halt-id"))
    return tuple(found)


def _problems(file: SourceFile) -> Document | tuple[Problem, ...]:
    if file.data is None:
        return (Problem(file.path, 0, 0, "", file.error, rule="unreadable"),)
    document = parse(file.data, file.path)
    if not isinstance(document, Document):
        return document
    problems = compile_schema(SCHEMA).problems(document) or tuple(
        _id_problem(document, index, item["scope"])
        for index, item in enumerate(document.values)
        if (item["scope"] == "all") == ("id" in item)
    )
    return problems or document


def _id_problem(document: Document, index: int, scope: str) -> Problem:
    place = document.place((index,))
    message = "expected no id with scope all" if scope == "all" else f"expected the id of the {scope} to halt"
    return Problem(place.path, place.line, place.column, spell((index, "id")), message, rule="halt-id")
