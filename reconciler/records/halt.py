"""A halt: the kill switch for everything, an account or an instance; and the file that declares some. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final, Literal

from reconciler.documents.document import Document, parse
from reconciler.documents.wording import did_you_mean, spell
from reconciler.errors import Problem
from reconciler.records.snapshot import HALT_FILES, SourceFile
from reconciler.validation.validator import compile_schema

HaltScope = Literal["all", "account", "instance"]

WAS_IT_MEANT = "the halt is in force all the same: was it meant?"
"""What is asked of whoever halts what is not there: refusing would leave what was meant unhalted, too."""


class Cancelling(StrEnum):
    """Which of the resting orders of its scope a halt cancels, until none of them is open."""

    NOTHING = "nothing"
    EXPOSING = "exposing"
    """Those that could add exposure, whatever fills first; orders that only reduce what is held stay."""
    ALL = "all"

    @property
    def said(self) -> bool | str:
        """As files and JSON have it: false, true, "all"."""
        said: dict[Cancelling, bool | str] = {Cancelling.NOTHING: False, Cancelling.EXPOSING: True}
        return said.get(self, str(self))

    @classmethod
    def of(cls, said: object) -> Cancelling:
        """What `said` is of. Raises ValueError."""
        for one in cls:
            if type(said) is type(one.said) and said == one.said:
                return one
        raise ValueError(f'cancel: expected true, false or "all", was {said!r}')


REASON_LIMIT = 500
"""Characters. It stands on every page for as long as it holds."""


def shortened(reason: str) -> str:
    """What is said for want of a person who could say it in fewer words."""
    return reason if len(reason) <= REASON_LIMIT else f"{reason[: REASON_LIMIT - 1]}…"


def collar_of(said: object) -> Decimal | None:
    """Of what is said in JSON: a decimal string, null where nothing is closed. Raises ValueError."""
    if said is None:
        return None
    try:
        if isinstance(said, str) and Decimal(said).is_finite() and 0 < Decimal(said) < 1:
            return Decimal(said)
    except InvalidOperation:
        pass
    raise ValueError(f'flatten: expected a fraction of the price, "0.03", was {said!r}')


@dataclass(frozen=True, slots=True)
class Halt:
    """No new exposure within `scope` until it is lifted.

    `id` is the account_id or instance id, empty where the scope is `all`. `full` stops own cancels and
    reductions too. `by` says who halted (an operator's uid, or the engine), `at` when (ISO 8601). `cancel`: what is
    cancelled besides, by the engine itself and under a full halt, too. `collar`: what is held is closed then, within
    that fraction of the quote; None where it is not.
    """

    scope: HaltScope
    id: str
    full: bool
    reason: str
    by: str
    at: str
    cancel: Cancelling = Cancelling.NOTHING
    collar: Decimal | None = None

    def __post_init__(self) -> None:
        if self.scope not in ("all", "account", "instance"):
            raise ValueError(f"scope: expected all, account or instance, was {self.scope!r}")
        if self.collar is not None and not (self.full and self.cancel is Cancelling.ALL and 0 < self.collar < 1):
            raise ValueError("collar: expected more than 0 and less than 1, of a full halt that cancels all")
        if (self.scope == "all") != (not self.id):
            raise ValueError(f"id: expected {'none' if self.id else 'one'} for a halt of scope {self.scope}")

    def forbids(self, account_id: str, instance_id: str) -> bool:
        """True where this halt covers that instance trading on that account."""
        match self.scope:
            case "all":
                return True
            case "account":
                return self.id == account_id
            case "instance":
                return self.id == instance_id

    @property
    def said(self) -> tuple[str, str, bool, str]:
        """What it says, whoever says it and since when."""
        return self.scope, self.id, self.full, self.reason

    @property
    def is_declared(self) -> bool:
        """True where a file asks for it, which `by` names: it ends when that file says so, and no other way."""
        return self.by.endswith(HALT_FILES)

    @property
    def uid(self) -> int | None:
        """Of the operator who halted (`uid 1000`, `ada, uid 1000`), None where it was not one."""
        word, _, number = self.by.rpartition(", ")[2].partition(" ")
        return int(number) if word == "uid" and number.isascii() and number.isdigit() else None

    @property
    def target(self) -> str:
        """What is halted, in words: `everything`, `account main`, `instance btc-grid-1`."""
        return f"{self.scope} {self.id}" if self.id else "everything"

    @property
    def kind(self) -> str:
        """What it keeps from passing."""
        kind = "nothing passes" if self.full else "no new exposure"
        return f"{kind}, {self.cancelling}" if self.cancelling else kind

    @property
    def cancelling(self) -> str:
        """What it cancels, in words; empty where nothing."""
        match self.cancel:
            case Cancelling.NOTHING:
                return ""
            case Cancelling.EXPOSING:
                return "orders that could add exposure are cancelled"
            case Cancelling.ALL if self.collar is not None:
                return f"all orders are cancelled, and what is held is closed within {self.collar} of the quote"
            case Cancelling.ALL:
                return "all orders are cancelled"

    @property
    def told(self) -> str:
        """What it is recorded as: `account main, in full`."""
        told = f"{self.target}, in full" if self.full else self.target
        return f"{told}; {self.cancelling}" if self.cancelling else told

    @property
    def told_lifted(self) -> str:
        """What its end is recorded as: `account main, halted in full`."""
        return f"{self.target}, halted in full" if self.full else self.target

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> Halt:
        """The halt that `to_json` made `item` of; what stands beside it there is left out."""
        told = {field.name: item[field.name] for field in fields(cls) if field.name not in ("cancel", "collar")}
        return cls(**told, cancel=Cancelling.of(item.get("cancel", False)), collar=collar_of(item.get("flatten")))

    def to_json(self) -> dict[str, Any]:
        return {
            "scope": self.scope,
            "id": self.id,
            "full": self.full,
            "reason": self.reason,
            "by": self.by,
            "at": self.at,
            "cancel": self.cancel.said,
            "flatten": None if self.collar is None else str(self.collar),
        }


def but_for(known: Iterable[Halt], halts: Iterable[Halt]) -> list[Halt]:
    """Those of `halts` that say what none of `known` says."""
    said = {halt.said for halt in known}
    return [halt for halt in halts if halt.said not in said]


def stranger(
    scope: HaltScope, id: str, instance_ids: Iterable[str], account_ids: Iterable[str], *, hint: bool = True
) -> str:
    """Why a halt of that scope and id covers nothing, empty where it covers something. `hint`: with the nearest name.

    A slip at the kill switch must show: what was meant trades on.
    """
    if scope == "all":
        return ""
    known = set(instance_ids if scope == "instance" else account_ids)
    if id in known:
        return ""
    what = f"no instance is called {id}" if scope == "instance" else f"no instance trades on an account called {id}"
    near = did_you_mean(id, known) if hint else ""
    return f"{what} ({near})" if near else what


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
            "cancel": {
                "enum": [True, False, "all"],
                "default": False,
                "description": "Cancels open orders that could add exposure; all: those that only reduce, too.",
            },
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
            Halt(
                item["scope"],
                item.get("id", ""),
                item.get("full", False),
                shortened(item["reason"]),
                file.path,
                at,
                Cancelling.of(item.get("cancel", False)),
            )
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
