"""The evaluator: one file → an `Evaluation`, every problem at once. Pure; what spans files is in `crosscheck`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any, Final

from reconciler.errors import Problem
from reconciler.records import literals
from reconciler.records.accounts import Accounts
from reconciler.records.defaults import defaults
from reconciler.records.document import Document, parse
from reconciler.records.engine_fault import engine_fault
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.mode import Mode
from reconciler.records.pointer import spell
from reconciler.records.record import Identity, InstanceRecord, Limits, digest
from reconciler.records.schema import ID_PATTERN, instance_schema
from reconciler.records.snapshot import SourceFile
from reconciler.records.validation import compile_config_schema, compile_schema
from reconciler.records.violation import Violation, in_order
from reconciler.records.wording import did_you_mean, quoted

FindFacts = Callable[[str], DefinitionFacts | None]
"""What is known of a strategy type; None where there is no such type."""

MAX_PROBLEMS: Final = 1_000

_ID: Final = re.compile(ID_PATTERN.removesuffix("$"))


def evaluate(file: SourceFile, facts: FindFacts, accounts: Accounts, known_types: Sequence[str]) -> Evaluation:
    """Judge one file on its own. `known_types` are named to those who misspell one.

    Never raises: it is the boundary of the file. What the engine fails on is a problem of this file and of no
    other, and what parsed of it can still lower a mode.
    """
    values: Any = None
    try:
        document = _document(file)
        if not isinstance(document, Document):
            return _unusable(file, document)
        values = document.values
        return _judged(file, document, facts, accounts, known_types)
    except Exception as error:  # noqa: BLE001 - one file must not stop the others
        unusable = _unusable(file, (engine_fault(file.path, error),))
        return replace(unusable, claimed_id=_claimed_id(values), claimed_mode=_claimed_mode(values))


def _document(file: SourceFile) -> Document | tuple[Problem, ...]:
    if file.data is None:
        return (Problem(file.path, 0, 0, "", f"expected a readable file: {file.error}", "", "file-unreadable"),)
    document = parse(file.data, file.path)
    return document if isinstance(document, Document) else (*document, *_leaks(file, None))


def _judged(
    file: SourceFile, document: Document, facts: FindFacts, accounts: Accounts, known_types: Sequence[str]
) -> Evaluation:
    values = document.values
    strategy_type = _get(values, "strategy_type")
    definition = facts(strategy_type) if isinstance(strategy_type, str) else None
    violations = _violations(values, file.path, definition, accounts, known_types)
    problems = _bounded([*(violation.at(document) for violation in violations), *_leaks(file, document)])
    record = None if problems or definition is None else _record(values, definition)
    return Evaluation(
        path=file.path,
        file_digest=file.digest,
        claimed_id=_claimed_id(values),
        claimed_mode=_claimed_mode(values),
        record=record,
        code_digest="" if definition is None else definition.code_digest,
        values_digest="" if record is None else digest(values),
        config_digest="" if record is None else digest(record.effective_config),
        problems=problems,
        committed=file.committed and definition is not None and definition.committed,
        source=file.data,
    )


def named_id(path: str) -> str:
    """The id that a file must hold, by its name: `btc-grid-1` for `instances/majors/btc-grid-1.yaml`."""
    return path.rpartition("/")[2].removesuffix(".yaml").removesuffix(".yml")


def _unusable(file: SourceFile, problems: Iterable[Problem]) -> Evaluation:
    return Evaluation(file.path, file.digest, None, None, None, "", "", "", _bounded(problems), source=file.data)


def _bounded(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """In order; of more than anybody reads, which would weigh on database and pages, the first and their number."""
    ordered = in_order(problems)
    if len(ordered) <= MAX_PROBLEMS:
        return ordered
    rest = f"and {len(ordered) - MAX_PROBLEMS:,} more problems"
    return (*ordered[:MAX_PROBLEMS], replace(ordered[MAX_PROBLEMS], pointer="", message=rest, hint="", rule="more"))


def _violations(
    values: Any, path: str, definition: DefinitionFacts | None, accounts: Accounts, known_types: Sequence[str]
) -> Iterator[Violation]:
    yield from compile_schema(instance_schema()).violations(values)
    if not isinstance(values, dict):
        return
    instance_id, name = _claimed_id(values), named_id(path)
    if instance_id is not None and instance_id != name:
        message = f"expected {quoted(name)}, the file's name, was {quoted(instance_id)}"
        yield Violation(("id",), message, f"rename the file to {instance_id}.yaml, or change the id", "id-file-name")
    yield from _strategy_violations(values, definition, known_types)
    account_id = _get(_get(values, "account"), "account_id")
    if isinstance(account_id, str) and accounts.get(account_id) is None:
        message = f"unknown account {quoted(account_id)}"
        hint = _choice(account_id, sorted(accounts.declared), "the settings declare")
        yield Violation(("account", "account_id"), message, hint, "unknown-account")
    if "template" in values:
        hint = "remove the key and write its values into this file"
        yield Violation(("template",), "templates cannot be used yet", hint, "template", of_key=True)
    if values.get("open_orders") == "cancel":
        message = "expected keep, was cancel, which cannot be carried out yet"
        hint = "remove the key, and cancel what should go before lowering the mode"
        yield Violation(("open_orders",), message, hint, "open-orders")


def _strategy_violations(
    values: dict[str, Any], definition: DefinitionFacts | None, known_types: Sequence[str]
) -> Iterator[Violation]:
    strategy_type = values.get("strategy_type")
    if not isinstance(strategy_type, str):
        return
    if definition is None:
        hint = _choice(strategy_type, known_types, "there are")
        yield Violation(("strategy_type",), f"unknown strategy {quoted(strategy_type)}", hint, "unknown-strategy")
    elif definition.problems:
        for problem in definition.problems:
            yield Violation(("strategy_type",), str(problem), problem.hint, "definition-broken")
    elif isinstance(values.get("config"), dict):
        for violation in compile_config_schema(definition.config_schema).violations(values["config"]):
            yield violation.below(("config",))


def _choice(word: str, known: Sequence[str], introduction: str) -> str:
    everything = f"{introduction}: {', '.join(known)}" if known else f"{introduction} none"
    return f"{did_you_mean(word, known)} {everything}".strip()


def _leaks(file: SourceFile, document: Document | None) -> Iterator[Problem]:
    text = (file.data or b"").decode("utf-8-sig", "replace")
    for what, line, column in literals.find(text):
        pointer = "" if document is None else spell(document.path_at(line, column))
        message = f"expected no secrets, was what looks like {what}"
        yield Problem(file.path, line, column, pointer, message, _REVOKE, "secret-literal")


def _claimed_id(values: Any) -> str | None:
    value = _get(values, "id")
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


def _claimed_mode(values: Any) -> Mode | None:
    value = _get(values, "mode")
    return Mode(value) if isinstance(value, str) and value in _MODES else None


def _get(values: Any, key: str) -> Any:
    return values.get(key) if isinstance(values, dict) else None


def _record(values: dict[str, Any], definition: DefinitionFacts) -> InstanceRecord:
    account = values["account"]
    return InstanceRecord(
        id=values["id"],
        identity=Identity(values["strategy_type"], account["account_id"], account["client_id"], values["market"]),
        mode=Mode(values["mode"]),
        config=values["config"],
        effective_config=defaults(values["config"], definition.config_schema),
        limits=_limits(values.get("limits", {})),
        values=values,
        **{key: values[key] for key in _OPTIONAL if key in values},
    )


def _limits(written: dict[str, Any]) -> Limits:
    exact: dict[str, Any] = {k: Decimal(v) if isinstance(v, str) else v for k, v in written.items() if k in _LIMITS}
    return Limits(**exact)


_REVOKE: Final = "revoke it, it may have been seen; name a secret, {env: NAME} or {file: PATH}, and keep it elsewhere"
_MODES: Final = frozenset(map(str, Mode))
_OPTIONAL: Final = ("description", "labels", "open_orders", "protect")
_LIMITS: Final = frozenset(field.name for field in fields(Limits))
