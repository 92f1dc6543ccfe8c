"""Validation: do values meet a JSON Schema, and if not, all that is wrong. Pure; knows nothing of instances.

Used alike for records, configs, settings and the schemas of strategies. A fast path says yes
(`acceptor`); for everything it does not accept, jsonschema decides and `violation` finds the words.
jsonschema is imported only then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from reconciler.documents.document import Document
from reconciler.documents.wording import Path, spell
from reconciler.errors import Problem
from reconciler.validation import config_schema
from reconciler.validation import schema_tree as regex
from reconciler.validation.schema_tree import MAP, Schema, at, every
from reconciler.validation.secrets import secret_places, with_references
from reconciler.validation.violation import Violation, explanations, in_order
from reconciler.visible import is_storable, storable

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# fmt: off
_ANNOTATIONS: Final = frozenset({
    "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
})
_SAFE: Final = frozenset({
    "type", "enum", "const", "$ref", "$defs", "allOf", "anyOf",
    "properties", "required", "additionalProperties", "propertyNames", "patternProperties",
    "minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems", "uniqueItems",
    "minLength", "maxLength", "pattern",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
})
# fmt: on
_EXACT: Final = 2**53


def acceptor(schema: Schema) -> Callable[[Any], bool] | None:
    """A function that is True only for values that jsonschema accepts, too; None where there is none to be had."""
    if not all(_is_safe(part) for _, part in every(schema)):
        return None
    import jsonschema_rs

    try:
        ready = jsonschema_rs.Draft202012Validator(_plain(schema), pattern_options=regex.options(), offline=True)
    except ValueError:
        return None  # not a schema, or too much for it: jsonschema will say
    return ready.is_valid


def is_schema(schema: Schema) -> bool:
    """True where `schema` certainly is valid JSON Schema 2020-12."""
    import jsonschema_rs

    return jsonschema_rs.meta.is_valid(_plain(schema))


def _is_safe(schema: Schema) -> bool:
    return isinstance(schema, bool) or all(_is_safe_keyword(name, value) for name, value in schema.items())


def _is_safe_keyword(name: str, value: Any) -> bool:
    if name in _ANNOTATIONS or name.startswith("x-"):
        return True
    if name == "$schema":
        return bool(value == DIALECT)
    if name not in _SAFE:
        return False
    if name == "$ref":
        return isinstance(value, str) and value.startswith("#")
    return name in MAP or _is_exact(value)


def _is_exact(value: Any) -> bool:
    """True where every number in `value` is the same in both implementations, whatever type they keep it in."""
    if isinstance(value, Mapping):
        return all(map(_is_exact, value.values()))
    if isinstance(value, list):
        return all(map(_is_exact, value))
    return not isinstance(value, (int, float)) or abs(value) <= _EXACT


def _plain(schema: Any) -> Any:
    """Mappings of any kind as dicts: read-only ones are foreign to Rust."""
    if isinstance(schema, Mapping):
        return {key: _plain(value) for key, value in schema.items()}
    return [_plain(value) for value in schema] if isinstance(schema, (list, tuple)) else schema


class CompiledSchema:
    """A schema made ready. `writeOnly` places in it take a reference to a secret and nothing else.

    `has_secrets` is True where there are such places.
    """

    def __init__(self, schema: Schema) -> None:
        self.has_secrets = any(isinstance(part, Mapping) and part.get("writeOnly") is True for _, part in every(schema))
        self._schema = with_references(schema)
        self._accept = acceptor(self._schema)

    def accepts(self, values: Any) -> bool:
        """True where `values` certainly meet the schema; where False, `violations` has the last word. Fast."""
        return self._accept is not None and self._accept(values)

    def violations(self, values: Any) -> list[Violation]:
        """All that is wrong with `values`; empty where nothing is. Never shows a secret."""
        if self.accepts(values):
            return []
        from reconciler.validation.conformance import faults

        secret = [path for path, _ in secret_places(values, self._schema)]
        return explanations(faults(values, self._schema, self._schema), self._schema, secret)

    def problems(self, document: Document) -> tuple[Problem, ...]:
        """The violations of a whole document, with line and column, in order of line."""
        return in_order(violation.at(document) for violation in self.violations(document.values))


_MOST_REMEMBERED: Final = 512
_compiled: dict[tuple[int, bool], tuple[Schema, CompiledSchema]] = {}
"""By the identity of the schema, which is kept here too, so that no other object can take over its id."""


def compile_schema(schema: Schema) -> CompiledSchema:
    """The schema made ready, once per schema object: do not change a schema after it was given here."""
    return _remembered(schema, False)


def compile_config_schema(schema: Schema) -> CompiledSchema:
    """A strategy's CONFIG_SCHEMA made ready, in its strict form (`config_schema.strict`)."""
    return _remembered(schema, True)


def _remembered(schema: Schema, strict: bool) -> CompiledSchema:
    key = (id(schema), strict)
    known = _compiled.get(key)
    if known is not None:
        return known[1]
    if len(_compiled) >= _MOST_REMEMBERED:
        _compiled.clear()
    compiled = CompiledSchema(config_schema.strict(schema) if strict else schema)
    _compiled[key] = (schema, compiled)
    return compiled


def check(values: Any, schema: Schema) -> list[Violation]:
    """All that is wrong with `values`; empty where they meet `schema`."""
    return compile_schema(schema).violations(values)


def schema_problems(schema: Any) -> list[str]:
    """What is wrong with a CONFIG_SCHEMA, each as `place: what`; empty where it can be used.

    It must be JSON Schema 2020-12 with `"type": "object"`, stand alone (references only within itself),
    every `default` must be valid where it stands, and all of it must be text that can be written down.
    """
    if not isinstance(schema, Mapping):
        return ["expected a mapping"]
    broken = [f"{spell(path)}: expected text, was half a character: {storable(text)}" for path, text in _broken(schema)]
    if broken:
        return broken
    if schema.get("$schema", DIALECT) != DIALECT:
        return [f"$schema: expected {DIALECT}"]
    if not is_schema(schema):
        from reconciler.validation.conformance import schema_faults

        wrong = [_sentence(violation) for violation in explanations(schema_faults(schema), schema)]
        if wrong:
            return wrong
    return (
        list(config_schema.faults(schema))
        or [
            f"{spell((*path, 'default'))}: {_sentence(violation)}"
            for path, part in every(schema)
            if isinstance(part, Mapping) and "default" in part
            for violation in _default_violations(part["default"], path, config_schema.strict(schema))
        ]
        or list(config_schema.endless_defaults(schema))
    )


def _broken(schema: Any) -> Iterator[tuple[Path, str]]:
    """Every text in it, key or value, that UTF-8 cannot hold, and the place it stands at or in."""
    waiting: list[tuple[Path, Any]] = [((), schema)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and not is_storable(value):
            yield path, value
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if is_storable(key):
                    waiting.append(((*path, key), item))
                else:
                    yield path, key
        elif isinstance(value, (list, tuple)):
            waiting += (((*path, i), item) for i, item in enumerate(value))


def _default_violations(default: Any, path: Path, root: Schema) -> list[Violation]:
    part = at(root, path)
    if part is None:
        return []  # inside of what a reference to a secret has replaced
    if not any("$ref" in inner for _, inner in every(part) if isinstance(inner, Mapping)):
        return CompiledSchema(part).violations(default)
    from reconciler.validation.conformance import faults

    return explanations(faults(default, part, root), root)


def _sentence(violation: Violation) -> str:
    pointer = spell(violation.path)
    message = f"{pointer}: {violation.message}" if pointer else violation.message
    return f"{message} ({violation.hint})" if violation.hint else message
