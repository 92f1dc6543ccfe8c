"""The rules of an instance file: its schema, its strategy's, and what no schema can say. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import DefinitionFacts
from reconciler.records.schema import ID_PATTERN, instance_schema, record_schema
from reconciler.records.snapshot import named_id
from reconciler.records.template import Template
from reconciler.records.validation import compile_config_schema, compile_schema
from reconciler.records.violation import Violation
from reconciler.records.wording import did_you_mean, quoted

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
