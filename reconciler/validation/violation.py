"""Violations: the ways in which values break a schema, by the path of the value, in our own words and with a hint where
one helps. Pure. Never shows a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.documents.document import Document, Merged
from reconciler.documents.scalars import resolve
from reconciler.documents.wording import Path, did_you_mean, kind, one_of, quoted, shown, spell
from reconciler.errors import Problem
from reconciler.validation.formats import WORDS
from reconciler.validation.schema_tree import Schema, by_pattern, referred


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with the value at `path`.

    `of_key`: it is the key that is at fault (unknown), or that tells where a mapping stands (a key is
    missing in it), so the position is the key's.
    """

    path: Path
    message: str
    hint: str = ""
    rule: str = "schema"
    of_key: bool = False

    def below(self, path: Path) -> Violation:
        """The same violation where the values themselves stand at `path`."""
        return replace(self, path=(*path, *self.path))

    def at(self, document: Document | Merged) -> Problem:
        """The same as a problem of the file that the value stands in, with line and column."""
        place = document.key_place(self.path) if self.of_key else document.place(self.path)
        return Problem(*place, spell(self.path), self.message, self.hint, self.rule)


_TELLING: Final = ("schema-secret", "schema-type", "schema-enum", "schema-unknown-key", "schema-required")


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By file and line; within a place, the most telling first: what kind of value it is before its details."""

    def rank(problem: Problem) -> tuple[str, int, int, int, Problem]:
        telling = _TELLING.index(problem.rule) if problem.rule in _TELLING else len(_TELLING)
        return problem.path, problem.line, problem.column, telling, problem

    return tuple(sorted(dict.fromkeys(problems), key=rank))


def bounded(problems: Iterable[Problem], most: int) -> tuple[Problem, ...]:
    """In order; of more than anybody reads, which would weigh on database and pages, the first and their number."""
    ordered = in_order(problems)
    if len(ordered) <= most:
        return ordered
    rest = f"and {len(ordered) - most:,} more problems"
    return (*ordered[:most], replace(ordered[most], pointer="", message=rest, hint="", rule="more"))


@dataclass(frozen=True, slots=True)
class SchemaFault:
    """`value`, at `path`, does not meet `keyword`, which says `expected` in `schema`.

    `keyword` is empty for the schema `false`. `branches` are the faults of each alternative of an `anyOf`
    or `oneOf`, in their order. `reason` is what jsonschema itself says, which may hold the value.
    """

    path: Path
    keyword: str
    expected: Any
    value: Any
    schema: Any
    reason: str
    is_of_key: bool
    branches: tuple[tuple[SchemaFault, ...], ...] = ()

    @property
    def is_forbidden(self) -> bool:
        """True where the schema allows nothing at all (`false`)."""
        return not self.keyword or (self.keyword == "not" and self.expected == {})

    @property
    def rules_out(self) -> bool:
        """True where the value is of another type, or is another constant, than the schema is about."""
        return self.keyword in ("type", "const", "enum") or self.is_forbidden

    @property
    def options(self) -> list[Any]:
        """What a `const` or `enum` would have taken."""
        return [self.expected] if self.keyword == "const" else list(self.expected)


_TYPES: Final = {
    "integer": "an integer",
    "number": "a number",
    "string": "a string",
    "boolean": "true or false",
    "null": "null",
    "object": "a mapping",
    "array": "a list",
}
_BOUNDS: Final = {
    "minimum": "at least",
    "maximum": "at most",
    "exclusiveMinimum": "more than",
    "exclusiveMaximum": "less than",
}
_SIZES: Final = {
    "minLength": ("at least", "character"),
    "maxLength": ("at most", "character"),
    "minItems": ("at least", "item"),
    "maxItems": ("at most", "item"),
    "minProperties": ("at least", "key"),
    "maxProperties": ("at most", "key"),
}
_SWITCHES: Final = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def explanations(faults: Iterable[SchemaFault], root: Schema, secret: Collection[Path] = ()) -> list[Violation]:
    """Every fault explained. Whatever stands at or below the `secret` paths is never shown."""
    return _Explainer(root, frozenset(secret)).all(faults)


class _Explainer:
    def __init__(self, root: Schema, secret: frozenset[Path]) -> None:
        self._root = root
        self._secret = secret
        self._words: dict[str, Callable[[SchemaFault], Iterable[Violation]]] = {
            "type": self._type,
            "enum": self._options,
            "const": self._options,
            "required": self._required,
            "dependentRequired": self._dependent,
            "not": self._forbidden,
            "additionalProperties": self._additional,
            "unevaluatedProperties": self._unevaluated,
            "pattern": self._pattern,
            "format": self._format,
            "multipleOf": self._multiple,
            "items": self._no_more_items,
            "uniqueItems": self._unique,
            "anyOf": self._alternatives,
            "oneOf": self._alternatives,
            **dict.fromkeys(_BOUNDS, self._bound),
            **dict.fromkeys(_SIZES, self._size),
        }

    def all(self, faults: Iterable[SchemaFault]) -> list[Violation]:
        """Each fault once; a `type` that an `enum` at the same place says better is left out."""
        found = dict.fromkeys(violation for fault in faults for violation in self._one(fault))
        named = {violation.path for violation in found if violation.rule == "schema-enum"}
        return [v for v in found if v.rule != "schema-type" or v.path not in named]

    def _one(self, fault: SchemaFault) -> Iterable[Violation]:
        if fault.path in self._secret:
            message = f"expected {{env: NAME}} or {{file: PATH}}, was {kind(fault.value)}"
            return [Violation(fault.path, message, "a secret is named here and kept elsewhere", "schema-secret")]
        if fault.is_of_key:
            message = f"expected another name for the key {quoted(str(fault.value))}"
            return [Violation(fault.path, message, _meaning(fault), "schema-key", of_key=True)]
        return self._words.get(fault.keyword, self._other)(fault)

    def _is_secret(self, fault: SchemaFault) -> bool:
        return any(fault.path[:depth] in self._secret for depth in range(len(fault.path) + 1))

    def _was(self, fault: SchemaFault) -> str:
        return f"was {kind(fault.value) if self._is_secret(fault) else shown(fault.value)}"

    def _type(self, fault: SchemaFault) -> Iterable[Violation]:
        message = f"expected {_type_words(fault.expected)}, {self._was(fault)}"
        hint = "" if self._is_secret(fault) else _type_hint(fault)
        return [Violation(fault.path, message, hint, "schema-type")]

    def _options(self, fault: SchemaFault) -> Iterable[Violation]:
        hint = ""
        if isinstance(fault.value, str):
            hint = did_you_mean(fault.value, fault.options)
        elif shown(fault.value) in fault.options and not self._is_secret(fault):
            hint = f"quote it: {quoted(shown(fault.value))}"
        words = one_of(fault.options) if len(fault.options) == 1 else f"one of {one_of(fault.options)}"
        return [Violation(fault.path, f"expected {words}, {self._was(fault)}", hint, "schema-enum")]

    def _required(self, fault: SchemaFault) -> Iterable[Violation]:
        for key in fault.expected:
            if key not in fault.value:
                part = fault.schema.get("properties", {}).get(key, {})
                hint = str(part.get("description", "")) if isinstance(part, Mapping) else ""
                yield Violation(fault.path, f"missing key {quoted(key)}", hint, "schema-required", of_key=True)

    def _dependent(self, fault: SchemaFault) -> Iterable[Violation]:
        for cause, keys in fault.expected.items():
            for key in keys:
                if cause in fault.value and key not in fault.value:
                    message = f"missing key {quoted(key)}, which {quoted(cause)} needs beside it"
                    yield Violation(fault.path, message, "", "schema-required", of_key=True)

    def _additional(self, fault: SchemaFault) -> Iterable[Violation]:
        known = fault.schema.get("properties", {})
        unknown = [key for key in fault.value if key not in known and not by_pattern(fault.schema, key)]
        return _unknown_keys(fault, unknown, known)

    def _unevaluated(self, fault: SchemaFault) -> Iterable[Violation]:
        # Which keys were evaluated depends on which branches applied; jsonschema tells only in its message.
        return _unknown_keys(fault, [key for key in fault.value if repr(key) in fault.reason], ())

    def _bound(self, fault: SchemaFault) -> Iterable[Violation]:
        message = f"expected {_BOUNDS[fault.keyword]} {shown(fault.expected)}, {self._was(fault)}"
        return [Violation(fault.path, message, "", "schema-range")]

    def _size(self, fault: SchemaFault) -> Iterable[Violation]:
        limit, unit = _SIZES[fault.keyword]
        units = unit if fault.expected == 1 else f"{unit}s"
        message = f"expected {limit} {fault.expected:g} {units}, was {len(fault.value)}"
        return [Violation(fault.path, message, "", "schema-size")]

    def _multiple(self, fault: SchemaFault) -> Iterable[Violation]:
        message = f"expected a multiple of {shown(fault.expected)}, {self._was(fault)}"
        return [Violation(fault.path, message, "", "schema-multiple")]

    def _pattern(self, fault: SchemaFault) -> Iterable[Violation]:
        examples = fault.schema.get("examples")
        like = f"like {shown(examples[0])}" if examples else f"matching {fault.expected}"
        hint = f"it must match {fault.expected}" if examples else _meaning(fault)
        return [Violation(fault.path, f"expected text {like}, {self._was(fault)}", hint, "schema-pattern")]

    def _format(self, fault: SchemaFault) -> Iterable[Violation]:
        words = WORDS.get(fault.expected, f"the format {fault.expected}")
        return [Violation(fault.path, f"expected {words}, {self._was(fault)}", "", "schema-format")]

    def _no_more_items(self, fault: SchemaFault) -> Iterable[Violation]:
        most = len(fault.schema.get("prefixItems", ()))
        return [Violation(fault.path, f"expected at most {most} items, was {len(fault.value)}", "", "schema-size")]

    def _unique(self, fault: SchemaFault) -> Iterable[Violation]:
        items = fault.value
        again = next((i for i, item in enumerate(items) if item in items[:i]), None)
        if again is None:
            return [Violation(fault.path, "expected every item once", "", "schema-unique")]
        hint = f"it is item {items.index(items[again]) + 1} already"
        return [Violation((*fault.path, again), "expected every item once", hint, "schema-unique")]

    def _alternatives(self, fault: SchemaFault) -> Iterable[Violation]:
        """The faults of the one alternative that was meant, where the value tells which; else all of them named."""
        if not fault.branches:
            forms = " or ".join(_form(part, (), self._root) for part in fault.expected)
            message = f"expected either {forms}, {self._was(fault)}, which fits more than one"
            return [Violation(fault.path, message, "", "schema-alternatives")]
        tells = [[f for f in branch if f.rules_out and f.path == fault.path] for branch in fault.branches]
        keys = [[f for f in branch if f.rules_out and _is_constant_below(f, fault)] for branch in fault.branches]
        meant = [branch for i, branch in enumerate(fault.branches) if not tells[i] and not keys[i]]
        if len(meant) == 1:
            return self.all(meant[0])
        if not meant:
            of_this_type = [keys[i] for i in range(len(keys)) if not tells[i]]
            common = set.intersection(*({f.path for f in found} for found in of_this_type)) if of_this_type else set()
            if common:
                path = min(common, key=repr)
                told = [f for found in of_this_type for f in found if f.path == path]
                options = one_of([option for f in told for option in f.options])
                return [Violation(path, f"expected one of {options}, {self._was(told[0])}", "", "schema-enum")]
        parts = zip(fault.expected, fault.branches, strict=True)
        named = dict.fromkeys(_form(part, branch, self._root) for part, branch in parts if part != {"not": {}})
        nearest = sorted(meant, key=len)[:1]
        hint = f"the nearest says: {self.all(nearest[0])[0].message}" if nearest else ""
        message = f"expected {' or '.join(named) or 'nothing'}, {self._was(fault)}"
        return [Violation(fault.path, message, hint, "schema-alternatives")]

    def _forbidden(self, fault: SchemaFault) -> Iterable[Violation]:
        if not fault.is_forbidden or not fault.path or isinstance(fault.path[-1], int):
            return self._other(fault)
        message = f"expected no key {quoted(fault.path[-1])} here"
        return [Violation(fault.path, message, "", "schema-unknown-key", of_key=True)]

    def _other(self, fault: SchemaFault) -> Iterable[Violation]:
        """The schema `false`, and keywords too rare for words of their own."""
        expected = f"something else ({fault.keyword})" if fault.keyword else "nothing"
        message = f"expected {expected}, {self._was(fault)}"
        return [Violation(fault.path, message, _meaning(fault), f"schema-{fault.keyword or 'false'}")]


def _unknown_keys(fault: SchemaFault, unknown: Iterable[str], known: Collection[str]) -> Iterable[Violation]:
    free = [key for key in known if key not in fault.value]
    for key in unknown:
        hint = did_you_mean(key, free) or (f"known keys: {', '.join(known)}" if known else "")
        yield Violation((*fault.path, key), f"unknown key {quoted(key)}", hint, "schema-unknown-key", of_key=True)


def _type_words(types: str | list[str]) -> str:
    return " or ".join(_TYPES[name] for name in ([types] if isinstance(types, str) else types))


def _type_hint(fault: SchemaFault) -> str:
    types = {fault.expected} if isinstance(fault.expected, str) else set(fault.expected)
    value = fault.value
    if value is None:
        empty = "{}" if types == {"object"} else "[]" if types == {"array"} else ""
        return f"write {empty} where it is empty" if empty else "give it a value, or remove the key"
    if isinstance(value, dict):
        is_reference = len(value) == 1 and not {"env", "file"}.isdisjoint(value)
        return "only what the schema marks as writeOnly takes a reference to a secret" if is_reference else ""
    if not isinstance(value, (str, list)):
        return f'quote it: "{shown(value)}"' if "string" in types else ""
    if isinstance(value, str):
        if "boolean" in types and value.casefold() in _SWITCHES:
            return f"write {_SWITCHES[value.casefold()]}"
        if types & {"integer", "number", "boolean"} and isinstance(resolve(value), (bool, int, float)):
            return "remove the quotes"
    return ""


def _meaning(fault: SchemaFault) -> str:
    """What the schema itself says of the value: its first example, else its description."""
    if not isinstance(fault.schema, Mapping):
        return ""
    if fault.schema.get("examples"):
        return f"for example {shown(fault.schema['examples'][0])}"
    return str(fault.schema.get("description", ""))


def _is_constant_below(inner: SchemaFault, outer: SchemaFault) -> bool:
    return inner.keyword in ("const", "enum") and inner.path[:-1] == outer.path and inner.path != outer.path


def _form(schema: Schema, branch: Iterable[SchemaFault], root: Schema) -> str:
    """One alternative in a few words, where need be those of what it ruled out."""
    if isinstance(schema, bool):
        return "anything" if schema else "nothing"
    if "title" in schema:
        return str(schema["title"])
    if "const" in schema:
        return shown(schema["const"])
    if "enum" in schema:
        return f"one of {one_of(schema['enum'])}"
    if "type" in schema:
        words = _type_words(schema["type"])
        return f"{words} with {' and '.join(schema['required'])}" if "required" in schema else words
    target = referred(schema["$ref"], root) if "$ref" in schema else None
    if isinstance(target, Mapping) and "$ref" not in target:
        return _form(target, branch, root)
    told = next((f.schema for f in branch if f.rules_out), None)
    return "another form" if told is None else _form(told, (), root)
