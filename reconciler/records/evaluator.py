"""The evaluator: one file → an `Evaluation`, every problem at once. Pure; what spans files is in `crosscheck`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from typing import Any, Final, NamedTuple

from reconciler.documents.document import Document, Merged
from reconciler.documents.scalars import values_of
from reconciler.documents.wording import did_you_mean, quoted, spell
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.instance_schema import ID_PATTERN, instance_schema, record_schema
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Limits, Row, digest
from reconciler.records.snapshot import SourceFile, document_of, engine_fault, leaks, named_id
from reconciler.records.template import Template, find_template, upon
from reconciler.validation.config_schema import defaults, too_large, with_integers
from reconciler.validation.validator import compile_config_schema, compile_schema
from reconciler.validation.violation import Violation, bounded

_ID: Final = re.compile(ID_PATTERN.removesuffix("$"))


def violations(
    values: Any,
    path: str,
    definition: DefinitionFacts | None,
    accounts: Accounts,
    known_types: Sequence[str],
    lacks_template: bool,
) -> Iterator[Violation]:
    """Every way in which the values of the file at `path` break a rule, found as it is asked for.

    `definition` is that of the strategy they name, None where there is none; `lacks_template`: they ask for a
    template and there is none to build on, so what they lack may stand there.
    """
    yield from compile_schema(instance_schema() if lacks_template else record_schema()).violations(values)
    if not isinstance(values, dict):
        return
    instance_id, name = claimed_id(values), named_id(path)
    if instance_id is not None and instance_id != name:
        message = f"expected {quoted(name)}, the file's name, was {quoted(instance_id)}"
        yield Violation(("id",), message, f"rename the file to {instance_id}.yaml, or change the id", "id-file-name")
    yield from _strategy_violations(values, definition, known_types, lacks_template)
    account = values.get("account")
    account_id = account.get("account_id") if isinstance(account, dict) else None
    if isinstance(account_id, str) and accounts.get(account_id) is None:
        message = f"unknown account {quoted(account_id)}"
        hint = _choice(account_id, sorted(accounts.declared), "the settings declare")
        yield Violation(("account", "account_id"), message, hint, "unknown-account")


def _strategy_violations(
    values: dict[str, Any], definition: DefinitionFacts | None, known_types: Sequence[str], lacks_template: bool
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
    elif isinstance(values.get("config"), dict) and not definition.waiting:
        for violation in compile_config_schema(definition.config_schema).violations(values["config"]):
            if not lacks_template or _is_told(violation, values["config"]):
                yield violation.below(("config",))


def _is_told(violation: Violation, config: Any) -> bool:
    """True where a config is wrong by what it says itself, whatever a template would add to it."""
    value = config
    for step in violation.path:
        value = value[step]
    return violation.rule == "schema-unknown-key" or not isinstance(value, dict)


def template_violations(
    name: str | None, template: Template | None, templates: Mapping[str, Template]
) -> Iterator[Violation]:
    """What is wrong with naming the template `name`, where it is not `template` that is."""
    if name is not None and template is None:
        hint = _choice(name, sorted(templates), "there are")
        yield Violation(("template",), f"unknown template {quoted(name)}", hint, "unknown-template")


def _choice(word: str, known: Sequence[str], introduction: str) -> str:
    everything = f"{introduction}: {', '.join(known)}" if known else f"{introduction} none"
    return f"{did_you_mean(word, known)} {everything}".strip()


def claimed_id(values: Any) -> str | None:
    """The id that values claim, None where it is none."""
    value = values.get("id") if isinstance(values, dict) else None
    return value if isinstance(value, str) and _ID.fullmatch(value) else None


FindFacts = Callable[[str], DefinitionFacts | None]
"""What is known of a strategy type; None where there is no such type."""

MAX_PROBLEMS: Final = 1_000


def evaluate(
    file: SourceFile,
    facts: FindFacts,
    accounts: Accounts,
    known_types: Sequence[str],
    templates: Mapping[str, Template],
    judged_by: Callable[[DefinitionFacts], str] | None = None,
) -> Evaluation:
    """Judge one file on its own, upon the template it names. `known_types` are named to those who misspell one;
    `judged_by` tells what a record that comes of it was judged by.

    Never raises: it is the boundary of the file. What the engine fails on is a problem of this file and of no
    other, and what parsed of it can still lower a mode.
    """
    values: Any = None
    try:
        values = _plain_values(file)
        sound = None if values is None else _sound(file, values, facts, accounts, known_types, templates)
        if sound is not None:
            return _evaluation(sound, accounts, (), judged_by)
        document = document_of(file)
        if not isinstance(document, Document):
            return _unusable(file, document)
        values = document.values
        case = _case(file, document, facts, templates)
        problems = bounded(_problems(case, accounts, known_types, templates), MAX_PROBLEMS)
        return _evaluation(case, accounts, problems, judged_by)
    except Exception as error:  # noqa: BLE001 - one file must not stop the others
        return replace(_unusable(file, (engine_fault(file.path, error),)), **_claims(values, templates))


def is_valid(
    file: SourceFile,
    facts: FindFacts,
    accounts: Accounts,
    known_types: Sequence[str],
    templates: Mapping[str, Template],
) -> bool:
    """True only where `evaluate` finds no problem; faster, since the first problem ends it, and nothing is kept.

    Never raises: what the engine fails on is not valid, and `evaluate` will tell.
    """
    try:
        values = _plain_values(file)
        if values is None:
            document = document_of(file)
            if not isinstance(document, Document):
                return False
            values = document.values
        case = _sound(file, values, facts, accounts, known_types, templates)
        if case is None or case.definition is None or case.definition.waiting:
            return False
        if accounts.requirement is not None and _rests_on_limits(case.source.values, accounts):
            return False
        config = case.source.values["config"]
        defaults(config, case.definition.config_schema)  # raises where they come to no end
        return not any(too_large(config, case.definition.config_schema))
    except Exception:  # noqa: BLE001 - one file must not stop the others
        return False


def _plain_values(file: SourceFile) -> dict[str, Any] | None:
    return None if file.data is None else values_of(file.data)


def _sound(
    file: SourceFile,
    values: Any,
    facts: FindFacts,
    accounts: Accounts,
    known_types: Sequence[str],
    templates: Mapping[str, Template],
) -> _Case | None:
    """The case of a file of these values with which nothing is wrong; None where there is more to be told.

    It has no places: most files are like that, and then nobody asks for them.
    """
    case = _case(file, Document(file.path, values, ()), facts, templates)
    if (case.template is not None and case.template.problems) or any(leaks(file, None)):
        return None
    return None if any(_violations(case, accounts, known_types, templates)) else case


class _Case(NamedTuple):
    """One file that parses, with its template's values below its own, and the definition it names."""

    file: SourceFile
    document: Document
    source: Document | Merged
    definition: DefinitionFacts | None
    template: Template | None
    claims: Mapping[str, Any]


def _case(file: SourceFile, document: Document, facts: FindFacts, templates: Mapping[str, Template]) -> _Case:
    claims = _claims(document.values, templates)
    template: Template | None = claims["template"]
    source = upon(document, template)
    strategy_type = _get(source.values, "strategy_type")
    definition = facts(strategy_type) if isinstance(strategy_type, str) else None
    return _Case(file, document, source, definition, template, claims)


def _problems(
    case: _Case, accounts: Accounts, known_types: Sequence[str], templates: Mapping[str, Template]
) -> Iterator[Problem]:
    """Everything wrong with it, in no order."""
    for violation in _violations(case, accounts, known_types, templates):
        yield _located(violation, case.source)
    yield from leaks(case.file, case.document)
    if case.template is not None:
        yield from case.template.problems


def _violations(
    case: _Case, accounts: Accounts, known_types: Sequence[str], templates: Mapping[str, Template]
) -> Iterator[Violation]:
    values, path, lacks_template = case.source.values, case.file.path, _lacks_template(case.source)
    yield from violations(values, path, case.definition, accounts, known_types, lacks_template)
    yield from template_violations(case.claims["claimed_template"], case.template, templates)
    if case.definition is not None:
        for where, value in too_large(_get(values, "config"), case.definition.config_schema):
            message = f"expected an integer of at most 64 bits, was {value}"
            yield Violation(("config", *where), message, "write it as text, if it is a name", "schema-range")


def _evaluation(
    case: _Case,
    accounts: Accounts,
    problems: tuple[Problem, ...],
    judged_by: Callable[[DefinitionFacts], str] | None,
) -> Evaluation:
    file, definition, template, values = case.file, case.definition, case.template, case.source.values
    code = "" if problems or definition is None else definition.waiting
    record = None if problems or definition is None or code else _record(values, definition)
    return Evaluation(
        path=file.path,
        file_digest=file.digest,
        record=record,
        code_digest="" if definition is None else definition.code_digest,
        values_digest="" if record is None else digest(values),
        config_digest="" if record is None else digest(record.effective_config),
        problems=problems,
        committed=_is_committed(file, definition, template),
        source=file.data,
        template_path="" if template is None else template.file.path,
        template_digest="" if template is None else template.file.digest,
        waiting=code or _unfinished(file, template),
        lacking=() if record is None else _lacking(record, accounts),
        judged_by="" if record is None or definition is None or judged_by is None else judged_by(definition),
        **case.claims,
    )


def recalled(
    file: SourceFile,
    row: Row,
    definition: DefinitionFacts,
    template: Template | None,
    accounts: Accounts,
    judged_by: str,
) -> Evaluation:
    """What `evaluate` says of a file that its row was made from, where all that it was judged by is as it was then."""
    record, has_come = row.record, not definition.waiting
    return Evaluation(
        path=file.path,
        file_digest=file.digest,
        claimed_id=record.id,
        claimed_mode=record.mode,
        record=record if has_come else None,
        code_digest=definition.code_digest,
        values_digest=row.values_digest if has_come else "",
        config_digest=row.config_digest if has_come else "",
        problems=(),
        committed=_is_committed(file, definition, template),
        source=file.data,
        template_path=row.template_path,
        template_digest=row.template_digest,
        claimed_template=record.template,
        template=template,
        waiting=definition.waiting,
        lacking=_lacking(record, accounts) if has_come else (),
        judged_by=judged_by,
    )


def _is_committed(file: SourceFile, definition: DefinitionFacts | None, template: Template | None) -> bool:
    is_committed = file.committed and definition is not None and definition.committed
    return is_committed and (template is None or template.file.committed)


def _rests_on_limits(values: dict[str, Any], accounts: Accounts) -> bool:
    """True where it says active, and lacks limits that are asked for: sound by itself, yet refused where it rises."""
    account_id, limits = values["account"]["account_id"], _limits(values.get("limits", {}))
    return values["mode"] == Mode.ACTIVE and bool(accounts.lacking(account_id, values["market"], limits))


def _lacking(record: InstanceRecord, accounts: Accounts) -> tuple[str, ...]:
    return accounts.lacking(record.identity.account_id, record.identity.market, record.limits)


def _claims(values: Any, templates: Mapping[str, Template]) -> dict[str, Any]:
    """What the file says of itself, wherever else it is wrong, and the template it means."""
    name = _get(values, "template")
    name = name if isinstance(name, str) and name else None
    return {
        "claimed_id": claimed_id(values),
        "claimed_mode": _claimed_mode(values),
        "claimed_template": name,
        "template": None if name is None else find_template(templates, name),
    }


def _lacks_template(source: Document | Merged) -> bool:
    """True where the file asks for a template and there is none to build on: what it lacks may stand there."""
    return isinstance(source, Document) and isinstance(source.values, dict) and "template" in source.values


def _located(violation: Violation, source: Document | Merged) -> Problem:
    if violation.rule != "schema-required" or not isinstance(source, Merged):
        return violation.at(source)
    place = source.place_to_add(violation.path)
    neither = f"neither this file nor {source.template.path} has it"
    hint = f"{violation.hint.rstrip('.')}; {neither}" if violation.hint else neither
    return Problem(*place, spell(violation.path), violation.message, hint, violation.rule)


def _unusable(file: SourceFile, problems: Iterable[Problem]) -> Evaluation:
    return Evaluation(
        file.path,
        file.digest,
        None,
        None,
        None,
        "",
        "",
        "",
        bounded(problems, MAX_PROBLEMS),
        source=file.data,
        waiting=_unfinished(file, None),
    )


def _unfinished(file: SourceFile, template: Template | None) -> str:
    files = (file,) if template is None else (file, template.file)
    path = next((one.path for one in files if one.is_unfinished), "")
    return f"{path} is still open for writing; it counts once it is closed" if path else ""


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
        effective_config=with_integers(defaults(values["config"], definition.config_schema), definition.config_schema),
        data_markets=tuple(values.get("data_markets", ())),
        limits=_limits(values.get("limits", {})),
        values=values,
        **{key: values[key] for key in _OPTIONAL if key in values},
    )


def _limits(written: dict[str, Any]) -> Limits:
    exact: dict[str, Any] = {k: Decimal(v) if isinstance(v, str) else v for k, v in written.items() if k in _LIMITS}
    exact = with_integers(exact, instance_schema()["properties"]["limits"], instance_schema())
    return Limits(**exact, takes_any_quote=written.get("max_quote_age_seconds", 0) is None)


_MODES: Final = frozenset(map(str, Mode))
_OPTIONAL: Final = ("description", "labels", "template", "open_orders", "protect")
_LIMITS: Final = frozenset(field.name for field in fields(Limits)) - {"takes_any_quote"}
