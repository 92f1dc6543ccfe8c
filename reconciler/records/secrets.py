"""Secrets: `{env: NAME}` and `{file: PATH}` where a schema says `writeOnly: true`. Pure; resolves nothing itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from reconciler.records.pointer import Path, spell
from reconciler.records.subschema import Schema, applied, of_item, of_property, rewritten


@dataclass(frozen=True, slots=True)
class SecretReference:
    """Where a secret is kept: in the environment variable `name`, or in the file `name`."""

    kind: Literal["env", "file"]
    name: str


_REFERENCE: Final = {
    "type": "object",
    "properties": {
        "env": {
            "type": "string",
            "pattern": "^[A-Za-z_][A-Za-z0-9_]*$",
            "description": "The environment variable that holds the secret.",
            "examples": ["KRAKEN_TOKEN"],
        },
        "file": {"type": "string", "minLength": 1, "description": "A file that holds nothing but the secret."},
    },
    "additionalProperties": False,
    "minProperties": 1,
    "maxProperties": 1,
}
_KEPT: Final = ("title", "description", "deprecated", "writeOnly")


def with_references(schema: Schema) -> Schema:
    """The schema that a written config must meet: each `writeOnly` place takes a reference and nothing else."""

    def reference(part: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if part.get("writeOnly") is not True:
            return None
        return {**{keyword: part[keyword] for keyword in _KEPT if keyword in part}, **_REFERENCE}

    return rewritten(schema, reference)


def secret_places(values: Any, schema: Schema) -> Iterator[tuple[Path, Any]]:
    """Path and value of everything in `values` that stands where `schema` says `writeOnly`."""
    waiting: list[tuple[Path, Any, list[Schema]]] = [((), values, [schema])]
    while waiting:
        path, value, schemas = waiting.pop()
        parts = [part for one in schemas for part in applied(one, schema)]
        if any(part.get("writeOnly") is True for part in parts):
            yield path, value
        elif isinstance(value, Mapping):
            for key, child in value.items():
                waiting.append(((*path, key), child, [s for part in parts for s in of_property(part, key)]))
        elif isinstance(value, list):
            for index, child in enumerate(value):
                waiting.append(((*path, index), child, [s for part in parts for s in of_item(part, index)]))


def secret_references(values: Any, schema: Schema) -> Iterator[tuple[str, SecretReference]]:
    """Pointer and reference of every secret that valid `values` name, for the runtime to resolve at load."""
    for path, value in secret_places(values, schema):
        if isinstance(value, Mapping) and len(value) == 1:
            (kind, name), *_ = value.items()
            if kind in ("env", "file") and isinstance(name, str):
                yield spell(path), SecretReference(kind, name)


def with_secrets(values: Any, resolved: Mapping[str, str]) -> Any:
    """`values` with the secrets in place: `resolved` maps pointers, as `secret_references` gave them, to secrets."""
    return _filled(values, (), resolved) if resolved else values


def _filled(value: Any, path: Path, resolved: Mapping[str, str]) -> Any:
    secret = resolved.get(spell(path))
    if secret is not None:
        return secret
    if isinstance(value, Mapping):
        return {key: _filled(child, (*path, key), resolved) for key, child in value.items()}
    if isinstance(value, list):
        return [_filled(child, (*path, index), resolved) for index, child in enumerate(value)]
    return value
