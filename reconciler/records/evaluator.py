"""The evaluator: one file → an `Evaluation`, every problem at once. Pure; what spans files is in `crosscheck`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any, Final

from reconciler.errors import Problem
from reconciler.records import literals
from reconciler.records.accounts import Accounts
from reconciler.records.defaults import defaults
from reconciler.records.document import Document, parse
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.mode import Mode
from reconciler.records.pointer import Path, spell
from reconciler.records.record import Identity, InstanceRecord, Limits, digest
from reconciler.records.schema import ID_PATTERN, instance_schema
from reconciler.records.snapshot import SourceFile
from reconciler.records.validation import compile_config_schema, compile_schema
from reconciler.records.violation import Violation, in_order
from reconciler.records.wording import did_you_mean, quoted

FindFacts = Callable[[str], DefinitionFacts | None]
"""What is known of a strategy type; None where there is no such type."""

_ID: Final = re.compile(ID_PATTERN.removesuffix("$"))


def evaluate(file: SourceFile, facts: FindFacts, accounts: Accounts, known_types: Sequence[str]) -> Evaluation:
    """Judge one file on its own. `known_types` are named to those who misspell one. Never raises."""
    if file.data is None:
        unreadable = Problem(file.path, 0, 0, "", f"expected a readable file: {file.error}", "", "file-unreadable")
        return _unusable(file, (unreadable,))
    document = parse(file.data, file.path)
    if not isinstance(document, Document):
        return _unusable(file, (*document, *_leaks(file, None)))
    values = document.values
    strategy_type = _get(values, "strategy_type")
    definition = facts(strategy_type) if isinstance(strategy_type, str) else None
    problems = [v.at(document) for v in _violations(file, values, definition, accounts, known_types)]
    problems += _leaks(file, document)
    found = dict(
        path=file.path,
        file_digest=file.digest,
        claimed_id=_claimed_id(values),
        claimed_mode=_claimed_mode(values),
        code_digest="" if definition is None else definition.code_digest,
        committed=file.committed and definition is not None and definition.committed,
        source=file.data,
    )
    if problems or definition is None:
        return Evaluation(record=None, values_digest="", config_digest="", problems=in_order(problems), **found)
    record = _record(values, definition)
    return Evaluation(
        record=record,
        values_digest=digest(values),
        config_digest=digest(record.effective_config),
        problems=(),
        **found,
    )
