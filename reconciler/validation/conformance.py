"""Conformance: what jsonschema finds wrong. Pure; slow to import, so only what is not accepted gets here.

jsonschema has the last word, with three corrections: `multipleOf` is exact on the decimals people wrote,
patterns are matched by the one engine for them (`regex`), and no `$ref` is fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

from reconciler.documents.wording import Path
from reconciler.validation import formats
from reconciler.validation import schema_tree as regex
from reconciler.validation.schema_tree import LIST, MAP, ONE, Schema, by_pattern
from reconciler.validation.violation import SchemaFault


def faults(values: Any, schema: Schema, root: Schema) -> Iterator[SchemaFault]:
    """Everything in which `values` do not meet `schema`, a part of `root`, which its `$ref`s look into."""
    validator: Any = _Validator(_prepared(root), registry=Registry(), format_checker=_FORMATS)
    return map(_fault, validator.evolve(schema=_prepared(schema)).iter_errors(values))


def schema_faults(schema: Any) -> Iterator[SchemaFault]:
    """Everything in which `schema` is no JSON Schema 2020-12."""
    validator: Any = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    return map(_fault, validator.iter_errors(schema))


def _prepared(schema: Schema) -> Schema:
    """The schema without two words that mislead jsonschema.

    At `$schema` it would go on with its own validator instead of ours, and what breaks a `false` among
    others (`properties`, `anyOf`) would not say which of them it broke.
    """
    if isinstance(schema, bool):
        return schema
    copy = dict(schema)
    copy.pop("$schema", None)
    for keyword, value in schema.items():
        if keyword in ONE:
            copy[keyword] = _prepared(value)
        elif keyword in LIST:
            copy[keyword] = [_named(part) for part in value]
        elif keyword in MAP:
            copy[keyword] = {name: _named(part) for name, part in value.items()}
    return copy


def _named(schema: Schema) -> Schema:
    return {"not": {}} if schema is False else _prepared(schema)


def _fault(error: Any) -> SchemaFault:
    path: Path = tuple(error.absolute_path)
    is_of_key = "propertyNames" in error.absolute_schema_path
    branches: dict[int, list[SchemaFault]] = {}
    for part in error.context:
        branches.setdefault(part.schema_path[0], []).append(_fault(part))
    return SchemaFault(
        path=(*path, error.instance) if is_of_key else path,
        keyword=error.validator or "",
        expected=error.validator_value,
        value=error.instance,
        schema=error.schema,
        reason=error.message,
        is_of_key=is_of_key,
        branches=tuple(tuple(found) for _, found in sorted(branches.items())),
    )


def _multiple_of(validator: Any, factor: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "number") and (Fraction(repr(value)) / Fraction(repr(factor))).denominator != 1:
        yield ValidationError("not a multiple")


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "string") and not regex.matches(pattern, value):
        yield ValidationError("no match")


def _pattern_properties(validator: Any, patterns: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(value, "object"):
        for key, item in value.items():
            for part in by_pattern(schema, key):
                yield from validator.descend(item, part, path=key)


def _additional_properties(validator: Any, part: Schema, value: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    named = schema.get("properties", {})
    extras = [key for key in value if key not in named and not by_pattern(schema, key)]
    if part is not False:
        for key in extras:
            yield from validator.descend(value[key], part, path=key)
    elif extras:
        yield ValidationError("more keys than there may be")


def _is_of_format(check: Callable[[str], bool]) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or check(value)


_Validator: Final[Any] = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "multipleOf": _multiple_of,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)
_FORMATS: Final = FormatChecker(formats=())
_FORMATS.checkers = {name: (_is_of_format(check), ()) for name, check in formats.CHECKS.items()}
