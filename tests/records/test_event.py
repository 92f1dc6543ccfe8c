"""The reasons of events: each stands once, with what it means, and the engine tells no other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import reconciler
from reconciler.records.event import EventReason
from reconciler.records.record import ChangeKind
from reconciler.records.status import Sync, TradingCaveat, TradingReason

HOUSE = Path(reconciler.__file__).parent
FILES = sorted(HOUSE.rglob("*.py"))
WORDS = frozenset(EventReason)


def bare_reasons(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Reasons spelled where an event is told: `Normal` or `Warning`, then a text in the place of the reason."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for type_, reason in zip(node.args, node.args[1:], strict=False):
                is_type = isinstance(type_, ast.Constant) and type_.value in ("Normal", "Warning")
                is_type = is_type or (isinstance(type_, ast.Name) and type_.id in ("NORMAL", "WARNING"))
                if is_type and not (isinstance(reason, (ast.Name, ast.Attribute, ast.Call))):
                    yield node.lineno, ast.unparse(reason)


def test_no_event_of_the_engine_is_told_under_a_bare_word() -> None:
    bare = [
        f"{path.relative_to(HOUSE)}:{line}: {reason}"
        for path in FILES
        for line, reason in bare_reasons(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert bare == []


def test_a_bare_word_would_be_found() -> None:
    told = ast.parse('events.record(None, "Warning", "Halted", why); self._tell(order, NORMAL, f"{a}", why)')
    assert [reason for _, reason in bare_reasons(told)] == ["'Halted'", "f'{a}'"]


@pytest.mark.parametrize("reason", EventReason, ids=str)
def test_every_reason_is_one_word_with_a_meaning(reason: EventReason) -> None:
    assert reason.isalpha()
    assert reason[0].isupper()
    assert reason.meaning
    assert not reason.meaning.endswith(".")


def test_every_reason_is_told_somewhere() -> None:
    named = re.findall(r"EventReason\.([A-Z_]+)", "".join(path.read_text(encoding="utf-8") for path in FILES))
    derived = {kind.capitalize() for kind in get_args(ChangeKind)} | {Sync.INVALID, Sync.REFUSED}
    assert [one for one in EventReason if one.name not in named and one not in derived] == []


def test_a_reason_is_its_stored_word() -> None:
    assert str(EventReason.ORDER_UNKNOWN) == "OrderUnknown"
    assert f"{EventReason.HALTED}" == "Halted"
    assert EventReason("Halted") is EventReason.HALTED


@pytest.mark.parametrize("kind", get_args(ChangeKind))
def test_every_kind_of_change_has_its_reason(kind: str) -> None:
    assert kind.capitalize() in WORDS


def test_what_is_a_condition_s_reason_too_is_spelled_alike() -> None:
    assert {TradingReason.RATE_LIMITED, TradingCaveat.REFUSED_AGAIN, Sync.INVALID, Sync.REFUSED} <= WORDS
